"""What search and retraining share: where a loop stands between two steps, and the steps of one epoch."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from msinet.data.loaders import TrainBatches
from msinet.data.samplers import IdentityBatches
from msinet.engine.memory import kept_memory
from msinet.engine.optim import require_finite
from msinet.ranks import Ranks
from msinet.recipes import BatchRecipe

T = TypeVar("T")


class Loop:
    """Where a long loop stands; with its `state_dict` it continues after any step.

    Args:
        num_sums: How many numbers each step gives.
        device: Where they are summed, so that no step waits for the host.
        ranks: This process among those that compute together.
        batches: All that the loop reads.

    Attributes:
        next_epoch, next_step: What comes next, counted from 0.
        sums: Of what each step of the running epoch gave.
        seconds: That these steps took.

    Raises:
        ValueError: Some batches are of other ranks.
    """

    def __init__(self, num_sums: int, device: torch.device, ranks: Ranks, *batches: TrainBatches) -> None:
        for side in batches:
            if side.ranks != ranks:
                raise ValueError(f"batches must be of the loop's ranks, but got {side.ranks} and {ranks} (`ranks`).")
        self.ranks = ranks
        self.next_epoch = self.next_step = 0
        self.sums = torch.zeros(num_sums, device=device)
        self.seconds = 0.0

    def run_epoch(
        self, batches: Iterable[T], step: Callable[[T], Tensor], after_step: Callable[[], None] | None
    ) -> tuple[list[float], int, float]:
        """The steps that are left of the epoch that comes next.

        Args:
            batches: From `next_step` on.
            step: Gives `num_sums` numbers for each batch, on the device.
            after_step: Called after each step but the epoch's last.

        Returns:
            The means of what all steps of the epoch gave, their number, and the seconds they took.

        Raises:
            ValueError: A mean is no longer a number.
        """
        started = time.perf_counter() - self.seconds
        with kept_memory():
            for batch in _spaced(batches, after_step):
                self.sums += step(batch)
                self.next_step += 1
                self.seconds = time.perf_counter() - started
        steps = self.next_step
        means = require_finite(self.sums / steps, self.next_epoch)
        seconds = time.perf_counter() - started  # only now the device is done
        self.next_epoch, self.next_step = self.next_epoch + 1, 0
        self.sums, self.seconds = torch.zeros_like(self.sums), 0.0
        return means, steps, seconds

    def state_dict(self) -> dict[str, Any]:
        """Where the loop stands."""
        return {
            "next_epoch": self.next_epoch,
            "next_step": self.next_step,
            "sums": self.sums,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            ValueError: Other ranks continue from another step.
        """
        position = torch.tensor([[state["next_epoch"], state["next_step"]]], device=self.sums.device)
        positions = self.ranks.gather(position).tolist()
        if positions != positions[:1] * self.ranks.world:
            raise ValueError(f"all ranks must continue from one saved state, but theirs end at {positions}.")
        self.next_epoch, self.next_step = state["next_epoch"], state["next_step"]
        self.sums.copy_(state["sums"])
        self.seconds = state["seconds"]


def require_batches(recipe: BatchRecipe, sampler: IdentityBatches, side: str) -> None:
    """Make sure that a loop reads the batches that its recipe names: alignment and memories need exact P×K batches.

    Args:
        recipe: Of the loop.
        sampler: Of the batches that the loop is about to read.
        side: Named in the message.

    Raises:
        ValueError: The batches are not P identities × K images.
    """
    received = sampler.num_ids, sampler.num_instances
    if received != (recipe.num_ids, recipe.num_instances):
        raise ValueError(
            f"batches must be {recipe.num_ids} identities × {recipe.num_instances} images (`batch_size`, "
            f"`num_instances`), but the {side} side's are {received[0]} × {received[1]}."
        )


def _spaced(items: Iterable[T], between: Callable[[], None] | None) -> Iterator[T]:
    """`items`, with a call of `between` when one of them is done with and another follows."""
    iterator = iter(items)
    yield from islice(iterator, 1)
    for item in iterator:
        if between is not None:
            between()
        yield item
