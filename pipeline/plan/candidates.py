"""The networks that an experiment trains: those that it names, that it draws, and that a search will find."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from msinet.genotype import Genotype
from pipeline.config.experiment import Experiment
from pipeline.config.random_genotypes import SEARCHED
from pipeline.plan.stage import Drawn, Labels

DRAWN = "drawn"  # label of stages whose genotype is a random one: the number of the draw


@dataclass(frozen=True)
class Candidate:
    """A network to be trained: a named or drawn genotype, a baseline, or the genotype that a search will find.

    Attributes:
        origin: Name for people, unique for each source.
        network: Name that `build_model` knows.
        settings: The genotype, unless a search finds it, and its space, or the options of another network.
        needs: The search that finds the genotype, by role.
        number: Which genotype of that search it is, counted from the most probable one.
        drawn: Which random genotype it is instead, with about as many parameters as that one.
        labels: Split, supervision and seed of that search, or the number of the draw.
    """

    origin: str
    network: str
    settings: dict[str, Any] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)
    number: int = 1
    drawn: Drawn | None = None
    labels: Labels = field(default_factory=dict)


def named(experiment: Experiment) -> Iterator[Candidate]:
    """Yield the candidates that the experiment names, which are the same for every source."""
    for name in experiment.genotypes:
        yield Candidate(name, "msinet", Genotype.parse(name, experiment.space).options)
    for baseline in experiment.networks:
        yield Candidate(baseline.label, baseline.name, {"options": baseline.options})


def drawn(experiment: Experiment) -> Iterator[Candidate]:
    """Yield the random genotypes that no search decides, which are the same for every source."""
    section = experiment.random_genotypes
    if section and section.parameters_like != SEARCHED:
        for number, genotype in enumerate(section.drawn(experiment.space), start=1):
            yield Candidate(f"random {number}", "msinet", genotype.options, labels={DRAWN: number})


def derived(experiment: Experiment, origin: str, search: str, labels: Labels) -> Iterator[Candidate]:
    """Yield the candidates that a search decides: the most probable genotypes of its final mixture, and random ones.

    Args:
        experiment: Says how many (`derive.candidates`, `random_genotypes`).
        origin: Name of the search for people, such as `60-80 seed 0`.
        search: Name of the search's stage.
        labels: Labels of the search.
    """
    needs, space = {"genotype": search}, experiment.space.options
    yield Candidate(origin, "msinet", space, needs=needs, labels=labels)
    for number in range(2, experiment.derive.candidates + 1):
        named = {**labels, "candidate": number}
        yield Candidate(f"{origin} candidate {number}", "msinet", space, needs=needs, number=number, labels=named)
    section = experiment.random_genotypes
    if section and section.parameters_like == SEARCHED:
        for number in range(1, section.count + 1):
            name, draw = f"random {number} like {origin}", Drawn(section, number, experiment.space)
            like: Labels = {DRAWN: number, "like": origin}
            yield Candidate(name, "msinet", space, needs=needs, drawn=draw, labels=like)
