"""The four operations by which a cell's two branches exchange information, and their mixture for the search.

Letters: B batch, C channels of a branch, H×W map, N = H·W positions. Every interaction takes the maps a and b of the
branches, both B×C×H×W, and returns two maps of the same shape.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from msinet.genotype import OPERATIONS
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

    If some weights are None, only the other operations are computed, one after another.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel_gate = ChannelGate(channels)
        self.cross_attention = CrossAttention()

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor, *weights: Tensor | float | None) -> Pair:
        """Return both mixed branches. The weights are scalars or None, in the order of `OPERATIONS`."""
        if any(weight is None for weight in weights):
            return self._some(a_BCHW, b_BCHW, weights)
        return self._all(a_BCHW, b_BCHW, *weights)  # type: ignore[arg-type]

    def operation(self, name: str) -> nn.Module:
        """Return the operation `name`, with the weights that it has here."""
        own = dict(self.named_children())
        return own[name] if name in own else build_operation(name, 0)

    def _some(self, a_BCHW: Tensor, b_BCHW: Tensor, weights: Sequence[Tensor | float | None]) -> Pair:
        total: Pair | None = None
        for name, weight in zip(OPERATIONS, weights, strict=True):
            if weight is None:
                continue
            a, b = self.operation(name)(a_BCHW, b_BCHW)
            # The weight 1 of a path that is drawn without α costs nothing.
            pair = (a, b) if isinstance(weight, float) and weight == 1 else (weight * a, weight * b)
            total = pair if total is None else (total[0] + pair[0], total[1] + pair[1])
        if total is None:
            raise ValueError("a slot must compute at least one operation, but all its weights are None.")
        return total

    def _all(
        self, a_BCHW: Tensor, b_BCHW: Tensor, none: Tensor, gate: Tensor, attention: Tensor, exchange: Tensor
    ) -> Pair:
        attention_a, attention_b = self.cross_attention.attention(a_BCHW, b_BCHW)
        kept, attended = none + attention, attention * self.cross_attention.gamma
        swapped = exchange.to(a_BCHW.dtype)

        def branch(own: Tensor, other: Tensor, attention_BCC: Tensor) -> Tensor:
            scale_BC = (kept + gate * self.channel_gate.gate(own)).flatten(1)
            mixed_BCHW = _mix_channels(attended * attention_BCC + scale_BC.diag_embed(), own)
            return torch.addcmul(mixed_BCHW, other, swapped)

        return branch(a_BCHW, b_BCHW, attention_a), branch(b_BCHW, a_BCHW, attention_b)


class PartialInteraction(nn.Module):
    """The mixture of all operations on the first channels of both branches. The other channels pass by unchanged.

    Args:
        channels: Number of channels of a branch.
        divisor: One `divisor`-th of the channels passes through the operations.

    Raises:
        ValueError: The channels cannot be divided, or are too few.
    """

    def __init__(self, channels: int, divisor: int) -> None:
        super().__init__()
        self.channels = channels // divisor
        if channels % divisor or self.channels < 16:
            raise ValueError(
                "one k-th of a branch's channels must be a whole number from 16 on, but got "
                f"{channels} channels and k = {divisor} (search.scheme.k)."
            )
        self.part = MixedInteraction(self.channels)

    def forward(self, a_BCHW: Tensor, b_BCHW: Tensor, *weights: Tensor | float | None) -> Pair:
        a, b = self.part(a_BCHW[:, : self.channels], b_BCHW[:, : self.channels], *weights)
        passed_a, passed_b = a_BCHW[:, self.channels :], b_BCHW[:, self.channels :]
        return torch.cat((a, passed_a), dim=1), torch.cat((b, passed_b), dim=1)


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
