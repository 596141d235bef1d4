"""The form in which a trained network is used, without the parts that only training needs.

Letters: B batch, C channels, H×W map.
"""

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from msinet.models.layers import ConvNorm
from msinet.models.skeleton import Backbone, Cell, Mixture


@torch.no_grad()
def deployed(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy of a trained network for `embed` only. Its embeddings are the same up to rounding.

    Batch norms are folded into the convolutions before them, and the convolutions whose outputs a cell sums become
    one. Classifiers are removed. The weights are frozen and use channels-last memory.

    Args:
        model: Any network of `build_model`; it is not changed.
        dtype: Type of the weights, and of the images that `embed` takes. bfloat16 takes less time where the processor
            or the GPU computes in it.
    """
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        _fold(module)
        if isinstance(getattr(module, "classifier", None), nn.Linear):
            setattr(module, "classifier", None)  # noqa: B010 - the declared type is a layer
    for module in list(model.modules()):
        if isinstance(module, Backbone):
            module.cells = nn.ModuleList(DeployedCell(cell) for cell in module.cells if isinstance(cell, Cell))
    return model.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]


class DeployedCell(nn.Module):
    """A folded cell whose last 1×1 convolutions are merged into one, so that fewer maps are written and read.

    Args:
        cell: The folded cell. Its branches are used without a copy, and its last convolutions are deleted.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        # An instance norm stands between the sum of the branches and the shortcut, so that is not merged.
        self.merged = cell.norm is None and isinstance(cell.shortcut, ConvNorm)
        last = [_conv(part) for part in (*cell.leaves, *([cell.shortcut] if self.merged else []))]
        weight = torch.cat([conv.weight for conv in last], 1)
        bias = sum(conv.bias for conv in last) if cell.norm is None else None
        self.leave = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
        self.leave.weight = nn.Parameter(weight)
        if bias is not None:
            self.leave.bias = nn.Parameter(bias)
        for name in cell.names:
            delattr(cell, f"leave_{name}")
        if self.merged:
            del cell.shortcut

    def forward(self, x_BCHW: Tensor, mixture: Mixture) -> Tensor:
        """Return the cell's map."""
        branches = self.cell.branches(x_BCHW, mixture)
        if self.merged:
            return self.leave(torch.cat([*branches, x_BCHW], 1)).relu_()
        y_BCHW = self.leave(torch.cat(branches, 1))
        if self.cell.norm is not None:
            y_BCHW = self.cell.norm(y_BCHW)
        return y_BCHW.add_(self.cell.shortcut(x_BCHW)).relu_()


def _conv(part: nn.Module) -> Any:
    return part.conv if isinstance(part, ConvNorm) else part


def _fold(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it. Our networks define layers in the order of their use."""
    children = list(module.named_children())
    for (_, conv), (name, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            setattr(module, name, nn.Identity())
