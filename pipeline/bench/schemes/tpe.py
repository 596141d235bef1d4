"""The tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), as Optuna has it."""

import optuna

from pipeline.bench.studied import Studied


class Tpe(Studied):
    """Propose letters that are more frequent among good genotypes than among the others. The first ten are random."""

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return the sampler with Optuna's defaults."""
        return optuna.samplers.TPESampler(seed=seed)


SCHEME = Tpe
