"""The parts that all verbs share: the application, the common options, and a function that writes a command as text."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "configs" / "demo.yaml"

app = typer.Typer(
    help="Neural architecture search for object re-identification, on a Ray cluster, tracked in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # markup would remove [default: …] from help texts
    pretty_exceptions_enable=False,
)
ExperimentPath = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="The experiment's YAML file.")]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        help="Where results are stored [default: $MSINET_WORKSPACE, else a folder in the user's data directory].",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="Address of the MLflow server [default: $MLFLOW_TRACKING_URI, else an SQLite file in the workspace].",
    ),
]
DataOption = Annotated[
    list[str] | None, typer.Option("--data", metavar="NAME=PATH", help="The path of one of the experiment's datasets.")
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="NAME=PATH", help="A file with weights that a genotype or network starts from."),
]
AddressOption = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster [default: $RAY_ADDRESS, else this machine].")
]


def say(line: str) -> None:
    """Print a line and flush it, so that it appears at once also if the output is a file."""
    print(line, flush=True)


def same_results(
    workspace: str | None = None, data: list[str] | None = None, weights: list[str] | None = None
) -> list[str]:
    """Return the options that another command needs to find the same results."""
    return [
        *(["--workspace", workspace] if workspace else []),
        *(part for item in data or [] for part in ("--data", item)),
        *(part for item in weights or [] for part in ("--weights", item)),
    ]


def command(verb: str, experiment: Path | None, options: list[str]) -> str:
    """Return a command as a user types it."""
    if experiment and experiment.is_relative_to(ROOT):
        experiment = experiment.relative_to(ROOT)  # in a Ray job, ROOT is a copy that Ray removes
    return shlex.join(["msinet", verb, *([str(experiment)] if experiment else []), *options])
