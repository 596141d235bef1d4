"""No file of `clusters/` has a key that its reader does not know, and a wrong key is found."""

from typing import Any

import pytest
from support.cluster_keys import problems
from support.clusters import LAUNCHERS, MANAGED, MANIFESTS, load

WORKER = [
    0,
    "spec",
    "rayClusterSpec",
    "workerGroupSpecs",
    0,
    "template",
    "spec",
]  # its pod in kuberay.yaml


@pytest.mark.parametrize("name", [*LAUNCHERS, *MANIFESTS, MANAGED])
def test_every_key_is_known(name: str) -> None:
    assert problems(name, load(name)) == []


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("aws.yaml", ["max_worker"], 3),
        ("aws.yaml", ["auth", "ssh_users"], "ubuntu"),
        ("aws.yaml", ["available_node_types", "gpu", "spot"], True),
        ("aws.yaml", ["available_node_types", "gpu", "min_workers"], 9),
        ("aws.yaml", ["available_node_types", "gpu", "node_config", "InstanceTyp"], "g5.xlarge"),
        (
            "aws.yaml",
            ["available_node_types", "gpu", "node_config", "InstanceMarketOptions", "SpotOptions", "Max"],
            "1",
        ),
        ("aws.yaml", ["available_node_types", "head", "node_config", "IamInstanceProfile"], "msinet-head"),
        ("gcp.yaml", ["setup_command"], []),
        ("gcp.yaml", ["head_node_type"], "heads"),
        ("gcp.yaml", ["available_node_types", "gpu", "node_config", "preemptible"], True),
        ("gcp.yaml", ["available_node_types", "gpu", "node_config", "scheduling", "automaticRestart"], "no"),
        ("kuberay.yaml", [0, "apiVersion"], "ray.io/v1alpha1"),
        ("kuberay.yaml", [0, "spec", "entrypoints"], "python"),
        ("kuberay.yaml", [0, "spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "hostNetwork"], True),
        ("kuberay.yaml", [*WORKER, "containers", 0, "securityContext", "privileged"], True),
        ("kuberay.yaml", [*WORKER, "volumes", 0, "hostPath"], {"path": "/"}),
        ("kuberay_base.yaml", [2, "spec", "template", "spec", "hostNetwork"], True),
        ("kuberay_base.yaml", [3, "spec", "loadBalancerIP"], "10.0.0.1"),
        ("kuberay.yaml", [0, "spec", "backOffLimit"], 3),
        ("skypilot.yaml", ["resources", "spot"], True),
        ("skypilot.yaml", ["resources", "job_recovery", "max_restarts"], 3),
    ],
)
def test_a_wrong_key_is_found(name: str, path: list[Any], value: Any) -> None:
    content = load(name)
    *parents, last = path
    inner = content
    for part in parents:
        inner = inner[part]
    inner[last] = value
    assert problems(name, content)
