"""The orchestration around `msinet`: experiments, plans, Ray, the workspace, MLflow and reports."""
