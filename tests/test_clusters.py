"""The files of clusters/, checked without a cloud and without starting Ray.

A wrong key is found by Ray's own schema (the launcher's files), by EC2's request shape (machines on AWS) and by tables
of the keys that are used (machines on Google Cloud, Kubernetes): what is not in a table must be looked up and added.
"""

import copy
import json
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.client
import botocore.exceptions
import botocore.session
import botocore.validate
import jsonschema  # type: ignore[import-untyped]
import pytest
import ray
import yaml
from ray.autoscaler._private.aws import config as aws_config
from ray.autoscaler._private.aws import node_provider as aws_nodes
from ray.autoscaler._private.util import prepare_config, validate_config
from support.s3 import s3_address, s3_client, s3_server, s3_service  # noqa: F401

from pipeline.config.load import load_experiment
from pipeline.config.parts import Resources
from pipeline.storage.s3 import S3Store

ROOT = Path(__file__).parents[1]
CLUSTERS = ROOT / "clusters"
README = (CLUSTERS / "README.md").read_text(encoding="utf-8")
CONSTRAINTS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
ROLE_OF_WORKERS = "# IamInstanceProfile: {Name: msinet-worker}"  # in aws.yaml, for a workspace in a bucket
LAUNCHERS = ["aws.yaml", "gcp.yaml"]
MANIFESTS = ["kuberay.yaml", "kuberay_base.yaml"]
WORKER = [0, "spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec"]  # its pod in kuberay.yaml

# A table is {key: table}, [table of every item], or the type of a value; `dict` lets any keys through.
_RESOURCES = {"requests": dict, "limits": dict}
_CONTAINER = {
    "name": str,
    "image": str,
    "command": [str],
    "args": [str],
    "env": [{"name": str, "value": str}],
    "ports": [{"containerPort": int, "name": str}],
    "readinessProbe": {"httpGet": {"path": str, "port": str}},
    "resources": _RESOURCES,
    "securityContext": {"allowPrivilegeEscalation": bool, "capabilities": {"drop": [str]}},
    "volumeMounts": [{"name": str, "mountPath": str}],
}
_POD_TEMPLATE = {
    "metadata": {"labels": dict},
    "spec": {
        "automountServiceAccountToken": bool,
        "enableServiceLinks": bool,
        "nodeSelector": dict,
        "securityContext": {"runAsNonRoot": bool, "runAsUser": int, "runAsGroup": int, "fsGroup": int},
        "tolerations": [{"key": str, "operator": str, "effect": str}],
        "containers": [_CONTAINER],
        "volumes": [{"name": str, "persistentVolumeClaim": {"claimName": str}}],
    },
}
_METADATA = {"name": str, "labels": dict}
KUBERNETES: dict[str, Any] = {
    "RayJob": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {
            "entrypoint": str,
            "submissionMode": str,
            "shutdownAfterJobFinishes": bool,
            "ttlSecondsAfterFinished": int,
            "backoffLimit": int,
            "rayClusterSpec": {
                "rayVersion": str,
                "authOptions": {"mode": str},
                "enableInTreeAutoscaling": bool,
                "autoscalerOptions": {"version": str, "idleTimeoutSeconds": int, "resources": _RESOURCES},
                "headGroupSpec": {"serviceType": str, "rayStartParams": dict, "template": _POD_TEMPLATE},
                "workerGroupSpecs": [
                    {
                        "groupName": str,
                        "replicas": int,
                        "minReplicas": int,
                        "maxReplicas": int,
                        "rayStartParams": dict,
                        "template": _POD_TEMPLATE,
                    }
                ],
            },
        },
    },
    "PersistentVolumeClaim": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {"storageClassName": str, "accessModes": [str], "resources": {"requests": {"storage": str}}},
    },
    "Deployment": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {
            "replicas": int,
            "strategy": {"type": str},
            "selector": {"matchLabels": dict},
            "template": _POD_TEMPLATE,
        },
    },
    "Service": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {"type": str, "selector": dict, "ports": [{"name": str, "port": int, "targetPort": str}]},
    },
    "NetworkPolicy": {
        "apiVersion": str,
        "kind": str,
        "metadata": _METADATA,
        "spec": {
            "podSelector": {"matchLabels": dict},
            "policyTypes": [str],
            "ingress": [
                {"from": [{"podSelector": {"matchLabels": dict}}], "ports": [{"protocol": str, "port": int}]},
            ],
        },
    },
}
API_VERSIONS = {
    "RayJob": "ray.io/v1",
    "PersistentVolumeClaim": "v1",
    "Deployment": "apps/v1",
    "Service": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}
