"""Who is told what happens in a grid, and the states that stages are in."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.plan.stage import Stage
from pipeline.results import Failure, Report

WAITING, QUEUED, RUNNING, DONE = "pending", "queued", "running", "done"
ELSEWHERE = "elsewhere"  # another driver on this workspace works at it
# `lacking` needs data or weights that the experiment does not give; it is no failure.
FAILED, SKIPPED, LACKING = "failed", "skipped", "lacking"


class Watcher:
    """Is told what happens; does nothing by itself. Methods must not raise and must not block."""

    def started(self, stage: Stage) -> None:
        """A worker has begun the stage."""

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Epochs have ended."""

    def finished(self, stage: Stage) -> None:
        """`stage.result` is published, by this run or by an earlier one."""

    def failed(self, stage: Stage, failure: Failure) -> None:
        """The stage has failed, or cannot run since what it needs has failed."""

    def retried(self, stage: Stage, reason: str) -> None:
        """An attempt at the stage came to nothing; there will be another."""

    def tick(self, states: dict[str, str]) -> None:
        """Every second or so, with the state of each stage by name."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the state of each stage by name."""

    states: dict[str, str]

    def names(self, state: str) -> list[str]:
        """Return the stages in one state, in the plan's order."""
        return [name for name, its_state in self.states.items() if its_state == state]
