"""What every test starts from: one thread per process, no secrets, no files outside the test's own folders."""

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Before torch, Ray and MLflow are imported, here and in every process that a test starts.
os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
)
for name in ("MLFLOW_TRACKING_URI", "MSINET_WORKSPACE", "RAY_ADDRESS"):
    os.environ.pop(name, None)

USES_RAY = ("test_scheduling", "test_cli", "test_tuning", "test_security", "test_tracking_board")


class FilesAndOneRay(LoadScopeScheduling):
    """Each file in one process, which makes its fixtures once; all files that start Ray in the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if any(name in file for name in USES_RAY) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Marks of xdist's own `loadgroup` are lost under this version of pytest."""
    return FilesAndOneRay(config, log)
