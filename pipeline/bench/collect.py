"""Collect the evaluations of a workspace, with the trainings, searches and datasets behind them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msinet.spaces.space import PAPER
from pipeline.errors import RequestError
from pipeline.plan.kinds import PARTS
from pipeline.plan.stage import HELD_OUT, Plan, content_hash, content_key
from pipeline.results import Result
from pipeline.storage.workspace import Workspace

OWN = {"genotype", "space", "network", "seed", "source_data"}  # parts of a training that are columns of their own


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a genotype, with the results that it depends on.

    Attributes:
        evaluated, trained: The results of the two stages.
        source, target: Names of the datasets.
        domain: `in_domain`, `cross_domain` or `held_out`.
        settings: All settings of training and evaluation except genotype, seed and data.
        found_by: Keys of the searches that derived this genotype, sorted.
    """

    evaluated: Result
    trained: Result
    source: str
    target: str
    domain: str
    settings: dict[str, Any]
    found_by: list[str]

    @property
    def recipe(self) -> str:
        """Return the hash of the settings."""
        return content_hash(self.settings)

    @property
    def genotype(self) -> str:
        """Return the genotype as text."""
        return str(self.trained["spec"]["genotype"])

    @property
    def space(self) -> str:
        """Return the name of the genotype's space."""
        name, separator, _ = self.genotype.rpartition(":")
        return name if separator else PAPER


@dataclass
class Collected:
    """What a workspace holds for a bench.

    Attributes:
        evaluations: In the order of the table's rows.
        datasets: The result of each prepared dataset that is used, by name.
        searches: The searches in `found_by`, with `source` as a name, by key.
        left_out: How many evaluations were left out, by reason.
    """

    evaluations: list[Evaluation]
    datasets: dict[str, Result]
    searches: dict[str, dict[str, Any]]
    left_out: dict[str, int] = field(default_factory=dict)


class _Datasets:
    """The names of datasets by the fingerprints that trainings and evaluations hold."""

    def __init__(self, prepared: Iterable[Result], given: Mapping[str, str]) -> None:
        by_fingerprint = {result["fingerprint"]: result for result in reversed(list(prepared))}
        self.results: dict[str, Result] = {}
        bases = {print_: given.get(print_) or _base_name(result) for print_, result in by_fingerprint.items()}
        for print_, result in sorted(by_fingerprint.items()):
            shared = sum(base == bases[print_] for base in bases.values()) > 1
            self.results[bases[print_] + (f"-{print_[:6]}" if shared else "")] = result

    def of_training(self, train_fingerprint: str) -> list[str]:
        """Return the names of the datasets with these training pictures, the shortest first."""
        names = [name for name, result in self.results.items() if result["train_fingerprint"] == train_fingerprint]
        return sorted(names, key=lambda name: (len(name), name)) or [f"dataset-{train_fingerprint[:6]}"]

    def parts_of(self, train_fingerprint: str) -> list[str]:
        """Return the names of the datasets of which a combined training set is made; none for another one."""
        specs = [r["spec"] for r in self.results.values() if r["train_fingerprint"] == train_fingerprint]
        return [name for spec in specs for role in PARTS if role in spec for name in self.of_training(spec[role])]

    def of_target(self, fingerprint: str) -> str:
        """Return the name of the dataset with this fingerprint."""
        names = [name for name, result in self.results.items() if result["fingerprint"] == fingerprint]
        return names[0] if names else f"dataset-{fingerprint[:6]}"


