"""Functions that read an experiment from its YAML file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from msinet.data.dataset import DataError
from msinet.data.readers import READERS, require_kind
from pipeline.config.conversions import converted_values
from pipeline.config.describe import describe_errors, most_of
from pipeline.config.document import read_mapping
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData, SearchSplit, SyntheticData
from pipeline.config.space import with_space
from pipeline.config.tune import absolute_storage
from pipeline.errors import RequestError, suggestion
from pipeline.paths import JOB_VARIABLE, absolute, expanded


def load_experiment(path: Path, data: Sequence[str] = (), weights: Sequence[str] = ()) -> Experiment:
    """Read an experiment.

    Args:
        path: A YAML file; relative paths in it start at its folder.
        data: `NAME=PATH` for datasets of the file; each replaces the path in the file.
        weights: `NAME=PATH` for files with weights; they are added to those in the file.

    Raises:
        RequestError: The file is missing, is not YAML, or has wrong settings. The message lists all wrong settings.
    """
    path = expanded(path, "EXPERIMENT")
    folder = path.absolute().parent
    document = _with_latency_tables(read_mapping(path), folder)
    document = with_space(document, lambda file: _from_folder(file, folder, "space"))
    try:
        experiment = Experiment.model_validate(document)
        wrong = most_of([*converted_values(document, experiment)])
    except ValidationError as error:
        wrong = describe_errors(error, document)
    if wrong:
        raise RequestError("\n".join(f"{path}: {line}" for line in wrong))
    return _with_options(_with_absolute_paths(experiment, folder), data, weights)


def _with_latency_tables(document: dict[Any, Any], folder: Path) -> dict[Any, Any]:
    """Replace the path of each scheme's latency table by the table, so that its numbers count and not its place."""
    splits = document.get("splits")
    lists = splits.values() if isinstance(splits, dict) else [splits]
    entries = [entry for given in lists if isinstance(given, list) for entry in given]
    for holder in [document.get("search"), *entries]:
        scheme = holder.get("scheme") if isinstance(holder, dict) else None
        if isinstance(scheme, dict) and isinstance(scheme.get("latency"), str):
            file = _from_folder(Path(scheme["latency"]), folder, "scheme.latency")
            scheme["latency"] = read_mapping(file, "a latency table")
    return document


def _from_folder(path: Path, folder: Path, setting: str) -> Path:
    # Relative paths start at the experiment's folder. In a Ray job that folder is a copy without the data, so there
    # the path must be absolute.
    return absolute(path, setting) if JOB_VARIABLE in os.environ else folder / expanded(path, setting)


def _with_options(experiment: Experiment, data: Sequence[str], weights: Sequence[str]) -> Experiment:
    datasets = dict(experiment.datasets)
    for name, path in _paths_by_name(data, "--data").items():
        given = datasets.get(name)
        if not isinstance(given, DiskData):
            on_disk = [known for known, other in datasets.items() if isinstance(other, DiskData)]
            raise RequestError(f"`--data` must name a dataset on disk, but got {name!r}.{suggestion(name, on_disk)}")
        datasets[name] = given.model_copy(update={"path": path})
    added = _paths_by_name(weights, "--weights")
    try:
        for name in added:
            experiment.require_named_network(name, "--weights")
    except ValueError as error:
        raise RequestError(f"{error}") from None
    return experiment.model_copy(update={"datasets": datasets, "weights": {**experiment.weights, **added}})


def _paths_by_name(items: Sequence[str], option: str) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not separator or not path:
            raise RequestError(f"`{option}` must be NAME=PATH, but got {item!r}.")
        if name in paths:
            raise RequestError(f"`{option}` must give each name only once, but got {name!r} again.")
        paths[name] = absolute(Path(path), f"{option} {name}")
    return paths


def _with_absolute_paths(experiment: Experiment, folder: Path) -> Experiment:
    datasets: dict[str, DiskData | SyntheticData] = {
        name: data.model_copy(update={"path": _from_folder(data.path, folder, f"datasets.{name}.path")})
        if isinstance(data, DiskData) and data.path
        else data
        for name, data in experiment.datasets.items()
    }
    weights = {name: _from_folder(path, folder, f"weights.{name}") for name, path in experiment.weights.items()}

    def absolute_file(entry: SearchSplit) -> SearchSplit:
        file = entry.file and _from_folder(entry.file, folder, f"splits {entry.split} file")
        return entry.model_copy(update={"file": file})

    splits: Any = experiment.splits
    if isinstance(splits, dict):
        splits = {source: [absolute_file(entry) for entry in entries] for source, entries in splits.items()}
    else:
        splits = [absolute_file(entry) for entry in splits]
    tune = experiment.tune
    if tune:
        storage = absolute_storage(tune.storage, lambda path: _from_folder(path, folder, "tune.storage"))
        tune = tune.model_copy(update={"storage": storage})
    return experiment.model_copy(update={"datasets": datasets, "weights": weights, "splits": splits, "tune": tune})


def kind_and_path(item: str) -> tuple[str, Path]:
    """Return the kind and the absolute path in `KIND=PATH`.

    Raises:
        RequestError: The item has another form, or its kind is not known.
    """
    kind, separator, path = item.partition("=")
    if not separator or not path:
        raise RequestError(f"`--data` must be KIND=PATH, where KIND is one of {', '.join(READERS)}, but got {item!r}.")
    try:
        return require_kind(kind), absolute(Path(path), f"--data {kind}")
    except DataError as error:
        raise RequestError(f"{error} (--data)") from None
