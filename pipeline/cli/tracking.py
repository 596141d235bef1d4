"""The verbs for MLflow: sync, ui."""

import errno
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipeline.cli.next_step import pages
from pipeline.cli.options import (
    DEMO,
    DataOption,
    ExperimentPath,
    TrackingOption,
    WeightsOption,
    WorkspaceOption,
    app,
    examples,
)
from pipeline.errors import RequestError
from pipeline.output import say
from pipeline.tracking.address import database_file, is_server, named_address, shown, sqlite_address, tracking_address


@app.command(epilog=examples("msinet sync demo", "msinet sync cars.yaml --tracking-uri http://127.0.0.1:5000"))
def sync(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
) -> None:
    """Write the experiment's finished results to MLflow."""
    from pipeline.grid import open_grid
    from pipeline.reports.tracked import tracked_report
    from pipeline.tracking.tracker import sync as sync_runs

    named = named_address(tracking_uri)
    grid = open_grid(experiment, workspace, data, weights, existing=True)
    uri, planned = tracking_address(tracking_uri, grid.workspace), grid.plan
    if grid.experiment.tune:
        from pipeline.tuning.outer import with_trials

        planned = with_trials(planned, grid.workspace, say)
    shown_results = sync_runs(uri, planned, grid.workspace, tracked_report)
    say(f"MLflow shows {shown_results} results of {grid.experiment.name}")
    say(f"compare      {pages(uri, grid.workspace.address, named)}")


@app.command(epilog=examples("msinet ui", "msinet ui --port 5001"))
def ui(
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=1, max=65535)] = 5000,
) -> NoReturn:
    """Serve MLflow's pages. Only this machine can open them, on 127.0.0.1."""
    from pipeline.tracking.links import target_links

    uri = _database(workspace, tracking_uri)
    _require_free(port)
    pages = f"http://127.0.0.1:{port}"
    links = target_links(uri, pages)
    say(f"MLflow's pages are on {pages}; Ctrl-C ends the server")
    for link in links:
        say(f"{link.experiment} on {link.target}, genotypes ranked by mAP:\n  {link.address}")
    # Every user of the machine can read the arguments of a process, but not its environment.
    own = {"MLFLOW_BACKEND_STORE_URI": _plain(uri)}
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ, **own}
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "server", *arguments], variables)


def _database(workspace: str | None, tracking_uri: str | None) -> str:
    """Return the address of the database whose pages are served.

    Raises:
        RequestError: There is no workspace or no file of MLflow, or a server has pages of its own.
    """
    from pipeline.storage.workspace import open_workspace

    uri = named_address(tracking_uri)
    if uri is None:
        place = open_workspace(workspace)
        place.require_existing()
        uri = tracking_address(None, place)
    if is_server(uri):
        raise RequestError(f"MLflow's server has pages of its own: open {shown(uri)} in a browser (--tracking-uri).")
    file = database_file(uri)
    if file is not None and not file.is_file():
        raise RequestError(f"MLflow's file {file} must exist, but does not: `sync` makes it (--workspace).")
    return uri


def _plain(uri: str) -> str:
    """Return an address without escaped characters, through a link if the path of an SQLite file needs them.

    MLflow makes the folder that an address names without decoding it.
    """
    file = database_file(uri)
    if file is None or sqlite_address(file.parent) == f"sqlite:///{file.parent}":
        return uri
    link = Path(tempfile.mkdtemp(prefix="msinet-ui-")) / "mlflow"
    link.symlink_to(file.parent)
    return sqlite_address(link / file.name)


def _require_free(port: int) -> None:
    """Make sure that this process may listen on a port of 127.0.0.1.

    Raises:
        RequestError: Another process listens on it, or this user may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed just now is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "another process listens on it" if taken else f"{error.strerror}"
            raise RequestError(f"port {port} must be free for MLflow's pages, but {reason} (--port).") from None
