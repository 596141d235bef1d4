"""A stage on several workers: what it frees on the cluster before and after its workers run."""

from pathlib import Path
from typing import Any

import pytest
import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table

from pipeline.cluster import group
from pipeline.cluster.ray_private import hold_placement_group
from pipeline.results import Failed, Failure
from pipeline.stages.task import Task
from pipeline.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("local_ray")
ENDED = Failed(Failure("a pretended end"))


def held(name: str) -> PlacementGroup:
    """Return a placement group that is stored under a name, as if a lost attempt had left it."""
    left = placement_group([{"CPU": 1}])

    @ray.remote(num_cpus=1)
    def hold() -> None:
        hold_placement_group(name)

    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(left)
    ray.get(hold.options(scheduling_strategy=strategy).remote())
    return left


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Return a task whose workers end at once."""
    monkeypatch.setattr(group, "_ended", lambda trainer, relay: ENDED)
    return Task("search", "0" * 32, {"workers": 2}, share={"num_cpus": 0.5, "num_gpus": 0})


def test_a_stage_frees_what_a_lost_attempt_of_its_own_workspace_holds(task: Task, tmp_path: Path) -> None:
    mine, other = Workspace(tmp_path / "mine"), Workspace(tmp_path / "other")
    left = held(group.place_of(mine, task))

    def run(workspace: Workspace) -> Any:
        return group.run_group(workspace, task, lambda report: None, begin=lambda at: None)

    assert run(other) == ENDED
    assert placement_group_table(left)["state"] == "CREATED", "the same stage of another workspace uses it"
    assert run(mine) == ENDED
    assert placement_group_table(left)["state"] == "REMOVED"
