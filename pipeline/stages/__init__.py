"""What each kind of stage does, on one device: one file for each kind."""
