"""The functions that Ray runs on a worker, and how the driver reads the end of a stage there."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import ray

from pipeline.cluster.ray_private import Notice
from pipeline.errors import ClusterLost
from pipeline.results import Ended, Failed, Failure, Report, Step
from pipeline.stages.attempt import execute
from pipeline.stages.task import Task


@ray.remote(max_retries=0)  # the driver decides what is tried again
def run_task(address: str, task: Task, board: Any, holder: str) -> Ended:
    """Run `execute` on a worker."""

    def post(told: Report | Step | float) -> None:
        board.post.remote(task.key, told)

    attempt = None
    if task.spec.get("workers", 1) > 1:  # the stage begins when all of its workers are there
        from pipeline.cluster.group import run_group  # Ray Train takes seconds to import

        attempt = partial(run_group, begin=post, step=post)
    else:
        began = time.time()
        task = replace(task, started=began)
        post(began)
    return execute(address, task, post, holder=holder, notice=Notice(), attempt=attempt, step=post)


def ended_of(reference: Any) -> Ended:
    """Return how a stage has ended that Ray ran under this reference.

    Raises:
        ClusterLost: Ray has died on this machine.
    """
    try:
        ended: Ended = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # an error that `execute` does not catch
        cause = error.cause
        away = isinstance(cause, OSError)
        message = f"the workspace cannot be used: {cause}" if away else f"{type(cause).__name__}: {cause}"
        return Failed(Failure(message, traceback=str(error), retry="again" if away else None))
    except ray.exceptions.LocalRayletDiedError:
        # This driver's own part of Ray has died. Nothing that it submits will run, and no stage is the cause.
        raise ClusterLost("Ray on this machine has died: run the same command again to continue.") from None
    except ray.exceptions.RayError as error:
        return Failed(Failure(f"the stage's worker was lost: {error}".splitlines()[0], retry="again"))
    return ended


@ray.remote
def probe_device() -> str:
    """Return the name of the device that a worker sees."""
    import torch

    from msinet.engine.measure import device_name

    return device_name(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
