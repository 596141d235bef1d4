"""The start of every test: one thread per process, no secrets, no files outside the test's own folders."""

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Set before torch, Ray and MLflow are imported, here and in every process that a test starts.
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

ON_RAY = "tests/pipeline/on_ray/"


class FilesAndOneRay(LoadScopeScheduling):
    """A scheduler that runs each file in one process, to make its fixtures once, and all files of `ON_RAY` in one."""

    def _split_scope(self, nodeid: str) -> str:
        return ON_RAY if nodeid.startswith(ON_RAY) else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Use our own scheduler, because this version of pytest loses the marks of xdist's `loadgroup`."""
    return FilesAndOneRay(config, log)
