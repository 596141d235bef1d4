"""The parts that all verbs share: the application, the common options, and a function that writes a command as text."""

import os
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from pipeline.errors import Interrupted
from pipeline.paths import JOB_VARIABLE
from pipeline.tracking.address import has_secret

if TYPE_CHECKING:
    from pipeline.storage.workspace import Workspace

ROOT = Path(__file__).parents[2]
# The experiments that come with msinet. In the repository this is a link to configs/, in a wheel it is a folder.
CONFIGS = (Path(__file__).parents[1] / "configs").resolve()
DEMO = CONFIGS / "demo.yaml"


def experiment_file(experiment: str | Path) -> Path:
    """Return an experiment's file. `demo` or `paper/table7` is one that comes with msinet, if there is no such file."""
    own, supplied = Path(experiment), CONFIGS / f"{experiment}.yaml"
    return supplied if os.path.isfile(supplied) and not os.path.isfile(own) else own


# The order of the verbs in `msinet --help`.
GROUPS = {
    "Begin": ("init", "check", "plan"),
    "Run": ("run", "prepare", "status", "race", "tune"),
    "Compare": ("report", "compare", "rank", "sync", "ui"),
    "One model": ("evaluate", "export", "verify", "embed", "search-gallery", "latency"),
    "Workspace": ("clean", "bench"),
}


def examples(*commands: str) -> str:
    """Return the end of a help text: commands that a user can type, each with two spaces before what it does."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in commands)])


EXAMPLES = examples(
    "msinet run demo                       the whole pipeline on generated pictures",
    "msinet init /data/cars                from a folder of pictures to experiments",
    "msinet plan cars.yaml                 what would run, and how long it takes",
    "msinet run cars.yaml --until search   a part of it",
    "msinet report cars.yaml --out report  tables and a page",
    "msinet clean cars.yaml                what the workspace holds beside it",
)
HINTS = "`msinet VERB --help` explains a verb. `msinet --install-completion` lets the shell complete verbs and options."


class Verbs(typer.core.TyperGroup):
    """The verbs, in groups. Typer would end silently at Ctrl-C."""

    def format_commands(self, context: Any, formatter: Any) -> None:
        """Write the verbs of each group with the first sentence of their help."""
        listed = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in self.commands if name not in listed)
        for title, names in {**GROUPS, "Others": others}.items():
            rows = [(name, self.commands[name].get_short_help_str(90)) for name in names if name in self.commands]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

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
    epilog=f"{EXAMPLES}\n\n{HINTS}",
    rich_markup_mode=None,  # markup would remove [default: …] from help texts
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"msinet {version('msinet')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Neural architecture search for object re-identification, on a Ray cluster, tracked in MLflow."""


ExperimentPath = Annotated[
    Path,
    typer.Argument(
        metavar="EXPERIMENT",
        help="The experiment's YAML file, or the name of one that comes with msinet, such as mini/splits.",
        parser=experiment_file,
        show_default="demo",
    ),
]


def experiment_argument(section: str, example: str) -> Any:
    """Return the argument of a verb that needs an experiment with a certain setting.

    Args:
        section: What its file must hold.
        example: Name of such an experiment that comes with msinet.
    """
    told = f"The experiment's YAML file, with {section}; or {example}, which comes with msinet."
    return typer.Argument(metavar="EXPERIMENT", help=told, parser=experiment_file)


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
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print failures and the final table only, and no progress.")
]


def same_results(address: str, data: list[str] | None = None, weights: list[str] | None = None) -> list[str]:
    """Return the options by which another command finds the same results, from any folder.

    Args:
        address: Address of the workspace.
        data, weights: `NAME=PATH`, as the user gave them.
    """
    given = [("--data", item) for item in data or []] + [("--weights", item) for item in weights or []]
    named = [(option, *item.partition("=")[::2]) for option, item in given]
    files = (part for option, name, path in named for part in (option, f"{name}={Path(path).expanduser().absolute()}"))
    return ["--workspace", address, *files]


def command(verb: str, experiment: Path | None, options: list[str]) -> str:
    """Return a command as a user types it, in any folder."""
    return shlex.join([_program(), verb, *([_shown(experiment)] if experiment else []), *options])


def lacking_results(reason: str, experiment: Path, workspace: "Workspace", options: list[str], uri: str | None) -> str:
    """Return a line that says why MLflow lacks results, and by which command it gets them.

    Args:
        reason: What went wrong.
        experiment: The experiment's file.
        workspace: The workspace. If it is on S3, no command helps as long as nobody names a server.
        options: The options of `same_results`.
        uri: MLflow's address if the user named it.
    """
    line = f"MLflow lacks results ({reason.removesuffix('.')})."
    if uri is None and workspace.root is None:
        return line
    return f"{line} To add them: `{command('sync', experiment, [*options, *tracking_option(uri)])}`{tracking_note(uri)}"


def tracking_option(uri: str | None) -> list[str]:
    """Return the option that names MLflow's address again, unless the address may contain a password."""
    return ["--tracking-uri", uri] if uri and not has_secret(uri) else []


def tracking_note(uri: str | None) -> str:
    """Return what to say after a command whose address of MLflow is not shown."""
    return ", with MLflow's address as before (it may contain a password)" if uri and has_secret(uri) else ""


def _shown(experiment: Path) -> str:
    """Return an experiment as a command names it in any folder: by its path, or by its name if it comes with msinet."""
    experiment = experiment.absolute()
    if experiment.resolve().is_relative_to(CONFIGS):
        return str(experiment.resolve().relative_to(CONFIGS).with_suffix(""))
    if JOB_VARIABLE in os.environ and experiment.is_relative_to(ROOT):
        return str(experiment.relative_to(ROOT))  # in a Ray job, ROOT is a copy that Ray removes
    return str(experiment)


def _program() -> str:
    """Return how the user starts `msinet`: by its path if its environment is not activated."""
    installed = Path(sys.executable).with_name("msinet")
    outside = JOB_VARIABLE not in os.environ and shutil.which("msinet") is None
    return str(installed) if outside and installed.is_file() else "msinet"
