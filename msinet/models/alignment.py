"""The spatial alignment module. Letters: B batch, C channels, H×W map, M = H·W positions."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from msinet.models.layers import initialise

TOGETHER = 8  # number of images whose products with all images are held at a time: 33 MB at batch 64, 256×128


class SpatialAlignment(nn.Module):
    """The position attention: how strongly each position of an image responds to its strongest position.

    It is used in training only, where a loss compares it with `mutual_activation` (Gu et al., CVPR 2023).

    Args:
        channels: Number of channels of the feature map.
        reduction: Queries and keys have `channels // reduction` channels.
    """

    def __init__(self, channels: int = 512, reduction: int = 8) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        initialise(self)

    def forward(self, feature_map_BCHW: Tensor, *, softmax: bool = False) -> Tensor:
        """Return the attention of each position, B×M: the maximum of queryᵀ·key over all positions.

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
    """Compute how strongly each position of each image responds to its best match in every image.

    Returns:
        activation_BBM: [g, p, m] is the largest product of position m of image p with a position of image g.
    """
    return _MutualActivation.apply(feature_map_BCHW.flatten(2).transpose(1, 2))


class _MutualActivation(torch.autograd.Function):
    """The mutual activation, with a backward pass of its own.

    The products of two images are computed once, for the maxima in both directions. Gradients pass through the maxima
    only. N = B·M are the positions of all images.
    """

    @staticmethod
    def forward(ctx: Any, features_BMC: Tensor) -> Tensor:
        B, M, C = features_BMC.shape
        features_NC = features_BMC.reshape(B * M, C)
        activation_BBM = features_NC.new_empty(B, B, M)
        source_BBM = torch.empty_like(activation_BBM, dtype=torch.int64)  # the position, of N, that gave the maximum
        first_B11 = M * torch.arange(B, device=features_NC.device)[:, None, None]
        # Take some images g at a time, with all images p from the first of them on: all B×B×M×M products at once would
        # need gigabytes.
        for start in range(0, B, TOGETHER):
            own, later = slice(start, start + TOGETHER), slice(start + TOGETHER, B)
            products = features_NC[start * M :] @ features_NC[start * M : own.stop * M].T
            products_PMGM = products.view(B - start, M, -1, M)
            best_PMG, source_PMG = products_PMGM.max(3)
            activation_BBM[own, start:] = best_PMG.permute(2, 0, 1)
            source_BBM[own, start:] = source_PMG.permute(2, 0, 1) + first_B11[own]
            if later.start < B:
                best_PGM, source_PGM = products_PMGM[TOGETHER:].max(1)
                activation_BBM[later, own] = best_PGM
                source_BBM[later, own] = source_PGM + first_B11[later]
        ctx.save_for_backward(features_NC, source_BBM)
        return activation_BBM

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BBM: Tensor) -> Tensor:
        """Return the gradient of the features.

        Each entry is the product of the features of two positions. So each of the two receives the features of the
        other one, times the gradient of the entry.
        """
        features_NC, source_BBM = ctx.saved_tensors
        dtype = features_NC.dtype
        features_NC, gradient_BBM = (
            t.to(torch.promote_types(dtype, torch.float32)) for t in (features_NC, gradient_BBM)
        )
        num_images, _, num_positions = gradient_BBM.shape
        weight_NB, source_NB = (entries.permute(1, 2, 0).flatten(0, 1) for entries in (gradient_BBM, source_BBM))
        to_responding_NC = embedding_bag(
            source_NB.contiguous(), features_NC, per_sample_weights=weight_NB.contiguous(), mode="sum"
        )
        sorted_E, order_E = source_NB.flatten().sort(stable=True)  # E = N·B entries
        to_source_NC = embedding_bag(
            order_E // num_images,
            features_NC,
            torch.searchsorted(sorted_E, torch.arange(len(features_NC), device=sorted_E.device)),
            per_sample_weights=weight_NB.flatten()[order_E],
            mode="sum",
        )
        return (to_responding_NC + to_source_NC).view(num_images, num_positions, -1).to(dtype)
