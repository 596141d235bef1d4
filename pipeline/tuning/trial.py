"""One trial of the outer loop: ordinary stages, planned like any other and run one after another in one process.

Only the driver knows the study. A worker knows only what is in this module.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.cluster.ray_private import Notice
from pipeline.config.experiment import Experiment
from pipeline.config.resources import Workers
from pipeline.config.tune import SLOTS, Tune, genotype_of, recipe_of
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Ended, Failed, Held, Report, Result, Stopped
from pipeline.stages.attempt import execute
from pipeline.stages.evaluate import evaluate_held_out
from pipeline.stages.task import Context, task_of
from pipeline.storage.workspace import Workspace

Values = Mapping[str, Any]
POLL = 1.0  # seconds between two looks at a stage that another trial runs


def base_of(experiment: Experiment) -> Experiment:
    """Return what all trials share: one source, the first retraining seed, one process, training from scratch."""
    tune = settings(experiment)
    return experiment.model_copy(
        update={
            "tune": None,
            "selection": None,
            "random_genotypes": None,
            "sources": [tune.source],
            "targets": [],
            "splits": [],
            "networks": [],
            "alignments": [],
            "weights": {},
            "genotypes": [tune.genotype] if tune.genotype else [],
            "starts": ["scratch"],
            "retrain_seeds": experiment.retrain_seeds[:1],
            "measure": tune.measured,
            "rerank": False,
            "evaluation_runtime": "torch",  # which also scores a training that has not ended
            "figures": False,
            "workers": Workers(),
        }
    )


def settings(experiment: Experiment) -> Tune:
    """Return the section `tune`, which must be there."""
    assert experiment.tune is not None
    return experiment.tune


def plan_trial(
    base: Experiment, values: Values, hold_out: int, fingerprints: Mapping[str, str], workspace: Workspace
) -> Plan:
    """Return the stages of a trial: its source, a retraining, an evaluation, and a measurement if the base asks for it.

    Args:
        base: Experiment from `base_of`.
        values: A point of the search space: values by name.
        hold_out: Percent of the training identities on which the trial is scored.
        fingerprints: Fingerprints of disk datasets, by name.
        workspace: Workspace whose results are attached to the stages.
    """
    genotypes = [genotype_of(values)] if SLOTS[0] in values else base.genotypes
    recipe = recipe_of(base.retrain.in_domain, {name: value for name, value in values.items() if name not in SLOTS})
    retrain = base.retrain.model_copy(update={"in_domain": recipe})
    experiment = base.model_copy(update={"genotypes": genotypes, "retrain": retrain})
    return plan(experiment, fingerprints, workspace.result, hold_out=hold_out)


def run_trial(
    config: Mapping[str, Any],
    *,
    base: Experiment,
    hold_out: int,
    fingerprints: Mapping[str, str],
    address: str,
    rungs: Sequence[int],
) -> None:
    """Run a trial's stages and report mAP. Ray Tune calls this function.

    A trial that is stopped at a rung leaves its state in the workspace, and a trial that ends has published its stages.
    The last report has `published`, or `failure` with the reason, or `stopped` if the node is about to be taken away
    and the state is saved. Earlier reports have `epoch`.

    Args:
        config: `values`, a point of the search space.
        base, hold_out, fingerprints: See `plan_trial`.
        address: Address of the workspace.
        rungs: Epochs, counted from 1, after which mAP is reported.

    Raises:
        RuntimeError: A failure that may pass by itself, so Tune tries again.
    """
    from ray import tune

    def after_epoch(context: Context, loop: Any, save: Any) -> None:
        if loop.next_epoch in rungs and context.task.kind == "retrain":
            scores, _ = evaluate_held_out(context, loop.model)
            save()  # save before the report, because Tune may end this process when it knows the score
            tune.report({"epoch": loop.next_epoch, "mAP": scores["mAP"]})

    started = time.monotonic()
    workspace = Workspace(address, made=True)
    planned = plan_trial(base, config["values"], hold_out, fingerprints, workspace)
    notice = Notice()
    for stage in planned.stages.values():
        if stage.kind == "measure" or stage.result:
            continue
        ended = _execute(workspace, planned, stage, after_epoch, notice)
        if isinstance(ended, Failed):
            if ended.failure.retry:
                raise RuntimeError(ended.failure.message)
            tune.report({"mAP": 0.0, "failure": ended.failure.message})
            return
        if isinstance(ended, Stopped):
            tune.report({"mAP": 0.0, "stopped": True})  # an error would count against Tune's retries
            return
        planned.resolve(workspace.result)
    tune.report({"mAP": held_out_map(planned), "published": True, "seconds": time.monotonic() - started})


def held_out_map(planned: Plan) -> float:
    """Return mAP of a trial whose stages are published."""
    result: Result | None = next(planned.of_kind("evaluate")).result
    assert result is not None
    score: float = result["metrics"]["mAP"]
    return score


def _execute(workspace: Workspace, planned: Plan, stage: Stage, after_epoch: Any, notice: Notice) -> Ended:
    """Run a stage, but first wait while another trial runs it: two trials with the same values share the work."""
    results = planned.results()
    spec = stage.bind(results)
    assert spec is not None
    task = task_of(stage, spec, results, planned.experiment)
    holder = uuid.uuid4().hex
    while True:
        ended = execute(workspace.address, task, _quiet, holder=holder, notice=notice, after_epoch=after_epoch)
        if not isinstance(ended, Held):
            return ended
        time.sleep(POLL)


def _quiet(report: Report) -> None:
    """Do nothing, because nobody follows a trial's epochs."""
