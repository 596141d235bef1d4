"""Damaged and foreign files of a workspace, deleted caches, and workspaces that vanish cost time, but no result."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.grids import done, failed, made, quiet, task_of
from support.stores import keys

from pipeline.errors import RequestError
from pipeline.plan.kinds import EMBEDDING, HISTORY, KINDS, SHARDS, WEIGHTS
from pipeline.plan.stage import Plan
from pipeline.results import Failure
from pipeline.stages import whole
from pipeline.stages.attempt import execute, runner_of
from pipeline.stages.task import Context
from pipeline.storage import leases
from pipeline.storage.workspace import FAILURE, MARKER, RESULT, Workspace, stage_place

VALUES = {"spec": {}, "started": 1.0}
PLACE = f"{stage_place('search', 'k')}/{RESULT}"


def result_like(**changes: Any) -> bytes:
    """Return the content of a result's file, with changes."""
    result = {"kind": "search", "key": "k", "attempt": "0123456789ab", **VALUES, **changes}
    return json.dumps({name: value for name, value in result.items() if value is not None}).encode()


DAMAGED = {
    "empty": b"",
    "torn": result_like()[:-9],
    "zeros": bytes(200),
    "no text": bytes(range(256)),
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "no values": b"{}",
    "another stage": result_like(key="another"),
    "another kind": result_like(kind="retrain"),
    "no attempt": result_like(attempt=None),
    "an attempt elsewhere": result_like(attempt="../../../../elsewhere"),
    "no specification": result_like(spec=None),
    "a start that is no number": result_like(started="yesterday"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_result_counts_as_none_and_is_named(
    either_workspace: Workspace, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    workspace = either_workspace
    workspace.store.replace(PLACE, content)
    assert workspace.result("search", "k") is None
    assert workspace.all_results("search") == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{workspace.address}/{PLACE} does not hold the result of its stage, which counts as not done and is computed "
        "again."
    ]
    published = workspace.publish(workspace.begin("search", "k"), VALUES)
    assert workspace.result("search", "k") == published
    assert workspace.all_results("search") == [published]
    workspace.publish(workspace.begin("search", "k"), VALUES | {"started": 2.0})
    assert workspace.result("search", "k") == published, "a whole result is never replaced"


def test_a_result_like_those_above_is_one_without_the_damage(either_workspace: Workspace) -> None:
    either_workspace.store.replace(PLACE, result_like())
    assert either_workspace.result("search", "k") == json.loads(result_like())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"message": 1}', b'{"message": "x", "log": 1}', b"\xff", b"[" * 100_000]
)
def test_a_damaged_failure_is_passed_over(either_workspace: Workspace, content: bytes) -> None:
    attempt = either_workspace.begin("search", "k")
    either_workspace.store.replace(f"{attempt.place}/{FAILURE}", content)
    assert either_workspace.last_failure("search", "k") is None
    threading.Event().wait(1.1)  # S3 gives whole seconds
    either_workspace.record_failure(either_workspace.begin("search", "k"), Failure("the reason"))
    assert either_workspace.last_failure("search", "k") == Failure("the reason")


@pytest.mark.parametrize("foreign", [".nfs0001", "_$folder$", "k_$folder$", "a/b/c/result.json", "result.json"])
def test_files_that_nobody_of_us_wrote_are_passed_over(either_workspace: Workspace, foreign: str) -> None:
    either_workspace.store.replace(f"stages/search/{foreign}", b"")
    either_workspace.store.replace(f"stages/{foreign}", b"")
    assert either_workspace.all_results("search") == []
    published = either_workspace.publish(either_workspace.begin("search", "k"), VALUES)
    assert either_workspace.all_results("search") == [published]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_what_is_no_file_is_no_result_and_no_state(tmp_path: Path, make: Callable[[Path], None]) -> None:
    workspace = made(tmp_path)
    attempt = workspace.begin("search", "k")
    for name in (f"{attempt.place}/checkpoint.pt", f"{attempt.place}/{FAILURE}", PLACE):
        make(tmp_path / name)
    assert workspace.result("search", "k") is None
    assert workspace.checkpoints("search", "k") == []
    assert workspace.last_failure("search", "k") is None


@pytest.mark.parametrize("lost", [[WEIGHTS], [HISTORY, WEIGHTS]])
def test_a_result_without_its_files_is_not_published(either_workspace: Workspace, lost: list[str]) -> None:
    workspace = either_workspace
    attempt = workspace.begin("retrain", "k")
    for name in {HISTORY, WEIGHTS} - set(lost):
        (attempt.folder / name).write_text("content")
    with pytest.raises(OSError, match=rf"must have all of its files, but .* has lost {', '.join(lost)}\."):
        workspace.publish(attempt, VALUES, [HISTORY, WEIGHTS])
    (attempt.folder / lost[0]).touch()
    with pytest.raises(OSError, match=rf"must have all of its files, but .* has lost {', '.join(lost)}\."):
        workspace.publish(attempt, VALUES, [HISTORY, WEIGHTS])
    assert workspace.result("retrain", "k") is None


