"""The spatial alignment module. Letters: B batch, C channels, H×W map, M = H·W positions."""

import torch
from torch import Tensor, nn

from msinet.models.layers import initialise


class SpatialAlignment(nn.Module):
    """Position attention: how strongly each position of an image responds to its strongest position.

    It exists during training only; the loss compares it with `mutual_activation` (Gu et al., CVPR 2023).

    Args:
        channels: Channels of the feature map.
        reduction: Queries and keys have `channels // reduction` channels.
    """

    def __init__(self, channels: int = 512, reduction: int = 8) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        initialise(self)

    def forward(self, feature_map_BCHW: Tensor, *, softmax: bool = False) -> Tensor:
        """The attention of each position, B×M: the maximum of queryᵀ·key over all positions.

        Args:
            feature_map_BCHW: The last map.
            softmax: Pass queryᵀ·key through a softmax over its last axis before the maximum.
        """
        query_BMC = self.query(feature_map_BCHW).flatten(2).transpose(1, 2)
        key_BCM = self.key(feature_map_BCHW).flatten(2)
        energy_BMM = query_BMC @ key_BCM
        if softmax:
            energy_BMM = energy_BMM.softmax(dim=-1)
        return energy_BMM.max(dim=-1).values


def mutual_activation(feature_map_BCHW: Tensor) -> Tensor:
    """How strongly each position of each image responds to its best match in each other image.

    Returns:
        activation_BBM: [g, p, m] is the maximum over image g's positions of their products with position m of p.
    """
    features_BCM = feature_map_BCHW.flatten(2)
    features_BMC = features_BCM.transpose(1, 2)
    # One image g at a time: the whole B×B×M×M table would take gigabytes.
    return torch.stack([(features_BMC @ feature_CM).max(dim=-1).values for feature_CM in features_BCM])
