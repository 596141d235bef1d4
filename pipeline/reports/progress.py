"""The lines that are printed while a grid runs. They are the same in a terminal and in a job's log."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from pipeline.cluster.watcher import DONE, ELSEWHERE, FAILED, LACKING, QUEUED, RUNNING, SKIPPED, WAITING, Watcher
from pipeline.errors import printable
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.time_left import TimeLeft
from pipeline.results import Failure, Report

ENDED = (DONE, FAILED, SKIPPED, LACKING)
MOST = 20  # stages that a summary names


class Progress(Watcher):
    """A watcher that prints a line for every stage that ends, and a summary every `interval` seconds.

    Args:
        plan: Plan that is run.
        interval: Seconds between summaries.
        out: Where to print; by default the standard output. Lines that cannot be printed are left out.
    """

    def __init__(self, plan: Plan, interval: float = 10.0, out: TextIO | None = None) -> None:
        self.interval = interval
        self.out = out or sys.stdout
        self.began = time.monotonic()
        self.next_summary = self.began + min(interval, 2.0)
        self.running_since: dict[str, float] = {}
        self.latest: dict[str, tuple[float, Report]] = {}  # when the newest report came, and the report
        self.started_here: set[str] = set()
        self.time_left = TimeLeft(plan)
        self.most_at_once = 1

    def started(self, stage: Stage) -> None:
        """Remember when this run began to execute the stage."""
        self.started_here.add(stage.name)
        self.running_since[stage.name] = time.monotonic()

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Keep the report of the newest epoch for the next summary."""
        self.latest[stage.name] = (time.monotonic(), reports[-1])
        self.time_left.epoch(stage, reports[-1])

    def finished(self, stage: Stage) -> None:
        """Print a line for a stage that is done."""
        self._forget(stage)
        assert stage.result is not None
        self.time_left.result(stage, stage.result)
        how = f"in {clock(stage.result['seconds'])}" if stage.name in self.started_here else "was done before"
        self._print(f"done    {stage.name} {how}{KINDS[stage.kind].outcome(stage.result)}")

    def failed(self, stage: Stage, failure: Failure) -> None:
        """Print a line for a stage that has failed."""
        self._forget(stage)
        self._print(f"FAILED  {stage.name}: {failure.message}")

    def retried(self, stage: Stage, reason: str) -> None:
        """Print a line for a stage that is tried again."""
        self._forget(stage)
        self._print(f"again   {stage.name}: {reason}")

    def _forget(self, stage: Stage) -> None:
        self.latest.pop(stage.name, None)
        self.running_since.pop(stage.name, None)

    def tick(self, states: dict[str, str]) -> None:
        """Print a summary if `interval` seconds have passed since the last one."""
        if time.monotonic() < self.next_summary:
            return
        self.next_summary = time.monotonic() + self.interval
        self.summary(states)

    def summary(self, states: dict[str, str]) -> None:
        """Print how many stages are in which state, the time that is left, and a line for each running stage."""
        count = Counter(states.values())
        self.most_at_once = max(self.most_at_once, count[RUNNING])
        self._print(
            f"stages: {count[DONE]} done, {count[RUNNING]} running, {count[WAITING] + count[QUEUED]} pending, "
            f"{count[FAILED] + count[SKIPPED]} failed"
            + (f", {count[ELSEWHERE]} run by another driver" if count[ELSEWHERE] else "")
            + (f", {count[LACKING]} lack data or weights" if count[LACKING] else "")
            + self._left(states)
        )
        running = [name for name, state in states.items() if state == RUNNING]
        for name in running[:MOST]:
            self._print(f"        {name}: {self._describe(name)}")
        if len(running) > MOST:
            self._print(f"        and {len(running) - MOST} more")

    def _left(self, states: dict[str, str]) -> str:
        """Return the time until the whole grid has ended, as the end of the summary's first line."""
        if all(state in ENDED for state in states.values()):
            return ""
        spent = {name: self._spent(name) for name in self.running_since}
        seconds = self.time_left.seconds(lambda stage: states[stage.name] in ENDED, spent, self.most_at_once)
        return "" if seconds is None else f"; about {clock(seconds)} left in all"

    def _spent(self, name: str) -> float:
        """Return the seconds of work that are done on a running stage, at the speed of its newest epoch."""
        now = time.monotonic()
        if name not in self.latest:
            return now - self.running_since[name]
        at, report = self.latest[name]
        # A late epoch is almost at its end for as long as it takes.
        return float((report["epoch"] + 1) * report["seconds"] + min(now - at, report["seconds"]))

    def _describe(self, name: str) -> str:
        """Return the epoch, the loss and the time that is left; before the first report, how long the stage has run."""
        if name not in self.latest:
            return f"for {clock(time.monotonic() - self.running_since.get(name, time.monotonic()))}"
        report = self.latest[name][1]
        if "mAP" in report:  # a generation of a search, which trains nothing
            shown = f"mAP {100 * report['mAP']:.1f} %"
        else:
            shown = f"loss {report.get('loss', report.get('train_loss')):.3f}"
        left = max(0.0, report["epochs"] * report["seconds"] - self._spent(name))
        return f"epoch {report['epoch'] + 1}/{report['epochs']}, {shown}, {clock(left)} left"

    def _print(self, message: str) -> None:
        """Print a message behind the time. Its further lines are indented, so that none looks like an event."""
        first, *more = [printable(line) for line in message.splitlines()]
        lines = [f"{clock(time.monotonic() - self.began):>7}  {first}", *(f"{'':17}{line}" for line in more)]
        with contextlib.suppress(OSError):
            print("\n".join(lines), file=self.out, flush=True)


def clock(seconds: float) -> str:
    """Return a duration as `m:ss`, or as `h:mm:ss` from one hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
