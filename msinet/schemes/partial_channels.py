"""The mixture on a part of the channels: PC-DARTS.

Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020,
arXiv 1907.05737.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msinet.schemes.mixture import softmax_mixture
from msinet.schemes.scheme import Moment, Scheme
from msinet.settings import require, require_choice

if TYPE_CHECKING:
    from torch import Tensor

    from msinet.schemes.scheme import Mixture

Divisor = Literal[2, 4]


@dataclass(frozen=True, kw_only=True)
class PartialChannels(Scheme):
    """One k-th of each branch's channels passes through the operations; the others pass by. The genotype is α's argmax.

    Two parts of the paper do not apply to this space. Edge normalisation weighs the edges that enter a node, and here
    each slot has one input. Channel shuffle gives all channels their turn, and here a 1×1 convolution over all
    channels follows each slot, which learns any order. The operations are narrower than in the derived network, so its
    weights cannot be taken from this supernet.

    Attributes:
        k: 2 or 4; 4 is the paper's for CIFAR-10. The narrowest gate could not be divided further.
        frozen: Share of the epochs, the first ones, in which only the weights are trained; the paper's is 15 of 50.
    """

    name: Literal["partial_channels"] = "partial_channels"
    k: Divisor = 4
    frozen: float = 0.3

    def __post_init__(self) -> None:
        require_choice(self, Divisor, "k")
        require(self, "0 to below 1", lambda x: 0 <= x < 1, "frozen")

    @property
    def channel_divisor(self) -> int:
        return self.k

    def trains_alphas(self, epoch: int, epochs: int) -> bool:
        return epoch >= self.frozen * epochs

    def mixture(self, alphas_SO: "Tensor", moment: Moment) -> "Mixture":
        return softmax_mixture(alphas_SO)
