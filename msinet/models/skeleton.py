"""Six cells with two interactions each: the skeleton that the supernet and the derived network share.

Letters: B batch, C channels, H×W map.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from msinet.models.layers import ConvNorm, halve, light_chain
from msinet.spaces.space import NUM_SLOTS, PAPER_SPACE, Space

BRANCHES = "abcd"
"""Names of a cell's branches, in the order of their scales."""

Interact = Callable[[int, int], nn.Module]
"""A function that makes an interaction from (slot, channels of a branch)."""

Mixture = Sequence[Sequence[Tensor | float | None]]
"""For each slot, the weights that its interaction receives besides the branches: none, or one for each column of α.

An operation whose weight is None is not computed.
"""

NO_MIXTURE: Mixture = ((),) * NUM_SLOTS


class Cell(nn.Module):
    """A cell of several branches with two interactions.

    Each branch runs two chains of light blocks, which see `scale` positions across: in the paper 3 in branch a and 7 in
    branch b. An interaction follows the first chains, and one the second chains. The cell's map is the sum of all
    branches and the input.

    Args:
        in_channels, out_channels: Channels of the input and of the cell's map.
        slot: Index of the first of its two slots.
        interact: The function that makes the interaction of each slot.
        scales: The scale of each branch.
        instance_norm: Whether the sum of the branches is normalised for each picture alone before the input is added,
            instead of each branch over the batch (Zhou et al., OSNet-AIN, arXiv 1910.06827).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        slot: int,
        interact: Interact,
        scales: Sequence[int] = PAPER_SPACE.scales,
        instance_norm: bool = False,
    ) -> None:
        super().__init__()
        width = out_channels // 4
        self.names = BRANCHES[: len(scales)]
        for name in self.names:
            self.add_module(f"enter_{name}", ConvNorm(in_channels, width))
        for half in ("first", "second"):
            for name, scale in zip(self.names, scales, strict=True):
                self.add_module(f"{half}_{name}", light_chain(width, scale // 2))
            self.add_module(f"{half}_interaction", interact(slot + (half == "second"), width))
        for name in self.names:
            # Nothing is built that is not used, because building draws the initial weights of all that follows.
            leave: nn.Module = (
                nn.Conv2d(width, out_channels, 1, bias=False)
                if instance_norm
                else ConvNorm(width, out_channels, linear=True)
            )
            self.add_module(f"leave_{name}", leave)
        # One group for each channel is instance normalisation, which keeps channels-last memory in this form.
        self.norm = nn.GroupNorm(out_channels, out_channels) if instance_norm else None
        changes = in_channels != out_channels
        self.shortcut = ConvNorm(in_channels, out_channels, linear=True) if changes else nn.Identity()

    def forward(self, x_BCHW: Tensor, mixture: Mixture) -> Tensor:
        """Return the cell's map; `mixture` holds the entries of its two slots."""
        first, *others = (
            leave(branch) for leave, branch in zip(self.leaves, self.branches(x_BCHW, mixture), strict=True)
        )
        # In place, because these are the widest maps. No gradient needs the sums before the last one.
        for other in others:
            first.add_(other)
        if self.norm is not None:
            first = self.norm(first)
        return first.add_(self.shortcut(x_BCHW)).relu_()

    def branches(self, x_BCHW: Tensor, mixture: Mixture) -> tuple[Tensor, ...]:
        """Return all branches after the second interaction, each with a quarter of the channels of the cell's map."""
        branches = [enter(x_BCHW) for enter in self._each("enter")]
        for half, weights in zip(("first", "second"), mixture, strict=True):
            chained = [chain(branch) for chain, branch in zip(self._each(half), branches, strict=True)]
            branches = getattr(self, f"{half}_interaction")(*chained, *weights)
        return tuple(branches)

    @property
    def leaves(self) -> list[nn.Module]:
        """Return the last convolution of each branch."""
        return self._each("leave")

    def _each(self, part: str) -> list[nn.Module]:
        return [getattr(self, f"{part}_{name}") for name in self.names]


class Backbone(nn.Module):
    """The layers from the images to the maps that heads and alignments read.

    Args:
        interact: The function that makes the interaction of each slot.
        space: The space, which states branches, channels and norms.
    """

    def __init__(self, interact: Interact, space: Space = PAPER_SPACE) -> None:
        super().__init__()
        channels = space.channels
        self.stem = ConvNorm(3, channels[0], kernel_size=7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = [pair for before, after in pairwise(channels) for pair in ((before, after), (after, after))]
        self.cells = nn.ModuleList(
            Cell(before, after, 2 * index, interact, space.scales, index + 1 in space.instance_norm)
            for index, (before, after) in enumerate(widths)
        )
        self.downsamplings = nn.ModuleList(halve(between) for between in channels[1:3])

    def forward(self, images_BCHW: Tensor, mixture: Mixture = NO_MIXTURE) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return (part map, map after each pair of cells).

        The part map is the map after the second downsampling, B×384×H/16×W/16. The others are B×256×H/4×W/4,
        B×384×H/8×W/8 and B×512×H/16×W/16. In a narrower space they have fewer channels.

        Args:
            images_BCHW: Normalised images.
            mixture: For each slot, the weights that its interaction receives besides the branches.
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
