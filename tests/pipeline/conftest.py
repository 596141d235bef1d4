"""A tiny experiment, and one Ray for all tests of a process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline.config import Experiment
from pipeline.workspace import Workspace

TINY: dict[str, Any] = {
    "name": "tiny",
    "datasets": {
        "street": {"kind": "synthetic", "domain": "street", "train_ids": 10, "test_ids": 4, "height": 32, "cameras": 2},
        "campus": {"kind": "synthetic", "domain": "campus", "train_ids": 10, "test_ids": 4, "height": 32, "cameras": 2},
    },
    "sources": ["street"],
    "targets": ["street", "campus"],
    "image_size": [32, 16],
    "splits": ["60-80"],
    "search": {"epochs": 2, "batch_size": 8, "num_instances": 2, "warmup_epochs": 0, "milestones": []},
    "retrain": {
        "in_domain": {"epochs": 2, "batch_size": 8, "num_instances": 2, "warmup_epochs": 0, "milestones": []},
        "cross_domain": "same",
    },
}


@pytest.fixture
def tiny() -> dict[str, Any]:
    """The tiny experiment's document, to be changed at will."""
    return yaml.safe_load(yaml.safe_dump(TINY))


@pytest.fixture
def experiment(tiny: dict[str, Any]) -> Experiment:
    """The tiny experiment."""
    return Experiment.model_validate(tiny)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Ray on this machine with two CPUs; tests that use it belong to the group `ray`, which one process runs."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()
