"""One image of a dataset, and the order of identities for labels and splits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SUBSETS = ("train", "query", "gallery")


@dataclass(frozen=True, slots=True)
class Record:
    """An image of a dataset.

    Attributes:
        path: Path of the image, relative to its dataset's folder, with forward slashes.
        pid: The identity as the dataset names it: a number or a name.
        camid: The camera, or None if the dataset states none.
        subset: One of `SUBSETS`.
    """

    path: str
    pid: int | str
    camid: int | None
    subset: str

    def __post_init__(self) -> None:
        if self.subset not in SUBSETS:
            raise ValueError(f"a record's subset must be one of {', '.join(SUBSETS)}, but got {self.subset!r}.")


def sorted_pids(pids: Iterable[int | str]) -> list[int | str]:
    """Return the distinct identities, sorted by number if all are integers (or digits), otherwise by name."""
    distinct = set(pids)
    if all(isinstance(pid, int) or pid.isdecimal() for pid in distinct):
        return sorted(distinct, key=lambda pid: (int(pid), str(pid)))  # "01" and "1" are two names of one number
    return sorted(distinct, key=str)


def label_of(records: Sequence[Record]) -> dict[int | str, int]:
    """Return the contiguous class label of each identity (pid -> label), in the order of `sorted_pids`."""
    return {pid: label for label, pid in enumerate(sorted_pids(record.pid for record in records))}
