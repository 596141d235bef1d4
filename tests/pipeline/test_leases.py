"""Leases over both stores: one holder at a time, renewed while it lives, taken over when it is silent."""

import json
import os
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


def lease_of(holder: object = "other", left: object = 30.0, seconds: object = 60.0) -> bytes:
    """Return the content of a lease's file; `left` seconds remain of it."""
    until = time.time() + left if isinstance(left, float) else left
    return json.dumps({"holder": holder, "until": until, "seconds": seconds}).encode()


def test_a_lease_is_read_as_it_is_written_here(store: Store) -> None:
    store.replace(f"{PLACE}/1.json", lease_of())
    assert holder_of(store, PLACE) == "other"
    assert take(store, PLACE, "mine", 60) is None


@pytest.mark.parametrize(
    "name",
    [".nfs00000000012c0be100000001", "_$folder$", "1.json_$folder$", "old/7.json", "07.json", "-1.json", "x.json"],
)
@pytest.mark.parametrize("content", [b"", lease_of()], ids=["empty", "lease"])
def test_files_that_are_no_leases_are_passed_over(store: Store, name: str, content: bytes) -> None:
    store.replace(f"{PLACE}/{name}", content)
    assert holder_of(store, PLACE) is None
    lease = take(store, PLACE, "mine", 60)
    assert lease is not None
    with lease:
        assert holder_of(store, PLACE) == "mine"
    assert store.read(f"{PLACE}/{name}") == content


DAMAGED = {
    "empty": b"",
    "torn": b'{"holder": "oth',
    "bytes": bytes(range(256)),
    "deep": b"[" * 100_000,
    "a list": b"[1, 2]",
    "null": b"null",
    "no holder": b'{"until": 99999999999.0, "seconds": 60}',
    "a holder that is no text": lease_of(holder=["other"]),
    "an end that is no number": lease_of(left="tomorrow"),
    "no end": lease_of(left=None),
    "an endless number": b'{"holder": "other", "until": Infinity, "seconds": Infinity}',
    "not a number": b'{"holder": "other", "until": NaN, "seconds": NaN}',
    "a huge number": b'{"holder": "other", "until": 1' + b"0" * 400 + b', "seconds": 60}',
    "a year ahead": lease_of(left=365 * 86400.0),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_lease_counts_as_none(store: Store, content: bytes) -> None:
    store.replace(f"{PLACE}/3.json", content)
    assert holder_of(store, PLACE) is None
    lease = take(store, PLACE, "mine", 60)
    assert lease is not None
    with lease:
        assert holder_of(store, PLACE) == "mine", "its number is higher than that of the damaged lease"


@pytest.mark.parametrize(("ahead", "holder"), [(-61.0, None), (-50.0, "other"), (50.0, "other"), (61.0, None)])
def test_clocks_may_differ_by_the_length_of_a_lease(store: Store, ahead: float, holder: str | None) -> None:
    store.replace(f"{PLACE}/1.json", lease_of(left=60.0 + ahead))
    assert holder_of(store, PLACE) == holder


def test_what_is_no_file_among_the_leases_is_passed_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert take(store, PLACE, "before", 60) is not None
    os.mkfifo(tmp_path / PLACE / "5.json")  # reading it would never end
    (tmp_path / PLACE / "6.json").symlink_to("/dev/zero")
    (tmp_path / PLACE / "7.json").symlink_to("nowhere")
    assert holder_of(store, PLACE) == "before"


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
