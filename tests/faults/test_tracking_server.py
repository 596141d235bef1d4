"""A real MLflow server that is down, stopped and started while a grid runs, and one that many write to at once."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from grids import tiny_document
from mlflow_server import MlflowServer

from pipeline.config import Experiment
from pipeline.plan import Plan, Result, Stage, plan
from pipeline.stages import HISTORY
from pipeline.tracking import KEY_TAG, SPEC_TAG, Tracker, sync
from pipeline.workspace import Workspace

pytestmark = pytest.mark.faults


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A server with an SQLite file; not started."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the tracker's own patience is tested
    server = MlflowServer(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"), tmp_path)
    yield server
    server.stop()


@pytest.fixture
def under_way(finished: tuple[Plan, Workspace]) -> tuple[Plan, dict[str, Result]]:
    """The tiny grid with all keys but no results, and the results to come by stage name."""
    planned = plan(Experiment.model_validate(tiny_document()), lookup=finished[1].result)
    planned.resolve(finished[1].result)
    results = planned.results()
    for stage in planned.stages.values():
        stage.result = None
    return planned, results


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def client_and_runs(server: MlflowServer) -> tuple[Any, dict[str | None, Any]]:
    """A client, and the runs by key (the parent's is None), of which each is there once."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server.uri)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], max_results=1000)
    counted = Counter(run.data.tags.get(KEY_TAG) for run in runs)
    assert set(counted.values()) == {1}, "no run is doubled"
    return client, {run.data.tags.get(KEY_TAG): run for run in runs}


def steps(client: Any, run: Any, metric: str) -> list[int]:
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, metric))


def test_everything_is_written_once_a_server_is_back(
    under_way: tuple[Plan, dict[str, Result]], finished: tuple[Plan, Workspace], server: MlflowServer
) -> None:
    (planned, results), (_, workspace) = under_way, finished
    (search,), (retrain,) = planned.of_kind("search"), planned.of_kind("retrain")

    def finish(tracker: Tracker, stage: Stage) -> None:
        stage.result = results[stage.name]
        tracker.finished(stage)

    def epochs(stage: Stage) -> list[dict[str, Any]]:
        lines = (workspace.files(results[stage.name]) / HISTORY).read_text().splitlines()
        return [{**json.loads(line), "epochs": 2, "pid": 1} for line in lines]

    tracker = Tracker(server.uri, planned, workspace, patience=0.5)
    for stage in planned.of_kind("prepare"):
        finish(tracker, stage)
    tracker.started(search)
    tracker.reported(search, epochs(search)[:1])
    wait_until(lambda: tracker.problem is not None)

    server.start()
    wait_until(lambda: tracker.problem is None)
    client, runs = client_and_runs(server)
    assert {run.info.status for key, run in runs.items() if key not in (search.key, None)} == {"FINISHED"}
    assert runs[search.key].info.status == runs[None].info.status == "RUNNING"
    assert steps(client, runs[search.key], "train_loss") == [0], "also of a stage that has not ended"
    tracker.reported(search, epochs(search)[1:])
    finish(tracker, search)
    tracker.started(retrain)
    wait_until(lambda: retrain.key in client_and_runs(server)[1])

    server.stop()
    tracker.reported(retrain, epochs(retrain))
    wait_until(lambda: tracker.problem is not None)
    finish(tracker, retrain)
    server.start()
    wait_until(lambda: tracker.problem is None)
    client, runs = client_and_runs(server)
    for stage, metric in ((search, "train_loss"), (retrain, "loss")):
        assert runs[stage.key].info.status == "FINISHED"
        assert steps(client, runs[stage.key], metric) == [0, 1]

    server.stop()
    for stage in planned.of_kind("evaluate"):
        finish(tracker, stage)
    assert tracker.close(failed=False) is not None, "it says that MLflow is behind"

    server.start()
    for _ in range(2):
        assert sync(server.uri, planned, workspace) == len(planned.stages)
        client, runs = client_and_runs(server)
        assert set(runs) == {None, *(stage.key for stage in planned.stages.values())}
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        assert SPEC_TAG in runs[None].data.tags
        assert steps(client, runs[retrain.key], "loss") == [0, 1]
        for stage in planned.of_kind("evaluate"):
            assert runs[stage.key].data.metrics["mAP"] == pytest.approx(results[stage.name]["metrics"]["mAP"])


def test_eight_who_write_at_once_lose_no_point(finished: tuple[Plan, Workspace], server: MlflowServer) -> None:
    server.start()
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "retrain_seeds": list(range(8))}
    planned = plan(Experiment.model_validate(document))
    stages = list(planned.of_kind("retrain"))
    assert len(stages) == 8
    for number, stage in enumerate(stages):
        stage.key = f"key{number}"
    problems = []

    def log(stage: Stage) -> None:
        tracker = Tracker(server.uri, planned, finished[1], patience=0.5)
        tracker.started(stage)
        for epoch in range(40):
            tracker.reported(stage, [{"epoch": epoch, "epochs": 40, "loss": 1.0, "lr": 0.1, "seconds": 1.0}])
        problems.append(tracker.close(failed=False, timeout=200))

    threads = [threading.Thread(target=log, args=(stage,)) for stage in stages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [None] * 8
    client, runs = client_and_runs(server)
    assert set(runs) == {None, *(stage.key for stage in stages)}
    for stage in stages:
        for metric in ("loss", "lr", "seconds"):
            assert steps(client, runs[stage.key], metric) == list(range(40))
