"""Nodes and workers are lost while a stage runs; the grid ends with an undisturbed one's numbers, published once."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from support.barrier import Barrier
from support.disturbed import Disturber, attempts, history, long_document, saved_history, weights

from msinet.engine.state import load_state
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import RESULT, Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
SMALL = {"object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster(shared_barrier: Barrier) -> Iterator[Cluster]:
    """A head that runs no stage, and a node that does."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL})
    cluster.add_node(num_cpus=1, **SMALL)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def run(document: dict[str, Any], workspace: Workspace, watcher: Disturber) -> Plan:
    """Run a grid to its end, where everything is done and published once."""
    planned = plan(Experiment.model_validate(document))
    disturb, saved = watcher.disturb, []

    def look_then_disturb(pid: int) -> None:
        saved.extend(saved_history(workspace) if document["checkpoint_every"] == 0 else [])
        assert disturb is not None
        disturb(pid)

    watcher.disturb = look_then_disturb
    outcome = run_plan(planned, workspace, [watcher])
    assert set(outcome.states.values()) == {DONE}, watcher.failures
    (stage,) = planned.of_kind("retrain")
    assert workspace.root is not None
    assert len(list(workspace.root.glob(f"stages/retrain/*/{RESULT}"))) == 1
    assert len(attempts(workspace, stage)) == 2, "the disturbed one, and the one that continued"
    assert history(planned, workspace)[: len(saved)] == saved, "no epoch was run again"
    return planned


def test_a_lost_node_is_replaced_by_another(
    cluster: Cluster, barrier: Barrier, workspace: Workspace, undisturbed: bytes
) -> None:
    lost = []

    def lose_the_node(pid: int) -> None:
        (node,) = cluster.worker_nodes
        assert psutil.Process(pid).ppid() == node.all_processes["raylet"][0].process.pid
        cluster.add_node(num_cpus=1, **SMALL)
        cluster.remove_node(node, allow_graceful=False)
        with contextlib.suppress(ProcessLookupError):  # all processes of a lost node are gone
            os.kill(pid, signal.SIGKILL)
        lost.append(node)

    watcher = Disturber(barrier, lose_the_node)
    planned = run(long_document(), workspace, watcher)
    assert len(lost) == 1
    assert len(watcher.reasons) == 1
    assert "worker was lost" in watcher.reasons[0]
    assert weights(planned, workspace) == undisturbed


def test_a_killed_worker_continues_to_the_same_weights(
    cluster: Cluster, barrier: Barrier, workspace: Workspace, undisturbed: bytes
) -> None:
    watcher = Disturber(barrier, lambda pid: os.kill(pid, signal.SIGKILL))
    planned = run(long_document(), workspace, watcher)
    assert len(watcher.reasons) == 1
    assert "worker was lost" in watcher.reasons[0]
    assert weights(planned, workspace) == undisturbed


def test_a_worker_that_is_asked_to_end_saves_its_state(
    cluster: Cluster, barrier: Barrier, workspace: Workspace, undisturbed: bytes
) -> None:
    saved = []

    class Look(Disturber):
        def retried(self, stage: Any, reason: str) -> None:
            super().retried(stage, reason)
            for place in workspace.checkpoints(stage.kind, stage.key):
                with workspace.checkpoint(place) as path:
                    saved.append(load_state(path))

    watcher = Look(barrier, lambda pid: os.kill(pid, signal.SIGTERM))
    planned = run({**long_document(), "checkpoint_every": 3600}, workspace, watcher)
    assert watcher.reasons == ["the stage was asked to end, and its state is saved"]
    assert len(saved) == 1, "no state is an hour old: this is the one of the signal"
    assert weights(planned, workspace) == undisturbed
