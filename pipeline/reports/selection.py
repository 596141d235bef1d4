"""Which genotype is chosen without its targets, and what its targets then say about the choice."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from msinet.statistics import QueryScores, compare_all
from pipeline.plan.stage import HELD_OUT, Plan, Stage
from pipeline.reports.correlation import rank_agreement
from pipeline.reports.intervals import MEANING, Intervals, plus_minus
from pipeline.reports.panels import Panel
from pipeline.reports.queries import Queries

METRIC = "mAP"


@dataclass
class Scored:
    """What one genotype of a source scored, with its alignment and its start if the experiment varies them.

    Attributes:
        name: The letters, and what else is varied.
        origins: What the genotype is called, such as `MSINet` or `60-80 seed 0`.
        held_out: Its evaluations on held-out pictures, one for each seed.
        tests: Its evaluations on each target, one for each seed.
    """

    name: str
    origins: list[str]
    held_out: list[Stage]
    tests: dict[str, list[Stage]]


def scored_genotypes(plan: Plan, source: str) -> list[Scored]:
    """Return the genotypes of a source with their finished evaluations, without the baselines, in the plan's order."""
    found: dict[str, Scored] = {}
    for stage in plan.of_kind("evaluate"):
        if stage.result is None or stage.labels["source"] != source or stage.labels["network"] != "msinet":
            continue
        name = " ".join([str(stage.result["genotype"]), *_varied(plan, stage)])
        row = found.setdefault(name, Scored(name, [], [], {}))
        row.origins = list(dict.fromkeys([*row.origins, str(stage.labels["origin"])]))
        side = row.tests.setdefault(str(stage.labels["target"]), []) if stage.on_target else row.held_out
        if all(stage.key != other.key for other in side):
            side.append(stage)
    return list(found.values())


def score_of(stages: Sequence[Stage], seeds: int) -> float | None:
    """Return the mean mAP over the retraining seeds as a fraction, None unless all of them are done."""
    scores = [stage.result["metrics"][METRIC] for stage in stages if stage.result]
    return mean(scores) if len(scores) >= seeds else None


def selection_panels(plan: Plan, queries: Queries, intervals: Intervals) -> list[Panel]:
    """Return for each source what was chosen, if the experiment has a `selection` and held-out scores are done.

    Args:
        plan: A plan that was resolved against a workspace.
        queries: Function that reads the scores of an evaluation's queries.
        intervals: Function that computes the intervals of scores.
    """
    if plan.experiment.selection is None:
        return []
    panels = (_panel(plan, source, queries, intervals) for source in plan.experiment.sources)
    return [panel for panel in panels if panel]


def _panel(plan: Plan, source: str, queries: Queries, intervals: Intervals) -> Panel | None:
    seeds, everyone = len(plan.experiment.retrain_seeds), scored_genotypes(plan, source)
    held_out = {row.name: score for row in everyone if (score := score_of(row.held_out, seeds)) is not None}
    rows = sorted((row for row in everyone if row.name in held_out), key=lambda row: -held_out[row.name])
    if not rows:
        return None
    chosen, targets = rows[0], plan.experiment.targets_of(source)
    header = ["genotype", "found by", f"{_held_out_name(plan, source)}: mAP", *[f"{t}: mAP" for t in targets], ""]
    body = [
        [
            row.name,
            ", ".join(row.origins),
            _shown(row.held_out, seeds, intervals),
            *[_shown(row.tests.get(target, []), seeds, intervals) for target in targets],
            "chosen" if row is chosen else "",
        ]
        for row in rows
    ]
    notes = [f"{chosen.name} is chosen, because its held-out mAP is the highest of {len(rows)}."]
    if missing := _without_score(plan, source, seeds):
        notes.append(f"Without a complete held-out score, and therefore not compared yet: {', '.join(missing)}.")
    for target in targets:
        notes += _on_target(rows, held_out, target, seeds, queries)
    notes.append(
        f"Scores are in percent, means over retraining seeds. {MEANING} Scores on targets have no part in the choice, "
        "so that of the chosen genotype is honest; the highest one in a target's column is not."
    )
    return Panel(f"choice-{source}", f"Choice among the genotypes trained on {source}", [header, *body], notes)


def _on_target(
    rows: Sequence[Scored], held_out: Mapping[str, float], target: str, seeds: int, queries: Queries
) -> list[str]:
    """Return sentences on how good the choice is on a target, and how well held-out scores agree with test scores."""
    tests = {row.name: score for row in rows if (score := score_of(row.tests.get(target, []), seeds)) is not None}
    chosen = rows[0].name
    if chosen not in tests or len(tests) < 2:
        return []
    best = max(tests, key=tests.__getitem__)
    told = f"On {target} the choice scores {100 * tests[chosen]:.1f}."
    if best == chosen:
        told += " It is also the best one there, so choosing on the test would have flattered by 0.0 points."
    else:
        points = f"{100 * (tests[best] - tests[chosen]):.1f} points"
        told += (
            f" Choosing on the test would have taken {best} with {100 * tests[best]:.1f}, and flattered by "
            f"{points}{_difference(rows, tests, target, best, chosen, queries)}."
        )
    agreement = rank_agreement(
        [held_out[name] for name in tests], list(tests.values()), f"held-out scores and {target}"
    )
    return [told, *agreement]


def _difference(
    rows: Iterable[Scored], tests: Mapping[str, float], target: str, best: str, chosen: str, queries: Queries
) -> str:
    models = {row.name: _runs(row.tests[target], queries) for row in rows if row.name in tests}
    if not all(models.values()):
        return ""
    pair = next(pair for pair in compare_all(models, METRIC).pairs if {pair.a, pair.b} == {best, chosen})
    low, high = 100 * pair.interval.low, 100 * pair.interval.high
    return f" [{low:.1f}, {high:.1f}]".replace("-", "−")


def _runs(stages: Sequence[Stage], queries: Queries) -> dict[Hashable, QueryScores]:
    """Return the query scores of some evaluations by retraining seed; none if a file is missing."""
    read = {stage.labels["seed"]: queries(stage) for stage in stages}
    found: dict[Hashable, QueryScores] = {seed: run for seed, run in read.items() if run is not None}
    return found if len(found) == len(read) else {}


def _shown(stages: Sequence[Stage], seeds: int, intervals: Intervals) -> str:
    score = score_of(stages, seeds)
    if score is None:
        return "-"
    return f"{100 * score:.1f}{plus_minus(intervals(stages, METRIC))}"


def _held_out_name(plan: Plan, source: str) -> str:
    selection = plan.experiment.selection
    return selection.domain if selection and selection.domain else f"held-out {source}"


def _without_score(plan: Plan, source: str, seeds: int) -> list[str]:
    """Return the names of the candidates that have no complete held-out score yet."""
    done: dict[str, int] = {}
    for stage in plan.of_kind("evaluate"):
        if stage.labels["source"] == source and stage.labels["domain"] == HELD_OUT:
            parts = [str(stage.labels["origin"]), *_varied(plan, stage)]
            done[" ".join(parts)] = done.get(" ".join(parts), 0) + (stage.result is not None)
    return [name for name, count in done.items() if count < seeds]


def _varied(plan: Plan, stage: Stage) -> list[str]:
    """Return the alignment and the start of a network, if the experiment varies them."""
    experiment = plan.experiment
    varied = {"alignment": bool(experiment.alignments), "start": len(experiment.starts) > 1}
    return [str(stage.labels[name]) for name, varies in varied.items() if varies]
