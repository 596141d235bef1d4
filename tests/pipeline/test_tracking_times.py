"""MLflow's times, durations and hours are those of the results, for every kind of stage."""

from itertools import pairwise
from typing import Any

import pytest
from support.grids import tiny_document, under_way

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Failure
from pipeline.storage.workspace import Workspace
from pipeline.tracking.runs import KEY_TAG
from pipeline.tracking.tracker import Tracker, sync

YEAR = 365 * 86400.0


def runs(uri: str) -> dict[str | None, Any]:
    """Return the runs by key (the parent's is None), and make sure that none is doubled."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], max_results=1000)
    by_key = {run.data.tags.get(KEY_TAG): run for run in found}
    assert len(by_key) == len(found)
    return by_key


def times(result: dict[str, Any]) -> tuple[int, int]:
    return int(1000 * result["started"]), int(1000 * (result["started"] + result["seconds"]))


def require_times_of_results(uri: str, planned: Plan) -> None:
    """Make sure that every run begins and ends when its result says."""
    found = runs(uri)
    parent = found.pop(None)
    results = {stage.key: stage.result for stage in planned.stages.values() if stage.result}
    assert found.keys() == results.keys()
    for key, result in results.items():
        assert (found[key].info.start_time, found[key].info.end_time) == times(result), result["kind"]
        busy = max(result["seconds"], result.get("train_seconds", 0.0))
        assert found[key].data.metrics["hours"] == pytest.approx(busy / 3600)
    assert parent.info.start_time <= parent.info.end_time == max(times(result)[1] for result in results.values())
    assert parent.data.metrics["hours_without_result"] == 0
    assert parent.data.metrics["hours"] == pytest.approx(sum(run.data.metrics["hours"] for run in found.values()))


def test_after_sync(finished: tuple[Plan, Workspace], uri: str) -> None:
    planned, workspace = finished
    for _ in range(2):
        sync(uri, planned, workspace)
        require_times_of_results(uri, planned)
    parent = runs(uri)[None]
    assert parent.info.start_time == min(times(stage.result)[0] for stage in planned.stages.values() if stage.result)


def test_every_kind_has_the_times_of_its_result(workspace: Workspace, uri: str) -> None:
    stages = {}
    for number, kind in enumerate(KINDS):
        result = {"kind": kind, "key": kind, "attempt": "none", "started": YEAR + 100 * number, "seconds": 50.5}
        result["spec"] = {}
        scores = {"metrics": {"mAP": 0.5, "rank1": 0.5, "latency_ms": 1.0}}
        labels: dict[str, Any] = {"source": "street", "target": "street", "origin": "MSINet", "seed": 0}
        labels |= {"dataset": "street", "domain": "in_domain"}
        needs = {"model": "retrain", "target_data": "prepare"}
        stages[kind] = Stage(kind, kind, {}, needs=needs, labels=labels, key=kind, result={**result, **scores})
    planned = Plan(Experiment.model_validate(tiny_document()), stages)
    sync(uri, planned, workspace)
    require_times_of_results(uri, planned)
    assert runs(uri)[None].info.start_time == 1000 * YEAR


def test_a_run_that_was_shown_live_keeps_its_id(finished: tuple[Plan, Workspace], uri: str) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    tracker = Tracker(uri, planned, workspace)
    for stage in planned.stages.values():
        stage.started = results[stage.name]["started"]  # the worker told it when it began
        tracker.started(stage)
    assert tracker.close("KILLED") is None
    before = runs(uri)
    tracker = Tracker(uri, planned, workspace)
    for stage in planned.stages.values():
        tracker.started(stage)
        stage.result = results[stage.name]
        tracker.finished(stage)
    assert tracker.close() is None
    after = runs(uri)
    for stage in planned.stages.values():
        assert (after[stage.key].info.start_time, after[stage.key].info.end_time) == times(results[stage.name])
        assert after[stage.key].info.run_id == before[stage.key].info.run_id
        assert after[stage.key].info.status == "FINISHED"


def test_a_run_that_began_at_another_time_is_replaced(finished: tuple[Plan, Workspace], uri: str) -> None:
    """The run was made at an earlier attempt, or by a version that did not know when a stage began."""
    from mlflow import MlflowClient

    (planned, results), workspace = under_way(*finished), finished[1]
    tracker = Tracker(uri, planned, workspace)
    for stage in planned.stages.values():
        tracker.started(stage)  # now, and the results are older: the runs would end before they begin
    assert tracker.close("KILLED") is None
    client = MlflowClient(tracking_uri=uri)
    before = runs(uri)
    for run in before.values():
        client.set_tag(run.info.run_id, "mlflow.note.content", "a person wrote this")
        client.set_tag(run.info.run_id, "chosen", "yes")
    (search,) = planned.of_kind("search")
    client.update_run(before[search.key].info.run_id, name="my search")
    for stage in planned.stages.values():
        stage.result = results[stage.name]
    sync(uri, planned, workspace)
    require_times_of_results(uri, planned)
    after = runs(uri)
    for key, run in after.items():
        assert run.data.tags["mlflow.note.content"] == "a person wrote this"
        assert run.data.tags["chosen"] == "yes"
        assert run.info.status == "FINISHED"
        if key is not None:
            assert run.data.params["kind"] == run.data.tags["kind"]
            assert run.data.tags["mlflow.parentRunId"] == after[None].info.run_id
    assert after[search.key].info.run_name == after[search.key].data.tags["mlflow.runName"] == "my search"
    sync(uri, planned, workspace)
    assert {run.info.run_id for run in runs(uri).values()} == {run.info.run_id for run in after.values()}


def test_epochs_end_within_their_stage(finished: tuple[Plan, Workspace], uri: str) -> None:
    from mlflow import MlflowClient

    planned, workspace = finished
    sync(uri, planned, workspace)
    client, found = MlflowClient(tracking_uri=uri), runs(uri)
    for stage, metric in ((next(planned.of_kind("search")), "train_loss"), (next(planned.of_kind("retrain")), "loss")):
        assert stage.result is not None
        history = sorted(client.get_metric_history(found[stage.key].info.run_id, metric), key=lambda point: point.step)
        began, ended = times(stage.result)
        assert [began < point.timestamp <= ended for point in history] == [True, True]
        assert all(first.timestamp < second.timestamp for first, second in pairwise(history))


def test_a_failed_run_ends_when_it_failed(finished: tuple[Plan, Workspace], uri: str) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    (stage,) = planned.of_kind("retrain")
    stage.started = results[stage.name]["started"]
    tracker = Tracker(uri, planned, workspace)
    tracker.started(stage)
    tracker.failed(stage, Failure("the losses must stay finite", time=stage.started + 5))
    assert tracker.close("FAILED") is None
    run = runs(uri)[stage.key]
    assert (run.info.start_time, run.info.end_time) == (int(1000 * stage.started), int(1000 * (stage.started + 5)))
    assert run.info.status == "FAILED"


def test_a_clock_that_is_late_lets_no_run_end_before_it_begins(finished: tuple[Plan, Workspace], uri: str) -> None:
    (planned, results), workspace = under_way(*finished), finished[1]
    (stage,) = planned.of_kind("retrain")
    stage.started = results[stage.name]["started"] + YEAR
    tracker = Tracker(uri, planned, workspace)
    tracker.started(stage)
    tracker.failed(stage, Failure("the losses must stay finite", time=stage.started - YEAR))
    assert tracker.close("FAILED") is None
    run = runs(uri)[stage.key]
    assert run.info.start_time == run.info.end_time
