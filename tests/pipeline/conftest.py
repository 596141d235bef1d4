"""The tiny experiment as fixtures, and one Ray for all tests of a process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.grids import run_without_ray, tiny_document
from support.s3 import s3_address, s3_client, s3_server, s3_service  # noqa: F401

from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan
from pipeline.storage.workspace import Workspace


@pytest.fixture
def tiny() -> dict[str, Any]:
    """The tiny experiment's document, to be changed at will."""
    return tiny_document()


@pytest.fixture
def experiment(tiny: dict[str, Any]) -> Experiment:
    """The tiny experiment."""
    return Experiment.model_validate(tiny)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """The tiny experiment, run to its end; to be read only."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    return run_without_ray(tiny_document(), workspace), workspace


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Ray on this machine with two CPUs; tests that use it belong to the group `ray`, which one process runs."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()
