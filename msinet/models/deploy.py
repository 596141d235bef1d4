"""The form that a trained network is used in: nothing that only training needs."""

import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


@torch.no_grad()
def deployed(model: nn.Module) -> nn.Module:
    """A copy of a trained network for `embed` alone, the same up to rounding.

    Batch norms are folded into the convolutions before them, classifiers are cut off, and the weights lie in
    channels-last memory, fixed.

    Args:
        model: Any network of `build_model`; it stays as it is.
    """
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        _fold(module)
        if isinstance(getattr(module, "classifier", None), nn.Linear):
            setattr(module, "classifier", None)  # noqa: B010 - the type says a layer
    return model.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]


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
