"""What every test starts from: one thread per process, no secrets, no files outside the test's own folders."""

import os

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
