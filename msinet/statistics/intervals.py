"""An estimate with its interval, and the corrections for few values."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

Array = np.ndarray
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval in which the true value lies with the probability `level`.

    Attributes:
        estimate: The value that was measured.
        low, high: Ends of the interval.
        level: Share of such intervals that contain the true value.
    """

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def half_width(self) -> float:
        """Return half the length of the interval: the number after the sign ±."""
        return (self.high - self.low) / 2

    def scaled(self, factor: float) -> "Interval":
        """Return the interval in another unit, for example in percent with the factor 100."""
        return Interval(factor * self.estimate, factor * self.low, factor * self.high, self.level)


def tail(level: float) -> float:
    """Return the probability above an interval of this level.

    Raises:
        ValueError: The level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1, but got {level}.")
    return (1 - level) / 2


def t_quantile(degrees: float | Array, level: float) -> float | Array:
    """Return the quantile of Student's t distribution that bounds an interval of this level."""
    return stdtrit(degrees, 1 - tail(level))


def expansion(count: int, level: float) -> float:
    """Return the factor by which deviations of a bootstrap over `count` units are too small.

    A bootstrap's variance is (n − 1) / n times the right one, and its quantiles are those of a normal distribution
    although the variance is estimated (T. Hesterberg, What Teachers Should Know About the Bootstrap, The American
    Statistician 69, 2015, section 3.2.2: the expanded percentile interval). The factor is near 1 from 50 units on.
    """
    if count < 2:
        raise ValueError(f"a bootstrap needs at least 2 units, but got {count}.")
    narrow = np.sqrt(count / (count - 1))
    return float(narrow * t_quantile(count - 1, level) / ndtri(1 - tail(level)))
