"""The paths that users give."""

import os
from pathlib import Path

from pipeline.errors import RequestError

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the driver of a job


def absolute(path: Path, setting: str) -> Path:
    """Return a path that a user gave as an absolute path.

    Args:
        path: The path, possibly relative or with `~`.
        setting: The setting that gave it, for the error message.

    Raises:
        RequestError: The path is relative and this is a Ray job. A job runs in a copy of the project that Ray removes.
    """
    path = path.expanduser()
    if not path.is_absolute() and JOB_VARIABLE in os.environ:
        raise RequestError(f"in a Ray job a path must be absolute, but got {path} ({setting}).")
    return path.absolute()
