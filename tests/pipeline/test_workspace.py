"""What a workspace promises: published once, whole, by whoever was first; attempts never mix."""

import json
import threading
from pathlib import Path

import pytest

from pipeline.workspace import RESULT, Workspace, create_once, locate


def test_nothing_is_done_at_first(workspace: Workspace) -> None:
    assert workspace.result("search", "k") is None


def test_a_published_result_is_found(workspace: Workspace) -> None:
    attempt = workspace.begin("search", "k")
    (attempt.folder / "genotype.json").write_text("{}")
    published = workspace.publish(attempt, {"genotype": "N" * 12})
    assert workspace.result("search", "k") == published
    assert (workspace.files(published) / "genotype.json").exists()
    assert (published["kind"], published["key"], published["attempt"]) == ("search", "k", attempt.id)


def test_files_of_an_attempt_are_not_a_result(workspace: Workspace) -> None:
    attempt = workspace.begin("search", "k")
    (attempt.folder / "weights.safetensors").write_bytes(b"all of it")
    attempt.checkpoint.write_bytes(b"state")
    assert workspace.result("search", "k") is None


def test_the_second_to_publish_changes_nothing(workspace: Workspace) -> None:
    first, second = workspace.begin("search", "k"), workspace.begin("search", "k")
    assert first.folder != second.folder
    published = workspace.publish(first, {"value": 1})
    before = (workspace.stage_folder("search", "k") / RESULT).read_bytes()
    assert workspace.publish(second, {"value": 2}) == published
    assert (workspace.stage_folder("search", "k") / RESULT).read_bytes() == before


def test_of_many_at_once_one_publishes(workspace: Workspace) -> None:
    attempts = [workspace.begin("search", "k") for _ in range(16)]
    barrier, seen = threading.Barrier(len(attempts)), []

    def publish(number: int) -> None:
        barrier.wait()
        seen.append(workspace.publish(attempts[number], {"value": number})["value"])

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(len(attempts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert len(set(seen)) == 1


def test_a_result_is_never_half_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(json, "dump", broken)
    with pytest.raises(OSError, match="no space"):
        create_once(tmp_path / RESULT, {"value": 1})
    assert not (tmp_path / RESULT).exists()


def test_the_newest_failure_is_the_last(workspace: Workspace) -> None:
    assert workspace.last_failure("search", "k") is None
    for message in ("first", "second"):
        workspace.record_failure(workspace.begin("search", "k"), {"message": message})
    failure = workspace.last_failure("search", "k")
    assert failure is not None
    assert failure["message"] == "second"


def test_fingerprints_are_remembered(workspace: Workspace) -> None:
    assert workspace.fingerprint("signature") is None
    workspace.keep_fingerprint("signature", "abc")
    workspace.keep_fingerprint("signature", "abc")
    assert workspace.fingerprint("signature") == "abc"


def test_where_the_workspace_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSINET_WORKSPACE", str(tmp_path / "from-environment"))
    assert locate(None) == tmp_path / "from-environment"
    assert locate(str(tmp_path / "option")) == tmp_path / "option"
    monkeypatch.chdir(tmp_path)
    assert locate("relative") == tmp_path / "relative", "absolute before anything is submitted"
    monkeypatch.delenv("MSINET_WORKSPACE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert locate(None).is_relative_to(tmp_path / "data")
