"""Nothing about MLflow holds up a grid: every wait has an end, and ends in one sentence."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_line import write
from support.grids import under_way

from pipeline.cli import main
from pipeline.errors import RequestError
from pipeline.paths import JOB_VARIABLE
from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace
from pipeline.tracking import client
from pipeline.tracking.address import named_address, shown, tracking_address, without_credentials
from pipeline.tracking.tracker import Tracker, sync


@contextlib.contextmanager
def listener(answer: bytes, pause: float) -> Iterator[str]:
    """Yield the address of a server that sends an answer byte by byte, with a pause before each."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            for byte in answer:
                if ended.wait(pause):
                    return
                connection.sendall(bytes([byte]))
            ended.wait()

    def accept(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        try:
            yield f"http://planted-user:planted-password@127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=["drips", "is silent"])
def slow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a server that never answers in whole: it sends a byte every fifth of a second, or none."""
    monkeypatch.setattr(client, "CALL_LIMIT", 2.0)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + b" " * 10000 if request.param == "drips" else b""
    with listener(answer, 0.2) as address:
        yield address


def test_sync_ends_although_the_server_does_not_answer(finished: tuple[Plan, Workspace], slow: str) -> None:
    began = time.monotonic()
    with pytest.raises(RequestError, match=r"has not answered within 2 seconds \(--tracking-uri") as caught:
        sync(slow, *finished)
    assert time.monotonic() - began < 10
    assert "planted" not in str(caught.value)
    assert "http://127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("status", ["FINISHED", "KILLED"])
def test_a_grid_ends_although_the_server_does_not_answer(
    finished: tuple[Plan, Workspace], slow: str, status: str
) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    began = time.monotonic()
    tracker = Tracker(slow, planned, workspace)
    for stage in planned.stages.values():
        tracker.started(stage)
        stage.result = results[stage.name]
        tracker.finished(stage)
    assert time.monotonic() - began < 1, "events do not wait"
    problem = tracker.close(status)
    assert time.monotonic() - began < 10
    assert problem is not None
    assert "has not answered within 2 seconds" in problem
    assert "planted" not in problem


def test_a_real_server_has_fifteen_seconds_for_an_answer() -> None:
    assert client.CALL_LIMIT == 15


def test_a_finished_grid_is_shown_although_the_server_does_not_answer(
    finished: tuple[Plan, Workspace],
    tiny: dict[str, Any],
    tmp_path: Path,
    slow: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = time.monotonic()
    main_ends(["run", str(write(tmp_path, tiny)), "--workspace", finished[1].address, "--tracking-uri", slow], 0)
    assert time.monotonic() - began < 20
    out, err = capsys.readouterr()
    assert "everything is done already" in out
    assert "MLflow lacks results (MLflow must be reachable, but http://127.0.0.1" in out
    assert "in-domain" in out
    assert "planted" not in out + err


def main_ends(arguments: list[str], code: int) -> None:
    """Run `msinet ...` in this process, and make sure that it ends with an exit code."""
    ended = 0
    try:
        main(arguments)
    except SystemExit as end:
        ended = int(end.code or 0)
    assert ended == code


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://planted-user:planted-password@127.0.0.1:9", "127.0.0.1"),
        ("postgresql://planted-user:planted-password@127.0.0.1:9/db", "Connection refused"),
        ("postgresql://127.0.0.1:9/db?user=planted-user&password=planted-password", "Connection refused"),
    ],
)
def test_a_dead_address_is_one_sentence(
    finished: tuple[Plan, Workspace],
    tiny: dict[str, Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    uri: str,
    words: str,
) -> None:
    pytest.importorskip("psycopg", reason="no driver (pip install '.[postgresql]')")
    began = time.monotonic()
    main_ends(["sync", str(write(tmp_path, tiny)), "--workspace", finished[1].address, "--tracking-uri", uri], 2)
    assert time.monotonic() - began < 15
    out, err = capfd.readouterr()
    assert err.startswith("error: MLflow must be reachable, but it failed with "), err
    assert words in err
    assert "planted" not in out + err
    assert " object at 0x" not in err
    assert len(err.splitlines()) == 1
    assert not out


WRONG = [
    "127.0.0.1:5000",
    "localhost:5000",
    "mlruns",
    "/somewhere/mlruns",
    "file:///somewhere/mlruns",
    "http://",
    "http:///path",
    "http://[::1",
    "http://host:port",
    "http://host:99999",
    "sqlite://",
    "sqlite:///",
    "postgresql:db",
    "postgresql://host:port/db",
    "postgres://planted-user:planted-password@host/db",
    "planted-user:planted-password@host",
]


@pytest.mark.parametrize(("verb", "uri"), [*(("sync", uri) for uri in WRONG), ("run", "mlruns"), ("ui", "mlruns")])
def test_an_address_that_mlflow_cannot_use_ends_before_anything_runs(
    tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, uri: str
) -> None:
    file = [] if verb == "ui" else [str(write(tmp_path, tiny))]
    main_ends([verb, *file, "--workspace", str(tmp_path / "workspace"), "--tracking-uri", uri], 2)
    out, err = capsys.readouterr()
    assert err.startswith("error: MLflow's address must be http://HOST:PORT, "), err
    assert "--tracking-uri" in err
    assert "planted" not in err
    assert len(err.splitlines()) == 1
    assert not out
    assert not (tmp_path / "workspace").exists()


def test_addresses_that_mlflow_can_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in (
        "http://127.0.0.1:5000",
        "https://user:pass@mlflow.example.org/path",
        "http://[::1]:5000",
        "postgresql://user:pass@host/db",
        "postgresql+psycopg://host:5432/db",
        "mysql+pymysql://user:pass@host/db",
        "sqlite:////absolute/mlflow.db",
        "sqlite:////absolute/mlflow.db?timeout=9",
    ):
        assert named_address(uri) == uri
    assert named_address("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert named_address(None) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:1")
    assert named_address(None) == "http://host:1"
    assert tracking_address("http://host:2", Workspace(tmp_path)) == "http://host:2"


def test_an_address_is_shown_without_secrets() -> None:
    assert shown("http://user:pass@host:1/path") == "http://host:1/path"
    assert shown("postgresql://host/db?password=pass") == "postgresql://host/db"
    assert shown("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"
    message = "at http://me:my%2Fword@host or my/word: <urllib3.X object at 0x7f00aa>: refused\nmore"
    cleaned = without_credentials(ValueError(message), "http://me:my%2Fword@host")
    assert cleaned == "ValueError: at http://…@host or …: refused"


def test_in_a_job_a_file_needs_an_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job runs in a copy of the project that Ray removes."""
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    assert named_address("sqlite:////absolute/mlflow.db") == "sqlite:////absolute/mlflow.db"
    with pytest.raises(RequestError, match=r"in a Ray job a path must be absolute, but got mlflow.db \(--tracking-uri"):
        named_address("sqlite:///mlflow.db")
