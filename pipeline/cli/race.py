"""The verb that gives retraining seeds to the genotypes that may still be the best: race."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    AddressOption,
    DataOption,
    QuietOption,
    TrackingOption,
    WeightsOption,
    WorkspaceOption,
    app,
    command,
    examples,
    experiment_argument,
    lacking_results,
    same_results,
)
from pipeline.output import say, silence
from pipeline.tracking.address import named_address


@app.command(epilog=examples("msinet race lab/race"))
def race(
    experiment: Annotated[Path, experiment_argument("a section `race`", "lab/race")],
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
) -> None:
    """Retrain genotypes with more and more seeds, until the best one is known or the budget is spent.

    After each seed, the genotypes that cannot be the best any more get no further seeds. Scores are those of held-out
    pictures (the section `selection`); query and gallery pictures are not used. Run the command again to continue a
    race that was interrupted, or after the budget was raised.
    """
    from pipeline.config.load import load_experiment
    from pipeline.grid import Grid, open_grid, run_grid
    from pipeline.racing import race_panel, run_race, settings, source_of
    from pipeline.reports.panels import panel_text

    section = settings(load_experiment(experiment, data or [], weights or []))
    grid = open_grid(experiment, workspace, data, weights, verify=True, say=silence if quiet else say)
    behind: list[str] = []

    def run_round(part: Grid) -> bool:
        ended = run_grid(part, address=address, tracking_uri=tracking_uri, quiet=quiet)
        behind.extend([ended.behind] if ended.behind else [])
        return not (ended.failed or ended.left)

    raced = run_race(grid, section, run_round)
    options = same_results(grid.workspace.address, data, weights)
    if behind:
        say(lacking_results(behind[-1], experiment, grid.workspace, options, named_address(tracking_uri)))
    if raced is None:
        say(
            "a stage of the race has failed, or the hours are spent (budget.hours), so nothing is decided: "
            f"{command('race', experiment, options)} tries again"
        )
        raise typer.Exit(1)
    say(f"\n{panel_text(race_panel(raced, section, source_of(grid.experiment, section)))}")
    if not quiet:
        say(f"\nnext: {command('report', experiment, options)}")
