"""The orchestration around `msinet`: experiments, plans, Ray, the workspace, MLflow and reports."""

import os

# Ray reads these when it is imported, which is always after this file. The mode is explicit, because its default
# differs between Ray's versions.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
