"""The manifests for Kubernetes, the image and the demo for GPUs fit the page and each other."""

import re
from typing import Any

import ray
import yaml
from support.clusters import CLUSTERS, LAUNCHERS, MANIFESTS, ROOT, load, section

from pipeline.config.load import load_experiment
from pipeline.config.resources import Resources

CONSTRAINTS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


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
    assert re.search(r"^ARG PYTHON_IMAGE\nFROM \$\{PYTHON_IMAGE\}$", dockerfile, re.MULTILINE), "by digest, no default"
    assert "--constraint constraints.txt" in dockerfile
    assert dockerfile.splitlines()[-1] == "USER msinet"
    for path in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / part).exists() for part in path.split()), path


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
        volume, *scratch = template["spec"]["volumes"]
        assert all(item["emptyDir"] == {} for item in scratch)
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


def pods() -> list[dict[str, Any]]:
    """Every pod that the manifests start."""
    (job,), base = load("kuberay.yaml"), load("kuberay_base.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    templates = [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]
    templates += [item["spec"]["template"] for item in base if item["kind"] == "Deployment"]
    return [template["spec"] for template in templates]


def test_every_container_is_confined() -> None:
    assert len(pods()) == 3
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert {"/tmp", "/home/msinet"} <= set(mounts.values()), "Ray and MLflow write there"
            assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}


def test_images_are_fixed_by_commands_of_the_page() -> None:
    """No file names an image that may be another one tomorrow: the page's commands fill in what they find."""
    for name in LAUNCHERS:
        text = (CLUSTERS / name).read_text(encoding="utf-8")
        assert "latest" not in text
        assert "/family/" not in text
    machines = load("aws.yaml")["metadata"]["node"], load("gcp.yaml")["metadata"]["node"]
    assert machines[0]["ImageId"] == "AMI_ID"
    assert machines[1]["disks"][0]["initializeParams"]["sourceImage"].endswith("/images/IMAGE_NAME")
    assert "s/AMI_ID/$AMI/" in section("AWS")
    assert "s/IMAGE_NAME/$IMAGE/" in section("Google Cloud")
    (image,) = {container["image"] for pod in pods() for container in pod["containers"]}
    assert f"s|{image}|$IMAGE|" in section("Kubernetes")
    assert "RepoDigests" in section("Kubernetes")


def test_the_gpu_demo_is_the_demo_and_fits_a_worker() -> None:
    demo, gpu = (yaml.safe_load(path.read_text()) for path in (ROOT / "configs/demo.yaml", CLUSTERS / "demo_gpu.yaml"))
    shares = gpu.pop("resources")
    assert {**gpu, "name": "demo"} == demo
    kinds = set(Resources.model_fields) - {"max_concurrent", "lease_seconds"}
    assert set(shares) == kinds, "every kind is named: `auto` finds no GPU at the start"
    assert {kind for kind, share in shares.items() if not share["gpus"]} == {"prepare", "proxy"}
    resources = load_experiment(CLUSTERS / "demo_gpu.yaml").resources
    (group,) = load("kuberay.yaml")[0]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    workers = [load(name)["available_node_types"]["gpu"]["resources"] for name in LAUNCHERS]
    for worker in [*workers, {"CPU": int(limits["cpu"]), "GPU": limits["nvidia.com/gpu"]}]:
        for kind in kinds:
            share = getattr(resources, kind)
            assert share.cpus <= worker["CPU"]
            assert share.gpus <= worker["GPU"]
