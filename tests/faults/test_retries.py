"""What the driver tries again, and when it gives up: stages that fail on purpose, on a Ray with a fake GPU."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from support.disturbed import Disturber
from support.grids import tiny_document

from pipeline.cluster.driver import ATTEMPTS, run_plan
from pipeline.cluster.watcher import DONE, FAILED, SKIPPED, Outcome
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.results import Failed, Failure
from pipeline.stages.attempt import execute
from pipeline.storage.store import UnreadableError
from pipeline.storage.workspace import CHECKPOINT, Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


@pytest.fixture(scope="module", autouse=True)
def ray_with_a_gpu() -> Iterator[None]:
    """Two CPUs, and a GPU in name only."""
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file with a line for each attempt at preparing `campus`."""
    return tmp_path / "calls.txt"


def failing(calls: Path, fail: Any) -> Any:
    """A remote function that runs stages, but calls `fail` with those that prepare `campus`."""

    @ray.remote(max_retries=0)
    def run(address: str, task: Any, board: Any, holder: str) -> Any:
        if task.spec.get("dataset", {}).get("domain") != "campus":
            return execute(address, task, lambda report: None, holder=holder)
        with calls.open("a") as file:
            file.write(f"{ray.get_runtime_context().get_assigned_resources().get('GPU', 0)}\n")
        return fail(address, task, holder, len(calls.read_text().splitlines()))

    return run


def run_grid(workspace: Workspace, run: Any, gpus: float = 0, only: str = "prepare") -> tuple[Plan, Outcome, Disturber]:
    """Run the tiny grid's stages whose names begin so."""
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "resources": {"prepare": {"gpus": gpus}}}
    planned, watcher = plan(Experiment.model_validate(document)), Disturber()
    planned.stages = {name: stage for name, stage in planned.stages.items() if name.startswith(only)}
    return planned, run_plan(planned, workspace, [watcher], run), watcher


def die(address: str, task: Any, holder: str, call: int) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_stage_whose_worker_always_dies_fails_alone(calls: Path, workspace: Workspace) -> None:
    planned, outcome, watcher = run_grid(workspace, failing(calls, die), only="")
    assert len(calls.read_text().splitlines()) == ATTEMPTS == 3
    assert outcome.names(FAILED) == ["prepare campus"]
    assert len(watcher.reasons) == ATTEMPTS - 1
    message = watcher.failures["prepare campus"]
    assert "the stage's worker was lost" in message
    assert f"{ATTEMPTS} attempts" in message
    assert "\n" not in message
    kept = workspace.last_failure("prepare", str(planned.stages["prepare campus"].key))
    assert kept is not None
    assert kept.message == message, "`msinet status` shows it"
    assert len(outcome.names(SKIPPED)) == 1
    assert "on campus" in outcome.names(SKIPPED)[0]
    assert {name.split()[0] for name in outcome.names(DONE)} == {"prepare", "retrain", "evaluate"}, "the others went on"


def test_a_stage_that_gets_further_may_lose_any_number_of_workers(calls: Path, workspace: Workspace) -> None:
    def save_then_die(address: str, task: Any, holder: str, call: int) -> Any:
        if call > ATTEMPTS + 1:
            return execute(address, task, lambda report: None, holder=holder)
        place = Workspace(address)
        attempt = place.begin(task.kind, task.key)
        place.save_checkpoint(attempt, lambda path: path.write_bytes(b"further"))
        return die(address, task, holder, call)

    planned, outcome, watcher = run_grid(workspace, failing(calls, save_then_die))
    assert set(outcome.states.values()) == {DONE}
    assert len(watcher.reasons) == ATTEMPTS + 1
    key = planned.stages["prepare campus"].key
    assert workspace.root is not None
    assert not list(workspace.root.glob(f"stages/prepare/{key}/attempts/*/{CHECKPOINT}")), "done: none is kept"


def out_of_memory(address: str, task: Any, holder: str, call: int) -> Any:
    return Failed(Failure("CUDA out of memory", retry="alone"))


def test_a_stage_without_room_gets_a_whole_gpu_once(calls: Path, workspace: Workspace) -> None:
    _, outcome, watcher = run_grid(workspace, failing(calls, out_of_memory), gpus=0.25)
    assert calls.read_text().split() == ["0.25", "1.0"]
    assert outcome.names(FAILED) == ["prepare campus"]
    assert watcher.reasons == ["CUDA out of memory"]
    assert watcher.failures["prepare campus"] == "CUDA out of memory"


def test_a_stage_that_fits_a_whole_gpu_is_done(calls: Path, workspace: Workspace) -> None:
    def shared_is_too_small(address: str, task: Any, holder: str, call: int) -> Any:
        if call == 1:
            return out_of_memory(address, task, holder, call)
        return execute(address, task, lambda report: None, holder=holder)

    _, outcome, _ = run_grid(workspace, failing(calls, shared_is_too_small), gpus=0.25)
    assert set(outcome.states.values()) == {DONE}
    assert calls.read_text().split() == ["0.25", "1.0"]


def test_a_store_that_cannot_be_opened_for_a_while_is_tried_again(calls: Path, workspace: Workspace) -> None:
    def unreadable_at_first(address: str, task: Any, holder: str, call: int) -> Any:
        if call == 1:
            raise UnreadableError("the workspace must be readable, but its credentials were refused.")
        return execute(address, task, lambda report: None, holder=holder)

    _, outcome, watcher = run_grid(workspace, failing(calls, unreadable_at_first))
    assert set(outcome.states.values()) == {DONE}
    (reason,) = watcher.reasons
    assert reason.endswith("but its credentials were refused.")


@pytest.mark.parametrize("fail", ["returns", "raises"])
def test_a_bug_is_not_tried_again(calls: Path, workspace: Workspace, fail: str) -> None:
    def bug(address: str, task: Any, holder: str, call: int) -> Any:
        if fail == "raises":
            raise TypeError("a bug")
        return Failed(Failure("TypeError: a bug"))

    _, outcome, watcher = run_grid(workspace, failing(calls, bug))
    assert len(calls.read_text().splitlines()) == 1
    assert watcher.reasons == []
    assert outcome.names(FAILED) == ["prepare campus"]
    assert watcher.failures["prepare campus"] == "TypeError: a bug"
