"""The networks that an experiment trains, apart from those that a search will find."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from msinet.genotype import Genotype
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Labels


@dataclass(frozen=True)
class Candidate:
    """A network to be trained: a named genotype, a baseline, or the genotype that a search will find.

    Attributes:
        origin: Name for people, unique for each source.
        network: Name that `build_model` knows.
        settings: The genotype or the options of the network, unless a search finds them.
        needs: The search that finds the genotype, by role.
        labels: Split, supervision and seed of that search.
    """

    origin: str
    network: str
    settings: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)


def named(experiment: Experiment) -> Iterator[Candidate]:
    """Yield the candidates that the experiment names, which are the same for every source."""
    for name in experiment.genotypes:
        yield Candidate(name, "msinet", {"genotype": Genotype.parse(name).letters})
    for baseline in experiment.networks:
        yield Candidate(baseline.label, baseline.name, {"options": baseline.options})
