"""The memory that stages take on a CPU: computed from what they train, their batch and the size of their pictures.

Nothing here imports PyTorch. `tests/pipeline/test_stage_memory.py` computes again what a step saves and holds, with
`msinet.engine.footprint`, and compares the memory of whole processes with what is said here.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from msinet.spaces import PAPER_SPACE, Space, as_space
from msinet.spaces.operations import PAPER_OPERATIONS
from pipeline.config.experiment import Experiment
from pipeline.config.tune import Tune
from pipeline.plan.images import compared_images
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage

GIB = 2**30
# Bytes that a step saves for its gradients, by network and precision: for each pixel of a batch, and for each image.
# MSINet's figures are those of the genotype that saves most.
SAVED = {
    ("search", "float32"): (2594, 1.94e6),
    ("search", "bf16"): (1313, 1.52e6),
    ("msinet", "float32"): (2594, 1.94e6),
    ("msinet", "bf16"): (1313, 1.53e6),
    ("resnet50", "float32"): (1940, 6e4),
    ("resnet50", "bf16"): (986, 8e5),
    ("osnet", "float32"): (2466, 4e4),
    ("osnet", "bf16"): (1249, 1e5),
}
# Bytes that an alignment loss adds at most, for each pixel of a batch.
ALIGNED = {"float32": 15, "bf16": 97}
# Bytes of weights, gradients and the moments of Adam, with classifiers for VehicleID's 13,164 identities.
HELD = {"search": 2.4e7, "msinet": 2.0e8, "resnet50": 8.1e8, "osnet": 1.5e8}
# Measured: bytes that a process takes for each byte that its step saves, because it keeps memory in pieces.
MARGIN = {"search": 1.75, "msinet": 1.6, "resnet50": 1.6, "osnet": 1.6}
# Measured: what a process holds beside a step, with Python, Ray, PyTorch and its kernels.
PROCESS = 7.5e8
# Measured: two copies of the largest network, and the maps of the images that are embedded together, for each pixel of
# an image.
COPIES, MAPS = 2e8, 8e3
# Measured: embeddings, ranking and re-ranking, for each test image; and the images of a target that is not known yet.
TESTED, UNKNOWN = 1.4e4, 100_000
LARGE = ("batch_size", "precision", "alignment")  # settings of a recipe on which its memory depends


@dataclass(frozen=True)
class Need:
    """The memory that a stage or a trial takes on a CPU.

    Attributes:
        kind: Kind of the stage, whose share of the cluster it gets.
        name: Name for people.
        memory: Number of bytes.
        remedy: What to change so that it takes less.
        precision: Precision of a training, else an empty text.
    """

    kind: str
    name: str
    memory: int
    remedy: str
    precision: str = ""


def needs_of(plan: Plan, stages: Iterable[Stage]) -> list[Need]:
    """Return what the largest of some stages takes, for each kind, without kinds that need little."""
    largest: dict[str, Need] = {}
    for stage in stages:
        memory = stage_memory(plan, stage)
        if memory and (stage.kind not in largest or memory > largest[stage.kind].memory):
            recipe = f"retrain.{stage.labels['recipe']}" if stage.kind == "retrain" else stage.kind
            remedy = _smaller(recipe) if KINDS[stage.kind].trains else "end other programs"
            precision = stage.settings["recipe"]["precision"] if KINDS[stage.kind].trains else ""
            largest[stage.kind] = Need(stage.kind, stage.name, memory, remedy, precision)
    return list(largest.values())


def trial_need(experiment: Experiment, tune: Tune) -> Need:
    """Return what the largest trial of an outer loop takes. Its process trains a network, then evaluates it."""
    axes = {name: axis.choices or () for name, axis in tune.space.retrain.items() if name in LARGE}
    recipe, size = asdict(experiment.retrain.in_domain), experiment.training_size(tune.source)
    recipes = [{**recipe, **dict(zip(axes, values, strict=True))} for values in itertools.product(*axes.values())]
    memory = max(training_memory("msinet", recipe, size) for recipe in recipes)
    return Need("retrain", "a trial", max(memory, _inference_memory(size, UNKNOWN)), _smaller("retrain.in_domain"))


def reserved_memory(plan: Plan) -> dict[str, int]:
    """Return how many bytes are reserved for a stage of each kind that is left.

    All trainings reserve equally much, and no less than other stages. Ray keeps the order of stages with equal needs,
    and evaluations may go before trainings because they fit wherever a training fits.
    """
    needs = {need.kind: need.memory for need in needs_of(plan, left_of(plan))}
    most = max(needs.values(), default=0)
    return {kind: most if KINDS[kind].trains else memory for kind, memory in needs.items()}


def left_of(plan: Plan) -> list[Stage]:
    """Return the stages that are not done and can run."""
    return [stage for stage in plan.stages.values() if not (stage.result or stage.lacks)]


def stage_memory(plan: Plan, stage: Stage) -> int:
    """Return how many bytes a stage's process takes at its peak, or each of its processes; 0 if it needs little."""
    settings = stage.settings
    if KINDS[stage.kind].trains:
        network = settings.get("network", stage.kind)
        factor = space_factor(as_space(settings.get("space")), network)
        return training_memory(network, settings["recipe"], settings["image_size"], settings.get("workers", 1), factor)
    if "image_size" not in settings:
        return 0
    compared = 0 if stage.kind in ("measure", "proxy") else compared_images(plan, stage) or UNKNOWN
    # A score also runs 64 pictures at a time, four times as many as are embedded, to estimate batch norms.
    normed = 3 * MAPS * math.prod(settings["image_size"]) if stage.kind == "score" else 0
    return int(_inference_memory(settings["image_size"], compared) + normed)


