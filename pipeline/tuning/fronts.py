"""The outcome of an outer loop: the Pareto front or the best trials, as a table, a picture and experiments to run."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from msinet.visual.charts import Chart, Point, draw_charts, staircase
from msinet.visual.figures import png_of
from pipeline.config.experiment import Experiment
from pipeline.config.tune import SLOTS, Tune, genotype_of, recipe_of
from pipeline.reports.console import aligned
from pipeline.reports.plain import csv_text
from pipeline.storage.workspace import Workspace
from pipeline.tuning.studies import FIGURES, OUTCOME, show_values
from pipeline.tuning.trial import settings

# Settings that would add networks which no trial has trained, or that have no use without such networks.
OTHER_AXES = (
    "splits",
    "split_seed",
    "search_seeds",
    "networks",
    "alignments",
    "starts",
    "weights",
    "tables",
    "tune",
)
BEST = 5  # number of trials that are shown if there is only one objective
UNITS = {
    "mAP": ("mAP (%)", 100.0, 1),
    "latency_ms": ("latency (ms)", 1.0, 2),
    "parameters": ("parameters (M)", 1e-6, 4),
}


def front_of(study: optuna.Study, tune: Tune) -> list[FrozenTrial]:
    """Return the Pareto front, or with one objective the best trials, by falling mAP.

    Only feasible trials count. Of several trials with the same parameter values, only one is returned.
    """
    trials = study.best_trials if len(tune.objectives) > 1 else study.get_trials(states=(TrialState.COMPLETE,))
    by_values = {str(sorted(trial.params.items())): trial for trial in reversed(trials)}
    best = sorted(by_values.values(), key=lambda trial: (-_figure(trial, "mAP"), trial.number))
    return best if len(tune.objectives) > 1 else best[:BEST]


def table(front: Sequence[FrozenTrial], tune: Tune) -> list[list[str]]:
    """Return a header, and a row for each trial."""
    header = ["trial", *(UNITS[name][0] for name in tune.figures), "of"]
    rows = [
        [str(trial.number), *(_shown(trial, n) for n in tune.figures), show_values(trial.params)] for trial in front
    ]
    return [header, *rows]


def summary(study: optuna.Study, tune: Tune) -> str:
    """Return a line with the number of trials, in all and by how they ended."""
    trials = study.get_trials(deepcopy=False)
    count = Counter(trial.user_attrs.get(OUTCOME) or trial.state.name.lower() for trial in trials)
    title = "Pareto front" if len(tune.objectives) > 1 else "best trials"
    ended = ", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items()))
    return f"{title} of {len(trials)} trials ({ended}); mAP on the last {tune.hold_out} % of {tune.source}'s identities"


def write(study: optuna.Study, experiment: Experiment, workspace: Workspace, place: str) -> list[str]:
    """Write the table, the picture and the experiments into a workspace.

    Args:
        study: Study with at least one complete trial.
        experiment: Experiment with the outer loop.
        workspace: Workspace to write to.
        place: Key of a folder in its store.

    Returns:
        Where the files lie, as texts for people.
    """
    tune = settings(experiment)
    front = front_of(study, tune)
    files = {"front.csv": csv_text(table(front, tune)).encode()}
    files["pareto.png" if len(tune.objectives) > 1 else "trials.png"] = draw(study, tune)
    experiments = retrainings(front, experiment)
    for number, document in enumerate(experiments, start=1):
        name = "retrain.yaml" if len(experiments) == 1 else f"retrain-{number}.yaml"
        files[name] = yaml.safe_dump(document, sort_keys=False).encode()
    for name, data in files.items():
        workspace.store.replace(f"{place}/{name}", data)
    return [f"{workspace.address}/{place}/{name}" for name in files]


def draw(study: optuna.Study, tune: Tune) -> bytes:
    """Return a PNG: mAP over each other objective, with the front; without others, over the trials, with the best."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(tune.objectives) > 1:
        others = [name for name in tune.objectives if name != "mAP"]
        charts = [_front_chart(trials, front_of(study, tune), tune, name) for name in others]
    else:
        charts = [_series_chart(trials)]
    return png_of(draw_charts(charts))


