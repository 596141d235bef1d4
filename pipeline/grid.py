"""A grid: an experiment's plan in a workspace. Every verb opens and runs it in the same way.

`open_grid` loads the experiment, checks its data and plans it. `run_grid` runs the stages that are not done, and
records them in MLflow.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.config.experiment import Experiment
from pipeline.config.load import load_experiment
from pipeline.errors import RequestError
from pipeline.output import say
from pipeline.plan.memory import left_of, needs_of
from pipeline.plan.preflight import known_fingerprints, preflight, require_fitting_weights
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.open import require_conditions
from pipeline.storage.workspace import Workspace, open_workspace
from pipeline.tracking.address import default_address, named_address, tracking_address


@dataclass(frozen=True)
class Grid:
    """An experiment, the workspace where its results lie, and its plan.

    Attributes:
        plan: The stages that were asked for, with everything that they need.
        everything: All stages of the experiment, which share the stages of `plan`. MLflow shows them, because the means
            over seeds and the chosen models of a part would be others. None if `plan` is the whole plan.
    """

    experiment: Experiment
    workspace: Workspace
    plan: Plan
    everything: Plan | None = None

    @property
    def whole(self) -> Plan:
        """Return all stages of the experiment."""
        return self.everything or self.plan


@dataclass(frozen=True)
class GridEnded:
    """How a grid ended.

    Attributes:
        failed: Whether a stage failed, or was skipped because another failed.
        behind: Why MLflow does not show all results, or None if it shows all or is not used.
        shown_at: Address of the MLflow that shows results, or None if none does.
        left: Names of the stages that did not start because the budget is spent.
    """

    failed: bool
    behind: str | None = None
    shown_at: str | None = None
    left: Sequence[str] = ()


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
        return Grid(experiment, place, planned, planned)
    require_conditions(place.store)
    place.make()
    say(f"experiment {experiment.name} ({path}), workspace {place.address}")
    planned = plan(experiment, preflight(experiment, place, say), place.result)
    require_fitting_weights(planned)
    return Grid(experiment, place, planned, planned)


def run_grid(
    grid: Grid,
    *,
    address: str | None = None,
    tracking_uri: str | None = None,
    track: bool = True,
    quiet: bool = False,
) -> GridEnded:
    """Run on Ray the stages that are not done yet, and record all results in MLflow.

    Args:
        grid: A grid that was opened with `verify`.
        address: A Ray cluster to join; by default RAY_ADDRESS, else Ray is started on this machine.
        tracking_uri: MLflow's address; by default MLFLOW_TRACKING_URI, else a file beside the results.
        track: Whether MLflow is used at all.
        quiet: Whether only failures are printed.

    Raises:
        RequestError: The cluster does not have what the stages ask for.
        ClusterLost: Ray has died on this machine.
        Terminated: SIGTERM has arrived.
    """
    if all(stage.result or stage.lacks for stage in grid.plan.stages.values()):
        if not track:
            return GridEnded(failed=False)
        behind = sync_problem(grid, tracking_uri)
        return GridEnded(False, behind, named_address(tracking_uri) or default_address(grid.workspace))
    from pipeline.cluster.connect import connect
    from pipeline.cluster.driver import run_plan
    from pipeline.cluster.ending import sigterm_as_error
    from pipeline.cluster.watcher import ELSEWHERE, FAILED, SKIPPED, WAITING
    from pipeline.reports.live import progress_of
    from pipeline.reports.tracked import tracked_report
    from pipeline.tracking.tracker import Tracker

    connect(address, grid.experiment.resources, needs_of(grid.plan, left_of(grid.plan)), grid.experiment.workers)
    with sigterm_as_error():
        untracked = _untracked(tracking_uri, grid.workspace) if track else None
        uri = tracking_address(tracking_uri, grid.workspace) if track and not untracked else None
        report = cache(lambda: tracked_report(grid.whole, grid.workspace))
        tracker = Tracker(uri, grid.whole, grid.workspace, report=lambda plan, place: report()) if uri else None
        try:
            with contextlib.closing(progress_of(grid.plan, quiet=quiet)) as progress:
                outcome = run_plan(grid.plan, grid.workspace, [progress, *([tracker] if tracker else [])])
                progress.summary(outcome.states)
            if grid.whole is not grid.plan:
                with contextlib.suppress(OSError):  # other stages may have a key now, and a result of another run
                    grid.whole.resolve(grid.workspace.result)
            failed = bool(outcome.names(FAILED) or outcome.names(SKIPPED))
            left = [*outcome.names(WAITING), *outcome.names(ELSEWHERE)] if grid.experiment.budget else []
            status = "FAILED" if failed else "KILLED" if left else "FINISHED"
            if tracker and status != "KILLED":
                with contextlib.suppress(Exception):  # the tracker says what is wrong
                    report()  # made now, because MLflow gets a minute at the end, and thresholds may take as long
        except BaseException:  # also an interrupt: nobody works at the stages any more
            if tracker:
                tracker.close("KILLED", timeout=20.0)
            raise
        behind = tracker.close(status) if tracker else untracked
        return GridEnded(failed, behind, uri, left)


def sync_problem(grid: Grid, tracking_uri: str | None) -> str | None:
    """Write the published results to MLflow. Return what went wrong, or None: MLflow must never fail a run."""
    from pipeline.reports.tracked import tracked_report
    from pipeline.tracking.tracker import sync

    try:
        sync(tracking_address(tracking_uri, grid.workspace), grid.whole, grid.workspace, tracked_report)
    except RequestError as error:
        return f"{error}"
    return None


def _untracked(option: str | None, workspace: Workspace) -> str | None:
    """Return why this run cannot be recorded in MLflow, and say so: a server is necessary, and the user named none."""
    import ray

    several = len([node for node in ray.nodes() if node["Alive"]]) > 1
    if named_address(option) or not (several or workspace.root is None):
        return None
    reason = f"{'a cluster of several machines' if several else 'a workspace on S3'} needs a tracking server"
    say(f"{reason} (--tracking-uri). This run is not recorded in MLflow; the verb `sync` can add it later.")
    return f"{reason}, but none was given (--tracking-uri)"
