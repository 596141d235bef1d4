"""MLflow on a real PostgreSQL with artifacts on S3, as docs recommend for several machines: every run is written once.

Runs where PostgreSQL's programs and a driver are installed (`apt-get install postgresql`, the extra `postgresql`).
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import environment, kill, members, start
from support.mlflow_server import MlflowServer, free_port, wait_for_pages
from support.s3 import S3Service

from pipeline.plan.kinds import GENOTYPE, HISTORY, SPLIT
from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace
from pipeline.tracking.curves import PLOTS
from pipeline.tracking.runs import KEY_TAG, SPEC_TAG
from pipeline.tracking.tracker import sync

PASSWORD = "planted-password"


def program(name: str) -> str | None:
    """One of PostgreSQL's programs; Debian keeps them out of the path."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(kept[-1]) if kept else None)


@pytest.fixture
def database() -> Iterator[str]:
    """The address of an empty database."""
    pytest.importorskip("psycopg", reason="no driver (pip install '.[postgresql]')")
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root; sockets need a short path.
    user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        if user:
            owner = pwd.getpwnam(user["user"])
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            user["group"] = owner.pw_gid
        data, secret, port = f"{folder}/data", Path(folder, "secret"), free_port()
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        make = [initdb, "--pgdata", data, "--username", "msinet", "--pwfile", str(secret), "--auth", "scram-sha-256"]
        subprocess.run([*make, "--no-sync"], cwd=folder, check=True, capture_output=True, **user)
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "port": port, "fsync": "off"}
        run = [postgres, "-D", data, *(part for item in options.items() for part in ("-c", "{}={}".format(*item)))]
        uri = f"postgresql://msinet:{PASSWORD}@127.0.0.1:{port}/postgres"
        process = subprocess.Popen(run, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
        try:
            wait_for_database(uri)
            yield uri
        finally:
            process.terminate()
            process.wait(30)


def wait_for_database(uri: str, seconds: float = 60) -> None:
    import psycopg

    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(uri).close()
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_sync_writes_every_run_once(
    database: str,
    finished: tuple[Plan, Workspace],
    s3_service: S3Service,
    s3_address: str,
    s3_client: Any,
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    planned, workspace = finished
    server = MlflowServer(database, s3_address, tmp_path)
    try:
        server.start()
        client = MlflowClient(tracking_uri=server.uri)
        for _ in range(2):
            assert sync(server.uri, planned, workspace) == len(planned.stages)
            runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], max_results=1000)
            counted = Counter(run.data.tags.get(KEY_TAG) for run in runs)
            assert counted == Counter([None, *(stage.key for stage in planned.stages.values())])
            assert sum(SPEC_TAG in run.data.tags for run in runs) == 1
            assert {run.info.status for run in runs} == {"FINISHED"}
        (search,) = planned.of_kind("search")
        run = next(run for run in runs if run.data.tags.get(KEY_TAG) == search.key)
        assert [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")] == [0, 1]
        names = {GENOTYPE, HISTORY, SPLIT, *PLOTS}
        assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} == names
        kept = Path(client.download_artifacts(run.info.run_id, GENOTYPE, str(tmp_path)))
        assert search.result is not None
        assert kept.read_bytes() == (workspace.files(search.result) / GENOTYPE).read_bytes()
        bucket, _, prefix = s3_address.removeprefix("s3://").partition("/")
        listed = s3_client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
        assert names <= {entry["Key"].rpartition("/")[2] for entry in listed}, "they lie on S3"
        assert PASSWORD not in server.log.read_text()
    finally:
        server.stop()


def test_the_pages_of_a_database_show_its_password_to_nobody(database: str, tmp_path: Path) -> None:
    port = free_port()
    env = environment(tmp_path, MLFLOW_TRACKING_URI=database)
    process = start(["ui", "--port", str(port)], tmp_path, env, tmp_path / "out.txt")
    try:
        wait_for_pages(port, process, tmp_path / "out.txt")
        commands = [" ".join(member.cmdline()) for member in members(process.pid)]
    finally:
        kill(process)
    assert any("uvicorn" in command for command in commands), "the processes of the server were seen"
    assert not [command for command in commands if PASSWORD in command or "postgresql:" in command]
    assert PASSWORD not in (tmp_path / "out.txt").read_text()
