"""How sure a score, a comparison or a correlation is. This package needs NumPy and SciPy only.

Scores are fractions. An interval is always an `Interval` with its level. Random draws follow from a seed, so the same
results give the same interval.
"""

from msinet.statistics.agreement import fleiss_kappa
from msinet.statistics.correlation import rank_correlation
from msinet.statistics.intervals import Interval
from msinet.statistics.luck import best_of, probability_of_luck
from msinet.statistics.pairs import Comparison, Difference, compare_all, paired_difference
from msinet.statistics.power import smallest_difference
from msinet.statistics.queries import QueryScores
from msinet.statistics.racing import Race, race
from msinet.statistics.scores import pooled_deviation, score_interval
from msinet.statistics.variance import Component, identity_variance, variance_components

__all__ = [
    "Comparison",
    "Component",
    "Difference",
    "Interval",
    "QueryScores",
    "Race",
    "best_of",
    "compare_all",
    "fleiss_kappa",
    "identity_variance",
    "paired_difference",
    "pooled_deviation",
    "probability_of_luck",
    "race",
    "rank_correlation",
    "score_interval",
    "smallest_difference",
    "variance_components",
]
