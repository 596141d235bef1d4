"""The long loops: search, training, evaluation; their optimisers, recipes and saved state."""
