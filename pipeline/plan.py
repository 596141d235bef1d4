"""What an experiment consists of: stages, what each needs, and the key under which each result is found.

A key is a hash of everything that decides a result and of nothing else. It binds late: until the dataset's fingerprint
and the genotype that a stage needs are known its key is None. Stages that bind to one key are one piece of work.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from msinet.data.synthetic import RENDERER_VERSION
from msinet.genotype import Genotype
from pipeline.config import DiskData, Experiment

KINDS = ("prepare", "search", "retrain", "evaluate")
# Raise a number when the same specification starts to mean another result.
SCHEMA = {"prepare": 1, "search": 1, "retrain": 1, "evaluate": 1}
# What the result of a needed stage adds to a specification, by the role it is needed in.
CONTRIBUTION: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "source_data": lambda result: result["fingerprint"],
    "target_data": lambda result: result["fingerprint"],
    "genotype": lambda result: result["genotype"],
    "model": lambda result: result["key"],
}

Labels = dict[str, str | int]
Result = dict[str, Any]
Lookup = Callable[[str, str], Result | None]


@dataclass
class Stage:
    """One step of an experiment.

    Attributes:
        name: Unique in the plan, for people: `search street 60-80 seed 0`.
        kind: One of `KINDS`.
        settings: What decides the result and is known from the start.
        needs: Names of the stages whose results it uses, by role.
        labels: Dataset, source, target, split, seed and so on, for tables and for MLflow.
        location: Where a disk dataset lies; never part of the key.
        key: None until everything that decides the result is known.
        result: The published result, once there is one.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    needs: dict[str, str] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    location: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    result: Result | None = None

    def bind(self, results: Mapping[str, Result]) -> dict[str, Any] | None:
        """The whole specification, or None while something that it needs is unknown.

        Args:
            results: Published results by stage name.
        """
        if any(value is None for value in self.settings.get("dataset", {}).values()):
            return None
        if any(name not in results for name in self.needs.values()):
            return None
        contributed = {role: CONTRIBUTION[role](results[name]) for role, name in self.needs.items()}
        return {**self.settings, **contributed}


def content_key(kind: str, spec: Mapping[str, Any]) -> str:
    """The key of a stage: a hash of its kind, that kind's schema version, and its specification."""
    return content_hash({"kind": kind, "schema": SCHEMA[kind], "spec": spec})


