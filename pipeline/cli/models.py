"""The verbs on data and on single models, without Ray: check, evaluate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.options import WeightsOption, WorkspaceOption, app
from pipeline.errors import RequestError


@app.command()
def check(
    experiment: Annotated[
        Path | None, typer.Argument(metavar="[EXPERIMENT]", help="The experiment's YAML file.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="A dataset: KIND=PATH alone (market1501=/path), NAME=PATH for one of the experiment."),
    ] = None,
    weights: WeightsOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Look at configuration and data before a GPU is spent: what was found, what is wrong."""
    if experiment is None and not data:
        raise RequestError("`check` must be given an experiment or `--data KIND=PATH`, but got neither.")
    from pipeline.checking import check_data, check_experiment

    if experiment is None:
        sound = [check_data(item) for item in data or []]
    else:
        sound = [check_experiment(experiment, workspace, data, weights)]
    if not all(sound):
        raise typer.Exit(2)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file with weights, ours or released ones.")],
    data: Annotated[list[str], typer.Option(help="A target, as KIND=PATH: market1501=/path, manifest=/path.")],
    network: Annotated[str, typer.Option(help="msinet, resnet50 or osnet.")] = "msinet",
    genotype: Annotated[str | None, typer.Option(help="Of msinet: a published name or twelve letters.")] = None,
    scales: Annotated[list[int] | None, typer.Option(help="Of osnet: its branches, all four by default.")] = None,
    image_size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="H W", help="In pixels [default: the dataset's own].")
    ] = None,
    after_neck: Annotated[bool, typer.Option(help="Take embeddings after the necks.")] = False,
    rerank: Annotated[bool, typer.Option(help="Score after k-reciprocal re-ranking too.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Evaluate one model on any targets, without an experiment and without Ray."""
    from pipeline.by_hand import evaluate_by_hand
    from pipeline.storage.workspace import open_workspace

    options: dict[str, Any] = {} if genotype is None else {"genotype": genotype}
    if scales:
        options["scales"] = scales
    place = open_workspace(workspace)
    print(evaluate_by_hand(model, network, options, data, image_size, place, after_neck=after_neck, rerank=rerank))
