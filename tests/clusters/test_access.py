"""Who may reach a cluster: Ray asks for its token, servers stay on loopback, and only SSH is open."""

import json
import re

import pytest
from ray.autoscaler._private.aws import config as aws_config
from support.clusters import LAUNCHERS, README, commands, load, prepared, ray_starts, section


def test_ray_asks_for_its_token_wherever_it_starts() -> None:
    for name in LAUNCHERS:
        document = load(name)
        for line in ray_starts(document).values():
            assert re.search(r"\bRAY_AUTH_MODE=token\b.*\bray start\b", line), line
        assert "~/.ray/auth_token" in document["file_mounts"].values()
    assert ["export", "RAY_AUTH_MODE=token"] in commands(README)
    (job,) = load("kuberay.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    for template in (cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]):
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in template["spec"]["containers"][0]["env"]


@pytest.mark.parametrize("name", LAUNCHERS)
def test_servers_stay_on_loopback(name: str) -> None:
    config = prepared(load(name))
    assert "0.0.0.0" not in json.dumps(config)
    assert "--dashboard-host=127.0.0.1" in ray_starts(config)["head"]
    (server,) = [line for line in config["head_setup_commands"] if "mlflow server" in line]
    assert "--host 127.0.0.1 --port 5000" in server
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:5000" in ray_starts(config)["head"]


def test_nothing_but_ssh_is_open() -> None:
    provider = load("aws.yaml")["provider"]
    rules = aws_config._create_default_inbound_rules({"sg-1"}, provider["security_group"].get("IpPermissions"))
    assert [rule["FromPort"] for rule in rules if "IpRanges" in rule] == [22]
    groups = [words for words in commands(section("AWS")) if "authorize-security-group-ingress" in words]
    assert [words[words.index("--protocol") :] for words in groups] == [
        ["--protocol", "tcp", "--port", "22", "--cidr", "YOUR.ADDRESS/32"],
        ["--protocol", "all", "--source-group", "$GROUP"],
    ]
    firewall = [words[-2:] for words in commands(section("Google Cloud")) if "firewall-rules" in words]
    assert firewall == [
        ["--allow=tcp:22", "--source-ranges=YOUR.ADDRESS/32"],
        ["--allow=tcp,udp,icmp", "--source-ranges=10.10.0.0/20"],
    ]
    services = [document for document in load("kuberay_base.yaml") if document["kind"] == "Service"]
    assert [service["spec"]["type"] for service in services] == ["ClusterIP"]
    assert load("kuberay.yaml")[0]["spec"]["rayClusterSpec"]["headGroupSpec"]["serviceType"] == "ClusterIP"