GOOGLE_MACHINE = {
    "machineType": str,
    "disks": [
        {
            "boot": bool,
            "autoDelete": bool,
            "type": str,
            "initializeParams": {"diskSizeGb": int, "diskType": str, "sourceImage": str},
        }
    ],
    "networkInterfaces": [{"subnetwork": str, "accessConfigs": [{"name": str, "type": str}]}],
    "metadata": {"items": [{"key": str, "value": str}]},
    "labels": dict,
    "serviceAccounts": [{"email": str, "scopes": [str]}],
    "scheduling": {
        "provisioningModel": str,
        "instanceTerminationAction": str,
        "onHostMaintenance": str,
        "automaticRestart": bool,
    },
}


def strangers(value: Any, table: Any, path: str = "") -> Iterator[str]:
    """Dotted names of what a table does not know, or knows with another type."""
    if isinstance(table, dict) and isinstance(value, dict):
        for key, item in value.items():
            if key in table:
                yield from strangers(item, table[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is unknown"
    elif isinstance(table, list) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from strangers(item, table[0], f"{path}[{index}]")
    elif type(value) is not table:
        yield f"{path} is a {type(value).__name__}"


def load(name: str) -> Any:
    """A launcher's file, or the list of a manifest's documents."""
    documents = list(yaml.safe_load_all((CLUSTERS / name).read_text(encoding="utf-8")))
    return documents if name in MANIFESTS else documents[0]


def prepared(document: dict[str, Any]) -> dict[str, Any]:
    """A launcher's file with Ray's defaults, as `ray up` completes and checks it."""
    config: dict[str, Any] = prepare_config(copy.deepcopy(document))
    validate_config(config)
    return config


def problems(name: str, content: Any) -> list[str]:
    """Everything that is wrong with the keys of a file."""
    if name in MANIFESTS:
        return [problem for document in content for problem in manifest_problems(document)]
    try:
        config = prepared(content)
    except (jsonschema.ValidationError, ValueError) as error:
        return [str(error)]
    machines = [node["node_config"] for node in config["available_node_types"].values()]
    check = amazon_problems if name == "aws.yaml" else google_problems
    return [problem for machine in machines for problem in check(machine)]


def manifest_problems(document: Any) -> list[str]:
    kind = document.get("kind")
    if API_VERSIONS.get(kind) != document.get("apiVersion"):
        return [f"{kind} of {document.get('apiVersion')}"]
    return list(strangers(document, KUBERNETES[kind]))


def amazon_problems(machine: dict[str, Any]) -> list[str]:
    """What EC2's RunInstances does not take."""
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    report = botocore.validate.ParamValidator().validate({**machine, "MinCount": 1, "MaxCount": 1}, shape)
    return report.generate_report().splitlines()


def google_problems(machine: dict[str, Any]) -> list[str]:
    return list(strangers(machine, GOOGLE_MACHINE))


def section(title: str) -> str:
    """The text under one heading of the README."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def commands(text: str) -> list[list[str]]:
    """The words of every line in the text's shell blocks."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", "")
    return [words for line in blocks.splitlines() if (words := shlex.split(line, comments=True))]


def ray_starts(document: dict[str, Any]) -> dict[str, str]:
    """The line that starts Ray, by the kind of node."""
    starts = {}
    for kind in ("head", "worker"):
        (starts[kind],) = [line for line in document[f"{kind}_start_ray_commands"] if "ray start" in line]
    return starts


@pytest.mark.parametrize("name", LAUNCHERS + MANIFESTS)
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


def test_one_ray_everywhere() -> None:
    version = CONSTRAINTS["ray"]
    assert ray.__version__ == version, "these checks are of that version's launcher"
    (job,) = load("kuberay.yaml")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    tag = f"msinet:{project[1]}-ray{version}"
    texts = [(CLUSTERS / name).read_text(encoding="utf-8") for name in (*MANIFESTS, "Dockerfile", "README.md")]
    for text in texts:
        assert set(re.findall(r"msinet:[\w.-]+", text)) == {tag}
    dockerfile = texts[2]
    assert re.search(r"^FROM python:3\.1[1-9]-slim-\w+$", dockerfile, re.MULTILINE)
    assert "--constraint constraints.txt" in dockerfile
    assert dockerfile.splitlines()[-1] == "USER msinet"
    for path in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / part).exists() for part in path.split()), path


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


