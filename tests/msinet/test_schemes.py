"""Search schemes as the registry finds them, and what each one hands to the supernet."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.networks import small_images

from msinet import schemes
from msinet.data.streams import generator
from msinet.models import Supernet
from msinet.models.interactions import MixedInteraction, PartialInteraction
from msinet.schemes import SCHEMES, Moment, one_path
from msinet.schemes.gdas import Gdas
from msinet.schemes.partial_channels import PartialChannels

CHOICES = (tuple(range(4)),) * 12


def moment(epoch: int = 0, epochs: int = 10, seed: int = 0) -> Moment:
    return Moment(epoch, epochs, generator(seed, "test", epoch), CHOICES)


def test_each_file_of_the_folder_is_a_scheme():
    files = {path.stem for path in Path(schemes.__file__).parent.glob("*.py")} - {"__init__", "scheme"}
    assert files == SCHEMES.keys()
    assert {"mixture", "gdas", "partial_channels"} <= files


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_is_named_after_its_file_and_gives_its_source(name):
    scheme = SCHEMES[name]()
    assert scheme.name == name
    assert dataclasses.is_dataclass(scheme)
    assert hash(scheme) == hash(SCHEMES[name]())
    module = __import__(type(scheme).__module__, fromlist=["_"])
    assert "arXiv" in module.__doc__


@pytest.mark.parametrize("name", SCHEMES)
def test_equal_moments_give_equal_mixtures(name):
    torch.manual_seed(0)
    scheme, alphas_SO = SCHEMES[name](), torch.randn(12, 4)
    first, again, later = (scheme.mixture(alphas_SO, moment(seed=seed)) for seed in (0, 0, 1))
    assert len(first) == 12
    assert all(len(row) == 4 and any(weight is not None for weight in row) for row in first)
    assert first == again
    if any(weight is None for row in first for weight in row):
        assert first != later, "other moments draw other operations"


def test_one_path_of_the_supernet_is_the_operation_alone():
    torch.manual_seed(0)
    mixed = MixedInteraction(16)
    with torch.no_grad():
        mixed.cross_attention.gamma.fill_(0.7)
    a, b = torch.randn(2, 3, 16, 4, 2).unbind()
    for column, name in enumerate(("none", "channel_gate", "cross_attention", "exchange")):
        (weights,) = one_path([column], 4)
        for actual, expected in zip(mixed(a, b, *weights), mixed.operation(name)(a, b), strict=True):
            assert torch.equal(actual, expected)
    two = mixed(a, b, 0.25, None, None, torch.tensor(0.75))
    torch.testing.assert_close(two[0], 0.25 * a + 0.75 * b)
    with pytest.raises(ValueError, match="at least one operation"):
        mixed(a, b, None, None, None, None)


def test_a_path_through_the_supernet_is_the_derived_network():
    torch.manual_seed(0)
    supernet = Supernet().eval()
    path = one_path([1, 1, 3, 1, 2, 1, 1, 0, 1, 2, 3, 2], 4)
    hot = torch.full((12, 4), -1e4)
    for slot, row in enumerate(path):
        hot[slot, row.index(1.0)] = 1e4
    with torch.no_grad():
        supernet.alphas.copy_(hot)
        torch.testing.assert_close(supernet(small_images(), path), supernet(small_images()))


def test_gdas_computes_one_operation_whose_weight_is_one_and_carries_the_gradient():
    torch.manual_seed(0)
    alphas_SO = torch.randn(12, 4, requires_grad=True)
    rows = Gdas().mixture(alphas_SO, moment(epoch=9))
    weights = [weight for row in rows for weight in row if weight is not None]
    assert [weight.item() for weight in weights] == [1.0] * 12
    noise_SO = torch.tensor(moment(epoch=9).rng.gumbel(size=(12, 4)), dtype=torch.float32)
    soft_SO = ((alphas_SO.log_softmax(-1) + noise_SO) / 0.1).softmax(-1)
    chosen = [[weight is not None for weight in row].index(True) for row in rows]
    assert chosen == soft_SO.argmax(-1).tolist()
    expected = torch.autograd.grad(soft_SO[range(12), chosen].sum(), alphas_SO)[0]
    torch.testing.assert_close(torch.autograd.grad(sum(weights), alphas_SO)[0], expected)


def test_gdas_draws_operations_with_the_probabilities_of_the_mixture():
    alphas_SO = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(12, 4)
    rng = np.random.default_rng(0)
    counts = np.zeros(4)
    for _ in range(500):
        for row in Gdas().mixture(alphas_SO, Moment(0, 1, rng, CHOICES)):
            counts += [weight is not None for weight in row]
    np.testing.assert_allclose(counts / counts.sum(), [0.1, 0.2, 0.3, 0.4], atol=0.02)  # about 3.5 standard errors


def test_the_temperature_of_gdas_falls_linearly():
    temperatures = [Gdas().temperature(epoch, 5) for epoch in range(5)]
    assert temperatures == pytest.approx([10, 7.525, 5.05, 2.575, 0.1])
    assert Gdas().temperature(0, 1) == 10
    for wrong in ((1.0, 2.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="two positive numbers, the second not above the first"):
            Gdas(temperatures=wrong)


def test_partial_channels_let_the_other_channels_pass():
    torch.manual_seed(0)
    partial = PartialInteraction(64, 4)
    a, b = torch.randn(2, 3, 64, 4, 2).unbind()
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4]).unbind()
    mixed = partial(a, b, *weights)
    expected = partial.part(a[:, :16], b[:, :16], *weights)
    for actual, part, whole in zip(mixed, expected, (a, b), strict=True):
        assert torch.equal(actual[:, :16], part)
        assert torch.equal(actual[:, 16:], whole[:, 16:])
    with pytest.raises(ValueError, match="a whole number from 16 on, but got 32 channels and k = 4"):
        PartialInteraction(32, 4)


def test_partial_channels_leave_alpha_as_it_is_at_first():
    scheme = PartialChannels()
    assert [scheme.trains_alphas(epoch, 50) for epoch in (0, 14, 15, 49)] == [False, False, True, True]
    with pytest.raises(ValueError, match="`k` must be 2 or 4, but got 3"):
        PartialChannels(k=3)
    with pytest.raises(ValueError, match="`frozen` must be 0 to below 1"):
        PartialChannels(frozen=1.0)


def test_a_network_takes_no_weights_from_a_partial_supernet():
    with pytest.raises(ValueError, match="whose operations have all channels"):
        Supernet(channel_divisor=4).load_into(torch.nn.Module())
