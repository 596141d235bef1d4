"""Functions that read an experiment from its YAML file and describe what is wrong with it."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from msinet.data.dataset import DataError
from msinet.data.readers import READERS, require_kind
from msinet.data.synthetic import SyntheticSpec
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData, SearchSplit, SyntheticData
from pipeline.config.tune import absolute_storage
from pipeline.errors import RequestError, suggestion
from pipeline.paths import JOB_VARIABLE, absolute


def load_experiment(path: Path, data: Sequence[str] = (), weights: Sequence[str] = ()) -> Experiment:
    """Read an experiment.

    Args:
        path: A YAML file; relative paths in it start at its folder.
        data: `NAME=PATH` for datasets of the file; each replaces the path in the file.
        weights: `NAME=PATH` for files with weights; they are added to those in the file.

    Raises:
        RequestError: The file is missing, is not YAML, or has wrong settings. The message lists all wrong settings.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"an experiment must be a YAML file, but {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RequestError(f"an experiment must be a YAML file, but {path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise RequestError(
            f"an experiment must be a mapping of settings, but {path} holds a value of type {type(document).__name__}."
        )
    try:
        experiment = Experiment.model_validate(document)
    except ValidationError as error:
        raise RequestError("\n".join(f"{path}: {line}" for line in describe_errors(error))) from None
    return _with_options(_with_absolute_paths(experiment, path.absolute().parent), data, weights)


def _from_folder(path: Path, folder: Path, setting: str) -> Path:
    # Relative paths start at the experiment's folder. In a Ray job that folder is a copy without the data, so there
    # the path must be absolute.
    return absolute(path, setting) if JOB_VARIABLE in os.environ else folder / path.expanduser()


def _with_options(experiment: Experiment, data: Sequence[str], weights: Sequence[str]) -> Experiment:
    datasets = dict(experiment.datasets)
    for name, path in (_name_and_path(item, "--data") for item in data):
        given = datasets.get(name)
        if not isinstance(given, DiskData):
            raise RequestError(f"`--data` must name a dataset on disk, but got {name!r}.{suggestion(name, datasets)}")
        datasets[name] = given.model_copy(update={"path": path})
    added = dict(_name_and_path(item, "--weights") for item in weights)
    return experiment.model_copy(update={"datasets": datasets, "weights": {**experiment.weights, **added}})


def _name_and_path(item: str, option: str) -> tuple[str, Path]:
    name, separator, path = item.partition("=")
    if not separator or not path:
        raise RequestError(f"`{option}` must be NAME=PATH, but got {item!r}.")
    return name, absolute(Path(path), f"{option} {name}")


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


def describe_errors(error: ValidationError) -> list[str]:
    """Return one sentence for each wrong setting, with the setting's dotted name."""
    details = error.errors()
    # A setting may be the word `same` or a recipe, and pydantic then reports what is wrong with each. A mapping was
    # meant as a recipe, so the report on the word is left out.
    told = [d for d in details if not (d["type"] == "literal_error" and isinstance(d["input"], dict))]
    return [_describe(d) for d in told or details]


def _describe(details: Any) -> str:
    location = _setting_of(details["loc"])
    setting = ".".join(location)
    if details["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key `{setting}`.{suggestion(location[-1], _keys_at(location[:-1]))}"
    if details["type"] == "missing":
        return f"`{setting}` must be given, but is missing."
    message = details["msg"].removeprefix("Value error, ").rstrip(".")
    if details["type"] == "value_error":
        return f"{message} ({setting})." if setting else f"{message}."
    return f"`{setting}`: {message[0].lower()}{message[1:]}, but got {details['input']!r}."


def _setting_of(location: Sequence[str | int]) -> list[str]:
    """Return the parts of a setting's name, without those that pydantic adds (tags of unions and names of types)."""
    first, *rest = map(str, location) if location else [""]
    if first == "datasets" and len(rest) > 1:
        name, tag, *rest = rest
        return [first, name, *(rest[1:] if tag == "synthetic" and rest[:1] == ["spec"] else rest)]
    return [part for part in (first, *rest) if part and part != "function-before" and "[" not in part]


def _keys_at(location: list[str]) -> set[str]:
    """Return the keys that are allowed at a place of the file."""
    if location[:1] == ["datasets"]:
        return {field.name for field in fields(SyntheticSpec)} | set(DiskData.model_fields)
    kind: Any = Experiment
    for part in location:
        kind = next((c for c in _classes(_annotation(kind, part))), None)
        if kind is None:
            return set()
    return set(kind.model_fields) if hasattr(kind, "model_fields") else {field.name for field in fields(kind)}


def _annotation(kind: Any, name: str) -> Any:
    if hasattr(kind, "model_fields"):
        return kind.model_fields[name].annotation if name in kind.model_fields else None
    return next((field.type for field in fields(kind) if field.name == name), None)


def _classes(annotation: Any) -> Iterable[Any]:
    """Yield the models and dataclasses inside a type."""
    if is_dataclass(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)


def kind_and_path(item: str) -> tuple[str, str]:
    """Return the two parts of `KIND=PATH`.

    Raises:
        RequestError: The item has another form, or its kind is not known.
    """
    kind, separator, path = item.partition("=")
    if not separator:
        raise RequestError(f"`--data` must be KIND=PATH, where KIND is one of {', '.join(READERS)}, but got {item!r}.")
    try:
        return require_kind(kind), path
    except DataError as error:
        raise RequestError(f"{error} (--data)") from None
