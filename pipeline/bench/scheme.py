"""The interface of a search scheme that is replayed against a bench, and the genotypes that it may choose from.

Shapes: G genotypes, S slots.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msinet.spaces import Space


class Pool:
    """The genotypes of a table, with how many trainings of each are left to draw.

    A scheme that proposes a genotype which is not in the table takes the nearest one that is (`nearest`).

    Args:
        space: The space of the genotypes.
        letters: The letters of each genotype.
        parameters: The number of parameters of each genotype.
        left: How many trainings of each genotype can be drawn.

    Attributes:
        choices: For each slot the letters that it offers.
        letters_GS: The genotypes as letters.
        parameters_G: Their numbers of parameters.
        left_G: How many trainings are left.
        trained_G: Whether a training was drawn.
        distances: Number of slots between each proposal so far and the genotype that was taken for it.
    """

    def __init__(self, space: Space, letters: Sequence[str], parameters: Sequence[int], left: Sequence[int]) -> None:
        self.choices = space.letters
        self.letters_GS = np.array([list(text) for text in letters])
        self.parameters_G = np.array(parameters)
        self.left_G = np.array(left)
        self.trained_G = np.zeros(len(letters), bool)
        self.distances: list[int] = []

    def open(self) -> NDArray[np.int64]:
        """Return the genotypes that may be trained next: those without a training, and if all have one, the others."""
        untrained = np.flatnonzero(~self.trained_G & (self.left_G > 0))
        return untrained if len(untrained) else np.flatnonzero(self.left_G > 0)

    def draw(self, rng: np.random.Generator) -> int:
        """Return any open genotype."""
        return int(rng.choice(self.open()))

    def nearest(self, proposal: Sequence[str], rng: np.random.Generator) -> int:
        """Return the open genotype that differs from a proposal in the fewest slots; among equals, any of them."""
        indices = self.open()
        distances = (self.letters_GS[indices] != np.array(list(proposal))).sum(1)
        self.distances.append(int(distances.min()))
        return int(rng.choice(indices[distances == distances.min()]))


class Scheme:
    """A search scheme: it says which genotype to train next, and hears how that training scored.

    A scheme is a class in a file of its own in `pipeline/bench/schemes/`, which names it `SCHEME`. It must define
    `ask`. The file's name is the scheme's name.

    Args:
        pool: The genotypes. The replay keeps its counts.
        budget: Number of trainings in all.
        rng: Source of everything random.

    Attributes:
        front: Whether the scheme ends in a front of score and parameters, and not in one genotype.
        needs: Smallest number of trainings of a genotype that the scheme must be able to draw.
        scores: The scores so far, by genotype.
    """

    front = False
    needs = 1

    def __init__(self, pool: Pool, budget: int, rng: np.random.Generator) -> None:
        self.pool, self.budget, self.rng = pool, budget, rng
        self.scores: dict[int, list[float]] = {}

    def ask(self) -> int | None:
        """Return a genotype that has trainings left, or None if the scheme has decided and wants no more."""
        raise NotImplementedError

    def tell(self, genotype: int, score: float) -> None:
        """Hear the score of one training of the genotype that was asked for."""
        self.scores.setdefault(genotype, []).append(score)

    def considered(self) -> list[int]:
        """Return the trained genotypes of which the one with the highest mean score is the choice."""
        return list(self.scores)
