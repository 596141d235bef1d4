"""The labels of stages, translated into the words of the paper's tables."""

from collections.abc import Sequence
from typing import NamedTuple

from msinet.data.splits import parse_split
from msinet.genotype import PUBLISHED
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.published import CODES, FROM_FILE, SOFTMAX, STARTS, WITH, WITHOUT, RowKey

# Which genotype of the paper comes from which search, given by source, split and supervision.
SEARCHED = {
    ("MS", "60-80", "tcm"): "MSINet",
    ("VR", "60-80", "tcm"): "MSINet-VR",
    ("MS", "100-100", "softmax"): "MSINet-S",
}
BASELINES = {"resnet50": "ResNet-50", "osnet": "OSNet"}

ALIGNMENTS = {
    "none": "none",
    "pos": "SAM, positives only",
    "neg": "SAM, negatives only",
    "pos_neg": "SAM",
    "sam_softmax": "SAM-softmax",
}

# Values of the labels that a stage may lack.
LABELS = {"network": "msinet", "alignment": "none", "start": "scratch", "supervision": "tcm"}


class Pair(NamedTuple):
    """The dataset that a network was trained on, and the dataset that it is evaluated on."""

    source: str
    target: str


def paper_codes(experiment: Experiment) -> dict[str, str | None]:
    """Return the paper's short name of each dataset, None for those that the paper does not have.

    A source of several datasets has None too.
    """
    return {name: CODES.get(data.kind) for name, data in experiment.datasets.items()} | dict.fromkeys(
        experiment.combined
    )


def label_of(stage: Stage, name: str) -> str:
    return str(stage.labels.get(name, LABELS[name]))


def device_of(measure: Stage) -> str:
    return str(measure.labels.get("device") or measure.settings.get("device") or "")


def pair_of(stage: Stage) -> Pair:
    return Pair(str(stage.labels["source"]), str(stage.labels["target"]))


def pair_name(source: str, target: str) -> str:
    return source if source == target else f"{source} → {target}"


def pair_code(source: str, target: str) -> str:
    return source if source == target else f"{source}->{target}"


def is_searched(stage: Stage) -> bool:
    return "split" in stage.labels


def network_name(stage: Stage) -> str:
    """Return the network's name for people. A published genotype has the same name if its letters were given."""
    network = label_of(stage, "network")
    origin = str(stage.labels.get("origin", network))
    if network in BASELINES:
        return origin.replace(network, BASELINES[network], 1)
    if is_searched(stage):
        supervised = supervision_name(label_of(stage, "supervision"))
        return f"{stage.labels['split']} {supervised}{search_suffix(stage)}"
    return published_name(origin)


def network_of(plan: Plan, stage: Stage) -> str:
    """Return the name of a genotype or baseline, with the alignment and the start if the experiment varies them."""
    assert stage.result is not None
    parts = [stage.result.get("genotype") or str(stage.labels["origin"])]
    if plan.experiment.alignments:
        parts.append(str(stage.labels["alignment"]))
    if len(plan.experiment.starts) > 1:
        parts.append(str(stage.labels["start"]))
    return " ".join(parts)


def published_name(genotype: str) -> str:
    """Return the published name of a genotype, or the genotype itself if it has none."""
    names = {known.letters: name for name, known in PUBLISHED.items()}
    return names.get(genotype, genotype)


def supervision_name(name: str) -> str:
    return "TCM" if name == "tcm" else name


def start_group(stage: Stage) -> str:
    return f"{network_name(stage)}, {STARTS[label_of(stage, 'start')]}"


def alignment_of(stage: Stage) -> str:
    name = label_of(stage, "alignment")
    return ALIGNMENTS.get(name, name.replace("_", " "))


def alignment_suffix(stage: Stage) -> str:
    return "" if label_of(stage, "alignment") == "none" else f", {alignment_of(stage)}"


def search_suffix(stage: Stage) -> str:
    """Return a text for the scheme that an entry of `splits` names, and for all but the first genotype of a search."""
    scheme = f", {stage.labels['scheme']}" if "scheme" in stage.labels else ""
    return scheme + (f", candidate {stage.labels['candidate']}" if "candidate" in stage.labels else "")


def network_key(stage: Stage) -> RowKey:
    return RowKey(STARTS[label_of(stage, "start")], network_name(stage) + alignment_suffix(stage))


def split_key(stage: Stage) -> RowKey:
    split, start = str(stage.labels["split"]), label_of(stage, "start")
    name = split + search_suffix(stage) + ("" if start == "scratch" else f", {STARTS[start]}") + alignment_suffix(stage)
    if label_of(stage, "supervision") == "softmax":
        return RowKey(SOFTMAX, name)
    if not split[0].isdigit():
        return RowKey(FROM_FILE, name)
    return RowKey(WITHOUT if sum(parse_split(split)) == 100 else WITH, name)


def one_for_each_seed(stages: Sequence[Stage]) -> list[Stage]:
    """Return one stage for each pair of search seed and retraining seed, a finished one if there is one.

    Stages of the same seeds differ only in how their genotype was named.
    """
    chosen: dict[tuple[object, object], Stage] = {}
    for stage in stages:
        seeds = stage.labels.get("search_seed"), stage.labels.get("seed")
        if seeds not in chosen or (stage.result and not chosen[seeds].result):
            chosen[seeds] = stage
    return list(chosen.values())
