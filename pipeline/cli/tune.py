"""The verb for the outer loop: tune."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import (
    AddressOption,
    DataOption,
    TrackingOption,
    WorkspaceOption,
    app,
    examples,
    experiment_argument,
    lacking_results,
    same_results,
)
from pipeline.errors import RequestError
from pipeline.output import say
from pipeline.tracking.address import named_address


@app.command(epilog=examples("msinet tune mini/tune"))
def tune(
    experiment: Annotated[Path, experiment_argument("a section `tune`", "mini/tune")],
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    address: AddressOption = None,
) -> None:
    """Search recipes or genotypes by trials. The result is the best trial, or for several objectives a Pareto front.

    A trial trains a network without the last training identities, and evaluates it on them. Trials never use query or
    gallery pictures.

    Run the command again to continue a study that was interrupted. The study is stored in a journal in the workspace,
    unless `tune.storage` or MSINET_TUNE_STORAGE gives a journal's path or a database's URL.
    """
    from pipeline.config.load import load_experiment
    from pipeline.grid import Grid, sync_problem
    from pipeline.storage.workspace import open_workspace
    from pipeline.tuning.fronts import front_of, text, write
    from pipeline.tuning.outer import Outer

    uri = named_address(tracking_uri)
    loaded, place = load_experiment(experiment, data or []), open_workspace(workspace)
    if loaded.tune is None:
        raise RequestError(f"an experiment to tune must have a section `tune`, but {experiment} has none.")
    say(f"experiment {loaded.name} ({experiment}), workspace {place.address}")
    outer = Outer(loaded, place, say)
    outer.check()
    problem = outer.run(address)
    say(f"\n{text(outer.study, loaded.tune)}\n")
    if front_of(outer.study, loaded.tune):
        for path in write(outer.study, loaded, place, outer.place):
            say(path)
    if place.root or uri:
        missed = sync_problem(Grid(loaded, place, outer.trials_plan()), tracking_uri)
        if missed:
            say(lacking_results(missed, experiment, place, same_results(place.address, data), uri))
    if problem:
        print(
            f"not all {loaded.tune.trials} trials have ended ({problem}). Run the command again to continue.",
            file=sys.stderr,
        )
        raise typer.Exit(1)
