"""The score of a genotype under the weights of a supernet, which costs no training.

It is the score that one-shot searches rank genotypes by. Letters: B batch, C channels, H×W map, D feature.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from msinet.genotype import Genotype
from msinet.models.layers import global_pool
from msinet.models.msinet import MSINet
from msinet.models.supernet import Supernet

BATCH = 64  # pictures whose statistics are averaged
MOST_PICTURES = 2048
"""Upper bound on the pictures from which batch norms are estimated."""


class SharedWeights(nn.Module):
    """The network of a genotype with the weights that a supernet shares with it: the backbone, without heads.

    Args:
        supernet: A trained supernet; it is not changed.
        genotype: The operation of each slot.

    Raises:
        ValueError: The supernet's operations do not fit the network of the genotype.
    """

    def __init__(self, supernet: Supernet, genotype: Genotype) -> None:
        super().__init__()
        network = MSINet(genotype, num_classes=0)
        supernet.load_into(network)
        self.backbone = network.backbone

    def embed(self, images_BCHW: Tensor, after_neck: bool = False) -> Tensor:
        """Return the feature that the search has trained, B×512: the mean of the last map, not normalised.

        Args:
            images_BCHW: Normalised images.
            after_neck: Without effect, since there is no neck; the other networks have this argument.
        """
        return global_pool(self.backbone(images_BCHW)[1][-1])


@torch.no_grad()
def reestimate_batch_norms(network: SharedWeights, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of all batch norms by the means over some batches, and end in evaluation mode.

    The statistics of a supernet are those of a mixture of operations, and do not fit a network with one operation in
    each slot. Without this step the scores are noise (Guo et al., Single Path One-Shot, ECCV 2020, section 3.4).

    Args:
        network: The network.
        batches: Normalised training pictures without augmentation, at least two in each batch.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    for images_BCHW in batches:
        network.embed(images_BCHW)
    network.eval()
