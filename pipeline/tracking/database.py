"""MLflow's database if there is no server: make it, ask whether it answers, and follow it when it was moved."""

import contextlib
import os
import sqlite3
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking.address import database_file, sqlite_address

if TYPE_CHECKING:
    from mlflow import MlflowClient


def create_database(path: Path) -> None:
    """Make MLflow's SQLite file, whole or not at all, even if the process is killed while it makes the tables."""
    if path.exists():
        return
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        sqlite_client(sqlite_address(partial)).search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another driver was faster
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sqlite_client(uri: str) -> "MlflowClient":
    """Return a client for the SQLite file at an address.

    MLflow makes the folder that the address names without decoding it, so with some characters another, empty folder.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    file, folder = database_file(uri), Path(uri.removeprefix("sqlite:///")).parent
    with contextlib.suppress(OSError):  # it is not empty
        while file and folder != file.parent:
            folder.rmdir()
            folder = folder.parent
    return client


def require_answer(uri: str) -> None:
    """Connect to a database once. MLflow itself would try again and again, and print every error."""
    from sqlalchemy import create_engine

    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    engine = create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def artifacts_beside(database: Path, experiment: str) -> str:
    """Return the address of the folder for the artifacts of an experiment: beside the database.

    By default MLflow would use the working directory.
    """
    return (database.parent / "mlartifacts" / experiment).as_uri()


def follow_move(database: Path) -> None:
    """Let the runs in an SQLite file find their artifacts again, after both were moved or copied to another folder.

    MLflow stores the place of artifacts as an absolute path. Artifacts in a place that the user chose stay there.
    """
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        found = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
        for number, name, old in found:
            new = artifacts_beside(database, name)
            ending = new.removeprefix(database.parent.as_uri())
            if old == new or not f"{old}".endswith(ending):
                continue
            connection.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, number))
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (new, len(old) + 1, number, len(old) + 1, f"{old}/"),
            )
