"""What tests that kill processes share: a slow grid, a watcher that does the killing, drivers as processes."""

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

from pipeline.cluster.watcher import Watcher
from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Failure
from pipeline.storage.workspace import Workspace
from support.grids import tiny_document

ROOT = Path(__file__).parents[2]


def slow_document(epochs: int = 8) -> dict[str, Any]:
    """One retraining of many short epochs, whose state is saved after each step: there is time to disturb it."""
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "targets": ["street"]}
    document["retrain"]["in_domain"]["epochs"] = epochs
    return document | {"checkpoint_every": 0, "resources": {"lease_seconds": 2}}


def weights(planned: Plan, workspace: Workspace) -> bytes:
    """What the plan's only retraining published."""
    (stage,) = planned.of_kind("retrain")
    assert stage.result is not None
    return (workspace.files(stage.result) / WEIGHTS).read_bytes()


def attempts(workspace: Workspace, stage: Stage) -> list[Path]:
    """The folders of all attempts at a stage."""
    assert workspace.root is not None
    return sorted(workspace.root.glob(f"stages/{stage.kind}/{stage.key}/attempts/*"))


class Disturber(Watcher):
    """Remembers what it is told; calls `disturb` with the process that retrains, once, after its first epochs."""

    def __init__(self, disturb: Callable[[int], object] | None = None) -> None:
        self.disturb = disturb
        self.reasons: list[str] = []
        self.failures: dict[str, str] = {}

    def reported(self, stage: Stage, reports: Sequence[dict[str, Any]]) -> None:
        if stage.kind == "retrain" and self.disturb is not None:
            disturb, self.disturb = self.disturb, None
            disturb(reports[-1]["pid"])

    def retried(self, stage: Stage, reason: str) -> None:
        self.reasons.append(reason)

    def failed(self, stage: Stage, failure: Failure) -> None:
        self.failures[stage.name] = failure.message


class Driver:
    """`python pipeline/run_grid.py` on a workspace, with a Ray of its own.

    Args:
        document: The experiment.
        workspace: Where its results go.
        folder: Where its file and its output lie.
        name: Of these two.
    """

    def __init__(self, document: dict[str, Any], workspace: Workspace, folder: Path, name: str = "driver") -> None:
        experiment, self.out = folder / f"{name}.yaml", folder / f"{name}.txt"
        experiment.write_text(yaml.safe_dump(document))
        command = [sys.executable, str(ROOT / "pipeline" / "run_grid.py"), str(experiment)]
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                [*command, "--workspace", workspace.address], stdout=out, stderr=subprocess.STDOUT
            )

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.out.read_text()

    def table(self) -> str:
        """The comparison that a run ends with."""
        return self.output.partition("\nresults ")[0].rpartition("failed\n")[2]

    def ends(self, seconds: float = 200) -> int:
        """Wait for its exit code."""
        return self.process.wait(seconds)

    def worker(self, name: str) -> int | None:
        """The process of its Ray that runs a stage whose name begins so."""
        found = (pid for pid in family(self.process.pid) if command_of(pid).startswith(f"ray::{name}"))
        return next(found, None)

    def kill(self) -> None:
        """SIGKILL to the driver and all of its Ray."""
        kill_family(self.process.pid)
        self.process.wait(10)


def family(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def kill_family(pid: int) -> None:
    """SIGKILL to a process and all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in family(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)


def command_of(pid: int) -> str:
    """A process's command line; Ray's workers show what they run."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""  # it has ended


def wait_for(found: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """The first true value of `found`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} after {seconds} s")
