"""The chosen model of each target in MLflow's registry, under the alias `chosen`."""

from collections.abc import Callable
from statistics import mean
from typing import NamedTuple

from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.stage import HELD_OUT, Plan, Stage
from pipeline.storage.workspace import Workspace
from pipeline.tracking.client import Client
from pipeline.tracking.describe import varied_labels

ALIAS, FOLDER = "chosen", "model"
Networks = dict[tuple[str, str], list[Stage]]  # (source, network) -> evaluations, one for each seed


class Chosen(NamedTuple):
    """The model that is registered for a target.

    Attributes:
        target: The target.
        model: The retraining whose weights they are, of the first seed.
        reason: How it was chosen.
    """

    target: str
    model: Stage
    reason: str


def chosen_models(plan: Plan) -> list[Chosen]:
    """Return the chosen model of each target that has finished evaluations.

    With a `selection`, held-out scores choose. Otherwise the scores on the target itself do, which flatters. In-domain
    networks go before others.
    """
    found = (_chosen(plan, target) for target in plan.experiment.all_targets)
    return [chosen for chosen in found if chosen]


def _chosen(plan: Plan, target: str) -> Chosen | None:
    there = [s for s in plan.of_kind("evaluate") if s.result and s.on_target and s.labels["target"] == target]
    inside = [s for s in there if plan.experiment.same_domain(str(s.labels["source"]), target)]
    tests = _networks(inside or there)
    held_out = _networks([s for s in plan.of_kind("evaluate") if s.result and s.labels["domain"] == HELD_OUT])
    judged = {name: held_out[name] for name in tests if name in held_out}
    scores = {name: _score(stages) for name, stages in (judged or tests).items()}
    if not scores:
        return None
    best = max(scores, key=scores.__getitem__)
    by = "on held-out pictures" if judged else f"on {target} itself, which flatters it"
    first = min(tests[best], key=lambda stage: int(stage.labels["seed"]))
    return Chosen(
        target, plan.stages[first.needs["model"]], f"{best[1]} has the highest mAP {by}: {100 * scores[best]:.1f} %."
    )


def _networks(evaluations: list[Stage]) -> Networks:
    found: Networks = {}
    for stage in evaluations:
        assert stage.result is not None
        network = " ".join([str(stage.result.get("genotype") or stage.labels["origin"]), *varied_labels(stage)])
        found.setdefault((str(stage.labels["source"]), network), []).append(stage)
    return found


def _score(stages: list[Stage]) -> float:
    return mean(stage.result["metrics"]["mAP"] for stage in stages if stage.result)


def register(client: Client, plan: Plan, workspace: Workspace, run_of: Callable[[Stage], str]) -> None:
    """Register the chosen model of each target, unless the alias names its weights already.

    Args:
        client: MLflow's client.
        plan: A plan with results.
        workspace: The workspace with the weights.
        run_of: Function that returns the run of a stage.
    """
    from mlflow.exceptions import MlflowException

    for chosen in chosen_models(plan):
        assert chosen.model.result is not None
        name, run = f"{plan.experiment.name}-{chosen.target}", run_of(chosen.model)
        if not client.list_artifacts(run, FOLDER):
            weights = workspace.file(chosen.model.result, WEIGHTS)
            if weights is None:
                continue  # somebody has deleted them
            client.log_artifact(run, str(weights), FOLDER)
        place = f"{client.get_run(run).info.artifact_uri}/{FOLDER}"
        try:
            if client.get_model_version_by_alias(name, ALIAS).source == place:
                continue
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
        try:
            client.create_registered_model(name, description=f"The chosen network of {plan.experiment.name}.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = client.create_model_version(
            name, place, run_id=run, description=chosen.reason, await_creation_for=None
        )
        client.set_registered_model_alias(name, ALIAS, version.version)
