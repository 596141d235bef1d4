"""The interval of a score, over the identities of the queries and over retraining seeds."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from msinet.statistics.intervals import LEVEL, Array, Interval, expansion, tail
from msinet.statistics.queries import DRAWS, QueryScores, score_draws


def score_interval(
    runs: Sequence[QueryScores],
    metric: str,
    *,
    groups: Sequence[Hashable] | None = None,
    pooled: tuple[float, int] | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """Return the mean score of some runs, and its interval by a bootstrap.

    Each draw takes identities with replacement, with all their queries: a bootstrap over queries is too narrow, because
    the queries of one identity are not independent. For several runs each draw also takes another mean over seeds. It
    is drawn from Student's t distribution with n − 1 degrees of freedom, because two or three seeds that are drawn with
    replacement spread too little (see `expansion`, and S. Weerahandi, Generalized Confidence Intervals, JASA 88, 1993,
    for intervals from such draws). The spread between runs that comes from the identities is thus counted twice, which
    makes the interval a little wider than necessary.

    With a single run and no `pooled` deviation the interval holds the choice of identities only. It says nothing about
    another training.

    Args:
        runs: One evaluation for each retraining seed, all on the same queries.
        metric: `mAP`, `mINP` or `rank<k>`.
        groups: For each run what its seed lies in, for example the search that found its genotype. The runs of one
            group are not independent, so n is the number of groups, and their means vary. By default, and for a single
            group, n is the number of runs.
        pooled: Standard deviation over seeds, pooled over similar models (`pooled_deviation`), and its degrees of
            freedom. Two or three runs know their own deviation badly, so this gives far shorter intervals if the models
            have about the same one. It is not used for several groups.
        level: Share of intervals that contain the true value.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        The interval, as fractions between 0 and 1.

    Raises:
        ValueError: There is no run, the runs are not of the same queries, or fewer than two identities have a query.
    """
    if not runs:
        raise ValueError("a score needs at least one run, but got none.")
    scores = np.array([run.mean(metric) for run in runs])
    estimate = scores.mean()
    factor = expansion(len(runs[0].names), level)
    deviations = factor * (score_draws(runs, metric, draws, seed).mean(1) - estimate)
    units = _units(scores, groups)
    if pooled is None or len(units) < len(scores):
        pooled = pooled_deviation([units])
    if pooled:
        error = pooled[0] / np.sqrt(len(units))
        deviations = deviations + error * np.random.default_rng([seed, 1]).standard_t(pooled[1], draws)
    low, high = np.clip(estimate + np.quantile(deviations, [tail(level), 1 - tail(level)]), 0, 1)
    return Interval(float(estimate), float(low), float(high), level)


def pooled_deviation(scores: Iterable[Sequence[float] | Array]) -> tuple[float, int] | None:
    """Return the standard deviation within lists of scores, pooled over the lists, and its degrees of freedom.

    Args:
        scores: For each model the scores of its runs.

    Returns:
        None if no list has two scores.
    """
    lists = [np.asarray(values, dtype=float) for values in scores]
    degrees = sum(len(values) - 1 for values in lists)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in lists)
    return (float(np.sqrt(squares / degrees)), degrees) if degrees > 0 else None


def _units(scores: Array, groups: Sequence[Hashable] | None) -> Array:
    """Return the independent values of which the score is the mean."""
    names = list(dict.fromkeys(groups or []))
    if len(names) < 2:
        return scores
    return np.array([scores[[group == name for group in groups or []]].mean() for name in names])
