"""A grid: an experiment's plan in a workspace. Every verb opens and runs it in the same way.

`open_grid` loads the experiment, checks its data and plans it. `run_grid` runs the stages that are not done, and
records them in MLflow.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.output import say
from pipeline.plan.preflight import known_fingerprints, preflight, require_fitting_weights
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.open import require_conditions
from pipeline.storage.workspace import Workspace, open_workspace


@dataclass(frozen=True)
class Grid:
    """An experiment, the workspace where its results lie, and its plan."""

    experiment: Experiment
    workspace: Workspace
    plan: Plan


@dataclass(frozen=True)
class GridEnded:
    """How a grid ended.

    Attributes:
        failed: Whether a stage failed, or was skipped because another failed.
        behind: Why MLflow does not show all results, or None if it shows all or is not used.
    """

    failed: bool
    behind: str | None = None


def open_grid(
    path: Path,
    workspace: str | None = None,
    data: Sequence[str] | None = None,
    weights: Sequence[str] | None = None,
    *,
    existing: bool = False,
    verify: bool = False,
    say: Callable[[str], None] = say,
) -> Grid:
    """Load an experiment and plan it with the results of its workspace. Nothing is started.

    Args:
        path: The experiment's YAML file.
        workspace: The workspace's address; by default MSINET_WORKSPACE, else a folder in the user's data directory.
        data, weights: `NAME=PATH`, as for `msinet run`.
        existing: Whether the workspace must exist already, as is necessary for a verb that only reads.
        verify: Whether to check the workspace, the data and the weights, as is necessary before a run. Otherwise no
            picture is read: stages on datasets that were not checked before, or have changed since, stay pending.
        say: Called with a line of text before something that takes time.

    Raises:
        RequestError: The file is wrong. With `existing` also: there is no workspace. With `verify` also: the workspace
            cannot be written to, or data or weights are wrong.
    """
    experiment, place = load_experiment(path, data or [], weights or []), open_workspace(workspace)
    if existing:
        place.require_existing()
    if not verify:
        planned = plan(experiment, known_fingerprints(experiment, place), place.result)
        planned.find_measurements(place.all_results("measure"))
        return Grid(experiment, place, planned)
    require_conditions(place.store)
    place.make()
    say(f"experiment {experiment.name} ({path}), workspace {place.address}")
    planned = plan(experiment, preflight(experiment, place, say), place.result)
    require_fitting_weights(planned)
    return Grid(experiment, place, planned)


def run_grid(
    grid: Grid, *, address: str | None = None, tracking_uri: str | None = None, track: bool = True
) -> GridEnded:
    """Run on Ray the stages that are not done yet, and record all results in MLflow.

    Args:
        grid: A grid that was opened with `verify`.
        address: A Ray cluster to join; by default RAY_ADDRESS, else Ray is started on this machine.
        tracking_uri: MLflow's address; by default MLFLOW_TRACKING_URI, else a file beside the results.
        track: Whether MLflow is used at all.

    Raises:
        RequestError: The cluster does not have what the stages ask for.
        ClusterLost: Ray has died on this machine.
        Terminated: SIGTERM has arrived.
    """
    if all(stage.result or stage.lacks for stage in grid.plan.stages.values()):
        return GridEnded(failed=False, behind=sync_problem(grid, tracking_uri) if track else None)
    from pipeline.cluster.connect import connect
    from pipeline.cluster.driver import run_plan
    from pipeline.cluster.ending import sigterm_as_error
    from pipeline.cluster.watcher import FAILED, SKIPPED
    from pipeline.reports.progress import Progress
    from pipeline.tracking.tracker import Tracker

    connect(address, grid.experiment.resources)
    with sigterm_as_error():
        uri = _shared_tracking_uri(tracking_uri, grid.workspace) if track else None
        tracker = Tracker(uri, grid.plan, grid.workspace) if uri else None
        progress = Progress(grid.plan)
        outcome = run_plan(grid.plan, grid.workspace, [progress, *([tracker] if tracker else [])])
        progress.summary(outcome.states)
        failed = bool(outcome.names(FAILED) or outcome.names(SKIPPED))
        return GridEnded(failed, tracker.close(failed=failed) if tracker else None)


def sync_problem(grid: Grid, tracking_uri: str | None) -> str | None:
    """Write the published results to MLflow. Return what went wrong, or None: MLflow must never fail a run."""
    from pipeline.tracking.tracker import sync

    try:
        sync(tracking_address(tracking_uri, grid.workspace), grid.plan, grid.workspace)
    except RequestError as error:
        return f"{error}"
    return None


def tracking_address(option: str | None, workspace: Workspace) -> str:
    """Return MLflow's address: the one that the user named, else a file beside the results.

    Raises:
        RequestError: The user named none, and the workspace is on S3, where such a file cannot be.
    """
    from pipeline.tracking.tracker import default_uri

    uri = named_tracking_uri(option) or default_uri(workspace)
    if uri is None:
        raise RequestError(
            f"a workspace on S3 needs a tracking server, but none was given for {workspace.address} (--tracking-uri)."
        )
    return uri


def named_tracking_uri(option: str | None) -> str | None:
    """Return the address that the user has given by the option or by MLFLOW_TRACKING_URI, or None."""
    return option or os.environ.get("MLFLOW_TRACKING_URI")


def _shared_tracking_uri(option: str | None, workspace: Workspace) -> str | None:
    """Return MLflow's address, or None if a server is necessary and the user named none."""
    import ray

    several = len([node for node in ray.nodes() if node["Alive"]]) > 1
    if not named_tracking_uri(option) and (several or workspace.root is None):
        reason = "a cluster of several machines" if several else "a workspace on S3"
        say(
            f"{reason} needs a tracking server (--tracking-uri). This run is not recorded in MLflow; "
            "`msinet sync` can add it later."
        )
        return None
    return tracking_address(option, workspace)
