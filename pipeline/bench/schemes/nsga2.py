"""NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6, 2002) on score and parameters, by Optuna."""

import optuna

from pipeline.bench.studied import Studied

POPULATION = 10  # Optuna's default is 50, which a replay of 50 trainings would spend on random genotypes


class Nsga2(Studied):
    """Cross and mutate genotypes that no other one beats in both score and number of parameters."""

    front = True

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """Return the sampler with Optuna's crossover and mutation."""
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


SCHEME = Nsga2
