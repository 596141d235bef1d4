"""The hours of stages and of their attempts, as results and leases in the workspace tell them.

A result says how long the attempt that published it lasted, and how long the epochs of a training lasted, also those of
earlier attempts. The leases of a stage say how long every attempt lasted, also one that failed or was killed. Leases of
older versions do not say it. Of such attempts, only the epochs from which a later one continued are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.plan.stage import Plan
from pipeline.results import Result
from pipeline.storage.leases import NAME, span_of
from pipeline.storage.workspace import Workspace, stage_place


@dataclass(frozen=True)
class Effort:
    """What a stage has taken, once for each of its workers.

    Attributes:
        hours: Hours of all attempts together.
        lost: Hours of the attempts that ended without a result, and of one that still runs.
        attempts: Number of the attempts.
    """

    hours: float
    lost: float
    attempts: int


def efforts_of(plan: Plan, workspace: Workspace) -> dict[str, Effort]:
    """Return what each stage of a plan has taken, by key. The workspace is listed once for each kind."""
    stages = {stage.key: stage for stage in plan.stages.values() if stage.key}
    attempts: dict[str, set[str]] = {}
    leases: dict[str, list[str]] = {}
    for kind in dict.fromkeys(stage.kind for stage in stages.values()):
        for entry in workspace.store.entries(f"stages/{kind}"):
            _, _, key, *rest = entry.key.split("/")
            if len(rest) > 1 and rest[0] == "attempts":
                attempts.setdefault(key, set()).add(rest[1])
            elif len(rest) == 2 and rest[0] == "leases" and NAME.fullmatch(rest[1]):
                leases.setdefault(key, []).append(entry.key)
    found = {}
    for key, stage in stages.items():
        lost = _lost(workspace, leases.get(key, ()), stage.result) * int(stage.settings.get("workers", 1))
        found[key] = Effort(hours_of(stage.result, lost), lost, len(attempts.get(key, ())))
    return found


def lost_hours(workspace: Workspace, kind: str, key: str, workers: int, result: Result | None) -> float:
    """Return the hours of the attempts at a stage that ended without a result, as far as its leases tell them."""
    entries = workspace.store.entries(f"{stage_place(kind, key)}/leases")
    leases = [entry.key for entry in entries if NAME.fullmatch(entry.key.rpartition("/")[2])]
    return _lost(workspace, leases, result) * workers


def _lost(workspace: Workspace, leases: Sequence[str], result: Result | None) -> float:
    """Return the hours of all leases but that of the attempt that published the result."""
    if result is not None and len(leases) < 2:
        return 0.0
    spans = [span for key in leases if (span := span_of(workspace.store.read(key)))]
    if result is not None:
        end = result["started"] + result["seconds"]
        before = [span for span in spans if span[0] <= end]
        if before:
            spans.remove(max(before))  # the last one that was taken before the result was there
    return sum(last - since for since, last in spans) / 3600


def hours_of(result: Result | None, lost: float = 0.0) -> float:
    """Return the hours of a stage, once for each of its workers.

    Args:
        result: Its result, or None.
        lost: Hours of the attempts that ended without a result. Their epochs may be a part of the result's training,
            so the larger one of two sums counts; neither is larger than the truth.
    """
    if result is None:
        return lost
    workers = int(result["spec"].get("workers", 1))
    return max(workers * float(result["seconds"]) / 3600 + lost, workers * hours(result))


def hours(result: Result) -> float:
    """Return how long a worker was busy with a stage. A training counts the epochs of earlier attempts too."""
    return float(max(result["seconds"], result.get("train_seconds", 0.0)) / 3600)
