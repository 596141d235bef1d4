"""Run a scheme against a bench many times, and say how good its choice is after each training that it has spent.

In each repeat one seed, drawn at random, is put aside. The scheme sees only trainings with the other seeds, in a random
order that is the same for all genotypes. The genotype that it would choose is then scored by the seed that was put
aside, so a choice that was only lucky gains nothing.

Shapes: R repeats, B trainings (the budget), G genotypes, N seeds, D draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from msinet.bench import Group
from msinet.spaces import Space
from msinet.statistics.intervals import LEVEL, expansion, tail
from pipeline.bench.scheme import Pool, Scheme
from pipeline.errors import RequestError

DRAWS = 2000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The scores that a replay draws from.

    Attributes:
        space: The space of the genotypes.
        genotypes: Genotypes with at least two seeds.
        criterion_GN: Scores that schemes see; nan where a genotype has no such seed.
        target_GN: Scores of the same seeds by which a choice is valued.
        parameters_G: Numbers of parameters.
        hours: Mean duration of a training.
    """

    space: Space
    genotypes: list[str]
    criterion_GN: Array
    target_GN: Array
    parameters_G: NDArray[np.int64]
    hours: float

    @cached_property
    def seeds_G(self) -> NDArray[np.int64]:
        """Return the number of seeds of each genotype."""
        return np.isfinite(self.target_GN).sum(1)

    @cached_property
    def mean_G(self) -> Array:
        """Return the mean score of each genotype on the target."""
        return np.nanmean(self.target_GN, axis=1)

    @cached_property
    def noise(self) -> float:
        """Return the variance of a score over retraining seeds, pooled over all genotypes."""
        squares = np.nansum((self.target_GN - self.mean_G[:, None]) ** 2)
        return float(squares / (self.seeds_G - 1).sum())


def table_of(criterion: Group, target: Group, space: Space, needs: int = 1) -> Table:
    """Return the table of the genotypes that have enough seeds in both groups.

    Args:
        criterion: Scores that schemes see.
        target: Scores by which choices are valued; may be the same group.
        space: The space of the genotypes.
        needs: How many trainings a scheme must be able to draw of each genotype, besides the one that is put aside.

    Raises:
        RequestError: Fewer than two genotypes have enough seeds.
    """
    seen, valued = criterion.scores(), target.scores()
    both = {genotype: sorted(seen.get(genotype, {}).keys() & by_seed.keys()) for genotype, by_seed in valued.items()}
    kept = {genotype: seeds for genotype, seeds in both.items() if len(seeds) > needs}
    if len(kept) < 2:
        raise RequestError(
            f"a replay needs at least two genotypes with {needs + 1} retraining seeds each, because one seed is put "
            f"aside to value the choice, but {target.name} has {len(kept)} of them (retrain_seeds)."
        )
    columns = sorted({seed for seeds in kept.values() for seed in seeds})

    def matrix(scores: dict[str, dict[int, float]]) -> Array:
        rows = [[scores[g][seed] if seed in seeds else np.nan for seed in columns] for g, seeds in kept.items()]
        return np.array(rows)

    parameters, hours = target.column("parameters"), target.table["hours"].to_numpy()
    sizes = np.array([parameters[genotype] for genotype in kept])
    return Table(space, list(kept), matrix(seen), matrix(valued), sizes, float(np.mean(hours)))


@dataclass(frozen=True)
class Replay:
    """What a scheme chose after each training, in each repeat.

    Attributes:
        weights_RBG: How much each genotype counts in the value: 1 for the choice, or the shares of a front.
        aside_RG: Column of the seed that was put aside.
        values_RB: The value by the seeds that were put aside.
        distance: Mean number of slots between proposals and the genotypes that were taken; None without proposals.
    """

    weights_RBG: Array
    aside_RG: NDArray[np.int64]
    values_RB: Array
    distance: float | None


