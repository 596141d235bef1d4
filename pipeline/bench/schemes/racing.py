"""A race (`msinet.statistics.racing`): seeds go only to the genotypes that may still be the best."""

import numpy as np

from msinet.statistics.racing import race
from pipeline.bench.scheme import Pool, Scheme

SHARE = 3  # a third of the budget is the number of candidates: two thirds pay for their first two seeds


class Racing(Scheme):
    """Draw some genotypes at random, train each with two seeds, and then only those that are not eliminated.

    The race ends before the budget if it is decided, or if the table has no further seeds.
    """

    needs = 2

    def __init__(self, pool: Pool, budget: int, rng: np.random.Generator) -> None:
        super().__init__(pool, budget, rng)
        count = min(max(2, budget // SHARE), len(pool.left_G))
        self._candidates = [int(genotype) for genotype in rng.choice(len(pool.left_G), size=count, replace=False)]
        self._left = self._candidates
        self._round: list[int] = []
        self._rounds = 0

    def ask(self) -> int | None:
        """Return the next genotype of the round; at the end of a round, eliminate."""
        if not self._round:
            if self._rounds > 1 and self._decided():
                return None
            self._round = [genotype for genotype in self._left if self.pool.left_G[genotype]]
            self._rounds += 1
        return self._round.pop(0) if self._round else None

    def considered(self) -> list[int]:
        """Return the trained genotypes that are not eliminated."""
        return [genotype for genotype in self._left if genotype in self.scores]

    def _decided(self) -> bool:
        found = race({str(genotype): self.scores[genotype] for genotype in self._candidates})
        self._left = [int(name) for name in found.left]
        return found.decided


SCHEME = Racing
