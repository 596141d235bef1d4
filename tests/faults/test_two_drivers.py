"""Two drivers on one workspace: they share the work, one takes over from the other, and nothing counts twice."""

import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.barrier import Barrier
from support.disturbed import Driver, attempts, history, long_document, saved_history, wait_for, weights
from support.grids import tiny_document

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import CHECKPOINT, RESULT, Workspace
from pipeline.tracking.address import default_address
from pipeline.tracking.runs import KEY_TAG, SPEC_TAG

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


def finished(document: dict[str, Any], workspace: Workspace) -> Plan:
    """The plan of a grid that has been run."""
    planned = plan(Experiment.model_validate(document), lookup=workspace.result)
    assert all(stage.result for stage in planned.stages.values())
    return planned


def require_one_run_each(planned: Plan, workspace: Workspace) -> None:
    """MLflow has one run of each key, and one parent; all are finished."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=default_address(workspace))
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], max_results=1000)
    keys = Counter(run.data.tags.get(KEY_TAG) for run in runs)
    parents = keys.pop(None)
    assert keys == Counter({stage.key for stage in planned.stages.values()})
    assert parents == 1
    assert sum(SPEC_TAG in run.data.tags for run in runs) == 1
    assert {run.info.status for run in runs} == {"FINISHED"}


@contextlib.contextmanager
def both(
    document: dict[str, Any], workspace: Workspace, folder: Path, barrier: Barrier
) -> Iterator[tuple[Driver, Driver]]:
    """Two drivers on one workspace, whose retrainings wait at the barrier."""
    with (
        Driver(document, workspace, folder, barrier, "one") as one,
        Driver(document, workspace, folder, barrier, "two") as two,
    ):
        yield one, two


def found(workspace: Workspace, pattern: str) -> list[Path]:
    """Files of the only retraining."""
    assert workspace.root is not None
    return list(workspace.root.glob(f"stages/retrain/*/{pattern}"))


def holders(workspace: Workspace) -> set[str]:
    """The drivers that have run a stage: they have its first lease."""
    assert workspace.root is not None
    return {json.loads(lease.read_text())["holder"] for lease in workspace.root.glob("stages/*/*/leases/1.json")}


def the_one_at_work(drivers: tuple[Driver, Driver], barrier: Barrier) -> tuple[Driver, Driver, int]:
    """Wait for the barrier. Return the driver whose worker retrains, the other one, and that worker."""
    (worker,) = wait_for(barrier.waiting, "retraining at the barrier")
    one, two = drivers
    return (one, two, worker) if one.started(worker) else (two, one, worker)


def test_two_drivers_share_the_work(workspace: Workspace, barrier: Barrier, tmp_path: Path) -> None:
    document = tiny_document() | {"splits": [], "targets": ["street"], "checkpoint_every": 0}
    document |= {"genotypes": ["MSINet", "MSINet-VR", "MSINet-S"], "resources": {"max_concurrent": 1}}
    document["retrain"]["in_domain"]["epochs"] = 4
    with both(document, workspace, tmp_path, barrier) as (one, two):
        wait_for(lambda: len(holders(workspace)) == 2, "stage of each driver")
        barrier.open()
        codes = [one.ends(), two.ends()]
    assert codes == [0, 0], one.output + two.output
    assert one.table() == two.table()
    assert one.table().count("MSINet") == 3, one.output
    planned = finished(document, workspace)
    for stage in planned.stages.values():
        assert len(attempts(workspace, stage)) == 1, f"{stage.name} ran twice although both drivers lived"
    require_one_run_each(planned, workspace)


def test_a_driver_takes_over_from_one_that_died(
    workspace: Workspace, barrier: Barrier, tmp_path: Path, undisturbed: bytes
) -> None:
    document = long_document()
    with both(document, workspace, tmp_path, barrier) as drivers:
        dying, other, _ = the_one_at_work(drivers, barrier)
        assert found(workspace, f"attempts/*/{CHECKPOINT}"), "a state was saved"
        dying.kill()
        saved = saved_history(workspace)
        assert not found(workspace, RESULT), "it held the lease"
        barrier.open()
        assert other.ends() == 0, other.output
    planned = finished(document, workspace)
    (stage,) = planned.of_kind("retrain")
    assert len(attempts(workspace, stage)) == 2
    assert weights(planned, workspace) == undisturbed
    assert history(planned, workspace)[: len(saved)] == saved != [], "no epoch was run again"
    require_one_run_each(planned, workspace)


def test_a_worker_that_wakes_up_late_replaces_nothing(
    workspace: Workspace, barrier: Barrier, tmp_path: Path, undisturbed: bytes
) -> None:
    document = long_document()
    with both(document, workspace, tmp_path, barrier) as drivers:
        silent, other, worker = the_one_at_work(drivers, barrier)
        os.kill(worker, signal.SIGSTOP)  # its heartbeat stops too
        barrier.open()
        (result,) = wait_for(lambda: found(workspace, RESULT), "result")
        published = result.read_bytes()
        os.kill(worker, signal.SIGCONT)
        codes = [silent.ends(), other.ends()]
    assert codes == [0, 0], silent.output + other.output
    assert silent.table() == other.table()
    assert result.read_bytes() == published
    planned = finished(document, workspace)
    (stage,) = planned.of_kind("retrain")
    assert stage.result is not None
    late = [folder for folder in attempts(workspace, stage) if folder.name != stage.result["attempt"]]
    assert len(late) == 1
    assert (late[0] / WEIGHTS).read_bytes() == undisturbed, "it came to its end, and to the same numbers"
    assert weights(planned, workspace) == undisturbed
    require_one_run_each(planned, workspace)
