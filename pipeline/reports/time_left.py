"""An estimate of how long a running grid still takes, from the epochs and stages that have ended."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from pipeline.errors import RequestError
from pipeline.plan.estimate import CORE_SECONDS, TRAINED
from pipeline.plan.images import images_seen
from pipeline.plan.stage import Plan, Stage
from pipeline.results import Report, Result


class TimeLeft:
    """The speed of stages so far, and the time that the others take at this speed.

    Args:
        plan: Plan that is run.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rates: dict[str, float] = {}  # seconds per pixel in training, by search or network
        self._guesses: dict[str, float] = {}  # the same, before an epoch has ended
        self._seconds: dict[str, list[float]] = defaultdict(list)  # of finished stages, by kind

    def epoch(self, stage: Stage, report: Report) -> None:
        """Learn from an epoch that has ended."""
        if pixels := self._pixels(stage):
            self._rates[_trains(stage)] = report["seconds"] * report["epochs"] / pixels

    def estimate(self, stage: Stage, seconds: float) -> None:
        """Learn how long a whole stage seems to take, from the first steps of its first epoch."""
        if pixels := self._pixels(stage):
            self._guesses[_trains(stage)] = seconds / pixels

    def result(self, stage: Stage, result: Result) -> None:
        """Learn from a stage that is done."""
        if stage.kind not in TRAINED:
            self._seconds[stage.kind].append(result["seconds"])
        elif result.get("images"):
            height, width = stage.settings["image_size"]
            self._rates.setdefault(_trains(stage), result["train_seconds"] / (result["images"] * height * width))

    def seconds(self, ended: Callable[[Stage], bool], spent: Mapping[str, float], slots: int) -> float | None:
        """Return the time until all stages have ended, or None if no speed is known yet.

        It is the time of the longest chain of stages that need one another, or the time of all stages divided among
        those that run at the same time, whichever is longer.

        Args:
            ended: Function that says whether a stage needs no more time.
            spent: Seconds of work that are done on each stage that runs, by its name.
            slots: How many stages run at the same time.
        """
        left: dict[str, float] = {}
        for stage in self._plan.stages.values():
            seconds = 0.0 if ended(stage) else self._duration(stage)
            if seconds is None:
                return None
            left[stage.name] = max(0.0, seconds - spent.get(stage.name, 0.0))
        chains: dict[str, float] = {}
        for stage in self._plan.stages.values():  # a plan lists every stage after those that it needs
            chains[stage.name] = left[stage.name] + max((chains[need] for need in stage.needs.values()), default=0.0)
        once: dict[str, float] = {}  # equal work is done once
        for stage in self._plan.stages.values():
            key = stage.key or stage.name
            once[key] = min(left[stage.name], once.get(key, math.inf))
        return max(max(chains.values(), default=0.0), sum(once.values()) / max(slots, 1))

    def _duration(self, stage: Stage) -> float | None:
        """Return how long the whole stage takes; None if that is not known."""
        if stage.kind not in TRAINED:
            return fmean(self._seconds[stage.kind] or [0.0])
        pixels = self._pixels(stage)
        rates = {**self._guesses, **self._rates}
        if not rates or not pixels:
            return None
        # A network that was not trained yet is compared with those that were.
        ratio = fmean(rate / CORE_SECONDS[name] for name, rate in rates.items())
        return pixels * rates.get(_trains(stage), ratio * CORE_SECONDS[_trains(stage)])

    def _pixels(self, stage: Stage) -> int:
        """Return the pixels of all images that a stage trains on; 0 if that is not known."""
        height, width = stage.settings["image_size"]
        try:
            return images_seen(self._plan, stage) * int(height) * int(width)
        except RequestError:
            return 0  # the file with the split is gone


def _trains(stage: Stage) -> str:
    name: Any = stage.settings.get("network", stage.kind)
    return str(name)
