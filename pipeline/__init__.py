"""The orchestration around `msinet`: experiments, plans, Ray, the workspace, MLflow and reports."""

import os

# Ray reads these variables when it is imported, and this file always runs before that. The authentication mode is set
# explicitly because its default differs between Ray's versions.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
