"""The verb that compares networks: compare."""

from typing import Annotated

import typer

from pipeline.cli.options import (
    DEMO,
    DataOption,
    ExperimentPath,
    WeightsOption,
    WorkspaceOption,
    app,
    command,
    examples,
    same_results,
)


@app.command(
    epilog=examples(
        "msinet compare demo",
        "msinet compare cars.yaml MSINet '60-80 seed 0' --target cars",
    )
)
def compare(
    experiment: ExperimentPath = DEMO,
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B …]",
            help="Networks to compare, by letters, published name, or search (`60-80 seed 0`) [default: all].",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The only target to compare on [default: all targets].")] = None,
    metric: Annotated[str, typer.Option(help="mAP, mINP, or rank<k>.")] = "mAP",
    every: Annotated[bool, typer.Option("--all", help="Show all pairs, also if there are many.")] = False,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
) -> None:
    """Say which networks are better than others beyond chance, and where the spread of scores comes from.

    Everything is computed from the query scores of finished evaluations. Nothing is trained or embedded.
    """
    from pipeline.grid import open_grid
    from pipeline.reports.compare import compare_panels
    from pipeline.reports.panels import panel_text
    from pipeline.reports.queries import queries_of

    grid = open_grid(experiment, workspace, data, weights, existing=True)
    queries = queries_of(grid.workspace)
    panels = compare_panels(grid.plan, queries, target, networks or [], metric, every=every)
    if not panels:
        rerun = command("run", experiment, same_results(grid.workspace.address, data, weights))
        print(f"There are no finished evaluations to compare yet: `{rerun}` makes them.")
        return
    print("\n\n".join(map(panel_text, panels)))
