"""What the workers of one stage held is free again, however their attempt ended. Ray is not asked."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from support.grids import failed, made, quiet

from pipeline.cluster import group
from pipeline.stages.task import Task


@pytest.mark.parametrize("lost", [True, False], ids=["Ray Train is lost", "a worker fails"])
def test_the_place_of_the_workers_is_freed_before_and_after(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, lost: bool
) -> None:
    events: list[str] = []

    def ended(trainer: Any, relay: Any) -> Any:
        events.append("ran")
        if lost:
            raise ray.exceptions.RayError("the controller has died")
        return group.Failed(group.Failure("a worker has failed"))

    relay = SimpleNamespace(remote=lambda *arguments: None)
    monkeypatch.setattr(group.ray, "remote", lambda **options: lambda actor: relay)
    context = SimpleNamespace(get_node_id=lambda: "node")
    monkeypatch.setattr(group.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(group, "TorchTrainer", lambda *arguments, **options: None)
    monkeypatch.setattr(group, "_ended", ended)
    monkeypatch.setattr(group, "free_placement_group", lambda name: events.append(f"freed {name}"))
    workspace = made(tmp_path)
    task = Task("search", "key", {"workers": 2}, share={"num_cpus": 1.0, "num_gpus": 0.0})
    failure = failed(group.run_group(workspace, task, quiet, begin=lambda at: None))
    place = f"freed {group.place_of(workspace, task)}"
    assert events == [place, "ran", place]
    assert failure.retry == ("again" if lost else None)
