"""The shared parts of the benchmarks: contenders that run in turn, their table, and access to the released code."""

import argparse
import contextlib
import ctypes
import gc
import importlib
import io
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msinet.data.loaders import TrainBatches
from msinet.data.packed import ImageStore
from msinet.data.samplers import IdentityBatches
from msinet.engine.measure import device_name
from msinet.engine.memory import kept_memory
from msinet.recipes import BatchRecipe

HEADER = ["what", "items", "median ms", "fastest to slowest", "items/s", "GMAC", "peak MB", "time of ours"]
Load = Callable[[str], ModuleType]


@dataclass
class Contender:
    """One line of the table.

    Attributes:
        what: What a run does, and whose code it is.
        items: Number of images (or queries) in a run.
        run: Function that makes one run.
        macs: Multiply-accumulates of one image's forward pass, if there is one.
        keeps_memory: Whether it runs as in the middle of a loop of ours: in `kept_memory`, after an untimed run.
        seconds: Seconds of each timed run.
        peak: Bytes that the first run needed at its peak, beyond those held before it; None if that is unknown.
    """

    what: str
    items: int
    run: Callable[[], Any]
    macs: float | None = None
    keeps_memory: bool = False
    seconds: list[float] = field(default_factory=list)
    peak: int | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def cells(self, ours: "Contender") -> list[str]:
        median, low, high = (1e3 * f(self.seconds) for f in (statistics.median, min, max))
        return [
            self.what,
            f"{self.items:,}",
            f"{median:,.1f}",
            f"{low:,.1f} to {high:,.1f}",
            f"{1e3 * self.items / median:,.1f}",
            f"{self.macs / 1e9:.3f}" if self.macs else "-",
            "-" if self.peak is None else f"{self.peak / 2**20:,.0f}",
            f"{self.median / ours.median:.2f}",
        ]


def arguments(description: str | None, *, repeats: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--reference", type=Path, help="a checkout of vimar-gu/MSINet, to run beside ours")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the processor")
    parser.add_argument("--repeats", type=int, default=repeats, help="timed runs of each line")
    parser.add_argument("--warm-up", type=int, default=1, help="runs of each line before the timed ones")
    return parser


def image_arguments(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add the further options of benchmarks of networks."""
    parser.add_argument("--batch-size", type=int, default=batch_size, help="images, in training four of each identity")
    parser.add_argument("--image-size", type=image_size, default="256x128", help="height x width")


def image_size(text: str) -> tuple[int, int]:
    """Return (256, 128) for `256x128`."""
    height, width = map(int, text.split("x"))
    return height, width


def begin(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, torch.device]:
    """Parse the options, set threads and seed, and print under which conditions the figures are measured."""
    args = parser.parse_args(argv)
    if "repeats" in args and (args.repeats < 1 or args.warm_up < 0):
        parser.error(
            f"`--repeats` must be at least 1, `--warm-up` at least 0, but got {args.repeats} and {args.warm_up}."
        )
    if "batch_size" in args:
        try:
            BatchRecipe(batch_size=args.batch_size)
        except ValueError as error:
            parser.error(str(error))
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    if device.type == "cuda":
        print(f"device     {device_name(device)}, CUDA {torch.version.cuda}")
    print(f"processor  {device_name(torch.device('cpu'))}, {args.threads} of {os.cpu_count()} threads")
    print(f"software   torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}")
    hidden = {"reference", "torchreid", "device", "threads"}
    print(
        "settings   " + ", ".join(f"{name} {_text(x)}" for name, x in vars(args).items() if name not in hidden) + "\n"
    )
    return args, device


def _text(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)


def released(checkout: Path, device: torch.device) -> Load:
    """Return a function that imports a module of the released code.

    On a processor, `.cuda()` is replaced by a function that does nothing, in this whole process.
    """
    if not (checkout / "reid" / "models" / "msinet.py").is_file():
        raise SystemExit(f"`--reference` must be a checkout of vimar-gu/MSINet, but {checkout} has no reid/models.")
    sys.path.append(str(checkout))
    if device.type == "cpu":
        torch.Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]
    return importlib.import_module


def quiet() -> contextlib.AbstractContextManager[Any]:
    """Hide what is printed meanwhile, because the released code prints much."""
    return contextlib.redirect_stdout(io.StringIO())


def require(what: str, difference: float, at_most: float) -> None:
    """Print how far two results are apart, and end the script if that is too far."""
    print(f"agreement  {what}: {difference:.1e} (at most {at_most:.0e})")
    if not difference <= at_most:
        raise SystemExit(f"ours and the released code must agree, but {what} differs by {difference}.")


def apart(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest number."""
    theirs = theirs.detach()
    return ((ours.detach() - theirs).abs().max() / theirs.abs().max()).item()


def race(contenders: Sequence[Contender], args: argparse.Namespace, device: torch.device) -> None:
    """Run all contenders in turn, as often as `args` say. Measure memory in the first run of each.

    Contenders that keep memory run last, because the others could otherwise use the kept memory: the C library cannot
    undo the setting.
    """
    for keeps_memory in (False, True):
        group = [contender for contender in contenders if contender.keeps_memory == keeps_memory]
        for turn in range(args.warm_up + args.repeats if group else 0):
            for contender in group:
                _run(contender, device, first=turn == 0, timed=turn >= args.warm_up)


def _run(contender: Contender, device: torch.device, *, first: bool, timed: bool) -> None:
    held = _reset_peak(device) if first else None
    with kept_memory() if contender.keeps_memory else contextlib.nullcontext():
        if contender.keeps_memory:
            contender.run()
        _wait(device)
        started = time.perf_counter()
        contender.run()
        _wait(device)
        seconds = time.perf_counter() - started
    if held is not None:
        contender.peak = max(0, _peak(device) - held)
    if timed:
        contender.seconds.append(seconds)


def print_table(*groups: Sequence[Contender]) -> None:
    """Print aligned columns. The times of a group are compared with the time of its first line."""
    rows = [HEADER, *(contender.cells(group[0]) for group in groups for contender in group)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]))


