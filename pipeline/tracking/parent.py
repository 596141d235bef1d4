"""The MLflow experiment of a grid, and its parent run: configuration, costs, report, and the files of an outer loop."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline.config.experiment import Experiment
from pipeline.plan.costs import Costs
from pipeline.plan.stage import Plan, content_hash
from pipeline.storage.workspace import Workspace, study_place
from pipeline.tracking.address import database_file
from pipeline.tracking.client import Client
from pipeline.tracking.database import artifacts_beside
from pipeline.tracking.describe import note_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT_FILE = "experiment.yaml"  # an artifact of the parent run
REPORT_TAG, REPORT_FOLDER = "msinet.report", "report"
Reported = Callable[[Plan, Workspace], tuple[str, Mapping[str, bytes]]]
"""Function that makes a grid's report: a description in Markdown, and the files by name."""


def experiment_id(client: Client, uri: str, name: str, tags: Mapping[str, str]) -> str:
    """Return the id of an MLflow experiment with these tags. Make it if there is none, restore it if it was deleted."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        file = database_file(uri)
        try:
            return str(client.create_experiment(name, file and artifacts_beside(file, name), tags=dict(tags)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)  # another driver was faster
        assert found is not None
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for tag, value in tags.items():
        if found.tags.get(tag) != value:
            client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def log_experiment(client: Client, run: str, experiment: Experiment) -> None:
    """Log the whole configuration to the parent run."""
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    _log_files(client, run, {EXPERIMENT_FILE: text.encode()}, None)


def log_costs(client: Client, run: str, costs: Costs, at: int) -> None:
    """Log the hours and the money of all stages to the parent run, and what a budget allows.

    Args:
        client: MLflow's client.
        run: Id of the parent run.
        costs: The costs of the experiment.
        at: Time of these figures in milliseconds since the epoch.
    """
    from mlflow.entities import Metric, RunTag

    figures = {"hours": costs.hours, "hours_without_result": costs.lost, "cost": costs.price(costs.hours)}
    tags = {}
    if costs.budget and costs.free is not None:
        tags = {"budget_hours": f"{costs.budget.hours:g}", "budget_hours_left": f"{costs.free:.2f}"}
    client.log_batch(
        run,
        metrics=[Metric(name, value, at, 0) for name, value in figures.items() if value is not None],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def log_study(client: Client, run: str, workspace: Workspace, name: str) -> None:
    """Copy what an outer loop has written (its table, picture and experiments) to the parent run."""
    ending = (".csv", ".png", ".yaml")
    for entry in workspace.store.entries(study_place(name)):
        if entry.key.endswith(ending) and (data := workspace.store.read(entry.key)) is not None:
            _log_files(client, run, {Path(entry.key).name: data}, "tune")


def log_report(client: Client, run: "Run", note: str, files: Mapping[str, bytes]) -> None:
    """Log the report to the parent run, unless it has the same one."""
    digest = content_hash([note, *(file.decode() for file in files.values())])
    tags = client.get_run(run.info.run_id).data.tags
    if tags.get(REPORT_TAG) == digest:
        return
    from mlflow.entities import RunTag

    _log_files(client, run.info.run_id, files, REPORT_FOLDER)
    shown = {**note_tags(tags, note), REPORT_TAG: digest}
    client.log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in shown.items()])


def _log_files(client: Client, run: str, files: Mapping[str, bytes], folder: str | None) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name, data in files.items():
            path = Path(place) / name
            path.write_bytes(data)
            client.log_artifact(run, str(path), folder)
