"""Fixtures give the tiny experiment, its workspace and its results, S3, and stores of both kinds."""

from pathlib import Path
from typing import Any

import pytest
from support.grids import made, run_without_ray, tiny_document
from support.s3 import s3_address, s3_client, s3_server, s3_service  # noqa: F401
from support.stores import address, either_workspace, large, no_waiting, s3_store, store  # noqa: F401

from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace


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
