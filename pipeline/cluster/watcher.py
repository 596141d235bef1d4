"""The watchers of a grid, which are called at every event, and the states of stages."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.plan.stage import Stage
from pipeline.results import Failure, Report, Step

WAITING, QUEUED, RUNNING, DONE = "pending", "queued", "running", "done"
ELSEWHERE = "elsewhere"  # another driver on this workspace works at the stage
# A stage is `lacking` if it needs data or weights that the experiment does not give. That is no failure.
FAILED, SKIPPED, LACKING = "failed", "skipped", "lacking"


class Watcher:
    """A receiver of events, which itself does nothing. Methods must not raise and must not block."""

    def started(self, stage: Stage) -> None:
        """React when a worker has begun the stage."""

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """React when epochs of the stage have ended."""

    def stepped(self, stage: Stage, step: Step) -> None:
        """React when an epoch of the stage has gone on. This is called every few seconds, and before `reported`."""

    def finished(self, stage: Stage) -> None:
        """React when `stage.result` is published, by this run or by an earlier one."""

    def failed(self, stage: Stage, failure: Failure) -> None:
        """React when the stage has failed, or cannot run because a stage that it needs has failed."""

    def retried(self, stage: Stage, reason: str) -> None:
        """React when an attempt did not finish the stage and there will be another."""

    def tick(self, states: dict[str, str]) -> None:
        """React to the state of each stage, by name. This is called about every second."""


@dataclass(frozen=True)
class Outcome:
    """The end of a run: the state of each stage by name."""

    states: dict[str, str]

    def names(self, state: str) -> list[str]:
        """Return the stages in one state, in the plan's order."""
        return [name for name, its_state in self.states.items() if its_state == state]
