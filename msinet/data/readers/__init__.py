"""Readers of dataset layouts: folder in, `Dataset` out. A further layout is one file and one line here."""

import difflib
from collections.abc import Callable
from pathlib import Path

from msinet.data.dataset import DataError, Dataset
from msinet.data.readers.manifest import read_manifest
from msinet.data.readers.market1501 import read_market1501

READERS: dict[str, Callable[[Path], Dataset]] = {
    "manifest": read_manifest,
    "market1501": read_market1501,
}


def read(kind: str, root: str | Path) -> Dataset:
    """Read the dataset at `root`, whose layout is `kind`, a name of `READERS`.

    Raises:
        DataError: The kind is unknown, nothing lies at `root`, or what lies there has another layout.
    """
    if kind not in READERS:
        near = difflib.get_close_matches(kind, READERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"a dataset's kind must be one of {', '.join(READERS)}, but got {kind!r}.{hint}")
    root = Path(root).expanduser()
    if not root.exists():
        raise DataError(f"a dataset's path must exist, but {root} does not.")
    return READERS[kind](root)
