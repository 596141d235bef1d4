"""How long what is left would take, from steps that were measured in this workspace."""

from collections.abc import Mapping, Sequence
from typing import Any

from msinet.data.readers import READERS
from msinet.data.splits import parse_split
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Result

TRAIN = "train"
TRAINED = [name for name, kind in KINDS.items() if kind.trains]
# Seconds of one core of a 2 GHz AMD EPYC for a pixel of a training image, as measured in float32 with torch 2.13 on
# batches of 16 at 256×128. A search step updates α on a second image.
CORE_SECONDS = {"search": 1.89e-5, "msinet": 1.01e-5, "resnet50": 2.44e-5, "osnet": 8.1e-6}


def device_hours(plan: Plan, measured: Mapping[str, Sequence[Result]]) -> str:
    """One sentence on the searches and retrainings that are not done yet.

    A stage's time is epochs × training images × pixels of an image × the time that a pixel took in finished stages of
    the same kind and network, or on a CPU core as long as there are none. Pending stages count as if every search found
    another genotype.

    Args:
        plan: Resolved.
        measured: Finished searches and retrainings of the workspace, by kind, the newest first.
    """
    left = [stage for kind in TRAINED for stage in plan.of_kind(kind) if not stage.result]
    if not left:
        return "no search or retraining is left"
    rates = {stage.name: _rate(stage, measured.get(stage.kind, ())) for stage in left}
    uncounted = sorted({source for s in left if not train_images(plan, source := str(s.labels["source"]))})
    if uncounted:
        return f"no estimate: how many images {', '.join(uncounted)} has is known once it is prepared"
    unknown = sorted({stage.kind for stage in left if rates[stage.name] is None})
    unit, basis = "hours of one device", "as measured in this workspace"
    if unknown:
        rates = {stage.name: CORE_SECONDS[stage.settings.get("network", stage.kind)] for stage in left}
        unit = "hours of one 2 GHz CPU core"
        basis = f"and far less of a GPU: how much is known once a {' and a '.join(unknown)} was run in this workspace"
    distinct = {stage.key or stage.name: stage for stage in left}.values()
    seconds = sum(_pixels(plan, stage) * (rates[stage.name] or 0.0) for stage in distinct)
    bound = "" if all(stage.key for stage in left) else "at most "
    return f"{bound}{seconds / 3600:,.1f} {unit} for {len(distinct)} searches and retrainings, {basis}"


def _rate(stage: Stage, finished: Sequence[Result]) -> float | None:
    """Seconds for an image's pixel, from the newest finished stage of the same kind and network."""
    network = stage.settings.get("network")
    for result in finished:
        spec = result["spec"]
        if spec.get("network") == network and result.get("images"):
            height, width = spec["image_size"]
            seconds: float = result["train_seconds"]
            return seconds / (result["images"] * height * width)
    return None


def _pixels(plan: Plan, stage: Stage) -> float:
    """Pixels that a stage trains on, over all its epochs."""
    height, width = stage.settings["image_size"]
    return float(images_seen(plan, stage) * height * width)


def images_seen(plan: Plan, stage: Stage) -> int:
    """Training images that a search (of its training side) or a retraining goes through, over all its epochs."""
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
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    sides = pq.read_table(stage.location["split"], columns=["side"])["side"]
    return int(pc.sum(pc.equal(sides, TRAIN)).as_py())


def train_images(plan: Plan, name: str) -> int:
    """Training images of a dataset: as prepared, else as its specification or its authors state."""
    prepared = plan.stages[f"prepare {name}"].result
    if prepared is not None:
        return int(prepared["images"][TRAIN])
    return _stated_images(plan.experiment, name)


def _stated_images(experiment: Experiment, name: str) -> int:
    from msinet.data import synthetic

    data: Any = experiment.datasets[name]
    if isinstance(data, DiskData):
        return READERS[data.kind].train_images or 0  # a manifest states none
    return sum(record.subset == TRAIN for record in synthetic.records(data.spec))


def longest_paths(plan: Plan) -> dict[str, float]:
    """By stage, how much work lies on the longest way from its start to the end of what needs it, in core-seconds."""
    followers: dict[str, list[str]] = {name: [] for name in plan.stages}
    for stage in plan.stages.values():
        for need in stage.needs.values():
            followers[need].append(stage.name)
    paths: dict[str, float] = {}
    for name, stage in reversed(plan.stages.items()):  # each stands after those that it needs
        paths[name] = _work(plan, stage) + max((paths[follower] for follower in followers[name]), default=0.0)
    return paths


def _work(plan: Plan, stage: Stage) -> float:
    if stage.kind not in TRAINED:
        return 1.0  # minutes beside hours
    return 1.0 + _pixels(plan, stage) * CORE_SECONDS[stage.settings.get("network", stage.kind)]
