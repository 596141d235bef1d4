"""Scores on pictures that are neither queries nor a gallery: training identities that a network has not seen."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from msinet.data.dataset import FIXED
from msinet.data.records import Record
from msinet.engine.evaluate import rank_records


def rank_others(records: Sequence[Record], embedding_ND: Tensor) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Every picture is a query against all others, those of its own identity and camera removed as usual.

    Args:
        records: N pictures.
        embedding_ND: Theirs, in the same order.

    Returns:
        Scores and their table, as of `msinet.engine.evaluate.rank_records`.

    Raises:
        ValueError: No picture has a match under another camera, or, without cameras, none at all.
    """
    distinct = _with_cameras(records)
    twice = [replace(record, subset=subset) for subset in ("query", "gallery") for record in distinct]
    scores, per_query = rank_records(twice, embedding_ND.repeat(2, 1), FIXED, rerank=False)
    return scores, {**per_query, "camid": [record.camid for record in records]}


def has_matches(records: Sequence[Record]) -> bool:
    """Whether some picture has a match among the others, so that `rank_others` has something to score."""
    cameras: dict[int | str, set[int | None]] = {}
    for record in _with_cameras(records):
        cameras.setdefault(record.pid, set()).add(record.camid)
    return any(len(seen) > 1 for seen in cameras.values())


def _with_cameras(records: Sequence[Record]) -> list[Record]:
    """A picture without a camera gets one of its own: of it itself is removed from its ranking, and nothing else."""
    free = 1 + max((record.camid for record in records if record.camid is not None), default=-1)
    return [
        replace(record, camid=free + index) if record.camid is None else record for index, record in enumerate(records)
    ]
