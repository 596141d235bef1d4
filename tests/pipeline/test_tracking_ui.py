"""`msinet ui` serves MLflow's pages, or says in one sentence why it does not."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command_line import environment, kill, members, start
from support.mlflow_server import free_port, wait_for_pages

from pipeline.cli import main
from pipeline.storage.workspace import Workspace


class Served(Exception):
    """The program of the server was started."""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let the server's program only note what it was started with."""
    noted: dict[str, Any] = {}

    def execve(path: str, arguments: list[str], environment: dict[str, str]) -> None:
        noted.update(path=path, arguments=arguments, environment=environment)
        raise Served

    monkeypatch.setattr(os, "execve", execve)
    return noted


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the sentence with which `msinet ui` ends."""
    with pytest.raises(SystemExit) as end:
        main(["ui", *arguments])
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    return err


def test_a_port_that_is_taken(uri: str, capsys: pytest.CaptureFixture[str], served: dict[str, Any]) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.create_server((host, 0)) as taken:
            port = taken.getsockname()[1]
            told = refused(capsys, "--tracking-uri", uri, "--port", str(port))
        assert told == (
            f"error: port {port} must be free for MLflow's pages, but another process listens on it (--port).\n"
        )
    assert not served


@pytest.mark.parametrize("port", ["0", "-1", "65536", "http"])
def test_what_is_no_port(uri: str, capsys: pytest.CaptureFixture[str], served: dict[str, Any], port: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(["ui", "--tracking-uri", uri, "--port", port])
    assert end.value.code == 2
    assert "--port" in capsys.readouterr().err
    assert not served


def test_a_server_has_pages_of_its_own(capsys: pytest.CaptureFixture[str], served: dict[str, Any]) -> None:
    told = refused(capsys, "--tracking-uri", "http://user:planted@127.0.0.1:9")
    assert "open http://127.0.0.1:9 in a browser" in told
    assert not served


def test_a_workspace_that_mlflow_has_never_shown(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], served: dict[str, Any]
) -> None:
    workspace.keep_fingerprint("signature", "fingerprint")
    before = sorted(Path(workspace.address).rglob("*"))
    told = refused(capsys, "--workspace", workspace.address)
    assert f"{workspace.address}/mlflow.db must exist" in told
    assert "sync" in told
    assert sorted(Path(workspace.address).rglob("*")) == before
    assert not served


def test_a_file_that_is_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str], served: dict[str, Any]) -> None:
    file = tmp_path / "mlflow.db"
    file.write_text("no database" * 1000)
    assert "MLflow must be reachable" in refused(capsys, "--tracking-uri", f"sqlite:///{file}")
    assert not served


def test_a_database_that_is_away(
    capsys: pytest.CaptureFixture[str], served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg", reason="no driver (pip install '.[postgresql]')")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:planted@127.0.0.1:9/db")
    told = refused(capsys)
    assert "Connection refused" in told
    assert "planted" not in told
    assert not served


def test_the_address_is_no_argument_of_a_process(
    uri: str, capsys: pytest.CaptureFixture[str], served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    port = free_port()
    with pytest.raises(Served):
        main(["ui", "--port", str(port)])
    assert capsys.readouterr().out == f"MLflow's pages are on http://127.0.0.1:{port}; Ctrl-C ends the server\n"
    assert served["path"] == sys.executable
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    assert served["arguments"] == [sys.executable, "-m", "mlflow", "server", *place]
    assert served["environment"]["MLFLOW_BACKEND_STORE_URI"] == uri


def test_a_path_with_any_character_is_served(
    empty_database: Path, tmp_path: Path, served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.tracking.address import database_file, sqlite_address

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    file = tmp_path / "a%20b?c" / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(empty_database.read_bytes())
    with pytest.raises(Served):
        main(["ui", "--tracking-uri", sqlite_address(file), "--port", str(free_port())])
    uri = served["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert "%" not in uri
    assert "?" not in uri
    there = database_file(uri)
    assert there is not None
    assert there.samefile(file)
    assert not (tmp_path / "a%2520b%3Fc").exists()


def test_the_pages_are_on_loopback_only(uri: str, tmp_path: Path) -> None:
    port = free_port()
    env = environment(tmp_path, MLFLOW_TRACKING_URI=uri)
    process = start(["ui", "--port", str(port)], tmp_path, env, tmp_path / "out.txt")
    found: set[tuple[str, int]] = set()
    commands: set[str] = set()
    try:
        wait_for_pages(port, process, tmp_path / "out.txt")
        for member in members(process.pid):
            found |= {(c.laddr.ip, c.laddr.port) for c in member.net_connections("tcp") if c.status == "LISTEN"}
            commands.add(" ".join(member.cmdline()))
    finally:
        kill(process)
    assert ("127.0.0.1", port) in found
    assert {ip for ip, _ in found} == {"127.0.0.1"}
    assert any("uvicorn" in command for command in commands), "the processes of the server were seen"
    assert not [command for command in commands if "mlflow.db" in command], "every user can read arguments"
