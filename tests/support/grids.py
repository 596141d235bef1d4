"""A tiny experiment, and a way to run its stages one after another without Ray."""

import copy
from pathlib import Path
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Done, Ended, Failed, Failure, Result
from pipeline.stages.attempt import execute
from pipeline.stages.task import Task
from pipeline.stages.task import task_of as stage_task
from pipeline.storage.workspace import Workspace

_DATA = {"kind": "synthetic", "train_ids": 10, "test_ids": 4, "height": 32, "cameras": 2}
_SHORT = {"epochs": 2, "batch_size": 8, "num_instances": 2, "warmup_epochs": 0, "milestones": []}


def tiny_document() -> dict[str, Any]:
    """Return the content of the tiny experiment's file, as a new copy."""
    return copy.deepcopy(
        {
            "name": "tiny",
            "datasets": {"street": {**_DATA, "domain": "street"}, "campus": {**_DATA, "domain": "campus"}},
            "sources": ["street"],
            "targets": ["street", "campus"],
            "image_size": [32, 16],
            "splits": ["60-80"],
            "search": dict(_SHORT),
            "retrain": {"in_domain": dict(_SHORT), "cross_domain": "same"},
        }
    )


def quiet(report: dict[str, Any]) -> None:
    """Ignore a report."""


def made(address: str | Path) -> Workspace:
    """Return the workspace at an address, and make it if there is none."""
    workspace = Workspace(address)
    workspace.make()
    return workspace


def task_of(stage: Stage, planned: Plan) -> Task:
    """Return the task of a stage whose inputs are done."""
    spec = stage.bind(planned.results())
    assert spec is not None
    return stage_task(stage, spec, planned.results(), planned.experiment)


def done(ended: Ended) -> Result:
    """Return the result of an attempt that must have ended as done."""
    assert isinstance(ended, Done), ended
    return ended.result


def failed(ended: Ended) -> Failure:
    """Return the failure of an attempt that must have failed."""
    assert isinstance(ended, Failed), ended
    return ended.failure


def run_without_ray(document: dict[str, Any], workspace: Workspace) -> Plan:
    """Run every stage of an experiment in this process, in order, and return the plan with the results."""
    workspace.make()
    planned = plan(Experiment.model_validate(document))
    for stage in [stage for stage in planned.stages.values() if not stage.lacks]:
        ended = execute(workspace.address, task_of(stage, planned), quiet)
        done(ended)
        planned.resolve(workspace.result)
    return planned


def under_way(planned: Plan, workspace: Workspace) -> tuple[Plan, dict[str, Result]]:
    """Return a finished plan as it is before its stages end: with keys but without results, and the results to come."""
    again = plan(planned.experiment, lookup=workspace.result)
    results = again.results()
    for stage in again.stages.values():
        stage.result = None
    return again, results
