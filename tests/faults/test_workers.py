"""Several workers share one stage under Ray Train; one of its processes is killed, and the weights end up the same."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from support.barrier import Barrier
from support.disturbed import command_of, family, wait_for
from support.grids import tiny_document

from pipeline.cluster import queue
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE, QUEUED, WAITING, Watcher
from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import HISTORY, WEIGHTS
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Failure
from pipeline.storage.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
# Actors of Ray Train, and one of ours, by which their processes are named.
WORKER, CONTROLLER, RELAY = "RayTrainWorker", "TrainController", "_Relay"


def document() -> dict[str, Any]:
    """A retraining on two workers."""
    tiny = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "targets": ["street"], "workers": {"retrain": 2}}
    tiny["resources"] = {"retrain": {"cpus": 0.5}, "lease_seconds": 2}
    return tiny | {"checkpoint_every": 0}


class Listener(Watcher):
    """Calls `disturb` with the process of the first rank, once, while a retraining waits at the barrier."""

    def __init__(self, barrier: Barrier, disturb: Callable[[int], object] | None) -> None:
        self.barrier, self.disturb = barrier, disturb
        self.reasons: list[str] = []
        self.epochs: list[int] = []
        self.lost: list[str] = []
        self.working: list[str] = []

    def reported(self, stage: Stage, reports: Any) -> None:
        if stage.kind == "retrain":
            self.epochs += [report["epoch"] for report in reports]
            if self.working:
                return
            (first,) = wait_for(self.barrier.waiting, "retraining at the barrier")
            self.working = processes(WORKER)
            if self.disturb is not None:
                self.disturb(first)
                wait_for(lambda: not set(self.working) & set(processes(WORKER)), "end of the workers that are left")
            self.barrier.open()

    def failed(self, stage: Stage, failure: Failure) -> None:
        self.lost.append(failure.message)

    def retried(self, stage: Stage, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture(scope="module", autouse=True)
def cluster(shared_barrier: Barrier) -> Any:
    """Ray with two CPUs, of which each worker takes a half; Train looks after its workers several times a second."""
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()
    del os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"]


Run = tuple[Plan, Workspace, Listener]


def run(folder: Path, barrier: Barrier, disturb: Callable[[int], object] | None = None) -> Run:
    barrier.close()
    planned, workspace = plan(Experiment.model_validate(document())), Workspace(folder)
    listener = Listener(barrier, disturb)
    outcome = run_plan(planned, workspace, [listener])
    assert set(outcome.states.values()) == {DONE}, listener.lost
    return planned, workspace, listener


@pytest.fixture(scope="module")
def calm(cluster: None, shared_barrier: Barrier, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbs."""
    return run(tmp_path_factory.mktemp("calm"), shared_barrier)


def processes(name: str) -> list[int]:
    """The processes of this Ray that run something of that name."""
    return [pid for pid in family(os.getpid()) if command_of(pid).startswith(f"ray::{name}")]


def require_equal(first_run: Run, second_run: Run) -> None:
    """Both found the same, to the byte."""
    (first_plan, first_place, _), (second_plan, second_place, _) = first_run, second_run
    first, second = (next(p.of_kind("retrain")).result for p in (first_plan, second_plan))
    assert first is not None
    assert second is not None
    assert first["spec"]["workers"] == 2
    assert first["metrics"] == second["metrics"]
    assert (first_place.files(first) / WEIGHTS).read_bytes() == (second_place.files(second) / WEIGHTS).read_bytes()
    assert len((first_place.files(first) / HISTORY).read_text().splitlines()) == 2


def require_nothing_left(listener: Listener) -> None:
    """Train's processes end with their stage, and what they occupied is free again."""
    assert len(listener.working) == 2, "these are the names to look for"
    wait_for(lambda: not processes(WORKER), "end of the workers")
    wait_for(lambda: ray.available_resources().get("CPU") == 2, "release of what they occupied")


def test_a_worker_that_is_killed(calm: Run, barrier: Barrier, tmp_path: Path) -> None:
    fire = run(tmp_path, barrier, lambda pid: os.kill(pid, signal.SIGKILL))
    listener = fire[2]
    assert len(listener.reasons) == 1, "tried again once"
    assert listener.epochs == [0, 1], "the first epoch is not run again"
    require_equal(calm, fire)
    require_nothing_left(listener)


def test_a_process_that_waits_for_the_workers_is_killed(calm: Run, barrier: Barrier, tmp_path: Path) -> None:
    def kill(pid: int) -> None:
        (waiting,) = processes("retrain")
        os.kill(waiting, signal.SIGKILL)

    fire = run(tmp_path, barrier, kill)
    listener = fire[2]
    assert len(listener.reasons) == 1, "tried again once"
    assert "the stage's worker was lost" in listener.reasons[0]
    require_equal(calm, fire)
    require_nothing_left(listener)


@pytest.mark.parametrize("names", [[CONTROLLER], [RELAY, WORKER]], ids=["controller", "relay and workers"])
def test_what_looks_after_the_workers_is_killed(calm: Run, barrier: Barrier, tmp_path: Path, names: list[str]) -> None:
    def kill(pid: int) -> None:
        for name in names:
            found = processes(name)
            assert found, name
            for process in found:
                os.kill(process, signal.SIGKILL)

    fire = run(tmp_path, barrier, kill)
    listener = fire[2]
    assert len(listener.reasons) == 1, "tried again once"
    assert "Ray Train was lost" in listener.reasons[0]
    assert listener.epochs == [0, 1], "the first epoch is not run again"
    require_equal(calm, fire)
    require_nothing_left(listener)


class Full(Watcher):
    """Occupies the whole machine when the dataset is prepared, until Ray Train has waited a while for its workers.

    Args:
        gate: File that exists as long as the machine is occupied.
        told: Whether people know that the workers wait.
    """

    def __init__(self, gate: Path, told: Callable[[], bool]) -> None:
        self.gate, self.told, self.states = gate, told, set[str]()
        self.released = self.ticks = 0.0

    def finished(self, stage: Stage) -> None:
        if stage.kind == "prepare":
            hold.remote(self.gate)
            wait_for(self.gate.exists, "task that occupies the machine")

    def tick(self, states: dict[str, str]) -> None:
        if self.gate.exists():
            self.states |= {state for name, state in states.items() if name.startswith("retrain")}
            self.ticks += bool(processes(CONTROLLER))
            if self.ticks > 5 and self.told():
                self.released = time.time()
                self.gate.unlink()


@ray.remote(num_cpus=2)
def hold(gate: Path) -> None:
    gate.touch()
    while gate.exists():
        time.sleep(0.05)


def test_a_stage_whose_workers_have_no_place_has_not_begun(
    barrier: Barrier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queue, "SILENCE", 2.0)
    barrier.open()
    planned = plan(Experiment.model_validate(document()))
    (stage,) = planned.of_kind("retrain")
    warning = f"no stage has found a place for 2 s: `{stage.name}` needs 2 places, each with 0.5 CPUs"
    watcher = Full(tmp_path / "gate", lambda: warning in caplog.text)
    outcome = run_plan(planned, Workspace(tmp_path / "workspace"), [watcher])
    assert set(outcome.states.values()) == {DONE}
    assert watcher.states <= {WAITING, QUEUED}
    assert stage.result is not None
    assert stage.started == stage.result["started"] > watcher.released > 0
    assert stage.result["seconds"] < time.time() - watcher.released
