"""MLflow's state is changed behind our back: deleted, moved, copied, interrupted. The next run or `sync` mends it."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.grids import under_way

import pipeline.grid
from pipeline.cluster.watcher import Watcher
from pipeline.errors import ClusterLost
from pipeline.grid import Grid, run_grid
from pipeline.plan.kinds import HISTORY, KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.storage import leases
from pipeline.storage.workspace import Workspace, stage_place
from pipeline.tracking.address import default_address, sqlite_address
from pipeline.tracking.curves import PLOTS
from pipeline.tracking.parent import EXPERIMENT_FILE
from pipeline.tracking.registry import FOLDER
from pipeline.tracking.runs import KEY_TAG, PARENT_TAG, WEIGHTS_TAG
from pipeline.tracking.tracker import Tracker, sync


def client_of(uri: str) -> Any:
    """Return a client that has not kept where artifacts of a run lie, as in a process of its own."""
    from mlflow import MlflowClient
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
    return MlflowClient(tracking_uri=uri)


def runs(uri: str) -> dict[str | None, Any]:
    """Return the runs by key (the parent's is None), and make sure that none is doubled."""
    client = client_of(uri)
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], max_results=1000)
    by_key = {run.data.tags.get(KEY_TAG): run for run in found}
    assert len(by_key) == len(found)
    return by_key


def require_whole(uri: str, planned: Plan, workspace: Workspace) -> None:
    """Make sure that MLflow shows every result with all of its artifacts, under one parent."""
    client, found = client_of(uri), runs(uri)
    parent = found.pop(None)
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == [EXPERIMENT_FILE]
    assert found.keys() == {stage.key for stage in planned.stages.values()}
    for stage in planned.stages.values():
        run = found[stage.key]
        assert run.info.status == "FINISHED"
        assert run.data.tags[PARENT_TAG] == parent.info.run_id
        assert stage.result is not None
        assert run.data.tags[WEIGHTS_TAG] == workspace.location(stage.result)
        # The chosen model of a target is beside the files of its training.
        there = {file.path for file in client.list_artifacts(run.info.run_id)} - {FOLDER}
        files = {name for name in KINDS[stage.kind].artifacts if workspace.file(stage.result, name)}
        assert there == files | (set(PLOTS) if stage.kind == "search" else set())


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Deleted.


def test_a_deleted_experiment_is_restored(finished: tuple[Plan, Workspace], uri: str) -> None:
    planned, workspace = finished
    sync(uri, planned, workspace)
    client = client_of(uri)
    before = runs(uri)
    # Restoring the experiment restores this one too, although it was deleted before.
    key = next(planned.of_kind("search")).key
    doubled = client.create_run(before[key].info.experiment_id, tags={KEY_TAG: str(key)})
    client.delete_run(doubled.info.run_id)
    client.delete_experiment(client.get_experiment_by_name("tiny").experiment_id)
    sync(uri, planned, workspace)
    require_whole(uri, planned, workspace)
    assert {run.info.run_id for run in runs(uri).values()} == {run.info.run_id for run in before.values()}


def test_deleted_runs_are_made_anew(finished: tuple[Plan, Workspace], uri: str) -> None:
    planned, workspace = finished
    sync(uri, planned, workspace)
    client, before = client_of(uri), runs(uri)
    deleted = [None, next(planned.of_kind("retrain")).key]
    for key in deleted:
        client.delete_run(before[key].info.run_id)
    sync(uri, planned, workspace)
    require_whole(uri, planned, workspace)
    after = runs(uri)
    assert {key for key in after if after[key].info.run_id != before[key].info.run_id} == set(deleted)


def test_an_experiment_that_is_deleted_while_its_grid_runs(finished: tuple[Plan, Workspace], uri: str) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    tracker = Tracker(uri, planned, workspace, patience=0.2)
    search, *others = [next(planned.of_kind("search")), *planned.of_kind("prepare")]
    tracker.started(search)
    client = client_of(uri)
    wait_until(lambda: client.get_experiment_by_name("tiny") is not None and search.key in runs(uri))
    client.delete_experiment(client.get_experiment_by_name("tiny").experiment_id)
    for stage in planned.stages.values():
        stage.result = results[stage.name]
        tracker.finished(stage)
    assert others
    assert tracker.close() is None
    require_whole(uri, planned, workspace)


