"""How much of the spread of a group's scores is the genotype's, and whether schemes can be told apart there."""

from msinet.bench.reading import Group
from msinet.statistics import Component, Interval, variance_components

FEW = 0.3
"""Share of the variance below which a bench cannot tell schemes apart."""


def genotype_share(group: Group, metric: str = "mAP") -> Interval | None:
    """Return the share of the variance of single scores that is the genotype's; the rest is the retraining seed's.

    All scores of a group are of the same identities, so their choice is no part of this variance.

    Returns:
        The share with its interval of 95 %, or None if the bench cannot tell it: every genotype has only one seed, or
        there is only one genotype.
    """
    parts = spread(group, metric)
    return parts[0].share if all(part.share for part in parts) else None


def spread(group: Group, metric: str = "mAP") -> list[Component]:
    """Return the parts of the variance of single scores: the genotype's, then the retraining seed's."""
    scores = group.scores(metric)
    owners = [genotype for genotype, by_seed in scores.items() for _ in by_seed]
    values = [score for by_seed in scores.values() for score in by_seed.values()]
    if len(values) < 2:
        return [Component("genotype", 1, None, None), Component("retraining seed", len(values), None, None)]
    return variance_components(values, {"genotype": owners})


def warning(share: Interval | None) -> str | None:
    """Return a sentence if schemes cannot be told apart on a group with this share, else None."""
    if share is None:
        why = "needs two genotypes and two seeds"
    elif share.low <= 0:
        why = f"may be 0: {share_text(share)}"
    elif share.estimate < FEW:
        why = f"is below {100 * FEW:.0f} %: {share_text(share)}"
    else:
        return None
    return f"schemes cannot be told apart on this bench, because the genotype's share of the variance {why}."


def share_text(share: Interval | None) -> str:
    """Return a share with its interval, such as `41 % (30 to 52 %)`."""
    if share is None:
        return "unknown"
    low, high = (f"{100 * end:.0f}" for end in (share.low, share.high))
    return f"{100 * share.estimate:.0f} % ({low} to {high} %)"
