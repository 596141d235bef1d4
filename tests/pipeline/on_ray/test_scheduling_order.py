"""The driver on pretended stages: a score does not wait behind all trainings, and a measurement holds up nothing."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.cluster import probe, queue
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE, FAILED, QUEUED, RUNNING, WAITING, Watcher
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Done, Failure
from pipeline.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
SLOTS = 2  # CPUs of the tests' Ray
TRAININGS = 6


def pretended(gates: Path | None = None) -> Any:
    """Return a remote function that ends with a pretended result. If there are gates, a training waits for its own."""

    @ray.remote(max_retries=0)
    def run(address: str, task: Any, board: Any, holder: str) -> Any:
        board.post.remote(task.key, time.time())
        while gates and task.kind == "retrain" and not (gates / task.key).exists():
            time.sleep(0.02)
        known = dict.fromkeys(("fingerprint", "train_fingerprint", "protocol"), "pretended")
        return Done({"key": task.key, **known})

    return run


class Conductor(Watcher):
    """Keeps the machine busy with trainings, and lets one of them end at a time.

    Before that, it gives the driver some rounds for what it does when a score waits.

    Args:
        planned: The plan.
        gates: Folder of the gates.
    """

    ROUNDS, PATIENCE = 6, 100

    def __init__(self, planned: Plan, gates: Path) -> None:
        self.planned, self.gates = planned, gates
        self.begun: list[Stage] = []
        self.training: list[Stage] = []
        self.rounds = 0

    def started(self, stage: Stage) -> None:
        self.begun.append(stage)
        if stage.kind == "retrain":
            self.training.append(stage)

    def tick(self, states: dict[str, str]) -> None:
        self.rounds += 1
        assert self.rounds < self.PATIENCE, f"nothing happens any more: {states}"
        left = [s for s in self.planned.of_kind("retrain") if states[s.name] in (WAITING, QUEUED)]
        scores = [s for s in self.planned.of_kind("evaluate") if states[s.name] in (QUEUED, RUNNING)]
        if not self.training or (left and len(self.training) < SLOTS) or (scores and self.rounds < self.ROUNDS):
            return
        (self.gates / str(self.training.pop(0).key)).touch()
        self.rounds = 0


@pytest.mark.parametrize("cpus", [1.0, 0.5], ids=["equal needs", "smaller needs"])
def test_a_score_comes_soon_after_its_training(
    tiny: dict[str, Any], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: float
) -> None:
    monkeypatch.setattr(queue, "OVERDUE", 0.1)
    tiny |= {"splits": [], "genotypes": ["MSINet"], "targets": ["street"], "retrain_seeds": list(range(TRAININGS))}
    tiny["resources"] = {"evaluate": {"cpus": cpus}}
    planned = plan(Experiment.model_validate(tiny))
    conductor = Conductor(planned, tmp_path)
    outcome = run_plan(planned, workspace, [conductor], pretended(tmp_path))
    assert set(outcome.states.values()) == {DONE}
    kinds = [stage.kind for stage in conductor.begun]
    assert kinds.count("retrain") == kinds.count("evaluate") == TRAININGS, "nothing was interrupted"
    trainings_before = [kinds[:place].count("retrain") for place, kind in enumerate(kinds) if kind == "evaluate"]
    # When a training ends, the next one begins at once. The score takes the next place that becomes free.
    assert all(before <= SLOTS + 1 + scores for scores, before in enumerate(trainings_before)), kinds


class Enough(Exception):
    """Everything has happened that a test waits for."""


class Stop(Watcher):
    """Ends a driver that would wait for ever, when all other stages are done."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.states: dict[str, str] = {}
        self.failures: dict[str, str] = {}

    def tick(self, states: dict[str, str]) -> None:
        self.states = states
        others = {state for name, state in states.items() if not name.startswith("measure")}
        if others == {DONE} and "measurements wait" in self.caplog.text:
            raise Enough

    def failed(self, stage: Stage, failure: Failure) -> None:
        self.failures[stage.name] = failure.message


def measured(tiny: dict[str, Any], **resources: Any) -> Plan:
    """Return a plan of one measurement beside other stages."""
    tiny |= {"splits": [], "genotypes": ["MSINet"], "targets": ["street"], "measure": True, "resources": resources}
    planned = plan(Experiment.model_validate(tiny))
    assert any(planned.of_kind("measure"))
    return planned


def test_only_measurements_wait_for_their_device(
    tiny: dict[str, Any],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(probe, "SILENCE", 0.5)
    planned = measured(tiny, measure={"gpus": 1})
    stop = Stop(caplog)
    with caplog.at_level(logging.WARNING), pytest.raises(Enough):
        run_plan(planned, workspace, [stop], pretended())
    assert {state for name, state in stop.states.items() if name.startswith("measure")} == {WAITING}
    told = [record.getMessage() for record in caplog.records if record.name == probe.__name__]
    assert told == ["the measurements wait for a place with 1 CPUs and 1 GPUs that is free (resources.measure)."], (
        "once"
    )


def test_a_device_that_cannot_be_named_fails_the_measurements_alone(
    tiny: dict[str, Any],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @ray.remote
    def broken() -> str:
        raise ImportError("no torch here")

    monkeypatch.setattr(probe, "probe_device", broken)
    stop = Stop(caplog)
    outcome = run_plan(measured(tiny), workspace, [stop], pretended())
    assert {name.split()[0] for name in outcome.names(FAILED)} == {"measure"}
    assert set(stop.failures.values()) == {"a worker must be able to name its device, but cannot: no torch here"}
    assert {state for name, state in outcome.states.items() if not name.startswith("measure")} == {DONE}


def test_a_device_is_named_and_measured(tiny: dict[str, Any], workspace: Workspace) -> None:
    planned = measured(tiny)
    outcome = run_plan(planned, workspace, [], pretended())
    assert set(outcome.states.values()) == {DONE}
    assert all(stage.settings["device"] for stage in planned.of_kind("measure"))
