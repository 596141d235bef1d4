"""A node is about to be taken away: its stages save their state and go on elsewhere, before it is gone."""

import time
from pathlib import Path
from typing import Any

import pytest
import ray
from grids import run_without_ray, tiny_document
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2
from slow_steps import SLOW_STEPS

from pipeline.config import Experiment
from pipeline.plan import Stage, plan
from pipeline.scheduling import DONE, run_plan
from pipeline.stages import WEIGHTS
from pipeline.workspace import Workspace

pytestmark = pytest.mark.faults
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


class Drain:
    """Tells Ray, once, that the node which trains will be gone in a minute; another one is there."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.told, self.reasons = cluster, False, []  # type: ignore[var-annotated]
        self.epochs: list[int] = []

    def reported(self, stage: Stage, reports: Any) -> None:
        if stage.kind != "retrain":
            return
        self.epochs += [report["epoch"] for report in reports]
        if self.told:
            return
        self.told = True
        workers = [node for node in self.cluster.list_all_nodes() if node is not self.cluster.head_node]
        self.cluster.add_node(**NODE)
        deadline = int((time.time() + 60) * 1000)
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        for node in workers:
            gcs = ray._private.worker.global_worker.gcs_client
            assert gcs.drain_node(node.node_id, reason, "taken away", deadline)[0]

    def started(self, stage: Stage) -> None: ...
    def finished(self, stage: Stage) -> None: ...
    def failed(self, stage: Stage, failure: Any) -> None: ...

    def retried(self, stage: Stage, reason: str) -> None:
        self.reasons.append(reason)

    def tick(self, states: Any) -> None: ...


def test_a_stage_leaves_a_node_that_will_be_taken_away(tmp_path: Path) -> None:
    tiny = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "targets": ["street"], "checkpoint_every": 3600}
    tiny["retrain"]["in_domain"]["epochs"] = 16
    calm = Workspace(tmp_path / "calm")
    expected = next(run_without_ray(tiny, calm).of_kind("retrain")).result
    planned, workspace = plan(Experiment.model_validate(tiny)), Workspace(tmp_path / "workspace")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        cluster.add_node(**NODE)
        ray.init(address=cluster.address, log_to_driver=False, runtime_env=SLOW_STEPS)
        listener = Drain(cluster)
        outcome = run_plan(planned, workspace, [listener])
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert set(outcome.states.values()) == {DONE}
    assert listener.reasons == ["asked to end: its state is saved"]
    assert listener.epochs == list(range(16)), "no epoch was run twice"
    found = next(planned.of_kind("retrain")).result
    assert expected is not None
    assert found is not None
    assert (workspace.files(found) / WEIGHTS).read_bytes() == (calm.files(expected) / WEIGHTS).read_bytes()
