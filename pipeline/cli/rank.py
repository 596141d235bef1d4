"""The verb that compares scores under shared weights with retrained scores: rank."""

import re
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    DataOption,
    WeightsOption,
    WorkspaceOption,
    app,
    command,
    examples,
    experiment_argument,
    same_results,
)
from pipeline.errors import RequestError


@app.command(epilog=examples("msinet rank lab/rank", "msinet rank lab/rank --out plots"))
def rank(
    experiment: Annotated[Path, experiment_argument("`rank: true`", "lab/rank")],
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the scatter plots, as PNG files.")] = None,
) -> None:
    """Show whether a search's shared weights rank genotypes as retraining does.

    Every genotype of the experiment (named, random or found by a search) is scored under the shared weights of every
    search on its source. `run` computes these scores together with all other stages.
    """
    from pipeline.grid import open_grid
    from pipeline.reports.panels import panel_text
    from pipeline.reports.ranking import ranking_figures, ranking_panels

    grid = open_grid(experiment, workspace, data, weights, existing=True)
    if not grid.experiment.rank:
        raise RequestError(f"an experiment to rank must have `rank: true`, but {experiment} has not (rank).")
    told = [panel_text(panel) for panel in ranking_panels(grid.plan)]
    if not all(stage.result for stage in grid.plan.stages.values() if stage.kind in ("score", "evaluate")):
        rerun = command("run", experiment, same_results(grid.workspace.address, data, weights))
        told.append(f"Not everything is done. To compute the rest: {rerun}")
    print("\n\n".join(told))
    if out is None:
        return
    from msinet.visual.figures import png_of

    for title, figure in ranking_figures(grid.plan):
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"rank-{re.sub(r'[^A-Za-z0-9._-]+', '-', title)}.png"
        path.write_bytes(png_of(figure))
        print(path)