def test_nodes_know_the_region_of_their_bucket() -> None:
    document = load("aws.yaml")
    for line in ray_starts(document).values():
        assert re.search(rf"\bAWS_REGION={document['provider']['region']}\b.*\bray start\b", line), line


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


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_workspace_is_on_the_file_system_of_all_nodes(name: str) -> None:
    document = load(name)
    (mount,) = [line for line in document["setup_commands"] if "sudo mount" in line]
    assert "-t nfs" in mount
    assert "/mnt/msinet &&" in mount
    assert "MSINET_WORKSPACE=/mnt/msinet/" in ray_starts(document)["head"]
    if name == "aws.yaml":
        assert f".efs.{document['provider']['region']}.amazonaws.com:/ " in mount


def test_a_run_on_kubernetes_is_what_the_page_says() -> None:
    (job,) = load("kuberay.yaml")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert f"`{spec['entrypoint']}`" in section("Kubernetes")
    for path in re.findall(r"/opt/msinet/(\S+)", spec["entrypoint"]):
        assert (ROOT / path).is_file()
    assert spec["shutdownAfterJobFinishes"]
    assert cluster["enableInTreeAutoscaling"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"]) == (0, 0)
    claims = {item["metadata"]["name"]: item["spec"] for item in load("kuberay_base.yaml") if "Volume" in item["kind"]}
    for template, gpus in ((cluster["headGroupSpec"]["template"], None), (group["template"], 1)):
        (container,) = template["spec"]["containers"]
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"].get("nvidia.com/gpu") == gpus
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        (volume,) = template["spec"]["volumes"]
        assert claims[volume["persistentVolumeClaim"]["claimName"]]["accessModes"] == ["ReadWriteMany"]
    environment = {
        item["name"]: item["value"] for item in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert environment["MSINET_WORKSPACE"] == "/workspace"
    services = {
        item["metadata"]["name"]: item["spec"]["ports"]
        for item in load("kuberay_base.yaml")
        if item["kind"] == "Service"
    }
    host, port = environment["MLFLOW_TRACKING_URI"].removeprefix("http://").split(":")
    assert [item["port"] for item in services[host]] == [int(port)]
    (server,) = [item for item in load("kuberay_base.yaml") if item["kind"] == "Deployment"]
    allowed = server["spec"]["template"]["spec"]["containers"][0]["args"][0]
    assert allowed.startswith(f"--allowed-hosts={host}:{port},")


def test_the_gpu_demo_is_the_demo_and_fits_a_worker() -> None:
    demo, gpu = (yaml.safe_load(path.read_text()) for path in (ROOT / "configs/demo.yaml", CLUSTERS / "demo_gpu.yaml"))
    shares = gpu.pop("resources")
    assert {**gpu, "name": "demo"} == demo
    kinds = set(Resources.model_fields) - {"max_concurrent", "lease_seconds"}
    assert set(shares) == kinds, "every kind is named: `auto` finds no GPU at the start"
    assert {kind for kind, share in shares.items() if not share["gpus"]} == {"prepare"}
    resources = load_experiment(CLUSTERS / "demo_gpu.yaml").resources
    (group,) = load("kuberay.yaml")[0]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    workers = [load(name)["available_node_types"]["gpu"]["resources"] for name in LAUNCHERS]
    for worker in [*workers, {"CPU": int(limits["cpu"]), "GPU": limits["nvidia.com/gpu"]}]:
        for kind in kinds:
            share = getattr(resources, kind)
            assert share.cpus <= worker["CPU"]
            assert share.gpus <= worker["GPU"]


def test_the_page_names_each_file_with_its_three_commands() -> None:
    for path in sorted(CLUSTERS.rglob("*.*")):
        assert path.name in README or path.name == "README.md", path
    submit = "ray job submit --address http://127.0.0.1:8265 --working-dir . -- python pipeline/run_grid.py"
    gpu_demo = f"{submit} clusters/demo_gpu.yaml"
    expected = {
        "One machine with several GPUs": [
            "ray start --head --dashboard-host=127.0.0.1",
            f"{submit} configs/demo.yaml",
            "ray stop",
        ],
        "AWS": ["ray up -y clusters/aws.yaml", gpu_demo, "ray down -y clusters/aws.yaml"],
        "Google Cloud": ["ray up -y clusters/gcp.yaml", gpu_demo, "ray down -y clusters/gcp.yaml"],
        "Kubernetes": [
            "kubectl apply -f clusters/kuberay_base.yaml",
            "kubectl apply -f clusters/kuberay.yaml",
            "kubectl delete -f clusters/kuberay.yaml",
        ],
    }
    for title, three in expected.items():
        given = [" ".join(words) for words in commands(section(title))]
        assert [line for line in given if line in three] == three
        assert [f"# {what}" in section(title) for what in ("launch", "submit", "tear down")] == [True] * 3
    for path in re.findall(r"(?:clusters|configs|pipeline)/[\w./-]*\w", README):
        assert (ROOT / path).exists(), path


def test_rays_commands_have_the_options_that_are_used() -> None:
    from ray.scripts.scripts import cli

    lines = [words for words in commands(README) if words[0] == "ray"]
    for name in LAUNCHERS:
        for start in ray_starts(load(name)).values():
            lines.append(shlex.split(start[start.index("ray start") :]))
    assert len(lines) >= 14
    for _, *words in lines:
        command: Any = cli
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, [word for word in words if word not in (">", "/dev/null")])


def test_shell_commands_parse() -> None:
    scripts = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for name in LAUNCHERS:
        document = load(name)
        scripts += [line for key, lines in document.items() if key.endswith("commands") for line in lines]
    assert len(scripts) > 30
    for script in scripts:
        parsed = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True, check=False)
        assert parsed.returncode == 0, parsed.stderr


