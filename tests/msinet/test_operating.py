"""Thresholds for wanted false-positive rates, against points on a line and a slow loop."""

import numpy as np
import pytest
import torch

from msinet.data.records import Record
from msinet.engine.pairs import BINS, count_pairs
from msinet.statistics.operating import PairCounts, operating_points

EDGES = np.arange(1, 11) / 10


def counts(positive: list[list[int]], negative: list[list[int]]) -> PairCounts:
    return PairCounts(np.arange(len(positive)).astype(str), np.array(positive), np.array(negative), EDGES)


def test_a_threshold_is_the_largest_that_keeps_the_rate() -> None:
    positive = [[4, 3, 2, 1, 0, 0, 0, 0, 0, 0]] * 3
    negative = [[0, 0, 1, 1, 1, 1, 1, 1, 2, 2]] * 3
    (tenth, half) = operating_points(counts(positive, negative), (0.1, 0.5))
    assert tenth.threshold == pytest.approx(0.3), "the pairs of the first three bins: one of ten"
    assert tenth.false_positive_rate == pytest.approx(0.1)
    assert tenth.true_positive_rate.estimate == pytest.approx(0.9)
    assert half.threshold == pytest.approx(0.7)
    assert half.true_positive_rate.estimate == 1
    assert half.true_positive_rate.low == 1, "all identities are alike, so no draw differs"


def test_a_rate_that_cannot_be_measured_is_left_out() -> None:
    few = counts([[1] * 10] * 2, [[1] * 10] * 2)
    assert [point.wanted for point in operating_points(few, (0.01, 0.05, 0.1))] == [0.05, 0.1]
    assert operating_points(few, (0.05,))[0].threshold == 0, "the nearest pair is already too much"


def test_the_interval_is_over_identities() -> None:
    rng = np.random.default_rng(0)
    easy, hard = [10, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]
    negative = [[0] * 5 + [20] * 5] * 40
    positive = [easy if rng.random() < 0.7 else hard for _ in range(40)]
    (point,) = operating_points(counts(positive, negative), (0.01,))
    rate = point.true_positive_rate
    error = np.sqrt(rate.estimate * (1 - rate.estimate) / 40)
    assert rate.half_width == pytest.approx(2.02 * error, rel=0.15), "as for 40 draws of a coin"


@pytest.mark.parametrize("rate", [0, 1, -0.1])
def test_an_impossible_rate_is_named(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        operating_points(counts([[1] * 10] * 2, [[1] * 10] * 2), (rate,))


def test_pairs_are_counted_as_a_slow_loop_counts_them() -> None:
    rng = np.random.default_rng(0)
    records = [
        Record(f"{i}", int(rng.integers(5)), None if i % 7 == 0 else int(rng.integers(3)), "query") for i in range(60)
    ]
    embedding_ND = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(60, 4)).astype(np.float32)))
    query, gallery = slice(0, 20), slice(20, 60)
    found = count_pairs(records[query], embedding_ND[query], records[gallery], embedding_ND[gallery])
    positive, negative = np.zeros((5, BINS)), np.zeros((5, BINS))
    for q, a in zip(records[query], embedding_ND[query], strict=True):
        for g, b in zip(records[gallery], embedding_ND[gallery], strict=True):
            place = min(int((1 - float(a @ b)) * BINS / 2), BINS - 1)
            if q.pid != g.pid:
                negative[q.pid, place] += 1
            elif q.camid is None or q.camid != g.camid:
                positive[q.pid, place] += 1
    assert found.names.tolist() == list("01234")
    # A product of the loop may be rounded into the next bin.
    assert np.abs(found.positive.cumsum(1) - positive.cumsum(1)).max() <= 1
    assert np.abs(found.negative.cumsum(1) - negative.cumsum(1)).max() <= 1
    assert found.positive.sum() == positive.sum()
    assert found.negative.sum() == negative.sum()


def test_one_identity_is_not_enough() -> None:
    records = [Record("a", 1, 0, "query"), Record("b", 1, 1, "gallery"), Record("c", 2, 1, "gallery")]
    with pytest.raises(ValueError, match="at least two identities"):
        count_pairs(records[:1], torch.eye(3)[:1], records[1:], torch.eye(3)[1:])
