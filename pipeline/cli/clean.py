"""The verb `clean`: what in a workspace no named experiment needs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import DataOption, WorkspaceOption, app, examples, experiment_file
from pipeline.output import say

LISTED = 10  # lines of one category that are shown without --all


@app.command(
    epilog=examples(
        "msinet clean cars.yaml people.yaml        what could be deleted",
        "msinet clean cars.yaml people.yaml --yes  delete it",
    )
)
def clean(
    experiments: Annotated[
        list[Path], typer.Argument(metavar="EXPERIMENT...", help="All experiments to keep.", parser=experiment_file)
    ],
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is shown.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show everything, not only the largest of each group.")] = False,
) -> None:
    """Show what in the workspace the named experiments do not need, with sizes. With --yes, delete it.

    Name all experiments whose results you want to keep. Nothing that a running driver works at is deleted.
    """
    from pipeline.cleaning import delete, leftovers
    from pipeline.config.load import load_experiment
    from pipeline.grid import open_grid

    grids = []
    for path in experiments:
        known = load_experiment(path).datasets
        given = [item for item in data or [] if item.partition("=")[0] in known]
        grids.append(open_grid(path, workspace, given, existing=True))
    place = grids[0].workspace
    left = leftovers(place, [grid.plan for grid in grids])
    for why in dict.fromkeys(leftover.why for leftover in left.found):
        group = sorted((item for item in left.found if item.why == why), key=lambda item: -item.size)
        say(f"{_size(sum(item.size for item in group)):>9}  {why} ({len(group)})")
        for item in group if every else group[:LISTED]:
            say(f"{_size(item.size):>9}    {item.place}")
        if not every and len(group) > LISTED:
            say(f"{'':9}    and {len(group) - LISTED} more (--all)")
    for line in left.kept:
        say(line)
    total = sum(item.size for item in left.found)
    if not left.found:
        say(f"nothing to delete in {place.address}")
    elif not yes:
        say(f"{_size(total)} could be deleted in {place.address}; nothing was. Add --yes to delete what is shown.")
    else:
        spared = delete(place, left.found)
        freed = total - sum(item.size for item in spared)
        say(f"deleted {_size(freed)} in {place.address}")
        for item in spared:
            say(f"kept {item.place}: a driver has begun to work at it")


def _size(size: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
