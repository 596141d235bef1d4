"""Eight workers report at once: through the driver's one board and its one tracker MLflow gets every point, once."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from support.grids import tiny_document

from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import DONE, Watcher
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import Workspace
from pipeline.tracking.runs import KEY_TAG
from pipeline.tracking.tracker import Tracker

pytestmark = pytest.mark.usefixtures("local_ray")

WORKERS, EPOCHS = 8, 40


class Heard(Watcher):
    """Leaves a mark in a folder for each stage of which all epochs have been passed on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epochs: Counter[str] = Counter()

    def reported(self, stage: Stage, reports: Sequence[dict[str, Any]]) -> None:
        self.epochs[str(stage.key)] += len(reports)
        if self.epochs[str(stage.key)] >= EPOCHS:
            (self.folder / f"{stage.key}.heard").touch()


class Reporting:
    """In the place of `run_task`: begins and reports with seven others; has no history from which to fill gaps."""

    def __init__(self, folder: Path) -> None:
        def work(key: str, board: Any) -> Any:  # in here, so that a worker imports little of the pipeline
            from pipeline.results import Done

            def wait_until(true: Callable[[], bool]) -> None:
                deadline = time.monotonic() + 120
                while not true():
                    assert time.monotonic() < deadline
                    time.sleep(0.05)

            started = time.time()
            board.post.remote(key, started)
            (folder / f"{key}.begun").touch()
            wait_until(lambda: len(list(folder.glob("*.begun"))) == WORKERS)
            for epoch in range(EPOCHS):
                board.post.remote(key, {"epoch": epoch, "epochs": EPOCHS, "loss": 1.0, "lr": 0.1, "pid": 1})
            wait_until((folder / f"{key}.heard").exists)  # what comes after the end, only a history would tell
            ended = {"started": started, "seconds": time.time() - started}
            return Done({"kind": "retrain", "key": key, "attempt": "none", "spec": {}, **ended})

        self.work = ray.remote(max_retries=0)(work)
        self.chosen: dict[str, Any] = {}

    def options(self, **chosen: Any) -> "Reporting":
        self.chosen = chosen
        return self

    def remote(self, address: str, task: Any, board: Any, holder: str) -> Any:
        return self.work.options(**self.chosen).remote(task.key, board)


def test_eight_workers_who_report_at_once_lose_no_point(finished: tuple[Plan, Workspace], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    _, workspace = finished
    document = tiny_document() | {"splits": [], "genotypes": ["MSINet"], "targets": ["street"]}
    document |= {"retrain_seeds": list(range(1, WORKERS + 1)), "resources": {"retrain": {"cpus": 2 / WORKERS}}}
    planned = plan(Experiment.model_validate(document), lookup=workspace.result)
    planned.stages = {name: stage for name, stage in planned.stages.items() if stage.kind in ("prepare", "retrain")}
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(uri, planned, workspace)
    outcome = run_plan(planned, workspace, [tracker, Heard(tmp_path)], Reporting(tmp_path))
    assert tracker.close() is None
    assert set(outcome.states.values()) == {DONE}

    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    by_key = {run.data.tags.get(KEY_TAG): run.info.run_id for run in runs}
    assert len(by_key) == len(runs) == WORKERS + 2, "one each, that of the preparation, and the parent"
    for stage in planned.of_kind("retrain"):
        for metric in ("loss", "lr"):
            steps = [point.step for point in client.get_metric_history(by_key[stage.key], metric)]
            assert sorted(steps) == list(range(EPOCHS))