def replay(
    table: Table,
    scheme: Callable[[Pool, int, np.random.Generator], Scheme],
    budget: int,
    repeats: int,
    seed: int,
    *,
    front: bool,
) -> Replay:
    """Run a scheme `repeats` times. The same repeat of another scheme has the same seeds put aside.

    Args:
        table: The scores.
        scheme: Class of the scheme.
        budget: Number of trainings in each repeat.
        repeats: Number of repeats, at least 2.
        seed: Seed of everything random.
        front: Whether a front is valued, and not one genotype.

    Raises:
        RequestError: The budget is larger than the table, or a number is too small.
    """
    drawable = int((table.seeds_G - 1).sum())
    if not 1 <= budget <= drawable:
        raise RequestError(
            f"`--budget` must be from 1 to {drawable}, the trainings that a replay can draw from this table, but got "
            f"{budget}."
        )
    if repeats < 2:
        raise RequestError(f"`--repeats` must be at least 2, but got {repeats}.")
    if seed < 0:
        raise RequestError(f"`--seed` must be at least 0, but got {seed}.")
    weigh = _front_weights if front else _choice_weights
    weights_RBG = np.zeros((repeats, budget, len(table.genotypes)))
    aside_RG = np.zeros((repeats, len(table.genotypes)), np.int64)
    distances: list[int] = []
    for repeat in range(repeats):
        order_GN = _shuffled_seeds(table, np.random.default_rng([seed, repeat]))
        aside_RG[repeat] = order_GN[:, 0]
        letters = [genotype.rpartition(":")[2] for genotype in table.genotypes]
        pool = Pool(table.space, letters, table.parameters_G.tolist(), (table.seeds_G - 1).tolist())
        player = scheme(pool, budget, np.random.default_rng([seed, repeat, 1]))
        for spent in range(budget):
            genotype = player.ask()
            if genotype is None:  # the scheme has decided: its last choice stays
                weights_RBG[repeat, spent:] = weights_RBG[repeat, max(spent - 1, 0)]
                break
            column = order_GN[genotype, table.seeds_G[genotype] - pool.left_G[genotype]]
            pool.left_G[genotype] -= 1
            pool.trained_G[genotype] = True
            player.tell(genotype, float(table.criterion_GN[genotype, column]))
            weights_RBG[repeat, spent] = weigh(table, player)
        distances += pool.distances
    judged_RG = np.take_along_axis(table.target_GN[None], aside_RG[..., None], axis=2)[..., 0]
    values_RB = np.einsum("rbg,rg->rb", weights_RBG, judged_RG) + (1 - weights_RBG.sum(2)) * table.mean_G.min()
    return Replay(weights_RBG, aside_RG, values_RB, float(np.mean(distances)) if distances else None)


def _shuffled_seeds(table: Table, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return for each genotype the columns of its seeds in random order, then the columns that it lacks, (G, N)."""
    keys_GN = np.where(np.isfinite(table.target_GN), rng.random(table.target_GN.shape[1]), 2.0)
    return keys_GN.argsort(axis=1)


def _choice_weights(table: Table, player: Scheme) -> Array:
    """Return 1 for the genotype with the highest mean score."""
    weights_G = np.zeros(len(table.genotypes))
    weights_G[max(player.considered(), key=lambda genotype: float(np.mean(player.scores[genotype])))] = 1
    return weights_G


def _front_weights(table: Table, player: Scheme) -> Array:
    """Return for each genotype the share of limits on the parameters under which it would be chosen.

    The limits are the parameters of all genotypes of the table. The weighted mean of scores is then the area under the
    front, as a hypervolume is, but luck among its members does not raise it: each limit has its choice by the scores
    that the scheme has seen. Limits without a choice count as the lowest mean of the table.
    """
    weights_G = np.zeros(len(table.genotypes))
    trained = sorted(player.considered(), key=lambda genotype: -float(np.mean(player.scores[genotype])))
    limits = table.parameters_G.copy()
    for genotype in trained:
        under = limits >= table.parameters_G[genotype]
        weights_G[genotype] = under.sum() / len(table.genotypes)
        limits = limits[~under]
    return weights_G


def curve(table: Table, found: Replay, seed: int) -> Array:
    """Return the mean over repeats after each training with its interval of 95 %: estimate, low and high, (3, B).

    The interval holds two things: how the repeats vary (a bootstrap over them), and that the table knows each genotype
    from few seeds only. The latter does not shrink with more repeats, because they draw from the same table.
    """
    repeats, budget = found.values_RB.shape
    rng = np.random.default_rng([seed, 2])
    picked_DR = rng.multinomial(repeats, np.full(repeats, 1 / repeats), DRAWS) / repeats
    mean_B = found.values_RB.mean(0)
    deviations_DB = expansion(repeats, LEVEL) * (picked_DR @ found.values_RB - mean_B)
    # Two repeats that are valued by the same training of a genotype are not independent. Their covariance is:
    valued_BGN = np.zeros((budget, *table.target_GN.shape))
    genotypes = np.arange(len(table.genotypes))
    for weights_BG, aside_G in zip(found.weights_RBG, found.aside_RG, strict=True):
        valued_BGN[:, genotypes, aside_G] += weights_BG
    shared_B = (valued_BGN**2).sum((1, 2)) - (found.weights_RBG**2).sum((0, 2))
    noise_B = table.noise * shared_B / (repeats * (repeats - 1))
    deviations_DB += np.sqrt(np.maximum(noise_B, 0)) * rng.standard_normal((DRAWS, 1))
    low_B, high_B = mean_B + np.quantile(deviations_DB, [tail(LEVEL), 1 - tail(LEVEL)], axis=0)
    return np.stack([mean_B, low_B, high_B])


def difference(first: Replay, second: Replay) -> Replay:
    """Return the first replay minus the second, repeat by repeat. Both have put the same seeds aside."""
    weights_RBG = first.weights_RBG - second.weights_RBG
    return Replay(weights_RBG, first.aside_RG, first.values_RB - second.values_RB, None)
