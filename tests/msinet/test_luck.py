"""How likely luck is to do as well, and figures of untrained networks, against what is known exactly."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from msinet.engine.zero_cost import zero_cost
from msinet.models import build_model
from msinet.statistics import best_of, probability_of_luck


def test_the_interval_of_a_share_is_the_exact_one() -> None:
    # Clopper and Pearson's table gives 0.025 and 0.556 for 2 of 10 at 95 %.
    found = probability_of_luck(8.0, np.arange(10))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.02521, 0.55610), abs=1e-5)
    assert probability_of_luck(99.0, np.arange(10)).high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert probability_of_luck(-1.0, np.arange(10)).low == pytest.approx(0.025 ** (1 / 10))


def test_intervals_cover_the_true_probability() -> None:
    rng = np.random.default_rng(0)
    found = [probability_of_luck(0.8, rng.random(20)) for _ in range(1000)]
    assert np.mean([interval.low <= 0.2 <= interval.high for interval in found]) >= 0.95


def test_the_best_of_several_draws_has_more_chances() -> None:
    one = probability_of_luck(8.0, np.arange(10))
    assert best_of(1, one).high == pytest.approx(one.high)
    assert best_of(3, one).estimate == pytest.approx(1 - 0.8**3)
    rng = np.random.default_rng(0)
    assert best_of(3, one).estimate == pytest.approx((rng.integers(0, 10, (20_000, 3)).max(1) >= 8).mean(), abs=0.01)
    with pytest.raises(ValueError, match=r"at least 1, but got 0\.5"):
        best_of(0.5, one)


class TwoLayers(nn.Module):
    """A linear network, whose flow is known: each layer's share is 1ᵀ·|W2|·|W1|·1."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3 * 2 * 2, 4, bias=False), nn.Linear(4, 5, bias=False)

    def embed(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(images_BCHW.flatten(1)))


def test_synflow_is_that_of_its_definition() -> None:
    torch.manual_seed(0)
    model = TwoLayers()
    product = model.second.weight.abs() @ model.first.weight.abs()
    assert zero_cost(model, (2, 2))["log_synflow"] == pytest.approx(math.log(2 * product.sum().item()), rel=1e-6)


def test_untrained_networks_do_not_show_what_cross_attention_does() -> None:
    figures = {}
    for letters in ("N" * 12, "A" * 12, "E" * 12):
        torch.manual_seed(0)
        figures[letters[0]] = zero_cost(build_model("msinet", num_classes=0, genotype=letters), (32, 16))
    assert figures["A"]["log_synflow"] == pytest.approx(figures["N"]["log_synflow"])
    assert figures["E"]["log_synflow"] != pytest.approx(figures["N"]["log_synflow"], rel=1e-3)
    assert figures["A"]["parameters"] == figures["N"]["parameters"] + 12
    assert figures["A"]["gmacs"] > figures["N"]["gmacs"]
