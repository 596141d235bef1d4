"""The state of table cells that are not done, and what is missing for them."""

from collections.abc import Sequence
from typing import Any

from pipeline.plan.stage import Plan, Stage


class States:
    """The states of cells.

    Args:
        plan: A plan that was resolved against a workspace.
        command: The command that fills the cells that are not done, such as `msinet run grid.yaml`.
    """

    def __init__(self, plan: Plan, command: str) -> None:
        self.plan, self.command = plan, command

    def __call__(self, stages: Sequence[Stage]) -> dict[str, Any]:
        """Return status and note of a cell that needs the results of all the given stages."""
        undone = [stage for stage in stages if stage.result is None]
        if not stages:
            return {"status": "not planned"}
        if not undone:
            return {"status": "done"}
        missing = list(dict.fromkeys(sentence for stage in undone for sentence in self._missing(stage)))
        if missing:
            return {"status": "lacks", "note": "\n".join(missing)}
        known = any(stage.key is not None for stage in undone)
        return {"status": "to run" if known else "pending", "note": self.command}

    def _missing(self, stage: Stage) -> list[str]:
        """Return what a stage lacks, and what the stages that it needs lack."""
        if stage.result is not None:
            return []
        needed = [self.plan.stages[name] for name in stage.needs.values()]
        lacks = [stage.lacks] if stage.lacks else []
        return [*lacks, *(sentence for other in needed for sentence in self._missing(other))]
