"""How far an exported file ranks like the network that it was made of.

Shapes: Q queries, N test pictures, D embedding.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from msinet.data.galleries import sides
from msinet.data.records import Record
from msinet.engine.evaluate import rank_records
from msinet.retrieval import nearest
from msinet.statistics import Interval, QueryScores, paired_difference, score_interval

TOP = 10


@dataclass(frozen=True)
class Proof:
    """A comparison of two embeddings of the same test pictures, in terms of retrieval.

    Attributes:
        queries: Number of queries that have a match.
        mAP, rank1: Scores of the export, as fractions, with their interval over identities.
        mAP_difference, rank1_difference: The export's score minus the network's. The interval is over identities.
        top10_agreement: Mean share of the network's ten nearest pictures that are among the export's ten nearest.
        largest_difference: Largest difference of a number between two L2-normalised embeddings.
        smallest_cosine: Smallest cosine similarity between the two embeddings of one picture.
    """

    queries: int
    mAP: Interval
    rank1: Interval
    mAP_difference: Interval
    rank1_difference: Interval
    top10_agreement: float
    largest_difference: float
    smallest_cosine: float

    def document(self) -> dict[str, Any]:
        """Return the proof as JSON values."""
        return asdict(self)


def prove(
    records: Sequence[Record], protocol: str, network_ND: NDArray[np.float32], export_ND: NDArray[np.float32]
) -> Proof:
    """Compare the embeddings of an export with those of its network.

    Args:
        records: N test pictures, queries and gallery.
        protocol: See `msinet.engine.evaluate.rank_records`.
        network_ND, export_ND: L2-normalised embeddings of the pictures, in the same order.

    Raises:
        ValueError: No query has a match, or fewer than two identities have one.
    """
    both = [torch.from_numpy(embedding_ND) for embedding_ND in (network_ND, export_ND)]
    tables = [rank_records(records, embedding_ND, protocol, rerank=False) for embedding_ND in both]
    scores, _ = tables[1]
    before, after = (QueryScores.from_columns(columns) for _, columns in tables)
    query, gallery = sides(records, protocol)[0]
    tops = [nearest(embedding_ND[query], embedding_ND[gallery], TOP)[1] for embedding_ND in both]
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(*tops, strict=True)]
    return Proof(
        queries=int(scores["num_valid_queries"]),
        mAP=score_interval([after], "mAP"),
        rank1=score_interval([after], "rank1"),
        mAP_difference=paired_difference({0: after}, {0: before}, "mAP").interval,
        rank1_difference=paired_difference({0: after}, {0: before}, "rank1").interval,
        top10_agreement=float(np.mean(shared)),
        largest_difference=float(np.abs(network_ND - export_ND).max()),
        smallest_cosine=float((network_ND * export_ND).sum(1).min()),
    )
