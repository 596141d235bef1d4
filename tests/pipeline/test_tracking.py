"""MLflow as a view: one run per stage key, never doubled; without MLflow the grid does not notice."""

import math
import runpy
from pathlib import Path
from typing import Any

import pytest
from support.grids import tiny_document, under_way

from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.kinds import HISTORY, SPLIT
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Failure
from pipeline.storage.workspace import Workspace
from pipeline.tracking.address import default_address
from pipeline.tracking.curves import PLOTS
from pipeline.tracking.parent import EXPERIMENT_FILE
from pipeline.tracking.runs import KEY_TAG, SPEC_TAG
from pipeline.tracking.tracker import Tracker, sync
from pipeline.tracking.view import View


class Killed(BaseException):
    """Stands for SIGKILL."""


def runs(uri: str, name: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=1000)


def test_sync_writes_everything_once(finished: tuple[Plan, Workspace], uri: str) -> None:
    from mlflow import MlflowClient

    planned, workspace = finished
    distinct = {stage.key for stage in planned.stages.values()}
    for _ in range(2):
        assert sync(uri, planned, workspace) == len(distinct)
        found = runs(uri, "tiny")
        children = [run for run in found if KEY_TAG in run.data.tags]
        assert {run.data.tags[KEY_TAG] for run in children} == distinct
        assert len(children) == len(distinct), "no run is doubled"
        assert len(found) == len(distinct) + 1, "one parent"
    assert {run.info.status for run in found} == {"FINISHED"}

    client = MlflowClient(tracking_uri=uri)
    search = next(planned.of_kind("search"))
    run = next(run for run in children if run.data.tags[KEY_TAG] == search.key)
    assert [p.step for p in client.get_metric_history(run.info.run_id, "train_loss")] == [0, 1]
    assert run.data.params["split"] == run.data.tags["split"] == "60-80"
    assert run.data.params["genotype"] == search.result["genotype"]  # type: ignore[index]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {HISTORY, "genotype.json", SPLIT, *PLOTS}
    assert [p.step for p in client.get_metric_history(run.info.run_id, "entropy")] == [0, 1]
    assert 1.9 < run.data.metrics["entropy"] <= 2
    assert {"margin", "held_slots", "share_exchange", "stands_since", "times_random"} <= set(run.data.metrics)
    evaluation = next(planned.of_kind("evaluate"))
    run = next(run for run in children if run.data.tags[KEY_TAG] == evaluation.key)
    assert math.isclose(run.data.metrics["mAP"], evaluation.result["metrics"]["mAP"])  # type: ignore[index]
    assert {"rank1", "rank5", "rank10", "mINP"} <= set(run.data.metrics)
    assert run.data.params["target"] == "street"
    metrics = run.data.metrics
    for name in ("mAP", "rank1", "mINP"):
        assert 0 <= metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"] <= 1
    assert metrics["mAP_low"] < metrics["mAP_high"]
    half = 50 * (metrics["mAP_high"] - metrics["mAP_low"])
    assert run.data.tags["scores"].startswith(f"mAP {100 * metrics['mAP']:.1f} ± {half:.1f}, rank1 ")


def test_runs_that_were_doubled_are_one_again(finished: tuple[Plan, Workspace], uri: str) -> None:
    from mlflow import MlflowClient

    planned, workspace = finished
    sync(uri, planned, workspace)
    claimed = runs(uri, "tiny")
    client = MlflowClient(tracking_uri=uri)
    for run in claimed:  # as after a request that was repeated since its answer was lost
        tags = {name: run.data.tags[name] for name in (KEY_TAG, SPEC_TAG) if name in run.data.tags}
        for _ in range(2):
            client.create_run(run.info.experiment_id, tags=tags)
    assert len(runs(uri, "tiny")) == 3 * len(claimed)
    sync(uri, planned, workspace)
    assert {run.info.run_id for run in runs(uri, "tiny")} == {run.info.run_id for run in claimed}


