"""Schemes that ask a sampler of Optuna."""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from pipeline.bench.scheme import Pool, Scheme


class Studied(Scheme):
    """A scheme whose proposals come from a study of Optuna with one categorical parameter for each slot.

    The nearest genotype of the table is trained instead of a proposal, and the study hears the score as one of this
    genotype, so that its model stays true.
    """

    def __init__(self, pool: Pool, budget: int, rng: np.random.Generator) -> None:
        super().__init__(pool, budget, rng)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions: list[Any] = ["maximize", "minimize"] if self.front else ["maximize"]
        self._study = optuna.create_study(sampler=self.sampler(int(rng.integers(2**31))), directions=directions)
        self._slots: dict[str, BaseDistribution] = {
            f"slot {slot}": CategoricalDistribution(list(letters)) for slot, letters in enumerate(pool.choices)
        }
        self._trial: optuna.Trial | None = None

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return the sampler."""
        raise NotImplementedError

    def ask(self) -> int:
        """Return the nearest genotype to the sampler's proposal."""
        trial = self._study.ask(self._slots)
        genotype = self.pool.nearest([trial.params[slot] for slot in self._slots], self.rng)
        letters = dict(zip(self._slots, self.pool.letters_GS[genotype].tolist(), strict=True))
        if letters != trial.params:
            self._study.tell(trial, state=TrialState.FAIL)
            self._study.enqueue_trial(letters)
            trial = self._study.ask(self._slots)
        self._trial = trial
        return genotype

    def tell(self, genotype: int, score: float) -> None:
        """Pass the score on to the study."""
        super().tell(genotype, score)
        assert self._trial is not None
        self._study.tell(self._trial, [score, float(self.pool.parameters_G[genotype])] if self.front else [score])
