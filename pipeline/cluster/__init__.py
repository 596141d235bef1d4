"""Stages on a Ray cluster: the driver that releases them, the workers that run them."""

import os

# Ray reads these when it is imported, and every module here that imports it is imported after this file. The mode is
# explicit because its default differs between Ray's versions.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
