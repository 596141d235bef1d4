"""The four operations by which a cell's two branches exchange information, and their mixture for the search.

Letters: B batch, C channels of a branch, H×W map, N = H·W positions. Every interaction takes the maps a and b of the
branches, both B×C×H×W, and returns two maps of the same shape.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from msinet.models.layers import Gate

Pair = tuple[Tensor, Tensor]


class NoInteraction(nn.Module):
    """The operation `none`, which returns (a, b)."""

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        return a_BCHW, b_BCHW


class Exchange(nn.Module):
    """The operation `exchange`, which returns (b, a)."""

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        return b_BCHW, a_BCHW


class ChannelGate(nn.Module):
    """The operation `channel_gate`, which multiplies each branch by its gate. One small network makes both gates."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Gate(channels)

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        return a_BCHW * self.gate(a_BCHW), b_BCHW * self.gate(b_BCHW)


class CrossAttention(nn.Module):
    """The operation `cross_attention`, which adds γ times a mixture of its own channels to each branch.

    The weights of the mixture come from the dissimilarity of the branch's channels to the other branch's channels. γ is
    one learned number, initially 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def attention(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        """Return the weights of both mixtures, B×C×C: how much each channel (row) receives of each channel (column)."""
        energy_BCC = _Energy.apply(a_BCHW, b_BCHW)
        # The energy of b is the transpose of the energy of a. softmax(max − energy) over a row is softmax(−energy).
        return torch.softmax(-energy_BCC, dim=-1), torch.softmax(-energy_BCC.transpose(1, 2), dim=-1)

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Pair:
        attention_a, attention_b = self.attention(a_BCHW, b_BCHW)
        itself_CC = torch.eye(a_BCHW.shape[1], device=a_BCHW.device)
        return (
            _mix_channels(self.gamma * attention_a + itself_CC, a_BCHW),
            _mix_channels(self.gamma * attention_b + itself_CC, b_BCHW),
        )


class MixedInteraction(nn.Module):
    """The sum of all four operations, weighted by a slot's row of softmax(α).

    `none`, `channel_gate` and `cross_attention` all mix a branch's own channels, so together they are one matrix for
    each image. The product of this matrix with the branch is the only map that is written besides the exchange.

    With a one-hot row the result equals that of the one operation bit for bit: the other terms add exact zeros, and
    the remaining term is computed in the same way.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_gate = ChannelGate(channels)
        self.cross_attention = CrossAttention()

    def forward(
        self, a_BCHW: Tensor, b_BCHW: Tensor, none: Tensor, gate: Tensor, attention: Tensor, exchange: Tensor
    ) -> Pair:
        """Return both mixed branches. The weights are scalars, in the order of `OPERATIONS`."""
        attention_a, attention_b = self.cross_attention.attention(a_BCHW, b_BCHW)
        kept, attended = none + attention, attention * self.cross_attention.gamma
        swapped = exchange.to(a_BCHW.dtype)

        def branch(own: Tensor, other: Tensor, attention_BCC: Tensor) -> Tensor:
            scale_BC = (kept + gate * self.channel_gate.gate(own)).flatten(1)
            mixed_BCHW = _mix_channels(attended * attention_BCC + scale_BC.diag_embed(), own)
            return torch.addcmul(mixed_BCHW, other, swapped)

        return branch(a_BCHW, b_BCHW, attention_a), branch(b_BCHW, a_BCHW, attention_b)


def build_operation(operation: str, channels: int) -> nn.Module:
    """Build the interaction `operation`, one of `OPERATIONS`, for branches of `channels` channels."""
    if operation == "channel_gate":
        return ChannelGate(channels)
    return {"none": NoInteraction, "cross_attention": CrossAttention, "exchange": Exchange}[operation]()


def _mix_channels(weight_BCC: Tensor, x_BCHW: Tensor) -> Tensor:
    """Return weight·x at every position. Positions come before channels, so a channels-last map stays channels-last."""
    return _maps(_positions(x_BCHW) @ weight_BCC.to(x_BCHW.dtype).transpose(1, 2), x_BCHW)


class _Energy(torch.autograd.Function):
    """The product a·bᵀ over all positions, B×C×C.

    It is computed in at least float32, because it sums over thousands of positions and feeds a softmax. If the maps use
    channels-last memory, so do their gradients. The gradients of PyTorch's own product do not, and would have to be
    transposed for every sum of gradients.
    """

    @staticmethod
    def forward(ctx: Any, a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
        ctx.save_for_backward(a_BCHW, b_BCHW)
        dtype = torch.promote_types(a_BCHW.dtype, torch.float32)
        with torch.autocast(a_BCHW.device.type, enabled=False):
            return _positions(a_BCHW).to(dtype).transpose(1, 2) @ _positions(b_BCHW).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, energy_BCC: Tensor) -> tuple[Tensor, Tensor]:
        a_BCHW, b_BCHW = ctx.saved_tensors
        energy_BCC = energy_BCC.to(a_BCHW.dtype)
        a_BNC, b_BNC = _positions(b_BCHW) @ energy_BCC.transpose(1, 2), _positions(a_BCHW) @ energy_BCC
        return _maps(a_BNC, a_BCHW), _maps(b_BNC, b_BCHW)


def _positions(x_BCHW: Tensor) -> Tensor:
    """Return x with positions before channels, B×N×C."""
    return x_BCHW.flatten(2).transpose(1, 2)


def _maps(x_BNC: Tensor, like_BCHW: Tensor) -> Tensor:
    """Return x as maps B×C×H×W of the size of `like_BCHW`."""
    return x_BNC.transpose(1, 2).unflatten(2, like_BCHW.shape[2:])