def collect(workspace: Workspace, plans: Iterable[Plan] = ()) -> Collected:
    """Collect the evaluations of all genotypes.

    Results of older code, which another schema number would now give, are left out, and so are baselines, which have no
    genotype.

    Args:
        workspace: The workspace.
        plans: Plans of experiments, resolved. If there are any, only their evaluations are collected, and datasets have
            the names that they have there. Otherwise everything in the workspace is collected, and datasets have the
            names of their domain or kind, with a part of their fingerprint if two have the same name.

    Raises:
        RequestError: There is no evaluation of a genotype.
    """
    plans = list(plans)
    chosen = {stage.key for plan in plans for stage in plan.of_kind("evaluate") if stage.result}
    datasets = _Datasets(workspace.all_results("prepare"), _given_names(plans))
    trained = {result["key"]: result for result in workspace.all_results("retrain") if _is_current(result)}
    searches = [result for result in workspace.all_results("search") if _is_current(result)]
    left_out = {"of older code": 0, "of networks without a genotype": 0}
    evaluations = []
    for result in workspace.all_results("evaluate"):
        if plans and result["key"] not in chosen:
            continue
        training = trained.get(result["spec"]["model"])
        if training is None or not _is_current(result):
            left_out["of older code"] += 1
        elif "genotype" not in training["spec"]:
            left_out["of networks without a genotype"] += 1
        else:
            evaluations.append(_evaluation(result, training, datasets, searches))
    if not evaluations:
        names = ", ".join(plan.experiment.name for plan in plans)
        raise RequestError(
            f"a bench needs finished evaluations of genotypes, but the workspace {workspace.address} has none"
            f"{f' of {names}' if plans else ''} (--workspace)."
        )
    evaluations.sort(
        key=lambda row: (row.space, row.source, row.recipe, row.target, row.genotype, row.trained["spec"]["seed"])
    )
    used = {name for row in evaluations for name in (row.source, row.target)}
    found = {key for row in evaluations for key in row.found_by}
    return Collected(
        evaluations,
        {name: result for name, result in datasets.results.items() if name in used},
        {result["key"]: _search(result, datasets) for result in searches if result["key"] in found},
        {reason: count for reason, count in left_out.items() if count},
    )


def _evaluation(result: Result, training: Result, datasets: _Datasets, searches: Collection[Result]) -> Evaluation:
    spec, trained = result["spec"], training["spec"]
    sources = datasets.of_training(trained["source_data"])
    if "hold_out" in spec:
        source = sources[0]
        cameras = "-cameras" if spec.get("hold_out_cameras") else ""
        target, domain = f"{source}-held-out-{spec['hold_out']}{cameras}", HELD_OUT
    else:
        target = datasets.of_target(spec["target_data"]["fingerprint"])
        parts = datasets.parts_of(trained["source_data"])
        domain = "in_domain" if target in (*sources, *parts) else "cross_domain"
        source = target if target in sources else sources[0]
    same = [
        search["key"]
        for search in searches
        if (search["genotype"], search["spec"].get("space")) == (trained["genotype"], trained.get("space"))
    ]
    settings = {
        "training": {name: value for name, value in trained.items() if name not in OWN},
        "evaluation": {
            name: value for name, value in spec.items() if name not in ("model", "source_data", "target_data")
        },
    }
    return Evaluation(result, training, source, target, domain, settings, sorted(same))


def _search(result: Result, datasets: _Datasets) -> dict[str, Any]:
    """Return what is known of a search: its specification with the source's name, and what it found."""
    settings = {name: value for name, value in result["spec"].items() if name != "source_data"}
    return {
        "source": datasets.of_training(result["spec"]["source_data"])[0],
        "genotype": result["genotype"],
        "hours": result["seconds"] / 3600,
        **settings,
    }


def _is_current(result: Result) -> bool:
    return bool(content_key(result["kind"], result["spec"]) == result["key"])


def _base_name(result: Result) -> str:
    dataset = result["spec"]["dataset"]
    return str(dataset.get("domain") or dataset["kind"])


def _given_names(plans: Iterable[Plan]) -> dict[str, str]:
    """Return the names that experiments give to datasets, by fingerprint."""
    stages = (stage for plan in plans for stage in plan.of_kind("prepare"))
    return {stage.result["fingerprint"]: str(stage.labels["dataset"]) for stage in stages if stage.result}
