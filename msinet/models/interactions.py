"""How a cell's two branches exchange information: the four operations, and their mixture for the search.

Letters: B batch, C channels of a branch, H×W map, N = H·W positions. Every interaction takes the branches' maps
a and b, B×C×H×W both, and returns two maps of the same shape.
"""

import torch
from torch import Tensor, nn

from msinet.models.layers import Gate

Pair = tuple[Tensor, Tensor]


class NoInteraction(nn.Module):
    """(a, b) as they are."""

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        return a_BCHW, b_BCHW


class Exchange(nn.Module):
    """(b, a)."""

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        return b_BCHW, a_BCHW


class ChannelGate(nn.Module):
    """Each branch times its own gate; the small network that makes the gates is shared."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Gate(channels)

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        return a_BCHW * self.gate(a_BCHW), b_BCHW * self.gate(b_BCHW)


class CrossAttention(nn.Module):
    """Each branch plus γ times its channels mixed by their dissimilarity to the other branch's channels.

    γ is learned, one number, initially 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def mixed(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        """attention·branch for both branches, before γ."""
        energy_BCC = _energy(a_BCHW, b_BCHW)
        # energy of b is that of a transposed; softmax(max − energy) over a row is softmax(−energy).
        return _attend(energy_BCC, a_BCHW), _attend(energy_BCC.transpose(1, 2), b_BCHW)

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        mixed_a, mixed_b = self.mixed(a_BCHW, b_BCHW)
        gamma = self.gamma.to(a_BCHW.dtype)
        return a_BCHW + gamma * mixed_a, b_BCHW + gamma * mixed_b


class MixedInteraction(nn.Module):
    """The sum of all four operations, weighted by a slot's row of softmax(α).

    With a one-hot row it equals that one operation bit for bit: the other terms add exact zeros, and the one that
    is left goes through the same arithmetic.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_gate = ChannelGate(channels)
        self.cross_attention = CrossAttention()

    def forward(
        self, a_BCHW: Tensor, b_BCHW: Tensor, none: Tensor, gate: Tensor, attention: Tensor, exchange: Tensor
    ) -> Pair:
        """The weights are scalars, in the order of `OPERATIONS`."""
        dtype = a_BCHW.dtype
        mixed_a, mixed_b = self.cross_attention.mixed(a_BCHW, b_BCHW)
        # None, the gate and the attention's residual all scale the branch itself: one factor for each channel.
        kept = none + attention
        attended = (attention * self.cross_attention.gamma).to(dtype)
        swapped = exchange.to(dtype)

        def branch(own: Tensor, other: Tensor, mixed_own: Tensor) -> Tensor:
            scale_BC11 = (kept + gate * self.channel_gate.gate(own)).to(dtype)
            return own * scale_BC11 + attended * mixed_own + swapped * other

        return branch(a_BCHW, b_BCHW, mixed_a), branch(b_BCHW, a_BCHW, mixed_b)


def build_operation(operation: str, channels: int) -> nn.Module:
    """The interaction named `operation`, one of `OPERATIONS`, for branches of `channels` channels."""
    if operation == "channel_gate":
        return ChannelGate(channels)
    return {"none": NoInteraction, "cross_attention": CrossAttention, "exchange": Exchange}[operation]()


def _energy(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """a·bᵀ over all positions, B×C×C, in at least float32: a sum over thousands of positions, for a softmax."""
    dtype = torch.promote_types(a_BCHW.dtype, torch.float32)
    with torch.autocast(a_BCHW.device.type, enabled=False):
        return a_BCHW.flatten(2).to(dtype) @ b_BCHW.flatten(2).to(dtype).transpose(1, 2)


def _attend(energy_BCC: Tensor, x_BCHW: Tensor) -> Tensor:
    """softmax(−energy)·x. Positions before channels, so that a channels-last map stays one."""
    attention_BCC = torch.softmax(-energy_BCC, dim=-1).to(x_BCHW.dtype)
    x_BNC = x_BCHW.flatten(2).transpose(1, 2)
    return (x_BNC @ attention_BCC.transpose(1, 2)).transpose(1, 2).unflatten(2, x_BCHW.shape[2:])
