"""The lines that are printed while a grid runs, and what they are made of: how far each stage is."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from pipeline.cluster.watcher import DONE, ELSEWHERE, FAILED, LACKING, QUEUED, RUNNING, SKIPPED, WAITING, Watcher
from pipeline.errors import printable
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.time_left import TimeLeft
from pipeline.results import Failure, Report, Step

ENDED = (DONE, FAILED, SKIPPED, LACKING)
MOST = 20  # stages that a summary names
# Seconds before the first summary; the shortest and the longest time between two; the part of the time so far.
FIRST, SHORTEST, LONGEST, PART = 2.0, 10.0, 600.0, 1 / 20


@dataclass
class Running:
    """How far a running stage is.

    Attributes:
        since: When this run began to execute it, like all times here by the monotonic clock.
        epochs: Number of its epochs; 0 until that is known.
        done: Epochs that are done, with the done part of the running epoch.
        at: When that was heard.
        epoch_seconds: Duration of an epoch: the newest one, or an estimate from its first steps.
        figure: The newest epoch's loss, or mAP if it trained nothing; empty before the first report.
        epoch, step: The epoch that has ended or is running, and the step within it, such as `3/10` and `40/300`.
    """

    since: float
    epochs: int = 0
    done: float = 0.0
    at: float = 0.0
    epoch_seconds: float = 0.0
    figure: str = ""
    epoch: str = ""
    step: str = ""

    def report(self, report: Report, now: float) -> None:
        """Learn from an epoch that has ended."""
        self.epochs, self.epoch_seconds = report["epochs"], report["seconds"]
        # A generation of a search trains nothing, and has mAP.
        loss = report.get("loss", report.get("train_loss"))
        self.figure = f"mAP {100 * report['mAP']:.1f} %" if "mAP" in report else f"loss {loss:.3f}"
        if report["epoch"] + 1 >= self.done:  # a message about the next epoch may have come first
            self.done, self.at, self.step = report["epoch"] + 1, now, ""
            self.epoch = f"{report['epoch'] + 1}/{self.epochs}"

    def go_on(self, step: Step, now: float) -> None:
        """Learn how far the running epoch is."""
        self.epochs, self.at = step.epochs, now
        self.done = step.epoch + step.step / step.steps
        self.epoch, self.step = f"{step.epoch + 1}/{step.epochs}", f"{step.step}/{step.steps}"
        if not self.figure:
            self.epoch_seconds = step.seconds * step.steps / step.step

    def spent(self, now: float) -> float:
        """Return the seconds of work that are done, at the speed of the newest epoch."""
        if not self.epochs:
            return now - self.since
        # A late epoch is almost at its end for as long as it takes.
        return self.done * self.epoch_seconds + min(now - self.at, (1 - self.done % 1) * self.epoch_seconds)

    def left(self, now: float) -> float | None:
        """Return the seconds until the stage has ended, or None if that is not known."""
        return max(0.0, self.epochs * self.epoch_seconds - self.spent(now)) if self.epochs else None

    def text(self, now: float) -> str:
        """Return the epoch, the step, the loss and the time that is left; or how long it has run, if none is known."""
        left = self.left(now)
        if left is None:
            return f"for {clock(now - self.since)}"
        step = f"step {self.step}" if self.step else ""
        return ", ".join(filter(None, (f"epoch {self.epoch}", step, self.figure, f"{clock(left)} left")))


class Progress(Watcher):
    """A watcher that prints a line for every stage that ends, and from time to time a summary.

    Summaries become rarer: the next one comes when a twentieth of the time so far has passed again, but after ten
    seconds at the earliest and after ten minutes at the latest.

    Args:
        plan: Plan that is run.
        out: Where to print; by default the standard output. Lines that cannot be printed are left out.
        quiet: Whether only failures are printed.
    """

    def __init__(self, plan: Plan, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self.out = out or sys.stdout
        self.quiet = quiet
        self.began = time.monotonic()
        self.next_summary = self.began + FIRST
        self.running: dict[str, Running] = {}
        self.started_here: set[str] = set()
        self.time_left = TimeLeft(plan)
        self.most_at_once = 1

    def close(self) -> None:
        """End what is shown while the grid runs."""

    def started(self, stage: Stage) -> None:
        """Remember when this run began to execute the stage."""
        self.started_here.add(stage.name)
        self.running[stage.name] = Running(time.monotonic())

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Keep the report of the newest epoch for the next summary."""
        self._running(stage.name).report(reports[-1], time.monotonic())
        self.time_left.epoch(stage, reports[-1])

    def stepped(self, stage: Stage, step: Step) -> None:
        """Keep how far the running epoch is."""
        running = self._running(stage.name)
        running.go_on(step, time.monotonic())
        self.time_left.estimate(stage, running.epochs * running.epoch_seconds)

    def finished(self, stage: Stage) -> None:
        """Print a line for a stage that is done."""
        self.running.pop(stage.name, None)
        assert stage.result is not None
        self.time_left.result(stage, stage.result)
        how = f"in {clock(stage.result['seconds'])}" if stage.name in self.started_here else "was done before"
        self._print(f"done    {stage.name} {how}{KINDS[stage.kind].outcome(stage.result)}")

    def failed(self, stage: Stage, failure: Failure) -> None:
        """Print a line for a stage that has failed."""
        self.running.pop(stage.name, None)
        self._print(f"FAILED  {stage.name}: {failure.message}", failure=True)

    def retried(self, stage: Stage, reason: str) -> None:
        """Print a line for a stage that is tried again."""
        self.running.pop(stage.name, None)
        self._print(f"again   {stage.name}: {reason}")

    def tick(self, states: dict[str, str]) -> None:
        """Print a summary if it is time for one."""
        now = time.monotonic()
        if now >= self.next_summary:
            self.next_summary = now + min(max(SHORTEST, (now - self.began) * PART), LONGEST)
            self.summary(states)

    def summary(self, states: dict[str, str]) -> None:
        """Print how many stages are in which state, the time that is left, and a line for each running stage."""
        count = Counter(states.values())
        self._print(
            f"stages: {count[DONE]} done, {count[RUNNING]} running, {count[WAITING] + count[QUEUED]} pending, "
            f"{count[FAILED] + count[SKIPPED]} failed"
            + (f", {count[ELSEWHERE]} run by another driver" if count[ELSEWHERE] else "")
            + (f", {count[LACKING]} lack data or weights" if count[LACKING] else "")
            + self.left_in_all(states)
        )
        now, running = time.monotonic(), running_names(states)
        for name in running[:MOST]:
            self._print(f"        {name}: {self._running(name).text(now)}")
        if len(running) > MOST:
            self._print(f"        and {len(running) - MOST} more")

    def left_in_all(self, states: dict[str, str]) -> str:
        """Return the time until the whole grid has ended, as the end of a line; empty if it is not known."""
        if all(state in ENDED for state in states.values()):
            return ""
        self.most_at_once = max(self.most_at_once, len(running_names(states)))
        spent = {name: running.spent(time.monotonic()) for name, running in self.running.items()}
        seconds = self.time_left.seconds(lambda stage: states[stage.name] in ENDED, spent, self.most_at_once)
        return "" if seconds is None else f"; about {clock(seconds)} left in all"

    def _running(self, name: str) -> Running:
        return self.running.setdefault(name, Running(time.monotonic()))

    def _print(self, message: str, *, failure: bool = False) -> None:
        """Print a message behind the time. Its further lines are indented, so that none looks like an event."""
        if self.quiet and not failure:
            return
        first, *more = [printable(line) for line in message.splitlines()]
        lines = [f"{clock(time.monotonic() - self.began):>7}  {first}", *(f"{'':17}{line}" for line in more)]
        with contextlib.suppress(OSError):
            self.print_lines("\n".join(lines))

    def print_lines(self, lines: str) -> None:
        """Print lines that hold printable characters only.

        Raises:
            OSError: The lines cannot be printed.
        """
        print(lines, file=self.out, flush=True)


def running_names(states: dict[str, str]) -> list[str]:
    """Return the names of the running stages."""
    return [name for name, state in states.items() if state == RUNNING]


def clock(seconds: float) -> str:
    """Return a duration as `m:ss`, or as `h:mm:ss` from one hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
