"""A grid: an experiment's plan in a workspace, opened and run in the same way for every verb.

`open_grid` loads the experiment, looks at its data and plans; `run_grid` runs what is not done, with MLflow beside it.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
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
        behind: Why MLflow does not show everything, if so.
    """

    failed: bool
    behind: str | None = None


def open_grid(
    path: Path,
    workspace: str | None = None,
    data: Sequence[str] | None = None,
    weights: Sequence[str] | None = None,
    *,
    verify: bool = False,
    say: Callable[[str], None] = print,
) -> Grid:
    """Load an experiment and plan it, with all that its workspace knows; nothing is started.

    Args:
        path: The experiment's YAML file.
        workspace: The workspace's address; by default MSINET_WORKSPACE, else a folder in the user's data directory.
        data, weights: `NAME=PATH`, as for `msinet run`.
        verify: Whether the grid is about to run: then its workspace, its data and its weights are checked first.
            Otherwise nothing is read but what was checked before, and unknown stages stay pending.
        say: Told what takes time.

    Raises:
        RequestError: The file is wrong; with `verify` also if the workspace cannot be written or the data are unsound.
    """
    experiment, place = load_experiment(path, data or [], weights or []), open_workspace(workspace)
    if not verify:
        planned = plan(experiment, known_fingerprints(experiment, place), place.result)
        planned.find_measurements(place.all_results("measure"))
        return Grid(experiment, place, planned)
    require_conditions(place.store)
    say(f"experiment {experiment.name} ({path}), workspace {place.address}")
    planned = plan(experiment, preflight(experiment, place, say), place.result)
    require_fitting_weights(planned)
    return Grid(experiment, place, planned)


def run_grid(
    grid: Grid, *, address: str | None = None, tracking_uri: str | None = None, track: bool = True
) -> GridEnded:
    """Run what is not done yet on Ray, and keep MLflow level with it.

    Args:
        grid: Opened with `verify`.
        address: A Ray cluster to join; by default RAY_ADDRESS, else Ray is started on this machine.
        tracking_uri: MLflow's address; by default MLFLOW_TRACKING_URI, else a file beside the results.
        track: Whether MLflow is used at all.

    Raises:
        RequestError: The cluster does not have what the stages ask for.
        ClusterLost: Ray has died on this machine.
    """
    if all(stage.result or stage.lacks for stage in grid.plan.stages.values()):
        return GridEnded(failed=False, behind=sync_problem(grid, tracking_uri) if track else None)
    from pipeline.cluster.connect import connect
    from pipeline.cluster.driver import run_plan
    from pipeline.cluster.watcher import FAILED, SKIPPED
    from pipeline.reports.progress import Progress
    from pipeline.tracking.tracker import Tracker

    connect(address, grid.experiment.resources)
    uri = _shared_tracking_uri(tracking_uri, grid.workspace) if track else None
    tracker = Tracker(uri, grid.plan, grid.workspace) if uri else None
    progress = Progress()
    outcome = run_plan(grid.plan, grid.workspace, [progress, *([tracker] if tracker else [])])
    progress.summary(outcome.states)
    failed = bool(outcome.names(FAILED) or outcome.names(SKIPPED))
    return GridEnded(failed, tracker.close(failed=failed) if tracker else None)


def sync_problem(grid: Grid, tracking_uri: str | None) -> str | None:
    """Show in MLflow what is published; return what went wrong with that. Nothing about MLflow may fail a run."""
    from pipeline.tracking.tracker import sync

    try:
        sync(tracking_address(tracking_uri, grid.workspace), grid.plan, grid.workspace)
    except RequestError as error:
        return f"{error}"
    return None


def tracking_address(option: str | None, workspace: Workspace) -> str:
    """Return MLflow's address: as named, else a file beside the results.

    Raises:
        RequestError: Neither is there.
    """
    from pipeline.tracking.tracker import default_uri

    uri = named_tracking_uri(option) or default_uri(workspace)
    if uri is None:
        raise RequestError(
            f"a workspace on S3 needs a tracking server (--tracking-uri), but {workspace.address} has none."
        )
    return uri


def named_tracking_uri(option: str | None) -> str | None:
    """Return the address that a user has named by an option or by the environment, if any."""
    return option or os.environ.get("MLFLOW_TRACKING_URI")


def _shared_tracking_uri(option: str | None, workspace: Workspace) -> str | None:
    """Return MLflow's address, or None where several machines have no server to share."""
    import ray

    several = len([node for node in ray.nodes() if node["Alive"]]) > 1
    if not named_tracking_uri(option) and (several or workspace.root is None):
        reason = "a cluster of several machines" if several else "a workspace on S3"
        print(f"{reason} needs a tracking server (--tracking-uri): untracked; `msinet sync` fills it in later")
        return None
    return tracking_address(option, workspace)
