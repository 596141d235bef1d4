"""Helpers of the tests that kill processes: a grid to disturb, a watcher that kills, and drivers as processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from msinet.engine.state import load_state
from pipeline.cluster.watcher import Watcher
from pipeline.plan.kinds import HISTORY, WEIGHTS
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Failure
from pipeline.storage.workspace import Workspace
from support.barrier import Barrier
from support.command_line import MAIN, ROOT
from support.grids import tiny_document


def long_document() -> dict[str, Any]:
    """Return an experiment of one retraining of several epochs. Its state is saved after each step."""
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "targets": ["street"]}
    document["retrain"]["in_domain"]["epochs"] = 3
    return document | {"checkpoint_every": 0, "resources": {"lease_seconds": 2}}


def weights(planned: Plan, workspace: Workspace) -> bytes:
    """Return the weights that the plan's only retraining published."""
    (stage,) = planned.of_kind("retrain")
    assert stage.result is not None
    return (workspace.files(stage.result) / WEIGHTS).read_bytes()


def saved_history(workspace: Workspace, kind: str = "retrain") -> list[str]:
    """Return the history in the newest saved state of the only stage of a kind: a line for each epoch that has ended.

    Each line tells how long the epoch took, so it shows whether a later history continues this one.
    """
    (key,) = {entry.key.split("/")[2] for entry in workspace.store.entries(f"stages/{kind}")}
    with workspace.checkpoint(workspace.checkpoints(kind, key)[0]) as path:
        history: list[str] = load_state(path)["history"]
    return history


def history(planned: Plan, workspace: Workspace, kind: str = "retrain") -> list[str]:
    """Return the history that the plan's only stage of a kind published, a line for each epoch."""
    (stage,) = planned.of_kind(kind)
    assert stage.result is not None
    return (workspace.files(stage.result) / HISTORY).read_text().splitlines()


def attempts(workspace: Workspace, stage: Stage) -> list[Path]:
    """Return the folders of all attempts at a stage."""
    assert workspace.root is not None
    return sorted(workspace.root.glob(f"stages/{stage.kind}/{stage.key}/attempts/*"))


class Disturber(Watcher):
    """A watcher that records retries and failures. It calls `disturb` once, with the id of the process that retrains,
    while that process waits at the barrier.
    """

    def __init__(self, barrier: Barrier | None = None, disturb: Callable[[int], object] | None = None) -> None:
        self.barrier, self.disturb = barrier, disturb
        self.reasons: list[str] = []
        self.failures: dict[str, str] = {}

    def reported(self, stage: Stage, reports: Sequence[dict[str, Any]]) -> None:
        if stage.kind == "retrain" and self.barrier is not None and self.disturb is not None:
            disturb, self.disturb = self.disturb, None
            (pid,) = wait_for(self.barrier.waiting, "retraining at the barrier")
            disturb(pid)
            self.barrier.open()

    def retried(self, stage: Stage, reason: str) -> None:
        self.reasons.append(reason)

    def failed(self, stage: Stage, failure: Failure) -> None:
        self.failures[stage.name] = failure.message


class Driver:
    """A process that runs `python pipeline/run_grid.py` or another verb on a workspace, with its own Ray.

    Args:
        document: The experiment.
        workspace: The workspace for its results.
        folder: Folder of the experiment file and of the output file.
        barrier: The barrier of its workers, if they have one.
        name: Name of these two files, without their endings.
        verb: The verb of `msinet` that it runs.
    """

    def __init__(
        self,
        document: dict[str, Any],
        workspace: Workspace,
        folder: Path,
        barrier: Barrier | None = None,
        name: str = "driver",
        verb: str = "run",
    ) -> None:
        experiment, self.out = folder / f"{name}.yaml", folder / f"{name}.txt"
        experiment.write_text(yaml.safe_dump(document))
        script = [str(ROOT / "pipeline" / "run_grid.py")] if verb == "run" else ["-c", MAIN, verb]
        command = [sys.executable, *script, str(experiment)]
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                [*command, "--workspace", workspace.address],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(barrier.environment if barrier else {})},
            )

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """Return what the driver has printed so far."""
        return self.out.read_text()

    def table(self) -> str:
        """Return the comparison that a run prints at its end, without what the tracker may have said before it."""
        return self.output.partition("\nresults ")[0].rpartition("\ntrained on")[2]

    def ends(self, seconds: float = 200) -> int:
        """Wait for the end of the driver and return its exit code."""
        return self.process.wait(seconds)

    def started(self, pid: int) -> bool:
        """Return whether the driver or its Ray started this process."""
        return pid in family(self.process.pid)

    def kill(self) -> None:
        """Send SIGKILL to the driver and to all processes of its Ray."""
        kill_family(self.process.pid)
        self.process.wait(10)


def family(pid: int) -> list[int]:
    """Return the ids of a process and of all processes that it started, directly or not."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def kill_family(pid: int) -> None:
    """Send SIGKILL to a process and to all processes that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in family(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)


def command_of(pid: int) -> str:
    """Return the command line of a process; the command line of a Ray worker names what it runs."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""  # the process has ended


def wait_for(found: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    """Wait until `found` returns a true value, and return this value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} after {seconds} s")
