"""Several datasets as one training set, whose identities and cameras stay apart."""

from collections.abc import Hashable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, TypeVar

from msinet.data.records import Record, sorted_pids

if TYPE_CHECKING:
    from msinet.data.packed import PackedDataset  # imports torch, which plans do not need

T = TypeVar("T", bound=Hashable)


def combine(parts: Sequence[Sequence[Record]]) -> list[list[Record]]:
    """Return the training records of several datasets as those of one dataset.

    Identities and cameras of different datasets are different, also if they have equal names. Both are numbered from 1
    so that each dataset is spread evenly over the numbers: a split of the identities, which cuts their order at some
    percent, then cuts every dataset at that percent. A camera that is not known stays unknown. A record's path begins
    with the number of its dataset, `01/`, `02/` and so on, so sorted paths keep the order of the datasets.

    Args:
        parts: The training records of each dataset, each in the order of paths. The order of datasets counts.

    Returns:
        For each dataset its records, in the same order as before.
    """
    pids = _interleaved([sorted_pids(record.pid for record in records) for records in parts])
    cameras = _interleaved([sorted({r.camid for r in records if r.camid is not None}) for records in parts])
    return [
        [
            Record(
                f"{part:02}/{record.path}",
                pids[part, record.pid],
                None if record.camid is None else cameras[part, record.camid],
                "train",
            )
            for record in records
        ]
        for part, records in enumerate(parts, start=1)
    ]


def combined_pictures(parts: "Sequence[PackedDataset]") -> Iterator[tuple[Record, bytes]]:
    """Yield the records of `combine` with the bytes of their pictures, in the order of paths."""
    chosen = [part.subset("train").tolist() for part in parts]
    records = [[part.records[index] for index in indices] for part, indices in zip(parts, chosen, strict=True)]
    for part, indices, combined in zip(parts, chosen, combine(records), strict=True):
        for index, record in zip(indices, combined, strict=True):
            yield record, bytes(part.bytes(index))


def _interleaved(groups: Sequence[Sequence[T]]) -> dict[tuple[int, T], int]:
    """Number the members of all groups from 1 on, by group (counted from 1); equal shares of all groups alternate."""
    places = [
        (Fraction(2 * rank + 1, 2 * len(members)), group, member)
        for group, members in enumerate(groups, start=1)
        for rank, member in enumerate(members)
    ]
    places.sort(key=lambda place: place[:2])  # members of one group have different places
    return {(group, member): number for number, (_, group, member) in enumerate(places, start=1)}
