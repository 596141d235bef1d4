"""The driver: it releases each stage as soon as its inputs are done, and collects reports while the stage runs.

The driver may be restarted at any time. Published stages never run again, and interrupted stages continue from their
last saved state.
"""

import contextlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray

from pipeline.cluster.board import Mailbox
from pipeline.cluster.connect import share_of
from pipeline.cluster.probe import Probe
from pipeline.cluster.pulse import Pulse
from pipeline.cluster.queue import Queue, Rank, Share, Submitted, rank_of
from pipeline.cluster.retries import ATTEMPTS, Absence, Attempts
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
from pipeline.cluster.worker import ended_of, run_task
from pipeline.errors import RequestError
from pipeline.plan.costs import Spent
from pipeline.plan.estimate import longest_paths
from pipeline.plan.kinds import KINDS
from pipeline.plan.memory import reserved_memory
from pipeline.plan.stage import Plan, Stage, content_key
from pipeline.results import Done, Failed, Failure, Held, Report, Step, Stopped
from pipeline.stages.task import task_of
from pipeline.storage.leases import holder_of
from pipeline.storage.workspace import Workspace, stage_place


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
        self.budget = plan.experiment.budget
        self.spent = Spent(self.results.values() if self.budget else ())
        self.paths, self.memory = longest_paths(plan), reserved_memory(plan)
        self.failures: dict[str, Failure] = {}  # by key
        self.queue = Queue(plan.experiment.resources.max_concurrent)
        self.attempts: dict[str, Attempts] = {}  # by key
        self.specs: dict[str, dict[str, Any]] = {}  # by name of the stage, as soon as they are known
        self.mailbox, self.pulse = Mailbox(), Pulse()
        self.absence = Absence()
        missing = [stage for stage in plan.of_kind("measure") if stage.result is None]
        self.probe = Probe(plan.experiment.resources) if missing else None

    def run(self) -> Outcome:
        """Run stages until nothing is running and nothing can be released."""
        while True:
            self.pulse.require()
            self._name_device()
            self._release_if_answered()
            self._tell("tick", dict(self.states))
            if self.queue.submitted:
                ended, _ = ray.wait(list(self.queue.submitted), timeout=1.0)
                self._listen()
                self.queue.tell_wait()
                for reference in ended:
                    self._settle(reference)
            elif self._waits():
                time.sleep(0.5)
            else:
                return Outcome(dict(self.states))

    def _name_device(self) -> None:
        """Give the measurements their device, as soon as a worker has named it."""
        if self.probe is None:
            return
        try:
            device = self.probe.answer()
        except RequestError as error:
            self.probe = None
            for stage in self.plan.of_kind("measure"):
                if self.states[stage.name] == WAITING:
                    self._fail(stage, Failure(f"{error}"))
        else:
            if device is not None:
                self.probe = None
                self.plan.name_device(device)

    def _waits(self) -> bool:
        """Return whether a stage may become ready later, although this driver runs none."""
        return not self._budget_is_spent() and any(
            state == ELSEWHERE or (state == WAITING and self._may_be_ready(self.plan.stages[name]))
            for name, state in self.states.items()
        )

    def _may_be_ready(self, stage: Stage) -> bool:
        if self.probe is not None and stage.kind == "measure":
            return all(name in self.results for name in stage.needs.values())
        return stage.bind(self.results) is not None

    def _release_if_answered(self) -> None:
        """Call `_release`. If the workspace fails, running stages go on, and the call is repeated later.

        Raises:
            RequestError: The workspace has failed for too long.
        """
        if not self.absence.is_over:
            return
        try:
            self._release()
        except OSError as error:
            self.absence.prolong(error, give_up=not self.queue.submitted)
        else:
            self.absence = Absence()

    def _release(self) -> None:
        """Finish published stages, skip stages that can never run, and submit ready ones."""
        self.workspace.make()  # workers never make a workspace: to them, a missing one has vanished
        ready = []
        keys = self.queue.by_key()
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
                elif stage.key not in keys and self.attempts[str(stage.key)].due:
                    ready.append(stage)
            elif stage.lacks:
                self._fail(stage, Failure(stage.lacks), SKIPPED)
        if self._budget_is_spent():
            self.queue.withdraw_waiting()
            return
        self.queue.make_way(others_are_ready=any(self._is_free(stage) for stage in ready))
        self._submit(ready)

    def _budget_is_spent(self) -> bool:
        """Return whether the experiment's stages, with those that run, have taken as many hours as they may."""
        return self.budget is not None and self.spent.hours + self.queue.busy_hours() >= self.budget.hours

    def _is_free(self, stage: Stage) -> bool:
        """Return whether a ready stage need not be alone, and is not known to be another driver's."""
        return self.states[stage.name] == WAITING and not KINDS[stage.kind].alone

    def _submit(self, ready: Sequence[Stage]) -> None:
        """Submit stages while there is room: those of the lowest rank first, and of these the longest path first."""
        resources = self.plan.experiment.resources
        shares = {kind: share_of(resources, kind, self.memory) for kind in {stage.kind for stage in ready}}
        keys: set[str | None] = set()
        full: set[tuple[str, bool]] = set()
        for stage in sorted(ready, key=lambda s: (rank_of(s.kind, shares[s.kind]), -self.paths[s.name])):
            alone = self.attempts[str(stage.key)].alone
            if stage.key in keys or (stage.kind, alone) in full:
                continue
            share = share_of(resources, stage.kind, self.memory, alone=True) if alone else shares[stage.kind]
            rank = rank_of(stage.kind, share)
            if self.queue.has_room(stage.kind, rank, share):
                self._start(stage, rank, share)
                keys.add(stage.key)
            else:
                full.add((stage.kind, alone))

    def _binds(self, stage: Stage) -> bool:
        """Return whether the stage's key is known. If it is, read the published result too."""
        if stage.name not in self.specs:
            spec = stage.bind(self.results)
            if spec is None:
                return False
            stage.key = content_key(stage.kind, spec)
            self.attempts.setdefault(stage.key, Attempts())
            stage.result = stage.result or self.workspace.result(stage.kind, stage.key)
            if self.budget:
                if stage.result:
                    self.spent.finish(stage.result)
                self.spent.lose_earlier(self.workspace, stage.kind, stage.key, spec.get("workers", 1))
            self.specs[stage.name] = spec  # set last, because the workspace may fail above
        return True

    def _start(self, stage: Stage, rank: Rank, share: Share) -> None:
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
        task = task_of(stage, spec, self.results, experiment, share)
        submitted = Submitted(stage, rank, share, workers=spec.get("workers", 1))
        # If several workers share the stage, the process that waits for them needs no place.
        submit = self.run_task.options(**{"name": stage.name, "num_cpus": 0, **submitted.place}).remote
        reference = submit(self.workspace.address, task, self.mailbox.board, self.holder)
        self.queue.submitted[reference] = submitted
        self.states[stage.name] = QUEUED
        return None

    def _listen(self) -> None:
        """Pass what workers have posted on to the watchers."""
        by_key = self.queue.by_key()
        reports: dict[str, list[Report]] = {}
        for key, told in self.mailbox.posts():
            if key not in by_key:
                continue
            if isinstance(told, float):
                submitted = by_key[key]
                submitted.begun = True
                submitted.stage.started = told
                self.states[submitted.stage.name] = RUNNING
                self._tell("started", submitted.stage)
            elif isinstance(told, Step):
                self._tell("stepped", by_key[key].stage, told)
            else:
                reports.setdefault(key, []).append(told)
        for key, latest in reports.items():
            self._tell("reported", by_key[key].stage, latest)

    def _settle(self, reference: Any) -> None:
        submitted = self.queue.submitted.pop(reference)
        stage, ended = submitted.stage, ended_of(reference)
        if submitted.withdrawn and not isinstance(ended, Done):
            self.states[stage.name] = WAITING
            return
        if self.budget and not isinstance(ended, Done):
            self.spent.lose(str(stage.key), submitted.busy_hours)
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
        if self.budget:
            self.spent.finish(result)
        self.states[stage.name] = DONE
        self._tell("finished", stage)

    def _fail(self, stage: Stage, failure: Failure, state: str = FAILED) -> None:
        self.states[stage.name] = state
        self._tell("failed", stage, failure)

    def _tell(self, event: str, *arguments: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, event)(*arguments)
