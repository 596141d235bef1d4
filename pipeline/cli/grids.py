"""The verbs for a whole experiment: run, prepare, plan, status, report."""

from pathlib import Path
from textwrap import indent
from typing import Annotated

import typer

from pipeline.cli.options import (
    DEMO,
    AddressOption,
    DataOption,
    ExperimentPath,
    TrackingOption,
    WeightsOption,
    WorkspaceOption,
    app,
    command,
    lacking_results,
    same_results,
    tracking_note,
    tracking_option,
)
from pipeline.errors import RequestError
from pipeline.output import say
from pipeline.tracking.address import is_server, named_address, shown

EveryOption = Annotated[bool, typer.Option("--all", help="Show a line for each stage, with its key.")]


@app.command()
def run(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    address: AddressOption = None,
) -> None:
    """Run the stages that are not done yet, then print the comparison."""
    from pipeline.grid import open_grid, run_grid
    from pipeline.plan.estimate import rest_of
    from pipeline.reports.console import summary
    from pipeline.reports.write import report_text

    uri = named_address(tracking_uri)
    grid = open_grid(experiment, workspace, data, weights, verify=True, say=say)
    say(f"{summary(grid.plan)}\n{rest_of(grid.plan, grid.workspace)}")
    stages = grid.plan.stages.values()
    if all(stage.lacks for stage in stages if stage.kind != "measure"):
        raise RequestError(f"no network of {experiment} can be trained: the lines above say what to give first.")
    if all(stage.result or stage.lacks for stage in stages):
        say("everything is done already")
    ended = run_grid(grid, address=address, tracking_uri=tracking_uri)
    options = same_results(grid.workspace.address, data, weights)
    if ended.behind:
        say(lacking_results(ended.behind, experiment, grid.workspace, options, uri))
    found = report_text(grid.plan, grid.workspace)
    say(f"\n{found}\n\nresults      {grid.workspace.address}\nthis table   {command('report', experiment, options)}")
    if ended.shown_at:
        pages = _pages(ended.shown_at, grid.workspace.address, uri)
        say(f"compare      {pages}: select runs of kind `evaluate`, then Compare")
    if ended.failed:
        raise _not_done(experiment, options)


def _pages(shown_at: str, workspace: str, named: str | None) -> str:
    """Return where MLflow's pages are: at a server's address, or served by a command."""
    if is_server(shown_at):
        return shown(shown_at)
    place = tracking_option(named) if named else ["--workspace", workspace]
    return f"{command('ui', None, place)}{tracking_note(named)}"


@app.command()
def prepare(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    address: AddressOption = None,
) -> None:
    """Write the experiment's datasets into the workspace. No other stage is run."""
    from pipeline.grid import Grid, open_grid, run_grid
    from pipeline.plan.stage import Plan
    from pipeline.reports.console import summary

    grid = open_grid(experiment, workspace, data, verify=True, say=say)
    datasets = Plan(grid.experiment, {stage.name: stage for stage in grid.plan.of_kind("prepare")})
    say(summary(datasets))
    if run_grid(Grid(grid.experiment, grid.workspace, datasets), address=address, track=False).failed:
        raise _not_done(experiment, same_results(grid.workspace.address, data))


def _not_done(experiment: Path, options: list[str]) -> typer.Exit:
    """Say how to learn what failed, and return the end of the command."""
    say(f"not done     {command('status', experiment, options)}: shows which stages failed, and why")
    return typer.Exit(1)


@app.command()
def plan(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    every: EveryOption = False,
) -> None:
    """Show how many stages are done, and how long the rest would take. A pending stage needs another stage's result."""
    from pipeline.grid import open_grid
    from pipeline.plan.estimate import rest_of
    from pipeline.reports.console import every_stage, overview, summary

    grid = open_grid(experiment, workspace, data, weights)
    stages = every_stage(grid.plan) if every else overview(grid.plan)
    print(f"{stages}\n\n{summary(grid.plan)}\n\n{rest_of(grid.plan, grid.workspace)}")


@app.command()
def status(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    every: EveryOption = False,
) -> None:
    """Show how many stages are done or failed. For a failed stage, show the reason, traceback and end of the log."""
    from pipeline.grid import open_grid
    from pipeline.reports.console import every_stage, overview, summary

    grid = open_grid(experiment, workspace, data, weights, existing=True)
    failures = {}
    for stage in grid.plan.stages.values():
        if stage.key and not stage.result and (failure := grid.workspace.last_failure(stage.kind, stage.key)):
            failures[stage.name] = failure
    stages = every_stage(grid.plan, failures) if every else overview(grid.plan, failures)
    print(f"{stages}\n\n{summary(grid.plan, failures)}")
    for name, failure in failures.items():
        print(f"\nfailed: {name}\n  {failure.message}")
        for part, text in (("traceback", failure.traceback), ("log", failure.log)):
            if text:
                print(f"  {part}:\n{indent(text.rstrip(), '    ')}")


@app.command()
def report(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    out: Annotated[Path | None, typer.Option(help="A folder for report.html, report.md and tables/*.csv.")] = None,
) -> None:
    """Print the comparison of the finished results. With --out, write it as a page with charts, costs and tables."""
    from pipeline.grid import open_grid
    from pipeline.reports.write import content_of, report_text, write_report

    grid = open_grid(experiment, workspace, data, weights, existing=True)
    if out is None:
        print(report_text(grid.plan, grid.workspace))
        return
    rerun = command("run", experiment, same_results(grid.workspace.address, data, weights))
    for path in write_report(content_of(grid.plan, grid.workspace, rerun), out):
        print(path)