def test_a_cache_that_is_deleted_meanwhile_costs_time_only(
    finished: tuple[Plan, Workspace], s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MSINET_CACHE", str(tmp_path / "cache"))
    workspace, task = made(s3_address), task_of(finished[0].stages["prepare street"], finished[0])
    publish = Workspace.publish

    def delete_first(*arguments: Any) -> Any:
        shutil.rmtree(tmp_path / "cache")
        return publish(*arguments)

    def delete_before_the_check(*arguments: Any) -> None:
        shutil.rmtree(tmp_path / "cache")
        whole.require_whole(*arguments)

    for place, function in (
        ("pipeline.storage.workspace.Workspace.publish", delete_first),
        ("pipeline.stages.attempt.require_whole", delete_before_the_check),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, function)
            failure = failed(execute(workspace.address, task, quiet, holder="driver"))
        assert failure.retry == "again"
        assert f"{SHARDS}/shard-00000.arrow" in failure.message
        assert workspace.result("prepare", task.key) is None
    result = done(execute(workspace.address, task, quiet, holder="driver"))
    for _ in range(2):
        copy = workspace.files(result) / SHARDS / "shard-00000.arrow"
        expected = finished[1].files(finished[0].results()["prepare street"]) / SHARDS / "shard-00000.arrow"
        assert copy.read_bytes() == expected.read_bytes()
        copy.unlink()  # also a single file that is lost or torn is copied again
    copy.write_bytes(b"torn")
    assert (workspace.files(result) / SHARDS / "shard-00000.arrow").read_bytes() == expected.read_bytes()


def test_every_file_of_every_kind_is_checked(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    planned, workspace = finished
    checked = set()
    for stage in planned.stages.values():
        assert stage.result is not None
        folder, names = workspace.files(stage.result), KINDS[stage.kind].files(stage.result)
        written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert written == set(names), f"a result of {stage.kind} has these files"
        whole.require_whole(folder, names)
        for name in set(names) - checked:
            checked.add(name)
            data = (folder / name).read_bytes()
            for kept in (0, len(data) // 3, len(data) - 1):
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_bytes(data[:kept])
                with pytest.raises(OSError, match=r"must have all of its files, whole, but .* is missing or damaged"):
                    whole.require_whole(tmp_path, [name])
            (tmp_path / name).unlink()
            with pytest.raises(OSError, match=r"must have all of its files, whole, but .* is missing or damaged"):
                whole.require_whole(tmp_path, [name])


def test_others_can_read_every_file_of_a_result(finished: tuple[Plan, Workspace]) -> None:
    for stage in finished[0].stages.values():
        assert stage.result is not None
        folder = finished[1].files(stage.result)
        modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
        assert modes == {(finished[1].root / MARKER).stat().st_mode & 0o777}  # type: ignore[operator]
        assert modes != {0o600}


def test_artifacts_are_files_of_the_result() -> None:
    for kind in KINDS.values():
        assert set(kind.artifacts) <= set(kind.files({"shards": 1, "spec": {}}))


def test_an_evaluation_of_held_out_pictures_has_no_embeddings() -> None:
    files = KINDS["evaluate"].files
    assert set(files({"spec": {}})) - set(files({"spec": {"hold_out": 30}})) == {EMBEDDING}


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda shards: (shards / "shard-00000.arrow").write_bytes(b"torn")])
def test_a_result_whose_files_are_lost_is_named(
    finished: tuple[Plan, Workspace], workspace: Workspace, damage: Callable[[Path], Any]
) -> None:
    planned, before = finished
    assert before.root is not None
    assert workspace.root is not None
    shutil.copytree(before.root / "stages" / "prepare", workspace.root / "stages" / "prepare")
    prepared, search = planned.results()["prepare street"], task_of(next(planned.of_kind("search")), planned)
    damage(workspace.files(prepared) / SHARDS)
    failure = failed(execute(workspace.address, search, quiet, holder="driver"))
    assert failure.retry == "again", "a copy may be lost on one machine only"
    place = f"{workspace.address}/{stage_place('prepare', prepared['key'])}/{RESULT}"
    assert "shard-00000.arrow is missing or damaged" in failure.message
    assert f"delete {place}: the next run then computes it again" in failure.message
    Path(place).unlink()
    done(execute(workspace.address, task_of(planned.stages["prepare street"], planned), quiet))


# What is done with a workspace; none of it may succeed where the workspace has vanished.
USES: dict[str, Callable[[Workspace], Any]] = {
    "result": lambda workspace: workspace.result("search", "k"),
    "all_results": lambda workspace: workspace.all_results("search"),
    "begin": lambda workspace: workspace.begin("search", "k"),
    "newest_checkpoint": lambda workspace: workspace.newest_checkpoint("search", "k"),
    "last_failure": lambda workspace: workspace.last_failure("search", "k"),
    "read": lambda workspace: workspace.store.read("a"),
    "create": lambda workspace: workspace.store.create("a", b""),
    "replace": lambda workspace: workspace.store.replace("a", b""),
    "delete": lambda workspace: workspace.store.delete("a"),
    "upload": lambda workspace: workspace.store.upload(Path(__file__), "a"),
    "lease": lambda workspace: leases.take(workspace.store, "stages/search/k/leases", "driver", 60),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
@pytest.mark.parametrize("opened", ["before", "afterwards"])
def test_a_workspace_that_vanishes_is_not_made_anew(tmp_path: Path, use: Any, left: str, opened: str) -> None:
    workspace = made(tmp_path / "mount")
    workspace.publish(workspace.begin("search", "k"), VALUES)
    (tmp_path / "mount").rename(tmp_path / "away")
    if left == "an empty folder":
        (tmp_path / "mount").mkdir()
    if opened == "afterwards":
        workspace = Workspace(workspace.address, made=True)  # as workers do
    with pytest.raises(OSError, match=f"{tmp_path}/mount must contain {MARKER}, but does not"):
        use(workspace)
    assert not list(tmp_path.glob("mount/*"))
    if left == "an empty folder":
        (tmp_path / "mount").rmdir()
    (tmp_path / "away").rename(tmp_path / "mount")
    use(workspace)
    assert workspace.result("search", "k") is not None


def test_a_state_is_not_saved_where_the_workspace_was(tmp_path: Path) -> None:
    workspace = made(tmp_path / "mount")
    attempt = workspace.begin("search", "k")
    (tmp_path / "mount").rename(tmp_path / "away")

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"state")

    with pytest.raises(OSError, match="must contain"):
        workspace.save_checkpoint(attempt, write)
    assert not (tmp_path / "mount").exists()


def test_a_stage_makes_no_workspace(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    task = task_of(finished[0].stages["prepare street"], finished[0])
    with pytest.raises(OSError, match="must contain"):
        execute(str(tmp_path / "mount"), task, quiet)
    assert not (tmp_path / "mount").exists()


def test_a_stage_whose_workspace_vanishes_meanwhile_tries_again(
    finished: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, before = finished
    assert before.root is not None
    shutil.copytree(before.root / "stages" / "prepare", tmp_path / "mount" / "stages" / "prepare")
    workspace, task = made(tmp_path / "mount"), task_of(next(planned.of_kind("retrain")), planned)

    def vanish(report: Any) -> None:
        if report["epoch"] == 1:
            (tmp_path / "mount").rename(tmp_path / "away")

    failure = failed(execute(workspace.address, task, vanish, holder="driver"))
    assert failure.retry == "again"
    assert not (tmp_path / "mount").exists()
    (tmp_path / "away").rename(tmp_path / "mount")
    assert done(execute(workspace.address, task, quiet, holder="driver"))["metrics"]


def test_a_workspace_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"the workspace must be writable, but .*Not a directory.* \(--workspace\)"):
        Workspace(tmp_path / "file" / "workspace").make()


def test_the_marker_is_written_once_and_makes_a_workspace(either_workspace: Workspace) -> None:
    workspace = Workspace(f"{either_workspace.address}/inner")
    assert not workspace.exists
    workspace.make()
    assert keys(workspace.store) == [MARKER]
    assert workspace.exists
    (before,) = workspace.store.entries("")
    made(workspace.address)
    assert workspace.store.entries("") == [before]


def test_a_workspace_of_before_gets_the_marker(tmp_path: Path) -> None:
    workspace = made(tmp_path)
    published = workspace.publish(workspace.begin("search", "k"), VALUES)
    (tmp_path / MARKER).unlink()
    assert Workspace(tmp_path).result("search", "k") == published, "verbs that only read need none"
    made(tmp_path)
    assert (tmp_path / MARKER).is_file()
    assert Workspace(tmp_path, made=True).result("search", "k") == published


def test_a_folder_of_an_attempt_is_not_made_anew(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    workspace, task = made(tmp_path / "mount"), task_of(finished[0].stages["prepare street"], finished[0])
    attempt = workspace.begin(task.kind, task.key)
    (tmp_path / "mount").rename(tmp_path / "away")
    context = Context(task, workspace, attempt, quiet, lambda: False)
    for use in (lambda: context.out, lambda: context.cache, lambda: runner_of(task.kind)(context)):
        with pytest.raises(OSError, match=r"must (stay|contain)"):
            use()
    assert not (tmp_path / "mount").exists()
