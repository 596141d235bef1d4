"""Splits of the training identities: one side trains the weights, the other trains α (the paper's Table 9)."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from msinet.data.dataset import DataError
from msinet.data.readers.tables import Columns, Row, parquet_rows
from msinet.data.records import Record, sorted_pids
from msinet.data.streams import generator

SIDES = ("train", "valid")
COLUMNS = Columns(("path", "identity", "side"))


@dataclass(frozen=True)
class SplitReport:
    """Sizes of an identity split.

    Attributes:
        train_ids, valid_ids: Identities with at least one image on that side.
        train_images, valid_images: Images of each side.
        shared_ids: Identities that the split gives to both sides.
        single_image_ids: Shared identities that have one image only, which stays on the training side.
    """

    train_ids: int
    valid_ids: int
    train_images: int
    valid_images: int
    shared_ids: int
    single_image_ids: int


def parse_split(text: str) -> tuple[int, int]:
    """Parse `"60-80"` to (60, 80), the percentages of the identities on the training and on the validation side.

    Raises:
        DataError: The text has another form, a side is outside 1 to 100, or the sides are below 100 together.
    """
    match = re.fullmatch(r"([0-9]{1,3})-([0-9]{1,3})", text)
    if not match:
        raise DataError(f"a split must be written as two percentages such as 60-80, but got {text!r}.")
    train_percent, valid_percent = int(match[1]), int(match[2])
    _check_percents(train_percent, valid_percent)
    return train_percent, valid_percent


def identity_split(
    records: Sequence[Record], train_percent: int, valid_percent: int, *, split_seed: int | None = None
) -> tuple[list[Record], list[Record]]:
    """Divide training images by identity.

    The n identities are sorted, by number if all are integers, otherwise by name. The training side gets those
    before position floor(n·T/100), the validation side those from position floor(n·(100-V)/100) on. If T + V > 100,
    the identities in the middle are shared: the images of each, sorted by camera and file name, go to the two sides
    in turn. The first image goes to training for the 1st, 3rd, … shared identity, and to validation for the others.
    A shared identity with one image stays on the training side.

    Args:
        records: The training images of a dataset, in any order.
        train_percent: Percentage T of the identities on the training side.
        valid_percent: Percentage V of the identities on the validation side.
        split_seed: Seed that shuffles the sorted identities first; None keeps their order.

    Returns:
        The records of the training and of the validation side, each sorted by path.

    Raises:
        DataError: T or V is outside 1 to 100, or T + V < 100.
    """
    images = _images_by_identity(records)
    train_only, shared, valid_only = _divide(list(images), train_percent, valid_percent, split_seed)
    train = [record for pid in train_only for record in images[pid]]
    valid = [record for pid in valid_only for record in images[pid]]
    for position, pid in enumerate(shared):
        train_starts = position % 2 == 0 or len(images[pid]) == 1
        first, second = (train, valid) if train_starts else (valid, train)
        first += images[pid][0::2]
        second += images[pid][1::2]
    return sorted(train, key=_path), sorted(valid, key=_path)


def split_report(
    records: Sequence[Record], train_percent: int, valid_percent: int, *, split_seed: int | None = None
) -> SplitReport:
    """Return the sizes of the split that `identity_split` makes from the same arguments."""
    train, valid = identity_split(records, train_percent, valid_percent, split_seed=split_seed)
    images = _images_by_identity(records)
    _, shared, _ = _divide(list(images), train_percent, valid_percent, split_seed)
    return _report(train, valid, len(shared), sum(len(images[pid]) == 1 for pid in shared))


def saved_split_report(train: Sequence[Record], valid: Sequence[Record]) -> SplitReport:
    """Return the sizes of a split that `load_split` read. Identities with images on both sides are shared."""
    return _report(train, valid, len({record.pid for record in train} & {record.pid for record in valid}), 0)


def save_split(path: Path, train: Sequence[Record], valid: Sequence[Record]) -> None:
    """Write the side of each image, so that the split can be audited and used again.

    Args:
        path: Path of a Parquet file with the columns `path`, `identity` and `side` (`train` or `valid`).
        train, valid: The records of each side.
    """
    rows = [
        {"path": record.path, "identity": str(record.pid), "side": side}
        for side, records in zip(SIDES, (train, valid), strict=True)
        for record in records
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def load_split(path: Path, records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Read the split in a file that `save_split` wrote or that was made by hand.

    Args:
        path: Path of a Parquet file with the columns that `save_split` writes.
        records: The training images of the dataset. Images that the file does not name are left out.

    Returns:
        The records of the training and of the validation side, each sorted by path.

    Raises:
        DataError: The file is not such a file; it names an image twice, or with an unknown side; or it names an image
            that is not among `records` or that shows another identity.
    """
    by_path = {record.path: record for record in records}
    sides: dict[str, list[Record]] = {side: [] for side in SIDES}
    named = set()
    for where, row in split_rows(path):
        record = by_path.get(row["path"])
        if record is None or str(record.pid) != row["identity"]:
            found = "there is no such image" if record is None else f"that image shows {record.pid}"
            raise DataError(
                f"{where}: a split must name training images of its dataset with their identities, "
                f"but got {row['path']!r} of {row['identity']!r}, and {found}."
            )
        if row["side"] not in sides or record.path in named:
            raise DataError(
                f"{where}: an image must be named once and be on one side, {' or '.join(SIDES)}, but {record.path} is "
                f"{'named twice' if record.path in named else 'on ' + repr(row['side'])}."
            )
        named.add(record.path)
        sides[row["side"]].append(record)
    train, valid = (sorted(sides[side], key=_path) for side in SIDES)
    return train, valid


