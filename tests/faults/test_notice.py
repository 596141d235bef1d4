"""A node is about to be taken away: its stages save their state and go on elsewhere, before it is gone."""

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from support.barrier import Barrier
from support.disturbed import wait_for
from support.grids import run_without_ray, tiny_document

from pipeline.cluster.driver import run_plan
from pipeline.cluster.ray_private import draining_nodes
from pipeline.cluster.watcher import DONE, Watcher
from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import WEIGHTS
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


class Drain(Watcher):
    """Tells Ray, once, that a node which trains will be gone in some minutes; another one is there.

    Args:
        cluster: A head that trains nothing, and nodes that do.
        barrier: Where the retraining waits meanwhile.
        first: Whether it is the node of the first rank, or another.
    """

    def __init__(self, cluster: Cluster, barrier: Barrier, *, first: bool = True) -> None:
        self.cluster, self.barrier, self.first, self.told = cluster, barrier, first, False
        self.reasons: list[str] = []
        self.epochs: list[int] = []

    def node(self, pid: int) -> Any:
        """The node to take away."""
        raylet = psutil.Process(pid).ppid()
        return next(
            node
            for node in self.cluster.worker_nodes
            if (node.all_processes["raylet"][0].process.pid == raylet) == self.first
        )

    def reported(self, stage: Stage, reports: Any) -> None:
        if stage.kind != "retrain":
            return
        self.epochs += [report["epoch"] for report in reports]
        if self.told:
            return
        self.told = True
        (pid,) = wait_for(self.barrier.waiting, "retraining at the barrier")
        node = self.node(pid)
        self.cluster.add_node(**NODE)
        deadline = int((time.time() + 600) * 1000)
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        gcs = ray._private.worker.global_worker.gcs_client
        assert gcs.drain_node(node.node_id, reason, "taken away", deadline)[0]
        wait_for(lambda: node.node_id in draining_nodes(), "notice")
        time.sleep(2.5)  # a worker that has just asked asks again after two seconds
        self.barrier.open()

    def retried(self, stage: Stage, reason: str) -> None:
        self.reasons.append(reason)


def tiny(epochs: int) -> dict[str, Any]:
    """One retraining, of which no state is saved unless it is asked to end."""
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "targets": ["street"]}
    document["retrain"]["in_domain"]["epochs"] = epochs
    return document | {"checkpoint_every": 3600}


def run(
    document: dict[str, Any], workspace: Workspace, barrier: Barrier, nodes: int, *, first: bool
) -> tuple[Plan, Drain]:
    """Run a grid on so many nodes, of which one is taken away."""
    planned = plan(Experiment.model_validate(document))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            cluster.add_node(**NODE)
        ray.init(address=cluster.address, log_to_driver=False)
        listener = Drain(cluster, barrier, first=first)
        outcome = run_plan(planned, workspace, [listener])
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert set(outcome.states.values()) == {DONE}
    assert listener.reasons == ["the stage was asked to end, and its state is saved"]
    return planned, listener


def test_a_stage_leaves_a_node_that_will_be_taken_away(barrier: Barrier, tmp_path: Path) -> None:
    calm, workspace = Workspace(tmp_path / "calm"), Workspace(tmp_path / "workspace")
    expected = next(run_without_ray(tiny(3), calm).of_kind("retrain")).result
    planned, listener = run(tiny(3), workspace, barrier, 1, first=True)
    assert listener.epochs == list(range(3)), "no epoch was run twice"
    found = next(planned.of_kind("retrain")).result
    assert expected is not None
    assert found is not None
    assert (workspace.files(found) / WEIGHTS).read_bytes() == (calm.files(expected) / WEIGHTS).read_bytes()


def test_several_workers_leave_when_any_of_their_nodes_will_be_taken_away(barrier: Barrier, tmp_path: Path) -> None:
    document = tiny(3) | {"workers": {"retrain": 2}}
    _, listener = run(document, Workspace(tmp_path / "workspace"), barrier, 2, first=False)
    assert listener.epochs == list(range(3)), "no epoch was run twice"
