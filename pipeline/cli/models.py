"""The verbs that work on data and on single models, without Ray: check, evaluate, latency."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from msinet.files import json_text
from pipeline.cli.options import WeightsOption, WorkspaceOption, app, command, examples, experiment_file, same_results
from pipeline.errors import RequestError


@app.command(
    epilog=examples(
        "msinet check cars.yaml                          an experiment and its datasets",
        "msinet check --data market1501=/data/market     a dataset",
        "msinet check --data manifest=/data/cars",
    )
)
def check(
    experiment: Annotated[
        Path | None,
        typer.Argument(metavar="[EXPERIMENT]", help="The experiment's YAML file.", parser=experiment_file),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Without EXPERIMENT: KIND=PATH (market1501=/path). With it: NAME=PATH of one of its datasets."
        ),
    ] = None,
    weights: WeightsOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Check an experiment or a dataset. Print what was found and what is wrong, before a GPU is used."""
    if experiment is None and not data:
        raise RequestError("`check` must be given an experiment or `--data KIND=PATH`, but got neither.")
    from pipeline.checking import check_data, check_experiment
    from pipeline.cli.next_step import next_step
    from pipeline.config.load import kind_and_path

    if experiment is None:
        sound = [check_data(item) for item in data or []]  # also those behind one that is not sound
        if not all(sound):
            raise typer.Exit(2)
        print()
        for item in data or []:
            print(f"next: {command('init', None, [str(kind_and_path(item)[1].absolute())])}")
        return
    grid = check_experiment(experiment, workspace, data, weights)
    if grid is None:
        raise typer.Exit(2)
    print(next_step(grid, experiment, same_results(grid.workspace.address, data, weights)))


@app.command(
    epilog=examples(
        "msinet evaluate model.pth --genotype MSINet --data market1501=/data/market",
        "msinet evaluate weights.safetensors --data veri=/data/VeRi --rerank",
    )
)
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file with weights: ours, or released ones.")],
    data: Annotated[list[str], typer.Option(help="A target, as KIND=PATH: market1501=/path, manifest=/path.")],
    network: Annotated[
        str | None, typer.Option(help="msinet, resnet50 or osnet [default: what MODEL says, else msinet].")
    ] = None,
    genotype: Annotated[
        str | None,
        typer.Option(help="For msinet: a published name, twelve letters or SPACE:LETTERS [default: what MODEL says]."),
    ] = None,
    scales: Annotated[
        list[int] | None, typer.Option(help="For osnet: its branches (3, 5, 7, 9), all by default.")
    ] = None,
    image_size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="H W", help="Picture size in pixels [default: what MODEL says, else the dataset's own]."),
    ] = None,
    after_neck: Annotated[bool, typer.Option(help="Take embeddings after the necks.")] = False,
    rerank: Annotated[bool, typer.Option(help="Also print the scores after k-reciprocal re-ranking.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Evaluate one model on any datasets. This needs no experiment and no Ray."""
    from pipeline.by_hand import evaluate_by_hand
    from pipeline.storage.workspace import open_workspace

    options: dict[str, Any] = {} if genotype is None else {"genotype": genotype}
    if scales:
        options["scales"] = scales
    place = open_workspace(workspace)
    print(evaluate_by_hand(model, network, options, data, image_size, place, after_neck=after_neck, rerank=rerank))


@app.command(epilog=examples("msinet latency phone.json --image-size 256 128"))
def latency(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON file to write.")],
    image_size: Annotated[tuple[int, int], typer.Option(metavar="H W", help="Picture size in pixels.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that are embedded at once.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of a processor.")] = 1,
) -> None:
    """Measure on this machine what each operation adds to a network's latency, for searches of the scheme one_shot.

    The search takes the file as `scheme: {name: one_shot, latency: FILE, max_latency_ms: …}`. Measure on the device on
    which the network will run, while it does nothing else.
    """
    from pipeline.config.parts import MAX_SIDE, MIN_SIDE

    if min(image_size) < MIN_SIDE or max(image_size) > MAX_SIDE:
        raise RequestError(f"`--image-size` must be {MIN_SIDE} to {MAX_SIDE} pixels, but got {image_size}.")
    if not out.absolute().parent.is_dir():
        raise RequestError(f"FILE must be in a folder that exists, but got {out}.")
    import torch

    from msinet.engine.costs import measure_latencies

    torch.set_num_threads(threads)
    table = measure_latencies(image_size, torch.device("cuda" if torch.cuda.is_available() else "cpu"), batch_size)
    out.write_text(json_text(asdict(table), indent=1) + "\n", encoding="utf-8")
    slowest = table.base_ms + sum(map(max, table.operations_ms))
    print(f"{table.device}: {table.base_ms:.3g} to {slowest:.3g} ms for {batch_size} pictures, written to {out}")
