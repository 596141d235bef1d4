"""The scores of single queries, and the bootstrap that draws their identities.

Shapes: Q queries, I identities, D draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

Array = np.ndarray
DRAWS = 2000


@dataclass(frozen=True, eq=False)
class QueryScores:
    """The scores of each query of one evaluation, as its file `per_query.parquet` holds them.

    Attributes:
        identities: The identity of each query, (Q,).
        average_precision: (Q,); nan for a query without a match, which no score counts.
        first_match_rank: (Q,), counted from 1; −1 for a query without a match.
        inverse_negative_penalty: (Q,), or None: evaluations of version 0.1.0 did not keep it.
    """

    identities: Array
    average_precision: Array
    first_match_rank: Array
    inverse_negative_penalty: Array | None = None

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any] | Array]) -> "QueryScores":
        """Return the scores in the columns `pid`, `average_precision`, `first_match_rank` and, if it is there,
        `inverse_negative_penalty`.
        """
        penalty = columns.get("inverse_negative_penalty")
        return cls(
            np.asarray(columns["pid"], dtype=str),
            np.asarray(columns["average_precision"], dtype=float),
            np.asarray(columns["first_match_rank"]),
            None if penalty is None else np.asarray(penalty, dtype=float),
        )

    def has(self, metric: str) -> bool:
        """Return whether the scores of single queries are known for a metric."""
        return metric != "mINP" or self.inverse_negative_penalty is not None

    def values(self, metric: str) -> Array:
        """Return the score of each query, (Q,), whose mean is the metric; nan for a query without a match.

        Args:
            metric: `mAP`, `mINP`, or `rank` with a number, such as `rank1`.

        Raises:
            ValueError: The metric is unknown, or the evaluation did not keep what it needs.
        """
        if metric == "mAP":
            return self.average_precision
        if metric == "mINP":
            if self.inverse_negative_penalty is None:
                raise ValueError("the evaluation did not keep the inverse negative penalty of each query.")
            return self.inverse_negative_penalty
        if not (metric.startswith("rank") and metric[4:].isdecimal() and int(metric[4:]) > 0):
            raise ValueError(f"`metric` must be mAP, mINP or rank<k> with k from 1, but got {metric!r}.")
        rank = self.first_match_rank
        return np.where(rank > 0, rank <= int(metric[4:]), np.nan)

    def mean(self, metric: str) -> float:
        """Return the metric: the mean over the queries that have a match. Raises ValueError like `values`."""
        return float(np.nanmean(self.values(metric)))

    @property
    def names(self) -> Array:
        """Return the identities that have a query with a match, sorted, (I,)."""
        return self._grouped[0]

    def sums(self, metric: str) -> tuple[Array, Array]:
        """Return for each identity the sum of its queries' scores and their number, both (I,)."""
        names, codes, valid = self._grouped
        values = self.values(metric)[valid]
        return np.bincount(codes, values, len(names)), np.bincount(codes, minlength=len(names)).astype(float)

    @cached_property
    def _grouped(self) -> tuple[Array, Array, Array]:
        valid = self.first_match_rank > 0
        if not valid.any():
            raise ValueError("at least one query must have a match, but none has one.")
        names, codes = np.unique(self.identities[valid], return_inverse=True)
        return names, codes, valid


def score_draws(runs: Sequence[QueryScores], metric: str, draws: int, seed: int) -> Array:
    """Return the score of each run on identities that are drawn with replacement, (D, runs).

    In one draw all runs are scored on the same identities. All queries of an identity are drawn together, because they
    are not independent.

    Raises:
        ValueError: The runs are not of the same queries.
    """
    names = runs[0].names
    if any(not np.array_equal(run.names, names) for run in runs[1:]):
        raise ValueError("evaluations can be compared only on the same queries, but their identities differ.")
    weights_DI = identity_weights(len(names), draws, seed)
    sums = np.stack([np.stack(run.sums(metric), axis=1) for run in runs], axis=1)  # (I, runs, 2)
    drawn = (weights_DI @ sums.reshape(len(names), -1)).reshape(draws, len(runs), 2)
    return drawn[..., 0] / drawn[..., 1]


@lru_cache(maxsize=2)
def identity_weights(identities: int, draws: int, seed: int) -> Array:
    """Return how often each draw with replacement takes each identity, (D, I). The array must not be changed."""
    picked = np.random.default_rng(seed).integers(identities, size=(draws, identities))
    picked += np.arange(draws)[:, None] * identities
    weights = np.bincount(picked.ravel(), minlength=draws * identities).reshape(draws, identities).astype(float)
    weights.flags.writeable = False
    return weights
