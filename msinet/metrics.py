"""Rank-k, mAP and mINP of a retrieval, in which every query ranks the gallery by distance.

Shapes: Q queries, G gallery images, D numbers of an embedding, N the largest number of matches of a query.

A query's scores depend only on the ranks of its matches. The rank of a match is one more than the number of
gallery images that come before it. So it is enough to count images, and the gallery is never sorted.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from msinet.blocks import row_blocks
from msinet.compiled import compiled
from msinet.distances import Array, ordering_key, products, unit_embeddings
from msinet.labels import LabelCodes, Labels, label_codes


@dataclass(frozen=True, eq=False)
class RankingResult:
    """Scores of a retrieval, as fractions.

    Attributes:
        average_precision: One number per query; nan for a skipped query, which has no match left in the gallery.
        inverse_negative_penalty: For each query the number of matches divided by the rank of the last match; nan for
            a skipped query.
        first_match_rank: For each query the rank of its first match, counted from 1; −1 for a skipped query.
        max_rank: Number of ranks that `cmc` covers.
    """

    average_precision: Array
    inverse_negative_penalty: Array
    first_match_rank: Array
    max_rank: int

    @property
    def valid(self) -> Array:
        """Return for each query whether it has a match."""
        return self.first_match_rank > 0

    @property
    def num_queries(self) -> int:
        """Return the number of all queries, skipped ones included."""
        return len(self.first_match_rank)

    @property
    def num_valid_queries(self) -> int:
        """Return the number of queries that were not skipped. The scores are means over these queries."""
        return int(self.valid.sum())

    @property
    def mAP(self) -> float:
        """Return the mean average precision."""
        return float(np.nanmean(self.average_precision))

    @property
    def mINP(self) -> float:
        """Return the mean inverse negative penalty (Ye et al., TPAMI 2021)."""
        return float(np.nanmean(self.inverse_negative_penalty))

    def rank(self, k: int) -> float:
        """Return the share of queries with a match among their first `k` images, for any `k` from 1."""
        if k < 1:
            raise ValueError(f"`k` must be at least 1, but got {k}.")
        return float((self.first_match_rank[self.valid] <= k).mean())

    @property
    def cmc(self) -> Array:
        """Return the cumulative matching characteristic: `rank(1)` to `rank(max_rank)`."""
        return np.array([self.rank(k) for k in range(1, self.max_rank + 1)])


class DistanceRows(Protocol):
    """Distances that are computed only when their rows are read, such as those of `msinet.reranking.Reranking`.

    Attributes:
        shape: (Q, G).
    """

    shape: tuple[int, int]

    def __getitem__(self, rows: slice) -> Array: ...


def evaluate_ranking(
    query_embedding: Tensor | Array,
    gallery_embedding: Tensor | Array,
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels | None = None,
    gallery_camids: Labels | None = None,
    *,
    remove_same_camera: bool = True,
    max_rank: int = 50,
) -> RankingResult:
    """Score a retrieval from embeddings.

    The distance is the negated cosine similarity in float32, which gives the same order as the Euclidean
    distance of L2-normalised embeddings. Ties keep the gallery's order. The computation runs on the device of
    the embeddings, one block of queries at a time.

    Args:
        query_embedding, gallery_embedding: (Q, D) and (G, D), L2-normalised here.
        query_pids, gallery_pids: Identities, integers or strings.
        query_camids, gallery_camids: Cameras, integers or strings; None for an image without a camera. Both or
            neither of the two must be given.
        remove_same_camera: Whether images of a query's own identity and camera are removed from its gallery.
            An image without a camera is never removed.
        max_rank: Number of ranks that the result's `cmc` covers.

    Raises:
        ValueError: Shapes do not fit, a number is not finite, only one side has cameras, or no query has a match.
    """
    query_QD, gallery_GD = unit_embeddings(query_embedding, gallery_embedding)
    codes = label_codes(
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        len(query_QD),
        len(gallery_GD),
        remove_same_camera,
    )
    return _evaluate(lambda rows: products(query_QD[rows], gallery_GD).neg_(), codes, max_rank)


def evaluate_distance(
    distance_QG: "Tensor | Array | DistanceRows",
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels | None = None,
    gallery_camids: Labels | None = None,
    *,
    remove_same_camera: bool = True,
    max_rank: int = 50,
) -> RankingResult:
    """Score a retrieval from distances, for example re-ranked ones, in float32. See `evaluate_ranking` for the rest."""
    if len(distance_QG.shape) != 2:
        raise ValueError(f"distances must have the shape (Q, G), but got {tuple(distance_QG.shape)}.")
    Q, G = distance_QG.shape
    codes = label_codes(query_pids, gallery_pids, query_camids, gallery_camids, Q, G, remove_same_camera)

    def distance_of(rows: slice) -> Tensor:
        distance_RG = torch.as_tensor(distance_QG[rows]).detach().float()
        if distance_RG.isnan().any():
            raise ValueError("distances must be numbers, but got nan.")
        return distance_RG

    return _evaluate(distance_of, codes, max_rank)


class _Scores(NamedTuple):
    """The per-query columns of a `RankingResult`, in its order."""

    average_precision_Q: Array
    inverse_negative_penalty_Q: Array
    first_match_rank_Q: Array


def _evaluate(distance_of: Callable[[slice], Tensor], codes: LabelCodes, max_rank: int) -> RankingResult:
    if max_rank < 1:
        raise ValueError(f"`max_rank` must be at least 1, but got {max_rank}.")
    blocks = []
    for rows in row_blocks(len(codes.query_pid_Q), len(codes.gallery_pid_G)):
        distance_QG = distance_of(rows)
        score = _score_on_cpu if distance_QG.device.type == "cpu" else _score_on_device
        blocks.append(score(distance_QG, codes.of(rows)))
    result = RankingResult(*_joined(blocks), max_rank)
    if not result.num_valid_queries:
        raise ValueError(
            f"at least one query must have a match in its gallery, but none of {result.num_queries} has one: no "
            "identity is on both sides, or every match is of the query's own camera (`remove_same_camera`)."
        )
    return result


def _joined(parts: Iterable[_Scores]) -> _Scores:
    return _Scores(*map(np.concatenate, zip(*parts, strict=True)))


def _score_on_cpu(distance_QG: Tensor, codes: LabelCodes) -> _Scores:
    """Score the rows in as many threads as torch uses. The scores do not depend on the number of threads."""
    threads = torch.get_num_threads()
    distances = np.array_split(np.ascontiguousarray(distance_QG.numpy()), threads)
    pids, cams = (np.array_split(side_Q, threads) for side_Q in (codes.query_pid_Q, codes.query_cam_Q))
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(
            lambda d, pid, cam: _score_rows(d, pid, codes.gallery_pid_G, cam, codes.gallery_cam_G),
            distances,
            pids,
            cams,
        )
        return _joined(parts)


@compiled
def _score_rows(distance_QG, query_pid_Q, gallery_pid_G, query_cam_Q, gallery_cam_G):
    """Return (average precision, inverse negative penalty, rank of the first match) of some queries."""
    num_queries, num_gallery = distance_QG.shape
    average_precision_Q = np.full(num_queries, np.nan)
    inverse_negative_penalty_Q = np.full(num_queries, np.nan)
    first_match_rank_Q = np.full(num_queries, -1)
    found = np.empty(num_gallery, np.int64)
    for q in range(num_queries):
        row = distance_QG[q]
        count = 0
        for g in range(num_gallery):
            removed = query_cam_Q[q] >= 0 and gallery_cam_G[g] == query_cam_Q[q]
            if gallery_pid_G[g] == query_pid_Q[q] and not removed:
                found[count] = g
                count += 1
        if count == 0:
            continue
        match = found[:count][np.argsort(row[found[:count]], kind="mergesort")]
        last = row[match[-1]]
        # before[k] counts the images of other identities between the matches k − 1 and k.
        before = np.zeros(count + 1, np.int64)
        for g in range(num_gallery):
            if row[g] > last or gallery_pid_G[g] == query_pid_Q[q]:
                continue
            low, high = 0, count  # the first match after g is in low..high
            while low < high:
                middle = (low + high) // 2
                m = match[middle]
                if row[g] < row[m] or (row[g] == row[m] and g < m):
                    high = middle
                else:
                    low = middle + 1
            before[low] += 1
        rank = 0
        precision = 0.0
        for k in range(count):
            rank += before[k] + 1
            precision += (k + 1) / rank
            if k == 0:
                first_match_rank_Q[q] = rank
        average_precision_Q[q] = precision / count
        inverse_negative_penalty_Q[q] = count / rank
    return average_precision_Q, inverse_negative_penalty_Q, first_match_rank_Q


def _score_on_device(distance_QG: Tensor, codes: LabelCodes) -> _Scores:
    """Return the same scores as `_score_rows`, by torch operations on any device."""
    query_pid_Q, gallery_pid_G, query_cam_Q, gallery_cam_G = (
        torch.as_tensor(side, device=distance_QG.device) for side in codes
    )
    same_QG = query_pid_Q[:, None] == gallery_pid_G
    removed_QG = (query_cam_Q[:, None] == gallery_cam_G) & (query_cam_Q[:, None] >= 0)
    match_QG = same_QG & ~removed_QG
    count_Q = match_QG.sum(1)
    most = max(1, int(count_Q.max()))

    key_QG = ordering_key(distance_QG)
    never = torch.iinfo(torch.int64).max
    match_QN = key_QG.masked_fill(~match_QG, never).topk(most, largest=False).values
    # For each image of another identity, find the first match after it, then count these images for each match.
    next_QG = torch.searchsorted(match_QN, key_QG.masked_fill_(same_QG, never))
    before_QN = torch.zeros(len(distance_QG), most + 1, dtype=torch.int64, device=distance_QG.device)
    before_QN.scatter_add_(1, next_QG, torch.ones_like(next_QG))
    nth_N = torch.arange(1, most + 1, device=distance_QG.device)
    rank_QN = before_QN.cumsum(1)[:, :most] + nth_N

    valid_Q = count_Q > 0
    precision_QN = torch.where(nth_N <= count_Q[:, None], nth_N.double() / rank_QN, 0)
    last_rank_Q = rank_QN.gather(1, (count_Q - 1).clamp(min=0)[:, None])[:, 0]
    return _Scores(
        (precision_QN.sum(1) / count_Q).cpu().numpy(),  # 0 / 0 = nan where there is no match
        torch.where(valid_Q, count_Q.double() / last_rank_Q, torch.nan).cpu().numpy(),
        torch.where(valid_Q, rank_QN[:, 0], -1).cpu().numpy(),
    )
