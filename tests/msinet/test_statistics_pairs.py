"""Comparisons of models: few false findings among equal models, and all real ones that seeds can show."""

from itertools import combinations

import numpy as np
import pytest

from msinet.statistics import QueryScores, compare_all, paired_difference, smallest_difference
from msinet.statistics.pairs import groups, holm

IDENTITIES = np.repeat(np.arange(40), 3)


def models(rng: np.random.Generator, true: list[float], seeds: int, spread: float = 0.03) -> dict[str, dict]:
    """Return evaluations of models with these true scores, on identities and with seeds that are drawn anew."""
    shared = rng.normal(0, 0.1, 40)
    first = np.ones(len(IDENTITIES), int)
    return {
        f"m{number}": {
            seed: QueryScores(
                IDENTITIES,
                score + rng.normal(0, spread) + (shared + rng.normal(0, 0.02, 40))[IDENTITIES],
                first,
            )
            for seed in range(seeds)
        }
        for number, score in enumerate(true)
    }


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_difference_is_covered(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    found = [paired_difference(*models(rng, [0.7, 0.6], seeds).values(), "mAP", draws=100) for _ in range(500)]
    covered = np.mean([pair.interval.low <= 0.1 <= pair.interval.high for pair in found])
    assert 0.92 <= covered <= 0.975  # 94 to 95 % in 3000 trials; the standard error is 1 point here
    assert all((pair.p < 0.05) == (not pair.interval.low <= 0 <= pair.interval.high) for pair in found)


def test_equal_models_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(0)
    comparisons = [compare_all(models(rng, [0.6] * 6, 3), "mAP", draws=100) for _ in range(300)]
    false = np.mean([any(pair.adjusted_p < 0.05 for pair in found.pairs) for found in comparisons])
    assert false <= 0.08
    uncorrected = np.mean([any(pair.p < 0.05 for pair in found.pairs) for found in comparisons])
    assert uncorrected > 0.15
    assert np.mean([found.seed_deviation for found in comparisons]) == pytest.approx(0.03, rel=0.05)


def test_models_that_differ_are_in_different_groups() -> None:
    found = compare_all(models(np.random.default_rng(1), [0.2, 0.2, 0.5, 0.8], 4, spread=0.01), "mAP")
    assert [*found.scores][::3] == ["m3", found.groups[2][-1]]
    assert [set(group) for group in found.groups] == [{"m3"}, {"m2"}, {"m0", "m1"}]
    best = found.pairs[0]
    assert (best.a, best.b, best.probability) == ("m3", "m2", 1.0)
    assert best.interval.low < 0.3 < best.interval.high
    assert best.p <= best.adjusted_p < 0.001


def test_the_smallest_difference_is_found_in_four_of_five_cases() -> None:
    rng = np.random.default_rng(0)
    difference = smallest_difference(0.03, 4)
    means = rng.normal(0, 0.03, (20000, 2, 4)) + np.array([[0], [difference]])
    error = np.sqrt(means.var(2, ddof=1).sum(1) / 4)
    found = np.abs(np.diff(means.mean(2), axis=1)[:, 0]) / error > 2.4469  # of t with 6 degrees of freedom
    assert found.mean() == pytest.approx(0.8, abs=0.01)
    assert smallest_difference(0.03, 1) == np.inf
    assert smallest_difference(0.03, 8) < difference / 1.4
    with pytest.raises(ValueError, match="`power` must lie between"):
        smallest_difference(0.03, 4, power=1)


def test_paired_seeds_take_out_an_effect_that_both_models_have() -> None:
    rng = np.random.default_rng(0)
    pair = models(rng, [0.6, 0.6], 4, spread=0.0)
    for runs in pair.values():
        for seed, run in runs.items():
            runs[seed] = QueryScores(run.identities, run.average_precision + 0.1 * seed, run.first_match_rank)
    reordered = {"a": pair["m0"], "b": dict(reversed(pair["m1"].items()))}
    other_seeds = {"a": pair["m0"], "b": {seed + 10: run for seed, run in pair["m1"].items()}}
    paired, turned, unpaired = (
        paired_difference(*runs.values(), "mAP").interval for runs in (pair, reordered, other_seeds)
    )
    assert paired.half_width == pytest.approx(turned.half_width)
    assert paired.half_width < unpaired.half_width / 5


def test_one_seed_for_each_model_gives_intervals_of_identities_alone() -> None:
    one = models(np.random.default_rng(0), [0.6, 0.62], 1)
    found = compare_all(one, "mAP")
    assert (found.seed_degrees, found.seed_deviation) == (0, 0.0)
    differences = found.pairs[0].interval
    per_identity = [
        a - b for a, b in zip(*(run[0].average_precision.reshape(40, 3).mean(1) for run in one.values()), strict=True)
    ]
    assert differences.half_width == pytest.approx(2.02 * np.std(per_identity, ddof=1) / 40**0.5, rel=0.05)


def test_the_same_model_twice_is_no_difference() -> None:
    runs = models(np.random.default_rng(0), [0.6], 1)["m0"]
    pair = paired_difference(runs, runs, "mAP")
    assert (pair.interval.low, pair.interval.high, pair.p, pair.probability) == (0, 0, 1, 0.5)


def test_the_order_of_two_models_turns_the_sign() -> None:
    a, b = models(np.random.default_rng(0), [0.6, 0.7], 3).values()
    ahead, behind = paired_difference(b, a, "mAP"), paired_difference(a, b, "mAP")
    assert behind.interval.estimate == pytest.approx(-ahead.interval.estimate)
    assert behind.interval.high == pytest.approx(-ahead.interval.low)
    assert behind.probability == pytest.approx(1 - ahead.probability)
    assert behind.p == pytest.approx(ahead.p)


def test_holm_on_the_numbers_of_a_textbook() -> None:
    # p values 0.01, 0.04, 0.03, 0.005 give 0.03, 0.06, 0.06, 0.02 (Wikipedia, Holm-Bonferroni method).
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_groups_are_the_largest_sets_without_a_pair_that_is_apart() -> None:
    rng = np.random.default_rng(0)
    names = [*"abcdefg"]
    for _ in range(20):
        apart = [pair for pair in combinations(names, 2) if rng.random() < 0.4]
        together = [
            set(some)
            for size in range(1, 8)
            for some in combinations(names, size)
            if not any(set(pair) <= set(some) for pair in apart)
        ]
        largest = [some for some in together if not any(some < other for other in together)]
        found = groups(names, apart)
        assert sorted(map(sorted, found)) == sorted(map(sorted, largest))
        assert found == sorted(found)


def test_a_comparison_needs_two_models_with_runs() -> None:
    runs = models(np.random.default_rng(0), [0.6], 1)
    with pytest.raises(ValueError, match="needs two models"):
        compare_all(runs, "mAP")
    with pytest.raises(ValueError, match="needs two models"):
        compare_all({**runs, "empty": {}}, "mAP")
