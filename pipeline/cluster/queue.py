"""The stages that Ray has received, and the order in which they start.

Ray starts stages of equal needs in the order in which it receives them. Short stages, such as evaluations, go before
trainings: people wait for their figures, and a training of hours loses minutes. They do so only where they use what the
training needs anyway; a stage without a GPU never goes before one with a GPU, so GPUs stay busy. Stages that must be
alone come last, because everything else would have to wait for them.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from pipeline.plan.kinds import KINDS
from pipeline.plan.memory import shown
from pipeline.plan.stage import Stage

log = logging.getLogger(__name__)

# Number of stages of one rank that may wait for a place on the cluster. It is large enough to make any cluster grow,
# and small enough that stages of the longest path, which are ready last, do not wait behind all others.
BACKLOG = 64
SILENCE = 60.0  # seconds without a place for any stage, after which people are told
OVERDUE = 3.0  # seconds after which a stage that has not begun waits for a place: starting alone takes less

Share = Mapping[str, float]
Rank = tuple[bool, bool, bool]


def rank_of(kind: str, share: Share) -> Rank:
    """Return where a stage of this kind stands: a stage of a lower rank starts before one of a higher rank.

    Args:
        kind: Kind of the stage.
        share: What Ray reserves for it, or for each of its workers.
    """
    return KINDS[kind].alone, not share["num_gpus"], KINDS[kind].trains


@dataclass
class Submitted:
    """A stage that Ray has received.

    Attributes:
        stage: The stage.
        rank: Its rank.
        share: What Ray reserves for it, or for each of its workers.
        since: When it was submitted, by this process's monotonic clock.
        begun: Whether a worker has begun it.
        withdrawn: Whether it was taken back.
        workers: Number of its workers. For several, Ray Train reserves the places.
    """

    stage: Stage
    rank: Rank
    share: Share
    since: float = field(default_factory=time.monotonic)
    begun: bool = False
    withdrawn: bool = False
    workers: int = 1

    @property
    def place(self) -> Share:
        """Return what Ray reserves for the stage at once: nothing if Ray Train reserves places for its workers."""
        return self.share if self.workers == 1 else {}

    @property
    def waits(self) -> bool:
        """Return whether the stage waits for a place."""
        return not (self.begun or self.withdrawn)

    @property
    def is_overdue(self) -> bool:
        """Return whether the stage waits longer than a start takes."""
        return self.waits and time.monotonic() - self.since > OVERDUE

    @property
    def busy_hours(self) -> float:
        """Return for how many hours its workers have been busy together."""
        if not (self.begun and self.stage.started):
            return 0.0
        return self.workers * (time.time() - self.stage.started) / 3600

    def goes_before(self, rank: Rank, place: Share) -> bool:
        """Return whether this stage is to start before another one, and fits wherever that one fits."""
        return self.rank < rank and all(self.workers * n <= place.get(name, 0) for name, n in self.share.items())


class Queue:
    """All stages that were submitted and have not ended.

    Args:
        limit: The largest number of such stages, or None.

    Attributes:
        submitted: The stages, by Ray's reference.
    """

    def __init__(self, limit: int | None) -> None:
        self.submitted: dict[Any, Submitted] = {}
        self._limit = limit
        self._told = set[str]()  # the stages of which people know that they find no place

    def by_key(self) -> dict[str | None, Submitted]:
        """Return the stages by key."""
        return {submitted.stage.key: submitted for submitted in self.submitted.values()}

    def has_room(self, kind: str, rank: Rank, place: Share) -> bool:
        """Return whether one more stage may be submitted now."""
        if self._limit is not None and len(self.submitted) >= self._limit:
            return False
        everyone = self.submitted.values()
        if everyone and (KINDS[kind].alone or any(KINDS[other.stage.kind].alone for other in everyone)):
            return False
        waiting = [other for other in everyone if other.waits]
        if sum(other.rank == rank for other in waiting) >= BACKLOG:
            return False
        # Among stages with different needs Ray follows no order. So this one comes when the earlier ones have begun.
        return not any(other.goes_before(rank, place) and other.place != place for other in waiting)

    def make_way(self, *, others_are_ready: bool) -> None:
        """Take back stages that wait for a place before stages of a lower rank. They are submitted again behind those.

        Args:
            others_are_ready: Whether a stage that need not be alone is ready. A stage that must be alone makes way for
                it, because its own place may never come.
        """
        overdue = [other for other in self.submitted.values() if other.is_overdue]
        for reference, submitted in self.submitted.items():
            if not submitted.waits:
                continue
            if KINDS[submitted.stage.kind].alone:
                in_the_way = others_are_ready and submitted.is_overdue
            else:
                in_the_way = any(
                    other.since > submitted.since and other.goes_before(submitted.rank, submitted.place)
                    for other in overdue
                )
            if in_the_way:
                self._withdraw(reference, submitted)

    def withdraw_waiting(self) -> None:
        """Take back all stages that no worker has begun."""
        for reference, submitted in self.submitted.items():
            if submitted.waits:
                self._withdraw(reference, submitted)

    def busy_hours(self) -> float:
        """Return for how many hours workers have been busy with the stages that run."""
        return sum(submitted.busy_hours for submitted in self.submitted.values())

    def _withdraw(self, reference: Any, submitted: Submitted) -> None:
        submitted.withdrawn = True
        # With `force`, a worker that begins the stage in this moment ends at once, as if it were lost.
        ray.cancel(reference, force=True, recursive=False)

    def tell_wait(self) -> None:
        """Warn if no stage runs and the first one has waited long for a place, once for each stage until one runs.

        The cluster may grow, so the stage waits on.
        """
        everyone = self.submitted.values()
        if any(submitted.begun for submitted in everyone):
            self._told.clear()
            return
        late = [submitted for submitted in everyone if time.monotonic() - submitted.since > SILENCE]
        if late and late[0].stage.name not in self._told:
            self._told.add(late[0].stage.name)
            first, kind = late[0], late[0].stage.kind
            needs = [f"{first.share['num_cpus']:g} CPUs", f"{first.share['num_gpus']:g} GPUs"]
            if memory := first.share.get("memory"):
                needs.append(f"{shown(memory)} of memory")
            log.warning(
                "no stage has found a place for %.0f s: `%s` needs %s with %s free (resources.%s%s).",
                SILENCE,
                first.stage.name,
                "a place" if first.workers == 1 else f"{first.workers} places, each",
                ", ".join(needs),
                kind,
                "" if first.workers == 1 else f", workers.{kind}",
            )
