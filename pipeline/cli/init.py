"""The verb `init`: from a folder of pictures to experiments."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import app, command, examples
from pipeline.errors import RequestError
from pipeline.output import say
from pipeline.paths import absolute


@app.command(
    epilog=examples(
        "msinet init /data/cars",
        "msinet init /data/cars --pattern '{camera}/{identity}_*.jpg'",
    )
)
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with pictures, or a published dataset's.")],
    pattern: Annotated[
        str | None,
        typer.Option(
            help="How paths in FOLDER name identity, camera and subset, such as '{camera}/{identity}_*.jpg'. "
            "[default: what the names suggest]"
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the dataset and the experiments [default: that of FOLDER].")
    ] = None,
    out: Annotated[Path, typer.Option(help="An existing folder for the experiments.")] = Path("."),
) -> None:
    """Make a manifest and experiments of a folder of pictures.

    A manifest is written if the folder does not have a known layout. One experiment has the paper's recipe, the other
    ends within an hour without a GPU. What the names do not say is printed, and nothing is overwritten.
    """
    from pipeline.config.names import require_name
    from pipeline.own_data.write import begin

    root, place = absolute(folder, "FOLDER"), absolute(out, "--out")
    for path, setting in ((root, "FOLDER"), (place, "--out")):
        if not path.is_dir():
            raise RequestError(f"`{setting}` must be a folder, but {path} is none.")
    if name is not None:
        try:
            require_name(name)
        except ValueError as error:
            raise RequestError(f"{error} (--name)") from None
    lines, written = begin(root.resolve(), place, name, pattern)
    say("\n".join(lines))
    for path in written:
        text = path.read_text(encoding="utf-8").splitlines()[1].removeprefix("# ")
        say(f"\nwritten: {path}\n  {text}")
    say(f"\nnext: {command('check', written[-1], [])}\nthen: {command('run', written[-1], [])}")
