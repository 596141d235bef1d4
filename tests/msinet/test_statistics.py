"""Intervals of scores: they must cover the truth as often as they say, also with few seeds."""

import numpy as np
import pytest

from msinet.statistics import Interval, QueryScores, pooled_deviation, score_interval
from msinet.statistics.intervals import expansion
from msinet.statistics.queries import identity_weights

TRIALS = 1000  # the standard error of a coverage of 95 % is then 0.7 points
MU = 0.6


def retrieval(identities: np.ndarray, average_precision: np.ndarray) -> QueryScores:
    return QueryScores(identities, average_precision, np.where(average_precision > MU, 1, 7), average_precision**2)


def covers(intervals: list[Interval], truth: float = MU) -> float:
    return float(np.mean([found.low <= truth <= found.high for found in intervals]))


@pytest.fixture(scope="module")
def samples() -> list[QueryScores]:
    """Return evaluations of 60 identities drawn anew, each with 2 to 8 queries that resemble one another."""
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(TRIALS):
        identities = np.repeat(np.arange(60), rng.integers(2, 9, 60))
        drawn.append(
            retrieval(identities, MU + rng.normal(0, 0.1, 60)[identities] + rng.normal(0, 0.1, len(identities)))
        )
    return drawn


def test_drawing_identities_covers_and_drawing_queries_does_not(samples: list[QueryScores]) -> None:
    by_identity = [score_interval([sample], "mAP", draws=1000) for sample in samples]
    assert 0.93 <= covers(by_identity) <= 0.97
    # A bootstrap over queries is the same with an identity for each query.
    alone = [retrieval(np.arange(len(s.identities)), s.average_precision) for s in samples[:400]]
    assert covers([score_interval([sample], "mAP", draws=400) for sample in alone]) < 0.90


@pytest.mark.parametrize(("seeds", "most"), [(2, 0.985), (3, 0.97), (5, 0.97)])
def test_few_seeds_are_covered_and_drawing_them_with_replacement_is_not(
    samples: list[QueryScores], seeds: int, most: float
) -> None:
    rng = np.random.default_rng(seeds)
    intervals, plain = [], []
    for sample in samples[:700]:
        effects = rng.normal(0, 0.05, seeds)  # the choice of identities has the deviation 0.014
        runs = [retrieval(sample.identities, sample.average_precision + effect) for effect in effects]
        intervals.append(score_interval(runs, "mAP", draws=400))
        naive = rng.choice(effects, (400, seeds)).mean(1)
        sums, counts = (identity_weights(60, 400, 0) @ side for side in runs[0].sums("mAP"))
        low, high = np.quantile(sums / counts - effects[0] + naive, [0.025, 0.975])
        plain.append(Interval(0, low, high))
    assert 0.93 <= covers(intervals) <= most
    assert covers(plain) < 0.90


def test_a_deviation_that_many_models_share_covers_too_and_is_shorter(samples: list[QueryScores]) -> None:
    rng = np.random.default_rng(0)
    own, shared = [], []
    for sample in samples[:400]:
        effects = rng.normal(0, 0.05, (9, 2))
        runs = [retrieval(sample.identities, sample.average_precision + effect) for effect in effects[0]]
        own.append(score_interval(runs, "mAP", draws=400))
        shared.append(score_interval(runs, "mAP", pooled=pooled_deviation(effects), draws=400))
    assert 0.92 <= covers(shared) <= 0.98
    assert np.mean([i.half_width for i in shared]) < np.mean([i.half_width for i in own]) / 2
    assert pooled_deviation([[1.0], [2.0]]) is None
    assert pooled_deviation([[1.0, 3.0], [5.0], [2.0, 2.0]]) == (1.0, 2)


def test_rank_1_and_minp_have_intervals_too(samples: list[QueryScores]) -> None:
    intervals = [score_interval([sample], "rank1", draws=500) for sample in samples[:600]]
    assert 0.93 <= covers(intervals, 0.5) <= 0.97
    found = score_interval(samples[:1], "mINP")
    assert found.estimate == pytest.approx(np.mean(samples[0].average_precision ** 2))
    assert found.low < found.estimate < found.high


def test_a_single_run_is_the_bootstrap_that_a_loop_makes() -> None:
    rng = np.random.default_rng(0)
    identities, values = rng.integers(8, size=40), rng.random(40)
    found = score_interval([retrieval(identities, values)], "mAP", draws=300)
    weights = identity_weights(8, 300, 0)
    slow = []
    for weight in weights:
        queries = [value for pid, times in enumerate(weight) for value in list(values[identities == pid]) * int(times)]
        slow.append(np.mean(queries))
    low, high = values.mean() + expansion(8, 0.95) * np.quantile(np.array(slow) - values.mean(), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (weights.sum(1) == 8).all()


def test_the_same_seed_gives_the_same_interval_and_queries_without_a_match_do_not_count() -> None:
    scores = QueryScores.from_columns(
        {
            "pid": ["1", "1", "2", "3", "4"],
            "average_precision": [1.0, 0.5, 0.25, 0.75, float("nan")],
            "first_match_rank": [1, 2, 4, 2, -1],
        }
    )
    found = score_interval([scores], "mAP", draws=200)
    assert found == score_interval([scores], "mAP", draws=200)
    assert found.estimate == 0.625
    assert list(scores.names) == ["1", "2", "3"]
    assert score_interval([scores], "rank2", draws=200).estimate == 0.75
    assert not scores.has("mINP")


def test_groups_of_runs_are_the_units_of_the_seeds() -> None:
    rng = np.random.default_rng(0)
    identities, values = np.repeat(np.arange(200), 3), rng.normal(MU, 0.001, 600)
    runs = [retrieval(identities, values + effect) for effect in (-0.1, -0.1, -0.1, 0.1, 0.1, 0.1)]
    alone, grouped = (score_interval(runs, "mAP", groups=groups) for groups in (None, [0, 0, 0, 1, 1, 1]))
    assert alone.half_width == pytest.approx(2.57 * 0.1095 / 6**0.5, rel=0.1)
    assert grouped.high == 1.0  # 12.7 deviations of two groups
    assert grouped.half_width > 3 * alone.half_width


def test_wrong_requests_are_refused() -> None:
    one = retrieval(np.array([1, 2]), np.array([0.5, 0.7]))
    with pytest.raises(ValueError, match="`level` must lie between 0 and 1"):
        score_interval([one], "mAP", level=95)
    with pytest.raises(ValueError, match="at least one run"):
        score_interval([], "mAP")
    with pytest.raises(ValueError, match="identities differ"):
        score_interval([one, retrieval(np.array([1, 3]), np.array([0.5, 0.7]))], "mAP")
    with pytest.raises(ValueError, match="rank<k>"):
        score_interval([one], "rank0")
    with pytest.raises(ValueError, match="at least 2 units"):
        score_interval([retrieval(np.array([1, 1]), np.array([0.5, 0.7]))], "mAP")
