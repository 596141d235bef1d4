"""The 95 % intervals of the scores in reports, from the query scores of published evaluations."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.plan.stage import Plan, Stage
from pipeline.reports.labels import Pair, network_of, pair_of
from pipeline.reports.queries import Queries

if TYPE_CHECKING:
    from msinet.statistics import Interval, QueryScores

Intervals = Callable[[Sequence[Stage], str], "Interval | None"]
"""Function from the finished evaluations of one network on one target, and a metric, to the interval in percent.

It returns None if the interval is not known.
"""

MEANING = (
    "±: half of the 95 % interval, over the identities of the queries and over retraining seeds. The deviation over "
    "seeds is that of all networks in the column together. If each has one seed, ± says nothing about another training."
)


def no_intervals(stages: Sequence[Stage], metric: str) -> None:
    """Return no interval, where no files can be read."""


def intervals_of(plan: Plan, queries: Queries) -> Intervals:
    """Return the function that computes intervals. Each is computed once.

    The deviation over retraining seeds is pooled over all networks of the same source and target. With several search
    seeds, the searches are what varies: the retrainings of one search are not independent.

    Args:
        plan: A plan that was resolved against a workspace.
        queries: Function that reads the scores of an evaluation's queries.
    """
    scores: dict[Pair, dict[str, dict[str | int, dict[str, float]]]] = {}
    for stage in plan.of_kind("evaluate"):
        if stage.result:
            networks = scores.setdefault(pair_of(stage), {})
            networks.setdefault(network_of(plan, stage), {})[stage.labels["seed"]] = stage.result["metrics"]
    known: dict[tuple[object, ...], Interval | None] = {}

    def interval(stages: Sequence[Stage], metric: str) -> "Interval | None":
        key = (metric, *((stage.key, stage.labels.get("search_seed")) for stage in stages))
        if key not in known:
            networks = scores.get(pair_of(stages[0]), {}).values()
            of_networks = [[metrics[metric] for metrics in by_seed.values()] for by_seed in networks]
            known[key] = _interval(stages, metric, queries, of_networks)
        return known[key]

    return interval


def _interval(
    stages: Sequence[Stage], metric: str, queries: Queries, of_networks: Sequence[Sequence[float]]
) -> "Interval | None":
    from msinet.statistics import (
        pooled_deviation,
        score_interval,
    )  # most commands compute no intervals, and SciPy takes its time

    runs = runs_of(stages, queries)
    if not runs or not all(run.has(metric) for run in runs):
        return None
    searches = [stage.labels.get("search_seed") for stage in stages]
    return score_interval(runs, metric, groups=searches, pooled=pooled_deviation(of_networks)).scaled(100)


def runs_of(stages: Sequence[Stage], queries: Queries) -> "list[QueryScores]":
    """Return the query scores of evaluations; an empty list if one is not known or has a single identity."""
    found = [queries(stage) for stage in stages]
    runs = [run for run in found if run is not None and len(run.names) > 1]
    return runs if len(runs) == len(found) else []


def plus_minus(interval: "Interval | None", digits: int = 1) -> str:
    """Return ` ± 0.6` for text after a mean; empty if there is no interval."""
    return f" ± {interval.half_width:.{digits}f}" if interval else ""
