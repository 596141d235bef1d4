"""The operations by which a cell's branches exchange information, and the paper's mixture of four for the search.

Letters: B batch, C channels of a branch, H×W map, N = H·W positions. Every interaction takes the maps of the branches,
each B×C×H×W, and returns as many maps of the same shape. The branches are in the order of their scales. The paper has
two, a and b. With more branches they form a ring where the paper's operations name "the other branch": the partner of
each branch is the next one, and the partner of the last one is the first.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from msinet.genotype import OPERATIONS
from msinet.models.layers import ConvNorm, Gate

Pair = tuple[Tensor, Tensor]
Maps = tuple[Tensor, ...]


class NoInteraction(nn.Module):
    """The operation `none`, which returns the branches: (a, b)."""

    def forward(self, *branches: Tensor) -> Maps:
        return branches


class Exchange(nn.Module):
    """The operation `exchange`, which returns for each branch its partner: (b, a)."""

    def forward(self, *branches: Tensor) -> Maps:
        return _partners(branches)


class ChannelGate(nn.Module):
    """The operation `channel_gate`, which multiplies each branch by its gate. One small network makes all gates."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Gate(channels)

    def forward(self, *branches: Tensor) -> Maps:
        return tuple(branch * self.gate(branch) for branch in branches)


class CrossAttention(nn.Module):
    """The operation `cross_attention`, which adds γ times a mixture of its own channels to each branch.

    The weights of the mixture come from the dissimilarity of the branch's channels to its partner's channels. γ is one
    learned number, initially 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def attention(self, *branches: Tensor) -> Maps:
        """Return the weights of each mixture, B×C×C: how much each channel (row) receives of each channel (column)."""
        # softmax(max − energy) over a row is softmax(−energy).
        if len(branches) == 2:  # the energy of b is the transpose of the energy of a
            energy_BCC = _Energy.apply(*branches)
            return torch.softmax(-energy_BCC, dim=-1), torch.softmax(-energy_BCC.transpose(1, 2), dim=-1)
        pairs = zip(branches, _partners(branches), strict=True)
        return tuple(torch.softmax(-_Energy.apply(own, partner), dim=-1) for own, partner in pairs)

    def forward(self, *branches: Tensor) -> Maps:
        attentions = self.attention(*branches)
        itself_CC = torch.eye(branches[0].shape[1], device=branches[0].device)
        return tuple(
            _mix_channels(self.gamma * attention_BCC + itself_CC, branch)
            for attention_BCC, branch in zip(attentions, branches, strict=True)
        )


class Sum(nn.Module):
    """The operation `sum`, which returns the sum of all branches for each of them (as Sun et al., HRNet, CVPR 2019)."""

    def forward(self, *branches: Tensor) -> Maps:
        total = branches[0]
        for branch in branches[1:]:
            total = total + branch
        return (total,) * len(branches)


class ToLarger(nn.Module):
    """The operation `to_larger`, which adds to each branch the one of the next smaller scale: (a, b + a)."""

    def forward(self, *branches: Tensor) -> Maps:
        return branches[0], *(own + smaller for smaller, own in pairwise(branches))


class ToSmaller(nn.Module):
    """The operation `to_smaller`, which adds to each branch the one of the next larger scale: (a + b, b)."""

    def forward(self, *branches: Tensor) -> Maps:
        return *(own + larger for own, larger in pairwise(branches)), branches[-1]


class ConcatProject(nn.Module):
    """The operation `concat_project`: 1×1 convolution, batch norm and ReLU over the channels of all branches together.

    Each branch receives its part of the result (as Szegedy et al., GoogLeNet, CVPR 2015, fuse scales).
    """

    def __init__(self, channels: int, num_branches: int) -> None:
        super().__init__()
        self.project = ConvNorm(num_branches * channels, num_branches * channels)

    def forward(self, *branches: Tensor) -> Maps:
        return self.project(torch.cat(branches, 1)).chunk(len(branches), 1)


class SpatialGate(nn.Module):
    """The operation `spatial_gate`, which multiplies each branch by a number in (0, 1) for each position.

    One 7×7 convolution makes all gates from the mean and the maximum over a branch's channels (Woo et al., CBAM, ECCV
    2018).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, *branches: Tensor) -> Maps:
        return tuple(branch * self.gate(branch) for branch in branches)

    def gate(self, x_BCHW: Tensor) -> Tensor:
        """Return the gate of a branch, B×1×H×W."""
        return self.conv(torch.cat([x_BCHW.mean(1, keepdim=True), x_BCHW.amax(1, keepdim=True)], 1)).sigmoid()


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
    """The mixture of all operations on the first channels of each branch. The other channels pass by unchanged.

    Args:
        channels: Number of channels of a branch.
        divisor: One `divisor`-th of the channels passes through the operations.
        build: Function that builds the mixture for a number of channels.
        num_branches: Number of branches.

    Raises:
        ValueError: The channels cannot be divided, or are too few.
    """

    def __init__(
        self,
        channels: int,
        divisor: int,
        build: Callable[[int], nn.Module] = MixedInteraction,
        num_branches: int = 2,
    ) -> None:
        super().__init__()
        self.channels, self.num_branches = channels // divisor, num_branches
        if channels % divisor or self.channels < 16:
            raise ValueError(
                "one k-th of a branch's channels must be a whole number from 16 on, but got "
                f"{channels} channels and k = {divisor} (search.scheme.k)."
            )
        self.part = build(self.channels)

    def forward(self, *branches_and_weights: Any) -> Maps:
        branches, weights = branches_and_weights[: self.num_branches], branches_and_weights[self.num_branches :]
        mixed = self.part(*(branch[:, : self.channels] for branch in branches), *weights)
        pairs = zip(mixed, branches, strict=True)
        return tuple(torch.cat((part, branch[:, self.channels :]), dim=1) for part, branch in pairs)


def build_operation(operation: str, channels: int, num_branches: int = 2) -> nn.Module:
    """Build the interaction `operation`, a name in `msinet.spaces.operations`, for branches of `channels` channels."""
    if operation == "channel_gate":
        return ChannelGate(channels)
    if operation == "concat_project":
        return ConcatProject(channels, num_branches)
    return _WITHOUT_ARGUMENTS[operation]()


_WITHOUT_ARGUMENTS: dict[str, type[nn.Module]] = {
    "none": NoInteraction,
    "cross_attention": CrossAttention,
    "exchange": Exchange,
    "sum": Sum,
    "spatial_gate": SpatialGate,
    "to_larger": ToLarger,
    "to_smaller": ToSmaller,
}


def _partners(branches: Maps) -> Maps:
    """Return for each branch the next one, and for the last one the first."""
    return branches[1:] + branches[:1]


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
