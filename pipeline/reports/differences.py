"""Which networks can be told apart on which target, from the query scores of published evaluations."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.plan.stage import Plan, Stage
from pipeline.reports.intervals import runs_of
from pipeline.reports.labels import is_searched, network_of, pair_name, pair_of
from pipeline.reports.panels import Panel
from pipeline.reports.queries import Queries

if TYPE_CHECKING:
    from msinet.statistics import Comparison, QueryScores

METRIC = "mAP"


@dataclass(frozen=True)
class Field:
    """The finished evaluations of all networks of one source on one target.

    Attributes:
        source, target: Names of the datasets.
        networks: The evaluations of each network, one for each retraining seed.
        searched: The evaluations of networks that a search found, with the network's name. A network that two searches
            found is here twice.
    """

    source: str
    target: str
    networks: dict[str, list[Stage]]
    searched: list[tuple[str, Stage]]

    @property
    def name(self) -> str:
        """Return the name of the pair of datasets."""
        return pair_name(self.source, self.target)


def fields(plan: Plan, target: str | None = None) -> list[Field]:
    """Return the pairs of source and target that have finished evaluations, in the plan's order.

    Args:
        plan: A plan that was resolved against a workspace.
        target: The only target to take; by default all.
    """
    found: dict[tuple[str, str], dict[str, dict[str | int, Stage]]] = {}
    searched: dict[tuple[str, str], list[tuple[str, Stage]]] = {}
    for stage in plan.of_kind("evaluate"):
        if stage.result is None or not stage.on_target or target not in (None, stage.labels["target"]):
            continue
        pair, name = pair_of(stage), network_of(plan, stage)
        found.setdefault(pair, {}).setdefault(name, {}).setdefault(stage.labels["seed"], stage)
        if is_searched(stage):
            searched.setdefault(pair, []).append((name, stage))
    return [
        Field(*pair, {name: list(by_seed.values()) for name, by_seed in networks.items()}, searched.get(pair, []))
        for pair, networks in found.items()
    ]


def runs_by_seed(field: Field, queries: Queries) -> "dict[str, dict[Hashable, QueryScores]]":
    """Return the query scores of each network by retraining seed, without networks whose files are gone."""
    found: dict[str, dict[Hashable, QueryScores]] = {}
    for name, stages in field.networks.items():
        if runs := runs_of(stages, queries):
            found[name] = {stage.labels["seed"]: run for stage, run in zip(stages, runs, strict=True)}
    return found


@dataclass(frozen=True)
class Compared:
    """The networks of a field, compared by mAP.

    Attributes:
        field: The finished evaluations.
        seeds: How many retraining seeds every network has at least.
        result: The comparison of those networks whose query scores are there, at least two.
    """

    field: Field
    seeds: int
    result: "Comparison"


def compared_fields(plan: Plan, queries: Queries) -> list[Compared]:
    """Return the pairs of source and target with at least two networks, compared.

    Args:
        plan: A plan that was resolved against a workspace.
        queries: Function that reads the scores of an evaluation's queries.
    """
    from msinet.statistics import compare_all  # most commands compare nothing, and SciPy takes its time

    found = [(field, runs_by_seed(field, queries)) for field in fields(plan)]
    return [
        Compared(field, min(map(len, runs.values())), compare_all(runs, METRIC))
        for field, runs in found
        if len(runs) > 1
    ]


def apart_panels(compared: Sequence[Compared]) -> list[Panel]:
    """Return a panel that says which networks can be told apart; none if no target has two of them."""
    notes = list(_sentences(compared))
    return [Panel("apart", "Networks that can be told apart by mAP", (), notes)] if notes else []


def _sentences(compared: Sequence[Compared]) -> Iterator[str]:
    alone, together = [], []
    for one in compared:
        if not one.result.seed_degrees:
            alone.append(one.field.name)
        elif len(one.result.groups) == 1:
            together.append(f"{one.field.name} ({len(one.result.scores)} networks{_reach(one)})")
        else:
            yield f"{one.field.name}: {told_apart(one.result)}."
    if together:
        yield f"No two networks can be told apart on {', '.join(together)}."
    if alone:
        yield (
            f"No statement is possible on {', '.join(alone)}: every network was trained with one seed, and another "
            "training would give another score. Give several `retrain_seeds`."
        )


def told_apart(found: "Comparison") -> str:
    """Return for each network that is better than others beyond chance which ones these are."""
    better: dict[str, list[str]] = {}
    for pair in found.pairs:
        if pair.adjusted_p < 1 - found.level:
            better.setdefault(pair.a, []).append(pair.b)
    parts = [f"{name} is better than {_listed(others)}" for name, others in better.items()]
    return f"{'; '.join(parts)}. All other pairs cannot be told apart" if parts else "no two networks can be told apart"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def smallest(found: "Comparison", seeds: int) -> float:
    """Return the difference in points that this many seeds show with 80 % power in a single test at the 5 % level.

    The choice of identities counts like the seeds: it adds to the variance of a difference.
    """
    from msinet.statistics import smallest_difference

    # A difference of two means has the variance 2 / n times that of a run, and the part of the identities.
    variance = found.seed_deviation**2 + seeds / 2 * found.identity_deviation**2
    return 100 * smallest_difference(variance**0.5, seeds, degrees=found.seed_degrees or None, level=found.level)


def _reach(one: Compared) -> str:
    if one.seeds < 2:
        return ""
    return f", {one.seeds} seeds show differences from {smallest(one.result, one.seeds):.1f} points on"
