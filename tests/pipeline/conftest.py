"""Fixtures give the tiny experiment, its workspace and its results, S3, and stores of both kinds."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.grids import made, run_without_ray, tiny_document
from support.s3 import s3_address, s3_client, s3_server, s3_service  # noqa: F401
from support.stores import address, either_workspace, large, no_waiting, s3_store, store  # noqa: F401

from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace
from pipeline.tracking.address import sqlite_address
from pipeline.tracking.database import create_database


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Return the tiny experiment's document, to be changed at will."""
    return tiny_document()


@pytest.fixture
def experiment(tiny: dict[str, Any]) -> Experiment:
    """Return the tiny experiment."""
    return Experiment.model_validate(tiny)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return an empty workspace."""
    return made(tmp_path / "workspace")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """Run the tiny experiment to its end; it is to be read only."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    return run_without_ray(tiny_document(), workspace), workspace


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an SQLite file for MLflow without any run. MLflow takes seconds to make one, so tests copy this one."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    create_database(path)
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    """Return the address of an MLflow without any run, in an SQLite file of the test's own."""
    return sqlite_address(Path(shutil.copy(empty_database, tmp_path)))
