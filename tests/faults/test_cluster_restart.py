"""A driver and its whole Ray are killed in each long stage and started again, to the numbers of an undisturbed grid."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.barrier import Barrier
from support.disturbed import Driver, attempts, family, history, saved_history, wait_for, weights
from support.grids import run_without_ray, tiny_document

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import HISTORY
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import CHECKPOINT, RESULT, Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture
def document() -> dict[str, Any]:
    """A search, the retraining of what it finds and an evaluation."""
    document = tiny_document() | {"targets": ["street"], "checkpoint_every": 0, "resources": {"lease_seconds": 2}}
    document["search"]["epochs"] = document["retrain"]["in_domain"]["epochs"] = 3
    return document


def numbers(planned: Plan, workspace: Workspace) -> dict[str, Any]:
    """What the search, the retraining and the evaluation found."""
    (search,), (evaluate,) = planned.of_kind("search"), planned.of_kind("evaluate")
    assert search.result is not None
    assert evaluate.result is not None
    history = (workspace.files(search.result) / HISTORY).read_text().splitlines()
    return {
        "genotype": search.result["genotype"],
        "alphas": search.result["alphas"],
        "losses": [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in history],
        "weights": weights(planned, workspace),
        "scores": evaluate.result["metrics"],
    }


def test_a_killed_cluster_leaves_a_grid_that_continues(
    document: dict[str, Any], barrier: Barrier, tmp_path: Path
) -> None:
    undisturbed, workspace = Workspace(tmp_path / "undisturbed"), Workspace(tmp_path / "workspace")
    expected = numbers(run_without_ray(document, undisturbed), undisturbed)
    root, saved = workspace.root, {}
    assert root is not None
    for kind in ("search", "retrain"):
        with Driver(document, workspace, tmp_path, barrier) as driver:
            (worker,) = wait_for(lambda kind=kind: barrier.waiting(kind), f"{kind} at the barrier")
            assert worker in family(driver.process.pid)
            driver.kill()
        assert list(root.glob(f"stages/{kind}/*/attempts/*/{CHECKPOINT}")), f"a state of {kind} was saved"
        assert not list(root.glob(f"stages/{kind}/*/{RESULT}")), f"{kind} had not ended"
        saved[kind] = saved_history(workspace, kind)
        barrier.open(kind)
    with Driver(document, workspace, tmp_path, barrier) as driver:
        assert driver.ends() == 0, driver.output
        assert "prepare street was done before" in driver.output

    planned = plan(Experiment.model_validate(document), lookup=workspace.result)
    planned.resolve(workspace.result)
    assert numbers(planned, workspace) == expected
    for kind, count in (("prepare", 1), ("search", 2), ("retrain", 2), ("evaluate", 1)):
        (stage,) = planned.of_kind(kind)
        assert len(attempts(workspace, stage)) == count
        if kind in saved:
            assert history(planned, workspace, kind)[:1] == saved[kind], "the first epoch was not run again"