def test_artifacts_that_were_deleted_are_written_again(
    finished: tuple[Plan, Workspace], uri: str, tmp_path: Path
) -> None:
    planned, workspace = finished
    sync(uri, planned, workspace)
    shutil.rmtree(tmp_path / "mlartifacts")
    sync(uri, planned, workspace)
    require_whole(uri, planned, workspace)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_workspace_that_may_only_be_read_is_shown(
    finished: tuple[Plan, Workspace], uri: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    planned, workspace = finished

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workspace.store, "create", refuse)
    monkeypatch.setattr(workspace.store, "replace", refuse)
    for _ in range(2):
        sync(uri, planned, workspace)
        require_whole(uri, planned, workspace)


# Moved and copied.


@pytest.fixture
def old(finished: tuple[Plan, Workspace], empty_database: Path, tmp_path: Path) -> Workspace:
    """Return a workspace of the test's own whose results MLflow shows."""
    workspace = Workspace(tmp_path / "old")
    shutil.copytree(str(finished[1].root), tmp_path / "old")
    shutil.copy(empty_database, tmp_path / "old")
    sync(str(default_address(workspace)), planned_in(workspace, finished), workspace)
    return workspace


def planned_in(workspace: Workspace, finished: tuple[Plan, Workspace]) -> Plan:
    planned, results = under_way(finished[0], workspace)
    for stage in planned.stages.values():
        stage.result = results[stage.name]
    return planned


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_workspace_that_was_moved_or_copied_shows_everything(
    finished: tuple[Plan, Workspace], old: Workspace, tmp_path: Path, how: str
) -> None:
    {"moved": shutil.move, "copied": shutil.copytree}[how](tmp_path / "old", tmp_path / "a new place")
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "old").rglob("*"))
    new = Workspace(tmp_path / "a new place")
    uri = str(default_address(new))
    planned = planned_in(new, finished)
    ids = {key: run.info.run_id for key, run in runs(uri).items()}
    client_of(uri)
    sync(uri, planned, new)
    require_whole(uri, planned, new)
    assert {key: run.info.run_id for key, run in runs(uri).items()} == ids, "the same runs"
    for run in runs(uri).values():
        assert run.info.artifact_uri.startswith((tmp_path / "a new place" / "mlartifacts" / "tiny").as_uri() + "/")
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "old").rglob("*")) == before
    client = client_of(uri)
    file = client.download_artifacts(runs(uri)[next(planned.of_kind("search")).key].info.run_id, HISTORY)
    assert Path(file).is_file()


def test_a_stage_after_the_move_writes_nothing_to_the_old_place(
    finished: tuple[Plan, Workspace], old: Workspace, tmp_path: Path
) -> None:
    shutil.move(tmp_path / "old", tmp_path / "new")
    new = Workspace(tmp_path / "new")
    planned = planned_in(new, finished)
    stage = next(planned.of_kind("retrain"))
    stage.key = "another"
    client_of("sqlite://")
    tracker = Tracker(str(default_address(new)), planned, new)
    tracker.finished(stage)
    assert tracker.close() is None
    assert not (tmp_path / "old").exists()


def test_artifacts_in_a_place_that_a_person_chose_stay_there(
    finished: tuple[Plan, Workspace], uri: str, tmp_path: Path
) -> None:
    chosen = (tmp_path / "chosen").as_uri()
    client_of(uri).create_experiment("tiny", chosen)
    sync(uri, *finished)
    assert client_of(uri).get_experiment_by_name("tiny").artifact_location == chosen
    require_whole(uri, *finished)
    assert {run.info.artifact_uri.startswith(chosen) for run in runs(uri).values()} == {True}


