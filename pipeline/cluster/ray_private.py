"""The private names of Ray that this project uses, each with the reason.

`tests/pipeline/on_ray/test_ray_private.py` uses all of them, and fails when a new release of Ray lacks one.
"""

import contextlib
import os
import time
from collections.abc import Collection, Sequence

import grpc
import ray
from ray._private import ray_constants
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._private.state import state
from ray._raylet import PlacementGroupID
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
from ray.experimental import internal_kv
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group

HELD = "msinet-groups"  # namespace of Ray's key-value store that keeps the placement groups of stages


class Notice:
    """A check whether this process must leave its node: the node is about to be taken away, or its Ray has died.

    Ray knows the first of spot machines, and is asked every two seconds. This needs a private name, because Ray has no
    public way to ask. Ray Train asks in the same way.

    Args:
        nodes: Ray's ids of the nodes; by default the id of this process's node.
    """

    def __init__(self, nodes: Collection[str] = ()) -> None:
        self._nodes = frozenset(nodes or [ray.get_runtime_context().get_node_id()])
        self._raylet = os.getppid()  # Ray's process on this node starts all workers
        self._next = 0.0
        self._leaving = False

    def __call__(self) -> bool:
        """Return whether Ray has died, or else its latest answer; False if Ray has not answered at all."""
        if os.getppid() != self._raylet:
            return True  # nobody can be told the result, and the next driver would wait for this stage
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 2.0
            with contextlib.suppress(Exception):  # without an answer there is no notice
                self._leaving = not self._nodes.isdisjoint(draining_nodes())
        return self._leaving


def draining_nodes() -> Collection[str]:
    """Return the ids of the nodes that are about to be taken away."""
    nodes: dict[str, int] = state.get_draining_nodes()
    return nodes.keys()


def find_cluster(address: str) -> str:
    """Return HOST:PORT of the cluster that Ray would join at an address, which may be `auto`.

    This needs a private name, because only Ray knows which clusters run on this machine.

    Raises:
        ConnectionError: No cluster, or more than one, runs on this machine.
    """
    found: str = canonicalize_bootstrap_address_or_die(address)
    return found


def ask_cluster(address: str, seconds: float, nodes: Sequence[str] = ()) -> list[bool]:
    """Ask the head of a cluster at HOST:PORT whether nodes are alive.

    This needs private names, because Ray's own first request to a cluster is repeated for minutes, with warnings.

    Args:
        address: Address of the head.
        seconds: Longest wait for an answer.
        nodes: Ray's ids of the nodes.

    Raises:
        ConnectionError: There is no answer, or one that is not Ray's.
        PermissionError: The cluster has another token.
    """
    ids = [bytes.fromhex(node) for node in nodes]
    request = gcs_service_pb2.CheckAliveRequest(node_ids=ids)  # type: ignore[attr-defined]
    try:
        with init_grpc_channel(address) as channel:
            answer = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel).CheckAlive(request, timeout=seconds)
    except grpc.RpcError as error:
        refused = error.code() is grpc.StatusCode.UNAUTHENTICATED
        raise (PermissionError if refused else ConnectionError)(error.details()) from None
    return list(answer.raylet_alive)


def stay_on_loopback() -> None:
    """Make a Ray that is started on this machine listen on 127.0.0.1 only.

    This needs a private name, because the public option alone is not enough: Ray replaces 127.0.0.1 by an address that
    other machines reach, and then listens on all addresses.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False


def keep_aws_keys_from_tune() -> None:
    """Keep Ray Tune from handing the driver's AWS keys to its trials.

    This needs a private name, because there is no option. The keys would appear in Ray's logs. Trials do not need them
    from Ray Tune, because they find their keys where other stages do.
    """
    from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE

    ENV_VARS_TO_PROPAGATE.difference_update([name for name in ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")])


def hold_placement_group(name: str) -> None:
    """Store under a name which placement group this worker of Ray Train belongs to.

    This needs private names: a placement group can be found again only by its id, and the key-value store of Ray is not
    public.
    """
    group = get_current_placement_group()
    assert group is not None
    internal_kv._internal_kv_put(name, group.id.binary(), namespace=HELD)


def free_placement_group(name: str) -> None:
    """Free the placement group that was stored under a name, if there is one.

    Ray Train frees it itself, unless its controller dies. Ray Train's solution for that case needs Ray's dashboard.
    """
    held = internal_kv._internal_kv_get(name, namespace=HELD)
    if held is not None:
        remove_placement_group(PlacementGroup(PlacementGroupID(held)))
        internal_kv._internal_kv_del(name, namespace=HELD)
