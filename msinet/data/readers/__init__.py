"""Readers of dataset layouts: folder in, `Dataset` out. A further layout is one file and one line here."""

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from msinet.data.dataset import DataError, Dataset
from msinet.data.readers import market1501, msmt17, vehicleid, veri
from msinet.data.readers.manifest import read_manifest
from msinet.data.readers.market1501 import read_market1501
from msinet.data.readers.msmt17 import read_msmt17
from msinet.data.readers.vehicleid import read_vehicleid
from msinet.data.readers.veri import read_veri

READERS: dict[str, Callable[[Path], Dataset]] = {
    "manifest": read_manifest,
    "market1501": read_market1501,
    "msmt17": read_msmt17,
    "vehicleid": read_vehicleid,
    "vehicleid800": partial(read_vehicleid, num_test_ids=800),
    "vehicleid1600": partial(read_vehicleid, num_test_ids=1600),
    "vehicleid2400": partial(read_vehicleid, num_test_ids=2400),
    "veri": read_veri,
}

# Training images as commonly stated, by kind: what a plan counts on before the data are at hand.
TRAIN_IMAGES: dict[str, int | None] = {
    "market1501": market1501.EXPECTED["train"].images,
    "msmt17": msmt17.EXPECTED["train"].images,
    "veri": veri.EXPECTED["train"].images,
    **dict.fromkeys([kind for kind in READERS if kind.startswith("vehicleid")], vehicleid.TRAIN.images),
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
