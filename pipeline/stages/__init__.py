"""The work of each kind of stage, on one device. There is one file for each kind."""
