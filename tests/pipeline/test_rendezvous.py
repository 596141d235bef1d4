"""How the workers of one stage meet: where the first of them listens. Ray is not asked."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
from torch import distributed

from pipeline.cluster import rendezvous

OWN = "GLOO_SOCKET_IFNAME"


@pytest.fixture
def ranks_here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Make this process the only worker, which believes that so many workers are on its machine."""
    context = SimpleNamespace(
        get_world_rank=lambda: 0, get_world_size=lambda: 1, get_local_world_size=lambda: request.param
    )
    monkeypatch.setattr(rendezvous.ray.train, "get_context", lambda: context)
    monkeypatch.setattr(rendezvous, "broadcast_from_rank_zero", lambda value: value)
    monkeypatch.setattr(rendezvous.ray.util, "get_node_ip_address", lambda: "127.0.0.2")
    for library in ("GLOO", "NCCL"):
        monkeypatch.setenv(f"{library}_SOCKET_IFNAME", "")  # so that what is set below is forgotten after the test
        monkeypatch.delenv(f"{library}_SOCKET_IFNAME")
    yield
    distributed.destroy_process_group()


def listening() -> set[str]:
    connections = psutil.Process().net_connections("tcp")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("ranks_here", [1], indirect=True)
@pytest.mark.usefixtures("ranks_here")
def test_workers_of_one_machine_use_loopback_only() -> None:
    before = listening()
    ranks = rendezvous.meet("gloo")
    assert (ranks.rank, ranks.world) == (0, 1)
    assert listening() - before <= {"127.0.0.1"}
    assert os.environ[OWN] == os.environ["NCCL_SOCKET_IFNAME"]
    assert "127.0.0.1" in {address.address for address in psutil.net_if_addrs()[os.environ[OWN]]}


@pytest.mark.parametrize("ranks_here", [2], indirect=True)  # of one in all: as if they were on different machines
@pytest.mark.usefixtures("ranks_here")
def test_workers_of_several_machines_use_the_address_of_ray() -> None:
    before = listening()
    rendezvous.meet("gloo")
    assert "127.0.0.2" in listening() - before
    assert OWN not in os.environ
