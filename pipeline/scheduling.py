"""The driver: releases each stage as soon as its inputs are done, and listens while it runs.

It is small and may be restarted at any time: what is published is never run again, and what was interrupted continues
from its last saved state.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# Explicit, since the default has changed between Ray's versions; before the import, since Ray reads it there.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from pipeline.config import Resources, Share
from pipeline.errors import RequestError
from pipeline.plan import KINDS, Plan, Stage, content_key
from pipeline.stages import Report, Task, execute
from pipeline.workspace import Workspace

WAITING, QUEUED, RUNNING, DONE = "pending", "queued", "running", "done"
# `lacking` needs data or weights that the experiment does not give; it is no failure.
FAILED, SKIPPED, LACKING = "failed", "skipped", "lacking"
Failure = dict[str, Any]


class Watcher(Protocol):
    """Who wants to know what happens; must not raise and must not block."""

    def started(self, stage: Stage) -> None:
        """A worker has begun the stage."""

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Epochs have ended."""

    def finished(self, stage: Stage) -> None:
        """`stage.result` is published, by this run or by an earlier one."""

    def failed(self, stage: Stage, failure: Failure) -> None:
        """The stage has failed, or cannot run since what it needs has failed."""

    def tick(self, states: dict[str, str]) -> None:
        """Every second or so, with the state of each stage by name."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: stage names by state."""

    states: dict[str, str]

    def names(self, state: str) -> list[str]:
        """The stages in one state, in the plan's order."""
        return [name for name, its_state in self.states.items() if its_state == state]


@ray.remote(num_cpus=0, max_restarts=-1)
class Board:
    """Where workers leave their reports until the driver fetches them. Losing it loses no result."""

    def __init__(self) -> None:
        self._reports: list[tuple[str, Report | None]] = []

    def post(self, key: str, report: Report | None) -> None:
        """Add a report; None says that the stage has begun."""
        self._reports.append((key, report))

    def fetch(self) -> list[tuple[str, Report | None]]:
        """All reports since the last call."""
        reports, self._reports = self._reports, []
        return reports


@ray.remote
def run_task(root: str, task: Task, board: Any) -> dict[str, Any]:
    """`execute` on a worker."""
    board.post.remote(task.key, None)
    return execute(Path(root), task, lambda report: board.post.remote(task.key, report))


def connect(address: str | None, resources: Resources) -> None:
    """Join the cluster at `address` (or RAY_ADDRESS), else start Ray on this machine, on loopback.

    Raises:
        RequestError: This machine has not what a stage asks for. (A cluster may grow: there such a stage waits.)
    """
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address or "auto", log_to_driver=False)
    else:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        _require_resources(resources)


def _require_resources(resources: Resources) -> None:
    there = ray.cluster_resources()
    for kind in KINDS:
        share: Share = getattr(resources, kind)
        for name, asked in (("cpus", share.cpus), ("gpus", share.gpus)):
            found = there.get(name[:-1].upper(), 0)
            if asked != "auto" and asked > found:
                raise RequestError(
                    f"a stage may ask for what this machine has, but resources.{kind}.{name} is {asked:g} "
                    f"and there are {found:g}."
                )


@ray.remote
def probe_device() -> str:
    """The device that a worker sees."""
    import torch

    from msinet.engine.measure import device_name

    return device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def run_plan(plan: Plan, workspace: Workspace, watchers: Sequence[Watcher]) -> Outcome:
    """Run what is not done yet, on the Ray that is connected.

    Args:
        plan: With all fingerprints known.
        workspace: Where results are published.
        watchers: Told of everything that happens.

    Returns:
        The state of each stage; failures do not stop stages that do not need them.
    """
    return _Driver(plan, workspace, watchers).run()


