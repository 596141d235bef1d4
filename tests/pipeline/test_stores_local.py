"""A store in a folder: it is read in place, and a write that fails midway is not visible."""

from pathlib import Path
from typing import Any

import pytest
from support.full_disk import files_no_larger_than
from support.stores import LARGE, keys

from pipeline.errors import RequestError
from pipeline.storage.open import open_store, require_conditions
from pipeline.storage.store import LocalStore


def test_a_folder_is_read_in_place(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.replace("a/b", b"1")
    folder = store.folder("a")
    assert folder is not None
    assert (folder / "b").read_bytes() == b"1"
    assert store.folder("") == tmp_path
    assert store.folder("absent") == tmp_path / "absent"


@pytest.mark.parametrize("write", ["create", "replace", "upload"])
def test_a_write_that_fails_midway_is_not_visible(tmp_path: Path, large: Path, write: str) -> None:
    store = LocalStore(tmp_path / "store")
    source: Any = large if write == "upload" else large.read_bytes()
    arguments = (source, "a/b") if write == "upload" else ("a/b", source)
    with files_no_larger_than(LARGE // 2), pytest.raises(OSError, match="File too large"):
        getattr(store, write)(*arguments)
    assert store.read("a/b") is None
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_what_a_killed_writer_left_is_not_visible(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "left").write_bytes(b"half")
    store.replace("a", b"1")
    assert keys(store) == ["a"]


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pipeline.storage.store.os.link", link)
    with pytest.raises(RequestError, match=r"must be writable.*Operation not permitted"):
        require_conditions(LocalStore(tmp_path))


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.replace("a/b", b"1")

    def scandir(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("pipeline.storage.store.os.scandir", scandir)
    with pytest.raises(PermissionError):
        store.entries("")
