"""One stage on several workers, under Ray Train: each is a rank of `msinet.engine.ranks`."""

import tempfile
import uuid
from collections.abc import Callable
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from pipeline.stages import Ended, Report, Task, run_attempt
from pipeline.workspace import Workspace


def run_group(workspace: Workspace, task: Task, report: Callable[[Report], None]) -> Ended:
    """Run a stage whose lease is held on as many workers as its specification says.

    Ray Train starts and ends the workers; states and results go to the workspace as those of a single process do, and
    the driver tries again what was lost.

    Args:
        workspace: Where everything lies.
        task: What to do.
        report: Called with each epoch's report, of the first rank.

    Returns:
        As `pipeline.stages.execute`.
    """
    relay: Any = ray.remote(num_cpus=0)(_Relay).remote(report)
    cpus, gpus = task.share["num_cpus"], task.share["num_gpus"]
    with tempfile.TemporaryDirectory() as folder:  # for Train's own notes; nothing is reported to it
        trainer = TorchTrainer(
            _work,
            train_loop_config={"address": workspace.address, "task": task, "relay": relay},
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=task.spec["workers"], use_gpu=gpus > 0, resources_per_worker={"CPU": cpus, "GPU": gpus}
            ),
            # A name of its own: Train would continue a run of the same name, or return its result.
            run_config=ray.train.RunConfig(name=uuid.uuid4().hex, storage_path=folder),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            failure = ray.get(relay.failure.remote())
            return {"failure": failure or {"message": f"a worker was lost: {_first_line(error)}", "retry": "again"}}
    published = workspace.result(task.kind, task.key)
    assert published is not None
    return {"result": published}


class _Relay:
    """Takes what ranks say: reports, and why one failed, since what it raises arrives as text only."""

    def __init__(self, report: Callable[[Report], None]) -> None:
        self._report = report
        self._failure: dict[str, Any] | None = None

    def report(self, report: Report) -> None:
        """Pass on an epoch's report."""
        self._report(report)

    def fail(self, failure: dict[str, Any]) -> None:
        """Keep the first failure: the others follow from it."""
        self._failure = self._failure or failure

    def failure(self) -> dict[str, Any] | None:
        """The first failure, if any."""
        return self._failure


def _work(config: dict[str, Any]) -> None:
    """One rank, in a process that Ray Train started."""
    import torch
    from torch import distributed

    from msinet.engine.ranks import Ranks
    from pipeline.scheduling import Notice

    if torch.cuda.is_available():
        torch.cuda.set_device(ray.train.torch.get_device())
    ranks = Ranks(distributed.get_rank(), distributed.get_world_size())
    relay = config["relay"]

    def report(values: Report) -> None:
        if ranks.rank == 0:
            relay.report.remote(values)

    # Train runs this in a thread, where SIGTERM does not arrive.
    ended = run_attempt(Workspace(config["address"]), config["task"], report, Notice(), ranks=ranks)
    if "failure" in ended:
        failure = ended["failure"]
        if "gloo" in failure["traceback"] or "NCCL" in failure["traceback"]:
            failure["retry"] = "again"  # another rank has died; this one was told by its connection
        ray.get(relay.fail.remote(failure))
        raise RuntimeError(ended["failure"]["message"])  # ends the other ranks, which wait for this one


def _first_line(error: Exception) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
