"""The size and speed of a network on a device: the figures beside Table 8."""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msinet.engine.memory import kept_memory
from msinet.models import count_parameters
from msinet.models.deploy import deployed

WARMUP, REPEATS = 3, 15


def device_name(device: torch.device) -> str:
    """Return the device's name as its maker gives it: `NVIDIA H100`, or the model of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure(
    model: nn.Module,
    image_size: tuple[int, int],
    device: torch.device,
    batch_size: int,
    embed: Callable[[Tensor], object] | None = None,
) -> dict[str, float]:
    """Measure parameters, multiply-accumulates and the time to embed a batch in the form that evaluations use.

    Args:
        model: Any network of `build_model`.
        image_size: (height, width) in pixels.
        device: Device to measure on.
        batch_size: Number of pictures in a batch.
        embed: Function that is timed, for another runtime than PyTorch; by default a copy in the form of `deployed`.

    Returns:
        `parameters` (without classifiers), `gmacs` for one picture, `latency_ms` of one batch (median of 15 runs after
        3 warm-up runs), `latency_ms_iqr` (its interquartile range), `images_per_second` at the median.
    """
    model = model.to(device).eval()
    run: Any = embed or deployed(model).embed
    images_BCHW = torch.randn(batch_size, 3, *image_size, device=device).to(memory_format=torch.channels_last)
    with torch.no_grad(), kept_memory():
        sizes = size(model, images_BCHW[:1])
        seconds = timed(lambda: run(images_BCHW), device)
    first, median, third = statistics.quantiles(seconds, n=4)
    return {
        **sizes,
        "latency_ms": 1e3 * median,
        "latency_ms_iqr": 1e3 * (third - first),
        "images_per_second": batch_size / median,
    }


@torch.no_grad()
def size(model: nn.Module, image_BCHW: Tensor) -> dict[str, float]:
    """Return the `parameters` without classifiers, and the `gmacs` for one picture, as `measure` does.

    Args:
        model: Any network of `build_model` in evaluation mode.
        image_BCHW: One picture, on the network's device.
    """
    return {"parameters": count_parameters(model), "gmacs": gmacs(lambda: model.embed(image_BCHW))}  # type: ignore[operator]


@torch.no_grad()
def gmacs(run: Callable[[], object]) -> float:
    """Return the multiply-accumulates of what `run` computes, in 10⁹."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2e9


def timed(run: Callable[[], object], device: torch.device) -> list[float]:
    """Return the seconds of 15 runs on a device, after 3 warm-up runs."""
    return [_seconds(run, device) for _ in range(WARMUP + REPEATS)][WARMUP:]


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
