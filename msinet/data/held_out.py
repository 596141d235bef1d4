"""Training identities, and cameras, that are held out to score networks without query and gallery pictures."""

from collections.abc import Sequence
from dataclasses import replace

from msinet.data.dataset import DataError
from msinet.data.records import Record
from msinet.data.splits import identity_split

HELD_OUT_CAMERAS = 2  # the fewest that a match between cameras needs


def hold_out(records: Sequence[Record], percent: int, *, cameras: bool = False) -> tuple[list[Record], list[Record]]:
    """Divide training pictures into those that a network sees and those that it is scored on.

    Args:
        records: The training pictures of a dataset.
        percent: Percent of the identities that are held out, the last ones in the order of `identity_split`.
        cameras: Whether the last two cameras are held out too. The network then sees the other identities under the
            other cameras, and is scored on the held-out identities under the held-out cameras. All other pictures are
            left out.

    Returns:
        The records that the network sees, and those that it is scored on, each sorted by path.

    Raises:
        DataError: Cameras are to be held out, but there are fewer than three, or a picture has none.
    """
    seen, held_out = identity_split(records, 100 - percent, percent)
    if not cameras:
        return seen, held_out
    known = sorted({record.camid for record in records if record.camid is not None})
    if len(known) <= HELD_OUT_CAMERAS or any(record.camid is None for record in records):
        raise DataError(
            f"to hold out {HELD_OUT_CAMERAS} cameras, every training picture must have a camera and there must be at "
            f"least {HELD_OUT_CAMERAS + 1} of them, but there are {len(known)} (selection.by)."
        )
    last = known[-HELD_OUT_CAMERAS:]
    return [r for r in seen if r.camid not in last], [r for r in held_out if r.camid in last]


def with_cameras(records: Sequence[Record]) -> list[Record]:
    """Give each picture without a camera a camera of its own, so that only the picture itself leaves its gallery."""
    free = 1 + max((record.camid for record in records if record.camid is not None), default=-1)
    return [
        replace(record, camid=free + index) if record.camid is None else record for index, record in enumerate(records)
    ]


def has_matches(records: Sequence[Record]) -> bool:
    """Return whether at least one picture has a match among the others, so that held-out pictures can be scored."""
    cameras: dict[int | str, set[int | None]] = {}
    for record in with_cameras(records):
        cameras.setdefault(record.pid, set()).add(record.camid)
    return any(len(seen) > 1 for seen in cameras.values())
