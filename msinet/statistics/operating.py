"""Thresholds of a distance for a wanted false-positive rate, with the interval of the true-positive rate.

Shapes: I identities of queries, E bins of distance, D draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from msinet.statistics.intervals import LEVEL, Array, Interval, expansion, tail
from msinet.statistics.queries import DRAWS, identity_weights

RATES = (1e-4, 1e-3, 1e-2)


@dataclass(frozen=True, eq=False)
class PairCounts:
    """The pairs of a query and a gallery picture, counted by the query's identity and by their distance.

    Attributes:
        names: The identities that have a pair of each kind, (I,).
        positive, negative: Pairs of one identity, and of two identities, (I, E). Pairs of one identity and one camera
            are in neither.
        edges: Upper ends of the bins of distance, (E,).
    """

    names: Array
    positive: Array
    negative: Array
    edges: Array

    def rates(self) -> tuple[Array, Array]:
        """Return the false-positive and the true-positive rate if all pairs up to each edge are accepted, both (E,)."""
        false, true = (counts.sum(0).cumsum() / counts.sum() for counts in (self.negative, self.positive))
        return false, true


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and how good it is.

    Attributes:
        wanted: The false-positive rate that was asked for.
        threshold: Two pictures whose distance is below it count as one identity.
        false_positive_rate: Share of the pairs of two identities that are below it; at most `wanted`.
        true_positive_rate: Share of the pairs of one identity that are below it. Its interval is that of the share at
            the wanted rate, over the identities of the queries; so it also holds how uncertain the threshold is.
    """

    wanted: float
    threshold: float
    false_positive_rate: float
    true_positive_rate: Interval


def operating_points(
    counts: PairCounts,
    rates: Sequence[float] = RATES,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[OperatingPoint]:
    """Return the largest threshold for each wanted false-positive rate.

    Each draw of the bootstrap takes identities with replacement, with all pairs of their queries, finds the threshold
    anew, and reads the true-positive rate there.

    Args:
        counts: The pairs.
        rates: Wanted false-positive rates. A rate below 1 / number of negative pairs cannot be measured, and is left
            out.
        level: Share of intervals that contain the true value.
        draws: Number of draws.
        seed: Seed of the draws.

    Raises:
        ValueError: A rate is not between 0 and 1, or fewer than two identities have pairs.
    """
    if wrong := [rate for rate in rates if not 0 < rate < 1]:
        raise ValueError(f"a false-positive rate must lie between 0 and 1, but got {wrong[0]}.")
    false_E, true_E = counts.rates()
    weights_DI = identity_weights(len(counts.names), draws, seed)
    drawn = (weights_DI @ kind for kind in (counts.negative, counts.positive))
    false_DE, true_DE = (pairs_DE.cumsum(1) / np.maximum(pairs_DE.sum(1, keepdims=True), 1) for pairs_DE in drawn)
    factor = expansion(len(counts.names), level)
    points = []
    for rate in (rate for rate in rates if rate * counts.negative.sum() >= 1):
        place = _last(false_E[None], rate)[0]
        estimate = _at(true_E[None], np.array([place]))[0]
        deviations = factor * (_at(true_DE, _last(false_DE, rate)) - estimate)
        low, high = np.clip(estimate + np.quantile(deviations, [tail(level), 1 - tail(level)]), 0, 1)
        interval = Interval(float(estimate), float(low), float(high), level)
        threshold = float(counts.edges[place]) if place >= 0 else 0.0
        points.append(OperatingPoint(rate, threshold, float(_at(false_E[None], np.array([place]))[0]), interval))
    return points


def _last(rates_DE: Array, rate: float) -> Array:
    """Return for each row the last bin up to which the rate is not exceeded, −1 if there is none, (D,)."""
    return (rates_DE <= rate).sum(1) - 1


def _at(rates_DE: Array, place_D: Array) -> Array:
    """Return the rate of each row at a bin; 0 at the place −1."""
    return np.where(place_D >= 0, rates_DE[np.arange(len(rates_DE)), np.maximum(place_D, 0)], 0.0)
