"""Figures of an untrained network that cost almost nothing, and that are said to tell good architectures from bad ones.

A search must do better than choosing by one of them.
"""

import copy
import math

import torch
from torch import nn

from msinet.engine.measure import size


def zero_cost(model: nn.Module, image_size: tuple[int, int]) -> dict[str, float]:
    """Return the zero-cost figures of an untrained network of `build_model`.

    Args:
        model: The network with its initial weights.
        image_size: (height, width) of a picture in pixels.

    Returns:
        `parameters` (without classifiers), `gmacs` for one picture, and `log_synflow`, see `log_synflow`.
    """
    sizes = size(model.eval(), torch.zeros(1, 3, *image_size))
    return {**sizes, "log_synflow": log_synflow(model, image_size)}


def log_synflow(model: nn.Module, image_size: tuple[int, int]) -> float:
    """Return the natural logarithm of the synaptic flow through a network (Tanaka et al., arXiv 2006.05467).

    All weights are replaced by their absolute values, and a picture of ones is embedded. The flow is the sum over all
    weights of weight × gradient of the sum of the embedding, here in float64 because it has some fifty digits. Batch
    norms are in evaluation mode, so they only pass their input on as long as nothing was trained.

    At initial weights the γ of every cross attention is 0, so that it does nothing. No figure of an untrained network
    can therefore tell `cross_attention` from `none`.

    Args:
        model: The network with its initial weights; it is not changed.
        image_size: (height, width) of the picture in pixels.
    """
    linear = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for weight in linear.parameters():
            weight.abs_()
    # The classifiers and necks have no part in the embedding.
    weights = [weight.requires_grad_() for weight in linear.parameters()]
    ones_BCHW = torch.ones(1, 3, *image_size, dtype=torch.float64)
    flow = linear.embed(ones_BCHW).sum()  # type: ignore[operator]
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    parts = [(weight * part).sum() for weight, part in zip(weights, gradients, strict=True) if part is not None]
    return math.log(float(torch.stack(parts).sum().detach()))
