"""The supernet: a one-hot mixture equals the derived network, and each side's gradient can be computed alone."""

import pytest
import torch
from support.networks import assert_every_parameter_learns, one_hot_supernet, small_images
from torch.utils.flop_counter import FlopCounterMode

from msinet.genotype import LETTERS, OPERATIONS, PUBLISHED, Genotype
from msinet.models import MSINet, Supernet
from msinet.models.interactions import MixedInteraction, build_operation

GENOTYPES = [PUBLISHED["MSINet"].letters, "NGAENGAENGAE", "EAGNEAGNEAGN", *(letter * 12 for letter in LETTERS)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def derived_network(supernet: Supernet) -> MSINet:
    network = MSINet(supernet.derive(), num_classes=3)
    supernet.load_into(network)
    return network


@pytest.mark.parametrize("letters", GENOTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_one_hot_supernet_is_the_derived_network_bit_for_bit(letters, training, autocast):
    supernet = one_hot_supernet(Genotype(letters)).to(memory_format=torch.channels_last)
    network = derived_network(supernet).to(memory_format=torch.channels_last)
    assert network.genotype.letters == letters
    supernet.train(training)
    network.train(training)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        part_map, last_map = supernet.maps(small_images())
        expected_part_map, expected_last_map = network.maps(small_images())
    assert torch.equal(part_map, expected_part_map)
    assert torch.equal(last_map, expected_last_map)
    assert last_map.any()


def test_the_mixture_is_the_weighted_sum_of_all_operations():
    mixed = MixedInteraction(16).double()
    a, b = torch.randn(2, 3, 16, 4, 2, dtype=torch.float64).unbind()
    weights = torch.arange(1, len(OPERATIONS) + 1, dtype=torch.float64) / 10
    with torch.no_grad():
        mixed.cross_attention.gamma.fill_(0.7)
    with_weights = dict(mixed.named_children())
    outputs = [(with_weights.get(name) or build_operation(name, 16))(a, b) for name in OPERATIONS]
    actual = mixed(a, b, *weights.unbind())
    for branch in range(2):
        expected = sum(weight * output[branch] for weight, output in zip(weights, outputs, strict=True))
        torch.testing.assert_close(actual[branch], expected)


def test_the_feature_is_the_mean_of_the_last_map():
    supernet = Supernet().eval()
    with torch.no_grad():
        feature = supernet(small_images(2))
        torch.testing.assert_close(feature, supernet.maps(small_images(2))[1].mean((2, 3)))
    assert feature.shape == (2, supernet.feature_dim) == (2, 512)


def test_every_parameter_learns():
    supernet = Supernet(num_classes=5)
    with torch.no_grad():
        supernet.alphas.mul_(100)
    features = supernet(small_images())
    logits = supernet.logits(features)
    assert logits.shape == (4, 5)
    assert_every_parameter_learns(supernet, (logits * torch.randn_like(logits)).sum())


def test_each_side_has_its_gradient_alone():
    supernet = Supernet()
    weights = list(supernet.weight_parameters())
    probe = torch.randn(4, 512)
    (alphas_gradient,) = torch.autograd.grad((supernet(small_images()) * probe).sum(), [supernet.alphas])
    assert alphas_gradient.any(dim=1).all()
    gradients = torch.autograd.grad((supernet(small_images()) * probe).sum(), weights)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_alphas_are_parameters_of_their_own():
    supernet = Supernet(num_classes=5)
    assert supernet.alphas.shape == supernet.state_dict()["alphas"].shape == (12, len(OPERATIONS))
    assert 5e-4 < supernet.alphas.std() < 2e-3
    trained = {id(p) for p in supernet.parameters() if p.requires_grad}
    assert {id(p) for p in supernet.weight_parameters()} == trained - {id(supernet.alphas)}
    assert id(supernet.neck.bias) not in trained


def test_state_round_trip():
    supernet, other = one_hot_supernet(Genotype("NGAENGAENGAE")), Supernet()
    other.load_state_dict(supernet.state_dict())
    assert other.derive() == supernet.derive()
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in supernet.state_dict().items())


def test_the_skeleton_costs_what_the_method_says():
    supernet = Supernet().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        supernet(small_images(1, 256, 128))
    counts = {str(operation): count / 2 for operation, count in counter.get_flop_counts()["Global"].items()}
    convolutions, attention = counts["aten.convolution"], counts["aten.bmm"]
    # The 1.330 G of the method count energy_a and energy_b separately. One is the transpose of the other, so only
    # 3 of 4 products are computed.
    assert round((convolutions + attention * 4 / 3) / 1e9, 3) == 1.330


def test_softmax_supervision_needs_classes():
    with pytest.raises(ValueError, match="num_classes"):
        Supernet().logits(torch.zeros(2, 512))