def test_a_run_that_was_doubled_before_it_was_claimed_is_one(
    finished: tuple[Plan, Workspace], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    planned, workspace = finished
    create = MlflowClient.create_run

    def repeated(self: Any, *args: Any, **kwargs: Any) -> Any:
        create(self, *args, **kwargs)
        return create(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", repeated)
    shown = sync(uri, planned, workspace)
    assert len(runs(uri, "tiny")) == shown + 1, "a run for each result, and the parent"


@pytest.mark.parametrize(
    ("call", "written"),
    [("log_artifact", "nothing"), ("log_batch", "nothing"), ("log_batch", "parameters"), ("log_batch", "everything")],
)
def test_what_a_killed_driver_left_undone_is_done_once(
    finished: tuple[Plan, Workspace], uri: str, monkeypatch: pytest.MonkeyPatch, call: str, written: str
) -> None:
    from mlflow import MlflowClient

    planned, workspace = finished
    real, killed = getattr(MlflowClient, call), set()

    def once(self: Any, run: str, *args: Any, **kwargs: Any) -> None:
        what = (run, *(entry.key for kind in ("params", "metrics") for entry in kwargs.get(kind, ())))
        if what in killed or written == "everything":
            real(self, run, *args, **kwargs)
        elif written == "parameters":  # the server writes them first
            real(self, run, params=kwargs.get("params", ()))
        if what not in killed:
            killed.add(what)
            raise Killed

    monkeypatch.setattr(MlflowClient, call, once)
    for _ in range(5 * len(planned.stages)):
        try:
            sync(uri, planned, workspace)
            break
        except Killed:
            continue
    found = {run.data.tags.get(KEY_TAG): run for run in runs(uri, "tiny")}
    parent = found.pop(None).info.run_id
    disturbed = {parent} if call == "log_artifact" else {run.info.run_id for run in found.values()}
    assert disturbed <= {run for run, *_ in killed}
    client = MlflowClient(tracking_uri=uri)
    assert [artifact.path for artifact in client.list_artifacts(parent)] == [EXPERIMENT_FILE]
    for stage in planned.stages.values():
        shown = {"kind": stage.kind, **{name: str(value) for name, value in stage.labels.items()}}
        if stage.kind == "search":
            shown["genotype"] = stage.result["genotype"]  # type: ignore[index]
        assert shown.items() <= found[stage.key].data.params.items()
        assert shown.items() <= found[stage.key].data.tags.items()
        if stage.kind == "evaluate":
            assert len(client.get_metric_history(found[stage.key].info.run_id, "mAP")) == 1


def test_a_grid_under_fire_is_told_of_runs_that_are_wrong(
    finished: tuple[Plan, Workspace], uri: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    wrong_runs = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "chaos.py"))["wrong_runs"]
    planned, workspace = finished
    sync(uri, planned, workspace)
    kinds = {str(stage.key): stage.kind for stage in planned.stages.values()}
    assert wrong_runs(uri, "tiny", kinds) == []
    client = MlflowClient(tracking_uri=uri)
    first, second, third = list(kinds)[:3]
    ids = {run.data.tags.get(KEY_TAG): run.info.run_id for run in runs(uri, "tiny")}
    client.delete_tag(ids[first], "kind")
    client.delete_run(ids[second])
    client.create_run(client.get_run(ids[third]).info.experiment_id, tags={KEY_TAG: third, "kind": kinds[third]})
    (tmp_path / "mlartifacts" / "tiny" / ids[None] / "artifacts" / EXPERIMENT_FILE).unlink()
    undescribed = "its run must have `kind` {} as a parameter and as a tag"
    assert sorted(wrong_runs(uri, "tiny", kinds)) == sorted(
        [
            f"{first}: {undescribed.format(kinds[first])}",
            f"{second}: 0 runs",
            f"{third}: 2 runs",
            f"{third}: {undescribed.format(kinds[third])}",
            f"parent: its run has no {EXPERIMENT_FILE}",
        ]
    )


def test_live_epochs_and_a_restart_leave_each_point_once(finished: tuple[Plan, Workspace], uri: str) -> None:
    from mlflow import MlflowClient

    (planned, results), workspace = under_way(*finished), finished[1]
    search = next(planned.of_kind("search"))
    search.started = results[search.name]["started"]
    report = {"epoch": 0, "epochs": 2, "train_loss": 1.0, "lr": 0.1, "seconds": 1.0}
    first = Tracker(uri, planned, workspace)
    first.started(search)
    first.reported(search, [report])
    assert first.close() is None
    second = Tracker(uri, planned, workspace)
    second.started(search)
    second.reported(search, [report])
    search.result = results[search.name]
    second.finished(search)
    assert second.close() is None
    run = next(run for run in runs(uri, "tiny") if run.data.tags.get(KEY_TAG) == search.key)
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "train_loss")
    assert sorted(point.step for point in history) == [0, 1]
    assert {point.value for point in history if point.step == 0} == {1.0}, "the epoch that was logged while it ran"


def test_epochs_that_were_missed_are_filled_in(finished: tuple[Plan, Workspace], uri: str) -> None:
    from mlflow import MlflowClient

    (planned, results), workspace = under_way(*finished), finished[1]
    search = next(planned.of_kind("search"))
    search.started = results[search.name]["started"]
    tracker = Tracker(uri, planned, workspace)  # the server was down in the first epoch
    tracker.reported(search, [{"epoch": 1, "epochs": 2, "train_loss": 1.0, "lr": 0.1, "seconds": 1.0}])
    search.result = results[search.name]
    tracker.finished(search)
    assert tracker.close() is None
    run = next(run for run in runs(uri, "tiny") if run.data.tags.get(KEY_TAG) == search.key)
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "train_loss")
    assert sorted(point.step for point in history) == [0, 1]


