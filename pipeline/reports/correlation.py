"""Rank correlations of scores, as reports show them."""

from collections.abc import Sequence

from msinet.statistics import Interval, rank_correlation

FEWEST = 3  # pairs of scores of which a rank correlation is shown


def rank_correlations(x: Sequence[float], y: Sequence[float]) -> tuple[Interval, Interval] | None:
    """Return Kendall's τ and Spearman's ρ with their intervals; None for too few or equal scores."""
    if len(x) < FEWEST or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return rank_correlation(x, y, "kendall"), rank_correlation(x, y, "spearman")


def coefficient_text(interval: Interval) -> str:
    """Return a coefficient with its interval, such as `0.31 [−0.12, 0.64]`."""
    return f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}]".replace("-", "−")


def rank_agreement(x: Sequence[float], y: Sequence[float], what: str) -> list[str]:
    """Return a sentence with the rank correlations of two lists of scores, none if there are too few or no ranks."""
    found = rank_correlations(x, y)
    if found is None:
        return []
    tau, rho = map(coefficient_text, found)
    return [f"Rank correlation of {what} over {len(x)} genotypes: Kendall's τ {tau}, Spearman's ρ {rho}."]
