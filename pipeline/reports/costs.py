"""What an experiment has cost, what failed and why, and when its results were computed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.plan.costs import Costs
from pipeline.plan.efforts import Effort, hours
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.panels import Panel
from pipeline.results import Failure, Result
from pipeline.storage.workspace import Workspace

HEADER = ["kind of stage", "stages", "done", "hours", "without result", "longest", "retries", "failed"]
EXPLANATION = (
    "An hour counts once for each worker. Hours are those of all attempts; `without result` are those of attempts that "
    "failed, were interrupted, or still run, as far as the workspace knows them. A stage that another experiment has "
    "done in this workspace counts in full. A retry is an attempt that ended without a result, or that another one "
    "overtook. Equal work counts once."
)
NOTHING = Effort(0.0, 0.0, 0)


@dataclass(frozen=True)
class Work:
    """A stage with what it took. Stages of equal keys are one.

    Attributes:
        stage: The stage.
        effort: Its hours and attempts.
        failure: Its last failure if it is not done.
    """

    stage: Stage
    effort: Effort
    failure: Failure | None


def works_of(plan: Plan, workspace: Workspace, efforts: Mapping[str, Effort]) -> list[Work]:
    """Return what each stage of a plan took, as the workspace tells it.

    Args:
        plan: A plan that was resolved against the workspace.
        workspace: The workspace.
        efforts: What `efforts_of` returns.
    """
    once = {stage.key or stage.name: stage for stage in plan.stages.values()}
    return [_work(stage, workspace, efforts) for stage in once.values()]


def _work(stage: Stage, workspace: Workspace, efforts: Mapping[str, Effort]) -> Work:
    if stage.key is None:
        return Work(stage, NOTHING, None)
    failure = None if stage.result else workspace.last_failure(stage.kind, stage.key)
    return Work(stage, efforts[stage.key], failure)


def cost_panel(works: Sequence[Work], costs: Costs) -> Panel:
    """Return a table of hours and retries by kind of stage, with money if a price is set, and what a budget allows."""
    rows = [row for kind in KINDS if (row := _row(kind, [work for work in works if work.stage.kind == kind], costs))]
    done = [work for work in works if work.stage.result]
    counts = [str(sum(int(row[column]) for row in rows)) for column in (6, 7)]
    lost = sum(work.effort.lost for work in works)
    together = ["together", str(len(works)), str(len(done)), f"{costs.hours:.2f}", f"{lost:.2f}", "", *counts]
    rows.append([*together, *_money(costs, costs.hours)])
    header = [*HEADER, *(["money"] if _money(costs, 0.0) else [])]
    return Panel("costs", "What it cost", [header, *rows], [*budget_notes(costs), EXPLANATION])


def budget_notes(costs: Costs) -> list[str]:
    """Return sentences about the budget; none without one."""
    if not (costs.budget and costs.free is not None):
        return []
    price = costs.budget.price_per_hour
    told = f"The budget is {costs.budget.hours:g} hours" + ("" if price is None else f" at {price:g} each")
    notes = [f"{told}; {costs.free:,.2f} hours of it are left."]
    if costs.left and not costs.left.by_core and costs.left.hours > costs.free:
        notes.append(f"It does not suffice: the rest takes about {costs.left.hours:,.2f} hours.")
    return notes


def _money(costs: Costs, hours: float) -> list[str]:
    price = costs.price(hours)
    return [] if price is None else [f"{price:,.2f}"]


def _row(kind: str, works: Sequence[Work], costs: Costs) -> list[str]:
    if not works:
        return []
    results = [work.stage.result for work in works if work.stage.result]
    spent, lost = (sum(getattr(work.effort, name) for work in works) for name in ("hours", "lost"))
    retries = sum(max(0, work.effort.attempts - (1 if work.stage.result or work.failure else 0)) for work in works)
    failed = sum(work.failure is not None for work in works)
    longest = f"{60 * max(map(hours, results)):.1f} min" if results else ""
    counts = [str(len(works)), str(len(results)), f"{spent:.2f}", f"{lost:.2f}", longest, str(retries), str(failed)]
    return [kind, *counts, *_money(costs, spent)]


def failure_panels(works: Sequence[Work]) -> list[Panel]:
    """Return what failed and why; nothing if nothing failed."""
    rows = [
        [work.stage.name, work.failure.message, "" if work.failure.time is None else moment(work.failure.time)]
        for work in works
        if work.failure
    ]
    return [Panel("failures", "What failed, and why", [["stage", "reason", "when"], *rows])] if rows else []


def state_sentence(plan: Plan, works: Sequence[Work]) -> str:
    """Return how much is done, when, and in how many hours."""
    results: list[Result] = [work.stage.result for work in works if work.stage.result]
    failed = sum(work.failure is not None for work in works)
    told = f"{len(results)} of {len(works)} stages are done" + (f", {failed} failed" if failed else "")
    if not results:
        return f"{told}."
    first = min(result["started"] for result in results)
    last = max(result["started"] + result["seconds"] for result in results)
    spent = sum(work.effort.hours for work in works)
    return f"{told}, in {spent:.2f} hours of one worker, from {moment(first)} to {moment(last)}."


def moment(seconds: float) -> str:
    """Return a time as text, which is the same on every machine."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
