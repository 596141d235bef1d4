"""An estimate of how long the rest of a plan takes, from the times of finished stages in the workspace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.tune import Tune
from pipeline.plan.images import images_seen, train_images
from pipeline.plan.kinds import KINDS
from pipeline.plan.memory import needs_of, shown, trial_need
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Result
from pipeline.storage.workspace import Workspace

TRAINED = [name for name, kind in KINDS.items() if kind.trains]
# Seconds per pixel of a training image on one core of a 2 GHz AMD EPYC, measured in float32 with torch 2.13 on batches
# of 16 at 256×128. The time of a search includes the second image on which each step updates α.
CORE_SECONDS = {"search": 1.89e-5, "msinet": 1.01e-5, "resnet50": 2.44e-5, "osnet": 8.1e-6}
Measured = Mapping[str, Sequence[Result]]


@dataclass(frozen=True)
class Hours:
    """An estimate.

    Attributes:
        hours: Hours of one device, or of one core.
        by_core: Whether they are hours of one CPU core, because nothing like it was measured in the workspace.
    """

    hours: float
    by_core: bool


def rest_of(plan: Plan, workspace: Workspace) -> str:
    """Return sentences about the rest of a plan and the trials of `msinet tune`: how long they take, and their memory.

    Args:
        plan: A resolved plan.
        workspace: Workspace whose finished stages say how fast they were.
    """
    tune, stages = plan.experiment.tune, _trained(plan)
    kinds = {stage.kind for stage in stages if not stage.result} | ({"retrain"} if tune else set())
    measured = {kind: workspace.all_results(kind) for kind in sorted(kinds)}
    lines = [device_hours(plan, measured)] if stages or not tune else []
    if lacking := [stage for stage in stages if stage.lacks]:
        lines.append(f"the stages that lack something would take {_hours(plan, lacking, measured)}")
    if needs := needs_of(plan, [stage for stage in plan.stages.values() if not stage.result]):
        lines.append(
            f"memory of one stage on a CPU, at most: {', '.join(f'{n.kind} {shown(n.memory)}' for n in needs)}"
        )
    if tune:
        lines.append(f"`msinet tune` runs the trials of the section `tune`: {trial_hours(plan, tune, measured)}")
        lines.append(f"memory of one trial on a CPU, at most: {shown(trial_need(plan.experiment, tune).memory)}")
    return "\n".join(lines)


def device_hours(plan: Plan, measured: Measured) -> str:
    """Return a sentence that says how long the searches and retrainings that can run and are not done would take.

    A stage's time is epochs × training images × pixels of an image × seconds per pixel. The last factor comes from the
    newest finished stage of the same kind and network, or from a CPU core as long as a kind has none. Pending stages
    are counted as if every search found a different genotype.

    Args:
        plan: A resolved plan.
        measured: Finished searches and retrainings of the workspace, by kind, the newest first.
    """
    left = [stage for stage in _trained(plan) if not (stage.result or stage.lacks)]
    return _hours(plan, left, measured) if left else "no search or retraining is left that could run"


def hours_left(plan: Plan, workspace: Workspace) -> Hours | None:
    """Return how long the searches and retrainings that can run and are not done take; see `device_hours`.

    Returns:
        The estimate, or None if the number of images of a source is not known.
    """
    left = [stage for stage in _trained(plan) if not (stage.result or stage.lacks)]
    if not all(train_images(plan, str(stage.labels["source"])) for stage in left):
        return None
    measured = {kind: workspace.all_results(kind) for kind in sorted({stage.kind for stage in left})}
    hours, unknown = _total(_works(plan, left), measured)
    return Hours(hours, bool(unknown))


def trial_hours(plan: Plan, tune: Tune, measured: Measured) -> str:
    """Return a sentence that says how long all trials of an outer loop take at most.

    Args:
        plan, measured: See `device_hours`.
        tune: The outer loop.
    """
    images = train_images(plan, tune.source)
    if not images:
        return _uncounted([tune.source])
    recipe, axes = plan.experiment.retrain.in_domain, tune.space.retrain
    epochs = max(axes["epochs"].ends) if "epochs" in axes else recipe.epochs
    height, width = plan.experiment.training_size(tune.source)
    trial = _Work("retrain", "msinet", epochs * images * (100 - tune.hold_out) / 100 * height * width)
    return f"at most {_sum([trial] * tune.trials, 'trials', measured)}"


@dataclass(frozen=True)
class _Work:
    """What the time of a search or a training depends on: its kind, its network, and the pixels of all its epochs."""

    kind: str
    network: str | None
    pixels: float


def _trained(plan: Plan) -> list[Stage]:
    return [stage for kind in TRAINED for stage in plan.of_kind(kind)]


def _hours(plan: Plan, stages: Sequence[Stage], measured: Measured) -> str:
    uncounted = sorted({source for s in stages if not train_images(plan, source := str(s.labels["source"]))})
    if uncounted:
        return _uncounted(uncounted)
    bound = "" if all(stage.key for stage in stages) else "at most "
    return f"{bound}{_sum(_works(plan, stages), 'searches and retrainings', measured)}"


def _works(plan: Plan, stages: Sequence[Stage]) -> list[_Work]:
    """Return the work of stages, where equal work counts once."""
    distinct = {stage.key or stage.name: stage for stage in stages}.values()
    return [_Work(stage.kind, stage.settings.get("network"), _pixels(plan, stage)) for stage in distinct]


def _uncounted(sources: Sequence[str]) -> str:
    return f"no estimate yet: the number of images must be known, so prepare {', '.join(sources)} first"


def _sum(works: Sequence[_Work], name: str, measured: Measured) -> str:
    """Return how long all work takes together, on one device if its speed is known, else on one core."""
    hours, unknown = _total(works, measured)
    unit, basis = "hours of one device", "as measured in this workspace"
    if unknown:
        unit = "hours of one 2 GHz CPU core"
        basis = f"and far less on a GPU, which can be estimated after a {' and a '.join(unknown)} in this workspace"
    shown = f"{hours:,.1f}" if hours >= 1 else f"{max(hours, 0.01):.2f}"
    return f"{shown} {unit} for {len(works)} {name}, {basis}"


def _total(works: Sequence[_Work], measured: Measured) -> tuple[float, list[str]]:
    """Return the hours of all work together, and the kinds whose speed is not known. If there are any, a core works."""
    pixels: dict[tuple[str, str | None], float] = {}
    for work in works:
        pixels[work.kind, work.network] = pixels.get((work.kind, work.network), 0.0) + work.pixels
    rates = {key: _rate(key[1], measured.get(key[0], ())) for key in pixels}
    unknown = sorted({kind for (kind, _), rate in rates.items() if rate is None})
    if unknown:
        rates = {(kind, network): CORE_SECONDS[network or kind] for kind, network in pixels}
    return sum(pixels[key] * (rate or 0.0) for key, rate in rates.items()) / 3600, unknown


def _rate(network: str | None, finished: Sequence[Result]) -> float | None:
    """Return seconds per pixel in the newest of these stages that trained the same network, or None without one."""
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


def elapsed_hours(plan: Plan, cores: int) -> float:
    """Return the hours of a whole plan on a machine without a GPU whose 2 GHz cores each run one stage at a time.

    It is the time of the longest chain of stages, or that of all stages divided among the cores, whichever is longer.

    Args:
        plan: A plan; what is done already counts too.
        cores: Number of processor cores.
    """
    everything = sum(_work(plan, stage) for stage in plan.stages.values())
    return max(max(longest_paths(plan).values(), default=0.0), everything / cores) / 3600


def _work(plan: Plan, stage: Stage) -> float:
    if stage.kind not in TRAINED or stage.lacks:
        return 1.0  # such a stage takes minutes or does not run; a training takes hours
    return 1.0 + _pixels(plan, stage) * CORE_SECONDS[stage.settings.get("network", stage.kind)]
