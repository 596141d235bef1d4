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
    # A picture without a camera has one of its own, so that it is itself removed from its ranking, and nothing else.
    free = 1 + max((record.camid for record in records if record.camid is not None), default=-1)
    distinct = [
        replace(record, camid=free + index) if record.camid is None else record for index, record in enumerate(records)
    ]
    twice = [replace(record, subset=subset) for subset in ("query", "gallery") for record in distinct]
    scores, per_query = rank_records(twice, embedding_ND.repeat(2, 1), FIXED, rerank=False)
    return scores, {**per_query, "camid": [record.camid for record in records]}
