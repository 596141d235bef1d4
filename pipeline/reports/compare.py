"""What `msinet compare` prints: scores with intervals, differences of pairs, and the parts of the variance."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from msinet.genotype import PUBLISHED
from pipeline.errors import RequestError, suggestion
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.differences import Field, fields, runs_by_seed, smallest, told_apart
from pipeline.reports.intervals import MEANING, Intervals, intervals_of, plus_minus
from pipeline.reports.panels import Panel
from pipeline.reports.queries import Queries

if TYPE_CHECKING:
    from msinet.statistics import Comparison, Component, Interval, QueryScores

    Runs = dict[str, dict[Hashable, QueryScores]]

SCORES = ("mAP", "rank1", "mINP")
MOST_PAIRS = 15  # pairs of which all are shown by default: those of six networks


def compare_panels(
    plan: Plan, queries: Queries, target: str | None, names: Sequence[str], metric: str, *, every: bool
) -> list[Panel]:
    """Return the panels of a comparison: for each pair of source and target its scores, differences and variances.

    Args:
        plan: A plan that was resolved against a workspace.
        queries: Function that reads the scores of an evaluation's queries.
        target: The only target to take; None for all.
        names: Networks to compare, by letters, published name, or the search that found them; all if empty.
        metric: `mAP`, `mINP` or `rank<k>`.
        every: Whether all pairs are shown, also if there are many.

    Raises:
        RequestError: The target, the metric or a name is unknown, or the names are those of one network.
    """
    if not re.fullmatch(r"mAP|mINP|rank[1-9]\d*", metric):
        raise RequestError(f"--metric must be mAP, mINP or rank<k> with k from 1, but got {metric!r}.")
    targets = plan.experiment.all_targets
    if target is not None and target not in targets:
        raise RequestError(
            f"--target must be a target of the experiment, but got {target!r}.{suggestion(target, targets)}"
        )
    found = fields(plan, target)
    if names:
        known = _known(found)
        found = [_only(field, names) for field in found]
        for name in names:
            if name not in known and found:
                hint = suggestion(name, known)
                raise RequestError(f"a network to compare must be one of the experiment's, but got {name!r}.{hint}")
        if found and max(len(field.networks) for field in found) < 2:
            raise RequestError(
                f"`compare` needs two networks that are done on one target, but {', '.join(names)} is one."
            )
    intervals = intervals_of(plan, queries)
    panels = [panel for field in found for panel in _panels(field, queries, intervals, metric, every)]
    if panels:
        panels.append(Panel("reading", "How to read this", (), _reading(metric)))
    return panels


def _aliases(stages: Sequence[Stage]) -> set[str]:
    """Return the names under which a user may know a network: its origin, and its published name."""
    letters = str(stages[0].result and stages[0].result.get("genotype"))
    published = {name for name, genotype in PUBLISHED.items() if genotype.letters == letters}
    return {str(stage.labels["origin"]) for stage in stages} | published


def _known(found: Sequence[Field]) -> list[str]:
    networks = [(name, stages) for field in found for name, stages in field.networks.items()]
    return list(
        dict.fromkeys([*dict(networks), *(alias for _, stages in networks for alias in sorted(_aliases(stages)))])
    )


def _only(field: Field, names: Sequence[str]) -> Field:
    """Return the part of a field that has these networks."""
    chosen = {
        network: stages
        for network, stages in field.networks.items()
        if network in names or _aliases(stages) & set(names)
    }
    return replace(field, networks=chosen, searched=[item for item in field.searched if item[0] in chosen])


def _panels(field: Field, queries: Queries, intervals: Intervals, metric: str, every: bool) -> list[Panel]:
    from msinet.statistics import compare_all

    runs = {
        name: some
        for name, some in runs_by_seed(field, queries).items()
        if all(run.has(metric) for run in some.values())
    }
    compared = compare_all(runs, metric) if len(runs) > 1 else None
    panels = [_score_panel(field, intervals, compared, _lacking(field, runs, metric))]
    if compared:
        panels += [_pair_panel(field, compared, runs, metric, every), _variance_panel(field, runs, metric)]
    return panels


def _lacking(field: Field, runs: "Runs", metric: str) -> list[str]:
    """Return a sentence on the networks that cannot be compared."""
    lacking = [name for name in field.networks if name not in runs]
    reason = (
        "their files are gone, or they did not keep the mINP of each query" if metric == "mINP" else "files are gone"
    )
    return [f"Evaluations without query scores are not compared ({reason}): {', '.join(lacking)}."] if lacking else []


def _score_panel(field: Field, intervals: Intervals, compared: "Comparison | None", notes: Sequence[str]) -> Panel:
    order = list(compared.scores) if compared else []
    rows = [["network", "found by", "seeds", *SCORES, "group"]]
    for name in [*order, *(name for name in field.networks if name not in order)]:
        stages = field.networks[name]
        origins = dict.fromkeys(str(stage.labels["origin"]) for stage in stages)
        cells = [_score(stages, metric, intervals(stages, metric)) for metric in SCORES]
        groups = compared.groups if compared else []
        letters = "".join(_letter(number) for number, group in enumerate(groups) if name in group)
        rows.append([name, ", ".join(origins), str(len(stages)), *cells, letters])
    return Panel("scores", f"{field.name}: scores in percent", rows, notes)


def _score(stages: Sequence[Stage], metric: str, interval: "Interval | None") -> str:
    values = [stage.result["metrics"][metric] for stage in stages if stage.result]
    return f"{100 * sum(values) / len(values):.1f}{plus_minus(interval)}"


def _letter(number: int) -> str:
    return ascii_lowercase[number] if number < 26 else f"({number + 1})"


def _pair_panel(field: Field, compared: "Comparison", runs: "Runs", metric: str, every: bool) -> Panel:
    shown = [
        pair
        for number, pair in enumerate(compared.pairs)
        if every or len(compared.pairs) <= MOST_PAIRS or number < len(runs) - 1  # the best network with each other one
    ]
    rows = [["pair", "points", "95 % interval", "improves", "p", "p (Holm)"]]
    for pair in shown:
        difference = pair.interval.scaled(100)
        rows.append(
            [
                f"{pair.a} − {pair.b}",
                _signed(difference.estimate),
                f"{_signed(difference.low)} to {_signed(difference.high)}",
                f"{100 * pair.probability:.0f} %",
                _p(pair.p),
                _p(pair.adjusted_p),
            ]
        )
    return Panel("pairs", f"{field.name}: differences of {metric}", rows, _pair_notes(compared, runs, len(shown)))


def _pair_notes(compared: "Comparison", runs: "Runs", shown: int) -> list[str]:
    notes = []
    if hidden := len(compared.pairs) - shown:
        notes.append(f"The best network is compared with each other one. --all shows {hidden} more pairs.")
    if not compared.seed_degrees:
        return [
            *notes,
            "Every network was trained with one seed. The intervals hold the choice of identities only: they compare "
            "these trained networks, and say nothing about other trainings. Give several `retrain_seeds`.",
        ]
    told = told_apart(compared)
    notes.append(f"{told[0].upper()}{told[1:]}.")
    seeds = min(map(len, runs.values()))
    deviation = f"The standard deviation over retraining seeds is {100 * compared.seed_deviation:.1f} points"
    if seeds < 2:
        return [*notes, f"{deviation}."]
    return [*notes, f"{deviation}. {seeds} seeds show a difference from {smallest(compared, seeds):.1f} points on."]


def _variance_panel(field: Field, runs: "Runs", metric: str) -> Panel:
    from msinet.statistics import identity_variance, variance_components

    everyone = [run for some in runs.values() for run in some.values()]
    identities = identity_variance(everyone, metric)
    rows = [["of", "part", "choices", "deviation in points", "share of the variance"]]
    of_networks = [name for name, some in runs.items() for _ in some]
    scores = {name: {seed: run.mean(metric) for seed, run in some.items()} for name, some in runs.items()}
    everything = [score for some in scores.values() for score in some.values()]
    splits: list[tuple[str, list[float], dict[str, list[Any]]]] = [
        ("all networks", everything, {"genotype": of_networks})
    ]
    searched = [(stage, scores[name][stage.labels["seed"]]) for name, stage in field.searched if name in scores]
    levels = {
        level: [stage.labels[label] for stage, _ in searched]
        for level, label in (("identity split", "split"), ("search seed", "search_seed"))
    }
    # Without a search that has several retrainings, the spread of searches would contain that of retraining seeds.
    if 1 < len(set(zip(*levels.values(), strict=True))) < len(searched):
        splits.append(("searches", [score for _, score in searched], levels))
    for of, values, choices in splits:
        outer = ""
        for part in variance_components(values, choices, identities=identities):
            rows.append([of, part.name, str(part.choices), *_part(part, outer)])
            outer = part.name if part.variance else outer
    return Panel("variance", f"{field.name}: where the spread of {metric} comes from", rows)


def _part(part: "Component", outer: str) -> list[str]:
    """Return the deviation and the share of a part. A part that is not known is in that of the level `outer`."""
    if part.variance is None or part.share is None:
        return [f"in that of {outer}" if outer else "not known", ""]
    deviation = [100 * value**0.5 for value in (part.variance.estimate, part.variance.low, part.variance.high)]
    share = part.share.scaled(100)
    return [
        f"{deviation[0]:.1f} ({deviation[1]:.1f} to {deviation[2]:.1f})",
        f"{share.estimate:.0f} % ({share.low:.0f} to {share.high:.0f})",
    ]


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _reading(metric: str) -> list[str]:
    return [
        MEANING,
        "Networks with a common letter in `group` cannot be told apart (5 % level, Holm's correction for all pairs).",
        f"points: {metric} of the first minus that of the second. improves: how often one of the trainings of the "
        "first scores higher than one of the second on newly drawn identities. With few seeds it is coarse, unlike p.",
        "The smallest difference is one that a single test at the 5 % level finds with 80 % probability. Holm's "
        "correction asks for more.",
        "A part is `not known` if there is one choice of it. It is `in that of` an outer one if each choice of that "
        "one has one of it. Brackets are 95 % intervals. A searched genotype is all that a search seed decides.",
    ]
