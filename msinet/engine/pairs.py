"""The distances of all pairs of a query and a gallery picture, counted.

Shapes: Q queries, G gallery pictures, D embedding, E bins of distance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet.blocks import row_blocks
from msinet.data.records import Record
from msinet.statistics.operating import PairCounts

BINS = 4000  # of the cosine distance, which lies between 0 and 2: each is 0.0005 wide


def count_pairs(
    query_records: Sequence[Record], query_QD: Any, gallery_records: Sequence[Record], gallery_GD: Any
) -> PairCounts:
    """Count the pairs of each query identity by cosine distance, 1 − cosine similarity. PyTorch is not needed.

    Pairs of one identity and one camera count nowhere, as in rankings. Identities without a pair of each kind are left
    out.

    Raises:
        ValueError: Fewer than two identities have pairs of both kinds, or an embedding is not finite.
    """
    query_QD, gallery_GD = _unit(query_QD), _unit(gallery_GD)
    names, owner_Q = np.unique([str(record.pid) for record in query_records], return_inverse=True)
    place = {name: number for number, name in enumerate(names)}
    gallery_owner_G = np.array([place.get(str(record.pid), -1) for record in gallery_records])
    gallery_camera_G = np.array([-1 if record.camid is None else record.camid for record in gallery_records])
    counts = np.zeros((2, len(names), BINS), dtype=np.int64)
    for rows in row_blocks(len(query_QD), len(gallery_GD)):
        bins = ((1 - query_QD[rows] @ gallery_GD.T) * (BINS / 2)).astype(np.int64)
        for row_G, record, owner in zip(bins.clip(0, BINS - 1), query_records[rows], owner_Q[rows], strict=True):
            same_G = gallery_owner_G == owner
            counts[1, owner] += np.bincount(row_G, minlength=BINS) - np.bincount(row_G[same_G], minlength=BINS)
            if record.camid is not None:
                same_G &= gallery_camera_G != record.camid
            counts[0, owner] += np.bincount(row_G[same_G], minlength=BINS)
    both_I = (counts.sum(2) > 0).all(0)
    if both_I.sum() < 2:
        raise ValueError(
            f"a threshold needs at least two identities with a match in the gallery, but {int(both_I.sum())} has one."
        )
    edges_E = np.arange(1, BINS + 1) * (2 / BINS)
    return PairCounts(names[both_I], counts[0][both_I], counts[1][both_I], edges_E)


def _unit(embedding_ND: Any) -> NDArray[np.float32]:
    """Return embeddings of length 1. One of length 0 stays as it is."""
    values_ND = np.asarray(embedding_ND, dtype=np.float32)
    if not np.isfinite(values_ND).all():
        raise ValueError("embeddings must be finite, but some are infinite or nan.")
    return values_ND / np.maximum(np.linalg.norm(values_ND, axis=1, keepdims=True), 1e-12)
