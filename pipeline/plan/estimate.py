"""An estimate of how long the rest of a plan takes, from the times of finished stages in the workspace."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from msinet.data.dataset import DataError
from msinet.data.readers import READERS
from msinet.data.splits import parse_split, split_rows
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData
from pipeline.errors import RequestError
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Result

TRAIN = "train"
TRAINED = [name for name, kind in KINDS.items() if kind.trains]
# Seconds per pixel of a training image on one core of a 2 GHz AMD EPYC, measured in float32 with torch 2.13 on batches
# of 16 at 256×128. The time of a search includes the second image on which each step updates α.
CORE_SECONDS = {"search": 1.89e-5, "msinet": 1.01e-5, "resnet50": 2.44e-5, "osnet": 8.1e-6}


def device_hours(plan: Plan, measured: Mapping[str, Sequence[Result]]) -> str:
    """Return a sentence that says how long the searches and retrainings that are not done yet would take.

    A stage's time is epochs × training images × pixels of an image × seconds per pixel. The last factor comes from the
    newest finished stage of the same kind and network, or from a CPU core as long as a kind has none. Pending stages
    are counted as if every search found a different genotype.

    Args:
        plan: A resolved plan.
        measured: Finished searches and retrainings of the workspace, by kind, the newest first.
    """
    left = [stage for kind in TRAINED for stage in plan.of_kind(kind) if not (stage.result or stage.lacks)]
    if not left:
        return "no search or retraining is left that could run"
    rates = {stage.name: _rate(stage, measured.get(stage.kind, ())) for stage in left}
    uncounted = sorted({source for s in left if not train_images(plan, source := str(s.labels["source"]))})
    if uncounted:
        return f"no estimate yet: the number of images must be known, so prepare {', '.join(uncounted)} first"
    unknown = sorted({stage.kind for stage in left if rates[stage.name] is None})
    unit, basis = "hours of one device", "as measured in this workspace"
    if unknown:
        rates = {stage.name: CORE_SECONDS[stage.settings.get("network", stage.kind)] for stage in left}
        unit = "hours of one 2 GHz CPU core"
        basis = f"and far less on a GPU, which can be estimated after a {' and a '.join(unknown)} in this workspace"
    distinct = {stage.key or stage.name: stage for stage in left}.values()
    seconds = sum(_pixels(plan, stage) * (rates[stage.name] or 0.0) for stage in distinct)
    bound = "" if all(stage.key for stage in left) else "at most "
    return f"{bound}{seconds / 3600:,.1f} {unit} for {len(distinct)} searches and retrainings, {basis}"


def _rate(stage: Stage, finished: Sequence[Result]) -> float | None:
    """Return seconds per pixel in the newest finished stage of the same kind and network, or None without one."""
    network = stage.settings.get("network")
    for result in finished:
        spec = result["spec"]
        if spec.get("network") == network and result.get("images"):
            height, width = spec["image_size"]
            seconds: float = result["train_seconds"]
            return seconds / (result["images"] * height * width)
    return None


def _pixels(plan: Plan, stage: Stage) -> float:
    """Return the number of pixels that a stage trains on, over all its epochs."""
    height, width = stage.settings["image_size"]
    return float(images_seen(plan, stage) * height * width)


def images_seen(plan: Plan, stage: Stage) -> int:
    """Return how many images a stage trains on over all its epochs; for a search, those of its training side."""
    images = train_images(plan, str(stage.labels["source"]))
    if stage.kind == "search":
        # The images of shared identities are divided evenly between both sides.
        images = _split_images(stage, images)
    return int(stage.settings["recipe"]["epochs"]) * images


def _split_images(stage: Stage, images: int) -> int:
    split = stage.settings["split"]
    if isinstance(split, str):
        train, valid = parse_split(split)
        return images * (train - valid + 100) // 200
    file = Path(stage.location["split"])
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
    that the dataset's authors state. It is 0 if nothing is known.
    """
    prepared = plan.stages[f"prepare {name}"].result
    if prepared is not None:
        return int(prepared["images"][TRAIN])
    return _stated_images(plan.experiment, name)


def _stated_images(experiment: Experiment, name: str) -> int:
    data: Any = experiment.datasets[name]
    if isinstance(data, DiskData):
        return READERS[data.kind].train_images or 0  # a manifest states none
    return int(data.spec.train_images)


def longest_paths(plan: Plan) -> dict[str, float]:
    """Return for each stage the work from its start to the end of the longest chain that follows, in core-seconds.

    In a chain, every stage needs the result of the one before it.
    """
    followers: dict[str, list[str]] = {name: [] for name in plan.stages}
    for stage in plan.stages.values():
        for need in stage.needs.values():
            followers[need].append(stage.name)
    paths: dict[str, float] = {}
    for name, stage in reversed(plan.stages.items()):  # a plan lists every stage after those that it needs
        paths[name] = _work(plan, stage) + max((paths[follower] for follower in followers[name]), default=0.0)
    return paths


def _work(plan: Plan, stage: Stage) -> float:
    if stage.kind not in TRAINED or stage.lacks:
        return 1.0  # such a stage takes minutes or does not run; a training takes hours
    return 1.0 + _pixels(plan, stage) * CORE_SECONDS[stage.settings.get("network", stage.kind)]
