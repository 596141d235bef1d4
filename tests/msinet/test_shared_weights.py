"""A genotype with a supernet's weights: the same maps as the one-hot supernet, and batch norms of its own."""

import torch
from support.networks import small_images

from msinet.engine.shared_weights import SharedWeights, reestimate_batch_norms
from msinet.genotype import LETTERS, Genotype
from msinet.models.deploy import deployed
from msinet.models.supernet import Supernet

GENOTYPE = Genotype("NGAENGAENGAE")


def one_hot_supernet() -> Supernet:
    """Return a supernet whose mixture is `GENOTYPE` alone."""
    supernet = Supernet()
    with torch.no_grad():
        supernet.alphas.fill_(-torch.inf)
        for slot, letter in enumerate(GENOTYPE.letters):
            supernet.alphas[slot, LETTERS.index(letter)] = 0.0
    return supernet


def test_the_feature_is_that_of_a_one_hot_supernet() -> None:
    # In one memory layout for both, so that the means over positions are rounded alike.
    supernet = one_hot_supernet().eval().to(memory_format=torch.channels_last)
    network = SharedWeights(supernet, GENOTYPE).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(network.embed(small_images()), supernet(small_images()))
        torch.testing.assert_close(deployed(network).embed(small_images()), supernet(small_images()))


def test_batch_norms_are_the_means_over_the_batches() -> None:
    supernet = one_hot_supernet()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    network = SharedWeights(supernet, GENOTYPE)
    batches = [small_images(), small_images() * 2 + 1]
    reestimate_batch_norms(network, batches)
    first = network.backbone.stem.bn
    with torch.no_grad():
        maps = [network.backbone.stem.conv(images) for images in batches]
    mean = torch.stack([BCHW.mean((0, 2, 3)) for BCHW in maps]).mean(0)
    variance = torch.stack([BCHW.var((0, 2, 3)) for BCHW in maps]).mean(0)
    torch.testing.assert_close(first.running_mean, mean)
    torch.testing.assert_close(first.running_var, variance)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
