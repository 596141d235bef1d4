"""Layers that the networks share. Letters: B batch, C channels, H×W map.

Submodules have the names that the checkpoints of the released MSINet and of torchreid's OSNet use.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Outputs(NamedTuple):
    """The outputs of a network in training, which its losses read.

    Attributes:
        features: One B×D tensor for each head, before the neck, for the losses that compare samples.
        logits: One B×classes tensor for each head.
        maps: The maps of three layers, from the shallowest to the last, each B×C×H×W, for the alignments.
    """

    features: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]

    @property
    def feature_map(self) -> Tensor:
        """Return the last map."""
        return self.maps[-1]


class ConvNorm(nn.Module):
    """A convolution without bias, batch norm, and ReLU unless `linear`. An odd `kernel_size` keeps H×W at stride 1."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, *, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.Identity() if linear else nn.ReLU(inplace=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x_BCHW)))


class LightConv3x3(nn.Module):
    """A linear 1×1 convolution, depth-wise 3×3 convolution, batch norm, ReLU (Zhou et al., OSNet, ICCV 2019)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False, groups=out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x_BCHW))))


def light_chain(channels: int, length: int) -> nn.Sequential:
    """Build `length` light 3×3 blocks in a row, whose outputs see `2·length + 1` positions across."""
    return nn.Sequential(*(LightConv3x3(channels, channels) for _ in range(length)))


class Gate(nn.Module):
    """A gate: one number in (0, 1) per channel, from the channel means by 1×1 to C // 16, ReLU, 1×1 back, sigmoid.

    It has at least 4 channels in between, as many as the narrowest branch at width 1. A single one would often be dead.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        between = max(channels // reduction, 4)
        self.fc1 = nn.Conv2d(channels, between, 1)
        self.fc2 = nn.Conv2d(between, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the gate, B×C×1×1, with which the caller multiplies."""
        mean_BC11 = global_pool(x_BCHW)[:, :, None, None]
        return self.fc2(self.fc1(mean_BC11).relu()).sigmoid()


def halve(channels: int) -> nn.Sequential:
    """Build 1×1 convolution, batch norm, ReLU and 2×2 average pooling, which halve a map's height and width."""
    return nn.Sequential(ConvNorm(channels, channels), nn.AvgPool2d(2, stride=2))


def global_pool(x_BCHW: Tensor) -> Tensor:
    """Return the mean over all positions, B×C."""
    # With channels last here, the gradient uses channels-last memory too. Otherwise every later sum of gradients would
    # have to transpose it.
    return x_BCHW.permute(0, 2, 3, 1).mean((1, 2))


def neck(dim: int) -> nn.BatchNorm1d:
    """Build a batch norm between feature and classifier whose bias stays 0 (Luo et al., BNNeck, CVPRW 2019)."""
    norm = nn.BatchNorm1d(dim)
    norm.bias.requires_grad_(False)
    return norm


@torch.no_grad()
def initialise(network: nn.Module, *, linear_std: float = 0.01) -> None:
    """Draw every weight anew: convolutions Kaiming-normal over their outputs, linear layers N(0, `linear_std`).

    Biases start at 0 and norms at scale 1; other layers are not changed. The released MSINet, torchreid's OSNet and
    torchvision's ResNet use these distributions.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=linear_std)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
