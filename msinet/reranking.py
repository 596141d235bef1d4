"""k-reciprocal re-ranking (Zhong et al., CVPR 2017).

Two images are close when they have the same reciprocal neighbours. Each image is encoded by a sparse vector
over all images. The vectors of a query and a gallery image are compared by their Jaccard distance, and the
result is mixed with the original distance.

Shapes: Q queries, G gallery images, A = Q + G all images, queries first, D numbers of an embedding, N nearest
images that are kept for each image, R some queries. The A×A distances are computed in blocks of rows and never
held as a whole.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from msinet.blocks import row_blocks
from msinet.compiled import compiled
from msinet.distances import Array, ordering_key, products, unit_embeddings


class _Sparse(NamedTuple):
    """A sparse matrix by rows: row i holds `values[start[i]:start[i+1]]` at `columns[start[i]:start[i+1]]`, rising."""

    start: Array
    columns: Array
    values: Array


class Reranking:
    """The distances of a gallery that is re-ranked by the reciprocal neighbours that its images share with each query.

    The original distance is the square of the squared Euclidean distance of L2-normalised embeddings, divided
    by the row's maximum over all images, as in the released MSINet. Equal distances are ordered by position,
    queries before gallery. Distances are computed on the device of the embeddings, the rest on the CPU.

    `reranking[rows]` returns the distances of some queries, float32. `msinet.metrics.evaluate_distance` scores a
    `Reranking` one block of queries at a time, so that no Q×G matrix is ever held.

    Args:
        query_embedding, gallery_embedding: (Q, D) and (G, D), L2-normalised here.
        k1: Two images are reciprocal neighbours when each is among the `k1` nearest of the other. There may be fewer
            images than that.
        k2: Number of nearest images, the image itself included, over which its encoding is averaged; 1 averages
            nothing.
        lambda_value: Share of the original distance, from 0 to 1. The defaults of all three are the paper's.

    Attributes:
        shape: (Q, G).

    Raises:
        ValueError: Shapes do not fit, a number is not finite, or a setting is out of range.
    """

    def __init__(
        self,
        query_embedding: Tensor | Array,
        gallery_embedding: Tensor | Array,
        *,
        k1: int = 20,
        k2: int = 6,
        lambda_value: float = 0.3,
    ) -> None:
        if k1 < 1 or k2 < 1 or not 0 <= lambda_value <= 1:
            raise ValueError(
                "`k1` and `k2` must be at least 1 and `lambda_value` from 0 to 1, but got "
                f"k1={k1}, k2={k2}, lambda_value={lambda_value}."
            )
        query_QD, gallery_GD = unit_embeddings(query_embedding, gallery_embedding)
        self.shape = (len(query_QD), len(gallery_GD))
        self._embedding_AD = torch.cat([query_QD, gallery_GD])
        self._lambda = lambda_value
        nearest_AN, self._farthest_A = _neighbours(self._embedding_AD, max(k1 + 1, k2))
        start, columns = _reciprocal(np.ascontiguousarray(nearest_AN[:, : k1 + 1]), round(k1 / 2) + 1)
        self._encoding = _Sparse(start, columns, _weights(self._embedding_AD, self._farthest_A, start, columns))
        if k2 > 1:
            self._encoding = _average(self._encoding, np.ascontiguousarray(nearest_AN[:, :k2]))
        self._gallery_encoding = _columns_of(self._encoding, len(query_QD))

    def __getitem__(self, rows: slice) -> Array:
        """Return distance_RG of R consecutive queries."""
        num_queries, num_gallery = self.shape
        chosen = range(num_queries)[rows]
        distance_RG = np.empty((len(chosen), num_gallery), np.float32)
        for part in row_blocks(len(chosen), num_gallery):
            queries = slice(chosen.start + part.start, chosen.start + part.stop)
            original_RA = _original(self._embedding_AD, queries) / self._farthest_A[queries, None]
            distance_RG[part] = original_RA[:, num_queries:].cpu().numpy()
        _mix_jaccard(distance_RG, chosen.start, self._encoding, self._gallery_encoding, self._lambda)
        return distance_RG


def rerank(
    query_embedding: Tensor | Array,
    gallery_embedding: Tensor | Array,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> Array:
    """Return all distances of the `Reranking` of these arguments: distance_QG, float32."""
    return Reranking(query_embedding, gallery_embedding, k1=k1, k2=k2, lambda_value=lambda_value)[:]


def _original(embedding_AD: Tensor, rows: slice) -> Tensor:
    """Return the square of the squared Euclidean distance between some images and all images."""
    return (2 - 2 * products(embedding_AD[rows], embedding_AD)).clamp_(min=0).square_()


def _neighbours(embedding_AD: Tensor, count: int) -> tuple[Array, Tensor]:
    """Return for each image the `count` nearest (or all), itself first, and the distance of the farthest."""
    nearest, farthest = [], []
    for rows in row_blocks(len(embedding_AD), len(embedding_AD)):
        distance_RA = _original(embedding_AD, rows)
        farthest.append(distance_RA.max(1).values)
        distance_RA.diagonal(rows.start).fill_(-1)  # an image is its own first neighbour, before its copies
        # The keys are distinct, so the selection does not depend on how `topk` breaks ties.
        key_RN = ordering_key(distance_RA).topk(min(count, len(embedding_AD)), largest=False).values
        nearest.append((key_RN & 0xFFFFFFFF).cpu().numpy())
    # If all images lie at one point, the distances are rounding errors below 1e-12. The clamp keeps them small in the
    # division by the farthest distance.
    return np.concatenate(nearest), torch.cat(farthest).clamp(min=1e-12)


def _weights(embedding_AD: Tensor, farthest_A: Tensor, start: Array, columns: Array) -> Array:
    """Return the values of the encoding: exp(−original distance), divided by the sum of the row."""
    rows = np.repeat(np.arange(len(start) - 1), np.diff(start))
    weights = np.empty(len(columns), np.float32)
    for part in row_blocks(len(columns), embedding_AD.shape[1]):
        row, column = torch.from_numpy(rows[part]), torch.from_numpy(columns[part])
        distance = (2 - 2 * (embedding_AD[row] * embedding_AD[column]).sum(1)).clamp(min=0).square()
        weights[part] = (-distance / farthest_A[row]).exp().cpu().numpy()
    return weights / np.add.reduceat(weights, start[:-1])[rows]


@compiled
def _reciprocal(nearest_AN, num_half):
    """Return which images encode each image, as (start of each row, columns).

    An image i is encoded by its reciprocal neighbours. For each such neighbour j, the reciprocal neighbours of j
    among its `num_half` nearest images are added if more than two thirds of them are reciprocal neighbours of i.
    """
    num_images, num_nearest = nearest_AN.shape
    start = np.zeros(num_images + 1, np.int64)
    columns = np.empty(num_images * num_nearest, np.int64)
    own = np.full(num_images, -1)  # own[j] == i means: j is a reciprocal neighbour of i
    taken = np.full(num_images, -1)  # taken[j] == i means: j encodes i
    candidates = np.empty(num_nearest, np.int64)
    size = 0
    for i in range(num_images):
        while size + num_nearest * (num_half + 1) > len(columns):
            columns = np.concatenate((columns, np.empty_like(columns)))
        for j in nearest_AN[i]:
            if i in nearest_AN[j]:
                own[j] = taken[j] = i
                columns[size] = j
                size += 1
        for j in columns[start[i] : size].copy():
            count = shared = 0
            for candidate in nearest_AN[j, :num_half]:
                if j in nearest_AN[candidate, :num_half]:
                    candidates[count] = candidate
                    count += 1
                    shared += own[candidate] == i
            if 3 * shared > 2 * count:
                for candidate in candidates[:count]:
                    if taken[candidate] != i:
                        taken[candidate] = i
                        columns[size] = candidate
                        size += 1
        columns[start[i] : size].sort()
        start[i + 1] = size
    return start, columns[:size].copy()


@compiled
def _average(encoding, nearest_AN):
    """Return for each image the mean of the sparse rows of its nearest images."""
    start, columns, values = encoding
    num_images, num_nearest = nearest_AN.shape
    total = np.zeros(num_images)
    touched = np.full(num_images, -1)
    new_start = np.zeros(num_images + 1, np.int64)
    new_columns = np.empty(num_nearest * len(columns), np.int64)
    new_values = np.empty(num_nearest * len(columns), np.float32)
    size = 0
    for i in range(num_images):
        for j in nearest_AN[i]:
            for entry in range(start[j], start[j + 1]):
                column = columns[entry]
                if touched[column] != i:
                    touched[column] = i
                    total[column] = 0
                    new_columns[size] = column
                    size += 1
                total[column] += values[entry]
        new_columns[new_start[i] : size].sort()
        for entry in range(new_start[i], size):
            new_values[entry] = total[new_columns[entry]] / num_nearest
        new_start[i + 1] = size
    return _Sparse(new_start, new_columns[:size].copy(), new_values[:size].copy())


@compiled
def _columns_of(encoding, first_row):
    """Return the transpose of the rows from `first_row` on, as a sparse matrix; `first_row` becomes column 0."""
    start, columns, values = encoding
    num_images = len(start) - 1
    begin = start[first_row]
    column_start = np.zeros(num_images + 1, np.int64)
    for column in columns[begin:]:
        column_start[column + 1] += 1
    column_start = np.cumsum(column_start)
    free = column_start[:-1].copy()
    rows = np.empty(len(columns) - begin, np.int64)
    row_values = np.empty(len(columns) - begin, np.float32)
    for row in range(first_row, num_images):
        for entry in range(start[row], start[row + 1]):
            place = free[columns[entry]]
            free[columns[entry]] += 1
            rows[place] = row - first_row
            row_values[place] = values[entry]
    return _Sparse(column_start, rows, row_values)


@compiled
def _mix_jaccard(distance_RG, first, encoding, transpose, lambda_value):
    """Mix the Jaccard distances of the queries from `first` on into their original distances, in place.

    The values of an encoding sum to 1, so the union of two encodings is 2 minus their intersection.
    """
    num_rows, num_gallery = distance_RG.shape
    for row in range(num_rows):
        query = first + row
        intersection_G = np.zeros(num_gallery)
        for entry in range(encoding.start[query], encoding.start[query + 1]):
            column, value = encoding.columns[entry], encoding.values[entry]
            for other in range(transpose.start[column], transpose.start[column + 1]):
                intersection_G[transpose.columns[other]] += min(value, transpose.values[other])
        jaccard_G = 1 - intersection_G / (2 - intersection_G)
        for g in range(num_gallery):
            distance_RG[row, g] = (1 - lambda_value) * jaccard_G[g] + lambda_value * distance_RG[row, g]
