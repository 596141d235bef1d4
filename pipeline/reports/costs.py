"""What an experiment has cost, what failed and why, and when its results were computed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.plan.costs import hours
from pipeline.plan.kinds import KINDS
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.panels import Panel
from pipeline.results import Failure, Result
from pipeline.storage.workspace import Workspace, stage_place

HEADER = ["kind of stage", "stages", "done", "hours", "longest", "retries", "failed"]
EXPLANATION = (
    "Hours are those of one worker, with the epochs of earlier attempts. A stage that another experiment has done in "
    "this workspace counts in full. A retry is an attempt that ended without a result, or that another one overtook. "
    "Equal work counts once."
)


@dataclass(frozen=True)
class Work:
    """A stage with what it took. Stages of equal keys are one.

    Attributes:
        stage: The stage.
        attempts: How many attempts there were.
        failure: Its last failure if it is not done.
    """

    stage: Stage
    attempts: int
    failure: Failure | None


def works_of(plan: Plan, workspace: Workspace) -> list[Work]:
    """Return what each stage of a plan took, as the workspace tells it."""
    once = {stage.key or stage.name: stage for stage in plan.stages.values()}
    return [_work(stage, workspace) for stage in once.values()]


def _work(stage: Stage, workspace: Workspace) -> Work:
    if stage.key is None:
        return Work(stage, 0, None)
    place = f"{stage_place(stage.kind, stage.key)}/attempts/"
    entries = workspace.store.entries(place.removesuffix("/"))
    attempts = len({entry.key.removeprefix(place).partition("/")[0] for entry in entries})
    return Work(stage, attempts, None if stage.result else workspace.last_failure(stage.kind, stage.key))


def cost_panel(works: Sequence[Work]) -> Panel:
    """Return a table of hours and retries by kind of stage."""
    rows = [row for kind in KINDS if (row := _row(kind, [work for work in works if work.stage.kind == kind]))]
    total = [str(sum(int(row[column]) for row in rows)) for column in (1, 2)]
    spent = sum(hours(work.stage.result) for work in works if work.stage.result)
    counts = [str(sum(int(row[column]) for row in rows)) for column in (5, 6)]
    rows.append(["together", *total, f"{spent:.2f}", "", *counts])
    return Panel("costs", "What it cost", [HEADER, *rows], [EXPLANATION])


def _row(kind: str, works: Sequence[Work]) -> list[str]:
    if not works:
        return []
    spent = [hours(work.stage.result) for work in works if work.stage.result]
    retries = sum(max(0, work.attempts - (1 if work.stage.result or work.failure else 0)) for work in works)
    failed = sum(work.failure is not None for work in works)
    longest = f"{60 * max(spent):.1f} min" if spent else ""
    return [kind, str(len(works)), str(len(spent)), f"{sum(spent):.2f}", longest, str(retries), str(failed)]


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
    return f"{told}, in {sum(map(hours, results)):.2f} hours of one worker, from {moment(first)} to {moment(last)}."


def moment(seconds: float) -> str:
    """Return a time as text, which is the same on every machine."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
