"""The lines that are printed while a grid runs: every running stage by its name, and the time that is left."""

import errno
import io
import itertools
from typing import Any

import pytest

from pipeline.cluster.watcher import DONE, FAILED, RUNNING, WAITING
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.reports.progress import MOST, Progress
from pipeline.results import Failure, Step


class Clock:
    """A clock that the tests set."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Screen:
    """A grid of the tiny experiment, whose events the tests tell, and the lines that are printed."""

    def __init__(self, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        monkeypatch.setattr("pipeline.reports.progress.time", self.clock)
        self.plan: Plan = plan(Experiment.model_validate(document))
        self.out = io.StringIO()
        self.progress = Progress(self.plan, out=self.out)
        self.states = dict.fromkeys(self.plan.stages, WAITING)

    def stage(self, kind: str) -> Stage:
        return next(self.plan.of_kind(kind))

    def start(self, stage: Stage) -> None:
        self.states[stage.name] = RUNNING
        self.progress.started(stage)

    def finish(self, stage: Stage, **result: Any) -> None:
        stage.result = {"seconds": 1.0, "images": {"train": 40}, **result}
        self.states[stage.name] = DONE
        self.progress.finished(stage)

    def summary(self) -> list[str]:
        self.out.seek(0)
        self.out.truncate()
        self.progress.summary(self.states)
        return self.out.getvalue().splitlines()


@pytest.fixture
def screen(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Screen:
    tiny["search"]["epochs"] = tiny["retrain"]["in_domain"]["epochs"] = 10
    return Screen(tiny, monkeypatch)


def report(epoch: int, seconds: float = 30.0) -> dict[str, Any]:
    return {"epoch": epoch, "epochs": 10, "loss": 5.1234, "seconds": seconds}


def test_what_runs_is_named_before_its_first_epoch_ends(screen: Screen) -> None:
    screen.start(screen.stage("prepare"))
    screen.start(screen.stage("search"))
    screen.clock.now += 42
    first, *names = screen.summary()
    assert "2 running" in first
    assert "left" not in first, "no epoch has ended, so no speed is known"
    assert [line.split("  ")[-1].strip() for line in names] == [
        "prepare street: for 0:42",
        "search street 60-80 seed 0: for 0:42",
    ]


def test_the_time_that_is_left_goes_down_between_epochs(screen: Screen) -> None:
    search = screen.stage("search")
    screen.start(search)
    screen.progress.reported(search, [report(1)])
    assert "epoch 2/10, loss 5.123, 4:00 left" in screen.summary()[1]
    screen.clock.now += 12
    assert "3:48 left" in screen.summary()[1]
    screen.clock.now += 60
    assert "3:30 left" in screen.summary()[1], "the epoch is late: the next one has not begun"


def test_steps_within_an_epoch_give_a_time_before_the_first_epoch_has_ended(screen: Screen) -> None:
    search = screen.stage("search")
    screen.start(search)
    screen.progress.stepped(search, Step(epoch=0, epochs=10, step=10, steps=40, seconds=10.0))
    whole, line = screen.summary()
    assert "epoch 1/10, step 10/40, 6:30 left" in line, "400 steps of a second"
    assert "left in all" in whole
    screen.clock.now += 4
    assert "6:26 left" in screen.summary()[1]
    screen.progress.reported(search, [report(0)])
    assert "epoch 1/10, loss 5.123, 4:30 left" in screen.summary()[1], "an epoch that has ended knows its duration"
    screen.progress.stepped(search, Step(epoch=2, epochs=10, step=20, steps=40, seconds=9.0))
    screen.progress.reported(search, [report(1)])
    assert "epoch 3/10, step 20/40, loss 5.123, 3:45 left" in screen.summary()[1], "the step came before the report"


def test_summaries_become_rarer(screen: Screen) -> None:
    times = []
    for second in range(1, 40_000):
        screen.clock.now = 1000.0 + second
        screen.out.seek(0)
        screen.out.truncate()
        screen.progress.tick(screen.states)
        times += [second] if "stages: 0 done" in screen.out.getvalue() else []
    assert times[:3] == [2, 12, 22]
    assert sum(time <= 3600 for time in times) < 90, "20 in the first 200 s, then each a twentieth later"
    assert {later - time for time, later in itertools.pairwise(times) if time > 15_000} == {600}


def test_quiet_lines_are_failures(screen: Screen) -> None:
    screen.progress.quiet = True
    search, prepare = screen.stage("search"), screen.stage("prepare")
    screen.start(prepare)
    screen.finish(prepare)
    screen.progress.retried(search, "its worker was lost")
    assert screen.summary() == []
    screen.progress.failed(search, Failure("it broke"))
    assert screen.out.getvalue() == "   0:00  FAILED  search street 60-80 seed 0: it broke\n"


def test_the_whole_grid_has_a_time_that_is_left(screen: Screen) -> None:
    for stage in screen.plan.of_kind("prepare"):
        screen.finish(stage)
    search, retrain = screen.stage("search"), screen.stage("retrain")
    screen.start(search)
    screen.progress.reported(search, [report(4)])

    def left() -> float:
        text = screen.summary()[0].partition("; about ")[2].removesuffix(" left in all")
        return sum(int(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))

    whole = left()
    assert whole > 150, "half of the search and the retraining"
    screen.clock.now += 10
    assert left() == whole - 10
    screen.finish(search, images=10, train_seconds=300.0, genotype="N" * 12)
    screen.start(retrain)
    screen.progress.reported(retrain, [report(0, 20.0)])
    assert left() == 180, "the retraining goes on as fast as its first epoch"
    screen.finish(retrain, images=10, train_seconds=200.0)
    assert left() == 0, "evaluations take no time as long as none has ended"
    for stage in screen.plan.of_kind("evaluate"):
        screen.finish(stage, metrics={"mAP": 0.5, "rank1": 0.5})
    assert "left" not in screen.summary()[0]


def test_a_grid_that_continues_knows_its_speed_at_once(screen: Screen) -> None:
    for stage in screen.plan.of_kind("prepare"):
        screen.finish(stage)
    screen.finish(screen.stage("search"), images=400, train_seconds=100.0, genotype="N" * 12)
    assert "left in all" in screen.summary()[0]


def test_many_stages_are_not_all_named(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny["search_seeds"] = list(range(MOST + 5))
    screen = Screen(tiny, monkeypatch)
    for stage in screen.plan.of_kind("search"):
        screen.start(stage)
    lines = screen.summary()
    assert len(lines) == MOST + 2
    assert lines[-1].endswith("and 5 more")


def test_no_message_looks_like_another_event(screen: Screen) -> None:
    search = screen.stage("search")
    screen.states[search.name] = FAILED
    screen.progress.failed(search, Failure("it broke\n   0:00  done    all of it\x1b[31m"))
    first, second = screen.out.getvalue().splitlines()
    assert first.endswith("FAILED  search street 60-80 seed 0: it broke")
    assert second == " " * 17 + "   0:00  done    all of it\\x1b[31m"


class Full(io.StringIO):
    """A file on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_no_reason_to_raise(screen: Screen) -> None:
    screen.progress.out = Full()
    search = screen.stage("search")
    screen.start(search)
    screen.progress.reported(search, [report(1)])
    screen.progress.retried(search, "again")
    screen.progress.failed(search, Failure("it broke"))
    screen.finish(search, images=10, train_seconds=300.0, genotype="N" * 12)
    screen.progress.next_summary = 0.0
    screen.progress.tick(screen.states)
    assert screen.progress.next_summary > screen.clock.now
