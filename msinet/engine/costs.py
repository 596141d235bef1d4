"""What genotypes cost: parameters and multiply-accumulates exactly, latency by a measured table.

All three are sums over the slots. Letters: S slots, O operations.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from msinet.engine.measure import device_name, gmacs, timed
from msinet.engine.memory import kept_memory
from msinet.genotype import LETTERS, NUM_SLOTS, OPERATIONS
from msinet.models import MSINet, count_parameters
from msinet.models.deploy import deployed
from msinet.models.interactions import build_operation
from msinet.models.skeleton import Backbone
from msinet.schemes.one_shot import LatencyTable
from msinet.schemes.scheme import Cost, Path

WITHOUT = LETTERS[OPERATIONS.index("none")] * NUM_SLOTS
"""The genotype with the operation `none` in every slot."""


@dataclass(frozen=True)
class CostTable:
    """Parameters and multiply-accumulates of every genotype, for one picture size.

    Attributes:
        base: Cost of the genotype `WITHOUT`.
        added_SO: What each operation adds in each slot.
    """

    base: Cost
    added_SO: tuple[tuple[Cost, ...], ...]

    def __call__(self, path: Path) -> Cost:
        """Return the cost of a genotype."""
        parts = [self.base, *(row[column] for row, column in zip(self.added_SO, path, strict=True))]
        return Cost(*map(sum, zip(*parts, strict=True)))


@cache
def cost_table(image_size: tuple[int, int]) -> CostTable:
    """Return the costs for pictures of (height, width)."""
    with torch.device("meta"):  # the network is counted without computing anything
        network, image_1CHW = MSINet(WITHOUT, 0), torch.zeros(1, 3, *image_size)
        base = Cost(count_parameters(network), gmacs(lambda: network.embed(image_1CHW)))
    shapes = slot_shapes(image_size)
    costs = {shape: tuple(_cost_of(operation, shape) for operation in OPERATIONS) for shape in set(shapes)}
    return CostTable(base, tuple(costs[shape] for shape in shapes))


def _cost_of(name: str, shape: Sequence[int]) -> Cost:
    operation, maps = build_operation(name, shape[1]), torch.zeros(2, *shape)
    return Cost(count_parameters(operation), gmacs(lambda: operation(*maps)))


def slot_shapes(image_size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Return for each slot the shape 1×C×H×W of the two maps that its interaction receives."""
    shapes = []

    class Seen(nn.Module):
        def forward(self, a_BCHW: Tensor, b_BCHW: Tensor) -> tuple[Tensor, Tensor]:
            shapes.append(tuple(a_BCHW.shape))
            return a_BCHW, b_BCHW

    with torch.device("meta"):
        Backbone(lambda slot, channels: Seen())(torch.zeros(1, 3, *image_size))
    return shapes  # type: ignore[return-value]


def measure_latencies(image_size: tuple[int, int], device: torch.device, batch_size: int = 1) -> LatencyTable:
    """Measure a latency table on a device that does nothing else.

    The base is a whole network in the form that evaluations use. Each operation is measured alone on maps of its slot's
    size, because the difference of two whole networks would drown in noise. Slots of one size are measured once.

    Args:
        image_size: (height, width) in pixels.
        device: Device to measure on.
        batch_size: Number of pictures that are embedded at once.
    """
    network = deployed(MSINet(WITHOUT, 0).to(device).eval())
    images_BCHW = torch.randn(batch_size, 3, *image_size, device=device).to(memory_format=torch.channels_last)
    measured: dict[tuple[int, ...], tuple[float, ...]] = {}
    with torch.no_grad(), kept_memory():
        base = _median_ms(lambda: network.embed(images_BCHW), device)  # type: ignore[operator]
        shapes = slot_shapes(image_size)
        for shape in dict.fromkeys(shapes):
            maps = [
                torch.randn(batch_size, *shape[1:], device=device).to(memory_format=torch.channels_last)
                for _ in range(2)
            ]
            measured[shape] = tuple(_operation_ms(operation, maps, device) for operation in OPERATIONS)
    return LatencyTable(
        device=device_name(device),
        image_size=image_size,
        batch_size=batch_size,
        base_ms=base,
        operations_ms=tuple(measured[shape] for shape in shapes),
    )


def _operation_ms(operation: str, maps: Sequence[Tensor], device: torch.device) -> float:
    """Return the milliseconds of an operation; those that only pass the maps on take none."""
    if operation in ("none", "exchange"):
        return 0.0
    module = build_operation(operation, maps[0].shape[1]).to(device).eval()
    return _median_ms(lambda: module(*maps), device)


def _median_ms(run: Callable[[], object], device: torch.device) -> float:
    return 1e3 * statistics.median(timed(run, device))
