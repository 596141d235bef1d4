"""The long loops (search, training, evaluation), with their optimisers, saved state and measurements."""
