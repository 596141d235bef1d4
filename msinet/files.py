"""Files that are whole or not there."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def written_whole(
    path: Path, partials: Path | None = None, *, place: Callable[[Path, Path], None] = os.replace
) -> Iterator[BinaryIO]:
    """A file to write to that gets its name when all is written; otherwise nothing is left of it.

    Args:
        path: Its name; its folder is made.
        partials: Where it lies until then, on the same file system; beside `path` by default.
        place: What gives it its name.
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
    finally:
        partial.unlink(missing_ok=True)
