"""Every name of Ray's that is not public, each with the reason why it is used."""

import contextlib
import time
from collections.abc import Collection

import ray
from ray._raylet import PlacementGroupID
from ray.experimental import internal_kv
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group


class Notice:
    """Whether a node is about to be taken away, as Ray learns of spot machines; asks every two seconds.

    Args:
        nodes: Ray's ids of the nodes; by default this process's own.
    """

    def __init__(self, nodes: Collection[str] = ()) -> None:
        self._nodes = frozenset(nodes or [ray.get_runtime_context().get_node_id()])
        self._next = 0.0
        self._leaving = False

    def __call__(self) -> bool:
        """The latest answer; False where Ray does not answer."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 2.0
            with contextlib.suppress(Exception):  # a courtesy of Ray's own internals: Ray Train asks so too
                self._leaving = not self._nodes.isdisjoint(ray._private.state.state.get_draining_nodes())
        return self._leaving


HELD = "msinet-groups"  # the namespace of Ray's own store in which a stage's key leads to what its workers occupy


def hold_placement_group(key: str) -> None:
    """Note what the workers of a stage occupy."""
    group = get_current_placement_group()
    assert group is not None
    internal_kv._internal_kv_put(key, group.id.binary(), namespace=HELD)


def free_placement_group(key: str) -> None:
    """Free what an attempt at a stage occupied, if it still does.

    Train does so itself, unless its controller dies; what it has for that case needs Ray's dashboard.
    """
    held = internal_kv._internal_kv_get(key, namespace=HELD)
    if held is not None:
        remove_placement_group(PlacementGroup(PlacementGroupID(held)))
        internal_kv._internal_kv_del(key, namespace=HELD)
