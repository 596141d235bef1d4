"""How much of the spread of a score comes from which choice: search seed, identity split, genotype, retraining seed.

Shapes: N runs, L levels (the residual included), D draws.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from msinet.statistics.intervals import LEVEL, Array, Interval, tail
from msinet.statistics.queries import DRAWS, QueryScores, score_draws


@dataclass(frozen=True)
class Component:
    """The part of a score's variance that comes from one choice.

    Attributes:
        name: What is chosen, such as `retraining seed`.
        choices: Number of different choices in the data.
        variance: The variance that the choice gives to a single score, as fractions squared. None if the data cannot
            tell it: there is one choice only, or one in each choice of the level outside, whose variance then contains
            this one too.
        share: The part of the sum of all variances; None like `variance`.
    """

    name: str
    choices: int
    variance: Interval | None
    share: Interval | None


def variance_components(
    scores: Sequence[float] | Array,
    levels: Mapping[str, Sequence[Hashable]],
    *,
    residual: str = "retraining seed",
    identities: tuple[float, int] | None = None,
    level: float = LEVEL,
    draws: int = 4000,
    seed: int = 0,
) -> list[Component]:
    """Split the variance of single scores into the parts of nested choices, by an analysis of variance.

    Each level is nested in the levels before it; what is left within the last one is the residual. The estimates are
    those of the method of moments for designs that may be unbalanced (C. Henderson, Biometrics 9, 1953, method 1); a
    negative one becomes 0. For the intervals, each level's sum of squares is divided by a drawn χ² variable, and the
    components are solved again (generalised confidence intervals; J. Hannig, H. Iyer and P. Patterson, Journal of the
    American Statistical Association 101, 2006). With unbalanced designs they are approximate: in a
    simulation, intervals of 95 % covered the truth in 92 to 96 % (tests/msinet/test_statistics_parts.py).

    Args:
        scores: One number for each run, (N,).
        levels: For each level, from the outermost to the innermost, the choice of each run.
        residual: Name of what is left within the innermost level.
        identities: What `identity_variance` returns. All runs share the identities, so they are no level.
        level: Level of the intervals.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        A component for each level, then one for the residual, then one for the identities if they are given.

    Raises:
        ValueError: There are fewer than two runs, or a level does not have one choice for each run.
    """
    values = np.asarray(scores, dtype=float)
    if values.ndim != 1 or len(values) < 2 or any(len(choices) != len(values) for choices in levels.values()):
        raise ValueError(
            "a split of the variance needs at least two scores, and each level's choice for each of them, but got "
            f"{len(values)} scores and levels of the lengths {[len(choices) for choices in levels.values()]}."
        )
    names, groups = [*levels, residual], _nested(levels, len(values))
    counts = [int(codes.max()) + 1 for codes in groups]
    told = np.flatnonzero(np.diff(counts))
    rng = np.random.default_rng(seed)
    drawn = _solved([groups[0], *(groups[index + 1] for index in told)], values, draws, rng)
    rows = {names[index]: row for index, row in zip(told, drawn, strict=True)}
    if identities:
        names, counts = [*names, "identities"], [*counts, identities[1]]
        rows["identities"] = identities[0] * _inverse_chi2(identities[1] - 1, draws, rng)
    total = np.maximum(sum(rows.values()), np.finfo(float).tiny)
    return [
        Component(
            name,
            count,
            _interval(rows[name], level) if name in rows else None,
            _interval(rows[name] / total, level) if name in rows else None,
        )
        for name, count in zip(names, counts[1:], strict=True)
    ]


def identity_variance(
    runs: Sequence[QueryScores], metric: str, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, int]:
    """Return the variance of the runs' mean score over the choice of the identities, and their number.

    It comes from a bootstrap over identities. Raises ValueError like `score_interval`.
    """
    identities = len(runs[0].names)
    if identities < 2:
        raise ValueError(f"a bootstrap needs at least 2 identities, but got {identities}.")
    variance = score_draws(runs, metric, draws, seed).mean(1).var()
    return float(variance) * identities / (identities - 1), identities


def _nested(levels: Mapping[str, Sequence[Hashable]], runs: int) -> list[Array]:
    """Return for each level the group of each run, from one group of all runs to one group for each run."""
    groups = [np.zeros(runs, int)]
    path: list[tuple[Hashable, ...]] = [()] * runs
    for choices in levels.values():
        path = [(*outer, choice) for outer, choice in zip(path, choices, strict=True)]
        known = {group: code for code, group in enumerate(dict.fromkeys(path))}
        groups.append(np.array([known[group] for group in path]))
    return [*groups, np.arange(runs)]


def _solved(groups: Sequence[Array], values: Array, draws: int, rng: np.random.Generator) -> Array:
    """Return the variance of each level: the estimate, then its draws, (L, 1 + D)."""
    means = [(np.bincount(codes, values) / np.bincount(codes))[codes] for codes in groups]
    squares = [((inner - outer) ** 2).sum() for outer, inner in pairwise(means)]
    degrees = [inner.max() - outer.max() for outer, inner in pairwise(groups)]
    # The expected sum of squares between the groups of a level is a weighted sum of the variances of this level and of
    # those inside it. A weight is the trace of Zᵀ(P − P′)Z, with the projections P onto this level's groups and P′
    # onto those of the level outside.
    weights = np.array(
        [[_trace(inner, level) - _trace(outer, level) for level in groups[1:]] for outer, inner in pairwise(groups)]
    )
    drawn = [square * _inverse_chi2(df, draws, rng) for square, df in zip(squares, degrees, strict=True)]
    return np.maximum(np.linalg.solve(weights, np.array(drawn)), 0)


def _trace(groups: Array, level: Array) -> float:
    """Return the trace of ZᵀPZ: Z says to which choice of a level a run belongs, and P averages over groups."""
    sizes = np.bincount(groups)
    pairs, counts = np.unique(np.stack([groups, level]), axis=1, return_counts=True)
    return float((counts**2 / sizes[pairs[0]]).sum())


def _inverse_chi2(degrees: int, draws: int, rng: np.random.Generator) -> Array:
    """Return 1, which stands for the estimate, and draws of degrees / χ²."""
    return np.concatenate([[1.0], degrees / rng.chisquare(degrees, draws)])


def _interval(row: Array, level: float) -> Interval:
    low, high = np.quantile(row[1:], [tail(level), 1 - tail(level)])
    return Interval(float(row[0]), float(low), float(high), level)
