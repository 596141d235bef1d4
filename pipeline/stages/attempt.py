"""One attempt at a stage: from a task to files and a published result, or to a recorded failure.

Ray runs only `execute`, which does not need Ray itself.
"""

import contextlib
import errno
import re
import shutil
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.plan.kinds import KINDS
from pipeline.results import Done, Ended, Failed, Failure, Held, Report, Result, Step, Stopped
from pipeline.stages.task import AfterEpoch, Context, StopRequested, Task, ignore
from pipeline.stages.whole import require_whole
from pipeline.storage import leases
from pipeline.storage.workspace import Workspace, stage_place

if TYPE_CHECKING:
    from msinet.ranks import Ranks

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# CUDA and its libraries say this when they find no memory themselves. torch raises OutOfMemoryError only for its own
# allocator.
NO_ROOM = re.compile(r"CUDA error: out of memory|CU[A-Z]+_STATUS_\w*ALLOC\w*_FAILED")


def execute(
    address: str,
    task: Task,
    report: Callable[[Report], None],
    *,
    holder: str = "",
    notice: Callable[[], bool] = lambda: False,
    after_epoch: AfterEpoch | None = None,
    attempt: "RunAttempt | None" = None,
    step: Callable[[Step], None] = ignore,
) -> Ended:
    """Run a stage under a lease and publish its result. An error is recorded and returned, not raised.

    Args:
        address: Address of the workspace, which must be made already.
        task: What to do.
        report: Called with each epoch's report.
        holder: Who asks for the stage and holds its lease meanwhile; the same for all attempts of one driver.
        notice: Says whether this machine is about to be taken away; asked after every step.
        after_epoch: Called after each epoch of a search or a training. It may look at the network, but must not change
            anything.
        attempt: Function that makes the attempt while the lease is held; by default `run_attempt`, in this process.
        step: Called every few seconds within an epoch, unless `attempt` is given.

    Returns:
        How the attempt ended.
    """
    workspace = Workspace(address, made=True)
    published = workspace.result(task.kind, task.key)
    if published is not None:
        return Done(published)
    place = f"{stage_place(task.kind, task.key)}/leases"
    lease = leases.take(workspace.store, place, holder or uuid.uuid4().hex, task.lease_seconds)
    if lease is None:
        return Held(leases.holder_of(workspace.store, place))
    with lease, _stop_on_sigterm() as stop:
        published = workspace.result(task.kind, task.key)  # the former holder of the lease may just have published it
        if published is not None:
            return Done(published)
        if attempt is not None:
            return attempt(workspace, task, report)
        return run_attempt(workspace, task, report, lambda: stop.is_set() or notice(), after_epoch, step=step)


RunAttempt = Callable[[Workspace, Task, Callable[[Report], None]], Ended]


def run_attempt(
    workspace: Workspace,
    task: Task,
    report: Callable[[Report], None],
    stop: Callable[[], bool],
    after_epoch: AfterEpoch | None = None,
    ranks: "Ranks | None" = None,
    step: Callable[[Step], None] = ignore,
) -> Ended:
    """Make one attempt at a stage whose lease is held, in this process alone or as one of several ranks.

    Returns:
        How the attempt ended. Only the first of several ranks publishes; every other rank returns just its own part.
    """
    tail = LogTail()
    attempt = workspace.begin(task.kind, task.key)
    started = task.started or time.time()
    try:
        part = runner_of(task.kind)(Context(task, workspace, attempt, report, stop, after_epoch, ranks, step))
        if ranks and ranks.rank > 0:
            shutil.rmtree(attempt.folder)
            return Done(part)
        from pipeline.stages.environment import environment  # it imports torch, which a driver does not need

        lasted = {"started": started, "seconds": time.time() - started}
        result = {**part, "spec": task.spec, **lasted, "environment": environment()}
        files = KINDS[task.kind].files(result)
        require_whole(attempt.folder, files)
        return Done(workspace.publish(attempt, result, files))
    except StopRequested:
        return Stopped()
    except Exception as error:
        failure = Failure(
            _message(error, attempt.folder),
            traceback=traceback.format_exc(),
            log=tail.read(),
            retry=_remedy(error),
            time=time.time(),
        )
        with contextlib.suppress(OSError):  # the store itself may have failed
            workspace.record_failure(attempt, failure)
        return Failed(failure)


def runner_of(kind: str) -> Callable[[Context], Result]:
    """Return the function `run` of a kind's module, which is imported only where a stage of the kind runs."""
    run: Callable[[Context], Result] = import_module(f"pipeline.stages.{kind}").run
    return run


def _message(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.errno in FULL:
        where = "(--workspace, MSINET_CACHE)"
        return f"the disk must have room for the files of a stage in {folder}, but has not: {error} {where}."
    return f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _remedy(error: Exception) -> Literal["again", "alone"] | None:
    """Return which kind of retry may help against an error; None for a bug or bad data, where none helps."""
    # These are errors of a GPU's memory: a host that runs out of memory kills the process.
    if type(error).__name__ == "OutOfMemoryError" or (isinstance(error, RuntimeError) and NO_ROOM.search(f"{error}")):
        return "alone"
    return "again" if isinstance(error, OSError) else None


@contextlib.contextmanager
def _stop_on_sigterm() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets. Only the main thread receives signals; in others nothing sets it."""
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
    """The text that this process writes to its log files from now on. Ray gives each worker its own files."""

    LENGTH = 8000

    def __init__(self) -> None:
        files = [path for path in map(Path, ("/proc/self/fd/1", "/proc/self/fd/2")) if path.is_file()]
        if len(files) == 2 and files[0].samefile(files[1]):
            files.pop()
        self._starts = {path: path.stat().st_size for path in files}

    def read(self) -> str:
        """Return the last `LENGTH` characters; an empty text if the output does not go to files."""
        sys.stdout.flush()
        sys.stderr.flush()
        texts = []
        for path, start in self._starts.items():
            with path.open("rb") as file:
                file.seek(max(start, path.stat().st_size - self.LENGTH))
                texts.append(file.read().decode(errors="replace"))
        return "".join(texts)[-self.LENGTH :]
