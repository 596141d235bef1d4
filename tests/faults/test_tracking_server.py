"""A real MLflow server that is down, stopped and started while a grid runs, and one that many write to at once."""

import contextlib
import http.client
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.grids import tiny_document, under_way
from support.mlflow_server import MlflowServer

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import HISTORY
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace
from pipeline.tracking.parent import EXPERIMENT_FILE
from pipeline.tracking.runs import KEY_TAG, SPEC_TAG
from pipeline.tracking.tracker import Tracker, sync

pytestmark = pytest.mark.faults


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """A server with an SQLite file; not started."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # the tracker's own patience is tested
    server = MlflowServer(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "artifacts"), tmp_path)
    yield server
    server.stop()


class Lossy(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a server, but every other answer about a run that it has made is lost."""

    port: int
    lost: list[str]  # the names of runs
    protocol_version = "HTTP/1.1"
    made = 0

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as server:
            server.request(self.command, self.path, body, dict(self.headers))
            answer = server.getresponse()
            content = answer.read()
        if self.path.endswith("/runs/create"):
            type(self).made += 1
            if self.made % 2:
                self.lost.append(json.loads(body)["run_name"])
                self.close_connection = True
                return
        self.send_response(answer.status)
        for name in ("Content-Type", "Content-Disposition"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

    def log_message(self, *arguments: Any) -> None: ...


@contextlib.contextmanager
def lossy(server: MlflowServer) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that loses answers, and the names of the runs whose answers were lost."""
    handler = type("Handler", (Lossy,), {"port": server.port, "lost": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}", handler.lost
        finally:
            proxy.shutdown()
            thread.join()


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


def test_everything_is_written_once_a_server_is_back(finished: tuple[Plan, Workspace], server: MlflowServer) -> None:
    workspace = finished[1]
    planned, results = under_way(*finished)
    for stage in planned.stages.values():
        stage.started = results[stage.name]["started"]
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
    assert tracker.close() is not None, "it says that MLflow lacks results"

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


@pytest.mark.parametrize("retries", [None, "2"])
def test_a_run_whose_making_was_answered_to_nobody_is_there_once(
    finished: tuple[Plan, Workspace], server: MlflowServer, monkeypatch: pytest.MonkeyPatch, retries: str | None
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    if retries:  # a user's own, of MLflow's client: it sends the request again
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    planned, workspace = finished
    server.start()
    with lossy(server) as (uri, lost):
        tracker = Tracker(uri, planned, workspace, patience=0.2)
        for stage in planned.stages.values():
            tracker.started(stage)
            tracker.finished(stage)
        wait_until(lambda: len(tracker.view.synced) == len(planned.stages))
        assert tracker.close() is None
    assert len(lost) >= len(planned.stages) // 2
    client, runs = client_and_runs(server)
    assert set(runs) == {None, *(stage.key for stage in planned.stages.values())}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert [artifact.path for artifact in client.list_artifacts(runs[None].info.run_id)] == [EXPERIMENT_FILE]
    for stage in planned.stages.values():
        assert runs[stage.key].data.params["kind"] == runs[stage.key].data.tags["kind"] == stage.kind


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
        problems.append(tracker.close(timeout=200))

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
