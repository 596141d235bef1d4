"""Files that survive a power failure."""

import os
from pathlib import Path


def write_through(folder: Path, root: Path) -> None:
    """Force all files below a folder, and their names from `root` down, to the disk."""
    above = [parent for parent in folder.parents if parent.is_relative_to(root)]
    for path in [*folder.rglob("*"), folder, *above]:
        sync(path)


def sync(path: Path) -> None:
    """Force the content of a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
