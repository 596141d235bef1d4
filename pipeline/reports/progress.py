"""The lines that are printed while a grid runs. They are the same in a terminal and in a job's log."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from pipeline.cluster.watcher import DONE, ELSEWHERE, FAILED, LACKING, QUEUED, RUNNING, SKIPPED, WAITING, Watcher
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Stage
from pipeline.results import Failure, Report


class Progress(Watcher):
    """A watcher that prints a line for every stage that ends, and a summary every `interval` seconds.

    Args:
        interval: Seconds between summaries.
        out: Where to print; by default the standard output.
    """

    def __init__(self, interval: float = 10.0, out: TextIO | None = None) -> None:
        self.interval = interval
        self.out = out or sys.stdout
        self.began = time.monotonic()
        self.next_summary = self.began + min(interval, 2.0)
        self.latest: dict[str, Report] = {}
        self.started_here: set[str] = set()

    def started(self, stage: Stage) -> None:
        """Remember that this run executes the stage itself."""
        self.started_here.add(stage.name)

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Keep the report of the newest epoch for the next summary."""
        self.latest[stage.name] = reports[-1]

    def finished(self, stage: Stage) -> None:
        """Print a line for a stage that is done."""
        self.latest.pop(stage.name, None)
        assert stage.result is not None
        how = f"in {clock(stage.result['seconds'])}" if stage.name in self.started_here else "was done before"
        self._print(f"done    {stage.name} {how}{KINDS[stage.kind].outcome(stage.result)}")

    def failed(self, stage: Stage, failure: Failure) -> None:
        """Print a line for a stage that has failed."""
        self.latest.pop(stage.name, None)
        self._print(f"FAILED  {stage.name}: {failure.message}")

    def retried(self, stage: Stage, reason: str) -> None:
        """Print a line for a stage that is tried again."""
        self.latest.pop(stage.name, None)
        self._print(f"again   {stage.name}: {reason}")

    def tick(self, states: dict[str, str]) -> None:
        """Print a summary if `interval` seconds have passed since the last one."""
        if time.monotonic() < self.next_summary:
            return
        self.next_summary = time.monotonic() + self.interval
        self.summary(states)

    def summary(self, states: dict[str, str]) -> None:
        """Print how many stages are in which state, and a line for each stage that is running and has reported."""
        count = Counter(states.values())
        self._print(
            f"stages: {count[DONE]} done, {count[RUNNING]} running, {count[WAITING] + count[QUEUED]} pending, "
            f"{count[FAILED] + count[SKIPPED]} failed"
            + (f", {count[ELSEWHERE]} run by another driver" if count[ELSEWHERE] else "")
            + (f", {count[LACKING]} lack data or weights" if count[LACKING] else "")
        )
        for name, report in self.latest.items():
            self._print(f"        {name}: {describe(report)}")

    def _print(self, line: str) -> None:
        print(f"{clock(time.monotonic() - self.began):>7}  {line}", file=self.out, flush=True)


def describe(report: Report) -> str:
    """Return one line with the epoch, the loss and the time that is left."""
    loss = report.get("loss", report.get("train_loss"))
    left = (report["epochs"] - report["epoch"] - 1) * report["seconds"]
    return f"epoch {report['epoch'] + 1}/{report['epochs']}, loss {loss:.3f}, {clock(left)} left"


def clock(seconds: float) -> str:
    """Return a duration as `m:ss`, or as `h:mm:ss` from one hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
