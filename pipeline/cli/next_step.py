"""The lines that end a verb's output: the command that comes next, and where MLflow's pages are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.options import command, tracking_note, tracking_option
from pipeline.tracking.address import is_server, shown

if TYPE_CHECKING:
    from pipeline.grid import Grid


def next_step(grid: "Grid", experiment: Path, options: Sequence[str]) -> str:
    """Return a line with the command that goes on with an experiment, or nothing if only its user can go on.

    Args:
        grid: The experiment in its workspace.
        experiment: The experiment's file.
        options: The options of the command, see `same_results`.
    """
    stages, asked = grid.plan.stages.values(), grid.experiment
    left = {stage.kind for stage in stages if not (stage.result or stage.lacks)}
    if asked.race:
        verb = "race"
    elif asked.tune and left <= {"prepare"}:
        verb = "tune"
    elif left - {"measure"}:
        verb = "run"
    elif any(stage.result for stage in stages if stage.kind != "prepare"):
        verb = "report"
    else:
        return ""
    return f"\nnext: {command(verb, experiment, [*options])}"


def pages(shown_at: str, workspace: str, named: str | None) -> str:
    """Return where MLflow's pages are: at a server's address, or served by a command.

    Args:
        shown_at: MLflow's address.
        workspace: Address of the workspace.
        named: MLflow's address if the user named it.
    """
    if is_server(shown_at):
        return shown(shown_at)
    place = tracking_option(named) if named else ["--workspace", workspace]
    served = f"{command('ui', None, place)}{tracking_note(named)}"
    return f"{served}: serves MLflow's pages, and prints a link to the ranked genotypes of each target"
