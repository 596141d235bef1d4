"""Files that are written whole, and that can be read, and strict JSON."""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO


def json_text(value: Any, *, indent: int | None = None, sort_keys: bool = False, ensure_ascii: bool = True) -> str:
    """Return a value as JSON that every program can read. JSON has neither infinite numbers nor NaN.

    Raises:
        ValueError: The value holds such a number.
    """
    return json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=False)


def require_regular(path: Path) -> None:
    """Make sure that what lies at a path is a regular file: reading a pipe could wait for ever.

    Raises:
        ValueError: Something else lies there.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a regular file, but it is something else.")


@contextlib.contextmanager
def written_whole(
    path: Path, partials: Path | None = None, *, place: Callable[[Path, Path], None] = os.replace
) -> Iterator[BinaryIO]:
    """Yield a file to write to. It is named `path` when everything is written; after an error nothing remains.

    Args:
        path: Name of the complete file; its folder is created if it is missing.
        partials: Folder of the incomplete file, on the same file system; the folder of `path` by default.
        place: Function that moves the file from its temporary name to `path`.
    """
    partials = partials or path.parent
    partial = partials / f"{uuid.uuid4().hex}.partial"
    partials.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        place(partial, path)
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)  # a full disk, for example, does not say which file it has no room for
        raise
    finally:
        partial.unlink(missing_ok=True)
