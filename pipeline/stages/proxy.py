"""The stage `proxy`: the zero-cost figures of a network with its initial weights."""

import torch

from msinet.engine.zero_cost import zero_cost
from msinet.models import build_model
from pipeline.plan.stage import network_options
from pipeline.results import Result
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Compute the figures on the processor: no picture and no training is needed."""
    spec = context.spec
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(spec["seed"])
    model = build_model(spec["network"], num_classes=0, **network_options(spec))
    figures = zero_cost(model, tuple(spec["image_size"]))
    return {"network": spec["network"], **network_options(spec), "metrics": figures}
