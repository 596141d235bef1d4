"""A stage that is ready to run, and where it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Stage
from pipeline.results import Report, Result
from pipeline.storage.workspace import Attempt, Workspace

if TYPE_CHECKING:
    from msinet.ranks import Ranks


@dataclass(frozen=True)
class Task:
    """One stage, ready to run.

    Attributes:
        kind, key, spec: What to compute; `spec` decides the result.
        inputs: Published results that it uses, by role.
        location: Where a disk dataset lies.
        checkpoint_every: Seconds between saved states.
        lease_seconds: How long another driver waits before it takes the stage over from one that has died.
        share: What each of several workers occupies, as Ray names it: `num_cpus`, `num_gpus`.
    """

    kind: str
    key: str
    spec: dict[str, Any]
    inputs: dict[str, Result] = field(default_factory=dict)
    location: dict[str, str] = field(default_factory=dict)
    checkpoint_every: float = 60.0
    lease_seconds: float = 60.0
    share: dict[str, float] = field(default_factory=dict)


def task_of(
    stage: Stage,
    spec: dict[str, Any],
    results: Mapping[str, Result],
    experiment: Experiment,
    share: Mapping[str, float] | None = None,
) -> Task:
    """Return the task of a stage whose inputs are done.

    Args:
        stage: With its key.
        spec: What it is bound to.
        results: Of the stages that it needs, by name.
        experiment: Says how often states are saved, and how long leases are.
        share: What each of several workers occupies.
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


class StopRequested(Exception):
    """This process has to end; the state is saved."""


@dataclass(frozen=True)
class Context:
    """A task and where it runs.

    Attributes:
        task: What to do.
        workspace: Where its inputs lie and its state goes.
        attempt: Where its files go.
        report: Called with each epoch's report.
        stop: Whether the process has to end: then the state is saved after the step that runs.
        after_epoch: As of `execute`.
        ranks: This process among those that share the stage (`msinet.ranks.Ranks`), None where it is alone.
    """

    task: Task
    workspace: Workspace
    attempt: Attempt
    report: Callable[[Report], None]
    stop: Callable[[], bool]
    after_epoch: "AfterEpoch | None" = None
    ranks: "Ranks | None" = None

    @property
    def spec(self) -> dict[str, Any]:
        """What decides the result."""
        return self.task.spec

    def folder(self, role: str) -> Path:
        """The files of an input."""
        return self.workspace.files(self.task.inputs[role])

    @property
    def cache(self) -> Path:
        """Decoded pictures, which any stage may reuse and anybody may delete."""
        return self.workspace.cache


# Called with the context, the loop, and what saves its state.
AfterEpoch = Callable[[Context, Any, Callable[[], None]], None]