def forward_macs(model: nn.Module, size_HW: tuple[int, int]) -> float:
    """Return the multiply-accumulates of convolutions and matrix products in `model(image)`, for one image.

    The model is set to evaluation.
    """
    image_1CHW = torch.zeros(1, 3, *size_HW, device=next(model.parameters()).device)
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image_1CHW)
    return counter.get_total_flops() / 2


def random_batches(recipe: BatchRecipe, size_HW: tuple[int, int], device: torch.device) -> TrainBatches:
    """Return batches of pictures with noise and a random colour, from twice as many identities as a batch holds."""
    labels = np.repeat(np.arange(2 * recipe.num_ids), recipe.num_instances)
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 192, (len(labels), 1, 1, 3), dtype=np.uint8)
    pixels = colours + rng.integers(0, 64, (len(labels), *size_HW, 3), dtype=np.uint8)
    sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, seed=0)
    return TrainBatches(ImageStore(pixels), labels, sampler, recipe.augmentation, 0, device)


@dataclass(frozen=True)
class Retrieval:
    """Embeddings around their identities' centres: queries first, then the gallery.

    Attributes:
        embedding_AD: Embeddings, float32, not normalised.
        pid_A, camid_A: Identities, with about 20 pictures each, and cameras, of which there are six.
        num_queries: Number of queries, which come first.
    """

    embedding_AD: Tensor
    pid_A: np.ndarray
    camid_A: np.ndarray
    num_queries: int

    @classmethod
    def random(cls, num_queries: int, num_gallery: int, dim: int) -> "Retrieval":
        rng = np.random.default_rng(0)
        num_images, num_ids = num_queries + num_gallery, max(2, num_gallery // 20)
        pid_A = rng.integers(0, num_ids, num_images)
        embedding_AD = rng.standard_normal((num_images, dim), dtype=np.float32)
        embedding_AD += 0.35 * rng.standard_normal((num_ids, dim), dtype=np.float32)[pid_A]
        return cls(torch.from_numpy(embedding_AD), pid_A, rng.integers(0, 6, num_images), num_queries)

    def sides(self) -> tuple[list[Tensor], list[np.ndarray], list[np.ndarray]]:
        """Return (embeddings, identities, cameras), each as a list of the queries' and the gallery's values."""
        n = self.num_queries
        embeddings = [self.embedding_AD[:n], self.embedding_AD[n:]]
        return embeddings, [self.pid_A[:n], self.pid_A[n:]], [self.camid_A[:n], self.camid_A[n:]]


def retrieval_arguments(parser: argparse.ArgumentParser, queries: int, gallery: int) -> None:
    """Add the further options of benchmarks of retrieval."""
    parser.add_argument("--queries", type=int, default=queries)
    parser.add_argument("--gallery", type=int, default=gallery)
    parser.add_argument("--dim", type=int, default=768, help="numbers in an embedding")


def fits(needed: float) -> bool:
    """Return whether the machine has so many bytes left; True if that is unknown."""
    lines = _lines("/proc/meminfo")
    return "MemAvailable" not in lines or needed < lines["MemAvailable"]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> int | None:
    """Start a new count of `_peak`. Return the bytes held now, or None if the system does not tell them."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # give memory of earlier runs back to the system
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError, TypeError):
        return None
    return _lines("/proc/self/status")["VmRSS"]


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _lines("/proc/self/status")["VmHWM"]


def _lines(path: str) -> dict[str, int]:
    """Return the lines of a file such as `VmRSS: 12 kB`, in bytes by name."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    parts = [line.split() for line in lines if line.endswith(" kB")]
    return {name.rstrip(":"): 1024 * int(number) for name, number, _ in parts}
