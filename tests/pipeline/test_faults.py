"""Processes are killed on purpose; the grid ends with the numbers of an undisturbed run, published once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from grids import run_without_ray

from pipeline.config import Experiment
from pipeline.plan import Plan, plan
from pipeline.scheduling import DONE, run_plan
from pipeline.stages import WEIGHTS
from pipeline.workspace import CHECKPOINT, RESULT, Workspace

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture
def slow(tiny: dict[str, Any]) -> dict[str, Any]:
    """One retraining of many short epochs: there is time to kill it."""
    tiny |= {"splits": [], "genotypes": ["MSINet"], "targets": ["street"]}
    tiny["retrain"]["in_domain"]["epochs"] = 8
    tiny |= {"checkpoint_every": 0, "resources": {"lease_seconds": 2}}
    return tiny


def weights(planned: Plan, workspace: Workspace) -> bytes:
    stage = next(planned.of_kind("retrain"))
    assert stage.result is not None
    return (workspace.files(stage.result) / WEIGHTS).read_bytes()


def wait_for(workspace: Workspace, pattern: str, seconds: float = 120) -> Path:
    """The first file of that pattern, once there is one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for path in workspace.root.glob(pattern):
            return path
        time.sleep(0.05)
    raise AssertionError(f"no {pattern} after {seconds} s")


class KillTheWorker:
    """Sends SIGKILL to the process that trains, once, in the middle of its epochs."""

    def __init__(self) -> None:
        self.killed = 0
        self.reasons: list[str] = []

    def reported(self, stage: Any, reports: Any) -> None:
        if stage.kind == "retrain" and not self.killed:
            self.killed = reports[-1]["pid"]
            os.kill(self.killed, signal.SIGKILL)

    def started(self, stage: Any) -> None: ...
    def finished(self, stage: Any) -> None: ...
    def failed(self, stage: Any, failure: Any) -> None: ...
    def retried(self, stage: Any, reason: str) -> None:
        self.reasons.append(reason)

    def tick(self, states: Any) -> None: ...


@pytest.mark.usefixtures("local_ray")
def test_a_killed_worker_continues_to_the_same_weights(
    slow: dict[str, Any], workspace: Workspace, tmp_path: Path
) -> None:
    undisturbed = Workspace(tmp_path / "undisturbed")
    expected = weights(run_without_ray(slow, undisturbed), undisturbed)
    planned = plan(Experiment.model_validate(slow))
    killer = KillTheWorker()
    outcome = run_plan(planned, workspace, [killer])
    assert killer.killed
    assert len(killer.reasons) == 1
    assert "worker was lost" in killer.reasons[0]
    assert set(outcome.states.values()) == {DONE}
    stage = next(planned.of_kind("retrain"))
    attempts = list(workspace.root.glob(f"stages/retrain/{stage.key}/attempts/*"))
    assert len(attempts) == 2, "the killed one, and the one that continued"
    assert weights(planned, workspace) == expected


def test_a_killed_driver_leaves_a_grid_that_continues(slow: dict[str, Any], tmp_path: Path) -> None:
    undisturbed, workspace = Workspace(tmp_path / "undisturbed"), Workspace(tmp_path / "workspace")
    expected = weights(run_without_ray(slow, undisturbed), undisturbed)
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(slow))
    command = [sys.executable, str(ROOT / "pipeline" / "run_grid.py"), str(path), "--workspace", str(workspace.root)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        wait_for(workspace, f"stages/retrain/*/attempts/*/{CHECKPOINT}")
        os.killpg(run.pid, signal.SIGKILL)  # the driver and the Ray that it started
    assert not list(workspace.root.glob(f"stages/retrain/*/{RESULT}"))
    again = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "prepare street was done before" in again.stdout
    assert weights(plan(Experiment.model_validate(slow), lookup=workspace.result), workspace) == expected
