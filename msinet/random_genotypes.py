"""Genotypes that are drawn at random: the baseline that a search has to beat."""

import random
from collections.abc import Iterator
from functools import lru_cache

from msinet.genotype import Genotype
from msinet.parameters import count_of
from msinet.spaces.space import PAPER_SPACE, Space

TRIES = 100_000  # most draws for genotypes with about the right number of parameters; a second


@lru_cache  # the stages of a plan ask for the same genotypes again and again
def draw_genotypes(
    count: int, seed: int = 0, space: Space = PAPER_SPACE, *, like: Genotype | None = None, within: float = 0.02
) -> tuple[Genotype, ...]:
    """Draw different genotypes, each uniformly from the space, or from those with about as many parameters as another.

    A shorter list is the beginning of a longer one of the same seed.

    Args:
        count: Number of genotypes.
        seed: Seed of the draws.
        space: The space.
        like: Genotype whose number of parameters all others must have, within a tolerance; None for any number.
        within: Largest difference to that number, as a share of it.

    Raises:
        ValueError: The space has fewer genotypes, or too few of them have about as many parameters.
    """
    if count > space.size:
        raise ValueError(
            f"{count} different genotypes must be drawn, but the space {space.name} has only {space.size} "
            "(random_genotypes.count)."
        )
    wanted = None if like is None else count_of(like.letters, like.space)
    found: dict[str, None] = {}
    for tries, letters in enumerate(_draws(random.Random(f"random genotypes {seed}"), space)):
        if len(found) == count:
            break
        if wanted is None or abs(count_of(letters, space) - wanted) <= within * wanted:
            found[letters] = None
        elif tries > TRIES:
            raise ValueError(
                f"{count} genotypes with the parameters of {like} ± {100 * within:g} % must be drawn, but {TRIES} "
                f"draws have found only {len(found)} (random_genotypes.within)."
            )
    return tuple(Genotype(letters, space) for letters in found)


def _draws(rng: random.Random, space: Space) -> Iterator[str]:
    slots = space.letters
    while True:
        yield "".join(map(rng.choice, slots))
