"""A driver that loses its Ray or is asked to end: it ends within a bounded time, and the next one continues."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from support.barrier import Barrier
from support.disturbed import (
    Driver,
    attempts,
    command_of,
    family,
    history,
    long_document,
    saved_history,
    wait_for,
    weights,
)
from support.tuning import document as tuning

from pipeline.config.experiment import Experiment
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import CHECKPOINT, RESULT, Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

LOST = "error: Ray on this machine has died: run the same command again to continue."


def kill_raylet(driver: Driver) -> None:
    (raylet,) = [pid for pid in family(driver.process.pid) if "raylet/raylet" in command_of(pid)]
    os.kill(raylet, signal.SIGKILL)


def stages(workspace: Workspace, name: str) -> list[Path]:
    """The files of that name which the retraining left."""
    assert workspace.root is not None
    return list(workspace.root.glob(f"stages/retrain/*/{name}"))


def require_continuation(workspace: Workspace, folder: Path, undisturbed: bytes) -> None:
    """The same command continues from the saved state, to the numbers of an undisturbed run."""
    assert stages(workspace, f"attempts/*/{CHECKPOINT}")
    saved = saved_history(workspace)
    with Driver(long_document(), workspace, folder, name="next") as driver:
        assert driver.ends() == 0, driver.output
    planned = plan(Experiment.model_validate(long_document()), lookup=workspace.result)
    assert weights(planned, workspace) == undisturbed
    (stage,) = planned.of_kind("retrain")
    assert len(attempts(workspace, stage)) == 2
    assert history(planned, workspace)[: len(saved)] == saved != [], "no epoch was run again"


def test_a_driver_whose_raylet_is_killed_ends(
    workspace: Workspace, barrier: Barrier, tmp_path: Path, undisturbed: bytes
) -> None:
    with Driver(long_document(), workspace, tmp_path, barrier) as driver:
        (worker,) = wait_for(barrier.waiting, "retraining at the barrier")
        kill_raylet(driver)
        barrier.open()
        assert driver.ends(120) == 1, driver.output
    assert driver.output.splitlines()[-1] == LOST
    wait_for(lambda: not psutil.pid_exists(worker), "end of the worker")
    assert not stages(workspace, RESULT), "the worker did not train on when nobody listened any more"
    require_continuation(workspace, tmp_path, undisturbed)


def test_an_outer_loop_whose_raylet_is_killed_ends(workspace: Workspace, barrier: Barrier, tmp_path: Path) -> None:
    document = tuning(long_document(), trials=1)
    with Driver(document, workspace, tmp_path, barrier, verb="tune") as driver:
        wait_for(barrier.waiting, "trial at the barrier")
        kill_raylet(driver)
        barrier.open()
        assert driver.ends(120) == 1, driver.output
    assert driver.output.splitlines()[-1] == LOST
    assert "Traceback" not in driver.output
    assert not stages(workspace, RESULT)
    with Driver(document, workspace, tmp_path, name="next", verb="tune") as driver:
        assert driver.ends() == 0, driver.output
    assert "best trials of 1 trials (1 complete)" in driver.output


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
