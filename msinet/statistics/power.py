"""The smallest difference that a number of seeds can show."""

import numpy as np
from scipy.special import nctdtrinc, stdtrit

from msinet.statistics.intervals import LEVEL, tail


def smallest_difference(
    deviation: float, seeds: int, *, degrees: float | None = None, level: float = LEVEL, power: float = 0.8
) -> float:
    """Return the true difference of two means that a two-sided t test finds with the probability `power`.

    It follows from the noncentral t distribution (J. Cohen, Statistical Power Analysis for the Behavioral Sciences,
    1988, chapter 2). The convention of 80 % power at the 5 % level is from there too.

    Args:
        deviation: Standard deviation of a score over retraining seeds.
        seeds: Retraining seeds of each of the two models.
        degrees: Degrees of freedom of `deviation`; by default those of the two models' own seeds, 2 (seeds − 1).
        level: Level of the interval of the difference, 1 − the level of the test.
        power: Probability with which the difference is found.

    Returns:
        The difference, in the unit of `deviation`; infinity if there is no degree of freedom.

    Raises:
        ValueError: The deviation is negative, or the power does not lie between the test's level and 1.
    """
    degrees = 2 * (seeds - 1) if degrees is None else degrees
    if not deviation >= 0:
        raise ValueError(f"`deviation` must not be negative, but got {deviation}.")
    if not 1 - level < power < 1:
        raise ValueError(f"`power` must lie between {1 - level:g} and 1, but got {power}.")
    if seeds < 1 or degrees <= 0:
        return float("inf")
    bound = stdtrit(degrees, 1 - tail(level))
    return float(nctdtrinc(degrees, 1 - power, bound) * deviation * np.sqrt(2 / seeds))
