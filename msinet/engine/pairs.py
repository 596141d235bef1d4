"""The distances of all pairs of a query and a gallery picture, counted.

Shapes: Q queries, G gallery pictures, D embedding, E bins of distance.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from msinet.data.records import Record
from msinet.distances import products, row_blocks, unit_embeddings
from msinet.statistics.operating import PairCounts

BINS = 4000  # of the cosine distance, which lies between 0 and 2: each is 0.0005 wide


def count_pairs(
    query_records: Sequence[Record], query_QD: Tensor, gallery_records: Sequence[Record], gallery_GD: Tensor
) -> PairCounts:
    """Count the pairs of each query identity by cosine distance, 1 − cosine similarity.

    Pairs of one identity and one camera count nowhere, as in rankings. Identities without a pair of each kind are left
    out.

    Raises:
        ValueError: Fewer than two identities have pairs of both kinds, or an embedding is not finite.
    """
    query_QD, gallery_GD = unit_embeddings(query_QD, gallery_GD)
    names, owner_Q = np.unique([str(record.pid) for record in query_records], return_inverse=True)
    gallery_pid_G = np.array([str(record.pid) for record in gallery_records])
    gallery_camera_G = np.array([-1 if record.camid is None else record.camid for record in gallery_records])
    counts = np.zeros((2, len(names), BINS), dtype=np.int64)
    for rows in row_blocks(len(query_QD), len(gallery_GD)):
        bins = ((1 - products(query_QD[rows], gallery_GD).cpu().numpy()) * (BINS / 2)).astype(np.int64)
        for row_G, record, owner in zip(bins.clip(0, BINS - 1), query_records[rows], owner_Q[rows], strict=True):
            same_G = gallery_pid_G == str(record.pid)
            counts[1, owner] += np.bincount(row_G[~same_G], minlength=BINS)
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
