"""The way in which the workers of one stage find each other: torch's process group, without a port for strangers.

Ray Train would start the group itself. Then torch's store, which asks for no password, would listen on every network
interface. Here the first rank listens on loopback if all workers are on one machine, and otherwise on the address that
Ray uses for its machine.
"""

import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import ray.train
from ray.train.backend import Backend
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig

if TYPE_CHECKING:
    from msinet.ranks import Ranks

PATIENCE = timedelta(minutes=30)  # the longest wait of a rank for another one
LOOPBACK = "127.0.0.1"


class _NoProcessGroup(Backend):
    """A backend of Ray Train that starts no process group. As for torch's own, workers see each other's GPUs."""

    share_cuda_visible_devices = True


class OwnRendezvous(TorchConfig):
    """A configuration with which Ray Train leaves the process group to `meet`."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Return the class that Ray Train asks to set up its workers."""
        return _NoProcessGroup


def meet(backend: str) -> "Ranks":
    """Join this worker of Ray Train with all others in torch's default process group. All workers must call this.

    Args:
        backend: Name of torch's backend, `gloo` or `nccl`.

    Returns:
        The place of this worker in the group.
    """
    from torch import distributed

    from msinet.ranks import Ranks

    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    together = context.get_local_world_size() == ranks.world
    if together:
        for library in ("GLOO", "NCCL"):  # both listen too, for the tensors
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", _loopback_interface())
    server = _listen(LOOPBACK if together else ray.util.get_node_ip_address()) if ranks.rank == 0 else None
    host, port = broadcast_from_rank_zero(server.getsockname()[:2] if server else None)
    store = distributed.TCPStore(
        host,
        port,
        ranks.world,
        is_master=server is not None,
        timeout=PATIENCE,
        wait_for_workers=False,
        master_listen_fd=server.detach() if server else None,
    )
    distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.world, timeout=PATIENCE)
    return ranks


def _listen(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family)


def _loopback_interface() -> str:
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
