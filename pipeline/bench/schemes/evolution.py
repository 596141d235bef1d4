"""Evolution with ageing (Real et al., Regularized Evolution for Image Classifier Architecture Search, AAAI 2019)."""

from pipeline.bench.scheme import Scheme

POPULATION, SAMPLE = 10, 3  # the paper has 100 and 25 for 20,000 trainings; a replay has about a hundredth of them


class Evolution(Scheme):
    """Change one slot of the best of some genotypes that are drawn from the newest ones.

    The first `POPULATION` genotypes are random. A child is the nearest genotype of the table to its parent with one
    changed slot.
    """

    def ask(self) -> int:
        """Return a random genotype at first, then children."""
        trained = list(self.scores)
        if len(trained) < POPULATION:
            return self.pool.draw(self.rng)
        sample = self.rng.choice(trained[-POPULATION:], size=SAMPLE, replace=False)
        parent = max(sample, key=lambda genotype: self.scores[genotype][-1])
        child = self.pool.letters_GS[parent].tolist()
        slots = [slot for slot, letters in enumerate(self.pool.choices) if len(letters) > 1]
        slot = int(self.rng.choice(slots))
        child[slot] = self.rng.choice([letter for letter in self.pool.choices[slot] if letter != child[slot]])
        return self.pool.nearest(child, self.rng)


SCHEME = Evolution
