"""Races with known truth: how often the best loses, how much they spend, and what they say when they are not over."""

import numpy as np
import pytest

from msinet.statistics import race

RACES, MOST = 500, 40
BEST = "0"


def raced(table_GS: np.ndarray, **settings: float):
    return race({str(g): row for g, row in enumerate(table_GS.tolist())}, **settings)


def simulated(means: list[float], seed: int, deviation: float = 1.0) -> np.ndarray:
    """Return scores of models with these means. A seed shifts all models by three deviations of their own errors."""
    rng = np.random.default_rng(seed)
    shifts = rng.normal(0, 3, (1, MOST))
    return np.array(means)[:, None] + shifts + rng.normal(0, deviation, (len(means), MOST))


def spent(found, count: int) -> int:
    return sum(found.out.values()) + found.seeds * (count - len(found.out))


def test_the_best_is_lost_less_often_than_the_stated_error_and_less_is_spent_than_by_equal_shares() -> None:
    means = [0.0, -1.5, -1.5, -2.0, -2.0, -2.5, -3.0, -4.0]
    lost, undecided, ours, equal = 0, 0, 0, 0
    for number in range(RACES):
        table_GS = simulated(means, number)
        found = raced(table_GS)
        lost += BEST not in found.left
        undecided += not found.decided
        ours += spent(found, len(means))
        equal += found.seeds * len(means)
    assert lost / RACES <= 0.05
    assert undecided / RACES < 0.05
    assert ours < 0.6 * equal, "equal shares give every model as many seeds as the last decision takes"


@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_the_error_holds_where_models_are_hard_to_tell_apart(gap: float) -> None:
    lost = 0
    for number in range(RACES):
        lost += BEST not in raced(simulated([0.0] + [-gap] * 9, number)[:, :20]).left
    assert lost / RACES <= 0.05


def test_equal_models_end_as_a_group() -> None:
    wrong, groups = 0, 0
    for number in range(100):
        found = raced(simulated([0.0, -0.1, -0.1, -3.0], number, deviation=0.5), equal_within=1.0)
        wrong += BEST not in found.left or "3" in found.left
        groups += found.decided and len(found.left) == 3
    assert wrong / 100 <= 0.05
    assert groups >= 90


def test_what_a_seed_does_to_all_models_does_not_count() -> None:
    table_GS = simulated([0.0, -1.0, -2.0], 0)[:, :9]
    shifted = raced(table_GS + np.arange(9) * 50)
    assert shifted.left == raced(table_GS).left
    assert shifted.deviation == pytest.approx(raced(table_GS).deviation)


def test_without_elimination_the_deviation_is_that_of_a_two_way_analysis() -> None:
    table_GS = simulated([0.0, 0.0, 0.0], 3)[:, :5]
    rest = table_GS - table_GS.mean(1, keepdims=True) - table_GS.mean(0) + table_GS.mean()
    found = raced(table_GS, error=1e-9)
    assert found.degrees == 2 * 4
    assert found.deviation == pytest.approx(np.sqrt((rest**2).sum() / 8))


def test_models_that_are_out_need_no_more_scores() -> None:
    table_GS = simulated([0.0, -0.1, -30.0], 1)
    found = raced(table_GS[:, :6])
    assert found.out == {"2": 2}
    short = {"0": table_GS[0, :6].tolist(), "1": table_GS[1, :6].tolist(), "2": table_GS[2, :2].tolist()}
    assert race(short) == found


def test_a_race_says_how_much_more_would_decide_it() -> None:
    found = raced(simulated([0.0, -0.5, -0.6], 5)[:, :8])
    assert not found.decided
    assert found.more_seeds is not None
    leader, *others = found.left
    assert found.more_seeds[leader] == max(found.more_seeds[name] for name in others)
    # With twice the difference, about a quarter of the seeds is enough.
    gaps = {name: found.means[leader] - found.means[name] for name in others}
    widest, narrowest = max(gaps, key=gaps.__getitem__), min(gaps, key=gaps.__getitem__)
    assert found.more_seeds[widest] <= found.more_seeds[narrowest]


def test_equal_scores_are_never_decided_but_count_as_equal_if_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, 6).tolist()
    assert race({"a": scores, "b": scores}).left == ["a", "b"]
    assert race({"a": scores, "b": scores}, equal_within=0.1).decided


@pytest.mark.parametrize("scores", [{"a": [1.0, 2.0]}, {"a": [1.0, 2.0], "b": [1.0]}])
def test_a_race_needs_two_models_with_two_scores(scores: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="at least two models with two scores each"):
        race(scores)
