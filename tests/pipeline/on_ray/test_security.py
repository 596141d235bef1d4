"""What no secret may get into, and what may listen: the real command line on a workspace on S3."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support.barrier import Barrier
from support.command_line import environment, kill, members, start
from support.grids import tiny_document
from support.s3 import ACCESS_KEY, SECRET_KEY, SECRETS, SESSION_TOKEN, S3Service

from pipeline.storage.workspace import CHECKPOINT, RESULT

pytestmark = pytest.mark.timeout(900)  # the first test waits for all commands; a loaded machine takes long

PASSWORD = "planted-password"
USER = f"planted-user:{PASSWORD}"


@dataclass
class Ran:
    """What the command line did, one command after another.

    Attributes:
        folder: Home, working directory and everything else that is not on S3.
        ray: Where Ray keeps its logs.
        bucket, prefix: The workspace.
        outputs: What was printed, by command.
        codes: Exit codes, by command.
        listening: Addresses at which a process of the first run, or of the outer loop, listened.
        first_rank: Addresses at which the first of the search's two workers listened.
        friend, stranger: What its Ray told a process with its token, and one without.
    """

    folder: Path
    ray: Path
    bucket: str
    prefix: str = "some/prefix"
    outputs: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    listening: set[str] = field(default_factory=set)
    first_rank: set[str] = field(default_factory=set)
    friend: str = ""
    stranger: str = ""

    @property
    def address(self) -> str:
        """The workspace's."""
        return f"s3://{self.bucket}/{self.prefix}"


