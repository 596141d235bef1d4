"""One attempt at a stage: from a task to files and a published result, or to a recorded failure.

`execute` is all that Ray runs; it needs no Ray itself."""

import contextlib
import re
import shutil
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.results import Ended, Report, Result
from pipeline.stages.evaluate import run_evaluate
from pipeline.stages.measure import run_measure
from pipeline.stages.picture import run_picture
from pipeline.stages.prepare import run_prepare
from pipeline.stages.retrain import run_retrain
from pipeline.stages.search import run_search
from pipeline.stages.task import AfterEpoch, Context, Stopped, Task
from pipeline.storage import leases
from pipeline.storage.workspace import Workspace, stage_place

# What CUDA and its libraries say where torch's own allocator was not asked, and so raises no OutOfMemoryError.
NO_ROOM = re.compile(r"CUDA error: out of memory|CU[A-Z]+_STATUS_\w*ALLOC\w*_FAILED")


def execute(
    address: str,
    task: Task,
    report: Callable[[Report], None],
    holder: str = "",
    after_epoch: AfterEpoch | None = None,
    notice: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run a stage and publish its result; an error is recorded and returned, not raised.

    Args:
        address: Of the workspace.
        task: What to do.
        report: Called with each epoch's report.
        holder: Who asks for it, and holds the stage's lease meanwhile; the same for all attempts of one driver.
        after_epoch: May look at the network after each epoch of a search or a training, without changing anything.
        notice: Whether this machine is about to be taken away; asked after every step.

    Returns:
        `{"result": …}`; `{"failure": {"message", "traceback", "log", "retry"}}`, where `retry` is `"again"` for what
        may pass by itself, `"alone"` for a GPU without room, or None; `{"stopped": True}` after SIGTERM or a notice;
        or `{"held": holder}` while another driver works at the stage.
    """
    workspace = Workspace(address)
    published = workspace.result(task.kind, task.key)
    if published is not None:
        return {"result": published}
    place = f"{stage_place(task.kind, task.key)}/leases"
    lease = leases.take(workspace.store, place, holder or uuid.uuid4().hex, task.lease_seconds)
    if lease is None:
        return {"held": leases.holder_of(workspace.store, place)}
    with lease, _stop_on_sigterm() as stop:
        published = workspace.result(task.kind, task.key)  # by who held the lease until just now
        if published is not None:
            return {"result": published}
        if task.spec.get("workers", 1) > 1:
            from pipeline.cluster.group import run_group

            return run_group(workspace, task, report)
        return run_attempt(workspace, task, report, lambda: stop.is_set() or notice(), after_epoch)


def run_attempt(
    workspace: Workspace,
    task: Task,
    report: Callable[[Report], None],
    stop: Callable[[], bool],
    after_epoch: AfterEpoch | None = None,
    ranks: Any = None,
) -> Ended:
    """One try at a stage whose lease is held, here or as one of several ranks; as `execute`.

    Returns:
        As `execute`; of ranks the first publishes, the others return `{}`.
    """
    tail = LogTail()
    attempt = workspace.begin(task.kind, task.key)
    started = time.time()
    try:
        part = RUN[task.kind](Context(task, workspace, attempt, report, stop, after_epoch, ranks))
        if ranks and ranks.rank > 0:
            shutil.rmtree(attempt.folder)
            return {}
        result = {**part, "spec": task.spec, "started": started, "seconds": time.time() - started}
        return {"result": workspace.publish(attempt, result)}
    except Stopped:
        return {"stopped": True}
    except Exception as error:
        failure = {
            "message": f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
            "log": tail.read(),
            "retry": _remedy(error),
            "time": time.time(),
        }
        with contextlib.suppress(OSError):  # the store may be what failed
            workspace.record_failure(attempt, failure)
        return {"failure": failure}


def _remedy(error: Exception) -> str | None:
    """What may help against an error: nothing against a bug or bad data."""
    # A host without memory kills the process: these are of a GPU.
    if type(error).__name__ == "OutOfMemoryError" or (isinstance(error, RuntimeError) and NO_ROOM.search(f"{error}")):
        return "alone"
    return "again" if isinstance(error, OSError) else None


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, in the thread that receives signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


class LogTail:
    """What this process has written to its log files since now: Ray gives each worker files of its own."""

    LENGTH = 8000

    def __init__(self) -> None:
        files = [path for path in map(Path, ("/proc/self/fd/1", "/proc/self/fd/2")) if path.is_file()]
        if len(files) == 2 and files[0].samefile(files[1]):
            files.pop()
        self._starts = {path: path.stat().st_size for path in files}

    def read(self) -> str:
        """The last characters; empty where output goes elsewhere."""
        sys.stdout.flush()
        sys.stderr.flush()
        texts = []
        for path, start in self._starts.items():
            with path.open("rb") as file:
                file.seek(max(start, path.stat().st_size - self.LENGTH))
                texts.append(file.read().decode(errors="replace"))
        return "".join(texts)[-self.LENGTH :]


RUN: dict[str, Callable[[Context], Result]] = {
    "prepare": run_prepare,
    "search": run_search,
    "retrain": run_retrain,
    "evaluate": run_evaluate,
    "measure": run_measure,
    "picture": run_picture,
}
