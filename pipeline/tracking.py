"""MLflow as a view of the workspace: one parent run per experiment, one child run per stage key, never doubled.

Only the driver writes. A tracking server that is down stops nothing: what it missed, `sync` writes later.
"""

import json
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import Experiment
from pipeline.plan import Plan, Stage, content_hash
from pipeline.scheduling import Failure
from pipeline.stages import GENOTYPE, HISTORY, PER_QUERY, PICTURES, SPLIT, Report
from pipeline.workspace import Workspace

KEY_TAG, SPEC_TAG, SYNCED_TAG, WEIGHTS_TAG = "msinet.key", "msinet.spec", "msinet.synced", "msinet.files"
METRICS_PER_BATCH = 1000  # the server's limit
log = logging.getLogger(__name__)


def default_uri(workspace: Workspace) -> str:
    """An SQLite file beside the results: for one machine."""
    return f"sqlite:///{workspace.root / 'mlflow.db'}"


class Tracker:
    """A watcher that keeps MLflow level with what happens, on a thread of its own.

    Args:
        uri: Of the tracking server or database.
        plan: Whose stages are shown.
        workspace: Where their results are.
    """

    def __init__(self, uri: str, plan: Plan, workspace: Workspace) -> None:
        self.view = _View(uri, plan, workspace)
        self.problem: str | None = None
        self._events: queue.Queue[Callable[[], object] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()
        self._put(lambda: self.view.open(running=True))

    def started(self, stage: Stage) -> None:
        """Open the stage's run."""
        self._put(lambda: self.view.start(stage))

    def reported(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Log the epochs' numbers."""
        self._put(lambda: self.view.log_epochs(stage, reports))

    def finished(self, stage: Stage) -> None:
        """Write all that the result holds."""
        self._put(lambda: self.view.sync(stage))

    def failed(self, stage: Stage, failure: Failure) -> None:
        """Mark the stage's run as failed."""
        self._put(lambda: self.view.fail(stage, failure))

    def tick(self, states: dict[str, str]) -> None:
        """Nothing to do."""

    def close(self, *, failed: bool, timeout: float = 60.0) -> str | None:
        """Wait for what is outstanding.

        Returns:
            What went wrong with MLflow, if anything: then `sync` is needed.
        """
        self._put(lambda: self.view.close(failed=failed))
        self._events.put(None)
        self._thread.join(timeout)
        return self.problem or ("MLflow did not keep up" if self._thread.is_alive() else None)

    def _put(self, event: Callable[[], object]) -> None:
        if self.problem is None:
            self._events.put(event)

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            if self.problem is not None:
                continue  # the view is behind from here on: sync writes the rest
            try:
                event()
            except Exception as error:
                self.problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                log.warning("MLflow cannot be reached (%s): the grid goes on untracked.", self.problem)


def sync(uri: str, plan: Plan, workspace: Workspace) -> int:
    """Bring MLflow level with the workspace.

    Returns:
        The number of published stages that it now shows.
    """
    view = _View(uri, plan, workspace)
    view.open(running=False)
    done = [stage for stage in plan.stages.values() if stage.result is not None]
    for stage in done:
        view.sync(stage)
    if all(stage.result or stage.lacks for stage in plan.stages.values()):
        view.close(failed=False)
    return len({stage.key for stage in done})


def _specification(experiment: Experiment) -> dict[str, Any]:
    """What makes an experiment the same one: not where its data lie, and not what its stages occupy."""
    places: Any = {"datasets": {"__all__": {"path"}}, "weights": True, "resources": True, "checkpoint_every": True}
    specification: dict[str, Any] = experiment.model_dump(mode="json", exclude=places)
    return specification


class _View:
    """The calls to MLflow; each may be repeated without doubling anything."""

    def __init__(self, uri: str, plan: Plan, workspace: Workspace) -> None:
        self.uri = uri
        self.plan = plan
        self.workspace = workspace
        self.runs: dict[str, str] = {}  # stage key -> run
        self.logged: dict[str, set[int]] = {}  # run -> epochs that are there
        self.synced: set[str] = set()

    def open(self, *, running: bool) -> None:
        """Find or make the MLflow experiment and the parent run, and show that it is running."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(tracking_uri=self.uri)
        experiment = self.plan.experiment
        found = self.client.get_experiment_by_name(experiment.name)
        self.experiment_id = found.experiment_id if found else self._create_experiment(experiment.name)
        spec = content_hash(_specification(experiment))
        self.parent = self._find(SPEC_TAG, spec)
        if self.parent is None:
            name = f"{experiment.name} {time.strftime('%Y-%m-%d %H:%M')}"
            self.parent = self._create(name, {SPEC_TAG: spec})
            self._log_experiment(experiment)
        if running:
            self.client.update_run(self.parent, status="RUNNING")

    def start(self, stage: Stage) -> str:
        """Find or make the run of a stage."""
        assert stage.key is not None
        run = self.runs.get(stage.key) or self._find(KEY_TAG, stage.key)
        if run is None:
            run = self._create(stage.name, {KEY_TAG: stage.key, "mlflow.parentRunId": str(self.parent)})
            self._describe(run, stage)
        if stage.key not in self.runs:
            self.runs[stage.key] = run
            self.client.update_run(run, status="RUNNING")
        return run

    def log_epochs(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Log the epochs that the run does not have yet."""
        from mlflow.entities import Metric

        run = self.start(stage)
        there = self.logged.setdefault(run, set()) or self._logged_epochs(run)
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, float(value), now, report["epoch"])
            for report in reports
            if report["epoch"] not in there
            for name, value in report.items()
            if isinstance(value, int | float) and name not in ("epoch", "epochs", "pid")
        ]
        for first in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(run, metrics=metrics[first : first + METRICS_PER_BATCH])
        self.logged[run] = there | {report["epoch"] for report in reports}

    def sync(self, stage: Stage) -> None:
        """Write everything that a published result holds."""
        from mlflow.entities import Metric

        assert stage.result is not None
        assert stage.key is not None
        if stage.key in self.synced:
            return
        run = self.start(stage)
        if SYNCED_TAG not in self.client.get_run(run).data.tags:
            files = self.workspace.files(stage.result)
            if (files / HISTORY).exists():
                lines = (files / HISTORY).read_text(encoding="utf-8").splitlines()
                self.log_epochs(stage, [json.loads(line) for line in lines])
            now = int(time.time() * 1000)
            if stage.kind in ("evaluate", "measure"):
                scores = stage.result["metrics"].items()
                self.client.log_batch(run, metrics=[Metric(name, float(value), now, 0) for name, value in scores])
            if "genotype" in stage.result and "genotype" not in self.client.get_run(run).data.params:
                self.client.log_param(run, "genotype", stage.result["genotype"])
                self.client.set_tag(run, "genotype", stage.result["genotype"])
            self.client.set_tag(run, WEIGHTS_TAG, str(files))
            for name in (GENOTYPE, HISTORY, SPLIT, PER_QUERY, *PICTURES):
                if (files / name).exists():
                    self.client.log_artifact(run, str(files / name))
                    if stage.kind == "picture":
                        for evaluation in self._runs_of(stage):
                            self.client.log_artifact(evaluation, str(files / name), f"beside/{stage.key}")
            self.client.set_tag(run, SYNCED_TAG, "true")
        ended = stage.result["started"] + stage.result["seconds"]
        self.client.set_terminated(run, "FINISHED", end_time=int(1000 * ended))
        self.synced.add(stage.key)

    def fail(self, stage: Stage, failure: Failure) -> None:
        """Mark a stage's run as failed; a stage that never ran has none."""
        if stage.key is None:
            return
        run = self.start(stage)
        self.client.set_tag(run, "failure", failure["message"][:4000])
        if failure.get("traceback"):
            self.client.log_text(run, failure["traceback"], "traceback.txt")
        self.client.set_terminated(run, "FAILED")

    def close(self, *, failed: bool) -> None:
        """End the parent run."""
        self.client.set_terminated(str(self.parent), "FAILED" if failed else "FINISHED")

    def _runs_of(self, picture: Stage) -> list[str]:
        """The runs of the evaluations whose networks a picture shows."""
        return [
            self.start(stage)
            for stage in self.plan.of_kind("evaluate")
            if stage.result is not None
            and stage.needs["model"] in picture.needs.values()
            and stage.needs["target_data"] == picture.needs["target_data"]
        ]

    def _create_experiment(self, name: str) -> str:
        # Artifacts beside the results where MLflow has no server of its own to keep them.
        place = (self.workspace.root / "mlartifacts" / name).as_uri() if self.uri.startswith("sqlite") else None
        experiment_id: str = self.client.create_experiment(name, artifact_location=place)
        return experiment_id

    def _create(self, name: str, tags: dict[str, str]) -> str:
        run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        run_id: str = run.info.run_id
        return run_id

    def _find(self, tag: str, value: str) -> str | None:
        found = self.client.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return found[0].info.run_id if found else None

    def _describe(self, run: str, stage: Stage) -> None:
        """Parameters for the compare view, tags for the search filter."""
        from mlflow.entities import Param, RunTag

        shown: dict[str, Any] = {"kind": stage.kind, **stage.labels}
        if "genotype" in stage.settings:
            shown["genotype"] = stage.settings["genotype"]
        self.client.log_batch(
            run,
            params=[Param(name, str(value)) for name, value in shown.items()],
            tags=[RunTag(name, str(value)) for name, value in shown.items()],
        )

    def _logged_epochs(self, run: str) -> set[int]:
        return {point.step for point in self.client.get_metric_history(run, "lr")}

    def _log_experiment(self, experiment: Experiment) -> None:
        text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "experiment.yaml"
            path.write_text(text, encoding="utf-8")
            self.client.log_artifact(self.parent, str(path))
