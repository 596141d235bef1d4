"""The 95 % intervals of the scores in reports, from the query scores of published evaluations."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.plan.stage import Stage
from pipeline.reports.queries import Queries

if TYPE_CHECKING:
    from msinet.statistics import Interval, QueryScores

Intervals = Callable[[Sequence[Stage], str], "Interval | None"]
"""Function from the finished evaluations of one network on one target, and a metric, to the interval in percent.

It returns None if the interval is not known.
"""

MEANING = (
    "±: half of the 95 % interval, over the identities of the queries and, in a cell of several seeds, over the seeds. "
    "In a cell of one seed it says nothing about another training."
)


def no_intervals(stages: Sequence[Stage], metric: str) -> None:
    """Return no interval, where no files can be read."""


def intervals_of(queries: Queries) -> Intervals:
    """Return the function that computes intervals. Each is computed once.

    With several search seeds, the searches are what varies: the retrainings of one search are not independent.
    """
    known: dict[tuple[object, ...], Interval | None] = {}

    def interval(stages: Sequence[Stage], metric: str) -> "Interval | None":
        key = (metric, *((stage.key, stage.labels.get("search_seed")) for stage in stages))
        if key not in known:
            known[key] = _interval(stages, metric, queries)
        return known[key]

    return interval


def _interval(stages: Sequence[Stage], metric: str, queries: Queries) -> "Interval | None":
    from msinet.statistics import score_interval  # most commands compute no intervals, and SciPy takes its time

    runs = runs_of(stages, queries)
    if not runs or not all(run.has(metric) for run in runs):
        return None
    searches = [stage.labels.get("search_seed") for stage in stages]
    return score_interval(runs, metric, groups=searches).scaled(100)


def runs_of(stages: Sequence[Stage], queries: Queries) -> "list[QueryScores]":
    """Return the query scores of evaluations; an empty list if one is not known or has a single identity."""
    found = [queries(stage) for stage in stages]
    runs = [run for run in found if run is not None and len(run.names) > 1]
    return runs if len(runs) == len(found) else []


def plus_minus(interval: "Interval | None", digits: int = 1) -> str:
    """Return ` ± 0.6` for text after a mean; empty if there is no interval."""
    return f" ± {interval.half_width:.{digits}f}" if interval else ""
