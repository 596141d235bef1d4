"""The driver: it releases each stage as soon as its inputs are done, and collects reports while the stage runs.

The driver may be restarted at any time. Published stages never run again, and interrupted stages continue from their
last saved state.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray

from pipeline.cluster.board import Mailbox
from pipeline.cluster.connect import share_of
from pipeline.cluster.pulse import Pulse
from pipeline.cluster.retries import ATTEMPTS, Attempts
from pipeline.cluster.watcher import (
    DONE,
    ELSEWHERE,
    FAILED,
    LACKING,
    QUEUED,
    RUNNING,
    SKIPPED,
    WAITING,
    Outcome,
    Watcher,
)
from pipeline.cluster.worker import probe_device, run_task
from pipeline.errors import ClusterLost, RequestError
from pipeline.plan.estimate import longest_paths
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage, content_key
from pipeline.results import Done, Ended, Failed, Failure, Held, Report, Stopped
from pipeline.stages.task import task_of
from pipeline.storage.leases import holder_of
from pipeline.storage.workspace import Workspace, stage_place

log = logging.getLogger(__name__)

# Number of submitted stages that may wait for a place on the cluster. It is large enough to make any cluster grow, and
# small enough that stages of the longest path, which are ready last, do not wait behind all others.
BACKLOG = 64
# Seconds between two tries to reach a workspace that does not answer, and seconds after which a driver without running
# stages gives up.
AWAY_PAUSE, AWAY_LIMIT = 5.0, 3600.0


def run_plan(plan: Plan, workspace: Workspace, watchers: Sequence[Watcher], run: Any = run_task) -> Outcome:
    """Run all stages of a plan that are not done yet, on the connected Ray.

    Args:
        plan: Plan with all fingerprints known.
        workspace: Workspace where results are published.
        watchers: Watchers that are called at every event.
        run: Remote function that runs one stage.

    Returns:
        The state of each stage; failures do not stop stages that do not need them.

    Raises:
        RequestError: The workspace has not answered for an hour in which no stage ran.
        ClusterLost: Ray has died on this machine.
    """
    return _Driver(plan, workspace, watchers, run).run()


class _Driver:
    def __init__(self, plan: Plan, workspace: Workspace, watchers: Sequence[Watcher], run: Any) -> None:
        self.plan = plan
        self.workspace = workspace
        self.watchers = watchers
        self.run_task = run
        self.holder = uuid.uuid4().hex  # this driver's name in leases
        self.states = {name: LACKING if stage.lacks else WAITING for name, stage in plan.stages.items()}
        self.results = plan.results()
        self.paths = longest_paths(plan)
        self.failures: dict[str, Failure] = {}  # by key
        self.running: dict[Any, Stage] = {}
        self.attempts: dict[str, Attempts] = {}  # by key
        self.specs: dict[str, dict[str, Any]] = {}  # by name of the stage, as soon as they are known
        self.mailbox, self.pulse = Mailbox(), Pulse()
        self.away_since: float | None = None  # when the workspace stopped answering, by this process's monotonic clock
        self.next_release = 0.0  # by the same clock
        if any(plan.of_kind("measure")):
            probe = probe_device.options(**share_of(plan.experiment.resources, "measure"))
            plan.name_device(ray.get(probe.remote()))

    def run(self) -> Outcome:
        """Run stages until nothing is running and nothing can be released."""
        while True:
            self.pulse.require()
            self._release_if_answered()
            self._tell("tick", dict(self.states))
            if self.running:
                ended, _ = ray.wait(list(self.running), timeout=1.0)
                self._listen()
                for reference in ended:
                    self._settle(reference)
            elif self._waits():
                time.sleep(0.5)
            else:
                return Outcome(dict(self.states))

    def _waits(self) -> bool:
        """Return whether a stage may become ready later, although this driver runs none."""
        return any(
            state == ELSEWHERE or (state == WAITING and self.plan.stages[name].bind(self.results) is not None)
            for name, state in self.states.items()
        )

    def _release_if_answered(self) -> None:
        """Call `_release`. If the workspace fails, running stages go on, and the call is repeated later.

        Raises:
            RequestError: The workspace has failed for too long.
        """
        if time.monotonic() < self.next_release:
            return
        try:
            self._release()
        except OSError as error:
            self._wait_for_workspace(error)
        else:
            self.away_since = None

    def _wait_for_workspace(self, error: OSError) -> None:
        now = time.monotonic()
        if self.away_since is None:
            self.away_since = now
            log.warning("the workspace does not answer (%s): running stages go on, others start when it does.", error)
        elif not self.running and now - self.away_since > AWAY_LIMIT:
            raise RequestError(
                f"the workspace must answer, but has not for {AWAY_LIMIT / 60:.0f} minutes: {error}. "
                "Run the same command again to continue (--workspace)."
            ) from error
        self.next_release = now + AWAY_PAUSE

    def _release(self) -> None:
        """Finish published stages, skip stages that can never run, and submit ready ones, the longest path first."""
        self.workspace.make()  # workers never make a workspace: to them, a missing one has vanished
        ready = []
        keys = {stage.key for stage in self.running.values()}
        for stage in self.plan.stages.values():
            if self.states[stage.name] not in (WAITING, ELSEWHERE):
                continue
            lost = next((n for n in stage.needs.values() if self.states[n] in (FAILED, SKIPPED)), None)
            if lost is not None:
                self._fail(stage, Failure(f"not run, because `{lost}` failed"), SKIPPED)
            elif self._binds(stage):
                if stage.result is not None:
                    self._finish(stage, stage.result)
                elif stage.key in self.failures:
                    self._fail(stage, self.failures[stage.key])
                elif stage.key not in keys:
                    ready.append(stage)
        for stage in sorted(ready, key=lambda stage: -self.paths[stage.name]):
            if stage.key not in keys and self._has_room(stage):
                self._start(stage)
                keys.add(stage.key)

    def _binds(self, stage: Stage) -> bool:
        """Return whether the stage's key is known. If it is, read the published result too."""
        if stage.name not in self.specs:
            spec = stage.bind(self.results)
            if spec is None:
                return False
            stage.key = content_key(stage.kind, spec)
            self.attempts.setdefault(stage.key, Attempts())
            stage.result = stage.result or self.workspace.result(stage.kind, stage.key)
            self.specs[stage.name] = spec  # set last, because the workspace may fail above
        return True

    def _has_room(self, stage: Stage) -> bool:
        limit = self.plan.experiment.resources.max_concurrent
        if limit is not None and len(self.running) >= limit:
            return False
        if self.running and any(KINDS[other.kind].alone for other in (stage, *self.running.values())):
            return False
        queued = sum(self.states[other.name] == QUEUED for other in self.running.values())
        return queued < BACKLOG and self.attempts[str(stage.key)].due

    def _start(self, stage: Stage) -> None:
        """Submit a stage, unless it is done or another driver works at it."""
        attempts, key = self.attempts[str(stage.key)], str(stage.key)
        stage.result = self.workspace.result(stage.kind, key)
        if stage.result is not None:
            return self._finish(stage, stage.result)
        holder = holder_of(self.workspace.store, f"{stage_place(stage.kind, key)}/leases")
        if holder not in (None, self.holder):
            return self._wait_for_other(stage)
        if attempts.newest is None:
            attempts.newest = self.workspace.newest_checkpoint(stage.kind, key)
        experiment, spec = self.plan.experiment, self.specs[stage.name]
        share = share_of(experiment.resources, stage.kind, alone=attempts.alone)
        task = task_of(stage, spec, self.results, experiment, share)
        # If several workers share the stage, Ray Train reserves their resources; the process that waits needs none.
        options = {"name": stage.name, **({"num_cpus": 0} if spec.get("workers", 1) > 1 else share)}
        submit = self.run_task.options(**options).remote
        reference = submit(self.workspace.address, task, self.mailbox.board, self.holder)
        self.running[reference] = stage
        self.states[stage.name] = QUEUED
        return None

    def _listen(self) -> None:
        """Pass what workers have posted on to the watchers."""
        by_key = {stage.key: stage for stage in self.running.values()}
        reports: dict[str, list[Report]] = {}
        for key, report in self.mailbox.posts():
            stage = by_key.get(key)
            if stage is None:
                continue
            if isinstance(report, float):
                self.states[stage.name] = RUNNING
                stage.started = report
                self._tell("started", stage)
            else:
                reports.setdefault(key, []).append(report)
        for key, latest in reports.items():
            self._tell("reported", by_key[key], latest)

    def _settle(self, reference: Any) -> None:
        stage = self.running.pop(reference)
        try:
            ended: Ended = ray.get(reference)
        except ray.exceptions.RayTaskError as error:  # an error that `execute` does not catch
            cause = error.cause
            away = isinstance(cause, OSError)
            message = f"the workspace cannot be used: {cause}" if away else f"{type(cause).__name__}: {cause}"
            ended = Failed(Failure(message, traceback=str(error), retry="again" if away else None))
        except ray.exceptions.LocalRayletDiedError:
            # This driver's own part of Ray has died. Nothing that it submits will run, and no stage is the cause.
            raise ClusterLost("Ray on this machine has died: run the same command again to continue.") from None
        except ray.exceptions.RayError as error:
            message = f"the stage's worker was lost: {error}".splitlines()[0]
            ended = Failed(Failure(message, retry="again"))
        match ended:
            case Done(result):
                self._finish(stage, result)
            case Held():
                self._wait_for_other(stage)
            case Stopped():
                self._after_failure(stage, Failure("the stage was asked to end, and its state is saved", retry="again"))
            case Failed(failure):
                self._after_failure(stage, failure)

    def _after_failure(self, stage: Stage, failure: Failure) -> None:
        """Try the stage again if that may help; otherwise it has failed."""
        key = str(stage.key)
        attempts = self.attempts[key]
        if failure.retry == "alone" and not attempts.alone:
            attempts.alone = True
        elif failure.retry != "again":
            return self._give_up(stage, failure)
        elif not self._may_try_again(stage, attempts):
            message = f"{failure.message} ({ATTEMPTS} attempts made no progress)"
            return self._give_up(stage, replace(failure, message=message))
        self.states[stage.name] = WAITING
        self._tell("retried", stage, failure.message)
        return None

    def _give_up(self, stage: Stage, failure: Failure) -> None:
        key = str(stage.key)
        if failure.time is None:  # no worker was left to record it
            failure = replace(failure, time=time.time())
            with contextlib.suppress(OSError):
                self.workspace.record_failure(self.workspace.begin(stage.kind, key), failure)
        self.failures[key] = failure
        self._fail(stage, failure)

    def _may_try_again(self, stage: Stage, attempts: Attempts) -> bool:
        try:
            newest = self.workspace.newest_checkpoint(stage.kind, str(stage.key))
        except OSError:
            # The progress is unknown. The stage starts again when the workspace answers; attempts count from there.
            attempts.newest = None
            return True
        return attempts.may_try_again(newest)

    def _wait_for_other(self, stage: Stage) -> None:
        self.states[stage.name] = ELSEWHERE
        self.attempts[str(stage.key)].wait(min(5.0, self.plan.experiment.resources.lease_seconds / 4))

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
