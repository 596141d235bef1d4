"""OSNet x1.0 (Zhou et al., ICCV 2019). Letters: B batch, C channels, H×W map, D embedding.

Submodules have torchreid's names, so that its weights can be loaded.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import relu

from msinet.models.layers import ConvNorm, Gate, LightConv3x3, Outputs, global_pool, halve, initialise, light_chain

SCALES = (3, 5, 7, 9)
"""How many positions across the four branches of a block see: they have 1, 2, 3 and 4 light 3×3 blocks in a row."""

CHANNELS = (64, 256, 384, 512)
FEATURE_DIM = 512


class OmniScaleBlock(nn.Module):
    """The sum of the input and of branches at several scales, each times its gate. All gates share one network."""

    def __init__(self, in_channels: int, out_channels: int, scales: Sequence[int]) -> None:
        super().__init__()
        width = out_channels // 4
        self.conv1 = ConvNorm(in_channels, width)
        self.branches = [_branch_name(scale) for scale in scales]
        for scale, name in zip(scales, self.branches, strict=True):
            # In torchreid a branch of a single block has no container.
            chain = LightConv3x3(width, width) if scale == 3 else light_chain(width, scale // 2)
            self.add_module(name, chain)
        self.gate = Gate(width)
        self.conv3 = ConvNorm(width, out_channels, linear=True)
        changes = in_channels != out_channels
        self.downsample = ConvNorm(in_channels, out_channels, linear=True) if changes else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        reduced_BCHW = self.conv1(x_BCHW)
        maps = [self.get_submodule(name)(reduced_BCHW) for name in self.branches]
        fused_BCHW = maps[0] * self.gate(maps[0])
        for map_BCHW in maps[1:]:
            fused_BCHW = fused_BCHW + map_BCHW * self.gate(map_BCHW)
        shortcut_BCHW = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return relu(self.conv3(fused_BCHW) + shortcut_BCHW, inplace=True)


class OSNet(nn.Module):
    """OSNet x1.0 with one head: a 512-d layer on the mean of the last map, and a classifier.

    Args:
        num_classes: Number of identities that the classifier distinguishes.
        scales: The branches that each block has, a subset of `SCALES`; the paper uses all four.

    Attributes:
        map_channels: Number of channels of the last map, 512.

    Raises:
        ValueError: `scales` is empty, or contains a number that is not in `SCALES`.
    """

    map_channels = CHANNELS[-1]

    def __init__(self, num_classes: int, scales: Sequence[int] = SCALES) -> None:
        super().__init__()
        if not scales or not set(scales) <= set(SCALES):
            raise ValueError(f"scales must be one or more of {', '.join(map(str, SCALES))}, but got {scales} (scales).")
        self.scales = tuple(sorted(set(scales)))
        stem, second, third, fourth = CHANNELS
        self.conv1 = ConvNorm(3, stem, kernel_size=7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = nn.Sequential(*self._blocks(stem, second), halve(second))
        self.conv3 = nn.Sequential(*self._blocks(second, third), halve(third))
        self.conv4 = nn.Sequential(*self._blocks(third, fourth))
        self.conv5 = ConvNorm(fourth, fourth)
        self.fc = nn.Sequential(nn.Linear(fourth, FEATURE_DIM), nn.BatchNorm1d(FEATURE_DIM), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(FEATURE_DIM, num_classes)
        initialise(self)

    def forward(self, images_BCHW: Tensor) -> Outputs:
        """Return the head's feature and logits, and the maps after the last three convolution groups."""
        maps = self._maps(images_BCHW)
        feature_BD = self.fc(global_pool(maps[-1]))
        return Outputs((feature_BD,), (self.classifier(feature_BD),), maps)

    def feature_map(self, images_BCHW: Tensor) -> Tensor:
        """Return the last map, B×512×H/16×W/16."""
        return self._maps(images_BCHW)[-1]

    def embed(self, images_BCHW: Tensor, after_neck: bool = False) -> Tensor:
        """Return the retrieval embedding, B×512, not normalised. Use it in evaluation mode.

        Args:
            images_BCHW: Normalised images.
            after_neck: Changes nothing, because OSNet has no neck.
        """
        return self.fc(global_pool(self.feature_map(images_BCHW)))

    def _maps(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        third_BCHW = self.conv3(self.conv2(self.maxpool(self.conv1(images_BCHW))))
        fourth_BCHW = self.conv4(third_BCHW)
        return third_BCHW, fourth_BCHW, self.conv5(fourth_BCHW)

    def _blocks(self, in_channels: int, out_channels: int) -> tuple[OmniScaleBlock, OmniScaleBlock]:
        return (
            OmniScaleBlock(in_channels, out_channels, self.scales),
            OmniScaleBlock(out_channels, out_channels, self.scales),
        )


def _branch_name(scale: int) -> str:
    return "conv2" + "abcd"[SCALES.index(scale)]
