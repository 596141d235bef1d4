"""Agreement of several raters, for example of search seeds on the operation of each slot."""

from collections.abc import Hashable, Sequence

import numpy as np

from msinet.statistics.intervals import LEVEL, Array, Interval, t_quantile


def fleiss_kappa(ratings: Sequence[Sequence[Hashable]], *, level: float = LEVEL) -> Interval:
    """Return Fleiss' κ: 1 if all raters agree on every item, 0 if they agree as often as by chance.

    The interval says what other raters of the same kind would give, on the same items. It is the jackknife over raters
    with n − 1 degrees of freedom (J. Arvesen, Annals of Mathematical Statistics 40, 1969), because the agreement is a
    mean over pairs of raters. Two raters say nothing about others: the interval is then −1 to 1.

    Args:
        ratings: For each item the category that each rater chose, always in the same order of raters. For searches:
            for each of the twelve slots the letter that each search seed found.
        level: Level of the interval.

    Returns:
        κ (J. Fleiss, Psychological Bulletin 76, 1971) with its interval. If there is only one category, chance alone
        gives full agreement, and κ is not defined: 1 is returned, with the interval −1 to 1.

    Raises:
        ValueError: There is no item, or the items do not have the same number of raters, at least 2.
    """
    sizes = {len(item) for item in ratings}
    if len(sizes) != 1 or min(sizes) < 2:
        raise ValueError(
            f"every item must have the same number of ratings, at least 2, but got {sorted(sizes) or 'no item'}."
        )
    raters = sizes.pop()
    categories = {category: code for code, category in enumerate(dict.fromkeys(c for item in ratings for c in item))}
    codes = np.array([[categories[category] for category in item] for item in ratings])
    chosen = (codes[..., None] == np.arange(len(categories))).astype(float)  # (items, raters, categories)
    kappa = _kappa(chosen)
    if raters == 2 or len(categories) == 1:
        return Interval(kappa, -1.0, 1.0, level)
    without = np.array([_kappa(np.delete(chosen, rater, axis=1)) for rater in range(raters)])
    pseudo = raters * kappa - (raters - 1) * without
    reach = t_quantile(raters - 1, level) * pseudo.std(ddof=1) / np.sqrt(raters)
    return Interval(kappa, float(max(-1.0, kappa - reach)), float(min(1.0, kappa + reach)), level)


def _kappa(chosen: Array) -> float:
    items, raters, _ = chosen.shape
    counts = chosen.sum(1)
    agreed = ((counts * (counts - 1)).sum(1) / (raters * (raters - 1))).mean()
    by_chance = ((counts.sum(0) / (items * raters)) ** 2).sum()
    return 1.0 if by_chance == 1 else float((agreed - by_chance) / (1 - by_chance))
