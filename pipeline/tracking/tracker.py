"""MLflow as a view of the workspace: one parent run per experiment, one child run per stage key, never doubled.

Only the driver writes. A grid goes on if the tracking server is down; `sync` writes later what the server missed."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import unquote, urlsplit

from pipeline.cluster.watcher import Watcher
from pipeline.errors import RequestError
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Failure, Report
from pipeline.storage.workspace import Workspace
from pipeline.tracking.view import View

log = logging.getLogger(__name__)


def default_uri(workspace: Workspace) -> str | None:
    """Return the address of an SQLite file beside the results, for one machine; None if they are not in a folder."""
    return f"sqlite:///{workspace.root / 'mlflow.db'}" if workspace.root else None


class Tracker(Watcher):
    """A watcher that writes every event to MLflow, on its own thread.

    If the server cannot be reached, the watcher tries again and again. When the server is back, the watcher writes
    everything that the server missed.

    Args:
        uri: Address of the tracking server or database.
        plan: Plan whose stages are shown.
        workspace: Workspace with the results of these stages.
        patience: Seconds between two tries to reach a server that does not answer.
    """

    def __init__(self, uri: str, plan: Plan, workspace: Workspace, patience: float = 20.0) -> None:
        self.view = View(uri, plan, workspace)
        self.problem: str | None = None
        self._patience = patience
        self._next_try = 0.0
        self._under_way: dict[str, Stage] = {}  # stages that run or have failed; the others have results or no run
        self._failures: dict[str, Failure] = {}
        self._reports: dict[str, list[Report]] = {}  # of stages without a result
        self._closed: bool | None = None  # whether a stage failed; None until the grid has ended
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

    def close(self, *, failed: bool, timeout: float = 60.0) -> str | None:
        """End the parent run, and wait until all events are written.

        Returns:
            What went wrong with MLflow, or None. If something went wrong, `sync` is needed.
        """
        self._closed = failed
        self._put(lambda: self.view.close(failed=failed))
        self._put(None)
        self._thread.join(timeout)
        return self.problem or ("MLflow did not keep up" if self._thread.is_alive() else None)

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
        if self.problem is None:
            log.warning("MLflow cannot be reached (%s): the grid goes on without it.", type(error).__name__)
        self.problem = _without_credentials(error, self.view.uri)
        self._next_try = time.monotonic() + self._patience

    def _catch_up(self) -> None:
        """Write what an unreachable server has missed."""
        self.view = View(self.view.uri, self.view.plan, self.view.workspace)
        self.view.open(running=True)
        for stage in list(self.view.plan.stages.values()):
            if stage.result is not None:
                self.view.sync(stage)
            elif stage.key is not None and stage.name in self._under_way:
                self.view.log_epochs(stage, list(self._reports.get(stage.name, [])))
                if stage.name in self._failures:
                    self.view.fail(stage, self._failures[stage.name])
        if self._closed is not None:
            self.view.close(failed=self._closed)
        self.problem = None


def _nothing() -> None:
    """Do nothing; this takes the place of an event when none has come."""


def sync(uri: str, plan: Plan, workspace: Workspace) -> int:
    """Write to MLflow everything that the workspace holds and MLflow lacks.

    Returns:
        The number of published stages that it now shows.

    Raises:
        RequestError: MLflow cannot be used.
    """
    done = [stage for stage in plan.stages.values() if stage.result is not None]
    try:
        view = View(uri, plan, workspace)
        view.open(running=False)
        for stage in done:
            view.sync(stage)
        view.show_study()
        if all(stage.result or stage.lacks for stage in plan.stages.values()):
            view.close(failed=False)
    except Exception as error:
        message = f"MLflow must be reachable, but it failed with {_without_credentials(error, uri)} (--tracking-uri)."
        raise RequestError(message) from error
    return len({stage.key for stage in done})


def _without_credentials(error: Exception, uri: str) -> str:
    """Return an error's kind and first line, without the name and password that the server's address may contain."""
    line = next(iter(str(error).splitlines()), "")
    user = urlsplit(uri).netloc.rpartition("@")[0]
    for secret in (user, user.partition(":")[2]):
        for spelled in (secret, unquote(secret)):
            line = line.replace(spelled, "…") if spelled else line
    return f"{type(error).__name__}: {line}"
