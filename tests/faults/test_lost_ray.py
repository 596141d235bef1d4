"""A driver that loses its Ray or is asked to end: it ends within a bounded time, and the next one continues."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from support.barrier import Barrier
from support.disturbed import Driver, attempts, command_of, family, long_document, wait_for, weights

from pipeline.config.experiment import Experiment
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import CHECKPOINT, RESULT, Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


def stages(workspace: Workspace, name: str) -> list[Path]:
    """The files of that name which the retraining left."""
    assert workspace.root is not None
    return list(workspace.root.glob(f"stages/retrain/*/{name}"))


def require_continuation(workspace: Workspace, folder: Path, undisturbed: bytes) -> None:
    """The same command continues from the saved state, to the numbers of an undisturbed run."""
    assert stages(workspace, f"attempts/*/{CHECKPOINT}")
    with Driver(long_document(), workspace, folder, name="next") as driver:
        assert driver.ends() == 0, driver.output
    planned = plan(Experiment.model_validate(long_document()), lookup=workspace.result)
    assert weights(planned, workspace) == undisturbed
    (stage,) = planned.of_kind("retrain")
    assert len(attempts(workspace, stage)) == 2


def test_a_driver_whose_raylet_is_killed_ends(
    workspace: Workspace, barrier: Barrier, tmp_path: Path, undisturbed: bytes
) -> None:
    with Driver(long_document(), workspace, tmp_path, barrier) as driver:
        (worker,) = wait_for(barrier.waiting, "retraining at the barrier")
        (raylet,) = [pid for pid in family(driver.process.pid) if "raylet/raylet" in command_of(pid)]
        os.kill(raylet, signal.SIGKILL)
        barrier.open()
        assert driver.ends(120) == 1, driver.output
    assert driver.output.splitlines()[-1] == (
        "error: Ray on this machine has died: run the same command again to continue."
    )
    wait_for(lambda: not psutil.pid_exists(worker), "end of the worker")
    assert not stages(workspace, RESULT), "the worker did not train on when nobody listened any more"
    require_continuation(workspace, tmp_path, undisturbed)


def test_sigterm_ends_a_driver_in_an_orderly_way(
    workspace: Workspace, barrier: Barrier, tmp_path: Path, undisturbed: bytes
) -> None:
    with Driver(long_document(), workspace, tmp_path, barrier) as driver:
        wait_for(barrier.waiting, "retraining at the barrier")
        members = family(driver.process.pid)
        driver.process.terminate()
        assert driver.ends(120) == 128 + signal.SIGTERM, driver.output
    barrier.open()
    wait_for(lambda: not any(map(psutil.pid_exists, members)), "end of all that the driver has started")
    assert driver.output.splitlines()[-1].startswith("ended by SIGTERM: everything that is finished is kept.")
    assert "***" not in driver.output, "Ray's own trace"
    assert "Traceback" not in driver.output
    require_continuation(workspace, tmp_path, undisturbed)
