"""A barrier in Ray's workers: a search or a retraining waits in the middle of an epoch until the test lets it go on.

A test that disturbs a stage waits for the barrier first. So the stage cannot end too early, on any machine.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

FOLDER = "MSINET_TEST_BARRIER"
# Epoch and step before which a stage waits, by kind: one epoch is reported then. The tiny search has one step an epoch.
HELD = {"search": (1, 0), "retrain": (1, 1)}
LONGEST = 600.0  # seconds that a stage waits, if a test forgets it


class Barrier:
    """The test's side of the barrier.

    Args:
        folder: Folder by which the test and the workers tell each other what happens.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables of a Ray whose workers have the barrier."""
        tests = Path(__file__).parents[1]
        paths = [str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")]
        return {
            FOLDER: str(self.folder),
            WORKER_PROCESS_SETUP_HOOK_ENV_VAR: "support.barrier.install",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }

    def set(self, patch: pytest.MonkeyPatch) -> None:
        """Set these variables in this process, for a Ray that it starts."""
        for name, value in self.environment.items():
            patch.setenv(name, value)

    def close(self) -> None:
        """Hold stages from now on, also those of a kind that was let through before."""
        for path in self.folder.iterdir():
            path.unlink()

    def waiting(self, kind: str = "retrain") -> list[int]:
        """Return the ids of the processes that have come to the barrier in a stage of this kind."""
        return [int(path.suffix[1:]) for path in self.folder.glob(f"{kind}.*") if path.suffix[1:].isdigit()]

    def open(self, kind: str = "retrain") -> None:
        """Let stages of this kind go on, now and later."""
        (self.folder / f"{kind}.open").touch()


def install() -> None:
    """Put the barrier into this worker. Its loops are changed only when a stage begins, because torch takes time."""
    from pipeline.stages import attempt

    plain = attempt.runner_of

    def runner_of(kind: str) -> Any:
        if kind in HELD:
            _hold_loops(kind)
        return plain(kind)

    attempt.runner_of = runner_of


def _hold_loops(kind: str) -> None:
    from msinet.engine.loop import Loop

    plain: Callable[..., Any] = getattr(Loop, "plain_run_epoch", Loop.run_epoch)

    def run_epoch(self: Any, batches: Iterable[Any], *arguments: Any) -> Any:
        return plain(self, held(self, batches), *arguments)

    def held(loop: Any, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            if loop.ranks.rank == 0 and (loop.next_epoch, loop.next_step) == HELD[kind]:  # other ranks wait for it
                _wait(Path(os.environ[FOLDER]), kind)
            yield batch

    Loop.plain_run_epoch = plain  # type: ignore[attr-defined]
    Loop.run_epoch = run_epoch  # type: ignore[method-assign]


def _wait(folder: Path, kind: str) -> None:
    (folder / f"{kind}.{os.getpid()}").touch()
    end = time.monotonic() + LONGEST
    while not (folder / f"{kind}.open").exists():
        assert time.monotonic() < end, "the test has not opened the barrier"
        time.sleep(0.05)
