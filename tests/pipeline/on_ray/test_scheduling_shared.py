"""A driver on a workspace where another publishes at the same time, and on one that does not answer for a while."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from support.grids import tiny_document

from pipeline.cluster import retries
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE, QUEUED, RUNNING, Watcher
from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.results import Done, Failed, Failure, Result
from pipeline.stages.attempt import execute
from pipeline.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


class JustPublished(Workspace):
    """Each result appears just after it was looked for in vain."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.looked: set[str] = set()

    def result(self, kind: str, key: str) -> Result | None:
        if key in self.looked:
            return super().result(kind, key)
        self.looked.add(key)
        return None


@ray.remote
def never(*arguments: Any) -> Any:
    """Nothing has to be run."""
    raise AssertionError("everything is published")


def test_what_needs_a_result_that_appears_late_is_not_left_out(finished: tuple[Plan, Workspace]) -> None:
    _, workspace = finished
    planned = plan(Experiment.model_validate(tiny_document()))
    outcome = run_plan(planned, JustPublished(workspace.address), [], never)
    assert set(outcome.states.values()) == {DONE}


class Away(Workspace):
    """Does not answer the driver's next `missing` questions."""

    def __init__(self, address: str, missing: float) -> None:
        super().__init__(address)
        self.missing = missing

    def _answer(self) -> None:
        if self.missing > 0:
            self.missing -= 1
            raise OSError("s3://bucket failed: its endpoint cannot be reached")

    def result(self, kind: str, key: str) -> Result | None:
        self._answer()
        return super().result(kind, key)

    def newest_checkpoint(self, kind: str, key: str) -> float:
        self._answer()
        return super().newest_checkpoint(kind, key)


class Leave(Watcher):
    """While a stage runs, makes its workspace miss the next two questions; remembers what comes of that."""

    def __init__(self, workspace: Away) -> None:
        self.workspace = workspace
        self.again: list[str] = []
        self.lost: list[str] = []

    def tick(self, states: dict[str, str]) -> None:
        if not {QUEUED, RUNNING}.isdisjoint(states.values()):
            self.workspace.missing = 2

    def retried(self, stage: Any, reason: str) -> None:
        self.again.append(reason)

    def failed(self, stage: Any, failure: Failure) -> None:
        self.lost.append(failure.message)


def test_a_driver_waits_for_a_workspace_that_does_not_answer(
    finished: tuple[Plan, Workspace], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "AWAY_PAUSE", 0.01)
    _, workspace = finished
    planned = plan(Experiment.model_validate(tiny_document()))
    with caplog.at_level(logging.WARNING):
        outcome = run_plan(planned, Away(workspace.address, 5), [], never)
    assert set(outcome.states.values()) == {DONE}
    assert [record.message for record in caplog.records if record.name == retries.__name__] == [
        "the workspace does not answer (s3://bucket failed: its endpoint cannot be reached): "
        "running stages go on, others start when it does."
    ]


def test_a_driver_does_not_wait_for_ever(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert retries.AWAY_LIMIT == 3600, "an hour"
    monkeypatch.setattr(retries, "AWAY_PAUSE", 0.01)
    monkeypatch.setattr(retries, "AWAY_LIMIT", 0.1)
    planned = plan(Experiment.model_validate(tiny_document()))
    with pytest.raises(RequestError, match=r"must answer.*cannot be reached.*Run the same command again"):
        run_plan(planned, Away(workspace.address, float("inf")), [], never)


def test_a_stage_that_ends_while_the_workspace_is_away_starts_again(
    finished: tuple[Plan, Workspace], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "AWAY_PAUSE", 0.01)
    calls, prepared = tmp_path / "calls", finished[0].results()["prepare street"]
    away = Away(workspace.address, 0)

    @ray.remote
    def run(*arguments: Any) -> Any:
        with calls.open("a") as file:
            file.write("called\n")
        if len(calls.read_text().splitlines()) < 6:
            return Failed(Failure("the workspace is away", retry="again"))
        return Done(prepared)

    planned = plan(Experiment.model_validate(tiny_document()))
    planned.stages = {"prepare street": planned.stages["prepare street"]}
    listener = Leave(away)
    outcome = run_plan(planned, away, [listener], run)
    assert set(outcome.states.values()) == {DONE}, listener.lost
    assert listener.again == ["the workspace is away"] * 5, "more often than a stage may fail that gets no further"


class Unmount(Watcher):
    """Takes the workspace's folder away while a stage runs, and brings it back after the driver has asked for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.away, self.gone = folder, folder.with_name("away"), folder.with_name("gone")
        self.lost: list[str] = []
        self.ticks = 0

    def started(self, stage: Any) -> None:
        if not self.ticks:
            self.folder.rename(self.away)
            self.folder.mkdir()  # the empty mount point
            self.gone.touch()

    def tick(self, states: dict[str, str]) -> None:
        if self.away.exists():
            assert not list(self.folder.iterdir()), "nothing is made anew"
            self.ticks += 1
            if self.ticks > 5:
                self.folder.rmdir()
                self.away.rename(self.folder)

    def failed(self, stage: Any, failure: Failure) -> None:
        self.lost.append(failure.message)


def once_there_is(path: Path) -> Any:
    """Return a remote function that runs a stage, but not before this path is there."""

    @ray.remote(max_retries=0)
    def run(address: str, task: Any, board: Any, holder: str) -> Any:
        board.post.remote(task.key, time.time())
        while not path.exists():
            time.sleep(0.02)
        return execute(address, task, lambda report: None, holder=holder)

    return run


def test_a_workspace_that_vanishes_is_waited_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "AWAY_PAUSE", 0.01)
    assert workspace.root is not None
    planned = plan(Experiment.model_validate(tiny_document()))
    planned.stages = {"prepare street": planned.stages["prepare street"]}
    listener = Unmount(workspace.root)
    with caplog.at_level(logging.WARNING):
        outcome = run_plan(planned, workspace, [listener], once_there_is(listener.gone))
    assert set(outcome.states.values()) == {DONE}, listener.lost
    assert listener.ticks > 5
    assert f"the folder {workspace.root} must contain workspace.txt, but does not" in caplog.text
    assert workspace.result("prepare", str(planned.stages["prepare street"].key)) is not None
