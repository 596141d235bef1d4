"""A grid on a cluster that grows from no workers and shrinks back, by Ray's autoscaler and its provider of fakes."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from support.disturbed import Disturber, kill_family, wait_for
from support.grids import tiny_document

from pipeline.cluster.connect import connect
from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE
from pipeline.config.experiment import Experiment
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
HEAD = "ray.head.default"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(port: int) -> dict[str, Any]:
    """A head on which no stage fits, and up to two workers for one stage each, gone after six idle seconds."""
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{f"{name}_commands": [] for name in commands},
        "cluster_name": "fake",
        "max_workers": 2,
        "upscaling_speed": 100,
        "idle_timeout_minutes": 0.1,
        "cluster_synced_files": [],
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{port}",
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "use_node_id_as_ip": True,
        },
        "head_node_type": HEAD,
        "available_node_types": {
            HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": {"CPU": 1, "object_store_memory": 80_000_000},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        },
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of the head."""
    port, config = free_port(), tmp_path / "cluster.yaml"
    config.write_text(yaml.safe_dump(configuration(port)))
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:  # its path must be short
        options = {
            "autoscaling-config": config,
            "port": port,
            "node-ip-address": "127.0.0.1",
            "num-cpus": 0,
            "object-store-memory": 80_000_000,
            "include-dashboard": "false",
            "dashboard-agent-listen-port": 0,
            "temp-dir": folder,
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        head = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env={**os.environ, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert head.stdout is not None
            started = any("Ray runtime started" in line for line in head.stdout)
            assert started
            yield f"127.0.0.1:{port}"
        finally:
            ray.shutdown()
            kill_family(head.pid)
            head.wait(10)


def workers() -> int:
    """The nodes that are there beside the head."""
    return sum(node["Alive"] for node in ray.nodes()) - 1


def test_workers_come_for_a_grid_and_go(cluster: str, workspace: Workspace) -> None:
    document = tiny_document()
    planned = plan(Experiment.model_validate(document))
    planned.stages = {stage.name: stage for stage in planned.of_kind("prepare")}
    connect(cluster, planned.experiment.resources)
    assert workers() == 0
    seen: set[int] = set()

    class Count(Disturber):
        def tick(self, states: dict[str, str]) -> None:
            seen.add(workers())

    outcome = run_plan(planned, workspace, [Count()])
    assert set(outcome.states.values()) == {DONE}
    assert len(planned.stages) == 2
    assert 0 in seen
    assert max(seen) >= 1
    wait_for(lambda: workers() == 0, "end of idle workers", 60)
