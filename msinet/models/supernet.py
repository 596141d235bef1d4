"""The weight-sharing network of the search. Letters: B batch, C channels, H×W map, D feature, S slots, O operations."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from msinet.genotype import Genotype
from msinet.models.layers import global_pool, initialise, neck
from msinet.models.mixtures import build_mixture
from msinet.models.msinet import MSINet
from msinet.models.skeleton import Backbone, Mixture
from msinet.schemes.mixture import softmax_mixture
from msinet.spaces.operations import LETTER_OF
from msinet.spaces.space import NUM_SLOTS, PAPER_SPACE, Space

ALPHA_STD = 1e-3


class Supernet(nn.Module):
    """A space's skeleton with all operations that a slot offers, by default summed with the weights softmax(α).

    Args:
        num_classes: Number of identities, for the softmax supervision: a neck and a classifier without bias are
            built. With None neither is built, because the contrastive supervision compares features.
        channel_divisor: One k-th of a branch's channels passes through the operations; by default all of them.
        space: The search space; by default the paper's.

    Attributes:
        num_classes, channel_divisor, space: The arguments.
        choices: For each slot, the columns of α whose operations it offers.
        alphas: The architecture parameters, 12 rows with one number for each of `space.columns` (12×4 in the paper's
            space), drawn from 1e-3·N(0, 1). Numbers of operations that a slot does not offer are not used.
        feature_dim: Number of values of a feature, 512 in the paper's space.
    """

    def __init__(self, num_classes: int | None = None, channel_divisor: int = 1, space: Space = PAPER_SPACE) -> None:
        super().__init__()
        self.num_classes, self.channel_divisor, self.space = num_classes, channel_divisor, space
        self.choices = tuple(tuple(map(space.columns.index, offered)) for offered in space.operations)
        self.feature_dim = space.channels[-1]
        self.backbone = Backbone(lambda slot, channels: build_mixture(space, slot, channels, channel_divisor), space)
        self.neck = neck(self.feature_dim) if num_classes else None
        self.classifier = nn.Linear(self.feature_dim, num_classes, bias=False) if num_classes else None
        initialise(self, linear_std=0.001)
        self.alphas = nn.Parameter(ALPHA_STD * torch.randn(NUM_SLOTS, len(space.columns)))

    def offered_alphas(self) -> Tensor:
        """Return α, with −∞ for the operations that a slot does not offer, so that their softmax is 0."""
        if all(len(columns) == len(self.space.columns) for columns in self.choices):
            return self.alphas
        lacking_SO = torch.ones_like(self.alphas, dtype=torch.bool)
        for row_O, columns in zip(lacking_SO, self.choices, strict=True):
            row_O[list(columns)] = False
        return self.alphas.masked_fill(lacking_SO, -torch.inf)

    def maps(self, images_BCHW: Tensor, mixture: Mixture | None = None) -> tuple[Tensor, Tensor]:
        """Return (part map, last map): B×384×H/16×W/16 and B×512×H/16×W/16, with fewer channels in a narrower space.

        Args:
            images_BCHW: Normalised images.
            mixture: For each slot, the weights of the operations of α's columns; by default softmax(α).
        """
        mixture = softmax_mixture(self.offered_alphas()) if mixture is None else mixture
        part_BCHW, maps = self.backbone(images_BCHW, mixture)
        return part_BCHW, maps[-1]

    def forward(self, images_BCHW: Tensor, mixture: Mixture | None = None) -> Tensor:
        """Return the feature, B×512: the mean of the last map, not normalised. The arguments are those of `maps`."""
        return global_pool(self.maps(images_BCHW, mixture)[1])

    def logits(self, features_BD: Tensor) -> Tensor:
        """Return the scores of the identities, B×num_classes, for the softmax supervision.

        Raises:
            ValueError: The supernet was built without `num_classes`.
        """
        if self.neck is None or self.classifier is None:
            raise ValueError("the softmax supervision needs a supernet built with num_classes, but it has none.")
        return self.classifier(self.neck(features_BD))

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """Return every trained parameter except `alphas`."""
        return (p for p in self.parameters() if p is not self.alphas and p.requires_grad)

    def derive(self) -> Genotype:
        """Return the genotype of the operations with the largest α in each slot; ties go to the first operation."""
        return Genotype.from_alphas(self.alphas.detach(), self.space)

    def load_into(self, network: MSINet) -> None:
        """Copy the weights that `network` shares with this supernet: its whole backbone, for any genotype.

        Raises:
            ValueError: The operations of this supernet are narrower than those of `network`.
        """
        if self.channel_divisor != 1:
            raise ValueError(
                "a network can take its weights only from a supernet whose operations have all channels, but those of "
                f"this one have one {self.channel_divisor}th (search.scheme)."
            )
        shared = {_without_operation(key): value for key, value in self.backbone.state_dict().items()}
        network.backbone.load_state_dict({key: shared[key] for key in network.backbone.state_dict()})


def _without_operation(key: str) -> str:
    """Return the derived network's name of a weight. It has one operation in a slot and does not name it."""
    return re.sub(rf"\.({'|'.join(LETTER_OF)})\.", ".", key)
