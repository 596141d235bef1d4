"""How fast this machine searches, trains and evaluates, on random pictures: `python benchmarks/speed.py --help`."""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from msinet.data.loaders import TrainBatches
from msinet.data.packed import ImageStore
from msinet.data.samplers import IdentityBatches
from msinet.engine.evaluate import embed
from msinet.engine.recipes import BatchRecipe, SearchRecipe, TrainRecipe
from msinet.engine.search import Search
from msinet.engine.train import Training
from msinet.metrics import evaluate_ranking
from msinet.models import build_model
from msinet.models.supernet import Supernet

WARM_UP = 2  # runs before the timed ones: kernels are compiled and chosen, caches filled
HEADER = ["what", "items", "median ms", "fastest to slowest", "items/s", "GMAC/image"]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What a run does.
        items: How many images (or queries, of a ranking) a run goes through.
        seconds: Of each timed run.
        macs: Multiply-accumulates of one image's forward pass, where there is one.
    """

    what: str
    items: int
    seconds: list[float]
    macs: float | None = None

    def cells(self) -> list[str]:
        median, low, high = (1e3 * f(self.seconds) for f in (statistics.median, min, max))
        macs = f"{self.macs / 1e9:.3f}" if self.macs else "-"
        rate = f"{1e3 * self.items / median:,.1f}"
        return [self.what, f"{self.items:,}", f"{median:,.1f}", f"{low:,.1f} to {high:,.1f}", rate, macs]


def timed(run: Callable[[], Any], repeats: int, device: torch.device) -> list[float]:
    """The seconds of each of `repeats` runs, after `WARM_UP` others."""
    seconds = []
    for _ in range(WARM_UP + repeats):
        synchronise(device)
        started = time.perf_counter()
        run()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return seconds[WARM_UP:]


def synchronise(device: torch.device) -> None:
    """Wait for what the device was told to compute."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def random_batches(recipe: BatchRecipe, size_HW: tuple[int, int], device: torch.device) -> TrainBatches:
    """Random pictures of twice as many identities as a batch holds."""
    labels = np.repeat(np.arange(2 * recipe.num_ids), recipe.num_instances)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), *size_HW, 3), dtype=np.uint8)
    sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, seed=0)
    return TrainBatches(ImageStore(pixels), labels, sampler, recipe.augmentation, 0, device)


def forward_macs(model: nn.Module, size_HW: tuple[int, int]) -> float:
    """Multiply-accumulates of convolutions and matrix products, for one image."""
    image = torch.zeros(1, 3, *size_HW, device=next(model.parameters()).device)
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() / 2


def loading(args: argparse.Namespace, device: torch.device) -> Row:
    """Batches gathered and augmented, with no network after them."""
    batches = random_batches(SearchRecipe(batch_size=args.batch_size), args.image_size, device)
    images = len(batches.store)
    return Row("load: gather and augment", images, timed(lambda: list(batches.epoch(0)), args.repeats, device))


def searching(args: argparse.Namespace, device: torch.device) -> Row:
    """A search step goes through two batches: α on one, the weights on the other."""
    recipe = SearchRecipe(batch_size=args.batch_size, precision=args.precision)
    train, valid = (random_batches(recipe, args.image_size, device) for _ in range(2))
    search = Search(Supernet(), train, valid, recipe, device)
    macs = forward_macs(search.supernet, args.image_size)
    search.supernet.train()
    train_batch, valid_batch = next(train.epoch(0)), next(valid.epoch(0))

    def step() -> None:
        search.alpha_step(valid_batch)
        search.weight_step(train_batch)

    return Row("search: α, then weights", 2 * args.batch_size, timed(step, args.repeats, device), macs)


def training(args: argparse.Namespace, device: torch.device) -> Row:
    recipe = TrainRecipe(batch_size=args.batch_size, precision=args.precision)
    batches = random_batches(recipe, args.image_size, device)
    model = build_model("msinet", num_classes=batches.num_classes, genotype="MSINet")
    run = Training(model, batches, recipe, device)
    macs = forward_macs(run.model, args.image_size)
    run.model.train()
    step = partial(run.step, next(batches.epoch(0)))
    return Row("train: both heads", args.batch_size, timed(step, args.repeats, device), macs)


def embedding(args: argparse.Namespace, device: torch.device) -> Row:
    """As evaluation does it: in float32, loading included."""
    store = random_batches(SearchRecipe(batch_size=args.batch_size), args.image_size, device).store
    model = build_model("msinet", num_classes=2, genotype="MSINet").to(device)
    macs = forward_macs(model, args.image_size)
    run = partial(embed, model, store, device, batch_size=args.batch_size)
    return Row("evaluate: embed", len(store), timed(run, args.repeats, device), macs)


def ranking(args: argparse.Namespace, device: torch.device) -> Row:
    generator = torch.Generator().manual_seed(0)
    sizes = (args.queries, args.gallery)
    sides = [torch.randn(size, 768, generator=generator).to(device) for size in sizes]
    pids = [torch.arange(size) % max(1, args.gallery // 20) for size in sizes]  # about 20 matches of each query
    run = partial(evaluate_ranking, *sides, *pids)
    what = f"evaluate: rank {args.queries:,} × {args.gallery:,}"
    return Row(what, args.queries, timed(run, args.repeats, device))


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line) for line in lines)


def image_size(text: str) -> tuple[int, int]:
    """`256x128` as (256, 128)."""
    height, width = map(int, text.split("x"))
    return height, width


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=64, help="images, four of each identity")
    parser.add_argument("--image-size", type=image_size, default="256x128", help="height x width")
    parser.add_argument("--queries", type=int, default=3368, help="of the ranking")
    parser.add_argument("--gallery", type=int, default=15913, help="of the ranking")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the processor")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each line")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32", help="of search and training")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    try:
        BatchRecipe(batch_size=args.batch_size)
    except ValueError as error:
        parser.error(str(error))

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    if device.type == "cuda":
        print(f"device     {torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}")
    print(f"processor  {processor()}, {args.threads} of {os.cpu_count()} threads")
    print(f"software   torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}")
    height, width = args.image_size
    print(f"settings   batch {args.batch_size}, images {height}×{width}, {args.precision}, {args.repeats} repeats\n")
    rows = [measure(args, device).cells() for measure in (loading, searching, training, embedding, ranking)]
    print(table([HEADER, *rows]))


if __name__ == "__main__":
    main()
