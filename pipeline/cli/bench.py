"""The verbs for benches: bench build, bench replay."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import DataOption, WorkspaceOption, app, command, examples, experiment_file
from pipeline.output import say

bench = typer.Typer(
    help="Make a table of all trainings of a workspace, and replay search schemes against it in seconds.",
    no_args_is_help=True,
    epilog=examples("msinet bench build", "msinet bench replay bench.parquet --scheme tpe"),
    rich_markup_mode=None,
)
app.add_typer(bench, name="bench")


@bench.command(
    epilog=examples(
        "msinet bench build                       everything in the workspace",
        "msinet bench build demo -o demo.parquet  what one experiment has evaluated",
    )
)
def build(
    experiments: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[EXPERIMENT]...",
            help="Experiments whose evaluations are collected [default: everything in the workspace].",
            parser=experiment_file,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The Parquet file. A card with the ending .md is written beside it.")
    ] = Path("bench.parquet"),
    data: DataOption = None,
) -> None:
    """Collect every training and evaluation of genotypes into one Parquet file, with a card in Markdown."""
    from msinet.bench import genotype_share, warning
    from msinet.bench.spread import share_text
    from pipeline.bench.build import build as build_bench
    from pipeline.bench.collect import collect
    from pipeline.grid import open_grid
    from pipeline.storage.workspace import open_workspace

    place = open_workspace(workspace)
    place.require_existing()
    plans = [open_grid(path, place.address, data, existing=True).plan for path in experiments or []]
    made = build_bench(collect(place, plans), place, out, say)
    counts = made.facts["counts"]
    for reason, number in counts["left_out"].items():
        print(f"left out: {number} evaluations {reason}")
    for group in made.groups:
        share = genotype_share(group)
        print(
            f"{group.name}, recipe {group.recipe[:8]}: {len(group.genotypes)} genotypes, {group.table.num_rows} "
            f"trainings, share of the variance that is the genotype's {share_text(share)}"
        )
        if sentence := warning(share):
            print(f"warning: {sentence}")
    print(f"{out}: {counts['evaluations']} rows, {out.stat().st_size / 1e6:.2f} MB\n{out.with_suffix('.md')}")
    print(f"\nnext: {command('bench', None, ['replay', str(out.absolute()), '--scheme', 'tpe'])}")


@bench.command(
    epilog=examples(
        "msinet bench replay bench.parquet --scheme tpe",
        "msinet bench replay bench.parquet --scheme evolution --budget 20 --plot curves.svg",
    )
)
def replay(
    table: Annotated[Path, typer.Argument(metavar="BENCH", help="A file that `msinet bench build` has written.")],
    scheme: Annotated[str, typer.Option(help="random, evolution, tpe, nsga2 or racing.")],
    budget: Annotated[
        int | None, typer.Option(help="Trainings in each repeat [default: half of the genotypes, at most 50].")
    ] = None,
    repeats: Annotated[int, typer.Option(help="How often the scheme runs, each time with other draws.")] = 50,
    target: Annotated[
        str | None, typer.Option(help="Dataset whose scores value the choice [default: the only in-domain one].")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Dataset whose scores the scheme sees, also a held-out one [default: the target]."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Dataset of the trainings, if there are several.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Beginning of a recipe's hash, if there are several.")] = None,
    space: Annotated[str | None, typer.Option(help="Search space, if there are several.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Also draw the curves into this .svg or .png file.")] = None,
) -> None:
    """Run a search scheme against a bench, and compare its choices with those of random search."""
    from pipeline.bench.told import draw, require_picture, text
    from pipeline.bench.versus import versus_random

    if plot:
        require_picture(plot)
    result = versus_random(
        table, scheme, budget, repeats, target=target, by=by, source=source, recipe=recipe, space=space, seed=seed
    )
    print(text(result))
    if plot:
        draw(result, plot)
        print(plot)
