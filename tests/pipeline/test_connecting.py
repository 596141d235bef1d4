"""Addresses of Ray clusters that are wrong or dead: one sentence at once, instead of minutes of Ray's own tries."""

import contextlib
import re
import socket
import time
from collections.abc import Iterator

import pytest
import ray

from pipeline.cluster import connect as connecting
from pipeline.cluster.connect import connect
from pipeline.config.resources import Resources, Workers
from pipeline.errors import RequestError


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sure that Ray itself is not asked."""

    def never(**options: object) -> None:
        raise AssertionError("Ray must not be started or joined")

    monkeypatch.setattr(ray, "init", never)


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of somebody who accepts connections and never answers."""
    monkeypatch.setattr(connecting, "PATIENCE", 0.5)
    with socket.create_server(("", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "address", ["notahost", "http://127.0.0.1:8265", "ray://head:10001", "127.0.0.1:", ":6379", "a b:1"]
)
@pytest.mark.parametrize("by", ["option", "environment"])
def test_an_address_of_another_shape(monkeypatch: pytest.MonkeyPatch, address: str, by: str) -> None:
    if by == "environment":
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RequestError, match=r"such as HOST:6379, but got .*\(--address, RAY_ADDRESS\)") as error:
        connect(address if by == "option" else None, Resources())
    assert repr(address) in f"{error.value}"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "no-such-host.invalid:6379"])
def test_an_address_where_nobody_answers(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(RequestError, match=r"a Ray cluster must answer at .*, but none does: ") as error:
        connect(address, Resources())
    assert time.monotonic() - began < 15
    assert address in f"{error.value}"
    assert "\n" not in f"{error.value}"


def test_an_address_where_somebody_accepts_and_never_answers(mute: str) -> None:
    with pytest.raises(RequestError, match=r"a Ray cluster must answer at .*, but none does: Deadline Exceeded"):
        connect(mute, Resources())


@pytest.mark.parametrize(
    ("there", "refused"),
    [
        ({"CPU": 4.0}, None),
        (
            {"CPU": 3.0},
            "cpus is 2 for each of the 2 workers (workers.retrain), and this machine has 3.",
        ),
        ({"CPU": 4.0, "GPU": 1.0}, "resources.retrain.gpus is 1 for each of the 2 workers"),
        ({"CPU": 4.0, "GPU": 2.0}, None),
        ({"CPU": 1.0}, "resources.retrain.cpus is 2"),
    ],
)
def test_this_machine_must_have_room_for_all_workers_of_a_stage(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, float], refused: str | None
) -> None:
    """Ray Train would wait for their places for ever."""
    monkeypatch.setattr(connecting, "_start", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    resources = Resources.model_validate({"retrain": {"cpus": 2}})
    with pytest.raises(RequestError, match=re.escape(refused)) if refused else contextlib.nullcontext():
        connect(None, resources, workers=Workers(retrain=2))
