from collections import Counter

import numpy as np
import pytest

from msinet.data.samplers import IdentityBatches


def labels_of(counts: list[int]) -> np.ndarray:
    """Return the labels of `counts[label]` images of each label, in a mixed order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize("counts", [[4] * 8, [9, 1, 3, 4, 5, 8, 12, 2, 7], [1] * 6, [40, 1, 1]])
def test_batches_obey_every_rule(counts: list[int]) -> None:
    P, K = 3, 4
    labels = labels_of(counts)
    groups_left = [max(count // K, 1) for count in counts]
    batches = IdentityBatches(labels, P, K, seed=1).epoch(0)
    assert batches.shape[1] == P * K
    drawn: dict[int, list[int]] = {label: [] for label in range(len(counts))}
    for batch in batches:
        rows = labels[batch].reshape(P, K)
        assert all(len(set(row)) == 1 for row in rows)  # the K images of an identity are neighbours
        assert len({row[0] for row in rows}) == P
        for row, group in zip(rows, batch.reshape(P, K), strict=True):
            groups_left[row[0]] -= 1
            drawn[row[0]] += group.tolist()
    assert min(groups_left) >= 0
    assert sum(left > 0 for left in groups_left) < P  # the epoch has not ended too early
    for label, images in drawn.items():
        repeated = max(Counter(images).values(), default=0) > 1
        assert not (repeated and counts[label] >= K)


def test_few_images_are_drawn_with_replacement_uniformly() -> None:
    labels = labels_of([3, 3])
    sampler = IdentityBatches(labels, 2, 4, seed=0)
    drawn = Counter(np.concatenate([sampler.epoch(epoch).ravel() for epoch in range(600)]).tolist())
    assert sorted(drawn) == list(range(6))
    assert all(abs(count - 800) < 120 for count in drawn.values())  # four standard deviations are 92


def test_identities_are_drawn_among_those_with_groups_left() -> None:
    """Of four identities with one group each, two are drawn at a time: all six pairs come first equally often."""
    sampler = IdentityBatches(np.repeat(np.arange(4), 2), 2, 2, seed=0)
    labels = np.repeat(np.arange(4), 2)
    first = Counter(tuple(sorted(set(labels[sampler.epoch(epoch)[0]]))) for epoch in range(600))
    assert len(first) == 6
    assert all(abs(count - 100) < 40 for count in first.values())


def test_the_same_arguments_give_the_same_batches_in_any_order() -> None:
    labels = labels_of([5, 6, 7, 8, 9])
    sampler = IdentityBatches(labels, 2, 2, seed=7)
    later = sampler.epoch(3)
    sampler.epoch(0)
    np.testing.assert_array_equal(sampler.epoch(3), later)
    np.testing.assert_array_equal(IdentityBatches(labels, 2, 2, seed=7).epoch(3), later)


def test_seed_epoch_cycle_and_stream_each_change_the_batches() -> None:
    labels = labels_of([8] * 6)
    batches = [
        IdentityBatches(labels, 2, 2, seed=7).epoch(3),
        IdentityBatches(labels, 2, 2, seed=8).epoch(3),
        IdentityBatches(labels, 2, 2, seed=7).epoch(4),
        IdentityBatches(labels, 2, 2, seed=7).epoch(3, cycle=1),
        IdentityBatches(labels, 2, 2, seed=7, stream="valid").epoch(3),
    ]
    assert len({tuple(b.ravel().tolist()) for b in batches}) == len(batches)


def test_the_numbers_stay_what_they_are() -> None:
    """Interrupted runs continue on other machines and with other versions, so the draw must never change."""
    batches = IdentityBatches([0, 0, 0, 0, 1, 1, 1, 2, 2, 2], 2, 2, seed=5).epoch(1)
    assert batches.tolist() == [[1, 0, 4, 5], [3, 2, 8, 7]]


def test_too_few_identities_or_a_bad_seed_are_errors() -> None:
    with pytest.raises(ValueError, match="needs 4 identities, but there are 3"):
        IdentityBatches([0, 1, 2], 4, 1, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        IdentityBatches([0, 1, 2], 2, 0, seed=0)
    with pytest.raises(ValueError, match="must not be negative"):
        IdentityBatches([0, 1, 2], 2, 1, seed=-1).epoch(0)