def test_a_batch_that_is_lost_leaves_no_half_epoch(
    finished: tuple[Plan, Workspace], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, workspace = finished
    search = next(planned.of_kind("search"))
    names = ("seconds", *(f"loss_{number}" for number in range(10)))
    reports = [{"epoch": epoch, **dict.fromkeys(names, 1.0)} for epoch in range(120)]  # more than a request takes
    view = View(uri, planned, workspace)
    view.open(running=True)
    send, sent = view.client.log_batch, []

    def break_off(run: str, metrics: Any) -> None:
        if sent:
            raise ConnectionError
        send(run, metrics=metrics)
        sent.append(len(metrics))

    run = view.start(search)
    monkeypatch.setattr(view.client, "log_batch", break_off)
    with pytest.raises(ConnectionError):
        view.log_epochs(search, reports)
    monkeypatch.undo()
    assert 0 < sent[0] <= 1000, "what the server takes"
    again = View(uri, planned, workspace)
    again.open(running=True)
    again.log_epochs(search, reports)
    for name in names:
        assert sorted(point.step for point in view.client.get_metric_history(run, name)) == list(range(120))


def test_a_stage_that_never_ran_holds_up_nothing(finished: tuple[Plan, Workspace], uri: str) -> None:
    _, workspace = finished
    planned = plan(Experiment.model_validate(tiny_document()))
    (search,) = planned.of_kind("search")
    assert search.key is None
    tracker = Tracker(uri, planned, workspace)
    tracker._put(lambda: 1 / 0)  # whatever made MLflow miss something
    tracker.failed(search, Failure("not run, because `prepare street` failed"))
    assert tracker.close("FAILED") is None


def test_a_failed_stage_shows_why(finished: tuple[Plan, Workspace], uri: str) -> None:
    from mlflow import MlflowClient

    (planned, results), workspace = under_way(*finished), finished[1]
    stage = next(planned.of_kind("retrain"))
    tracker = Tracker(uri, planned, workspace)
    tracker.started(stage)
    tracker.failed(stage, Failure("the losses must stay finite", traceback="Traceback ...", log="epoch 1"))
    assert tracker.close("FAILED") is None
    run = next(run for run in runs(uri, "tiny") if run.data.tags.get(KEY_TAG) == stage.key)
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "the losses must stay finite"
    client = MlflowClient(tracking_uri=uri)
    texts = {name: Path(client.download_artifacts(run.info.run_id, f"{name}.txt")) for name in ("traceback", "log")}
    assert {name: path.read_text() for name, path in texts.items()} == {"traceback": "Traceback ...", "log": "epoch 1"}
    # It succeeds on the next attempt.
    stage.result = results[stage.name]
    sync(uri, planned, workspace)
    run = next(run for run in runs(uri, "tiny") if run.data.tags.get(KEY_TAG) == stage.key)
    assert run.info.status == "FINISHED"
    assert "failure" not in run.data.tags


def test_a_call_that_fails_once_is_repeated_without_a_word(
    finished: tuple[Plan, Workspace], uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    stage = next(planned.of_kind("search"))
    tracker, failed, write = Tracker(uri, planned, workspace), [], View.sync

    def fail_once(view: View, stage: Stage) -> None:
        if not failed:
            failed.append(stage.name)
            raise ConnectionError("another driver writes at this moment")
        write(view, stage)

    monkeypatch.setattr(View, "sync", fail_once)
    stage.result = results[stage.name]
    tracker.finished(stage)
    assert tracker.close() is None
    assert failed
    assert "cannot be reached" not in caplog.text
    (run,) = [run for run in runs(uri, "tiny") if run.data.tags.get(KEY_TAG) == stage.key]
    assert run.info.status == "FINISHED"


def test_a_server_that_is_down_stops_nothing(
    finished: tuple[Plan, Workspace], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planned, workspace = finished
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    uri = "http://planted%2Duser:planted%2Dpassword@127.0.0.1:9"  # the discard port: nobody listens
    tracker = Tracker(uri, planned, workspace)
    for stage in planned.stages.values():
        tracker.started(stage)
        tracker.finished(stage)
    problem = tracker.close()
    assert problem is not None
    (told,) = [record.getMessage() for record in caplog.records if record.name == "pipeline.tracking.tracker"]
    assert "the grid goes on without it" in told
    for text in (problem, told):
        assert "planted" not in text
        assert "127.0.0.1" in text
    with pytest.raises(RequestError, match=r"MLflow must be reachable.*--tracking-uri") as caught:
        sync(uri, planned, workspace)
    assert "planted" not in str(caught.value)


def test_the_default_is_an_absolute_file_beside_the_results(workspace: Workspace) -> None:
    assert default_address(workspace) == f"sqlite:///{workspace.root}/mlflow.db"
    assert workspace.root.is_absolute()


def test_a_driver_killed_while_it_makes_the_database_leaves_none(
    finished: tuple[Plan, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    planned, workspace = finished
    path = tmp_path / "mlflow.db"

    def killed(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "search_experiments", killed)
        with pytest.raises(Killed):
            sync(f"sqlite:///{path}", planned, workspace)
    assert not path.exists()
    assert sync(f"sqlite:///{path}", planned, workspace) > 0
    assert {p.name for p in tmp_path.iterdir()} == {"mlflow.db", "mlartifacts"}, "nothing partial stays"
