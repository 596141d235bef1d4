"""How sure a search is: against slow and obvious counts, and on simulated α whose noise is known."""

import itertools
import math

import numpy as np
import pytest

from msinet.engine.certainty import certainty_of, epoch_figures, flip_probabilities, likely_genotypes, mixture_of
from msinet.genotype import LETTERS, NUM_SLOTS, OPERATIONS, Genotype

UNIFORM = np.zeros((5, NUM_SLOTS, len(OPERATIONS)))


def drawn(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal(shape)


def test_likely_genotypes_are_those_of_a_list_of_all() -> None:
    alphas = drawn(5, 4)
    mixture = mixture_of(alphas)
    everything = {
        "".join(LETTERS[o] for o in choice): math.prod(mixture[s, o] for s, o in enumerate(choice))
        for choice in itertools.product(range(4), repeat=5)
    }
    found = likely_genotypes(alphas, len(everything))
    assert dict(found) == pytest.approx(everything)
    assert len({letters for letters, _ in found}) == 4**5
    assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    assert sum(p for _, p in found) == pytest.approx(1)


def test_the_first_likely_genotype_is_the_one_that_a_search_derives() -> None:
    for alphas in (drawn(NUM_SLOTS, 4, scale=1e-3), np.zeros((NUM_SLOTS, 4)), np.round(drawn(NUM_SLOTS, 4))):
        assert likely_genotypes(alphas)[0][0] == Genotype.from_alphas(alphas).letters


def test_alphas_far_apart_give_probabilities_without_overflow() -> None:
    alphas = np.tile([0.0, -2000.0, 2000.0, 0.0], (NUM_SLOTS, 1))
    (first, p), (_, q) = likely_genotypes(alphas, 2)
    assert (first, p, q) == ("A" * NUM_SLOTS, 1.0, 0.0)


def test_an_operation_that_a_slot_does_not_offer_has_no_part() -> None:
    alphas = drawn(6, 3, 4)
    alphas[:, 0, 2:] = alphas[:, 1, 1:] = -np.inf
    found = certainty_of(alphas)
    assert certainty_of(alphas[:, :1, :2], OPERATIONS[:2]).entropy_ES == pytest.approx(found.entropy_ES[:, :1])
    assert found.entropy_ES[:, 1] == pytest.approx(0)
    assert found.flip_S[1] == 0
    assert 0 < found.flip_S[0] <= 0.5
    assert len(likely_genotypes(alphas[-1], 2 * 1 * 4)) == 8
    written = np.where(np.isinf(alphas), None, alphas).tolist()  # as the files of a search hold it
    assert certainty_of(written).entropy_ES == pytest.approx(found.entropy_ES)
    assert epoch_figures(written[-1]) == epoch_figures(alphas[-1])
    assert likely_genotypes(written[-1], 8) == likely_genotypes(alphas[-1], 8)
    assert flip_probabilities(written) == pytest.approx(found.flip_S)
    with pytest.raises(ValueError, match="1 to 8,"):
        likely_genotypes(alphas[-1], 9)


@pytest.mark.parametrize("count", [0, 17])
def test_no_more_candidates_than_genotypes(count: int) -> None:
    with pytest.raises(ValueError, match=f"must be 1 to 16, the number of genotypes, but got {count}"):
        likely_genotypes(np.zeros((2, 4)), count)


def test_a_search_that_knows_nothing_says_so() -> None:
    found = certainty_of(UNIFORM)
    assert found.entropy_ES == pytest.approx(2.0)
    assert found.margin_ES == pytest.approx(0.0)
    assert found.flip_S == pytest.approx(0.5)
    assert likely_genotypes(UNIFORM[-1])[0][1] == pytest.approx(4.0**-NUM_SLOTS)


def test_entropy_and_margin_by_hand() -> None:
    alphas = np.log([[[0.5, 0.25, 0.125, 0.125]] * NUM_SLOTS])
    found = certainty_of(alphas)
    assert found.entropy_ES == pytest.approx(0.5 * 1 + 0.25 * 2 + 2 * 0.125 * 3)
    assert found.margin_ES == pytest.approx(0.25)
    assert found.share_EO[0] == pytest.approx([0.5, 0.25, 0.125, 0.125])
    figures = epoch_figures(alphas[0])
    assert figures["share_channel_gate"] == pytest.approx(0.25)
    assert figures["held_slots"] == NUM_SLOTS
    assert figures["entropy"] == pytest.approx(1.75)


def test_a_genotype_stands_since_the_epoch_after_its_last_change() -> None:
    alphas = UNIFORM.copy()
    alphas[:, :, 1] = 1.0
    alphas[1, 3, 2] = 2.0  # another choice in slot 3 at epoch 1 only
    found = certainty_of(alphas)
    assert found.stands_since == 2
    assert found.slot_stands_since == [2 if slot == 3 else 0 for slot in range(NUM_SLOTS)]
    assert certainty_of(UNIFORM).stands_since == 0


def test_collapse_is_told_from_nine_of_twelve_slots_on() -> None:
    alphas = UNIFORM.copy()
    alphas[:, :, 3] = 0.5
    alphas[:2, :4, 0] = alphas[3:, 2, 0] = 1.0  # eight slots hold exchange at first, then twelve, then eleven
    found = certainty_of(alphas).collapse
    assert found is not None
    assert (found.operation, found.epoch, found.slots) == ("exchange", 2, 11)
    assert certainty_of(alphas[:2]).collapse is None
    assert certainty_of(alphas[::-1]).collapse is None, "a search that has left that state is not warned about"


def test_flip_probabilities_are_those_of_simulated_walks() -> None:
    """α of two operations is a random walk of known noise: how often does its last quarter end on the other side?"""
    noise, start, epochs, steps = 0.05, 0.25, 400, 100
    rng = np.random.default_rng(1)
    ends = start + noise * math.sqrt(2) * rng.standard_normal((20_000, steps)).sum(axis=1)  # of the gap of two α
    alphas = np.zeros((epochs, 200, 2))
    walk = noise * rng.standard_normal((steps, 200, 2)).cumsum(axis=0)
    alphas[-steps:] = walk - walk[-1] + [start, 0.0]  # every slot ends with a gap of `start`
    alphas[:-steps] = alphas[-steps]
    expected = 0.5 * math.erfc(start / (noise * math.sqrt(2) * math.sqrt(steps)) / math.sqrt(2))
    assert (ends < 0).mean() == pytest.approx(expected, abs=0.01)
    assert flip_probabilities(alphas).mean() == pytest.approx(expected, abs=0.01)


def test_a_drift_without_noise_flips_nothing_and_a_tie_flips_half() -> None:
    alphas = np.zeros((20, 2, 3))
    alphas[:, 0, 1] = np.linspace(0, 1, 20)
    assert flip_probabilities(alphas) == pytest.approx([0.0, 0.5])


def test_three_epochs_say_nothing_about_noise() -> None:
    assert np.isnan(certainty_of(drawn(3, NUM_SLOTS, 4)).flip_S).all()
    assert not np.isnan(certainty_of(drawn(4, NUM_SLOTS, 4)).flip_S).any()


@pytest.mark.parametrize("alphas", [np.zeros((0, 12, 4)), np.zeros((12, 4)), np.full((1, 12, 4), np.nan)])
def test_what_is_no_history_of_alpha_is_refused(alphas: np.ndarray) -> None:
    with pytest.raises(ValueError, match="α must be"):
        certainty_of(alphas)
