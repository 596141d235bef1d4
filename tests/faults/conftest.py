"""Workspaces for grids that are disturbed, and the numbers of one that was not."""

from pathlib import Path

import pytest
from support.disturbed import slow_document, weights
from support.grids import run_without_ray, tiny_document

from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights that the slow grid's retraining ends with."""
    workspace = Workspace(tmp_path_factory.mktemp("undisturbed"))
    return weights(run_without_ray(slow_document(), workspace), workspace)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """The tiny experiment, run to its end; to be read only."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    return run_without_ray(tiny_document(), workspace), workspace
