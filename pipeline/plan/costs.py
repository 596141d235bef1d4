"""What an experiment has cost and will cost: hours, and money if its budget states a price."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.config.budget import Budget
from pipeline.plan.efforts import Effort, efforts_of, hours_of, lost_hours
from pipeline.plan.estimate import Hours, hours_left
from pipeline.plan.stage import Plan
from pipeline.results import Result
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class Costs:
    """The hours of an experiment's stages, where equal work counts once.

    Attributes:
        spent: Hours of the stages, by kind; attempts without a result included.
        left: Estimate for the searches and retrainings that can run and are not done; None if it is not known, or if
            there is no budget to compare it with, or if nobody asked.
        budget: The experiment's budget, or None.
        lost: Hours of the attempts that ended without a result, as far as they are known. They are a part of `spent`.
    """

    spent: dict[str, float]
    left: Hours | None
    budget: Budget | None
    lost: float = 0.0

    @property
    def hours(self) -> float:
        """Return the hours that are spent on all kinds together."""
        return sum(self.spent.values())

    @property
    def free(self) -> float | None:
        """Return the hours that the budget still allows, or None without a budget."""
        return max(0.0, self.budget.hours - self.hours) if self.budget else None

    def price(self, hours: float) -> float | None:
        """Return what so many hours cost, or None without a price."""
        price = self.budget.price_per_hour if self.budget else None
        return None if price is None else price * hours

    @property
    def lines(self) -> list[str]:
        """Return sentences that say what is spent, and what the budget still allows."""
        kinds = ", ".join(f"{kind} {shown_hours(hours)}" for kind, hours in self.spent.items())
        lines = [f"spent: {shown_hours(self.hours)} hours{self._money(self.hours)}{f' ({kinds})' if kinds else ''}"]
        if self.lost:
            lines.append(f"of these, attempts that ended without a result took {shown_hours(self.lost)} hours")
        if self.budget and self.free is not None:
            lines.append(f"budget: {self.budget.hours:g} hours, of which {shown_hours(self.free)} are left")
            if self.left and not self.left.by_core and self.left.hours > self.free:
                more = f"{shown_hours(self.left.hours)} hours{self._money(self.left.hours)}"
                lines.append(f"the budget does not suffice: the rest takes about {more} (budget.hours)")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _money(self, hours: float) -> str:
        price = self.price(hours)
        return "" if price is None else f", which cost {price:,.2f}"


def costs_of(
    plan: Plan, workspace: Workspace, efforts: Mapping[str, Effort] | None = None, *, rest: bool = True
) -> Costs:
    """Return what an experiment has cost so far, and what the rest will take.

    Args:
        plan: A resolved plan.
        workspace: Workspace that knows the attempts, and whose finished stages say how fast they were.
        efforts: What `efforts_of` returns, if it is known already.
        rest: Whether to estimate what the rest will take if there is a budget. All finished stages are then read.
    """
    efforts = efforts_of(plan, workspace) if efforts is None else efforts
    kinds = {stage.key: stage.kind for stage in plan.stages.values() if stage.key}
    spent: dict[str, float] = {}
    for key, kind in kinds.items():
        if hours := efforts[key].hours:
            spent[kind] = spent.get(kind, 0.0) + hours
    budget, lost = plan.experiment.budget, sum(effort.lost for effort in efforts.values())
    return Costs(spent, hours_left(plan, workspace) if budget and rest else None, budget, lost)


class Spent:
    """The hours of stages as a running sum, for a driver that asks every second.

    Attributes:
        hours: The sum, in which equal work counts once.
    """

    def __init__(self, results: Iterable[Result]) -> None:
        self.hours = 0.0
        self._by_key: dict[str, float] = {}
        self._results: dict[str, Result] = {}
        self._lost: dict[str, float] = {}
        for result in results:
            self.finish(result)

    def finish(self, result: Result) -> None:
        """Count a result, unless that of the same stage is counted already."""
        if result["key"] not in self._results:
            self._results[result["key"]] = result
            self._update(result["key"])

    def lose(self, key: str, hours: float) -> None:
        """Count an attempt at the stage with this key that ended without a result."""
        self._lost[key] = self._lost.get(key, 0.0) + hours
        self._update(key)

    def lose_earlier(self, workspace: Workspace, kind: str, key: str, workers: int) -> None:
        """Count the attempts of earlier runs at a stage, as far as the workspace knows them, once for each key."""
        if key not in self._lost:
            self.lose(key, lost_hours(workspace, kind, key, workers, self._results.get(key)))

    def _update(self, key: str) -> None:
        now = hours_of(self._results.get(key), self._lost.get(key, 0.0))
        self.hours += now - self._by_key.get(key, 0.0)
        self._by_key[key] = now


def shown_hours(hours: float) -> str:
    """Return hours for people: `0.02`, `3.4`, `1,230`."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"
