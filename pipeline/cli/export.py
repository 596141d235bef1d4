"""The verbs that take a model away: export, verify, embed, search-gallery."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.options import WorkspaceOption, app, examples

TrustOption = Annotated[
    bool, typer.Option("--trust", help="Open a .pt2 file, which can run code: only one that you made yourself.")
]
ModelOption = Annotated[
    Path, typer.Option("--model", metavar="FILE", help="A file that `export` wrote, or a retraining's weights.")
]


@app.command(
    epilog=examples(
        "msinet export weights.safetensors -o exported",
        "msinet export 3f9a1c -o exported --int8 market1501=/data/market",
    )
)
def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A file with weights, or the key of a retraining in the workspace (or its beginning)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the files are written.")],
    name: Annotated[
        str | None,
        typer.Option(
            help="First part of the files' names [default: that of MODEL; msinet_model for weights.safetensors]."
        ),
    ] = None,
    format: Annotated[
        list[str] | None, typer.Option(help="safetensors, onnx, openvino or pt2; may be repeated [default: all].")
    ] = None,
    int8: Annotated[
        str | None,
        typer.Option(
            metavar="KIND=PATH", help="Also write an INT8 file, calibrated on this dataset's training pictures."
        ),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="msinet, resnet50 or osnet [default: what MODEL says, else msinet].")
    ] = None,
    genotype: Annotated[
        str | None, typer.Option(help="For msinet: a published name, twelve letters or SPACE:LETTERS.")
    ] = None,
    scales: Annotated[list[int] | None, typer.Option(help="For osnet: its branches (3, 5, 7, 9).")] = None,
    image_size: Annotated[
        tuple[int, int] | None, typer.Option(metavar="H W", help="Picture size in pixels [default: what MODEL says].")
    ] = None,
    after_neck: Annotated[bool, typer.Option(help="Take embeddings after the necks.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a model as safetensors, ONNX, OpenVINO and torch.export files, with a card."""
    from pipeline.export.make import export_model
    from pipeline.storage.workspace import open_workspace

    options: dict[str, Any] = {} if genotype is None else {"genotype": genotype}
    if scales:
        options["scales"] = scales
    formats = format or ["safetensors", "onnx", "openvino", "pt2"]
    place = export_model(
        model, out, name, formats, network, options, image_size, int8, open_workspace(workspace), after_neck=after_neck
    )
    print(f"written to {place.folder}, with the card {place.name}.md. To check a file: `msinet verify FILE --data …`")


@app.command(epilog=examples("msinet verify exported/market.onnx --data market1501=/data/market"))
def verify(
    exported: Annotated[Path, typer.Argument(metavar="EXPORT", help="A file that `export` wrote.")],
    data: Annotated[list[str], typer.Option(help="A target, as KIND=PATH: market1501=/path, manifest=/path.")],
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The weights [default: the .safetensors file beside EXPORT].")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the runtime [default: all cores].")] = None,
    trust: TrustOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Check an exported file on a target: does it rank as the network does? Write the answer to its card.

    The card then also holds thresholds for false-positive rates of 1e-4, 1e-3 and 1e-2.
    """
    from pipeline.export.verify import verify_export
    from pipeline.storage.workspace import open_workspace

    print(verify_export(exported, data, against, open_workspace(workspace), threads=threads, trust=trust))


@app.command(epilog=examples("msinet embed crops --model exported/market.onnx -o crops.parquet"))
def embed(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with pictures; subfolders count.")],
    model: ModelOption,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The Parquet file to write.")],
    trust: TrustOption = False,
) -> None:
    """Embed all pictures of a folder. Pictures that cannot be read are named, and the rest goes on (exit code 1)."""
    from pipeline.export.folder import embed_folder

    told, whole = embed_folder(folder, model, out, trust=trust)
    print(told)
    if not whole:
        raise typer.Exit(1)


@app.command(
    name="search-gallery",
    epilog=examples(
        "msinet search-gallery crops.parquet person.jpg --model exported/market.onnx",
        "msinet search-gallery crops.parquet a.jpg b.jpg --model market.onnx --threshold 0.31",
    ),
)
def search_gallery(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="A Parquet file that `embed` wrote.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Pictures to search for.")],
    model: ModelOption,
    k: Annotated[int, typer.Option("-k", min=1, help="Pictures to show for each.")] = 10,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=2, help="Largest cosine distance to show, such as one of the card's.")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Show the pictures of a gallery that are nearest to each picture."""
    from pipeline.export.folder import search_gallery

    print(search_gallery(gallery, pictures, model, k, threshold, trust=trust))
