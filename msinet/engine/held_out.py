"""Scores on training identities that a network has not seen. Their pictures have no queries and no gallery."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from msinet.data.dataset import FIXED
from msinet.data.held_out import with_cameras
from msinet.data.records import Record
from msinet.engine.evaluate import rank_records


def rank_others(records: Sequence[Record], embedding_ND: Tensor) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Score each picture as a query against all others, without those of its own identity and camera.

    Args:
        records: N pictures.
        embedding_ND: Their embeddings, in the same order.

    Returns:
        The scores and their table, see `msinet.engine.evaluate.rank_records`.

    Raises:
        ValueError: No picture has a match under another camera (or, without cameras, any match).
    """
    distinct = with_cameras(records)
    twice = [replace(record, subset=subset) for subset in ("query", "gallery") for record in distinct]
    scores, per_query = rank_records(twice, embedding_ND.repeat(2, 1), FIXED, rerank=False)
    return scores, {**per_query, "camid": [record.camid for record in records]}