def training_memory(
    network: str, recipe: Mapping[str, Any], image_size: Sequence[int], workers: int = 1, factor: float = 1
) -> int:
    """Return how many bytes a search or a training takes at its peak.

    Args:
        network: `search`, or the network that is trained.
        recipe: The recipe's settings.
        image_size: (height, width) in pixels.
        workers: Number of processes that share each batch.
        factor: What `space_factor` returns.
    """
    saved = factor * step_bytes(network, recipe, image_size) / workers
    return int(PROCESS + max(1, factor) * HELD[network] + MARGIN[network] * saved)


def space_factor(space: Space, network: str) -> float:
    """Return how many times as much a step in a space saves as one in the paper's space, or a little more.

    The figures are those of `msinet.engine.footprint` for two to four branches and four to nine operations.

    Args:
        space: The space.
        network: `search`, or the network that is trained.
    """
    if network not in ("search", "msinet") or space == PAPER_SPACE:
        return 1.0
    branches, blocks = len(space.scales), sum(scale // 2 for scale in space.scales)
    factor = 1 + 0.102 * (blocks - 4) + 0.18 * (branches - 2)
    if network == "msinet":
        factor += 0.03 * branches * ("concat_project" in space.columns)
    elif branches > 2 or set(space.operations) != {PAPER_OPERATIONS}:  # each operation of a mixture writes its maps
        factor += 0.033 * branches * (len(space.columns) - 1)
    return factor * space.width


def step_bytes(network: str, recipe: Mapping[str, Any], image_size: Sequence[int]) -> float:
    """Return how many bytes one step saves for its gradients; see `training_memory`."""
    per_pixel, per_image = SAVED[network, recipe["precision"]]
    if recipe.get("alignment", "none") != "none":
        per_pixel += ALIGNED[recipe["precision"]]
    return float(recipe["batch_size"] * (math.prod(image_size) * per_pixel + per_image))


def _inference_memory(image_size: Sequence[int], test_images: int) -> int:
    return int(PROCESS + COPIES + MAPS * math.prod(image_size) + TESTED * test_images)


def shown(size: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{size / GIB:.1f} GiB"


def _smaller(recipe: str) -> str:
    return f"lower {recipe}.batch_size or image_size, or set {recipe}.precision to bf16"
