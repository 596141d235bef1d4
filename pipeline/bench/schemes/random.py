"""Random search: every other scheme is compared with it."""

from pipeline.bench.scheme import Scheme


class Random(Scheme):
    """Train genotypes that are drawn uniformly without replacement."""

    def ask(self) -> int:
        """Return any genotype that has no training yet."""
        return self.pool.draw(self.rng)


SCHEME = Random
