"""MSINet, the network that a search derives. Letters: B batch, C channels, H×W map, D embedding."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from msinet.genotype import Genotype
from msinet.models.interactions import build_operation
from msinet.models.layers import Outputs, global_pool, initialise, neck
from msinet.models.skeleton import Backbone
from msinet.spaces import Space, as_space

PART_CHANNELS = 128  # at width 1


class Head(nn.Module):
    """A linear layer without bias, a neck, and a classifier with bias (no classifier where `num_classes` is 0)."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)
        self.neck = neck(dim)
        self.classifier = nn.Linear(dim, num_classes) if num_classes else None

    def after_neck(self, feature_BD: Tensor) -> Tensor:
        return self.neck(self.linear(feature_BD))

    def forward(self, feature_BD: Tensor) -> Tensor:
        """Return the logits, B×num_classes."""
        if self.classifier is None:
            raise ValueError("logits need a classifier, but the network was built with num_classes=0.")
        return self.classifier(self.after_neck(feature_BD))


class MSINet(nn.Module):
    """MSINet with the interactions of `genotype` (Gu et al., CVPR 2023).

    It has two heads. The global head reads the mean of the last map (512 numbers). The part head reads the means of the
    upper and of the lower half of the map after the second downsampling, reduced to 128 channels (256 numbers). With an
    odd number of rows the lower half has one row more. In a space of another width all these numbers are multiplied by
    it.

    Args:
        genotype: The operation of each slot: a `Genotype`, or a text as `Genotype.parse` reads it, such as a published
            name or twelve letters.
        num_classes: Number of identities that the classifiers distinguish; 0 builds no classifiers.
        space: The space of a genotype that is given as text: a `Space`, its document, or its name; by default the
            paper's.

    Attributes:
        map_channels: Number of channels of the last map, 512 in the paper's space.
    """

    def __init__(
        self, genotype: Genotype | str, num_classes: int, space: Space | Mapping[str, Any] | str | None = None
    ) -> None:
        super().__init__()
        self.genotype = genotype if isinstance(genotype, Genotype) else Genotype.parse(genotype, as_space(space))
        operations, space = self.genotype.operations, self.genotype.space
        num_branches = len(space.scales)
        self.backbone = Backbone(
            lambda slot, channels: build_operation(operations[slot], channels, num_branches), space
        )
        *_, third, self.map_channels = space.channels
        part_channels = int(PART_CHANNELS * space.width)
        self.part_conv = nn.Conv2d(third, part_channels, 1)
        self.global_head = Head(self.map_channels, num_classes)
        self.part_head = Head(2 * part_channels, num_classes)
        initialise(self)

    def maps(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return (part map, last map): B×384×H/16×W/16 and B×512×H/16×W/16."""
        part_BCHW, maps = self.backbone(images_BCHW)
        return part_BCHW, maps[-1]

    def forward(self, images_BCHW: Tensor) -> Outputs:
        """Return features and logits of the global and the part head, and the map after each pair of cells."""
        part_BCHW, maps = self.backbone(images_BCHW)
        features = self._features(part_BCHW, maps[-1])
        logits = (self.global_head(features[0]), self.part_head(features[1]))
        return Outputs(features, logits, maps)

    def feature_map(self, images_BCHW: Tensor) -> Tensor:
        """Return the last map, B×512×H/16×W/16; unlike `forward` it needs no classifier."""
        return self.maps(images_BCHW)[1]

    def embed(self, images_BCHW: Tensor, after_neck: bool = False) -> Tensor:
        """Return the retrieval embedding, B×768: global, then part; not normalised. Use it in evaluation mode.

        Args:
            images_BCHW: Normalised images.
            after_neck: Take both features after their necks.
        """
        global_BD, part_BD = self._features(*self.maps(images_BCHW))
        if after_neck:
            global_BD, part_BD = self.global_head.after_neck(global_BD), self.part_head.after_neck(part_BD)
        return torch.cat((global_BD, part_BD), dim=1)

    def _features(self, part_BCHW: Tensor, last_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        part_BCHW = self.part_conv(part_BCHW)
        middle = part_BCHW.shape[2] // 2
        halves = (global_pool(part_BCHW[:, :, :middle]), global_pool(part_BCHW[:, :, middle:]))
        return global_pool(last_BCHW), torch.cat(halves, dim=1)
