"""The manifests for Kubernetes, the image and the demo for GPUs fit the page and each other."""

import re

import ray
import yaml
from support.clusters import CLUSTERS, LAUNCHERS, MANIFESTS, ROOT, load, section

from pipeline.config.load import load_experiment
from pipeline.config.parts import Resources

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
    assert re.search(r"^FROM python:3\.1[1-9]-slim-\w+$", dockerfile, re.MULTILINE)
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
