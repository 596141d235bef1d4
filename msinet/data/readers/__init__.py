"""Readers of dataset layouts: each turns a folder into a `Dataset`.

A new layout needs one file and one entry of `READERS`.
"""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msinet.data.dataset import DataError, Dataset
from msinet.data.readers import market1501, msmt17, vehicleid, veri
from msinet.data.readers.manifest import read_manifest
from msinet.recipes import PERSON_SIZE, VEHICLE_SIZE


@dataclass(frozen=True)
class Reader:
    """A layout of datasets.

    Attributes:
        read: Function that reads the dataset in a folder.
        image_size: (height, width) in pixels of the pictures for networks that are trained on the dataset, unless an
            experiment sets another size; None if the layout does not decide it.
        train_images: Commonly stated number of training images; None if the layout does not decide it. Plans use it
            before the data are available.
        family: Name shared by layouts that differ only in their test lists; an evaluation within a family is
            in-domain. None if the layout shares no such name.
    """

    read: Callable[[Path], Dataset]
    image_size: tuple[int, int] | None = None
    train_images: int | None = None
    family: str | None = None


def _vehicleid(num_test_ids: int) -> Reader:
    read = partial(vehicleid.read_vehicleid, num_test_ids=num_test_ids)
    return Reader(read, VEHICLE_SIZE, vehicleid.TRAIN.images, family="vehicleid")


READERS: dict[str, Reader] = {
    "manifest": Reader(read_manifest),
    "market1501": Reader(market1501.read_market1501, PERSON_SIZE, market1501.EXPECTED["train"].images),
    "msmt17": Reader(msmt17.read_msmt17, PERSON_SIZE, msmt17.EXPECTED["train"].images),
    "vehicleid": _vehicleid(2400),
    "vehicleid800": _vehicleid(800),
    "vehicleid1600": _vehicleid(1600),
    "vehicleid2400": _vehicleid(2400),
    "veri": Reader(veri.read_veri, VEHICLE_SIZE, veri.EXPECTED["train"].images),
}


def require_kind(kind: str) -> str:
    """Return `kind` if it names a layout.

    Raises:
        DataError: `kind` names no layout; the message suggests the nearest name.
    """
    if kind not in READERS:
        near = difflib.get_close_matches(kind, READERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"a dataset's kind must be one of {', '.join(READERS)}, but got {kind!r}.{hint}")
    return kind


def read(kind: str, root: str | Path) -> Dataset:
    """Read the dataset at `root`, whose layout is `kind`, a name of `READERS`.

    Raises:
        DataError: The kind is unknown, `root` does not exist, or the dataset there has another layout.
    """
    reader = READERS[require_kind(kind)]
    root = Path(root).expanduser()
    if not os.path.exists(root):  # False also for a path that no file can have
        raise DataError(f"a dataset's path must exist, but {root} does not.")
    return reader.read(root)
