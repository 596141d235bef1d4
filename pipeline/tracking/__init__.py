"""MLflow, where people compare what the workspace holds."""