def watch(process: subprocess.Popen[bytes], ran: Ran, env: dict[str, str], barrier: Barrier) -> None:
    """Until a process has ended, note where it and what it started listen; ask its Ray with and without its token.

    The search waits at the barrier until its workers were looked at.
    """
    while process.poll() is None:
        waiting = barrier.waiting("search")
        for member in members(process.pid):
            try:
                command, connections = member.cmdline(), member.net_connections("tcp")
            except psutil.Error:
                continue  # it has just ended
            addresses = {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
            ran.listening |= addresses
            if member.pid in waiting:
                ran.first_rank |= addresses
            gcs = next((part for part in command if part.startswith("--gcs-address=")), None)
            if gcs and not ran.stranger and any(part.startswith("--raylet-name") for part in command):
                address = gcs.partition("=")[2]
                ran.friend, ran.stranger = (ask(address, env, mode) for mode in ("token", "disabled"))
        if waiting:
            barrier.open("search")
        time.sleep(0.2)


def ask(address: str, env: dict[str, str], mode: str) -> str:
    """What Ray's own store answers to a process with or without its token."""
    code = f"from ray._raylet import GcsClient; print(GcsClient(address={address!r}).internal_kv_keys(b'', None))"
    command = [sys.executable, "-c", code]
    env = {**env, "RAY_AUTH_MODE": mode}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def ran(s3_server: tuple[S3Service, str], s3_client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Tiny grids and an outer loop on S3, from nothing to the report, with secrets in every place that takes one."""
    service, endpoint = s3_server
    service.fault = lambda environ: None
    logs = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short, since Ray's sockets lie below
    ran = Ran(tmp_path_factory.mktemp("s3run"), logs, f"secure-{os.getpid()}")
    s3_client.create_bucket(Bucket=ran.bucket)
    database = f"postgresql://{USER}@127.0.0.1:9/study"
    env = environment(
        ran.folder,
        AWS_ENDPOINT_URL=endpoint,
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        AWS_SESSION_TOKEN=SESSION_TOKEN,
        AWS_CONFIG_FILE=str(ran.folder / "absent"),
        AWS_SHARED_CREDENTIALS_FILE=str(ran.folder / "absent"),
        MLFLOW_TRACKING_PASSWORD=PASSWORD,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
        MSINET_TUNE_STORAGE=database,
        RAY_TMPDIR=str(ran.ray),
    )
    journal = {"MSINET_TUNE_STORAGE": str(ran.folder / "journal.log")}
    without_search = tiny_document() | {"targets": ["street"], "splits": [], "genotypes": ["MSINet"]}
    loop = {"trials": 1, "genotype": "MSINet", "space": {"retrain": {"lr": [0.01, 0.02]}}, "storage": database}
    documents = {
        ran.folder / "experiment.yaml": tiny_document()
        | {"targets": ["street"], "workers": {"search": 2}, "resources": {"search": {"cpus": 0.5}}},
        ran.folder / "live.yaml": without_search,
        # The only file that may hold the password, so it lies elsewhere.
        tmp_path_factory.mktemp("s3tune") / "tuned.yaml": without_search
        | {"name": "tuned", "tune": {"source": "street", "hold_out": 30, **loop}},
    }
    for path, document in documents.items():
        path.write_text(yaml.safe_dump(document))
    experiment, live, tuned = map(str, documents)
    tracked = ["--tracking-uri", f"sqlite:///{ran.folder / 'mlflow' / 'mlflow.db'}"]
    away = ["--tracking-uri", f"http://{USER}@127.0.0.1:9"]  # the discard port: nobody listens
    place = [experiment, "--workspace", ran.address]
    elsewhere = ["--workspace", f"{ran.address}-live"]
    commands = {
        "run": ["run", *place, *tracked],
        "again": ["run", *place, *tracked],
        "run untracked": ["run", *place, *away],
        "run live untracked": ["run", live, *elsewhere, *away],
        "tune": ["tune", tuned, *elsewhere, *away],
        "tune by its file": ["tune", tuned, *elsewhere, *away],
        "tune live": ["tune", tuned, *elsewhere, *away],
        "sync a study": ["sync", tuned, *elsewhere, *tracked],
        "sync a study that is away": ["sync", tuned, *elsewhere, *tracked],
        "sync": ["sync", *place, *away],
        "status": ["status", *place],
        "report": ["report", *place],
        "password in the workspace": ["status", experiment, "--workspace", f"s3://{USER}@bucket/prefix"],
        "password in another URL": ["status", experiment, "--workspace", f"gs://{USER}@bucket/prefix"],
        "refused": ["status", *place],
    }
    barrier = Barrier(tmp_path_factory.mktemp("barrier"))
    barrier.open("retrain")
    nameless = {name: value for name, value in env.items() if name not in journal}
    environments = {
        "tune by its file": nameless,
        "tune live": env | journal,
        "sync a study": env | journal,
        "run": env | barrier.environment,
    }
    for name, arguments in commands.items():
        if name == "refused":
            service.fault = lambda environ: "403 AccessDenied"  # with the secrets in its message
        out = ran.folder / f"{name}.txt"
        process = start(arguments, ran.folder, environments.get(name, env), out)
        try:
            if name in ("run", "tune live"):
                watch(process, ran, env, barrier)
            ran.codes[name] = process.wait(600)
        finally:
            kill(process)
        ran.outputs[name] = out.read_text()
    service.fault = lambda environ: None
    yield ran
    shutil.rmtree(ran.ray, ignore_errors=True)


def test_a_grid_runs_on_s3_from_start_to_end(ran: Ran, s3_client: Any) -> None:
    assert ran.codes["run"] == 0, ran.outputs["run"]
    assert "0 failed" in ran.outputs["run"]
    assert ran.codes["again"] == ran.codes["run untracked"] == 0
    assert "everything is done already" in ran.outputs["again"]
    assert "MLflow lacks results" not in ran.outputs["run"] + ran.outputs["again"]
    assert ran.outputs["report"].strip() in ran.outputs["run"], "the same table from what lies on S3"
    listed = s3_client.list_objects_v2(Bucket=ran.bucket, Prefix=f"{ran.prefix}/")["Contents"]
    results = [entry["Key"] for entry in listed if entry["Key"].endswith(f"/{RESULT}")]
    kinds = sorted(key.removeprefix(f"{ran.prefix}/stages/").partition("/")[0] for key in results)
    assert kinds == ["evaluate", "prepare", "retrain", "search"]
    left = [entry["Key"] for entry in listed if CHECKPOINT in entry["Key"] or "partial" in entry["Key"]]
    assert not left, "a grid that is done keeps no state"


def test_mlflow_shows_a_grid_on_s3(ran: Ran) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{ran.folder / 'mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 5, "one of each stage and their parent"
    places = {run.data.tags["msinet.files"] for run in runs if "msinet.files" in run.data.tags}
    assert all(place.startswith(ran.address) for place in places)
    # Beside the database: nothing lies in the folder that the command was given in.
    assert all(str(ran.folder / "mlflow") in run.info.artifact_uri for run in runs)
    assert not (ran.folder / "mlruns").exists()
    assert not (ran.folder / "mlartifacts").exists()


def test_no_secret_gets_anywhere(ran: Ran, s3_client: Any) -> None:
    token = (ran.folder / ".ray" / "auth_token").read_text().strip()
    assert len(token) >= 32, "Ray made one"
    secrets = [secret.encode() for secret in (*SECRETS, PASSWORD, token)]

    def require_none(text: bytes, where: str) -> None:
        assert not [secret for secret in secrets if secret in text], where

    for name, output in ran.outputs.items():
        require_none(output.encode(), f"the output of `{name}`: {output}")
    keys = [entry["Key"] for entry in s3_client.list_objects_v2(Bucket=ran.bucket)["Contents"]]
    assert f"{ran.prefix}-live/tune/tuned/retrain.yaml" in keys
    for key in keys:
        require_none(key.encode() + s3_client.get_object(Bucket=ran.bucket, Key=key)["Body"].read(), key)
    files = [path for path in ran.folder.rglob("*") if path.is_file() and ".ray" not in path.parts]
    assert any(path.name == "mlflow.db" for path in files), "MLflow's tags, parameters and artifacts are among them"
    assert any(path.name == "history.jsonl" for path in files)
    assert any(path.name == "journal.log" for path in files)
    logs = [path for path in ran.ray.rglob("*") if path.is_file()]
    assert any(path.name == "raylet.out" for path in logs)
    for path in files + logs:
        require_none(str(path).encode() + path.read_bytes(), str(path))


def test_what_goes_wrong_is_one_sentence(ran: Ran) -> None:
    assert "MLflow lacks results" in ran.outputs["run untracked"]
    assert "127.0.0.1" in ran.outputs["run untracked"], "which server it was"
    for name in ("sync", "password in the workspace", "password in another URL", "refused"):
        assert ran.codes[name] == 2, ran.outputs[name]
        assert ran.outputs[name].startswith("error: "), ran.outputs[name]
        assert ran.outputs[name].count("\n") == 1


def test_a_grid_and_a_study_end_although_mlflow_is_away(ran: Ran) -> None:
    for name, words in (
        ("run live untracked", "3 done, 0 running, 0 pending, 0 failed"),
        ("tune live", "1/1  trial 0"),
    ):
        assert ran.codes[name] == 0, ran.outputs[name]
        assert words in ran.outputs[name]
        assert "MLflow lacks results" in ran.outputs[name]


def test_a_study_that_cannot_be_opened_is_told_without_its_address(ran: Ran) -> None:
    for name in ("tune", "tune by its file", "sync a study that is away"):
        assert ran.codes[name] == 2, ran.outputs[name]
        last = ran.outputs[name].splitlines()[-1]
        assert last.startswith("error: a study must lie in a journal that can be written, or in a database"), last
        assert "Traceback" not in ran.outputs[name]


def test_mlflow_is_told_of_a_studys_address_without_its_password(ran: Ran) -> None:
    from mlflow import MlflowClient

    assert ran.codes["sync a study"] == 0, ran.outputs["sync a study"]
    client = MlflowClient(tracking_uri=f"sqlite:///{ran.folder / 'mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tuned").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    kept = Path(client.download_artifacts(parent.info.run_id, "experiment.yaml", str(ran.folder)))
    assert yaml.safe_load(kept.read_text())["tune"]["storage"] == "**********"


def test_a_local_run_listens_on_loopback_only(ran: Ran) -> None:
    assert ran.listening, "Ray's processes were seen"
    assert ran.first_rank, "the two workers of the search were seen, whose store torch makes"
    assert ran.listening | ran.first_rank <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_local_ray_asks_for_its_token(ran: Ran) -> None:
    assert "CLUSTER_METADATA" in ran.friend, ran.friend
    assert "CLUSTER_METADATA" not in ran.stranger
    assert "InvalidAuthToken" in ran.stranger, ran.stranger