def split_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file with a split, and the place of each for messages.

    Raises:
        DataError: The file is not such a file.
    """
    return parquet_rows("a split", path, COLUMNS)


def _report(train: Sequence[Record], valid: Sequence[Record], shared: int, single_image: int) -> SplitReport:
    return SplitReport(
        train_ids=_num_ids(train),
        valid_ids=_num_ids(valid),
        train_images=len(train),
        valid_images=len(valid),
        shared_ids=shared,
        single_image_ids=single_image,
    )


def check_split_sizes(
    train: Sequence[Record], valid: Sequence[Record], *, num_ids: int, dataset_name: str, split: str
) -> None:
    """Raise an error if a side of a split cannot fill a batch.

    Args:
        train, valid: The records of each side, as `identity_split` returned them.
        num_ids: Number of identities in a batch, P.
        dataset_name, split: Names for the message.

    Raises:
        DataError: A side has fewer than `num_ids` identities.
    """
    for side, records in (("training", train), ("validation", valid)):
        if (found := _num_ids(records)) < num_ids:
            raise DataError(
                f"each side of a split must have at least {num_ids} identities to fill a batch, but the {side} "
                f"side of {split} on {dataset_name} has {found} (splits, or batch_size / num_instances)."
            )


def _check_percents(train_percent: int, valid_percent: int) -> None:
    if not (1 <= train_percent <= 100 and 1 <= valid_percent <= 100 and train_percent + valid_percent >= 100):
        raise DataError(
            "a split's sides must each be 1 to 100 percent, and at least 100 percent together, "
            f"but got {train_percent}-{valid_percent}."
        )


def _images_by_identity(records: Sequence[Record]) -> dict[int | str, list[Record]]:
    """Return the images of each identity, sorted by camera and file name; the identities are sorted too."""
    images: dict[int | str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=_camera_and_file):
        images[record.pid].append(record)
    return {pid: images[pid] for pid in sorted_pids(images)}


def _divide(
    pids: list[int | str], train_percent: int, valid_percent: int, split_seed: int | None
) -> tuple[list[int | str], list[int | str], list[int | str]]:
    """Return the identities of training alone, of both sides, and of validation alone."""
    _check_percents(train_percent, valid_percent)
    if split_seed is not None:
        order = generator(split_seed, "split", epoch=0).permutation(len(pids))
        pids = [pids[i] for i in order]
    train_end = len(pids) * train_percent // 100
    valid_start = len(pids) * (100 - valid_percent) // 100
    return pids[:valid_start], pids[valid_start:train_end], pids[train_end:]


def _num_ids(records: Sequence[Record]) -> int:
    return len({record.pid for record in records})


def _path(record: Record) -> str:
    return record.path


def _camera_and_file(record: Record) -> tuple[bool, int, str, str]:
    file_name = record.path.rpartition("/")[2]
    return record.camid is not None, record.camid or 0, file_name, record.path
