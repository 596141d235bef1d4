"""Six cells with two interactions each: the skeleton that the supernet and the derived network share.

Letters: B batch, C channels, H×W map.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from msinet.genotype import NUM_SLOTS
from msinet.models.layers import ConvNorm, halve, light_chain

CHANNELS = (64, 256, 384, 512)
"""Number of channels after the stem and after each pair of cells."""

Interact = Callable[[int, int], nn.Module]
"""A function that makes an interaction from (slot, channels of a branch)."""

Mixture = Sequence[Sequence[Tensor | float | None]]
"""For each slot, the weights that its interaction receives besides the two branches: none, or one for each operation.

An operation whose weight is None is not computed.
"""

NO_MIXTURE: Mixture = ((),) * NUM_SLOTS


class Cell(nn.Module):
    """A cell of two branches with two interactions.

    Both branches run two chains of light blocks, which see 3 positions across in branch a and 7 in branch b. An
    interaction follows each chain. The cell's map is the sum of both branches and the input.
    """

    def __init__(self, in_channels: int, out_channels: int, slot: int, interact: Interact) -> None:
        super().__init__()
        width = out_channels // 4
        self.enter_a = ConvNorm(in_channels, width)
        self.enter_b = ConvNorm(in_channels, width)
        self.first_a = light_chain(width, 1)
        self.first_b = light_chain(width, 3)
        self.first_interaction = interact(slot, width)
        self.second_a = light_chain(width, 1)
        self.second_b = light_chain(width, 3)
        self.second_interaction = interact(slot + 1, width)
        self.leave_a = ConvNorm(width, out_channels, linear=True)
        self.leave_b = ConvNorm(width, out_channels, linear=True)
        changes = in_channels != out_channels
        self.shortcut = ConvNorm(in_channels, out_channels, linear=True) if changes else nn.Identity()

    def forward(self, x_BCHW: Tensor, mixture: Mixture) -> Tensor:
        """Return the cell's map; `mixture` holds the entries of its two slots."""
        a, b = self.branches(x_BCHW, mixture)
        # In place, because these are the widest maps. No gradient needs the sums before the last one.
        return self.leave_a(a).add_(self.leave_b(b)).add_(self.shortcut(x_BCHW)).relu_()

    def branches(self, x_BCHW: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
        """Return both branches after the second interaction, each with a quarter of the channels of the cell's map."""
        first, second = mixture
        a, b = self.enter_a(x_BCHW), self.enter_b(x_BCHW)
        a, b = self.first_interaction(self.first_a(a), self.first_b(b), *first)
        return self.second_interaction(self.second_a(a), self.second_b(b), *second)


class Backbone(nn.Module):
    """The layers from the images to the maps that heads and alignments read.

    Args:
        interact: The function that makes the interaction of each slot.
    """

    def __init__(self, interact: Interact) -> None:
        super().__init__()
        self.stem = ConvNorm(3, CHANNELS[0], kernel_size=7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = [(before, after) for stage in range(3) for before, after in _stage_widths(stage)]
        self.cells = nn.ModuleList(
            Cell(before, after, 2 * index, interact) for index, (before, after) in enumerate(widths)
        )
        self.downsamplings = nn.ModuleList(halve(channels) for channels in CHANNELS[1:3])

    def forward(self, images_BCHW: Tensor, mixture: Mixture = NO_MIXTURE) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return (part map, map after each pair of cells).

        The part map is the map after the second downsampling, B×384×H/16×W/16. The others are B×256×H/4×W/4,
        B×384×H/8×W/8 and B×512×H/16×W/16.

        Args:
            images_BCHW: Normalised images.
            mixture: For each slot, the weights that its interaction receives besides the branches: none or four.
        """
        x_BCHW = self.pool(self.stem(images_BCHW))
        maps = []
        for index, cell in enumerate(self.cells):
            x_BCHW = cell(x_BCHW, mixture[2 * index : 2 * index + 2])
            if index % 2:
                maps.append(x_BCHW)
            if index in (1, 3):
                x_BCHW = part_BCHW = self.downsamplings[index // 2](x_BCHW)
        return part_BCHW, tuple(maps)


def _stage_widths(stage: int) -> tuple[tuple[int, int], tuple[int, int]]:
    before, after = CHANNELS[stage : stage + 2]
    return (before, after), (after, after)
