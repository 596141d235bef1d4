"""What Ray runs on a worker: one stage, and the board that its reports go to."""

from typing import Any

import ray

from pipeline.cluster.ray_private import Notice
from pipeline.results import Ended, Report
from pipeline.stages.attempt import execute
from pipeline.stages.task import Task


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


@ray.remote(max_retries=0)  # the driver decides what is tried again
def run_task(address: str, task: Task, board: Any, holder: str) -> Ended:
    """`execute` on a worker."""
    board.post.remote(task.key, None)
    return execute(address, task, lambda report: board.post.remote(task.key, report), holder, notice=Notice())


@ray.remote
def probe_device() -> str:
    """The device that a worker sees."""
    import torch

    from msinet.engine.measure import device_name

    return device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
