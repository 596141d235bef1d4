"""The parts of a variance, against designs whose truth is known, and the correlation and agreement of lists."""

import math
from itertools import combinations

import numpy as np
import pytest

from msinet.statistics import QueryScores, fleiss_kappa, identity_variance, rank_correlation, variance_components

TRUTH = {"identity split": 4.0, "search seed": 2.0, "retraining seed": 1.0}


def design(rng: np.random.Generator, splits: int = 8) -> tuple[list[float], dict[str, list[int]]]:
    """Return scores of an unbalanced nested design: 2 to 4 searches of each split, with 2 to 4 retrainings each."""
    scores: list[float] = []
    levels: dict[str, list[int]] = {"identity split": [], "search seed": []}
    for split in range(splits):
        by_split = rng.normal(0, TRUTH["identity split"] ** 0.5)
        for search in range(rng.integers(2, 5)):
            by_search = rng.normal(0, TRUTH["search seed"] ** 0.5)
            for _ in range(rng.integers(2, 5)):
                scores.append(by_split + by_search + rng.normal(0, 1))
                levels["identity split"].append(split)
                levels["search seed"].append(search)
    return scores, levels


def test_the_parts_of_an_unbalanced_design_are_right_on_average_and_covered() -> None:
    rng = np.random.default_rng(0)
    found = [variance_components(*design(rng), draws=300) for _ in range(400)]
    for index, (name, truth) in enumerate(TRUTH.items()):
        parts = [components[index] for components in found]
        assert {part.name for part in parts} == {name}
        assert np.mean([part.variance.estimate for part in parts]) == pytest.approx(truth, rel=0.08)
        assert 0.9 <= np.mean([part.variance.low <= truth <= part.variance.high for part in parts]) <= 0.98
        assert 0.9 <= np.mean([part.share.low <= truth / 7 <= part.share.high for part in parts]) <= 0.98
        assert all(part.variance.low >= 0 for part in parts)


def test_a_balanced_design_gives_the_figures_of_the_textbook() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (5, 4)) + rng.normal(0, 2, (5, 1))
    within = table.var(1, ddof=1).mean()
    between = 4 * table.mean(1).var(ddof=1)
    levels = {"genotype": np.repeat(np.arange(5), 4).tolist()}
    genotype, seed = variance_components(table.ravel(), levels)
    assert genotype.variance.estimate == pytest.approx((between - within) / 4)
    assert seed.variance.estimate == pytest.approx(within)
    assert genotype.share.estimate + seed.share.estimate == pytest.approx(1)
    assert (genotype.choices, seed.choices) == (5, 20)


def test_a_part_that_is_not_there_is_zero_and_never_negative() -> None:
    genotypes = {"genotype": [0, 0, 1, 1, 2, 2]}
    genotype, seed = variance_components([0.0, 2.0, 1.0, 1.0, 2.0, 0.0], genotypes)  # all genotypes have one mean
    assert genotype.variance.estimate == 0 == genotype.variance.low
    assert genotype.share.estimate == 0
    assert seed.share.estimate == 1


def test_what_the_data_cannot_tell_is_none() -> None:
    one_search_each = {"split": [0, 0, 1, 1], "search seed": [0, 0, 0, 0]}
    split, search, seed, identities = variance_components([1, 2, 4, 5], one_search_each, identities=(0.5, 30))
    assert search.variance is None is search.share
    assert split.variance.estimate == pytest.approx(4.25)  # 4.5 − 0.5 / 2
    assert (identities.name, identities.choices, identities.variance.estimate) == ("identities", 30, 0.5)
    assert sum(part.share.estimate for part in (split, seed, identities)) == pytest.approx(1)
    one_run_each = variance_components([1, 2, 4], {"genotype": [0, 1, 2]})
    assert one_run_each[1].variance is None
    with pytest.raises(ValueError, match="at least two scores"):
        variance_components([1], {"genotype": [0]})


