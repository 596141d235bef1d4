"""The form that a trained network is used in: nothing that only training needs.

Letters: B batch, C channels, H×W map.
"""

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from msinet.models.layers import ConvNorm
from msinet.models.skeleton import Backbone, Cell, Mixture


@torch.no_grad()
def deployed(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of a trained network for `embed` alone, the same up to rounding.

    Batch norms are folded into the convolutions before them, the convolutions that a cell sums become one,
    classifiers are cut off, and the weights lie in channels-last memory, fixed.

    Args:
        model: Any network of `build_model`; it stays as it is.
        dtype: Of the weights, and of the images that `embed` takes: bfloat16 takes less time where the processor or
            the GPU computes in it.
    """
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        _fold(module)
        if isinstance(getattr(module, "classifier", None), nn.Linear):
            setattr(module, "classifier", None)  # noqa: B010 - the type says a layer
    for module in list(model.modules()):
        if isinstance(module, Backbone):
            module.cells = nn.ModuleList(DeployedCell(cell) for cell in module.cells if isinstance(cell, Cell))
    return model.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]


class DeployedCell(nn.Module):
    """A folded cell whose 1×1 convolutions at the end are one: fewer maps are written and read.

    Args:
        cell: Its branches are kept, not copied.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.widens = isinstance(cell.shortcut, ConvNorm)
        last = [part.conv for part in (cell.leave_a, cell.leave_b, cell.shortcut) if isinstance(part, ConvNorm)]
        weight = torch.cat([conv.weight for conv in last], 1)
        bias = torch.stack([conv.bias for conv in last if conv.bias is not None]).sum(0)
        self.leave = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
        self.leave.weight, self.leave.bias = nn.Parameter(weight), nn.Parameter(bias)
        del cell.leave_a, cell.leave_b, cell.shortcut

    def forward(self, x_BCHW: Tensor, mixture: Mixture) -> Tensor:
        """The cell's map."""
        branches = self.cell.branches(x_BCHW, mixture)
        if self.widens:
            return self.leave(torch.cat([*branches, x_BCHW], 1)).relu_()
        return self.leave(torch.cat(branches, 1)).add_(x_BCHW).relu_()


def _fold(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it: our networks define layers in the order they apply them."""
    children = list(module.named_children())
    for (_, conv), (name, norm) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            setattr(module, name, nn.Identity())
