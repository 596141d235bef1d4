"""Batches on the device: one background thread gathers them in advance, and the device augments them.

Legend: B pictures, C = 3 channels, H×W pixels.
"""

import contextlib
import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from msinet.data.packed import ImageStore
from msinet.data.samplers import IdentityBatches
from msinet.data.transforms import Choices, augment, choose, normalise, random_table
from msinet.ranks import ALONE, Ranks
from msinet.recipes import Augmentation

PREFETCH = 2  # batches that are ready before the network needs them

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """The batch of one training step, on the device.

    Attributes:
        images_BCHW: Augmented and normalised pictures, float32, in channels-last memory.
        labels_B: Class labels, int64; the K pictures of an identity are adjacent.
        indices_B: Positions in the image store, int64.
    """

    images_BCHW: Tensor
    labels_B: Tensor
    indices_B: Tensor


class TrainBatches:
    """Augmented P×K batches. The batches of an epoch are always the same, however often they are requested.

    Args:
        store: The N pictures.
        labels: N class labels as from `msinet.data.records.label_of`; contiguous, unless `num_classes` is given.
        sampler: Sampler of the batches, made from the same labels.
        augmentation: What happens to each picture.
        seed: Seed of the augmentation.
        device: Device on which the batches are needed.
        stream: Which side the batches are for; sides with equal seeds draw different numbers.
        num_classes: Number of classes if the labels belong to a larger set of pictures, so that some classes may be
            missing here; None if the labels were made for these pictures alone.
        ranks: This process among those that share every batch. It gets P / `ranks.world` identities of each batch;
            their pictures do not depend on the number of processes.

    Raises:
        ValueError: There is not one label per picture, the labels are not contiguous or not below `num_classes`, or
            the identities of a batch cannot be divided evenly among the ranks.
    """

    def __init__(
        self,
        store: ImageStore,
        labels: ArrayLike,
        sampler: IdentityBatches,
        augmentation: Augmentation,
        seed: int,
        device: torch.device | str,
        stream: str = "train",
        num_classes: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.labels = np.asarray(labels, dtype=np.int64)
        if self.labels.shape != (len(store),):
            raise ValueError(
                f"every picture needs one label, but got shape {self.labels.shape} for {len(store)} pictures."
            )
        distinct, lowest, highest = len(np.unique(self.labels)), self.labels.min(), self.labels.max()
        if num_classes is None and not (lowest == 0 and highest == distinct - 1):
            raise ValueError(
                f"labels must be contiguous from 0, but {distinct} distinct labels range from {lowest} to {highest}."
            )
        if num_classes is not None and not 0 <= lowest <= highest < num_classes:
            raise ValueError(
                f"labels must be at least 0 and below `num_classes`, but they range from {lowest} to {highest}, "
                f"with num_classes={num_classes}."
            )
        if sampler.num_ids % ranks.world:
            raise ValueError(
                "the identities of a batch, `batch_size` / `num_instances`, must be a multiple of `workers`, but got "
                f"{sampler.batch_size} / {sampler.num_instances} = {sampler.num_ids} and {ranks.world} workers."
            )
        self.num_classes = distinct if num_classes is None else num_classes
        self.store, self.sampler, self.augmentation = store, sampler, augmentation
        self.seed, self.stream = seed, stream
        self.ranks = ranks
        self.device = _with_index(torch.device(device))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch`, counted from 0, from number `start` on; earlier ones are not even read."""
        return self._augmented(self._gathered(epoch, (0,), start))

    def cycling(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield batches without end for one training epoch, in passes over the data that are each shuffled anew.

        The sequence does not depend on earlier epochs, so a continued run gets the same batches as an uninterrupted
        one.

        Args:
            epoch: Epoch, counted from 0.
            start: How many batches to leave out, counted over all passes.
        """
        return self._augmented(self._gathered(epoch, itertools.count(), start))

    def _gathered(self, epoch: int, cycles: Iterable[int], start: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield pixels, labels, indices and `Choices` of each batch, on the device, from number `start` on."""
        for cycle in cycles:
            batches = self.sampler.epoch(epoch, cycle)
            left_out = min(start, len(batches))
            start -= left_out
            if left_out == len(batches):
                continue
            table = random_table(self.seed, epoch, self.stream, batches.size, cycle)
            choices = choose(table, self.store.size_HW, self.augmentation)
            own = self.ranks.share(self.sampler.batch_size)  # the K pictures of an identity are adjacent
            for number in range(left_out, len(batches)):
                indices = batches[number, own]
                rows = np.arange(self.sampler.batch_size)[own] + number * self.sampler.batch_size
                host = (
                    self.store.gather(indices),
                    *map(torch.from_numpy, (self.labels[indices], indices)),
                    *(choice[rows] for choice in choices),
                )
                yield tuple(_to_device(tensor, self.device) for tensor in host)

    def _augmented(self, gathered: Iterator[tuple[Tensor, ...]]) -> Iterator[Batch]:
        for images_BHWC, labels_B, indices_B, *choices in prefetched(gathered):
            yield Batch(augment(images_BHWC, Choices(*choices)), labels_B, indices_B)


def eval_batches(store: ImageStore, batch_size: int, device: torch.device | str) -> Iterator[Tensor]:
    """Yield normalised pictures of the whole store in order: images_BCHW, float32; the last batch may be smaller.

    Args:
        store: The N pictures.
        batch_size: Number of pictures in a batch, B.
        device: Device on which the pictures are needed.
    """
    device = _with_index(torch.device(device))

    def gathered() -> Iterator[Tensor]:
        for start in range(0, len(store), batch_size):
            indices: NDArray[np.int64] = np.arange(start, min(start + batch_size, len(store)))
            yield _to_device(store.gather(indices), device)

    for images_BHWC in prefetched(gathered()):
        yield normalise(images_BHWC)


def prefetched(items: Iterator[T], ahead: int = PREFETCH) -> Iterator[T]:
    """Yield `items`, which one thread computes up to `ahead` in advance; the thread's exceptions are raised here.

    The thread ends when the items end, or when this iterator is closed or dropped.
    """
    ready: queue.Queue[T | _End] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(entry: T | _End) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(entry, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_End(None))
        except BaseException as error:
            put(_End(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(entry := ready.get(), _End):
            yield entry
        if entry.error:
            raise entry.error
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True)
class _End:
    """The end of the background thread's items; `error` is the exception that stopped it, or None."""

    error: BaseException | None


def _with_index(device: torch.device) -> torch.device:
    """Return `device` with its index: `cuda` alone means the current device, which can differ in another thread."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":  # page-locked memory is copied while the network computes
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
