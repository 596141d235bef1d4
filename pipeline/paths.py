"""Paths as users give them."""

import os
from pathlib import Path

from pipeline.errors import RequestError

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the driver of a job


def absolute(path: Path, setting: str) -> Path:
    """A path as a user gave it, made absolute.

    Raises:
        RequestError: It is relative in a Ray job, which runs in a copy of the project that Ray removes.
    """
    path = path.expanduser()
    if not path.is_absolute() and JOB_VARIABLE in os.environ:
        raise RequestError(f"in a Ray job a path must be absolute, but got {path} ({setting}).")
    return path.absolute()
