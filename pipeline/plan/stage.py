"""A stage, its key, and the plan that stages form.

A key is a hash of everything that decides a result and of nothing else. It is unknown (None) until the dataset's
fingerprint and the genotype that the stage needs are known. Stages of equal key are one piece of work."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import CONTRIBUTION, KINDS
from pipeline.results import Result

_UNKNOWN = None  # a fingerprint or a device that is not known yet

Labels = dict[str, str | int]

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
        location: Where its dataset, its weights or its split lie; never part of the key.
        lacks: What must be given before it can run, and the setting that gives it.
        key: None until everything that decides the result is known.
        result: The published result, once there is one.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    needs: dict[str, str] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    location: dict[str, str] = field(default_factory=dict)
    lacks: str | None = None
    key: str | None = None
    result: Result | None = None

    def bind(self, results: Mapping[str, Result]) -> dict[str, Any] | None:
        """The whole specification, or None while something that it needs is unknown.

        Args:
            results: Published results by stage name.
        """
        if self.lacks or _UNKNOWN in (
            self.settings.get("device", ""),
            self.settings.get("dataset", {}).get("fingerprint", ""),
        ):
            return None
        if any(name not in results for name in self.needs.values()):
            return None
        contributed = {role: CONTRIBUTION[role](results[name]) for role, name in self.needs.items()}
        return {**self.settings, **contributed}


def content_key(kind: str, spec: Mapping[str, Any]) -> str:
    """The key of a stage: a hash of its kind, that kind's schema version, and its specification."""
    return content_hash({"kind": kind, "schema": KINDS[kind].schema, "spec": spec})


def content_hash(value: Any) -> str:
    """128 bits of SHA-256 over the canonical JSON of a value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def network_options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What `build_model` needs beside the network's name, of a stage that has one."""
    return {"genotype": spec["genotype"]} if "genotype" in spec else spec["options"]


def content_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

    def name_device(self, device: str) -> None:
        """Say on which device the measurements of this plan are taken: a part of their keys."""
        for stage in self.of_kind("measure"):
            if stage.result is None:
                stage.settings["device"] = device

    def find_measurements(self, published: Iterable[Result]) -> None:
        """Attach measurements that were taken on any device, the first that fits: a table can be drawn elsewhere."""
        results = self.results()
        for stage in self.of_kind("measure"):
            if stage.settings["device"] is not None or any(name not in results for name in stage.needs.values()):
                continue
            for result in published:
                stage.settings["device"] = result["spec"]["device"]
                if stage.bind(results) == result["spec"]:
                    stage.key, stage.result = result["key"], result
                    break
                stage.settings["device"] = None

    def work(self, kind: str | None = None) -> int:
        """Pieces of work: stages, those of equal key counted once, pending ones as an upper bound."""
        chosen = [stage for stage in self.stages.values() if kind in (None, stage.kind)]
        return len({stage.key or stage.name for stage in chosen})
