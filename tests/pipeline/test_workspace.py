"""What a workspace promises, in a folder and on S3: published once, whole, by whoever was first; attempts never mix."""

import os
import threading
from pathlib import Path

import pytest
from support.grids import made

from pipeline.results import Failure
from pipeline.storage.open import locate
from pipeline.storage.workspace import RESULT, Attempt, Workspace, stage_place

VALUES = {"spec": {}, "started": 1.0}  # every result has these


@pytest.fixture
def workspace(either_workspace: Workspace) -> Workspace:
    """Return an empty workspace of each kind."""
    return either_workspace


def save(workspace: Workspace, attempt: Attempt, state: bytes) -> None:
    workspace.save_checkpoint(attempt, lambda path: path.write_bytes(state))  # type: ignore[arg-type, return-value]


def test_nothing_is_done_at_first(workspace: Workspace) -> None:
    assert workspace.result("search", "k") is None


def test_a_published_result_is_found(workspace: Workspace) -> None:
    attempt = workspace.begin("search", "k")
    (attempt.folder / "genotype.json").write_text("{}")
    published = workspace.publish(attempt, {**VALUES, "genotype": "N" * 12})
    assert workspace.result("search", "k") == published
    for _ in range(2):  # copied, and found again
        assert (workspace.files(published) / "genotype.json").read_text() == "{}"
        assert workspace.file(published, "genotype.json").read_text() == "{}"  # type: ignore[union-attr]
    assert workspace.file(published, "none.json") is None
    assert workspace.all_results("search") == [published]
    assert workspace.all_results("retrain") == []
    assert (published["kind"], published["key"], published["attempt"]) == ("search", "k", attempt.id)


def test_files_of_an_attempt_are_not_a_result(workspace: Workspace) -> None:
    attempt = workspace.begin("search", "k")
    (attempt.folder / "weights.safetensors").write_bytes(b"all of it")
    save(workspace, attempt, b"state")
    assert workspace.result("search", "k") is None
    assert workspace.all_results("search") == []


def test_the_newest_state_of_any_attempt_comes_first(workspace: Workspace) -> None:
    assert workspace.checkpoints("search", "k") == []
    assert workspace.newest_checkpoint("search", "k") == 0
    first, second = workspace.begin("search", "k"), workspace.begin("search", "k")
    save(workspace, first, b"1")
    before = workspace.newest_checkpoint("search", "k")
    threading.Event().wait(1.1)  # S3 tells whole seconds
    save(workspace, second, b"2")
    assert workspace.newest_checkpoint("search", "k") > before
    states = []
    for place in workspace.checkpoints("search", "k"):
        with workspace.checkpoint(place) as path:
            states.append(path.read_bytes())
    assert states == [b"2", b"1"]
    workspace.publish(second, VALUES)
    assert workspace.checkpoints("search", "k") == [], "a stage that is done never continues"


def test_the_second_to_publish_changes_nothing(workspace: Workspace) -> None:
    first, second = workspace.begin("search", "k"), workspace.begin("search", "k")
    assert first.folder != second.folder
    published = workspace.publish(first, VALUES | {"value": 1})
    before = workspace.store.read(f"{stage_place('search', 'k')}/{RESULT}")
    assert workspace.publish(second, VALUES | {"value": 2}) == published
    assert workspace.store.read(f"{stage_place('search', 'k')}/{RESULT}") == before


def test_of_many_at_once_one_publishes(workspace: Workspace) -> None:
    attempts = [workspace.begin("search", "k") for _ in range(16)]
    barrier, seen = threading.Barrier(len(attempts)), []

    def publish(number: int) -> None:
        barrier.wait()
        seen.append(workspace.publish(attempts[number], VALUES | {"value": number})["value"])

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(len(attempts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert len(set(seen)) == 1


def test_an_upload_that_fails_publishes_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    if workspace.root is not None:
        pytest.skip("in a folder the files are where they belong already")

    def broken(*args: object) -> None:
        raise OSError("no route")

    attempt = workspace.begin("search", "k")
    (attempt.folder / "genotype.json").write_text("{}")
    monkeypatch.setattr(type(workspace.store), "upload", broken)
    with pytest.raises(OSError, match="no route"):
        workspace.publish(attempt, VALUES | {"value": 1})
    assert workspace.result("search", "k") is None


def test_what_a_result_vouches_for_is_on_the_disk_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = made(tmp_path / "here")
    attempt = workspace.begin("search", "k")
    (attempt.folder / "shards").mkdir()
    for name in ("weights.safetensors", "shards/0.arrow"):
        (attempt.folder / name).write_bytes(b"all of it")
    synced: list[Path] = []
    fsync, create = os.fsync, workspace.store.create

    def remember(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        fsync(descriptor)

    def create_last(key: str, data: bytes) -> bool:
        assert {attempt.folder, *attempt.folder.rglob("*"), *attempt.folder.parents[:5]} == set(synced)
        assert attempt.folder.parents[4] == workspace.root
        synced.clear()
        return create(key, data)

    def link_a_whole_file(source: Path, target: Path) -> None:
        assert synced == [Path(source)], "its content is on the disk before it has its name"
        link(source, target)

    link = os.link
    monkeypatch.setattr(os, "fsync", remember)
    monkeypatch.setattr("pipeline.storage.store.os.link", link_a_whole_file)
    monkeypatch.setattr(workspace.store, "create", create_last)
    workspace.publish(attempt, VALUES)
    assert synced[-1] == attempt.folder.parents[1], "and then the result's own name"


def test_the_newest_failure_is_the_last(workspace: Workspace) -> None:
    assert workspace.last_failure("search", "k") is None
    for message in ("first", "second"):
        threading.Event().wait(1.1)  # S3 tells whole seconds
        workspace.record_failure(workspace.begin("search", "k"), Failure(message))
    failure = workspace.last_failure("search", "k")
    assert failure is not None
    assert failure.message == "second"


def test_fingerprints_are_remembered(workspace: Workspace) -> None:
    assert workspace.fingerprint("signature") is None
    for kept in ("ab" * 32, "ab" * 32, "cd" * 32):
        workspace.keep_fingerprint("signature", kept)
        assert workspace.fingerprint("signature") == kept
    assert workspace.fingerprint("another") is None
    for _ in range(2):
        workspace.forget_fingerprint("signature")
        assert workspace.fingerprint("signature") is None


@pytest.mark.parametrize("damaged", [b"", b"ab" * 31, b"ab" * 32 + b"\n", b"\xff\xfe" * 32, b"\0" * 64, b"AB" * 32])
def test_a_damaged_fingerprint_counts_as_none(workspace: Workspace, damaged: bytes) -> None:
    workspace.store.replace("fingerprints/signature", damaged)
    assert workspace.fingerprint("signature") is None
    workspace.keep_fingerprint("signature", "ab" * 32)
    assert workspace.fingerprint("signature") == "ab" * 32


def test_where_the_workspace_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_WORKSPACE", str(tmp_path / "from-environment"))
    assert locate(None) == str(tmp_path / "from-environment")
    assert locate(str(tmp_path / "option")) == str(tmp_path / "option")
    monkeypatch.chdir(tmp_path)
    assert locate("relative") == str(tmp_path / "relative"), "absolute before anything is submitted"
    monkeypatch.delenv("MSINET_WORKSPACE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Path(locate(None)).is_relative_to(tmp_path / "data")
    assert locate("s3://bucket/prefix") == "s3://bucket/prefix"
