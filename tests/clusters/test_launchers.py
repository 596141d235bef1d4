"""The files for `ray up` start the machines, with the versions and the workspace, that the page tells of."""

import json
import re

import pytest
from support.clusters import LAUNCHERS, ROOT, load, prepared, ray_starts


@pytest.mark.parametrize("name", LAUNCHERS)
def test_workers_come_from_zero_on_spot_and_the_head_stays(name: str) -> None:
    config = prepared(load(name))
    head, gpu = (config["available_node_types"][kind] for kind in ("head", "gpu"))
    assert config["head_node_type"] == "head"
    assert (gpu["min_workers"], gpu["max_workers"], head["max_workers"]) == (0, config["max_workers"], 0)
    assert gpu["resources"]["GPU"] == 1
    assert "GPU" not in head["resources"]
    assert f"--num-cpus={head['resources']['CPU']} " in ray_starts(config)["head"]
    spot = [
        machine.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        or machine.get("scheduling", {}).get("provisioningModel") == "SPOT"
        for machine in (head["node_config"], gpu["node_config"])
    ]
    assert spot == [False, True]
    assert "nvidia-smi" in config["worker_setup_commands"][-1], "a node without its GPU does not join"


def test_every_machine_carries_the_projects_tag() -> None:
    for node in load("aws.yaml")["available_node_types"].values():
        tagged = {spec["ResourceType"]: spec["Tags"] for spec in node["node_config"]["TagSpecifications"]}
        tags = [{"Key": "project", "Value": "msinet"}]
        assert tagged == {"instance": tags, "volume": tags}
    for node in load("gcp.yaml")["available_node_types"].values():
        assert node["node_config"]["labels"] == {"project": "msinet"}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_nodes_install_the_versions_of_constraints(name: str) -> None:
    config = prepared(load(name))
    everything = json.dumps(config)
    assert "ray-wheels" not in everything
    assert "anaconda" not in everything, "one of Ray's own commands is left"
    for kind in ("head", "worker"):
        installs = [line for line in config[f"{kind}_setup_commands"] if re.search(r"\bpip install\b", line)]
        assert any("'.[pipeline]'" in line for line in installs)
        for line in installs:
            assert re.search(r"--constraint \S*constraints\.txt", line), line
            assert not re.search(r"\bray\b", line), line
    for remote, local in config["file_mounts"].items():
        assert remote.startswith("/home/ubuntu/")
        assert local == "~/.ray/auth_token" or (ROOT / local).exists(), local
    assert {"pyproject.toml", "constraints.txt", "msinet", "pipeline"} <= set(config["file_mounts"].values())


def test_nodes_know_the_region_of_their_bucket() -> None:
    document = load("aws.yaml")
    for line in ray_starts(document).values():
        assert re.search(rf"\bAWS_REGION={document['provider']['region']}\b.*\bray start\b", line), line


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_workspace_is_on_the_file_system_of_all_nodes(name: str) -> None:
    document = load(name)
    (mount,) = [line for line in document["setup_commands"] if "sudo mount" in line]
    assert "-t nfs" in mount
    assert "/mnt/msinet &&" in mount
    assert "MSINET_WORKSPACE=/mnt/msinet/" in ray_starts(document)["head"]
    if name == "aws.yaml":
        assert f".efs.{document['provider']['region']}.amazonaws.com:/ " in mount
