"""A store promises the same for a folder and for a bucket."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from support.full_disk import files_no_larger_than
from support.stores import LARGE, MEBI, keys

from pipeline.storage.open import open_store, require_conditions
from pipeline.storage.store import Store

HUGE = 96 * MEBI  # more than a transfer may hold


def test_nothing_is_there_at_first(store: Store, tmp_path: Path) -> None:
    assert store.read("a/b") is None
    assert store.entries("") == store.entries("a") == []
    store.delete("a/b")
    with pytest.raises(FileNotFoundError):
        store.download("a/b", tmp_path / "copies" / "b")
    assert not list(tmp_path.glob("copies/*"))


def test_a_store_knows_whether_a_folder_holds_a_file(store: Store) -> None:
    assert not store.holds("")
    assert not store.holds("a")
    store.replace("a/b/c", b"1")
    assert store.holds("")
    assert store.holds("a")
    assert store.holds("a/b")
    assert not store.holds("a/b/c"), "a file is no folder"
    assert not store.holds("b")
    store.delete("a/b/c")
    assert not store.holds("")


def test_an_address_opens_the_same_store(store: Store) -> None:
    store.replace("a", b"1")
    assert open_store(store.address).read("a") == b"1"


def test_the_first_creates(store: Store) -> None:
    assert store.create("a/b", b"1")
    assert not store.create("a/b", b"2")
    assert not store.create("a/b", b"1")  # also with the same bytes
    assert store.read("a/b") == b"1"
    assert keys(store) == ["a/b"]


def test_of_many_at_once_one_creates(store: Store) -> None:
    barrier, created = threading.Barrier(12), {}

    def create(number: int) -> None:
        barrier.wait()
        created[number] = store.create("stages/search/k/result.json", b"%d" % number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, won in created.items() if won]
    assert len(created) == 12
    assert len(winners) == 1
    assert store.read("stages/search/k/result.json") == b"%d" % winners[0]


def test_replacing(store: Store) -> None:
    store.replace("a/b", b"1")
    store.replace("a/b", b"22")
    assert store.read("a/b") == b"22"
    assert [(entry.key, entry.size) for entry in store.entries("")] == [("a/b", 2)]


def test_a_reader_sees_the_old_or_the_new(store: Store) -> None:
    old, new = b"o" * MEBI, b"n" * 2 * MEBI
    store.replace("a", old)
    stop = threading.Event()

    def write() -> None:
        for data in [new, old] * 10:
            store.replace("a", data)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not stop.is_set():
        seen.append(store.read("a"))
    writer.join()
    assert seen
    assert all(data in (old, new) for data in seen)


def test_deleting(store: Store) -> None:
    store.replace("a/b", b"1")
    store.replace("a/c", b"1")
    store.delete("a/b")
    assert store.read("a/b") is None
    assert keys(store) == ["a/c"]
    assert store.create("a/b", b"2")


def test_folders_are_not_files(store: Store) -> None:
    store.replace("a/b", b"1")
    assert store.read("a") is None
    assert store.read("a/b/c") is None
    assert store.entries("a/b") == []
    store.delete("a")
    assert keys(store) == ["a/b"]


def test_entries_are_below_their_folder_and_sorted(store: Store) -> None:
    for key in ["a/bc", "a/b/2", "a/b/10", "a/b/x/y", "a/b.txt", "a/B", "z", "a/b-/1"]:
        store.replace(key, b"1")
    assert keys(store, "a/b") == ["a/b/10", "a/b/2", "a/b/x/y"]
    assert keys(store, "a") == ["a/B", "a/b-/1", "a/b.txt", "a/b/10", "a/b/2", "a/b/x/y", "a/bc"]
    assert keys(store) == [*keys(store, "a"), "z"]


def test_entries_tell_when_they_were_written(store: Store) -> None:
    before = time.time()
    store.replace("a", b"1")
    (entry,) = store.entries("")
    assert before - 2 < entry.modified < time.time() + 2  # S3 tells whole seconds


def test_empty_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert store.create("created", b"")
    store.replace("replaced", b"")
    store.upload(tmp_path / "empty", "uploaded")
    store.download("uploaded", tmp_path / "copy")
    assert [(entry.key, entry.size) for entry in store.entries("")] == [
        ("created", 0),
        ("replaced", 0),
        ("uploaded", 0),
    ]
    assert store.read("created") == (tmp_path / "copy").read_bytes() == b""


ODD = [
    "a b/c  d",
    "ü/日本",
    "1+1",
    "100%",
    "%20",
    "a=b&c?d#e",
    "'q' \"q\"",
    "...",
    ".hidden",
    "back\\slash",
    "a~:;,(@)!*$",
]


def test_odd_keys(store: Store, tmp_path: Path) -> None:
    for key in ODD:
        assert store.create(key, key.encode())
        assert not store.create(key, b"2")
        store.replace(f"folder/{key}/file", b"2")
        assert keys(store, f"folder/{key}") == [f"folder/{key}/file"]
        store.download(key, tmp_path / "copy")
        store.upload(tmp_path / "copy", f"copies/{key}")
        assert store.read(f"copies/{key}") == store.read(key) == key.encode()
    assert len(store.entries("")) == len(ODD) * 3
    for key in ODD:
        store.delete(key)
    assert len(store.entries("")) == len(ODD) * 2


def test_what_is_not_a_key(store: Store, tmp_path: Path) -> None:
    for key in ["", "/a", "a/", "a//b", "../a", "a/../../b", "./a", ".partial/a"]:
        for use in (
            partial(store.read, key),
            partial(store.create, key, b""),
            partial(store.replace, key, b""),
            partial(store.delete, key),
            partial(store.download, key, tmp_path / "copy"),
            partial(store.upload, Path(__file__), key),
            partial(store.entries, key or "/"),
        ):
            with pytest.raises(ValueError, match="a key must be"):
                use()
    assert store.entries("") == []


def test_large_files(store: Store, large: Path, tmp_path: Path) -> None:
    store.upload(large, "weights/large")
    assert store.entries("weights")[0].size == LARGE
    store.download("weights/large", tmp_path / "new" / "folder" / "copy")
    assert (tmp_path / "new" / "folder" / "copy").read_bytes() == large.read_bytes()
    assert store.read("weights/large") == large.read_bytes()
    assert os.listdir(tmp_path / "new" / "folder") == ["copy"]


def test_an_upload_takes_the_place_of_what_was_there(store: Store, tmp_path: Path) -> None:
    store.replace("a", b"before")
    (tmp_path / "new").write_bytes(b"after")
    store.upload(tmp_path / "new", "a")
    assert store.read("a") == b"after"


def test_transfers_hold_little_in_memory(store: Store, tmp_path: Path) -> None:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", HUGE)
    transfers = """
        import sys, tracemalloc
        from pathlib import Path
        from pipeline.storage.open import open_store

        store, path = open_store(sys.argv[1]), Path(sys.argv[2])
        tracemalloc.start()
        store.upload(path / "huge", "huge")
        store.download("huge", path / "copy")
        print(tracemalloc.get_traced_memory()[1])
    """
    command = [sys.executable, "-c", textwrap.dedent(transfers), store.address, str(tmp_path)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "copy").stat().st_size == HUGE
    assert peak < HUGE / 2


def test_a_download_that_fails_midway_leaves_nothing(store: Store, large: Path, tmp_path: Path) -> None:
    store.upload(large, "large")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "there").write_bytes(b"before")
    for name in ("there", "absent"):
        with files_no_larger_than(LARGE // 2), pytest.raises(OSError, match="File too large"):
            store.download("large", tmp_path / "copies" / name)
    assert [path.read_bytes() for path in tmp_path.glob("copies/*")] == [b"before"]


def test_an_upload_of_an_absent_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "absent", "a")
    assert store.entries("") == []


def test_conditional_creation_is_proved(store: Store) -> None:
    require_conditions(store)
    assert store.entries("") == []
