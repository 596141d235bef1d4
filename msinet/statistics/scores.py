"""The interval of a score, over the identities of the queries and over retraining seeds."""

from collections.abc import Hashable, Sequence

import numpy as np

from msinet.statistics.intervals import LEVEL, Array, Interval, expansion, tail
from msinet.statistics.queries import DRAWS, QueryScores, score_draws


def score_interval(
    runs: Sequence[QueryScores],
    metric: str,
    *,
    groups: Sequence[Hashable] | None = None,
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

    With a single run the interval holds the choice of identities only. It says nothing about another training.

    Args:
        runs: One evaluation for each retraining seed, all on the same queries.
        metric: `mAP`, `mINP` or `rank<k>`.
        groups: For each run what its seed lies in, for example the search that found its genotype. The runs of one
            group are not independent, so n is the number of groups, and their means vary. By default, and for a single
            group, n is the number of runs.
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
    scores = np.array([np.nanmean(run.values(metric)) for run in runs])
    estimate = scores.mean()
    factor = expansion(len(runs[0].names), level)
    deviations = factor * (score_draws(runs, metric, draws, seed).mean(1) - estimate)
    units = _units(scores, groups)
    if len(units) > 1:
        error = units.std(ddof=1) / np.sqrt(len(units))
        deviations = deviations + error * np.random.default_rng([seed, 1]).standard_t(len(units) - 1, draws)
    low, high = np.clip(estimate + np.quantile(deviations, [tail(level), 1 - tail(level)]), 0, 1)
    return Interval(float(estimate), float(low), float(high), level)


def _units(scores: Array, groups: Sequence[Hashable] | None) -> Array:
    """Return the independent values of which the score is the mean."""
    names = list(dict.fromkeys(groups or []))
    if len(names) < 2:
        return scores
    return np.array([scores[[group == name for group in groups or []]].mean() for name in names])
