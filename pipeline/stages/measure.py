"""The stage `measure`: size and speed of a network on one device."""

from msinet.engine.measure import device_name, measure
from msinet.models import build_model
from pipeline.plan.stage import network_options
from pipeline.results import Result
from pipeline.stages.inputs import device_of, in_other_runtime
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Time a network on the device, and in the runtime, that the specification names."""

    spec, device = context.spec, device_of(context.spec)
    if (found := device_name(device)) != spec["device"]:
        raise ValueError(f"this measurement must run on {spec['device']!r}, but was placed on {found!r}.")
    model = build_model(spec["network"], num_classes=0, **network_options(spec))
    batch_size = spec.get("batch_size") or (64 if device.type == "cuda" else 8)
    embed = in_other_runtime(context, model, spec["network"], network_options(spec), device, "runtime")
    figures = measure(model, tuple(spec["image_size"]), device, batch_size, embed)
    return {"network": spec["network"], **network_options(spec), "metrics": {**figures, "batch_size": batch_size}}
