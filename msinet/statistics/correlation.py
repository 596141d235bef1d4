"""Rank correlation of two lists of scores, with its interval."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import ndtri

from msinet.statistics.intervals import LEVEL, Array, Interval, tail


def rank_correlation(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    method: Literal["kendall", "spearman"] = "kendall",
    *,
    level: float = LEVEL,
) -> Interval:
    """Return Kendall's τ (τ-b, which allows ties) or Spearman's ρ, and its interval.

    The interval is that of Fisher's z with the standard error sqrt(0.437 / (n − 4)) for τ (Fieller, Hartley and
    Pearson, Biometrika 44, 1957) and sqrt((1 + ρ²/2) / (n − 3)) for ρ (Bonett and Wright, Psychometrika 65, 2000). A
    perfect correlation has no finite z: the centre of its interval then lies half a step below it, where a step is the
    smallest possible change of the coefficient. Four pairs or fewer (three for ρ) say nothing: the interval is −1 to 1.

    Raises:
        ValueError: The lists do not have the same length of at least 2, a value is not finite, or one list is constant.
    """
    pair = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    count = pair[0].size
    if pair[0].shape != (count,) or pair[1].shape != (count,) or count < 2:
        raise ValueError(
            f"a correlation needs two lists of the same length of at least 2, but got the shapes {pair[0].shape} and "
            f"{pair[1].shape}."
        )
    if not all(np.isfinite(side).all() for side in pair):
        raise ValueError("a correlation needs finite values, but got infinity or nan.")
    if any(np.ptp(side) == 0 for side in pair):
        raise ValueError("a correlation needs different values in each list, but one list is constant.")
    if method == "kendall":
        estimate, step, spare, variance = _kendall(*pair), 4 / (count * (count - 1)), count - 4, 0.437
    elif method == "spearman":
        estimate, step, spare = _spearman(*pair), 12 / (count * (count**2 - 1)), count - 3
        variance = 1 + estimate**2 / 2
    else:
        raise ValueError(f"`method` must be kendall or spearman, but got {method!r}.")
    if spare <= 0:
        return Interval(estimate, -1.0, 1.0, level)
    centre = np.arctanh(np.clip(estimate, step / 2 - 1, 1 - step / 2))
    reach = ndtri(1 - tail(level)) * np.sqrt(variance / spare)
    low, high = np.tanh([centre - reach, centre + reach])
    return Interval(estimate, float(min(low, estimate)), float(max(high, estimate)), level)


def _kendall(x: Array, y: Array) -> float:
    order_x, order_y = (np.sign(side[:, None] - side) for side in (x, y))
    return float((order_x * order_y).sum() / np.sqrt((order_x**2).sum() * (order_y**2).sum()))


def _spearman(x: Array, y: Array) -> float:
    ranks_x, ranks_y = (ranks - ranks.mean() for ranks in map(_ranks, (x, y)))
    return float(ranks_x @ ranks_y / np.sqrt((ranks_x @ ranks_x) * (ranks_y @ ranks_y)))


def _ranks(values: Array) -> Array:
    """Return the rank of each value; equal values share their mean rank."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]
