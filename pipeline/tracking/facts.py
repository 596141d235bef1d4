"""What identifies an experiment in MLflow, and the times of a result as MLflow states them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from msinet.schemes import MIXTURE
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import content_of
from pipeline.results import Report, Result

# The settings that every experiment's identity contains. A setting that is not listed counts only if the file changes
# it, so that experiments written before it existed keep their run in MLflow.
ALWAYS = frozenset(
    [
        "name",
        "datasets",
        "sources",
        "targets",
        "image_size",
        "splits",
        "split_seed",
        "genotypes",
        "networks",
        "alignments",
        "starts",
        "after_neck",
        "rerank",
        "measure",
        "figures",
        "tables",
        "search_seeds",
        "retrain_seeds",
        "search",
        "retrain",
        "workers",
        "threads",
        "tune",
    ]
)


def specification(experiment: Experiment) -> dict[str, Any]:
    """Return what identifies an experiment: everything but the places of its data and how its stages are run.

    A split in a file counts by its content. The section `tune` is left out: a study has the experiment's name, and
    checks itself what its trials depend on.
    """
    splits: Any = experiment.splits
    by_source: dict[Any, Any] = splits if isinstance(splits, dict) else {None: splits}
    named = {source: [_split(entry) for entry in entries] for source, entries in by_source.items()}
    places: Any = {"datasets": {"__all__": {"path"}}, "weights": True, "resources": True, "checkpoint_every": True}
    places |= {"budget": True, "race": True}  # stages of a race are those of a longer list of seeds
    values = experiment.model_dump(mode="json", exclude=places)
    named_splits = named if isinstance(splits, dict) else named[None]
    if values["search"]["scheme"] == asdict(MIXTURE):
        del values["search"]["scheme"]  # a setting that was added later
    unchanged = [name for name in values.keys() - ALWAYS if _is_default(experiment, name)]
    return {**{n: v for n, v in values.items() if n not in unchanged}, "splits": named_splits, "tune": None}


def _is_default(experiment: Experiment, name: str) -> bool:
    default: Any = Experiment.model_fields[name].get_default(call_default_factory=True)
    return bool(getattr(experiment, name) == default)


def _split(entry: Any) -> dict[str, Any]:
    there = entry.file is not None and entry.file.is_file()
    values = entry.model_dump(mode="json", exclude=None if entry.scheme else {"scheme"})
    return {**values, "file": content_of(entry.file) if there else None}


def milliseconds(seconds: float) -> int:
    """Return a time as MLflow states it."""
    return int(1000 * seconds)


def ended(result: Result) -> int:
    """Return when a stage with this result ended, as MLflow states it."""
    return milliseconds(result["started"] + result["seconds"])


def epoch_ends(reports: Sequence[Report], result: Result) -> list[float]:
    """Return when each epoch ended, in seconds since the epoch. Epochs of earlier attempts lie before the start."""
    at = result["started"] + result["seconds"]
    ends = []
    for report in reversed(reports):
        ends.append(at)
        at -= report.get("seconds", 0.0)
    return ends[::-1]
