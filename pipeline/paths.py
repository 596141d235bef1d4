"""The paths that users give."""

import os
from pathlib import Path

from pipeline.errors import RequestError, printable

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the driver of a job


def absolute(path: Path, setting: str) -> Path:
    """Return a path that a user gave as an absolute path.

    Args:
        path: The path, possibly relative or with `~`.
        setting: The setting that gave it, for the error message.

    Raises:
        RequestError: The path cannot be that of a file, or it is relative and this is a Ray job. A job runs in a copy
            of the project that Ray removes.
    """
    path = expanded(path, setting)
    if not path.is_absolute() and JOB_VARIABLE in os.environ:
        raise RequestError(f"in a Ray job a path must be absolute, but got {path} ({setting}).")
    return path.absolute()


def expanded(path: Path, setting: str) -> Path:
    """Return a path with the home folder in the place of `~`.

    Raises:
        RequestError: There is no such home folder, or the path holds characters that would control a terminal.
    """
    text = os.fsencode(path).decode(errors="replace")  # the names of files may be bytes that are no UTF-8
    if printable(text) != text:
        raise RequestError(f"a path must hold printable characters only, but got {printable(text)} ({setting}).")
    try:
        return path.expanduser()
    except RuntimeError:
        raise RequestError(f"the home folder that a path begins with must exist, but got {path} ({setting}).") from None
