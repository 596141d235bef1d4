"""MLflow, where people compare the results in a workspace."""
