"""What the verbs share: the application, options of the same meaning, and commands as text."""

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
    rich_markup_mode=None,  # with it, help texts lose [default: …]
    pretty_exceptions_enable=False,
)
ExperimentPath = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="The experiment's YAML file.")]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        help="Where results live [default: $MSINET_WORKSPACE, else a folder in the user's data directory].",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="MLflow's server [default: $MLFLOW_TRACKING_URI, else an SQLite file in the workspace].",
    ),
]
DataOption = Annotated[
    list[str] | None, typer.Option("--data", metavar="NAME=PATH", help="Where a dataset of the experiment lies.")
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="NAME=PATH", help="Weights that a genotype or network starts from."),
]
AddressOption = Annotated[
    str | None, typer.Option(help="A Ray cluster to join [default: $RAY_ADDRESS, else Ray on this machine].")
]


def say(line: str) -> None:
    """Print a line at once, also where the output is a file."""
    print(line, flush=True)


def same_results(
    workspace: str | None = None, data: list[str] | None = None, weights: list[str] | None = None
) -> list[str]:
    """Return the options that another command needs to mean the same results."""
    return [
        *(["--workspace", workspace] if workspace else []),
        *(part for item in data or [] for part in ("--data", item)),
        *(part for item in weights or [] for part in ("--weights", item)),
    ]


def command(verb: str, experiment: Path | None, options: list[str]) -> str:
    """Return a command as a user types it."""
    if experiment and experiment.is_relative_to(ROOT):
        experiment = experiment.relative_to(ROOT)  # a job runs in a copy of the project that goes with it
    return shlex.join(["msinet", verb, *([str(experiment)] if experiment else []), *options])
