"""A race: seeds are given only to the models that may still be the best, until the best is known.

Successive elimination (E. Even-Dar, S. Mannor and Y. Mansour, JMLR 7, 2006) with a paired t test after each seed.
Shapes: G models, S seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from msinet.statistics.intervals import Array

ERROR = 0.05
MOST_SEEDS = 1000  # a race that would take more is not to be decided


@dataclass(frozen=True)
class Race:
    """How far a race is.

    Attributes:
        seeds: Number of seeds that all models in `left` have.
        means: Mean score of each model over its seeds up to then.
        left: The models of which each may be the best, the one with the highest mean first.
        out: For each other model the number of seeds after which it was eliminated.
        margin: Smallest difference of two means that eliminates a model now.
        deviation: Standard deviation of a score over seeds, without what a seed does to all models.
        degrees: Degrees of freedom of `deviation`.
        decided: Whether one model is left, or no model that is left can be better than another one by `equal_within`.
        more_seeds: For each model that is left the number of further seeds after which the race would be decided if
            the present means and deviation were the true ones; None for more than 1000.
    """

    seeds: int
    means: dict[str, float]
    left: list[str]
    out: dict[str, int]
    margin: float
    deviation: float
    degrees: int
    decided: bool
    more_seeds: dict[str, int] | None


def race(scores: Mapping[str, Sequence[float]], *, error: float = ERROR, equal_within: float = 0.0) -> Race:
    """Return how far a race is after the seeds that its models have.

    After n seeds a model is eliminated if its mean lies below the highest one by more than t·s·√(2/n). Here s is the
    standard deviation of the scores after the means of models and seeds are taken out, and t is the two-sided quantile
    of Student's distribution at the level error / (n·(n − 1)·(G − 1)). The sum of these levels over all n from 2 on and
    over the G − 1 opponents of the best model is `error`. So with a probability of at least 1 − error the best model is
    never eliminated, and no model that is left at the end is better than another one by `equal_within`, however long
    the race takes.

    This assumes that a score is the sum of an effect of the model, an effect of the seed and an error, and that the
    errors are independent and normal with the same variance for all models.

    Args:
        scores: For each model its scores, in the same order of seeds for all models. A model that is eliminated needs
            no further scores.
        error: Probability of a wrong decision in the whole race.
        equal_within: Models that differ by less count as equal.

    Raises:
        ValueError: There are fewer than two models, or a model has fewer than two scores.
    """
    names = list(scores)
    if len(names) < 2 or min(map(len, scores.values())) < 2:
        raise ValueError(f"a race needs at least two models with two scores each, but got {dict(scores)!r:.200}.")
    table_GS = np.full((len(names), max(map(len, scores.values()))), np.nan)
    for row, values in zip(table_GS, scores.values(), strict=True):
        row[: len(values)] = values
    return _Runner(table_GS, error, equal_within).run(names)


class _Runner:
    """Replays a race from its first seeds on."""

    def __init__(self, table_GS: Array, error: float, equal_within: float) -> None:
        self.table_GS, self.error, self.equal_within = table_GS, error, equal_within
        self.left_G = np.ones(len(table_GS), dtype=bool)
        self.out_G = np.zeros(len(table_GS), dtype=int)
        self.seeds, self.sum_G = 1, table_GS[:, 0]
        self.squares, self.degrees = 0.0, 0

    def run(self, names: Sequence[str]) -> Race:
        decided = False
        while not decided and self._next_seed():
            decided = self._eliminate()
        mean_G = np.array([row[: n or self.seeds].mean() for row, n in zip(self.table_GS, self.out_G, strict=True)])
        order = sorted(np.flatnonzero(self.left_G).tolist(), key=lambda g: -mean_G[g])
        more = [0] * len(order) if decided else self._more_seeds(mean_G[order])
        return Race(
            self.seeds,
            dict(zip(names, mean_G.tolist(), strict=True)),
            [names[g] for g in order],
            {names[g]: int(self.out_G[g]) for g in np.flatnonzero(~self.left_G).tolist()},
            float(self._margin(self.seeds, self.degrees)),
            math.sqrt(self.squares / self.degrees),
            self.degrees,
            decided,
            None if more is None else {names[g]: count for g, count in zip(order, more, strict=True)},
        )

    def _next_seed(self) -> bool:
        """Go on to the next seed, if all models that are left have it, and add what it says about the deviation.

        The difference of a model's new score to its mean so far, divided by √(1 + 1/n), has the variance of a single
        score. What all models share is the effect of the seed. In a race without elimination the sum of squares is that
        of a two-way analysis of variance.
        """
        if self.seeds == self.table_GS.shape[1] or np.isnan(self.table_GS[self.left_G, self.seeds]).any():
            return False
        new_G = self.table_GS[:, self.seeds]
        step_G = (new_G - self.sum_G / self.seeds)[self.left_G] / math.sqrt(1 + 1 / self.seeds)
        self.squares += float(((step_G - step_G.mean()) ** 2).sum())
        self.degrees += len(step_G) - 1
        self.sum_G = self.sum_G + new_G
        self.seeds += 1
        return True

    def _eliminate(self) -> bool:
        """Eliminate the models that are too far behind, and return whether the race is decided."""
        mean_G, margin = self.sum_G / self.seeds, float(self._margin(self.seeds, self.degrees))
        behind_G = self.left_G & (mean_G < mean_G[self.left_G].max() - margin)
        self.left_G &= ~behind_G
        self.out_G[behind_G] = self.seeds
        left = mean_G[self.left_G]
        return len(left) == 1 or bool(left.max() - left.min() + margin < self.equal_within)

    def _margin(self, seeds: int | Array, degrees: int | Array) -> Array:
        """Return the difference of two means that decides after some seeds, with the present deviation."""
        level = self.error / (seeds * (seeds - 1) * (len(self.table_GS) - 1))
        return stdtrit(degrees, 1 - level / 2) * np.sqrt(2 * self.squares / (self.degrees * seeds))

    def _more_seeds(self, mean_G: Array) -> list[int] | None:
        """Return how many more seeds each model needs, the best one first. An opponent goes out, or proves equal."""
        seeds_N = np.arange(self.seeds + 1, MOST_SEEDS + 1)
        margin_N = self._margin(seeds_N, self.degrees + (seeds_N - self.seeds) * (len(mean_G) - 1))
        counts = []
        for gap in mean_G[0] - mean_G[1:]:
            decides_N = (gap > margin_N) | (gap + margin_N < self.equal_within)
            if not decides_N.any():
                return None
            counts.append(int(decides_N.argmax()) + 1)
        return [max(counts), *counts]
