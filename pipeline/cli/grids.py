"""The verbs for a whole experiment: run, prepare, plan, status, report."""

from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.next_step import next_step, pages
from pipeline.cli.options import (
    DEMO,
    AddressOption,
    DataOption,
    ExperimentPath,
    QuietOption,
    TrackingOption,
    WeightsOption,
    WorkspaceOption,
    app,
    command,
    examples,
    lacking_results,
    same_results,
)
from pipeline.errors import RequestError
from pipeline.output import say, silence
from pipeline.tracking.address import is_server, named_address, shown

if TYPE_CHECKING:
    from pipeline.tracking.links import Link

EveryOption = Annotated[bool, typer.Option("--all", help="Show a line for each stage, with its key.")]
UntilOption = Annotated[
    str | None,
    typer.Option(metavar="KIND", help="Only stages of this kind, such as `search`, and those that they need."),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Only stages with these first words, such as 'retrain cars *seed 0', and those that they need.",
    ),
]


@app.command(
    epilog=examples(
        "msinet run demo                        the whole pipeline on generated pictures",
        "msinet run cars.yaml --until search    the searches and what they need",
        "msinet run cars.yaml --only 'retrain cars MSINet' --quiet",
    )
)
def run(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    address: AddressOption = None,
    until: UntilOption = None,
    only: OnlyOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run the stages that are not done yet, then print the comparison."""
    from pipeline.grid import open_grid, run_grid
    from pipeline.plan.choice import chosen
    from pipeline.plan.costs import costs_of
    from pipeline.plan.estimate import rest_of
    from pipeline.reports.console import summary
    from pipeline.reports.write import report_text

    uri = named_address(tracking_uri)
    tell = silence if quiet else say
    whole = open_grid(experiment, workspace, data, weights, verify=True, say=tell)
    grid = replace(whole, plan=chosen(whole.plan, until, only or []))
    stages = grid.plan.stages.values()
    stuck = all(stage.lacks for stage in stages if stage.kind != "measure")
    (say if stuck else tell)(f"{summary(grid.plan)}\n{rest_of(grid.plan, grid.workspace)}")
    if stuck:
        raise RequestError(f"no network of {experiment} can be trained: the lines above say what to give first.")
    if all(stage.result or stage.lacks for stage in stages):
        tell("everything is done already")
    ended = run_grid(grid, address=address, tracking_uri=tracking_uri, quiet=quiet)
    options = same_results(grid.workspace.address, data, weights)
    if ended.behind:
        say(lacking_results(ended.behind, experiment, grid.workspace, options, uri))
    found = report_text(whole.plan, grid.workspace)
    say(f"\n{found}")
    tell(f"\nresults      {grid.workspace.address}\nthis table   {command('report', experiment, options)}")
    if left := len(whole.plan.stages) - len(grid.plan.stages):
        tell(f"the rest     {command('run', experiment, options)}: {left} stages were not asked for")
    if ended.shown_at:
        tell(f"compare      {pages(ended.shown_at, grid.workspace.address, uri)}")
        for link in [] if ended.behind else _links(ended.shown_at, grid.experiment.name):
            tell(f"  genotypes ranked on {link.target}: {link.address}")
    if ended.left:
        costs = costs_of(whole.plan, grid.workspace)
        say(
            f"\n{costs}\nnot started because the budget is spent: {len(ended.left)} stages, such as `{ended.left[0]}`. "
            "Raise `budget.hours` and run the same command again to continue."
        )
    if ended.failed:
        raise _not_done(experiment, options)
    if ended.left:
        raise typer.Exit(1)


def _links(shown_at: str, name: str) -> "list[Link]":
    """Return the links to a server's pages; none if it does not answer any more, or if there is no server."""
    from pipeline.tracking.links import target_links

    if not is_server(shown_at):
        return []
    try:
        return target_links(shown_at, shown(shown_at).rstrip("/"), name)
    except RequestError:
        return []


@app.command(
    epilog=examples(
        "msinet prepare demo", "msinet prepare cars.yaml --data cars=/data/cars --workspace s3://bucket/msinet"
    )
)
def prepare(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write the experiment's datasets into the workspace. No other stage is run."""
    from pipeline.grid import open_grid, run_grid
    from pipeline.plan.choice import chosen
    from pipeline.reports.console import summary

    tell = silence if quiet else say
    grid = open_grid(experiment, workspace, data, verify=True, say=tell)
    datasets, options = chosen(grid.plan, "prepare"), same_results(grid.workspace.address, data)
    tell(summary(datasets))
    if run_grid(replace(grid, plan=datasets), address=address, track=False, quiet=quiet).failed:
        raise _not_done(experiment, options)
    tell(next_step(grid, experiment, options))


def _not_done(experiment: Path, options: list[str]) -> typer.Exit:
    """Say how to learn what failed, and return the end of the command."""
    say(f"not done     {command('status', experiment, options)}: shows which stages failed, and why")
    return typer.Exit(1)


@app.command(
    epilog=examples(
        "msinet plan demo",
        "msinet plan cars.yaml --all            every stage, with its name and key",
        "msinet plan cars.yaml --until search   a part of it",
    )
)
def plan(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    every: EveryOption = False,
    until: UntilOption = None,
    only: OnlyOption = None,
) -> None:
    """Show how many stages are done, and how long the rest would take. A pending stage needs another stage's result."""
    from pipeline.grid import open_grid
    from pipeline.plan.choice import chosen
    from pipeline.plan.costs import costs_of
    from pipeline.plan.estimate import rest_of
    from pipeline.reports.console import every_stage, overview, summary

    grid = open_grid(experiment, workspace, data, weights)
    part = chosen(grid.plan, until, only or [])
    stages = every_stage(part) if every else overview(part)
    print(f"{stages}\n\n{summary(part)}\n\n{rest_of(part, grid.workspace)}\n{costs_of(part, grid.workspace)}")
    given = [*(["--until", until] if until else []), *(word for name in only or [] for word in ("--only", name))]
    options = same_results(grid.workspace.address, data, weights)
    print(next_step(replace(grid, plan=part), experiment, [*options, *given]))


@app.command(
    epilog=examples("msinet status demo", "msinet status cars.yaml --all   every stage, with its state and key")
)
def status(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    every: EveryOption = False,
) -> None:
    """Show how many stages are done or failed. For a failed stage, show the reason, traceback and end of the log."""
    from pipeline.grid import open_grid
    from pipeline.plan.costs import costs_of
    from pipeline.reports.console import every_stage, overview, summary

    grid = open_grid(experiment, workspace, data, weights, existing=True)
    failures = {}
    for stage in grid.plan.stages.values():
        if stage.key and not stage.result and (failure := grid.workspace.last_failure(stage.kind, stage.key)):
            failures[stage.name] = failure
    stages = every_stage(grid.plan, failures) if every else overview(grid.plan, failures)
    print(f"{stages}\n\n{summary(grid.plan, failures)}\n\n{costs_of(grid.plan, grid.workspace)}")
    for name, failure in failures.items():
        print(f"\nfailed: {name}\n  {failure.message}")
        for part, text in (("traceback", failure.traceback), ("log", failure.log)):
            if text:
                print(f"  {part}:\n{indent(text.rstrip(), '    ')}")
    print(next_step(grid, experiment, same_results(grid.workspace.address, data, weights)))


@app.command(
    epilog=examples("msinet report demo", "msinet report cars.yaml --out report   a page with charts, and tables")
)
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
