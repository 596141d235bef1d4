"""Paired differences of models on one target, corrected for the number of pairs, and groups that stay together.

Shapes: M models, R runs of all models, D draws.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import stdtr

from msinet.statistics.intervals import LEVEL, Array, Interval, t_quantile
from msinet.statistics.queries import DRAWS, QueryScores, score_draws

# The evaluations of one model on one target, by retraining seed.
Runs = Mapping[Hashable, QueryScores]


@dataclass(frozen=True)
class Difference:
    """How much higher the model `a` scores than the model `b`.

    Attributes:
        a, b: Names of the models.
        interval: The score of a minus that of b.
        probability: Probability of improvement: how often one run of a scores higher than one run of b on identities
            that are drawn anew. Equal scores count half (Agarwal et al., NeurIPS 2021).
        p: Probability of a difference at least as large if both models were equally good; two-sided.
        adjusted_p: `p` after Holm's correction for all pairs (S. Holm, Scandinavian Journal of Statistics 6, 1979).
    """

    a: str
    b: str
    interval: Interval
    probability: float
    p: float
    adjusted_p: float


@dataclass(frozen=True)
class Comparison:
    """All pairs of some models on one target.

    Attributes:
        scores: The mean score of each model, the best one first.
        pairs: The differences, with the better model as `a`.
        groups: The largest sets of models of which no two can be told apart, in the order of `scores`. A model may be
            in several of them.
        seed_deviation: Standard deviation of a score over retraining seeds, pooled over all models; 0 if unknown.
        seed_degrees: Its degrees of freedom; 0 if every model has a single seed. The intervals then hold the choice of
            identities only, and say nothing about another training of the same models.
        identity_deviation: Standard deviation of a difference over the choice of identities: the median of all pairs.
        level: Level of the intervals. Pairs whose `adjusted_p` is below 1 − level can be told apart.
    """

    scores: dict[str, float]
    pairs: list[Difference]
    groups: list[list[str]]
    seed_deviation: float
    seed_degrees: int
    identity_deviation: float
    level: float


def paired_difference(
    a: Runs, b: Runs, metric: str, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Return how much higher model a scores than model b. See `compare_all`, of which this is the case of two models.

    The seeds are paired if both models have the same ones.
    """
    comparison = compare_all({"a": a, "b": b}, metric, level=level, draws=draws, seed=seed)
    (pair,) = comparison.pairs
    if pair.a == "a":
        return pair
    found = pair.interval
    turned = Interval(-found.estimate, -found.high, -found.low, level)
    return Difference("a", "b", turned, 1 - pair.probability, pair.p, pair.adjusted_p)


