"""What identifies an experiment in MLflow, and the times of a result as MLflow states them."""

from collections.abc import Sequence
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.plan.stage import content_of
from pipeline.results import Report, Result


def specification(experiment: Experiment) -> dict[str, Any]:
    """Return what identifies an experiment: everything but the places of its data and how its stages are run.

    A split in a file counts by its content. The section `tune` is left out: a study has the experiment's name, and
    checks itself what its trials depend on.
    """
    splits: Any = experiment.splits
    by_source: dict[Any, Any] = splits if isinstance(splits, dict) else {None: splits}
    named = {source: [_split(entry) for entry in entries] for source, entries in by_source.items()}
    places: Any = {"datasets": {"__all__": {"path"}}, "weights": True, "resources": True, "checkpoint_every": True}
    values = experiment.model_dump(mode="json", exclude=places)
    return {**values, "splits": named if isinstance(splits, dict) else named[None], "tune": None}


def _split(entry: Any) -> dict[str, Any]:
    there = entry.file is not None and entry.file.is_file()
    return {**entry.model_dump(mode="json"), "file": content_of(entry.file) if there else None}


def milliseconds(seconds: float) -> int:
    """Return a time as MLflow states it."""
    return int(1000 * seconds)


def ended(result: Result) -> int:
    """Return when a stage with this result ended, as MLflow states it."""
    return milliseconds(result["started"] + result["seconds"])


def hours(result: Result) -> float:
    """Return how long a worker was busy with a stage. A training counts the epochs of earlier attempts too."""
    return float(max(result["seconds"], result.get("train_seconds", 0.0)) / 3600)


def epoch_ends(reports: Sequence[Report], result: Result) -> list[float]:
    """Return when each epoch ended, in seconds since the epoch. Epochs of earlier attempts lie before the start."""
    at = result["started"] + result["seconds"]
    ends = []
    for report in reversed(reports):
        ends.append(at)
        at -= report.get("seconds", 0.0)
    return ends[::-1]