def test_any_character_may_be_in_a_path(
    finished: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = tmp_path / "a%20b?c#d ü;e&f=g+h'i\"j:k@l\\m[n]{o}$p%q\nr"
    workspace = Workspace(folder / "workspace")
    shutil.copytree(str(finished[1].root), folder / "workspace")
    planned, uri = planned_in(workspace, finished), str(default_address(workspace))
    for _ in range(2):
        sync(uri, planned, workspace)
        require_whole(uri, planned, workspace)
    assert {path.name for path in (folder / "workspace").iterdir()} >= {"mlflow.db", "mlartifacts"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["here", folder.name])
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("name", ["plain", "a%20b", "a?b=c", "a%b"])
def test_the_address_of_a_file_names_this_file(tmp_path: Path, name: str) -> None:
    import sqlalchemy

    (tmp_path / name).mkdir()
    engine = sqlalchemy.create_engine(sqlite_address(tmp_path / name / "mlflow.db"))
    engine.connect().close()
    assert (tmp_path / name / "mlflow.db").is_file()


# Interrupted.


def statuses(uri: str) -> dict[str | None, str]:
    return {key: run.info.status for key, run in runs(uri).items()}


def test_what_was_under_way_when_a_driver_was_interrupted_is_killed(finished: tuple[Plan, Workspace], uri: str) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    prepare, search = next(planned.of_kind("prepare")), next(planned.of_kind("search"))
    tracker = Tracker(uri, planned, workspace)
    tracker.started(prepare)
    tracker.started(search)
    prepare.result = results[prepare.name]
    tracker.finished(prepare)
    assert tracker.close("KILLED") is None
    assert statuses(uri) == {None: "KILLED", prepare.key: "FINISHED", search.key: "KILLED"}
    again = Tracker(uri, planned, workspace)
    again.started(search)
    wait_until(lambda: statuses(uri) == {None: "RUNNING", prepare.key: "FINISHED", search.key: "RUNNING"})
    for stage in planned.stages.values():
        stage.result = results[stage.name]
        again.finished(stage)
    assert again.close() is None
    require_whole(uri, planned, workspace)
    assert set(statuses(uri).values()) == {"FINISHED"}


@pytest.mark.parametrize("reason", [KeyboardInterrupt, SystemExit, ClusterLost])
def test_a_driver_that_ends_early_leaves_nothing_running(
    finished: tuple[Plan, Workspace], uri: str, monkeypatch: pytest.MonkeyPatch, reason: type[BaseException]
) -> None:
    (planned, _), workspace = under_way(*finished), finished[1]
    search = next(planned.of_kind("search"))

    def run_plan(plan: Plan, place: Workspace, watchers: list[Watcher]) -> None:
        for watcher in watchers:
            watcher.started(search)
        wait_until(lambda: statuses(uri).get(search.key) == "RUNNING" if has_experiment(uri) else False)
        raise reason

    monkeypatch.setattr("pipeline.cluster.connect.connect", lambda *arguments: None)
    monkeypatch.setattr("pipeline.cluster.driver.run_plan", run_plan)
    monkeypatch.setattr(pipeline.grid, "_untracked", lambda *arguments: None)
    with pytest.raises(reason):
        run_grid(Grid(planned.experiment, workspace, planned), tracking_uri=uri)
    assert statuses(uri) == {None: "KILLED", search.key: "KILLED"}


def has_experiment(uri: str) -> bool:
    return client_of(uri).get_experiment_by_name("tiny") is not None


def test_sync_ends_what_a_killed_driver_left_running(finished: tuple[Plan, Workspace], uri: str) -> None:
    (planned, _), workspace = under_way(*finished), finished[1]
    for stage in planned.stages.values():
        tracker = Tracker(uri, planned, workspace)
        tracker.started(stage)
        wait_until(lambda stage=stage, tracker=tracker: tracker._events.empty() and stage.key in known(tracker))
        tracker._put(None)  # the driver dies without a word
        tracker._thread.join()
    assert set(statuses(uri).values()) == {"RUNNING"}
    sync(uri, planned, workspace)
    assert set(statuses(uri).values()) == {"KILLED"}


def known(tracker: Tracker) -> set[str]:
    return set(tracker.view._known)


def test_sync_leaves_alone_what_somebody_works_at(
    finished: tuple[Plan, Workspace], workspace: Workspace, uri: str
) -> None:
    planned, _ = under_way(*finished)
    held, lost = next(planned.of_kind("search")), next(planned.of_kind("retrain"))
    place = f"{stage_place(held.kind, str(held.key))}/leases"
    assert leases.take(workspace.store, place, "another driver", 600) is not None
    tracker = Tracker(uri, planned, workspace)
    tracker.started(held)
    tracker.started(lost)
    wait_until(lambda: tracker._events.empty() and lost.key in known(tracker))
    sync(uri, planned, workspace)
    assert statuses(uri) == {None: "RUNNING", held.key: "RUNNING", lost.key: "KILLED"}


def test_sync_of_an_unfinished_experiment_shows_nothing_as_running(finished: tuple[Plan, Workspace], uri: str) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    prepare: Stage = next(planned.of_kind("prepare"))
    prepare.result = results[prepare.name]
    sync(uri, planned, workspace)
    assert statuses(uri) == {None: "KILLED", prepare.key: "FINISHED"}
