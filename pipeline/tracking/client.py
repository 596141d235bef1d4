"""The connection to MLflow. Every call has a time limit, because MLflow itself has none for an answer that drips."""

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.errors import RequestError
from pipeline.tracking.address import SETTING, database_file, is_server, shown, without_credentials
from pipeline.tracking.database import create_database, follow_move, require_answer, sqlite_client

CALL_LIMIT = 15.0  # seconds that one call may take
LONG_LIMIT = 60.0  # seconds to send a file, or to make the tables of a database


class Deadline:
    """The time until which MLflow must have answered the current call."""

    def __init__(self) -> None:
        self._at, self._seconds = math.inf, math.inf

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Expect that the block ends within some seconds."""
        self._at, self._seconds = time.monotonic() + seconds, seconds
        try:
            yield
        finally:
            self._at = math.inf

    @property
    def passed(self) -> bool:
        """Return whether the current call has taken too long."""
        return time.monotonic() > self._at

    def __str__(self) -> str:
        return f"has not answered within {self._seconds:.0f} seconds"


class Client:
    """MLflow's client, whose calls set a deadline. Another thread watches the deadline."""

    def __init__(self, client: Any, deadline: Deadline) -> None:
        self._client, self._deadline = client, deadline

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **named: Any) -> Any:
            with self._deadline.within(LONG_LIMIT if name == "log_artifact" else CALL_LIMIT):
                return method(*arguments, **named)

        return call


def connect(uri: str, deadline: Deadline) -> Client:
    """Return a client for MLflow at an address. Make the file of an SQLite database if there is none."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Otherwise MLflow prints addresses of runs, and with them a password that the server's address may contain.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Otherwise a request that makes a run is sent again when its answer is late, and makes a second run.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    file = database_file(uri)
    if file is not None:
        create_database(file)
        client = sqlite_client(uri)
        follow_move(file)
        return Client(client, deadline)
    with deadline.within(CALL_LIMIT if is_server(uri) else LONG_LIMIT):
        if not is_server(uri):
            require_answer(uri)
        return Client(MlflowClient(tracking_uri=uri), deadline)


def reach(uri: str, deadline: Deadline, work: Callable[[], None]) -> None:
    """Do work with MLflow, on a thread of its own, until it is done or MLflow does not answer in time.

    Raises:
        RequestError: MLflow cannot be used, or the work itself ended so.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="mlflow", daemon=True)
    thread.start()
    while thread.is_alive() and not deadline.passed:
        thread.join(0.2)
    if thread.is_alive():
        raise RequestError(f"MLflow must be reachable, but {shown(uri)} {deadline} ({SETTING}).")
    for error in errors:
        if isinstance(error, RequestError) or not isinstance(error, Exception):
            raise error
        reason = without_credentials(error, uri)
        raise RequestError(f"MLflow must be reachable, but it failed with {reason} ({SETTING}).") from error
