"""Checks before anything runs: folders, pictures, splits, batch sizes and weights."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msinet.data.combined import combine
from msinet.data.dataset import ROLES, SOURCE, TARGET, DataError, Dataset
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData, SyntheticData
from pipeline.errors import RequestError
from pipeline.plan.stage import Plan, content_hash, network_options
from pipeline.storage.workspace import Workspace


def known_fingerprints(experiment: Experiment, workspace: Workspace) -> dict[str, str]:
    """Return the fingerprints of the disk datasets that were checked before and have not changed since.

    No picture is read.
    """
    known = {}
    for name, data in disk_data(experiment).items():
        try:
            fingerprint = workspace.fingerprint(signature(read_dataset(name, data)))
        except (RequestError, DataError):
            continue  # the dataset is not on this machine, so its stages stay pending
        if fingerprint:
            known[name] = fingerprint
    return known


def preflight(experiment: Experiment, workspace: Workspace, say: Callable[[str], None]) -> dict[str, str]:
    """Check that the experiment can run on its data.

    Args:
        experiment: The experiment.
        workspace: Stores which datasets were checked.
        say: Called with a line of text before something that takes time.

    Returns:
        Fingerprints of the disk datasets.

    Raises:
        RequestError: A folder or a picture is missing or damaged, a split or a batch has too few identities, or a
            runtime is not installed.
    """
    _require_runtimes(experiment)
    fingerprints = {}
    trained: dict[str, list[Any]] = {}
    for name, data in experiment.datasets.items():
        if name not in experiment.used_datasets or (isinstance(data, DiskData) and not data.path):
            continue
        if isinstance(data, SyntheticData):
            trained[name] = _generated_train_records(data)
            _require_identities(experiment, name, trained[name])
            continue
        dataset, roles = read_dataset(name, data), roles_of(experiment, name)
        for role in roles:
            require_pictures(role, name, dataset)
        trained[name] = [record for record in dataset.records if record.subset == "train"]
        _require_identities(experiment, name, trained[name])
        fingerprints[name] = checked_fingerprint(name, dataset, workspace, say, f"datasets.{name}.path", roles)
    for source in experiment.combined:
        parts = [trained[part] for part in experiment.parts_of(source) if part in trained]
        if len(parts) == len(experiment.parts_of(source)):
            _require_identities(experiment, source, [record for part in combine(parts) for record in part])
    return fingerprints


def _require_runtimes(experiment: Experiment) -> None:
    """Check that the runtimes of evaluations and measurements are installed, before anything is trained for them."""
    runtimes = {"evaluation_runtime": experiment.evaluation_runtime}
    if experiment.measure:
        runtimes["runtime"] = experiment.runtime
    for setting, runtime in runtimes.items():
        if runtime == "torch":
            continue
        from msinet.export.compiled import require_runtime  # imports torch; plans with PyTorch alone do not need it

        try:
            require_runtime(runtime)
        except ModuleNotFoundError as error:
            raise RequestError(f"{error} ({setting})") from error


def require_fitting_weights(plan: Plan) -> None:
    """Check that every file with weights fits the network that starts from it.

    Raises:
        RequestError: A file does not fit.
    """
    starts = {
        (stage.location["weights"], stage.settings["network"], str(network_options(stage.settings))): stage
        for stage in plan.of_kind("retrain")
        if "weights" in stage.location
    }
    if not starts:
        return
    from msinet.interop import load_start, read_state_dict  # imports torch; plans without weights do not need it
    from msinet.interop.card import require_card
    from msinet.models import build_model

    for (weights, network, _), stage in starts.items():
        try:
            model = build_model(network, num_classes=0, **network_options(stage.settings))
            require_card(weights, network, network_options(stage.settings))
            load_start(model, read_state_dict(Path(weights)))
        except (ValueError, OSError) as error:
            raise RequestError(f"{error} (weights.{stage.labels['origin']}: {weights})") from error


def disk_data(experiment: Experiment) -> dict[str, DiskData]:
    """Return the disk datasets that the experiment uses and that have a path, by name."""
    used = experiment.used_datasets
    return {n: d for n, d in experiment.datasets.items() if n in used and isinstance(d, DiskData) and d.path}


def read_dataset(name: str, data: DiskData) -> Dataset:
    """List a dataset's pictures.

    Raises:
        RequestError: The dataset does not exist, or its files do not have the layout of its kind.
    """
    from msinet.data.readers import read

    try:
        return read(data.kind, str(data.path))
    except DataError as error:
        raise RequestError(f"{error} (datasets.{name}.path)") from error


def signature(dataset: Dataset) -> str:
    """Return a hash that changes with every file that is added, removed, renamed or written. No file is read.

    Raises:
        DataError: A picture does not exist or cannot be reached.
    """
    from msinet.data.pictures import status_of

    rows: list[Any] = []
    for record in dataset.records:
        status = status_of(dataset.root, record.path)
        rows.append([record.path, str(record.pid), record.camid, record.subset, status.st_size, status.st_mtime_ns])
    return content_hash(rows)


def checked_fingerprint(
    name: str,
    dataset: Dataset,
    workspace: Workspace,
    say: Callable[[str], None],
    setting: str,
    roles: Sequence[str] = ROLES,
) -> str:
    """Return the fingerprint of a dataset with these roles, and check every picture unless that was done before.

    Raises:
        RequestError: A picture is missing or damaged, or the dataset has another problem.
    """
    from msinet.data.check import check

    try:
        found = signature(dataset)
    except DataError as error:
        raise RequestError(f"{error} ({setting})") from None
    known = workspace.fingerprint(found)
    if known:
        return known
    say(f"checking the {len(dataset.records)} pictures of {name}, only once unless they change")
    report = check(dataset, roles=roles)
    if report.fingerprint is None or report.problems:
        shown = "\n".join(f"  {problem}" for problem in report.problems[:20])
        raise RequestError(f"the dataset {name} must have no problems ({setting}), but has these:\n{shown}")
    workspace.keep_fingerprint(found, report.fingerprint)
    return report.fingerprint


def _require_identities(experiment: Experiment, name: str, train_records: list[Any]) -> None:
    """Check that every side of every split, and every batch, finds enough training identities."""
    from msinet.data.splits import check_split_sizes, identity_split, load_split, parse_split

    if name not in experiment.sources:
        return
    try:
        for entry in experiment.splits_of(name):
            if entry.file is None:
                sides = identity_split(train_records, *parse_split(entry.split), split_seed=experiment.split_seed)
            elif os.path.isfile(entry.file):
                sides = load_split(entry.file, train_records)
            else:
                continue  # the search lacks its split, and other stages may run
            check_split_sizes(*sides, num_ids=experiment.search.num_ids, dataset_name=name, split=entry.split)
    except ValueError as error:
        raise RequestError(f"{error}") from error
    networks: list[str] = [network.name for network in experiment.networks]
    if experiment.splits_of(name) or experiment.genotypes or experiment.random_genotypes:
        networks.append("msinet")
    recipes = [
        experiment.retrain.recipe_for(network, in_domain=experiment.same_domain(name, target))
        for network in networks
        for target in experiment.targets_of(name)
    ]
    selection = experiment.selection
    if selection and not selection.domain:
        num_ids, cameras = experiment.retrain.in_domain.num_ids, selection.by == "camera"
        require_held_out(name, train_records, selection.hold_out, num_ids, "selection", cameras=cameras)
    found = len({record.pid for record in train_records})
    for recipe_name, recipe in recipes:
        if found < recipe.num_ids:
            raise RequestError(
                f"a batch needs {recipe.num_ids} identities, but {name!r} has {found} for training: lower `batch_size` "
                f"or raise `num_instances` (retrain.{recipe_name}.batch_size)."
            )


def require_held_out(
    name: str, train_records: Sequence[Any], percent: int, num_ids: int, section: str, *, cameras: bool = False
) -> None:
    """Make sure that there are enough identities to train on, and enough held-out pictures to score.

    Args:
        name: Name of the dataset.
        train_records: Its training pictures.
        percent: Percent of its training identities that are held out.
        num_ids: Identities in a batch.
        section: Section of the experiment that holds out identities.
        cameras: Whether the last two cameras are held out too.

    Raises:
        RequestError: There are too few identities or cameras.
    """
    from msinet.data.held_out import has_matches, hold_out

    try:
        seen, held_out = hold_out(train_records, percent, cameras=cameras)
    except DataError as error:
        raise RequestError(f"{name!r} cannot be divided: {error}") from None
    found = [len({record.pid for record in side}) for side in (seen, held_out)]
    if found[0] < num_ids:
        raise RequestError(
            f"a batch needs {num_ids} identities, but {name!r} has {found[0]} that are not held out: "
            f"lower `{section}.hold_out` or `batch_size` (retrain.in_domain.batch_size)."
        )
    if found[1] < 2 or not has_matches(held_out):
        raise RequestError(
            f"at least two identities must be held out, one of them seen by two cameras, but {percent} percent "
            f"of {name!r} are {found[1]}: raise `{section}.hold_out`, or leave the column `camera` of a manifest "
            "empty if there is one camera only."
        )


def _generated_train_records(data: SyntheticData) -> list[Any]:
    from msinet.data import synthetic

    return [record for record in synthetic.records(data.spec) if record.subset == "train"]


def roles_of(experiment: Experiment, name: str) -> list[str]:
    """Return what an experiment does with a dataset: the names of its roles."""
    chosen_on = [experiment.selection.domain] if experiment.selection and experiment.selection.domain else []
    parts = [part for source in experiment.sources for part in experiment.parts_of(source)]
    named = {SOURCE: parts, TARGET: [*experiment.all_targets, *chosen_on]}
    return [role for role, names in named.items() if name in names]


def require_pictures(role: str, name: str, dataset: Dataset) -> None:
    """Check that a dataset has the pictures that its role needs, and as a target also a query with a match.

    Raises:
        RequestError: Pictures of a subset are missing, or no query has a match.
    """
    from msinet.data.findings import match_findings

    needed = dataset.subsets_of(role)
    missing = [subset for subset in needed if all(record.subset != subset for record in dataset.records)]
    if missing:
        raise RequestError(
            f"{name!r} must have pictures for {' and '.join(needed)}, but has none for {' and '.join(missing)} "
            "(check its path, and whether it should be a source or target)."
        )
    problems = match_findings(dataset)[0] if role == TARGET else []
    if problems:
        raise RequestError(f"{name!r} cannot be a target: {problems[0]}")
