"""The loop that search and retraining share: its position between two steps, and the steps of one epoch."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from msinet.data.loaders import TrainBatches
from msinet.data.samplers import IdentityBatches
from msinet.engine.memory import kept_memory
from msinet.engine.optim import require_finite
from msinet.ranks import Ranks
from msinet.recipes import BatchRecipe, Supervision

T = TypeVar("T")


class Loop:
    """A long loop, which can be saved and continued after any step.

    Args:
        num_sums: Number of values that each step returns.
        device: Device on which these values are summed, so that no step waits for the host.
        ranks: This process among those that compute together.
        batches: All batches that the loop reads. The first ones set the length of an epoch.

    Attributes:
        next_epoch, next_step: The epoch and the step that come next, counted from 0.
        sums: Sums of the values that the steps of the running epoch returned.
        seconds: Time that these steps took.

    Raises:
        ValueError: Some batches are made for other ranks.
    """

    def __init__(self, num_sums: int, device: torch.device, ranks: Ranks, *batches: TrainBatches) -> None:
        for side in batches:
            if side.ranks != ranks:
                raise ValueError(
                    f"batches must be made for the loop's ranks, but got {side.ranks} and {ranks} (`ranks`)."
                )
        self.ranks = ranks
        self._steps_of = lru_cache(maxsize=1)(lambda epoch: len(batches[0].sampler.epoch(epoch)))
        self.next_epoch = self.next_step = 0
        self.sums = torch.zeros(num_sums, device=device)
        self.seconds = 0.0

    def num_steps(self) -> int:
        """Return the number of steps of the epoch `next_epoch`. To count them takes 0.1 s for 110,000 pictures."""
        return self._steps_of(self.next_epoch)

    def run_epoch(
        self, batches: Iterable[T], step: Callable[[T], Tensor], after_step: Callable[[], None] | None
    ) -> tuple[list[float], int, float]:
        """Run the remaining steps of the epoch `next_epoch`.

        Args:
            batches: The epoch's batches from `next_step` on.
            step: Returns `num_sums` values for a batch, on the device.
            after_step: Called after each step except the last one of the epoch.

        Returns:
            The means of the values over all steps of the epoch, the number of steps, and the seconds that they took.

        Raises:
            ValueError: A mean is infinite or not a number.
        """
        started = time.perf_counter() - self.seconds
        with kept_memory():
            for batch in _spaced(batches, after_step):
                self.sums += step(batch)
                self.next_step += 1
                self.seconds = time.perf_counter() - started
        steps = self.next_step
        means = require_finite(self.sums / steps, self.next_epoch)
        seconds = time.perf_counter() - started  # measured here, because only now the device has finished
        self.next_epoch, self.next_step = self.next_epoch + 1, 0
        self.sums, self.seconds = torch.zeros_like(self.sums), 0.0
        return means, steps, seconds

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the loop."""
        return {
            "next_epoch": self.next_epoch,
            "next_step": self.next_step,
            "sums": self.sums,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            ValueError: The ranks would continue from different steps.
        """
        position = torch.tensor([[state["next_epoch"], state["next_step"]]], device=self.sums.device)
        positions = self.ranks.gather(position).tolist()
        if positions != positions[:1] * self.ranks.world:
            raise ValueError(f"all ranks must continue from one saved state, but their [epoch, step] are {positions}.")
        self.next_epoch, self.next_step = state["next_epoch"], state["next_step"]
        self.sums.copy_(state["sums"])
        self.seconds = state["seconds"]


def require_batches(recipe: BatchRecipe, sampler: IdentityBatches, side: str) -> None:
    """Check that batches are the P×K batches of the loop's recipe, which alignment and memories need.

    Args:
        recipe: Recipe of the loop.
        sampler: Sampler of the batches that the loop will read.
        side: Name of the side, for the message.

    Raises:
        ValueError: The batches are not P identities × K images of the recipe.
    """
    received = sampler.num_ids, sampler.num_instances
    if received != (recipe.num_ids, recipe.num_instances):
        raise ValueError(
            f"batches must be {recipe.num_ids} identities × {recipe.num_instances} images (`batch_size`, "
            f"`num_instances`), but those of the {side} side are {received[0]} × {received[1]}."
        )


def require_classes(supervision: Supervision, num_classes: int | None, batches: TrainBatches, side: str) -> None:
    """Check that the classifier of a supernet, or the memory that replaces it, fits the labels of a side.

    Args:
        supervision: Supervision of the search.
        num_classes: Number of identities that the supernet's classifier distinguishes; None if it has none.
        batches: Batches of the side.
        side: Name of the side, for the message.

    Raises:
        ValueError: They do not fit.
    """
    classes, shown = batches.num_classes, len(np.unique(batches.labels))
    if supervision == "softmax" and num_classes != classes:
        raise ValueError(
            "the softmax supervision needs a supernet and batches of equal `num_classes`, but the supernet has "
            f"{num_classes} and the {side} side has {classes}."
        )
    if supervision == "tcm" and num_classes is not None:
        raise ValueError(
            "the tcm supervision has no classifier, so the supernet must be built without `num_classes`, but got "
            f"{num_classes} (supervision)."
        )
    if supervision == "tcm" and shown != classes:  # the empty entries of absent identities would change the loss
        raise ValueError(
            "the tcm supervision needs labels that number the identities of each side separately, but the labels of "
            f"the {side} side show {shown} of {classes} classes (`num_classes`)."
        )


def _spaced(items: Iterable[T], between: Callable[[], None] | None) -> Iterator[T]:
    """Yield `items`, and call `between` after each item that is not the last."""
    iterator = iter(items)
    yield from islice(iterator, 1)
    for item in iterator:
        if between is not None:
            between()
        yield item
