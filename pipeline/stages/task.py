"""A stage that is ready to run, and where it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Stage
from pipeline.results import Report, Result, Step
from pipeline.stages.whole import require_whole
from pipeline.storage.workspace import RESULT, Attempt, Workspace, stage_place

if TYPE_CHECKING:
    from msinet.ranks import Ranks


@dataclass(frozen=True)
class Task:
    """One stage, ready to run.

    Attributes:
        kind, key, spec: What to compute; `spec` decides the result.
        inputs: Published results that the stage uses, by role.
        location: Paths of its disk dataset, its split or its weights.
        checkpoint_every: Seconds between saved states.
        lease_seconds: Seconds that another driver waits before it takes the stage over from a driver that has died.
        share: Resources of each worker if several work at the stage, under Ray's names `num_cpus`, `num_gpus` and
            `memory`.
        started: When a worker began with the stage, in seconds since the epoch; by default when the attempt begins.
    """

    kind: str
    key: str
    spec: dict[str, Any]
    inputs: dict[str, Result] = field(default_factory=dict)
    location: dict[str, str] = field(default_factory=dict)
    checkpoint_every: float = 60.0
    lease_seconds: float = 60.0
    share: dict[str, float] = field(default_factory=dict)
    started: float | None = None


def task_of(
    stage: Stage,
    spec: dict[str, Any],
    results: Mapping[str, Result],
    experiment: Experiment,
    share: Mapping[str, float] | None = None,
) -> Task:
    """Return the task of a stage whose inputs are done.

    Args:
        stage: Stage with its key.
        spec: Specification that `Stage.bind` returned.
        results: Results of the stages that it needs, by name.
        experiment: Says how often states are saved, and how long leases are valid.
        share: Resources of each of several workers.
    """
    assert stage.key is not None
    return Task(
        stage.kind,
        stage.key,
        spec,
        inputs={role: results[name] for role, name in stage.needs.items()},
        location=stage.location,
        checkpoint_every=experiment.checkpoint_every,
        lease_seconds=experiment.resources.lease_seconds,
        share=dict(share or {}),
    )


def ignore(told: Any) -> None:
    """Do nothing, where nobody listens."""


class StopRequested(Exception):
    """This process has to end, and the state is saved."""


@dataclass(frozen=True)
class Context:
    """A task and where it runs.

    Attributes:
        task: What to do.
        workspace: Workspace of the inputs and of the saved states.
        attempt: Attempt whose folder receives the files.
        report: Called with each epoch's report.
        stop: Says whether the process has to end. The state is then saved after the current step.
        after_epoch: See `execute`.
        ranks: Place of this process among those that share the stage (`msinet.ranks.Ranks`), None if it is alone.
        step: Called every few seconds within an epoch.
    """

    task: Task
    workspace: Workspace
    attempt: Attempt
    report: Callable[[Report], None]
    stop: Callable[[], bool]
    after_epoch: "AfterEpoch | None" = None
    ranks: "Ranks | None" = None
    step: Callable[[Step], None] = ignore

    @property
    def spec(self) -> dict[str, Any]:
        """Return the specification, which decides the result."""
        return self.task.spec

    def folder(self, role: str) -> Path:
        """Return the folder with the files of an input.

        Raises:
            OSError: A file is missing or damaged.
        """
        result = self.task.inputs[role]
        folder = self.workspace.files(result)
        try:
            require_whole(folder, KINDS[result["kind"]].files(result))
        except OSError as error:
            place = f"{self.workspace.address}/{stage_place(result['kind'], result['key'])}/{RESULT}"
            raise OSError(f"{error} If it is lost, delete {place}: the next run then computes it again.") from error
        return folder

    @property
    def out(self) -> Path:
        """Return the folder for the files of this attempt.

        Raises:
            OSError: The folder is gone. To make it again would hide that files are lost, or that the workspace is.
        """
        if not self.attempt.folder.is_dir():
            raise OSError(f"the folder of an attempt must stay until its end, but {self.attempt.folder} is gone")
        return self.attempt.folder

    @property
    def cache(self) -> Path:
        """Return the folder of decoded pictures, which any stage may reuse and anybody may delete.

        Raises:
            OSError: The workspace has vanished, so the folder must not be made.
        """
        self.workspace.store.require()
        return self.workspace.cache


# Called with the context, the loop, and a function that saves the loop's state.
AfterEpoch = Callable[[Context, Any, Callable[[], None]], None]
