"""The verb `check`: it prints what a dataset or an experiment holds, and what is wrong with it."""

from collections.abc import Sequence
from pathlib import Path

from msinet.data.dataset import ROLES
from pipeline.config.load import kind_and_path, load_experiment
from pipeline.config.parts import DiskData
from pipeline.grid import Grid, open_grid
from pipeline.plan.estimate import rest_of
from pipeline.plan.preflight import disk_data, read_dataset, roles_of, signature
from pipeline.reports.console import summary
from pipeline.storage.workspace import Workspace, open_workspace


def check_data(item: str) -> bool:
    """Print what the dataset `KIND=PATH` holds.

    Returns:
        Whether the dataset has no problems.

    Raises:
        RequestError: The item has another form, or the dataset does not exist.
    """
    kind, path = kind_and_path(item)
    return _print_check(kind, DiskData.model_validate({"kind": kind, "path": path}), ROLES)


def check_experiment(
    path: Path, workspace: str | None, data: Sequence[str] | None, weights: Sequence[str] | None
) -> Grid | None:
    """Print what an experiment's datasets hold, then check the experiment as `run` would.

    Args:
        path: The experiment's file.
        workspace: The workspace's address. It stores which datasets are sound, so that `run` need not check them again.
        data, weights: `NAME=PATH`, as for `run`.

    Returns:
        The experiment in its workspace, or None if a dataset has problems.

    Raises:
        RequestError: The experiment cannot run for another reason.
    """
    experiment, place = load_experiment(path, data or [], weights or []), open_workspace(workspace)
    sound = [
        _print_check(name, data, roles_of(experiment, name), place) for name, data in disk_data(experiment).items()
    ]
    if not all(sound):
        return None
    grid = open_grid(path, workspace, data, weights, verify=True)
    lacking = any(stage.lacks for stage in grid.plan.stages.values())
    print(
        f"{path} can run{', except the stages that lack something' if lacking else ''}:\n{summary(grid.plan)}\n\n"
        f"{rest_of(grid.plan, grid.workspace)}"
    )
    return grid


def _print_check(name: str, data: DiskData, roles: Sequence[str], workspace: Workspace | None = None) -> bool:
    from msinet.data.check import check

    dataset = read_dataset(name, data)
    report = check(dataset, roles=roles)
    print(report.format())
    if workspace and report.fingerprint and not report.problems:
        workspace.keep_fingerprint(signature(dataset), report.fingerprint)
    return not report.problems