def test_mlflows_server_has_the_options_that_are_used() -> None:
    from mlflow.cli import cli

    lines = [
        line[line.index("mlflow server") :].rstrip("; }")
        for name in LAUNCHERS
        for line in load(name)["head_setup_commands"]
        if "mlflow server" in line
    ]
    (server,) = [item for item in load("kuberay_base.yaml") if item["kind"] == "Deployment"]
    container = server["spec"]["template"]["spec"]["containers"][0]
    lines.append(shlex.join(container["command"] + container["args"]))
    for line in lines:
        arguments = cli.commands["server"].make_context("server", shlex.split(line)[2:]).params
        assert arguments["port"] == 5000
        assert arguments["workers"] == "1"
        assert "localhost:5000" in arguments["allowed_hosts"].split(",")
        assert arguments["backend_store_uri"].startswith("sqlite:////")


def test_the_shares_that_the_page_shows_are_read() -> None:
    (snippet,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    shares = Resources.model_validate(yaml.safe_load(textwrap.dedent("  " + snippet.strip()))["resources"])
    assert shares.search.gpus == shares.retrain.gpus == shares.evaluate.gpus == 1


def policy(name: str) -> list[dict[str, Any]]:
    """The statements of an IAM policy."""
    document = json.loads((CLUSTERS / "iam" / name).read_text())
    assert document["Version"] == "2012-10-17"
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


def granted(statements: list[dict[str, Any]]) -> set[str]:
    return {action for statement in statements for action in statement["Action"]}


def with_role_of_workers() -> Any:
    """`aws.yaml` as the page changes it for a workspace in a bucket."""
    text = (CLUSTERS / "aws.yaml").read_text(encoding="utf-8")
    assert text.count(ROLE_OF_WORKERS) == 1
    return yaml.safe_load(text.replace(ROLE_OF_WORKERS, ROLE_OF_WORKERS.removeprefix("# ")))


def permission(operation: str) -> str:
    """What S3 asks for an operation, by its service authorization reference."""
    parts = {"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"}
    asked = {"ListObjectsV2": "ListBucket", "HeadObject": "GetObject", **dict.fromkeys(parts, "PutObject")}
    return f"s3:{asked.get(operation, operation)}"


@pytest.mark.parametrize("name", ["aws-launcher.json", "aws-head.json"])
def test_amazons_policies_are_narrow(name: str) -> None:
    config = load("aws.yaml")
    region, cluster = config["provider"]["region"], config["cluster_name"]
    launches = "gpu" if name == "aws-head.json" else "head"
    machine = config["available_node_types"][launches]["node_config"]
    for statement in policy(name):
        assert statement["Effect"] == "Allow"
        assert isinstance(statement["Action"], list)
        assert not any("*" in action for action in statement["Action"])
        condition = statement.get("Condition", {}).get("StringEquals", {})
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in statement["Action"])
            assert condition == {"aws:RequestedRegion": region}
            continue
        assert all(re.match(rf"arn:aws:(ec2|ssm):{region}:|arn:aws:iam::", arn) for arn in statement["Resource"])
        instances = any(arn.endswith(":instance/*") for arn in statement["Resource"])
        if "ec2:RunInstances" in statement["Action"] and instances:
            expected = {"aws:RequestTag/ray-cluster-name": cluster, "ec2:InstanceType": machine["InstanceType"]}
            assert condition == expected
        elif "ec2:TerminateInstances" in statement["Action"]:
            assert condition == {"aws:ResourceTag/ray-cluster-name": cluster}
        elif "ec2:CreateTags" in statement["Action"]:
            assert condition == {"ec2:CreateAction": "RunInstances"}
        elif "iam:PassRole" in statement["Action"]:
            role = with_role_of_workers()["available_node_types"][launches]["node_config"]["IamInstanceProfile"]["Name"]
            assert statement["Resource"] == [f"arn:aws:iam::*:role/{role}"]
            assert condition == {"iam:PassedToService": "ec2.amazonaws.com"}
        elif "ssm:GetParameters" in statement["Action"]:
            parameter = machine["ImageId"].removeprefix("resolve:ssm:")
            (arn,) = statement["Resource"]
            assert f"arn:aws:ssm:{region}::parameter{parameter}".startswith(arn.removesuffix("*"))
    (trust,) = policy("aws-head-trust.json")
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert trust["Action"] == "sts:AssumeRole"


