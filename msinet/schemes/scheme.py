"""What a search scheme decides, and the weights that it hands to the supernet. Letters: S slots, O operations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from msinet.settings import STRICT

if TYPE_CHECKING:  # planning reads schemes, and must not need torch
    from numpy.random import Generator
    from torch import Tensor

    Weight = Tensor | float | None
    Mixture = Sequence[Sequence[Weight]]
    """For each slot, the weight of each operation. An operation whose weight is None is not computed."""


Path = tuple[int, ...]
"""A genotype by the column of α of each slot's operation."""


class Moment(NamedTuple):
    """The moment of a search at which a scheme is asked.

    Attributes:
        epoch: Counted from 0.
        epochs: Number of epochs in which the weights are trained.
        rng: Random numbers of this moment alone. They follow from seed, epoch and step, so a continued search draws the
            same ones.
        choices: For each slot, the columns of α whose operations it offers.
    """

    epoch: int
    epochs: int
    rng: "Generator"
    choices: Sequence[Sequence[int]]


class Cost(NamedTuple):
    """What a genotype costs.

    Attributes:
        parameters: Number of parameters of the derived network, without classifiers.
        gmacs: Multiply-accumulates for one picture, in 10⁹.
    """

    parameters: float
    gmacs: float


@dataclass(frozen=True, kw_only=True)
class Scheme(ABC):
    """A way to search. The fields of a subclass are its settings in an experiment's file.

    A file of a scheme must not import torch when it is read, because plans are made without torch. Tensors have all
    methods that a mixture needs.

    Attributes:
        name: Name of the scheme, and of its file.
    """

    __pydantic_config__ = STRICT

    name: str

    @property
    def channel_divisor(self) -> int:
        """Return k, if only one k-th of a branch's channels passes through the operations of the supernet."""
        return 1

    @property
    def uses_alphas(self) -> bool:
        """Return whether α decides the genotype."""
        return True

    @property
    def num_generations(self) -> int:
        """Return the number of generations of genotypes that are evaluated after the epochs; usually 0."""
        return 0

    @property
    def max_candidates(self) -> int | None:
        """Return how many genotypes the search can order at its end; None for all that there are."""
        return None

    @property
    def recalibration_pictures(self) -> int:
        """Return on how many training pictures batch norms take their statistics for a genotype."""
        return 0

    def check_size(self, image_size: tuple[int, int]) -> None:
        """Check that the settings fit pictures of (height, width).

        Raises:
            ValueError: They do not.
        """
        return

    def trains_alphas(self, epoch: int, epochs: int) -> bool:
        """Return whether the steps of an epoch update α before the weights, or only the weights."""
        return True

    @abstractmethod
    def mixture(self, alphas_SO: "Tensor", moment: Moment) -> "Mixture":
        """Return the weights of the operations for one pass through the supernet.

        Args:
            alphas_SO: α on the search's device. To read its values costs a wait for the device.
            moment: The moment of the search.
        """

    def next_generation(
        self,
        scores: Mapping[Path, float],
        cost: Callable[[Path], Cost],
        choices: Sequence[Sequence[int]],
        rng: "Generator",
    ) -> list[Path]:
        """Return the genotypes of the next generation. Only schemes with generations need it.

        Args:
            scores: mAP of each genotype that is evaluated, in the order of evaluation; empty before the first
                generation.
            cost: Returns what a genotype costs.
            choices: For each slot, the columns of α whose operations it offers.
            rng: Random numbers of this generation alone.
        """
        raise NotImplementedError(f"the scheme {self.name} has no generations.")

    def pareto_set(self, scores: Mapping[Path, float], cost: Callable[[Path], Cost]) -> list[Path]:
        """Return the evaluated genotypes that no other one beats in all objectives, those of high mAP first."""
        raise NotImplementedError(f"the scheme {self.name} has no generations.")

    def figures(self, path: Path, cost: Cost) -> dict[str, float]:
        """Return the numbers of a genotype that a result holds beside its mAP."""
        return cost._asdict()


def one_path(choices: Sequence[int], num_operations: int, weights: "Sequence[Weight] | None" = None) -> "Mixture":
    """Return the mixture that computes one operation in each slot.

    Args:
        choices: Column of the chosen operation of each slot.
        num_operations: Number of columns.
        weights: Weight of each chosen operation, by default 1.
    """
    chosen = [1.0] * len(choices) if weights is None else weights
    return [
        tuple(weight if column == choice else None for column in range(num_operations))
        for choice, weight in zip(choices, chosen, strict=True)
    ]
