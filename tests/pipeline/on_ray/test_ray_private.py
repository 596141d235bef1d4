"""Ray still has the private names that `pipeline.cluster.ray_private` uses: a new release that lacks one fails here."""

import os
from typing import Any

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table

from pipeline.cluster import ray_private

pytestmark = pytest.mark.usefixtures("local_ray")


def test_no_node_of_a_quiet_cluster_is_taken_away() -> None:
    assert list(ray_private.draining_nodes()) == []
    assert ray_private.Notice()() is False


def test_a_draining_node_gives_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    (node,) = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    monkeypatch.setattr(ray_private.state, "get_draining_nodes", lambda: {node: 0})
    assert ray_private.Notice()() is True
    assert ray_private.Notice(["another"])() is False


def test_a_ray_that_does_not_answer_gives_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("no answer")

    monkeypatch.setattr(ray_private.state, "get_draining_nodes", broken)
    assert ray_private.Notice()() is False


def test_a_process_whose_raylet_has_died_has_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    notice = ray_private.Notice()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert notice() is True


def test_the_head_tells_which_nodes_are_alive() -> None:
    context = ray.get_runtime_context()
    found = ray_private.find_cluster(context.gcs_address)
    assert ray_private.ask_cluster(found, 10.0, [context.get_node_id(), "0" * 56]) == [True, False]
    assert ray_private.ask_cluster(found, 10.0) == []


def test_loopback_is_a_constant_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_private.ray_constants, "ENABLE_RAY_CLUSTER", True)  # raises where Ray has no such name
    ray_private.stay_on_loopback()
    assert ray_private.ray_constants.ENABLE_RAY_CLUSTER is False


def test_tune_would_hand_on_aws_keys_and_is_kept_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    names = {*class_cache.ENV_VARS_TO_PROPAGATE, "AWS_SECRET_ACCESS_KEY"}
    monkeypatch.setattr(class_cache, "ENV_VARS_TO_PROPAGATE", names)
    ray_private.keep_aws_keys_from_tune()
    assert not [name for name in names if name.startswith("AWS_")]


def test_a_placement_group_that_was_noted_is_freed() -> None:
    group = placement_group([{"CPU": 1}])
    ray.get(group.ready())

    @ray.remote(num_cpus=1)
    def hold() -> None:
        ray_private.hold_placement_group("a stage")

    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
    ray.get(hold.options(scheduling_strategy=strategy).remote())
    ray_private.free_placement_group("another stage")
    assert placement_group_table(group)["state"] == "CREATED"
    ray_private.free_placement_group("a stage")
    assert placement_group_table(group)["state"] == "REMOVED"
    ray_private.free_placement_group("a stage")  # a second time does nothing
