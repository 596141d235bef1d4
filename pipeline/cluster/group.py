"""One stage on several workers, which Ray Train starts. Each worker is a rank of `msinet.ranks`."""

import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray.train
from ray.train.torch import TorchTrainer

from pipeline.cluster.ray_private import Notice, free_placement_group, hold_placement_group
from pipeline.cluster.rendezvous import OwnRendezvous, meet
from pipeline.results import Done, Ended, Failed, Failure, Report, Step
from pipeline.stages.attempt import run_attempt
from pipeline.stages.task import Task, ignore
from pipeline.storage.workspace import Workspace, stage_place


def run_group(
    workspace: Workspace,
    task: Task,
    report: Callable[[Report], None],
    *,
    begin: Callable[[float], None],
    step: Callable[[Step], None] = ignore,
) -> Ended:
    """Run a stage, whose lease is held, on as many workers as its specification says.

    Ray Train starts and ends the workers. They write states and results to the workspace, as a single process does. If
    a worker is lost, the driver tries the stage again.

    Args:
        workspace: Workspace of states and results.
        task: What to do.
        report: Called with each epoch's report of the first rank.
        begin: Called when all workers are there, with the time in seconds since the epoch.
        step: Called every few seconds within an epoch of the first rank.

    Returns:
        How the attempt ended.
    """
    relay: Any = ray.remote(num_cpus=0)(_Relay).remote(report, begin, step)
    place = place_of(workspace, task)
    free_placement_group(place)  # an attempt whose process was lost may have left one
    share, gpus = task.share, task.share["num_gpus"]
    reserved = {"CPU": share["num_cpus"], "GPU": gpus, "memory": share.get("memory", 0)}
    with tempfile.TemporaryDirectory() as folder:  # for Train's own files; stages report nothing to Train
        trainer = TorchTrainer(
            _work,
            train_loop_config={
                "address": workspace.address,
                "task": task,
                "relay": relay,
                "node": ray.get_runtime_context().get_node_id(),  # if this process's node is lost, the workers end too
                "backend": "nccl" if gpus else "gloo",
            },
            torch_config=OwnRendezvous(),
            scaling_config=ray.train.ScalingConfig(
                num_workers=task.spec["workers"], use_gpu=gpus > 0, resources_per_worker=reserved
            ),
            # A new name each time: Train would continue a run of the same name, or return its result.
            run_config=ray.train.RunConfig(
                name=uuid.uuid4().hex,
                storage_path=folder,
                # The driver does all retries. (mypy knows only the class of Train's older API.)
                failure_config=ray.train.FailureConfig(max_preemption_failures=0),  # type: ignore[call-arg]
            ),
        )
        try:
            ended = _ended(trainer, relay)
        except ray.exceptions.RayError as error:  # Train's controller or the relay has died; Ray restarts neither
            lost = str(error).splitlines()[0]
            ended = Failed(Failure(f"Ray Train was lost: {lost}", retry="again"))
        finally:
            free_placement_group(place)
    if ended is not None:
        return ended
    published = workspace.result(task.kind, task.key)
    if published is None:
        return Failed(Failure("the workers have ended, but their result is not in the workspace", retry="again"))
    return Done(published)


def place_of(workspace: Workspace, task: Task) -> str:
    """Return the name under which the placement group of a stage is stored.

    Several workspaces may use one cluster, and a stage has the same key in all of them.
    """
    return f"{workspace.address}/{stage_place(task.kind, task.key)}"


def _ended(trainer: TorchTrainer, relay: Any) -> Ended | None:
    """Wait for the workers. Return how they ended too early, or None if they finished.

    Raises:
        RayError: Train's controller or the relay has died.
    """
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        ended: Ended | None = ray.get(relay.ended.remote())
        return ended or Failed(Failure(f"a worker was lost: {_last_line(error)}", retry="again"))
    return None


class _Relay:
    """Collector of what the ranks tell: the beginning, the reports, the steps, and the first early ending.

    Ray Train delivers exceptions only as text.
    """

    def __init__(
        self, report: Callable[[Report], None], begin: Callable[[float], None], step: Callable[[Step], None]
    ) -> None:
        self._report, self._begin, self._step = report, begin, step
        self._ended: Ended | None = None

    def begin(self, at: float) -> None:
        """Pass on when the workers began."""
        self._begin(at)

    def report(self, report: Report) -> None:
        """Pass on an epoch's report."""
        self._report(report)

    def step(self, step: Step) -> None:
        """Pass on how far an epoch is."""
        self._step(step)

    def end(self, ended: Ended) -> None:
        """Keep the first early ending, because the later ones follow from it."""
        self._ended = self._ended or ended

    def ended(self) -> Ended | None:
        """Return the first early ending, or None."""
        return self._ended


def _work(config: dict[str, Any]) -> None:
    """Run one rank, in a process that Ray Train started."""
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(ray.train.torch.get_device())
    workspace, task, relay = Workspace(config["address"], made=True), config["task"], config["relay"]
    ranks = meet(config["backend"])
    task = replace(task, started=time.time())  # Ray Train may have waited long for the workers' places
    if ranks.rank == 0:
        hold_placement_group(place_of(workspace, task))
        relay.begin.remote(task.started)

    def report(values: Report) -> None:
        if ranks.rank == 0:
            relay.report.remote(values)

    nodes = [config["node"]] * ranks.world
    distributed.all_gather_object(nodes, ray.get_runtime_context().get_node_id())
    notice = Notice({config["node"], *nodes})
    # Train runs this in a thread, where SIGTERM does not arrive.
    ended = run_attempt(workspace, task, report, notice, ranks=ranks, step=relay.step.remote)
    if isinstance(ended, Failed) and ("gloo" in ended.failure.traceback or "NCCL" in ended.failure.traceback):
        # Another rank has died. This one knows it only from its broken connection.
        ended = Failed(replace(ended.failure, retry="again"))
    if not isinstance(ended, Done):
        ray.get(relay.end.remote(ended))
        raise RuntimeError("this rank has ended too early")  # ends the other ranks, which wait for this one
    distributed.destroy_process_group()


def _last_line(error: Exception) -> str:
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
