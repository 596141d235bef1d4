"""The verbs for MLflow: sync, ui."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from pipeline.cli.options import (
    DEMO,
    DataOption,
    ExperimentPath,
    TrackingOption,
    WeightsOption,
    WorkspaceOption,
    app,
)
from pipeline.output import say


@app.command()
def sync(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
) -> None:
    """Write the experiment's finished results to MLflow."""
    from pipeline.grid import open_grid, tracking_address
    from pipeline.tracking.tracker import sync as sync_runs

    grid = open_grid(experiment, workspace, data, weights, existing=True)
    uri, planned = tracking_address(tracking_uri, grid.workspace), grid.plan
    if grid.experiment.tune:
        from pipeline.tuning.outer import with_trials

        planned = with_trials(planned, grid.workspace, say)
    say(f"MLflow shows {sync_runs(uri, planned, grid.workspace)} results of {grid.experiment.name}")


@app.command()
def ui(
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 5000,
) -> NoReturn:
    """Serve MLflow's pages. Only this machine can open them, on 127.0.0.1."""
    from pipeline.grid import named_tracking_uri, tracking_address
    from pipeline.storage.workspace import open_workspace

    place = open_workspace(workspace)
    if not named_tracking_uri(tracking_uri):
        place.require_existing()
    uri = tracking_address(tracking_uri, place)
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    arguments = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *arguments])
