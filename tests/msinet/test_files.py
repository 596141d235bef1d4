"""Files that are either complete or absent, also after a power failure or on a full disk."""

import os

import pytest
from support.full_disk import files_no_larger_than

from msinet.files import json_text, written_whole


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_number_that_other_programs_cannot_read(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"mAP": [number]})


@pytest.mark.parametrize("place", [os.replace, os.link])
def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, place):
    """Otherwise, after a power failure, the name could be there with an empty file."""
    synced = []
    fsync = os.fsync

    def remember(descriptor):
        status = os.fstat(descriptor)
        synced.append((status.st_ino, status.st_size))
        fsync(descriptor)

    def place_last(source, target):
        assert synced == [(source.stat().st_ino, 8)], "synced once, with all of its bytes"
        assert not target.exists()
        place(source, target)

    monkeypatch.setattr(os, "fsync", remember)
    with written_whole(tmp_path / "folder" / "file", place=place_last) as file:
        file.write(b"all of it"[:8])
    assert (tmp_path / "folder" / "file").read_bytes() == b"all of i"
    assert os.listdir(tmp_path / "folder") == ["file"]


@pytest.mark.parametrize("error", [OSError("no room"), KeyError("a bug"), KeyboardInterrupt()])
def test_nothing_remains_of_a_file_that_is_not_complete(tmp_path, error):
    (tmp_path / "file").write_bytes(b"before")

    def fail():
        with written_whole(tmp_path / "file") as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert (tmp_path / "file").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_names_the_file(tmp_path):
    with (
        files_no_larger_than(10),
        pytest.raises(OSError, match=rf"File too large: '{tmp_path}/file'"),
        written_whole(tmp_path / "file") as file,
    ):
        file.write(bytes(100_000))
    assert os.listdir(tmp_path) == []
