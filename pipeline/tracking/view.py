"""The calls to MLflow."""

import contextlib
import json
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import HISTORY, KINDS
from pipeline.plan.stage import Plan, Stage, content_hash
from pipeline.results import Failure, Report
from pipeline.storage.workspace import Workspace, study_place

if TYPE_CHECKING:
    from mlflow.entities import Run


KEY_TAG, SPEC_TAG, SYNCED_TAG, WEIGHTS_TAG = "msinet.key", "msinet.spec", "msinet.synced", "msinet.files"
EXPERIMENT_FILE = "experiment.yaml"  # an artifact of the parent run


# The server takes at most 1000 numbers at a time, and an epoch has about a dozen. No epoch is written in part.
EPOCHS_PER_BATCH = 50


def specification(experiment: Experiment) -> dict[str, Any]:
    """Return what identifies an experiment: everything but the places of its data and how its stages are run."""
    places: Any = {"datasets": {"__all__": {"path"}}, "weights": True, "resources": True, "checkpoint_every": True}
    specification: dict[str, Any] = experiment.model_dump(mode="json", exclude=places)
    return specification


def without_user(uri: str) -> str:
    """Return a server's address without the name and the password that it may contain."""
    return uri.rpartition("@")[2]


def database_file(uri: str) -> Path | None:
    """Return the file of an SQLite database, or None for another address."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def _create_database(path: Path) -> None:
    """Make MLflow's SQLite file, whole or not at all, even if the process is killed while it makes the tables."""
    from mlflow import MlflowClient

    if path.exists():
        return
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another driver was faster
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class View:
    """The calls to MLflow. Every call may be repeated; nothing is then written twice."""

    def __init__(self, uri: str, plan: Plan, workspace: Workspace) -> None:
        self.uri = uri
        self.plan = plan
        self.workspace = workspace
        self.runs: dict[str, str] = {}  # stage key -> run
        self.logged: dict[str, set[int]] = {}  # run -> epochs that it has
        self.synced: set[str] = set()

    def open(self, *, running: bool) -> None:
        """Find or make the MLflow experiment and the parent run, and show that it is running."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Otherwise MLflow prints addresses of runs, and with them a password that the server's address may contain.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        # Otherwise a request that makes a run is sent again when its answer is late, and makes a second run.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if file := database_file(self.uri):
            _create_database(file)
        self.client = MlflowClient(tracking_uri=self.uri)
        experiment = self.plan.experiment
        found = self.client.get_experiment_by_name(experiment.name)
        self.experiment_id = found.experiment_id if found else self._create_experiment(experiment.name)
        name = f"{experiment.name} {time.strftime('%Y-%m-%d %H:%M')}"
        self.parent: str = self._only_run(SPEC_TAG, content_hash(specification(experiment)), name).info.run_id
        if all(artifact.path != EXPERIMENT_FILE for artifact in self.client.list_artifacts(self.parent)):
            self._log_experiment(experiment)
        if running:
            self.client.update_run(self.parent, status="RUNNING")

    def start(self, stage: Stage) -> str:
        """Find or make the run of a stage."""
        assert stage.key is not None
        if stage.key not in self.runs:
            run = self._only_run(KEY_TAG, stage.key, stage.name, {"mlflow.parentRunId": self.parent})
            self._describe(run, stage)
            self.client.update_run(run.info.run_id, status="RUNNING")
            self.runs[stage.key] = run.info.run_id
        return self.runs[stage.key]

    def log_epochs(self, stage: Stage, reports: Sequence[Report]) -> None:
        """Log the epochs that the run does not have yet."""
        from mlflow.entities import Metric

        run = self.start(stage)
        there = self.logged.setdefault(run, set()) or self._logged_epochs(run)
        now = int(time.time() * 1000)
        missing = [report for report in reports if report["epoch"] not in there]
        for first in range(0, len(missing), EPOCHS_PER_BATCH):
            metrics = [
                Metric(name, float(value), now, report["epoch"])
                for report in missing[first : first + EPOCHS_PER_BATCH]
                for name, value in report.items()
                if isinstance(value, int | float) and name not in ("epoch", "epochs", "pid")
            ]
            self.client.log_batch(run, metrics=metrics)
        self.logged[run] = there | {report["epoch"] for report in missing}

    def sync(self, stage: Stage) -> None:
        """Write everything that a published result holds."""
        from mlflow.entities import Metric, Param, RunTag

        assert stage.result is not None
        assert stage.key is not None
        if stage.key in self.synced:
            return
        run = self.start(stage)
        # This time is the same at every call, so MLflow keeps each score once.
        ended = int(1000 * (stage.result["started"] + stage.result["seconds"]))
        if SYNCED_TAG not in self.client.get_run(run).data.tags:
            if history := self.workspace.file(stage.result, HISTORY):
                lines = history.read_text(encoding="utf-8").splitlines()
                self.log_epochs(stage, [json.loads(line) for line in lines])
            if KINDS[stage.kind].scored:
                scores = stage.result["metrics"].items()
                self.client.log_batch(run, metrics=[Metric(name, float(value), ended, 0) for name, value in scores])
            if "genotype" in stage.result:
                found = ("genotype", stage.result["genotype"])
                self.client.log_batch(run, params=[Param(*found)], tags=[RunTag(*found)])
            self.client.set_tag(run, WEIGHTS_TAG, self.workspace.location(stage.result))
            for name in KINDS[stage.kind].artifacts:
                if path := self.workspace.file(stage.result, name):
                    self.client.log_artifact(run, str(path))
                    if stage.kind == "picture":
                        for evaluation in self._runs_of(stage):
                            self.client.log_artifact(evaluation, str(path), f"beside/{stage.key}")
            self.client.set_tag(run, SYNCED_TAG, "true")
        self.client.set_terminated(run, "FINISHED", end_time=ended)
        self.synced.add(stage.key)

    def fail(self, stage: Stage, failure: Failure) -> None:
        """Mark a stage's run as failed. A stage without a key has never run, so it has no run."""
        if stage.key is None:
            return
        run = self.start(stage)
        self.client.set_tag(run, "failure", failure.message[:4000])
        for name, text in (("traceback", failure.traceback), ("log", failure.log)):
            if text:
                self.client.log_text(run, text, f"{name}.txt")
        self.client.set_terminated(run, "FAILED")

    def show_study(self) -> None:
        """Copy what an outer loop has written (its table, picture and experiments) to the parent run."""
        ending = (".csv", ".png", ".yaml")
        entries = self.workspace.store.entries(study_place(self.plan.experiment.name))
        with tempfile.TemporaryDirectory() as folder:
            for entry in entries:
                if entry.key.endswith(ending):
                    path = Path(folder) / Path(entry.key).name
                    self.workspace.store.download(entry.key, path)
                    self.client.log_artifact(self.parent, str(path), "tune")

    def close(self, *, failed: bool) -> None:
        """End the parent run."""
        self.client.set_terminated(self.parent, "FAILED" if failed else "FINISHED")

    def _runs_of(self, picture: Stage) -> list[str]:
        """Return the runs of the evaluations whose networks a picture shows."""
        return [
            self.start(stage)
            for stage in self.plan.of_kind("evaluate")
            if stage.result is not None
            and stage.needs["model"] in picture.needs.values()
            and stage.needs["target_data"] == picture.needs["target_data"]
        ]

    def _create_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        # Without a server, artifacts go beside the database. By default MLflow would use the working directory.
        file = database_file(self.uri)
        place = (file.parent / "mlartifacts" / name).as_uri() if file else None
        try:
            experiment_id: str = self.client.create_experiment(name, artifact_location=place)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = self.client.get_experiment_by_name(name)  # another driver was faster
            assert found is not None
            experiment_id = found.experiment_id
        return experiment_id

    def _only_run(self, tag: str, value: str, name: str, tags: dict[str, str] | None = None) -> "Run":
        """Return the only run whose tag has this value. Make it under this name if there is none; delete duplicates.

        There are duplicates if two drivers made a run at the same moment, or if a server made a run but its answer was
        lost, because the request or this whole method was then repeated.
        """
        found = self._runs_with(tag, value)
        if not found:
            made = self.client.create_run(self.experiment_id, run_name=name, tags={tag: value, **(tags or {})})
            found = {made.info.run_id: made, **self._runs_with(tag, value)}
        counts = self._claim(value, min(found))
        for other in found.keys() - {counts}:
            self.client.delete_run(other)
        return found.get(counts) or self.client.get_run(counts)

    def _runs_with(self, tag: str, value: str) -> "dict[str, Run]":
        """Return all runs whose tag has this value, except deleted ones."""
        found = self.client.search_runs([self.experiment_id], f"tags.`{tag}` = '{value}'")
        return {run.info.run_id: run for run in found}

    def _claim(self, value: str, run: str) -> str:
        """Return the run that counts: the one claimed first for this value, if it still exists, else this one."""
        store = self.workspace.store
        place = f"mlflow/{content_hash([without_user(self.uri), self.experiment_id])}/{value}"
        first = store.read(place)
        if first is None and store.create(place, run.encode()):
            return run
        claimed = (first or store.read(place) or b"").decode()
        if claimed == run or (claimed and self._is_there(claimed)):
            return claimed
        store.replace(place, run.encode())  # the claimed run was in a database that no longer exists
        return run

    def _is_there(self, run: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            found: bool = self.client.get_run(run).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return found

    def _describe(self, run: "Run", stage: Stage) -> None:
        """Write parameters for the compare view and tags for the search filter, unless the run has them already."""
        from mlflow.entities import Param, RunTag

        if "kind" in run.data.tags:  # tags are written last, so the run has everything
            return
        shown: dict[str, Any] = {"kind": stage.kind, **stage.labels}
        if "genotype" in stage.settings:
            shown["genotype"] = stage.settings["genotype"]
        if "kind" in run.data.params:  # parameters never change, but a stage of the same key may have other labels
            shown = run.data.params
        self.client.log_batch(
            run.info.run_id,
            params=[Param(name, str(value)) for name, value in shown.items()],
            tags=[RunTag(name, str(value)) for name, value in shown.items()],
        )

    def _logged_epochs(self, run: str) -> set[int]:
        return {point.step for point in self.client.get_metric_history(run, "lr")}

    def _log_experiment(self, experiment: Experiment) -> None:
        text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / EXPERIMENT_FILE
            path.write_text(text, encoding="utf-8")
            self.client.log_artifact(self.parent, str(path))
