"""Single-path one-shot: weights trained on uniformly drawn paths, then an evolutionary search over them.

Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020, arXiv 1904.00420.
Parents are selected as in NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6, 2002), because the
search ends in a set for several objectives, whereas the paper searches the best accuracy alone.

Letters: N genotypes, M objectives.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from msinet.parameters import count_of
from msinet.schemes.scheme import Cost, Moment, Path, Scheme, one_path
from msinet.settings import STRICT, require

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from msinet.schemes.scheme import Mixture

TRIES = 20  # draws for each wanted genotype before a generation is left smaller
SMALLEST = count_of(12 * "N")  # parameters of a genotype without any in its operations, without classifiers
Choices = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """The measured latency of a network as a sum: a base, and an addition for the operation of each slot.

    `msinet latency` measures one. Its numbers are a part of the search's specification, so equal specifications give
    equal results although two measurements never do.

    Attributes:
        device: Name of the device.
        image_size: (height, width) of the pictures.
        batch_size: Number of pictures that are embedded at once.
        base_ms: Milliseconds of a batch with the operation `none` in every slot.
        operations_ms: For each slot, the milliseconds that each operation adds, in the order of α's columns.
    """

    __pydantic_config__ = STRICT

    device: str
    image_size: tuple[int, int]
    batch_size: int
    base_ms: float
    operations_ms: tuple[tuple[float, ...], ...]

    def of(self, path: Path) -> float:
        """Return the milliseconds of a genotype, given by the column of each slot's operation."""
        return self.base_ms + sum(row[column] for row, column in zip(self.operations_ms, path, strict=True))