def _front_chart(trials: Sequence[FrozenTrial], front: Sequence[FrozenTrial], tune: Tune, other: str) -> Chart:
    label, factor, _ = UNITS[other]
    bound = tune.constraints.get(other)  # type: ignore[call-overload]

    def point(trial: FrozenTrial, name: str = "") -> Point:
        return Point(factor * _figure(trial, other), 100 * _figure(trial, "mAP"), name)

    return Chart(
        f"mAP over {label.partition(' ')[0]}",
        label,
        "mAP (%)",
        [point(trial) for trial in trials],
        # With a third objective the front is no staircase in this plane: draw the part of it that is best here.
        staircase([point(trial, str(trial.number)) for trial in front]),
        None if bound is None else factor * bound,
    )


def _series_chart(trials: Sequence[FrozenTrial]) -> Chart:
    points = [Point(float(trial.number), 100 * _figure(trial, "mAP"), str(trial.number)) for trial in trials]
    unnamed = [Point(point.x, point.y) for point in points]
    title = "mAP of each trial, with a line through the best so far"
    return Chart(title, "trial", "mAP (%)", unnamed, staircase(points))


def retrainings(front: Sequence[FrozenTrial], experiment: Experiment) -> list[dict[str, Any]]:
    """Return experiments for `msinet run` that retrain the front on all training identities, one for each recipe."""
    tune = settings(experiment)
    if len(tune.objectives) == 1:
        front = front[:1]
    groups: dict[str, tuple[Any, list[str]]] = {}
    for trial in front:
        recipe = recipe_of(experiment.retrain.in_domain, {n: v for n, v in trial.params.items() if n not in SLOTS})
        letters = genotype_of(trial.params) if tune.space.genotype else str(tune.genotype)
        genotypes = groups.setdefault(repr(recipe), (recipe, []))[1]
        if letters not in genotypes:
            genotypes.append(letters)
    chosen = list(groups.values())
    return [
        _document(experiment, recipe, genotypes, f"-{number}" if len(chosen) > 1 else "")
        for number, (recipe, genotypes) in enumerate(chosen, start=1)
    ]


def _document(experiment: Experiment, recipe: Any, genotypes: list[str], suffix: str) -> dict[str, Any]:
    source = settings(experiment).source
    axes = {name: Experiment.model_fields[name].get_default() for name in OTHER_AXES}
    derived = experiment.model_copy(
        update={
            **axes,
            "name": f"{experiment.name}-front{suffix}",
            "sources": [source],
            "targets": experiment.targets_of(source) or [source],
            "genotypes": genotypes,
            "retrain": experiment.retrain.model_copy(update={"in_domain": recipe}),
        }
    )
    used = derived.used_datasets
    derived = derived.model_copy(update={"datasets": {n: d for n, d in derived.datasets.items() if n in used}})
    document: dict[str, Any] = derived.model_dump(mode="json", exclude={"search", "retrain"}, exclude_defaults=True)
    # Write recipes whole. If a file leaves out a value, the recipe's default applies, not the default of its class.
    return {**document, "retrain": derived.retrain.model_dump(mode="json", exclude={"strong_baseline"})}


def text(study: optuna.Study, tune: Tune) -> str:
    """Return the front as a table for people, under a line with the number of trials."""
    front = front_of(study, tune)
    if not front:
        return f"{summary(study, tune)}\nno trial is feasible and complete"
    return f"{summary(study, tune)}\n\n{aligned(table(front, tune))}"


def _figure(trial: FrozenTrial, name: str) -> float:
    value: float = trial.user_attrs[FIGURES][name]
    return value


def _shown(trial: FrozenTrial, name: str) -> str:
    _, factor, digits = UNITS[name]
    return f"{factor * _figure(trial, name):.{digits}f}"