class _Driver:
    def __init__(self, plan: Plan, workspace: Workspace, watchers: Sequence[Watcher]) -> None:
        self.plan = plan
        self.workspace = workspace
        self.watchers = watchers
        self.states = {name: LACKING if stage.lacks else WAITING for name, stage in plan.stages.items()}
        self.results = plan.results()
        self.failures: dict[str, Failure] = {}  # by key
        self.running: dict[Any, Stage] = {}
        self.board = Board.remote()  # type: ignore[attr-defined]
        self.shares = {kind: self._options(getattr(plan.experiment.resources, kind)) for kind in KINDS}
        if any(plan.of_kind("measure")):
            plan.name_device(ray.get(probe_device.options(**self.shares["measure"]).remote()))

    def run(self) -> Outcome:
        """Until nothing is running and nothing can be released."""
        while True:
            self._release()
            self._tell("tick", dict(self.states))
            if not self.running:
                return Outcome(dict(self.states))
            ended, _ = ray.wait(list(self.running), timeout=1.0)
            self._listen()
            for reference in ended:
                self._settle(reference)

    def _release(self) -> None:
        """Settle what is published, skip what can never run, submit what is ready."""
        for stage in self.plan.stages.values():
            if self.states[stage.name] != WAITING:
                continue
            lost = next((n for n in stage.needs.values() if self.states[n] in (FAILED, SKIPPED)), None)
            if lost is not None:
                self._fail(stage, {"message": f"not run, since `{lost}` failed"}, SKIPPED)
                continue
            spec = stage.bind(self.results)
            if spec is None:
                continue
            stage.key = content_key(stage.kind, spec)
            result = stage.result or self.workspace.result(stage.kind, stage.key)
            if result is not None:
                self._finish(stage, result)
            elif stage.key in self.failures:
                self._fail(stage, self.failures[stage.key])
            elif not any(other.key == stage.key for other in self.running.values()):
                self._submit(stage, spec)

    def _submit(self, stage: Stage, spec: dict[str, Any]) -> None:
        limit = self.plan.experiment.resources.max_concurrent
        if limit is not None and len(self.running) >= limit:
            return
        # Times are compared with one another: nothing else of this grid may run beside a measurement.
        if self.running and "measure" in (stage.kind, *(other.kind for other in self.running.values())):
            return
        task = Task(
            stage.kind,
            str(stage.key),
            spec,
            inputs={role: self.results[name] for role, name in stage.needs.items()},
            location=stage.location,
            checkpoint_every=self.plan.experiment.checkpoint_every,
        )
        options = {"name": stage.name, "max_retries": 3, **self.shares[stage.kind]}
        reference = run_task.options(**options).remote(str(self.workspace.root), task, self.board)
        self.running[reference] = stage
        self.states[stage.name] = QUEUED

    def _listen(self) -> None:
        """Pass on what workers have posted."""
        by_key = {stage.key: stage for stage in self.running.values()}
        reports: dict[str, list[Report]] = {}
        try:
            posted = ray.get(self.board.fetch.remote())
        except ray.exceptions.RayError:
            return  # it restarts; what it held is in the results too
        for key, report in posted:
            stage = by_key.get(key)
            if stage is None:
                continue
            if report is None:
                self.states[stage.name] = RUNNING
                self._tell("started", stage)
            else:
                reports.setdefault(key, []).append(report)
        for key, latest in reports.items():
            self._tell("reported", by_key[key], latest)

    def _settle(self, reference: Any) -> None:
        stage = self.running.pop(reference)
        try:
            ended = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            ended = {"failure": {"message": f"the workspace cannot be used: {error.cause}", "traceback": str(error)}}
        except ray.exceptions.RayError as error:
            ended = {"failure": {"message": f"the stage's worker was lost: {error}".splitlines()[0]}}
        if "result" in ended:
            self._finish(stage, ended["result"])
        else:
            self.failures[str(stage.key)] = ended["failure"]
            self._fail(stage, ended["failure"])

    def _finish(self, stage: Stage, result: dict[str, Any]) -> None:
        stage.result = self.results[stage.name] = result
        self.states[stage.name] = DONE
        self._tell("finished", stage)

    def _fail(self, stage: Stage, failure: Failure, state: str = FAILED) -> None:
        self.states[stage.name] = state
        self._tell("failed", stage, failure)

    def _tell(self, event: str, *arguments: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, event)(*arguments)

    @staticmethod
    def _options(share: Share) -> dict[str, float]:
        gpus = share.gpus
        if gpus == "auto":
            gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        return {"num_cpus": share.cpus, "num_gpus": gpus}