@dataclass(frozen=True, kw_only=True)
class OneShot(Scheme):
    """Each training step computes one uniformly drawn operation in each slot and trains no α.

    Then genotypes are evaluated with the shared weights: batch-norm statistics are computed anew for each of them on
    training pictures, and its score is the mAP on the validation identities. The objectives of the selection are mAP,
    parameters and multiply-accumulates, or mAP, parameters and latency if there is a latency table. The search ends in
    the genotype of the highest mAP and in the Pareto set of all evaluated genotypes.

    Attributes:
        population: Number of genotypes in a generation; 50 as in the paper.
        generations: Number of generations; 20 as in the paper.
        parents: Number of genotypes from which the next generation descends; 10 as in the paper.
        mutation: Probability that a mutation draws a slot anew; 0.1 as in the paper.
        recalibration: Number of training pictures for the batch-norm statistics. The paper takes 20,000 of ImageNet.
        max_parameters: Largest number of parameters of a genotype, without classifiers; None for no limit.
        latency: A latency table; in a file also the path of one.
        max_latency_ms: Largest latency of a genotype by this table; None for no limit.
    """

    name: Literal["one_shot"] = "one_shot"
    population: int = 50
    generations: int = 20
    parents: int = 10
    mutation: float = 0.1
    recalibration: int = 1024
    max_parameters: float | None = None
    latency: LatencyTable | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        require(self, "at least 1", lambda x: x >= 1, "population", "generations", "recalibration")
        require(self, "at least 2", lambda x: x >= 2, "parents")
        require(self, "above 0 and at most 1", lambda x: 0 < x <= 1, "mutation")
        require(self, "positive", lambda x: x is None or x > 0, "max_parameters", "max_latency_ms")
        if self.max_parameters is not None and self.max_parameters < SMALLEST:
            raise ValueError(
                f"`max_parameters` must be at least that of the smallest genotype, {SMALLEST}, but got "
                f"{self.max_parameters:.7g}."
            )
        if self.max_latency_ms is None:
            return
        if self.latency is None:
            raise ValueError(
                "`max_latency_ms` needs a `latency` table, which `msinet latency` measures, but there is none."
            )
        fastest = self.latency.base_ms + sum(map(min, self.latency.operations_ms))
        if self.max_latency_ms < fastest:
            raise ValueError(
                f"`max_latency_ms` must be at least that of the fastest genotype, {fastest:.3g}, but got "
                f"{self.max_latency_ms}."
            )

    @property
    def uses_alphas(self) -> bool:
        return False

    @property
    def num_generations(self) -> int:
        return self.generations

    @property
    def max_candidates(self) -> int:
        return self.population * self.generations

    @property
    def recalibration_pictures(self) -> int:
        return self.recalibration

    def check_size(self, image_size: tuple[int, int]) -> None:
        if self.latency is not None and tuple(self.latency.image_size) != tuple(image_size):
            wanted, found = ("×".join(map(str, size)) for size in (image_size, self.latency.image_size))
            raise ValueError(
                f"the latency table must be measured with pictures of {wanted}, as the search sees them, but it is for "
                f"{found} (search.scheme.latency)."
            )

    def trains_alphas(self, epoch: int, epochs: int) -> bool:
        return False

    def mixture(self, alphas_SO: "Tensor", moment: Moment) -> "Mixture":
        return one_path(_drawn(moment.choices, moment.rng), alphas_SO.shape[1])

    def next_generation(
        self, scores: Mapping[Path, float], cost: Callable[[Path], Cost], choices: Choices, rng: "Generator"
    ) -> list[Path]:
        found: list[Path] = []

        def fill(drawn: Callable[[], Path], upto: int) -> None:
            for _ in range(TRIES * self.population):
                if len(found) >= upto:
                    return
                path = drawn()
                if path not in scores and path not in found and self._allows(path, cost):
                    found.append(path)

        if scores:
            best = self._ordered(scores, cost)[: self.parents]
            fill(lambda: _crossed(best, rng), self.population // 2)
            fill(lambda: _mutated(best, choices, self.mutation, rng), self.population)
        fill(lambda: _drawn(choices, rng), self.population)
        if not (found or scores):  # the limits leave few genotypes
            fill(lambda: self._lightened(_drawn(choices, rng), choices, cost, rng), self.population)
        if not (found or scores):
            raise ValueError(
                f"some genotypes must be allowed, but none of {TRIES * self.population} drawn ones was "
                f"(max_parameters {self.max_parameters}, max_latency_ms {self.max_latency_ms})."
            )
        return found or [next(iter(scores))]  # all genotypes that are allowed have their score

    def pareto_set(self, scores: Mapping[Path, float], cost: Callable[[Path], Cost]) -> list[Path]:
        paths = list(scores)
        front = next(_fronts(self._objectives(scores, cost)))
        return sorted((paths[index] for index in front), key=lambda path: -scores[path])

    def figures(self, path: Path, cost: Cost) -> dict[str, float]:
        latency = {} if self.latency is None else {"latency_ms": self.latency.of(path)}
        return {**cost._asdict(), **latency}

    def _allows(self, path: Path, cost: Callable[[Path], Cost]) -> bool:
        if self.max_parameters is not None and cost(path).parameters > self.max_parameters:
            return False
        return self.max_latency_ms is None or self.latency is None or self.latency.of(path) <= self.max_latency_ms

    def _lightened(self, path: Path, choices: Choices, cost: Callable[[Path], Cost], rng: "Generator") -> Path:
        """Return a path with the cheapest operation in as many slots, in random order, as the limits demand."""

        def price(path: Path) -> tuple[float, float]:
            return cost(path).parameters, 0.0 if self.latency is None else self.latency.of(path)

        for slot in rng.permutation(len(path)):
            if self._allows(path, cost):
                break
            path = min(((*path[:slot], column, *path[slot + 1 :]) for column in choices[slot]), key=price)
        return path

    def _objectives(self, scores: Mapping[Path, float], cost: Callable[[Path], Cost]) -> NDArray[np.float64]:
        """Return the objectives of the evaluated genotypes, N×3, all to be minimised."""
        speed = (lambda path: cost(path).gmacs) if self.latency is None else self.latency.of
        return np.array([(-score, cost(path).parameters, speed(path)) for path, score in scores.items()])

    def _ordered(self, scores: Mapping[Path, float], cost: Callable[[Path], Cost]) -> list[Path]:
        """Return the evaluated genotypes by their front, and within a front by their distance to others."""
        objectives_NM, paths = self._objectives(scores, cost), list(scores)
        order: list[int] = []
        for front in _fronts(objectives_NM):
            order += front[np.argsort(-_crowding(objectives_NM[front]), kind="stable")].tolist()
            if len(order) >= self.parents:
                break
        return [paths[index] for index in order]


def _drawn(choices: Choices, rng: "Generator") -> Path:
    return tuple(columns[int(rng.integers(len(columns)))] for columns in choices)


def _crossed(parents: Sequence[Path], rng: "Generator") -> Path:
    """Take each slot from one of two parents."""
    pair = rng.choice(len(parents), 2, replace=len(parents) < 2)
    return tuple(parents[pair[side]][slot] for slot, side in enumerate(rng.integers(2, size=len(parents[0]))))


def _mutated(parents: Sequence[Path], choices: Choices, probability: float, rng: "Generator") -> Path:
    """Draw each slot of a parent anew with a probability."""
    parent, other = parents[int(rng.integers(len(parents)))], _drawn(choices, rng)
    changed = rng.random(len(parent)) < probability
    return tuple(new if change else old for old, new, change in zip(parent, other, changed, strict=True))


def _fronts(objectives_NM: NDArray[np.float64]) -> Iterator[NDArray[np.int64]]:
    """Yield the genotypes that no other one dominates, then those that only the earlier ones dominate, and so on."""
    left = np.arange(len(objectives_NM))
    while len(left):
        points = objectives_NM[left]
        no_worse = (points[:, None] <= points[None]).all(-1)
        dominated = (no_worse & ~no_worse.T).any(0)
        yield left[~dominated]
        left = left[dominated]


def _crowding(objectives_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each genotype of a front the size of the gap between its neighbours, summed over the objectives."""
    distance_N = np.zeros(len(objectives_NM))
    for values_N in objectives_NM.T:
        order = np.argsort(values_N, kind="stable")
        span = values_N[order[-1]] - values_N[order[0]]
        gaps = np.full(len(order), np.inf)
        gaps[1:-1] = (values_N[order[2:]] - values_N[order[:-2]]) / (span or 1.0)
        distance_N[order] += gaps
    return distance_N
