"""Several workers share one stage under Ray Train; one is killed, and the stage ends with the same weights."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from grids import tiny_document

from pipeline.config import Experiment
from pipeline.plan import Plan, Stage, plan
from pipeline.scheduling import DONE, run_plan
from pipeline.stages import GENOTYPE, HISTORY, WEIGHTS
from pipeline.workspace import Workspace

pytestmark = pytest.mark.faults


def document() -> dict[str, Any]:
    """A search and a retraining, each on two workers."""
    tiny = tiny_document() | {"targets": ["street"], "workers": {"search": 2, "retrain": 2}}
    tiny["resources"] = {kind: {"cpus": 0.5} for kind in ("search", "retrain")} | {"lease_seconds": 2}
    return tiny | {"checkpoint_every": 0}


class Listener:
    """Kills a worker in the first epoch of a retraining, if asked to."""

    def __init__(self, kill: bool) -> None:
        self.kill, self.reasons = kill, []  # type: ignore[var-annotated]
        self.epochs: list[int] = []
        self.lost: list[str] = []

    def reported(self, stage: Stage, reports: Any) -> None:
        if stage.kind == "retrain":
            self.epochs += [report["epoch"] for report in reports]
            if self.kill:
                self.kill = False
                os.kill(reports[-1]["pid"], signal.SIGKILL)

    def started(self, stage: Stage) -> None: ...
    def finished(self, stage: Stage) -> None: ...

    def failed(self, stage: Stage, failure: Any) -> None:
        self.lost.append(failure["message"])

    def retried(self, stage: Stage, reason: str) -> None:
        self.reasons.append(reason)

    def tick(self, states: Any) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Any:
    """Ray with two CPUs, of which each worker takes a half; Train looks after its workers several times a second."""
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()
    del os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"]


def run(folder: Path, *, kill: bool) -> tuple[Plan, Workspace, Listener]:
    planned, workspace, listener = plan(Experiment.model_validate(document())), Workspace(folder), Listener(kill)
    outcome = run_plan(planned, workspace, [listener])
    assert set(outcome.states.values()) == {DONE}, listener.lost
    return planned, workspace, listener


def working() -> list[str]:
    """The processes of Train's workers that are still there; one that ends while they are counted is not."""
    names = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(child.name())
    return [name for name in names if "ray::_work" in name]


@pytest.mark.timeout(420)
def test_two_workers_and_one_that_is_killed(tmp_path: Path) -> None:
    planned, calm, _ = run(tmp_path / "calm", kill=False)
    again, fire, listener = run(tmp_path / "fire", kill=True)
    assert len(listener.reasons) == 1, "tried again once"
    assert listener.epochs == [0, 1], "the first epoch is not run again"
    for kind, names in (("search", (GENOTYPE, WEIGHTS)), ("retrain", (WEIGHTS,))):
        first, second = (next(p.of_kind(kind)).result for p in (planned, again))
        assert first is not None
        assert second is not None
        assert first["spec"]["workers"] == 2
        assert first["metrics"] == second["metrics"]
        for name in names:
            assert (calm.files(first) / name).read_bytes() == (fire.files(second) / name).read_bytes()
        assert len((calm.files(first) / HISTORY).read_text().splitlines()) == 2
    end = time.monotonic() + 10
    while left := working():
        assert time.monotonic() < end, f"processes of Train's workers outlive their stage: {left}"
        time.sleep(0.1)
