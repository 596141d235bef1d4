"""The functions that Ray runs on a worker: one runs a stage, the other names the device."""

import time
from dataclasses import replace
from typing import Any

import ray

from pipeline.cluster.ray_private import Notice
from pipeline.results import Ended
from pipeline.stages.attempt import execute
from pipeline.stages.task import Task


@ray.remote(max_retries=0)  # the driver decides what is tried again
def run_task(address: str, task: Task, board: Any, holder: str) -> Ended:
    """Run `execute` on a worker."""
    task = replace(task, started=time.time())
    board.post.remote(task.key, task.started)
    attempt = None
    if task.spec.get("workers", 1) > 1:
        from pipeline.cluster.group import run_group  # Ray Train takes seconds to import

        attempt = run_group

    return execute(
        address,
        task,
        lambda report: board.post.remote(task.key, report),
        holder=holder,
        notice=Notice(),
        attempt=attempt,
    )


@ray.remote
def probe_device() -> str:
    """Return the name of the device that a worker sees."""
    import torch

    from msinet.engine.measure import device_name

    return device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
