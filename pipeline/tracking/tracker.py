"""MLflow as a view of the workspace: one parent run per experiment, one child run per stage key, never doubled.

Only the driver writes. A grid goes on if the tracking server is down; `sync` writes later what the server missed."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from pipeline.cluster.watcher import Watcher
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Failure, Report
from pipeline.storage.workspace import Workspace
from pipeline.tracking.address import shown, without_credentials
from pipeline.tracking.client import reach
from pipeline.tracking.parent import Reported
from pipeline.tracking.view import View

log = logging.getLogger(__name__)


class Tracker(Watcher):
    """A watcher that writes every event to MLflow, on its own thread.

    If the server cannot be reached, the watcher tries again and again. When the server is back, the watcher writes
    everything that the server missed.

    Args:
        uri: Address of the tracking server or database.
        plan: Plan whose stages are shown.
        workspace: Workspace with the results of these stages.
        patience: Seconds between two tries to reach a server that does not answer.
        report: Function that makes the report of the parent run; by default it has none.
    """

    def __init__(
        self,
        uri: str,
        plan: Plan,
        workspace: Workspace,
        patience: float = 20.0,
        report: Reported | None = None,
    ) -> None:
        self.view = View(uri, plan, workspace, report)
        self.problem: str | None = None
        self._told = False  # whether people know of the problem
        self._patience = patience
        self._next_try = 0.0
        self._under_way: dict[str, Stage] = {}  # stages that run or have failed; the others have results or no run
        self._failures: dict[str, Failure] = {}
        self._reports: dict[str, list[Report]] = {}  # of stages without a result
        self._closed: str | None = None  # the parent's status in the end; None until the grid has ended
        self._events: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()
        self._put(lambda: self.view.open(running=True))

    def started(self, stage: Stage) -> None:
        """Open the stage's run."""
        self._under_way[stage.name] = stage
        self._put(lambda: self.view.start(stage))

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Log the epochs' numbers."""
        self._reports.setdefault(stage.name, []).extend(reports)
        self._put(lambda: self.view.log_epochs(stage, reports))

    def finished(self, stage: Stage) -> None:
        """Write everything that the result holds."""
        self._reports.pop(stage.name, None)
        self._put(lambda: self.view.sync(stage))

    def failed(self, stage: Stage, failure: Failure) -> None:
        """Mark the stage's run as failed."""
        self._under_way[stage.name], self._failures[stage.name] = stage, failure
        self._put(lambda: self.view.fail(stage, failure))

    def close(self, status: str = "FINISHED", timeout: float = 60.0) -> str | None:
        """End the parent run, and wait until all events are written or MLflow does not answer in time.

        Args:
            status: FINISHED, or FAILED if a stage failed, or KILLED if the driver was interrupted. Stages that were
                under way then end as KILLED too.
            timeout: Seconds to wait at most.

        Returns:
            What went wrong with MLflow, or None. If something went wrong, `sync` is needed.
        """
        self._closed = status
        self._put(self._end)
        self._put(None)
        until = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < until and not self.view.deadline.passed:
            self._thread.join(0.2)
        if not self._thread.is_alive():
            return self.problem
        if self.view.deadline.passed:
            return f"{shown(self.view.uri)} {self.view.deadline}"
        return self.problem or "MLflow did not keep up"

    def _end(self) -> None:
        if self._closed == "KILLED":
            for stage in self._under_way.values():
                if stage.result is None and stage.key is not None and stage.name not in self._failures:
                    self.view.interrupt(stage)
        self.view.close(str(self._closed))

    def _put(self, event: Callable[[], object] | None) -> None:
        self._events.put(event)

    def _work(self) -> None:
        last = False
        while not last:
            try:
                event = self._events.get(timeout=self._patience)
            except queue.Empty:
                event = _nothing
            last = event is None
            try:
                if self.problem is not None and (last or time.monotonic() >= self._next_try):
                    self._catch_up()
                elif self.problem is None and event is not None:
                    event()
            except Exception as error:
                self._away(error)

    def _away(self, error: Exception) -> None:
        """Note that MLflow lacks something. The first time, try again at once, because another driver may just write.

        People are told if that fails too.
        """
        again = self.problem is not None
        self.problem = without_credentials(error, self.view.uri)
        self._next_try = time.monotonic() + (self._patience if again else 0.0)
        if again and not self._told:
            self._told = True
            log.warning("MLflow cannot be reached (%s): the grid goes on without it.", self.problem)

    def _catch_up(self) -> None:
        """Write what an unreachable server has missed."""
        self.view = View(self.view.uri, self.view.plan, self.view.workspace, self.view.report)
        self.view.open(running=True)
        for stage in list(self.view.plan.stages.values()):
            if stage.result is not None:
                self.view.sync(stage)
            elif stage.key is not None and stage.name in self._under_way:
                self.view.start(stage)
                self.view.log_epochs(stage, list(self._reports.get(stage.name, [])))
                if stage.name in self._failures:
                    self.view.fail(stage, self._failures[stage.name])
        if self._closed is not None:
            self._end()
        self.problem, self._told = None, False


def _nothing() -> None:
    """Do nothing; this takes the place of an event when none has come."""


def sync(uri: str, plan: Plan, workspace: Workspace, report: Reported | None = None) -> int:
    """Write to MLflow everything that the workspace holds and MLflow lacks.

    Args:
        uri, plan, workspace, report: See `Tracker`.

    Returns:
        The number of published stages that it now shows.

    Raises:
        RequestError: MLflow cannot be used.
    """
    done = [stage for stage in plan.stages.values() if stage.result is not None]
    view = View(uri, plan, workspace, report)

    def write() -> None:
        view.open(running=False)
        for stage in done:
            view.sync(stage)
        view.show_study()
        if all(stage.result or stage.lacks for stage in plan.stages.values()):
            view.close("FINISHED")
        view.end_abandoned()

    reach(uri, view.deadline, write)
    return len({stage.key for stage in done})