def test_the_variance_over_identities_is_that_of_new_identities() -> None:
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(50), 4)
    variances, means = [], []
    for _ in range(300):
        values = rng.normal(0, 0.1, 50)[identities] + rng.normal(0, 0.05, 200)
        means.append(values.mean())
        run = QueryScores(identities, values, np.ones(200, int))
        variances.append(identity_variance([run], "mAP", draws=300)[0])
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.15)
    assert identity_variance([run], "mAP")[1] == 50


def test_rank_correlations_of_lists_with_ties() -> None:
    # The figures of SciPy 1.17, kendalltau and spearmanr.
    assert rank_correlation([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]).estimate == pytest.approx(-0.4714045207910316)
    assert rank_correlation([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], "spearman").estimate == pytest.approx(0.8207826816681233)


@pytest.mark.parametrize("method", ["kendall", "spearman"])
def test_a_rank_correlation_is_covered(method: str) -> None:
    rng = np.random.default_rng(0)
    r = 0.6
    truth = 2 / math.pi * math.asin(r) if method == "kendall" else 6 / math.pi * math.asin(r / 2)
    covered = []
    for _ in range(1000):
        x = rng.normal(size=16)
        found = rank_correlation(x, r * x + math.sqrt(1 - r * r) * rng.normal(size=16), method)  # type: ignore[arg-type]
        covered.append(found.low <= truth <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_perfect_order_of_few_pairs_is_not_certain() -> None:
    for method in ("kendall", "spearman"):
        found = rank_correlation(range(5), range(5), method)  # type: ignore[arg-type]
        assert (found.estimate, found.high) == (1, 1)
        assert found.low < 0.5
    assert rank_correlation(range(4), range(4)).low == -1
    with pytest.raises(ValueError, match="one list is constant"):
        rank_correlation([1, 1, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="same length"):
        rank_correlation([1, 2, 3], [1, 2])


def test_kappa_of_the_example_that_everybody_computes() -> None:
    # Ten subjects, fourteen raters, five categories: κ = 0.210 (Wikipedia, Fleiss' kappa).
    counts = ["00009", "02642", "00356", "03920", "22811", "77000", "32630", "25322", "65210", "02237"]
    ratings = [[category for category, count in enumerate(row) for _ in range(int(count))] for row in counts]
    ratings[0] += [4] * 5
    assert {len(item) for item in ratings} == {14}
    assert fleiss_kappa(ratings).estimate == pytest.approx(0.210, abs=0.0005)


def test_the_interval_of_kappa_covers_other_raters() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=12)
    # A rater copies the truth with probability 0.6, and otherwise guesses. Many raters show the true κ.
    rate = lambda raters: np.where(rng.random((12, raters)) < 0.6, true[:, None], rng.integers(4, size=(12, raters)))  # noqa: E731
    truth = fleiss_kappa(rate(400).tolist()).estimate
    found = [fleiss_kappa(rate(8).tolist()) for _ in range(400)]
    assert 0.92 <= np.mean([kappa.low <= truth <= kappa.high for kappa in found]) <= 0.98


def test_kappa_by_pairs_and_its_limits() -> None:
    ratings = [list("GGA"), list("NNN"), list("EAE"), list("GEG")]
    pairs = np.mean([a == b for item in ratings for a, b in combinations(item, 2)])
    shares = [sum(item.count(c) for item in ratings) / 12 for c in "GANE"]
    chance = sum(share**2 for share in shares)
    assert fleiss_kappa(ratings).estimate == pytest.approx((pairs - chance) / (1 - chance))
    two = fleiss_kappa([list("GG"), list("NN"), list("EA")])
    assert (two.low, two.high) == (-1, 1)
    assert fleiss_kappa([list("GGG")] * 12).estimate == 1
    with pytest.raises(ValueError, match="same number of ratings"):
        fleiss_kappa([list("GG"), list("G")])
