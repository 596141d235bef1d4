"""How likely luck is to do as well: a score against the scores of random draws."""

from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv

from msinet.statistics.intervals import LEVEL, Array, Interval, tail


def probability_of_luck(score: float, drawn: Sequence[float] | Array, *, level: float = LEVEL) -> Interval:
    """Return the probability that one random draw scores at least as high.

    The interval is exact for a share of independent draws (C. Clopper and E. Pearson, Biometrika 26, 1934). It takes
    the score as it was measured.

    Args:
        score: The score in question.
        drawn: Scores of random draws.
        level: Level of the interval.

    Raises:
        ValueError: There are no draws.
    """
    if not len(drawn):
        raise ValueError("the probability of luck needs at least one random draw, but got none.")
    count, hits = len(drawn), int((np.asarray(drawn) >= score).sum())
    low = betaincinv(hits, count - hits + 1, tail(level)) if hits else 0.0
    high = betaincinv(hits + 1, count - hits, 1 - tail(level)) if hits < count else 1.0
    return Interval(hits / count, float(low), float(high), level)


def best_of(draws: float, probability: Interval) -> Interval:
    """Return the probability that the best of several draws scores at least as high, from that of one draw.

    Args:
        draws: Number of draws, at least 1. It need not be whole, as hours of a search are not those of a draw.
        probability: Result of `probability_of_luck`.
    """
    if draws < 1:
        raise ValueError(f"`draws` must be at least 1, but got {draws}.")
    missed = [(1 - value) ** draws for value in (probability.estimate, probability.low, probability.high)]
    return Interval(1 - missed[0], 1 - missed[1], 1 - missed[2], probability.level)