def content_hash(value: Any) -> str:
    """128 bits of SHA-256 over the canonical JSON of a value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


@dataclass
class Plan:
    """The stages of one experiment, each after those that it needs."""

    experiment: Experiment
    stages: dict[str, Stage]

    def resolve(self, lookup: Lookup) -> None:
        """Bind every key that can be bound, and attach the results that are published."""
        results = self.results()
        for stage in self.stages.values():
            if stage.result is not None:
                continue
            spec = stage.bind(results)
            if spec is None:
                continue
            stage.key = content_key(stage.kind, spec)
            stage.result = lookup(stage.kind, stage.key)
            if stage.result is not None:
                results[stage.name] = stage.result

    def results(self) -> dict[str, Result]:
        """Results at hand, by stage name."""
        return {stage.name: stage.result for stage in self.stages.values() if stage.result is not None}

    def of_kind(self, kind: str) -> Iterator[Stage]:
        """The stages of one kind, in order."""
        return (stage for stage in self.stages.values() if stage.kind == kind)

    def work(self, kind: str | None = None) -> int:
        """Pieces of work: stages, those of equal key counted once, pending ones as an upper bound."""
        chosen = [stage for stage in self.stages.values() if kind in (None, stage.kind)]
        return len({stage.key or stage.name for stage in chosen})


def plan(experiment: Experiment, fingerprints: Mapping[str, str] | None = None, lookup: Lookup | None = None) -> Plan:
    """Plan an experiment; nothing is read from a dataset and nothing is started.

    Args:
        experiment: What to do.
        fingerprints: Of disk datasets, by name, as far as they are known.
        lookup: Finds a published result by kind and key; by default nothing is published.
    """
    builder = _Builder(experiment, dict(fingerprints or {}))
    built = Plan(experiment, builder.build())
    built.resolve(lookup or (lambda kind, key: None))
    return built


class _Builder:
    """Unfolds the axes of an experiment into stages."""

    def __init__(self, experiment: Experiment, fingerprints: dict[str, str]) -> None:
        self.experiment = experiment
        self.fingerprints = fingerprints
        self.stages: dict[str, Stage] = {}

    def build(self) -> dict[str, Stage]:
        experiment = self.experiment
        for name in dict.fromkeys([*experiment.sources, *experiment.targets]):
            self._prepare(name)
        for source in experiment.sources:
            for genotype in experiment.genotypes:
                letters = Genotype.parse(genotype).letters
                self._retrain_and_evaluate(source, genotype, {"genotype": letters}, {}, {"origin": genotype})
            for split in experiment.splits:
                for seed in experiment.search_seeds:
                    search = self._search(source, split, seed)
                    labels: Labels = {
                        "split": split,
                        "search_seed": seed,
                        "supervision": experiment.search.supervision,
                    }
                    origin = f"{split} seed {seed}"
                    self._retrain_and_evaluate(
                        source, origin, {}, {"genotype": search.name}, {"origin": origin, **labels}
                    )
        return self.stages

    def _add(self, stage: Stage) -> Stage:
        self.stages[stage.name] = stage
        return stage

    def _prepare(self, name: str) -> None:
        data = self.experiment.datasets[name]
        location: dict[str, str] = {}
        if isinstance(data, DiskData):
            dataset: dict[str, Any] = {"kind": data.kind, "fingerprint": self.fingerprints.get(name)}
            location = {"path": str(data.path)}
        else:
            dataset = {"kind": data.kind, **asdict(data.spec), "renderer": RENDERER_VERSION}
        self._add(
            Stage(
                f"prepare {name}",
                "prepare",
                {"dataset": dataset},
                labels={"dataset": name},
                location=location,
            )
        )

    def _search(self, source: str, split: str, seed: int) -> Stage:
        experiment = self.experiment
        return self._add(
            Stage(
                f"search {source} {split} seed {seed}",
                "search",
                {
                    "split": split,
                    "split_seed": experiment.split_seed,
                    "seed": seed,
                    "image_size": list(experiment.training_size(source)),
                    "recipe": asdict(experiment.search),
                    "threads": experiment.threads,
                },
                needs={"source_data": f"prepare {source}"},
                labels={
                    "dataset": source,
                    "source": source,
                    "split": split,
                    "seed": seed,
                    "supervision": experiment.search.supervision,
                },
            )
        )

    def _retrain_and_evaluate(
        self,
        source: str,
        origin: str,
        settings: dict[str, Any],
        needs: dict[str, str],
        labels: Labels,
    ) -> None:
        experiment = self.experiment
        for seed in experiment.retrain_seeds:
            for target in experiment.targets:
                recipe_name, recipe = experiment.retrain.recipe_for(source, target)
                name = f"retrain {source} {origin} {recipe_name} seed {seed}"
                shared: Labels = {"source": source, "recipe": recipe_name, "seed": seed, **labels}
                if name not in self.stages:
                    self._add(
                        Stage(
                            name,
                            "retrain",
                            {
                                "network": "msinet",
                                **settings,
                                "seed": seed,
                                "image_size": list(experiment.training_size(source)),
                                "recipe": asdict(recipe),
                                "threads": experiment.threads,
                            },
                            needs={"source_data": f"prepare {source}", **needs},
                            labels={"dataset": source, **shared},
                        )
                    )
                self._evaluate(name, target, shared)

    def _evaluate(self, model: str, target: str, labels: Labels) -> None:
        domain = "in_domain" if labels["source"] == target else "cross_domain"
        self._add(
            Stage(
                f"evaluate {model.removeprefix('retrain ')} on {target}",
                "evaluate",
                {
                    "image_size": list(self.experiment.training_size(str(labels["source"]))),
                    "after_neck": False,
                    "threads": self.experiment.threads,
                },
                needs={"model": model, "target_data": f"prepare {target}"},
                labels={"dataset": target, "target": target, "domain": domain, **labels},
            )
        )
