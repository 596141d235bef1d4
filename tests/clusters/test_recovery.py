"""Clusters that nobody watches start a lost run again, and the same command continues it."""

import shlex
import subprocess

import pytest
from support.clusters import MANAGED, README, ROOT, commands, load, section
from support.documents import parsed

from pipeline.config.load import load_experiment


def test_skypilot_starts_a_lost_run_again_with_the_same_command() -> None:
    task = load(MANAGED)
    resources, given = task["resources"], task["envs"]
    assert resources["use_spot"]
    assert resources["job_recovery"]["max_restarts_on_errors"] >= 1
    assert given["MSINET_WORKSPACE"] is None, "SkyPilot refuses a launch without a bucket"
    assert given["AWS_REGION"] == resources["infra"].partition("/")[2]
    assert given["RAY_AUTH_MODE"] == "token"
    (line,) = task["run"].splitlines()
    program, *words = shlex.split(line)
    assert program == "~/env/bin/msinet"
    values = parsed(["msinet", *(given["EXPERIMENT"] if word == "$EXPERIMENT" else word for word in words)])
    assert values["address"] is None, "a Ray of its own"
    assert given["RAY_ADDRESS"] == "local"
    resources = load_experiment(ROOT / values["experiment"]).resources
    assert resources.retrain.gpus == "auto", "the machine has its GPUs from the start"
    assert "--constraint constraints.txt '.[pipeline]'" in task["setup"]
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0


def test_the_page_launches_it_with_a_workspace_in_a_bucket() -> None:
    launch, *others = commands(section("Unattended, on spot machines"))
    assert launch[:4] == ["sky", "jobs", "launch", "-y"]
    assert launch[4:] == ["clusters/skypilot.yaml", "--env", "MSINET_WORKSPACE=s3://BUCKET/msinet"]
    assert [words[:3] for words in others] == [["sky", "jobs", "logs"], ["sky", "jobs", "cancel"]]


def test_skypilot_reads_its_file() -> None:
    schemas = pytest.importorskip("sky.utils.schemas", reason="SkyPilot is not installed")
    from sky.utils import common_utils  # type: ignore[import-not-found]

    task = load(MANAGED)
    common_utils.validate_schema(task, schemas.get_task_schema(), "task: ")
    common_utils.validate_schema(task["resources"], schemas.get_resources_schema(), "resources: ")


def test_kubernetes_starts_a_lost_run_again_in_a_new_cluster() -> None:
    (job,) = load("kuberay.yaml")
    assert job["spec"]["backoffLimit"] >= 3
    assert job["spec"]["shutdownAfterJobFinishes"]
    (volume, *_) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert "persistentVolumeClaim" in volume, "the workspace outlives the cluster"


def test_the_page_says_what_each_way_recovers_from() -> None:
    rows = [
        line.split("|")[1:-1] for line in section("What is lost, and who starts it again").splitlines() if "|" in line
    ]
    header, _, *body = [[cell.strip() for cell in row] for row in rows]
    assert header[1:] == ["a worker", "the driver", "the head", "a disk"]
    assert len(body) == 4
    assert all(len(row) == 5 and all(row) for row in body)
    assert "skypilot.yaml" in README
