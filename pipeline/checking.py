"""`msinet check`: what a dataset or an experiment holds, and what is wrong with it."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.config.load import kind_and_path, load_experiment
from pipeline.config.parts import DiskData
from pipeline.plan.preflight import disk_data, preflight, read_dataset, require_fitting_weights, signature
from pipeline.plan.unfold import plan
from pipeline.reports.console import summary
from pipeline.storage.workspace import Workspace


def check_data(item: str) -> bool:
    """Print what `KIND=PATH` holds.

    Returns:
        Whether nothing is wrong.

    Raises:
        RequestError: The item is not of that form, or the dataset is not there.
    """
    kind, path = kind_and_path(item)
    return _print_check(kind, DiskData.model_validate({"kind": kind, "path": path}))


def check_experiment(path: Path, data: Sequence[str], weights: Sequence[str], workspace: Workspace) -> bool:
    """Print what an experiment's datasets hold, then check it as `run` would.

    Args:
        path: The experiment's file.
        data, weights: `NAME=PATH`, as of `run`.
        workspace: Remembers the datasets that are sound, so that `run` need not look again.

    Returns:
        Whether nothing is wrong.
    """
    experiment = load_experiment(path, data, weights)
    sound = [_print_check(name, data, workspace) for name, data in disk_data(experiment).items()]
    if not all(sound):
        return False
    fingerprints = preflight(experiment, workspace, print)
    planned = plan(experiment, fingerprints, workspace.result)
    require_fitting_weights(planned)
    lacking = any(stage.lacks for stage in planned.stages.values())
    print(f"{path} can run{', as far as nothing lacks' if lacking else ''}:\n{summary(planned)}")
    return True


def _print_check(name: str, data: DiskData, workspace: Workspace | None = None) -> bool:
    from msinet.data.check import check

    dataset = read_dataset(name, data)
    report = check(dataset)
    print(report.format())
    if workspace and report.fingerprint and not report.problems:
        workspace.keep_fingerprint(signature(dataset), report.fingerprint)
    return not report.problems