def compare_all(
    models: Mapping[str, Runs], metric: str, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Compare each model with each other on one target.

    The variance of a difference is the sum of two parts. The part of the identities comes from a bootstrap that scores
    all models on the same drawn identities. The part of the seeds is the variance of single runs, pooled over all
    models because each has few seeds. If all models have the same seeds, an effect that a seed has on all models is
    taken out (two-way analysis of variance; for two models this is the paired t test), otherwise each model's runs vary
    around its own mean. Intervals and p values come from Student's t distribution, with the degrees of freedom of
    Welch and Satterthwaite (F. Satterthwaite, Biometrics Bulletin 2, 1946).

    Args:
        models: For each model its evaluations by retraining seed, all on the same queries.
        metric: `mAP`, `mINP` or `rank<k>`.
        level: Level of the intervals, 1 − the level of the tests.
        draws: Number of draws.
        seed: Seed of the draws.

    Raises:
        ValueError: There are fewer than two models, a model has no run, or the runs are not of the same queries.
    """
    if len(models) < 2 or not all(models.values()):
        raise ValueError(f"a comparison needs two models with at least one run each, but got {list(models)}.")
    owner_R = np.repeat(np.arange(len(models)), [len(runs) for runs in models.values()])
    runs_R = [run for runs in models.values() for run in runs.values()]
    scores_R = np.array([run.mean(metric) for run in runs_R])
    mean_RM = (owner_R[:, None] == np.arange(len(models))) / np.bincount(owner_R)  # averages the runs of each model
    scores_M = scores_R @ mean_RM

    drawn_DR = score_draws(runs_R, metric, draws, seed)
    identities = len(runs_R[0].names)
    covariance_MM = np.atleast_2d(np.cov(drawn_DR @ mean_RM, rowvar=False)) * identities / max(identities - 1, 1)
    wins_MM = mean_RM.T @ _wins(drawn_DR) @ mean_RM
    seed_variance, seed_degrees = _seed_variance(scores_R, owner_R, list(models.values()))
    order = np.argsort(-scores_M, kind="stable")
    names = [list(models)[index] for index in order]

    first, second = (order[side] for side in np.triu_indices(len(order), 1))
    difference = scores_M[first] - scores_M[second]
    own = np.diag(covariance_MM)
    by_identities = np.maximum(own[first] + own[second] - 2 * covariance_MM[first, second], 0)
    count_M = np.bincount(owner_R)
    by_seeds = seed_variance * (1 / count_M[first] + 1 / count_M[second])
    error = np.sqrt(by_identities + by_seeds)
    parts = [(by_identities, max(identities - 1, 1)), (by_seeds, max(seed_degrees, 1))]
    certain = error == 0  # the models rank every query alike
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(certain, 1, error**4 / sum(part**2 / df for part, df in parts))
        p = np.where(certain, difference == 0, 2 * stdtr(degrees, -np.abs(difference / error)))
    adjusted = holm(p)
    reach = t_quantile(degrees, level) * error
    pairs = [
        Difference(
            names[i],
            names[j],
            Interval(float(difference[n]), float(difference[n] - reach[n]), float(difference[n] + reach[n]), level),
            float(wins_MM[order[i], order[j]]),
            float(p[n]),
            float(adjusted[n]),
        )
        for n, (i, j) in enumerate(combinations(range(len(names)), 2))
    ]
    apart = [(pair.a, pair.b) for pair in pairs if pair.adjusted_p < 1 - level]
    return Comparison(
        {name: float(scores_M[index]) for name, index in zip(names, order, strict=True)},
        pairs,
        groups(names, apart),
        float(np.sqrt(seed_variance)),
        seed_degrees,
        float(np.sqrt(np.median(by_identities))),
        level,
    )


def holm(p: Array) -> Array:
    """Return p values after Holm's correction, which bounds the probability of any false finding among all tests."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def groups(names: Sequence[str], apart: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the largest sets of names that contain no pair of `apart`, in the order of the names.

    Each pair divides the sets that contain both of its names; sets within other sets are dropped (H.-P. Piepho, Journal
    of Computational and Graphical Statistics 13, 2004, whose letters stand for these sets).
    """
    sets = [frozenset(names)]
    for pair in apart:
        divided = [part for found in sets for part in ([found - {n} for n in pair] if found >= set(pair) else [found])]
        unique = list(dict.fromkeys(divided))
        sets = [found for found in unique if not any(found < other for other in unique)]
    place = {name: index for index, name in enumerate(names)}
    return sorted((sorted(found, key=place.__getitem__) for found in sets), key=lambda s: [place[n] for n in s])


def _wins(drawn_DR: Array) -> Array:
    """Return in which share of the draws each run scores higher than each other one, (R, R). Ties count half."""
    rows = [(run_D[:, None] > drawn_DR).mean(0) + (run_D[:, None] == drawn_DR).mean(0) / 2 for run_D in drawn_DR.T]
    return np.stack(rows)


def _seed_variance(scores_R: Array, owner_R: Array, models: Sequence[Runs]) -> tuple[float, int]:
    """Return the variance of a score over retraining seeds, pooled over all models, and its degrees of freedom."""
    seeds = [sorted(runs, key=repr) for runs in models]
    paired = len(seeds[0]) > 1 and all(own == seeds[0] for own in seeds)
    if paired:
        # The runs of a model are in the order of its mapping, so they are put into the order of the seeds.
        place = [list(runs).index(seed) for runs, own in zip(models, seeds, strict=True) for seed in own]
        table = scores_R.reshape(len(models), -1)
        table = np.take_along_axis(table, np.array(place).reshape(table.shape), axis=1)
        rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
        degrees = (table.shape[0] - 1) * (table.shape[1] - 1)
    else:
        means = np.bincount(owner_R, scores_R) / np.bincount(owner_R)
        rest = scores_R - means[owner_R]
        degrees = len(scores_R) - len(models)
    return (float((rest**2).sum() / degrees), degrees) if degrees else (0.0, 0)