def test_a_workspace_in_a_bucket_may_do_what_it_does_and_no_more(
    s3_address: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listing, objects = policy("aws-workspace.json")
    assert [statement["Effect"] for statement in (listing, objects)] == ["Allow"] * 2
    bucket, prefix = "my-bucket", "msinet"
    assert listing["Resource"] == [f"arn:aws:s3:::{bucket}"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": [f"{prefix}/*"]}}
    assert objects["Resource"] == [f"arn:aws:s3:::{bucket}/{prefix}/*"]
    assert f"s3://BUCKET/{prefix}" in section("AWS")
    assert ["sed", "-i", f"s/{bucket}/BUCKET/", "clusters/iam/aws-workspace.json"] in commands(section("AWS"))

    calls: list[tuple[str, dict[str, Any]]] = []
    whole = botocore.client.BaseClient._make_api_call

    def spy(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        calls.append((operation, parameters))
        if parameters.get("PartNumber") == 2:
            raise botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, operation)
        return whole(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", spy)
    store = S3Store(*s3_address.removeprefix("s3://").split("/", 1))
    assert store.create("stages/result.json", b"{}")
    store.replace("stages/leases", b"{}")
    assert store.read("stages/absent") is None
    large = tmp_path / "large"
    large.write_bytes(bytes(2**24))  # two parts
    with pytest.raises(OSError, match="access was denied"):
        store.upload(large, "stages/large")
    large.write_bytes(b"small")
    store.upload(large, "stages/small")
    store.download("stages/small", tmp_path / "small")
    assert len(store.entries("stages")) == 3
    assert len(store.entries("")) == 3
    store.delete("stages/small")

    asked = {permission(operation) for operation, _ in calls}
    assert asked == granted([listing, objects])
    for operation, parameters in calls:
        assert parameters.get("Prefix", parameters.get("Key", "")).startswith("some/prefix/"), (operation, parameters)
        assert (permission(operation) in listing["Action"]) == ("Prefix" in parameters)


def test_head_and_workers_get_their_roles_on_a_bucket() -> None:
    assert not problems("aws.yaml", with_role_of_workers())
    lines = commands(section("AWS"))
    assert ["sed", "-i", "s/# IamInstanceProfile/IamInstanceProfile/", "clusters/aws.yaml"] in lines
    given = "for ROLE in msinet-head msinet-worker; do\n  aws iam put-role-policy --role-name $ROLE "
    assert given in section("AWS")
    for kind, node in with_role_of_workers()["available_node_types"].items():
        role = node["node_config"]["IamInstanceProfile"]["Name"]
        assert role == {"head": "msinet-head", "gpu": "msinet-worker"}[kind]
        profile = ["--instance-profile-name", role]
        assert ["aws", "iam", "create-instance-profile", *profile] in lines
        assert ["aws", "iam", "add-role-to-instance-profile", *profile, "--role-name", role] in lines


def test_googles_roles_are_lists_of_single_rights() -> None:
    launcher, head = (
        yaml.safe_load((CLUSTERS / "iam" / f"gcp-{who}.yaml").read_text())["includedPermissions"]
        for who in ("launcher", "head")
    )
    for permissions in (launcher, head):
        assert permissions == sorted(set(permissions))
        assert all(re.fullmatch(r"[a-z]+(\.[a-zA-Z]+){2}", permission) for permission in permissions)
    assert set(head) < set(launcher)
    assert not any(permission.startswith(("iam", "resourcemanager", "storage")) for permission in head)
    workers = load("gcp.yaml")["available_node_types"]["gpu"]["node_config"]
    assert "serviceAccounts" not in workers


class Amazon:
    """Answers what Ray asks EC2, and remembers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, client: Any, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert client.meta.service_model.service_name == "ec2", operation
        self.calls.append((operation, parameters))
        answer: dict[str, Any] = getattr(self, operation, dict)()
        return answer

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    def DescribeInstanceTypes(self) -> dict[str, Any]:
        sizes = {"VCpuInfo": {"DefaultVCpus": 4}, "MemoryInfo": {"SizeInMiB": 16384}}
        return {"InstanceTypes": [{"InstanceType": name, **sizes} for name in ("m6i.xlarge", "g5.xlarge")]}

    def DescribeKeyPairs(self) -> dict[str, Any]:
        return {"KeyPairs": []}

    def CreateKeyPair(self) -> dict[str, Any]:
        return {"KeyName": "msinet", "KeyMaterial": "a private key"}

    def DescribeSubnets(self) -> dict[str, Any]:
        where = {"AvailabilityZone": "us-west-2a", "MapPublicIpOnLaunch": True, "State": "available"}
        return {"Subnets": [{"SubnetId": "subnet-1", "VpcId": "vpc-1", **where}]}

    def DescribeSecurityGroups(self) -> dict[str, Any]:
        ssh = {"FromPort": 22, "ToPort": 22, "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}
        return {
            "SecurityGroups": [
                {"GroupId": "sg-1", "GroupName": "msinet", "VpcId": "vpc-1", "IpPermissions": [ssh]},
                {"GroupId": "sg-2", "GroupName": "default", "VpcId": "vpc-1", "IpPermissions": []},
            ]
        }

    def RunInstances(self) -> dict[str, Any]:
        return {"Instances": [self._instance()]}

    def DescribeInstances(self) -> dict[str, Any]:
        return {"Reservations": [{"Instances": [self._instance()]}]}

    @staticmethod
    def _instance() -> dict[str, Any]:
        return {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": []}


@pytest.mark.parametrize("bucket", [False, True])
def test_what_ray_asks_of_aws_is_what_the_policies_grant(
    bucket: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    amazon = Amazon()
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", lambda *arguments: amazon(*arguments))
    monkeypatch.setattr(aws_nodes, "TAG_BATCH_DELAY", 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    provider_class = aws_nodes.AWSNodeProvider

    def one_life(kind: str) -> dict[str, Any]:
        """Launch, see, tag and end a node; what EC2 was asked to start."""
        node = config["available_node_types"][kind]
        tags = {"ray-node-type": "head" if kind == "head" else "worker", "ray-node-name": kind}
        provider.create_node(node["node_config"], {**tags, "ray-launch-config": "h", "ray-user-node-type": kind}, 1)
        provider.non_terminated_nodes({})
        provider.set_node_tags("i-1", {"ray-node-status": "up-to-date"})
        provider.terminate_nodes(["i-1"])
        (request,) = [parameters for operation, parameters in amazon.calls if operation == "RunInstances"]
        return request

    config = provider_class.fillout_available_node_types_resources(
        prepared(with_role_of_workers() if bucket else load("aws.yaml"))
    )
    config = provider_class.bootstrap_config(config)
    provider = provider_class(config["provider"], config["cluster_name"])
    assert [path.name for path in (tmp_path / ".ssh").iterdir()] == ["msinet.pem"]
    head = one_life("head")
    asked = {f"ec2:{operation}" for operation, _ in amazon.take()}
    assert asked | {"iam:PassRole", "ssm:GetParameters"} == granted(policy("aws-launcher.json"))

    worker = one_life("gpu")
    asked = {f"ec2:{operation}" for operation, _ in amazon.take()}
    assert asked | {"iam:PassRole", "ssm:GetParameters"} == granted(policy("aws-head.json"))
    assert head["IamInstanceProfile"] == {"Name": "msinet-head"}
    assert worker.get("IamInstanceProfile") == ({"Name": "msinet-worker"} if bucket else None)
    for request in (head, worker):
        assert request["SecurityGroupIds"] == ["sg-1"]
        assert not amazon_problems(request)
        (instance,) = [spec["Tags"] for spec in request["TagSpecifications"] if spec["ResourceType"] == "instance"]
        assert {"Key": "ray-cluster-name", "Value": "msinet"} in instance
        assert {"Key": "project", "Value": "msinet"} in instance
