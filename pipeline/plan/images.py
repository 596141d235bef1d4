"""How many images the stages of a plan train on and compare."""

from functools import cache
from pathlib import Path
from typing import Any

from msinet.data.dataset import DataError
from msinet.data.readers import READERS, read
from msinet.data.splits import parse_split, split_rows
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData, SyntheticData
from pipeline.errors import RequestError
from pipeline.plan.stage import Plan, Stage

TRAIN = "train"


def images_seen(plan: Plan, stage: Stage) -> int:
    """Return how many images a stage trains on over all its epochs; for a search, those of its training side."""
    images = train_images(plan, str(stage.labels["source"]))
    if stage.kind == "search":
        # The images of shared identities are divided evenly between both sides.
        images = _split_images(stage, images)
    images = images * (100 - stage.settings.get("hold_out", 0)) // 100
    return int(stage.settings["recipe"]["epochs"]) * images


def compared_images(plan: Plan, stage: Stage) -> int:
    """Return how many images an evaluation, a score or a picture compares; 0 if nothing is known."""
    if stage.kind == "score":
        images = train_images(plan, str(stage.labels["source"]))
        return images - _split_images(plan.stages[stage.needs["supernet"]], images)
    if "hold_out" in stage.settings:
        return train_images(plan, str(stage.labels["source"])) * int(stage.settings["hold_out"]) // 100
    name = str(stage.labels["target"])
    prepared = plan.stages[f"prepare {name}"].result
    if prepared is not None:
        return sum(count for subset, count in prepared["images"].items() if subset != TRAIN)
    data = plan.experiment.datasets[name]
    return data.spec.test_images if isinstance(data, SyntheticData) else 0


def _split_images(stage: Stage, images: int) -> int:
    split = stage.settings["split"]
    if isinstance(split, str):
        train, valid = parse_split(split)
        return images * (train - valid + 100) // 200
    file = Path(stage.location["split"])
    if not file.is_file():
        return images  # the stage lacks this file, so only an upper bound is known
    try:
        return _images_in(file, file.stat().st_mtime_ns)
    except (DataError, OSError) as error:
        raise RequestError(f"{error} (splits)") from None


@cache
def _images_in(split: Path, mtime_ns: int) -> int:
    """Return the number of training images in a file with a split, which was written at this time."""
    return sum(row["side"] == TRAIN for _, row in split_rows(split))


def train_images(plan: Plan, name: str) -> int:
    """Return the number of a dataset's training images.

    It is counted in the prepared dataset, or else in the specification of a generated one, or else it is the number
    that the dataset's authors state, or else it is counted in the dataset itself. It is 0 if nothing is known.
    """
    stage = plan.stages.get(f"prepare {name}")  # a part of a plan may lack it
    if stage is not None and stage.result is not None:
        return int(stage.result["images"][TRAIN])
    return _stated_images(plan.experiment, name)


def _stated_images(experiment: Experiment, name: str) -> int:
    if name in experiment.combined:
        parts = [_stated_images(experiment, part) for part in experiment.parts_of(name)]
        return sum(parts) if all(parts) else 0
    data: Any = experiment.datasets[name]
    if isinstance(data, DiskData):
        return READERS[data.kind].train_images or (_listed_images(data.kind, data.path) if data.path else 0)
    return int(data.spec.train_images)


@cache  # a dataset does not change while a plan is made
def _listed_images(kind: str, path: Path) -> int:
    try:
        return sum(record.subset == TRAIN for record in read(kind, path).records)
    except (DataError, OSError):
        return 0  # `check` and `run` say what is wrong
