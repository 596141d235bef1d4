"""What lies in a workspace and is not needed: attempts that do not count, caches, and stages of other experiments."""

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.plan.stage import Plan
from pipeline.storage.leases import holder_of
from pipeline.storage.store import Entry
from pipeline.storage.workspace import RESULT, Workspace, stage_place

ATTEMPT = "attempts that do not count, of stages that are done"
FINISHED = "stages that no named experiment needs"
UNFINISHED = "unfinished stages that no named experiment needs"
CACHE = "decoded pictures and copies, which are made again when they are needed"

StageId = tuple[str, str]  # kind and key


@dataclass(frozen=True)
class Leftover:
    """Files of a workspace that can be deleted.

    Attributes:
        why: One of the categories of this module.
        place: Their folder in the store.
        entries: The files, the one first whose absence makes the others worthless.
        stage: Kind and key of their stage, or None for a cache.
    """

    why: str
    place: str
    entries: tuple[Entry, ...]
    stage: StageId | None = None

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class Leftovers:
    """What can be deleted, and sentences about what is kept although it may not be needed."""

    found: list[Leftover]
    kept: list[str]


def leftovers(workspace: Workspace, plans: Sequence[Plan]) -> Leftovers:
    """Find what a workspace holds beside what some experiments need. Nothing is deleted.

    Stages of a kind are kept if a named experiment has such stages whose keys are not known yet. All stages are kept
    while a driver works at a stage of an experiment that is not named, because its inputs are not known, and if a named
    experiment has a section `tune` or `race`, because a plan does not list the stages of these.

    Args:
        workspace: The workspace.
        plans: Resolved plans of the named experiments.
    """
    stages: dict[StageId, list[Entry]] = {}
    for entry in workspace.store.entries("stages"):
        parts = entry.key.split("/")
        if len(parts) > 3:
            stages.setdefault((parts[1], parts[2]), []).append(entry)
    needed = {(stage.kind, stage.key) for plan in plans for stage in plan.stages.values() if stage.key}
    leased = {stage for stage, entries in stages.items() if not _is_done(stage, entries) and _holder(workspace, stage)}
    kept, unsure = _kept(plans, leased - needed)
    found: list[Leftover] = []
    for stage, entries in stages.items():
        done = _is_done(stage, entries)
        if stage in leased:
            continue
        if stage not in needed and unsure is not None and stage[0] not in unsure:
            result = f"{stage_place(*stage)}/{RESULT}"
            order = sorted(entries, key=lambda entry: entry.key != result)
            found.append(Leftover(FINISHED if done else UNFINISHED, stage_place(*stage), tuple(order), stage))
        elif done:
            found += _other_attempts(workspace, stage, entries)
    if workspace.root is None:
        kept.append(f"Copies on this machine may be deleted by hand while nothing runs here: {workspace.cache}")
    elif leased:
        kept.append("The cache is kept, because a driver is running.")
    elif entries := workspace.store.entries("cache"):
        found.append(Leftover(CACHE, "cache", tuple(entries)))
    return Leftovers(found, kept)


def delete(workspace: Workspace, found: Sequence[Leftover]) -> list[Leftover]:
    """Delete files, except those of stages that a driver has leased since they were found.

    Returns:
        What was not deleted for this reason.
    """
    spared = []
    for leftover in found:
        if leftover.stage and _holder(workspace, leftover.stage):
            spared.append(leftover)
            continue
        for entry in leftover.entries:
            workspace.store.delete(entry.key)
        if workspace.root is not None:
            _remove_empty(workspace.root / leftover.place)
    return spared


def _kept(plans: Sequence[Plan], foreign: Collection[StageId]) -> tuple[list[str], set[str] | None]:
    """Return why stages are kept, and the kinds of which all are; None instead of the kinds if all stages are kept."""
    special = sorted({p.experiment.name for p in plans if p.experiment.tune or p.experiment.race})
    if special:
        return [f"All stages are kept, because {', '.join(special)} has a section `tune` or `race`."], None
    if foreign:
        kind, key = min(foreign)
        told = f"All stages are kept, because a driver works at {kind} {key}, which no named experiment has."
        return [told], None
    pending = [stage for plan in plans for stage in plan.stages.values() if stage.key is None]
    unsure = {stage.kind for stage in pending} | {"measure" for plan in plans for _ in plan.of_kind("measure")}
    kinds = ", ".join(sorted({stage.kind for stage in pending}))
    if not pending:
        return [], unsure
    return [
        f"All stages of these kinds are kept, because {len(pending)} of the named experiments' own have no key yet: "
        f"{kinds}. They need results or data that are not here (--data)."
    ], unsure


def _other_attempts(workspace: Workspace, stage: StageId, entries: Sequence[Entry]) -> Iterator[Leftover]:
    """Yield the attempts at a stage that is done, except the one that counts."""
    start = f"{stage_place(*stage)}/attempts/"
    attempts: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.key.startswith(start):
            attempts.setdefault(entry.key.removeprefix(start).partition("/")[0], []).append(entry)
    result = workspace.result(*stage) if len(attempts) > 1 else None
    if result is None:  # there is one attempt only, or the result is damaged
        return
    for attempt, files in attempts.items():
        if attempt != result["attempt"]:
            yield Leftover(ATTEMPT, f"{start}{attempt}", tuple(files), stage)


def _is_done(stage: StageId, entries: Sequence[Entry]) -> bool:
    return any(entry.key == f"{stage_place(*stage)}/{RESULT}" for entry in entries)


def _holder(workspace: Workspace, stage: StageId) -> str | None:
    return holder_of(workspace.store, f"{stage_place(*stage)}/leases")


def _remove_empty(folder: Path) -> None:
    """Remove the empty folders at and below a path."""
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # it is not empty
            os.rmdir(parent)
