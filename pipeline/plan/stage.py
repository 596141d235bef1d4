"""A stage, its key, and the plan that consists of stages.

A key is a hash of everything that decides a result, and of nothing else. It is None until the dataset's fingerprint and
the genotype that the stage needs are known. Stages with equal keys are the same work, which is done only once."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msinet.files import json_text
from msinet.spaces import Space
from pipeline.config.experiment import Experiment
from pipeline.config.random_genotypes import RandomGenotypes
from pipeline.plan.kinds import CONTRIBUTION, KINDS, found_genotype
from pipeline.results import Result

_UNKNOWN = None  # a fingerprint or a device that is not known yet

HELD_OUT = "held_out"  # value of the label `domain` of evaluations that serve to choose, not to report
Labels = dict[str, str | int]

Lookup = Callable[[str, str], Result | None]


@dataclass(frozen=True)
class Drawn:
    """A random genotype with about as many parameters as the one that a search finds.

    Attributes:
        section: How genotypes are drawn.
        number: Number of the draw, counted from 1.
        space: The space from which it is drawn.
    """

    section: RandomGenotypes
    number: int
    space: Space

    def like(self, searched: str) -> str:
        """Return the genotype as text, once the search has found its genotype.

        Raises:
            ValueError: Too few genotypes have about as many parameters.
        """
        return str(self.section.drawn(self.space, searched)[self.number - 1])


@dataclass
class Stage:
    """A step of an experiment.

    Attributes:
        name: Name for people, unique in the plan: `search street 60-80 seed 0`.
        kind: A name in `KINDS`.
        settings: The part of the specification that is known from the start. The results of other stages add the rest.
        needs: Names of the stages whose results the stage uses, by role.
        candidate: Which genotype of the search in the role `genotype` it uses, counted from the most probable one.
        drawn: Which random genotype it uses instead, with about as many parameters as that one.
        labels: Dataset, source, target, split, seed and so on, for tables and for MLflow.
        location: Paths of its dataset, weights or split; never part of the key.
        lacks: What the user must give before the stage can run, and the setting that gives it.
        key: None until everything that decides the result is known.
        result: The published result, or None.
        started: When a worker last began with the stage, in seconds since the epoch; None if unknown.
    """

    name: str
    kind: str
    settings: dict[str, Any]
    needs: dict[str, str] = field(default_factory=dict)
    candidate: int = 1
    drawn: Drawn | None = None
    labels: Labels = field(default_factory=dict)
    location: dict[str, str] = field(default_factory=dict)
    lacks: str | None = None
    key: str | None = None
    result: Result | None = None
    started: float | None = None

    @property
    def on_target(self) -> bool:
        """Return whether this is an evaluation on a target, and not on pictures that serve to choose a genotype."""
        return self.kind == "evaluate" and self.labels.get("domain") != HELD_OUT

    def bind(self, results: Mapping[str, Result]) -> dict[str, Any] | None:
        """Return the whole specification, or None while a part of it is unknown.

        If the search has fewer genotypes than `candidate`, the stage lacks one from then on.

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
        try:
            if self.candidate > 1:
                contributed["genotype"] = found_genotype(results[self.needs["genotype"]], self.candidate)
            if self.drawn is not None:
                contributed["genotype"] = self.drawn.like(contributed["genotype"])
        except ValueError as error:
            self.lacks = f"needs a genotype that its search does not have: {error}"
            return None
        return {**self.settings, **contributed}


def content_key(kind: str, spec: Mapping[str, Any]) -> str:
    """Return the key of a stage: a hash of its kind, the kind's schema version, and its specification."""
    return content_hash({"kind": kind, "schema": KINDS[kind].schema, "spec": spec})


def content_hash(value: Any) -> str:
    """Return 128 bits of SHA-256 over the canonical JSON of a value, in hexadecimal."""
    return hashlib.sha256(json_text(value, sort_keys=True).encode()).hexdigest()[:32]


def network_options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that `build_model` needs in addition to the name of a stage's network."""
    if "genotype" not in spec:
        options: dict[str, Any] = spec["options"]
        return options
    return {name: spec[name] for name in ("genotype", "space") if name in spec}


def content_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Plan:
    """The stages of one experiment. Each stage comes after those that it needs."""

    experiment: Experiment
    stages: dict[str, Stage]

    def resolve(self, lookup: Lookup) -> None:
        """Set every key that can be known now, and attach the results that are published."""
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
        """Return the results that are attached, by stage name."""
        return {stage.name: stage.result for stage in self.stages.values() if stage.result is not None}

    def of_kind(self, kind: str) -> Iterator[Stage]:
        """Return the stages of one kind, in the plan's order."""
        return (stage for stage in self.stages.values() if stage.kind == kind)

    def name_device(self, device: str) -> None:
        """Set the device on which the measurements of this plan are taken. It is a part of their keys."""
        for stage in self.of_kind("measure"):
            if stage.result is None:
                stage.settings["device"] = device

    def find_measurements(self, published: Iterable[Result]) -> None:
        """Attach for each measurement the first published one that fits, taken on any device.

        Tables can then be drawn on a machine that has another device.
        """
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
        """Return how many stages there are, with stages of equal key counted once.

        A stage without a key counts as one, so the number is an upper bound.
        """
        chosen = [stage for stage in self.stages.values() if kind in (None, stage.kind)]
        return len({stage.key or stage.name for stage in chosen})
