"""Workspaces for grids that are disturbed, and the numbers of one that was not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.barrier import Barrier
from support.disturbed import long_document, weights
from support.grids import run_without_ray, tiny_document

from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="module")
def shared_barrier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Barrier]:
    """The barrier of this file's tests, for each Ray that is started in this process."""
    barrier = Barrier(tmp_path_factory.mktemp("barrier"))
    with pytest.MonkeyPatch.context() as patch:
        barrier.set(patch)
        yield barrier


@pytest.fixture
def barrier(shared_barrier: Barrier) -> Barrier:
    """The barrier, closed."""
    shared_barrier.close()
    return shared_barrier


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights that the long grid's retraining ends with."""
    workspace = Workspace(tmp_path_factory.mktemp("undisturbed"))
    return weights(run_without_ray(long_document(), workspace), workspace)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """The tiny experiment, run to its end; to be read only."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    return run_without_ray(tiny_document(), workspace), workspace
