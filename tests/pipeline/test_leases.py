"""Leases over both stores: one holder at a time, renewed while it lives, taken over when it is silent."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.grids import done, quiet, task_of

from pipeline.plan.stage import Plan
from pipeline.stages.attempt import execute
from pipeline.storage import leases
from pipeline.storage.leases import holder_of, take
from pipeline.storage.open import open_store
from pipeline.storage.store import Store
from pipeline.storage.workspace import Workspace

PLACE = "stages/search/k/leases"


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    return open_store(tmp_path if request.param == "folder" else request.getfixturevalue("s3_address"))


def test_one_holder_at_a_time(store: Store) -> None:
    lease = take(store, PLACE, "first", 60)
    assert lease is not None
    with lease:
        assert holder_of(store, PLACE) == "first"
        assert take(store, PLACE, "second", 60) is None
    assert holder_of(store, PLACE) is None, "given back at the end"
    assert take(store, PLACE, "second", 60) is not None


def test_of_many_at_once_one_is_given(store: Store) -> None:
    barrier, given = threading.Barrier(8), []

    def ask(number: int) -> None:
        barrier.wait()
        given.append(take(store, PLACE, f"holder {number}", 60))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in given) == 1


def test_a_lease_is_renewed_while_its_holder_lives(store: Store) -> None:
    lease = take(store, PLACE, "first", 1.0)
    assert lease is not None
    with lease:
        time.sleep(1.6)
        assert take(store, PLACE, "second", 1.0) is None


def test_a_silent_holder_is_replaced_and_cannot_come_back(store: Store) -> None:
    silent = take(store, PLACE, "first", 0.3)  # dies before its first heartbeat
    assert silent is not None
    time.sleep(0.4)
    assert holder_of(store, PLACE) is None
    assert take(store, PLACE, "second", 60) is not None
    with silent:  # not dead after all: its heartbeats are of a number that no longer counts
        time.sleep(0.3)
        assert holder_of(store, PLACE) == "second"
    assert holder_of(store, PLACE) == "second"


def test_a_holder_takes_over_from_itself(store: Store) -> None:
    assert take(store, PLACE, "driver", 60) is not None, "a worker of this driver, which was then killed"
    assert take(store, PLACE, "driver", 60) is not None, "its next attempt need not wait"


def test_what_another_published_just_before_is_not_run_again(
    finished: tuple[Plan, Workspace], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, _ = finished
    task = task_of(planned.stages["prepare street"], planned)

    def take_late(*arguments: Any) -> leases.Lease | None:
        monkeypatch.undo()
        done(execute(workspace.address, task, quiet, holder="first"))
        return take(*arguments)

    monkeypatch.setattr(leases, "take", take_late)
    ended = execute(workspace.address, task, quiet, holder="second")
    assert done(ended) == workspace.result(task.kind, task.key)
    assert workspace.root is not None
    assert len(list(workspace.root.glob("stages/*/*/attempts/*"))) == 1
