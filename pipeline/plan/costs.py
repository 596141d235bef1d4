"""What an experiment has cost and will cost: hours, and money if its budget states a price."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.config.budget import Budget
from pipeline.plan.estimate import Hours, hours_left
from pipeline.plan.stage import Plan
from pipeline.results import Result
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class Costs:
    """The hours of an experiment's stages, where equal work counts once.

    Attributes:
        spent: Hours of the stages that are done, by kind.
        left: Estimate for the searches and retrainings that can run and are not done; None if it is not known, or if
            there is no budget to compare it with.
        budget: The experiment's budget, or None.
    """

    spent: dict[str, float]
    left: Hours | None
    budget: Budget | None

    @property
    def hours(self) -> float:
        """Return the hours that are spent on all kinds together."""
        return sum(self.spent.values())

    def price(self, hours: float) -> float | None:
        """Return what so many hours cost, or None without a price."""
        price = self.budget.price_per_hour if self.budget else None
        return None if price is None else price * hours

    def __str__(self) -> str:
        """Return lines that say what is spent, and what the budget still allows."""
        kinds = ", ".join(f"{kind} {shown_hours(hours)}" for kind, hours in self.spent.items())
        lines = [f"spent: {shown_hours(self.hours)} hours{self._money(self.hours)}{f' ({kinds})' if kinds else ''}"]
        if self.budget:
            free = max(0.0, self.budget.hours - self.hours)
            lines.append(f"budget: {self.budget.hours:g} hours, of which {shown_hours(free)} are left")
            if self.left and not self.left.by_core and self.left.hours > free:
                more = f"{shown_hours(self.left.hours)} hours{self._money(self.left.hours)}"
                lines.append(f"the budget does not suffice: the rest takes about {more} (budget.hours)")
        return "\n".join(lines)

    def _money(self, hours: float) -> str:
        price = self.price(hours)
        return "" if price is None else f", which cost {price:,.2f}"


def costs_of(plan: Plan, workspace: Workspace) -> Costs:
    """Return what an experiment has cost so far, and what the rest will take.

    Args:
        plan: A resolved plan.
        workspace: Workspace whose finished stages say how fast they were.
    """
    spent: dict[str, float] = {}
    for result in once(plan.results().values()):
        spent[result["kind"]] = spent.get(result["kind"], 0.0) + hours_of(result)
    budget = plan.experiment.budget
    return Costs(spent, hours_left(plan, workspace) if budget else None, budget)


def spent_hours(results: Iterable[Result]) -> float:
    """Return the hours that results have taken together; equal work counts once."""
    return sum(map(hours_of, once(results)))


def once(results: Iterable[Result]) -> list[Result]:
    """Return the results without those that are the same stage's as an earlier one."""
    return list({result["key"]: result for result in results}.values())


def hours_of(result: Result) -> float:
    """Return the hours of a stage, once for each of its workers."""
    return hours(result) * int(result["spec"].get("workers", 1))


def hours(result: Result) -> float:
    """Return how long a worker was busy with a stage. A training counts the epochs of earlier attempts too."""
    return float(max(result["seconds"], result.get("train_seconds", 0.0)) / 3600)


def shown_hours(hours: float) -> str:
    """Return hours for people: `0.02`, `3.4`, `1,230`."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"
