"""The parts that all verbs share: the application, the common options, and a function that writes a command as text."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from pipeline.errors import Interrupted

ROOT = Path(__file__).parents[2]
# The experiments that come with msinet. In the repository this is a link to configs/, in a wheel it is a folder.
CONFIGS = (Path(__file__).parents[1] / "configs").resolve()
DEMO = CONFIGS / "demo.yaml"


def experiment_file(experiment: str | Path) -> Path:
    """Return an experiment's file. `demo` or `paper/table7` is one that comes with msinet, if there is no such file."""
    own, supplied = Path(experiment), CONFIGS / f"{experiment}.yaml"
    return supplied if os.path.isfile(supplied) and not os.path.isfile(own) else own


class Verbs(typer.core.TyperGroup):
    """The verbs. Typer would end silently at Ctrl-C."""

    def invoke(self, context: Any) -> Any:
        """Run the chosen verb."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            raise Interrupted from None


app = typer.Typer(
    cls=Verbs,
    help="Neural architecture search for object re-identification, on a Ray cluster, tracked in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # markup would remove [default: …] from help texts
    pretty_exceptions_enable=False,
)
ExperimentPath = Annotated[
    Path,
    typer.Argument(
        metavar="EXPERIMENT",
        help="The experiment's YAML file, or the name of one that comes with msinet, such as mini/splits.",
        parser=experiment_file,
        show_default="demo",
    ),
]
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
    if experiment and experiment.is_relative_to(CONFIGS):
        experiment = experiment.relative_to(CONFIGS).with_suffix("")
    elif experiment and experiment.is_relative_to(ROOT):
        experiment = experiment.relative_to(ROOT)  # in a Ray job, ROOT is a copy that Ray removes
    return shlex.join(["msinet", verb, *([str(experiment)] if experiment else []), *options])
