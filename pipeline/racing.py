"""A race between genotypes: rounds of ordinary stages, until the best one is known or the budget is spent.

Every round plans one more retraining seed for the genotypes that may still be the best, runs the stages that are not
done, and decides. What is decided follows from published results alone, so a race that was killed goes on where it was.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from msinet.statistics.racing import MOST_SEEDS
from msinet.statistics.racing import Race as Standing
from msinet.statistics.racing import race as standing_of
from pipeline.config.experiment import Experiment
from pipeline.config.race import Race
from pipeline.config.selection import Selection
from pipeline.errors import RequestError, suggestion
from pipeline.grid import Grid
from pipeline.plan.efforts import hours
from pipeline.plan.stage import HELD_OUT, Plan, Stage
from pipeline.plan.unfold import genotypes_of
from pipeline.plan.unfold import plan as plan_of
from pipeline.reports.panels import Panel

FIRST_SEEDS = 2  # the fewest that show how much a score varies


@dataclass(frozen=True)
class Raced:
    """A race with the results that are published.

    Attributes:
        standing: What is decided; None if all candidates have the same genotype.
        same: For each candidate whose genotype an earlier candidate has too, that candidate.
        trainings: Retrainings so far.
        hours: Mean hours of a retraining with its score.
    """

    standing: Standing | None
    same: dict[str, str]
    trainings: int
    hours: float


def settings(experiment: Experiment) -> Race:
    """Return the section `race`.

    Raises:
        RequestError: The experiment has no such section, or one that does not fit its genotypes.
    """
    section = experiment.race
    if section is None:
        raise RequestError("an experiment to race must have a section `race`, but it has none.")
    if section.source is not None and section.source not in experiment.sources:
        hint = suggestion(section.source, experiment.sources)
        raise RequestError(f"`race.source` must be one of `sources`, but got {section.source!r}.{hint}")
    if len(experiment.alignments) > 1 or len(experiment.starts) > 1:
        raise RequestError("a race compares genotypes only, so `alignments` and `starts` must not have several values.")
    runners = candidates_of(experiment, section)
    if len(runners) < 2:
        raise RequestError(f"a race must have at least two candidates, but has {len(runners)} (race.candidates).")
    if section.budget_stages < FIRST_SEEDS * len(runners):
        raise RequestError(
            f"`race.budget_stages` must be at least {FIRST_SEEDS * len(runners)}, two for each of {len(runners)} "
            f"candidates, but got {section.budget_stages}."
        )
    return section


def source_of(experiment: Experiment, section: Race) -> str:
    """Return the dataset on which the candidates race."""
    return section.source or experiment.sources[0]


def candidates_of(experiment: Experiment, section: Race) -> list[str]:
    """Return the names of the genotypes that race.

    Raises:
        RequestError: A name is unknown, or there are not as many genotypes.
    """
    known = genotypes_of(experiment, source_of(experiment, section))
    asked = section.candidates
    if asked is None:
        return known
    if isinstance(asked, int):
        if asked > len(known):
            raise RequestError(
                f"{asked} genotypes must race, but the experiment has only {len(known)} (race.candidates)."
            )
        return known[:asked]
    for name in asked:
        if name not in known:
            hint = suggestion(name, known)
            raise RequestError(f"`race.candidates` must name genotypes of the experiment, but got {name!r}.{hint}")
    return asked


def seeds_of(experiment: Experiment, count: int) -> list[int]:
    """Return the first retraining seeds of a race: those of the experiment, then the smallest other ones."""
    given = experiment.retrain_seeds
    others = (seed for seed in range(count + len(given)) if seed not in given)
    return [*given, *others][:count]


def run_race(grid: Grid, section: Race, run: Callable[[Grid], bool]) -> Raced | None:
    """Run rounds until the race is decided or its budget is spent. Return None if a stage has failed.

    Args:
        grid: The experiment in its workspace, opened with `verify`.
        section: Result of `settings`.
        run: Function that runs the stages of a plan that are not done, and returns whether all are done then.
    """
    runners, seeds = candidates_of(grid.experiment, section), FIRST_SEEDS
    while True:
        whole = _whole_plan(grid, section, seeds)
        plan = _needed(grid.experiment, whole, runners)
        done = all(stage.result for stage in plan.stages.values())
        if not done and not run(replace(grid, plan=plan, everything=None)):
            return None
        raced = _judge(whole, candidates_of(grid.experiment, section), section)
        if raced.standing is None or raced.standing.decided:
            return raced
        runners, seeds = raced.standing.left, seeds + 1
        if raced.trainings + len(runners) > section.budget_stages:
            return raced


def _whole_plan(grid: Grid, section: Race, seeds: int) -> Plan:
    """Return the plan of all candidates with some seeds, scored on held-out pictures only."""
    experiment = grid.experiment
    fingerprints = {
        str(stage.labels["dataset"]): stage.settings["dataset"]["fingerprint"]
        for stage in grid.plan.of_kind("prepare")
        if "fingerprint" in stage.settings["dataset"]
    }
    racing = experiment.model_copy(
        update={
            "sources": [source_of(experiment, section)],
            "targets": [],
            "networks": [],
            "retrain_seeds": seeds_of(experiment, seeds),
            "selection": experiment.selection or Selection(),
        }
    )
    return plan_of(racing, fingerprints, grid.workspace.result)


def _scores_of(plan: Plan, name: str) -> list[Stage]:
    """Return the held-out evaluations of a candidate, one for each seed."""
    return [s for s in plan.of_kind("evaluate") if s.labels["domain"] == HELD_OUT and s.labels["origin"] == name]


def _needed(experiment: Experiment, plan: Plan, names: Sequence[str]) -> Plan:
    """Return the part of a plan that the scores of some candidates need."""
    needed = {stage.name for name in names for stage in _scores_of(plan, name)}
    for stage in reversed(plan.stages.values()):  # a plan lists every stage after those that it needs
        if stage.name in needed:
            needed.update(stage.needs.values())
    return Plan(experiment, {name: stage for name, stage in plan.stages.items() if name in needed})


def _judge(plan: Plan, names: Sequence[str], section: Race) -> Raced:
    """Return how far a race is by the published scores of its candidates."""
    done = {name: list(itertools.takewhile(lambda stage: stage.result, _scores_of(plan, name))) for name in names}
    first: dict[str | None, str] = {}
    same = {name: one for name in names if (one := first.setdefault(done[name][0].key, name)) != name}
    scores = {n: [float(s.result["metrics"]["mAP"]) for s in done[n] if s.result] for n in names if n not in same}
    scored = [stage for name in scores for stage in done[name]]
    results = [result for s in scored for result in (s.result, plan.stages[s.needs["model"]].result) if result]
    mean_hours = sum(map(hours, results)) / len(scored)
    if len(scores) < 2:
        return Raced(None, same, len(scored), mean_hours)
    standing = standing_of(scores, error=section.error, equal_within=section.equal_within / 100)
    trainings = sum(standing.out.get(name, standing.seeds) for name in scores)
    return Raced(standing, same, trainings, mean_hours)


def race_panel(raced: Raced, section: Race, source: str) -> Panel:
    """Return what a race has decided, what it has not, and how many more hours would decide it."""
    title, standing = f"Race between the genotypes trained on {source}", raced.standing
    told = [f"{name} has the same genotype as {other}, so it does not race." for name, other in raced.same.items()]
    if standing is None:
        return Panel("race", title, notes=[*told, "All candidates have the same genotype: there is nothing to decide."])
    order = [*standing.left, *sorted(standing.out, key=lambda name: -standing.means[name])]
    rows = [["genotype", "seeds", "held-out mAP", "state"]]
    for name in order:
        state = f"out after {standing.out[name]} seeds" if name in standing.out else "may be the best"
        rows.append([name, str(standing.out.get(name, standing.seeds)), f"{100 * standing.means[name]:.1f}", state])
    best, count = standing.left[0], len(standing.left)
    if standing.decided and count == 1:
        told.append(f"{best} is the best, with an error of at most {100 * section.error:g} % over the whole race.")
    elif standing.decided:
        told.append(
            f"Decided: the best is among the {count} that are left, and none of them is better than another by "
            f"{section.equal_within:g} points, with an error of at most {100 * section.error:g} % over the whole race."
        )
    else:
        told += _undecided(standing, raced, section)
    told.append(
        f"{raced.trainings} of at most {section.budget_stages} retrainings. A score varies over seeds by "
        f"{100 * standing.deviation:.1f} points (standard deviation, {standing.degrees} degrees of freedom); after "
        f"{standing.seeds} seeds a difference of {100 * standing.margin:.1f} points decides. This assumes errors that "
        "are normal with the same variance for all genotypes."
    )
    return Panel("race", title, rows, told)


def _undecided(standing: Standing, raced: Raced, section: Race) -> list[str]:
    told = [f"Not decided: which of {', '.join(standing.left)} is the best. The budget is spent (race.budget_stages)."]
    if standing.more_seeds is None:
        return [*told, f"By these scores, more than {MOST_SEEDS} seeds would be needed to decide it."]
    trainings = sum(standing.more_seeds.values())
    return [
        *told,
        f"If the means and the deviation stay as they are, {trainings} more retrainings decide it, in some "
        f"{trainings * raced.hours:,.1f} hours of one device (race.budget_stages: {raced.trainings + trainings}).",
    ]
