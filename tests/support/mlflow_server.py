"""A real MLflow server on loopback that can be stopped and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def free_port() -> int:
    """Return a port on loopback on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_pages(port: int, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 120) -> None:
    """Wait until the MLflow server that a process runs answers at a port. The process writes to `log`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


class MlflowServer:
    """An MLflow server with a fixed address, at which it answers between `start` and `stop`.

    Args:
        database: Address of the backend store.
        artifacts: Place of the artifacts: a folder or `s3://…`.
        folder: Folder of the file with the server's output.
    """

    def __init__(self, database: str, artifacts: str, folder: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.log = folder / "mlflow_server.txt"
        self._arguments = ["--backend-store-uri", database, "--artifacts-destination", artifacts]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 120) -> None:
        """Start the server and wait until it answers."""
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *place, *self._arguments],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for_pages(self.port, self._process, self.log, seconds)

    def stop(self) -> None:
        """Kill the server at once, as a loss of power would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None
