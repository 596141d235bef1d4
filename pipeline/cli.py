"""The command line: `msinet <verb> [EXPERIMENT]`.

Exit codes: 0 done, 1 some stages failed (the others are done and kept), 2 the request was wrong.
Heavy libraries are imported by the verbs that need them, so that `--help` answers at once.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pipeline.errors import RequestError

if TYPE_CHECKING:
    from pipeline.plan.stage import Plan
    from pipeline.storage.workspace import Workspace

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "configs" / "demo.yaml"

app = typer.Typer(
    help="Neural architecture search for object re-identification, on a Ray cluster, tracked in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # it would swallow [default: …]
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


@app.command()
def run(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    address: AddressOption = None,
) -> None:
    """Run what is not done yet, then print the comparison."""
    from pipeline.config.load import load_experiment
    from pipeline.plan.preflight import preflight, require_fitting_weights
    from pipeline.plan.unfold import plan
    from pipeline.reports.console import comparison, summary
    from pipeline.storage.open import require_conditions

    loaded, place = load_experiment(experiment, data or [], weights or []), _workspace(workspace)
    require_conditions(place.store)
    print(f"experiment {loaded.name} ({experiment}), workspace {place.address}", flush=True)
    planned = plan(loaded, preflight(loaded, place, lambda line: print(line, flush=True)), place.result)
    require_fitting_weights(planned)
    print(summary(planned), flush=True)

    if all(stage.lacks for stage in planned.stages.values() if stage.kind != "measure"):
        raise RequestError(f"nothing of {experiment} can run: it lacks what the lines above name.")
    if all(stage.result or stage.lacks for stage in planned.stages.values()):
        print("everything is done already", flush=True)
        failed, problem = False, _sync_problem(tracking_uri, planned, place)
    else:
        failed, problem = _run_on_ray(planned, place, tracking_uri, address)
    options = _options(workspace, data, weights)
    if problem:
        print(f"MLflow is behind ({problem}): `{_command('sync', experiment, options)}` brings it level.")
    print(
        f"\n{comparison(planned)}\n\n"
        f"results      {place.address}\n"
        f"this table   {_command('report', experiment, options)}\n"
        f"compare      {_command('ui', None, options[:2] if workspace else [])}: runs of kind `evaluate`, Compare",
        flush=True,
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def prepare(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    address: AddressOption = None,
) -> None:
    """Write the experiment's datasets into the workspace, and do nothing else."""
    from pipeline.config.load import load_experiment
    from pipeline.plan.preflight import preflight
    from pipeline.plan.stage import Plan
    from pipeline.plan.unfold import plan
    from pipeline.reports.console import summary

    loaded, place = load_experiment(experiment, data or []), _workspace(workspace)
    planned = plan(loaded, preflight(loaded, place, lambda line: print(line, flush=True)), place.result)
    datasets = Plan(loaded, {stage.name: stage for stage in planned.of_kind("prepare")})
    print(summary(datasets), flush=True)
    if any(not stage.result and not stage.lacks for stage in datasets.stages.values()):
        failed, _ = _run_on_ray(datasets, place, None, address, tracked=False)
        if failed:
            raise typer.Exit(1)


@app.command(name="plan")
def plan_command(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
) -> None:
    """Show the stages: done already, to run, or pending on what another stage finds; and how long they would take."""
    from pipeline.plan.estimate import device_hours
    from pipeline.reports.console import overview, summary

    planned, place = _planned(experiment, workspace, data, weights)
    measured = {kind: place.all_results(kind) for kind in ("search", "retrain")}
    print(f"{overview(planned, {})}\n\n{summary(planned)}\n\n{device_hours(planned, measured)}")


@app.command()
def status(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
) -> None:
    """Show what is done, and of what has failed the reason, the traceback and the end of the log."""
    from textwrap import indent

    from pipeline.reports.console import overview, summary

    planned, place = _planned(experiment, workspace, data, weights)
    failures = {}
    for stage in planned.stages.values():
        if stage.key and not stage.result and (failure := place.last_failure(stage.kind, stage.key)):
            failures[stage.name] = failure
    messages = {name: failure["message"] for name, failure in failures.items()}
    print(f"{overview(planned, messages)}\n\n{summary(planned)}")
    for name, failure in failures.items():
        print(f"\nfailed: {name}\n  {failure['message']}")
        for part in ("traceback", "log"):
            if failure.get(part):
                print(f"  {part}:\n{indent(failure[part].rstrip(), '    ')}")


@app.command()
def report(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
    out: Annotated[Path | None, typer.Option(help="A folder for report.html, report.md and tables/*.csv.")] = None,
) -> None:
    """Print the comparison from the results on disk; with --out write the paper's tables, published and measured."""
    from pipeline.reports.console import comparison

    planned, place = _planned(experiment, workspace, data, weights)
    if out is None:
        print(comparison(planned))
        return
    from pipeline.reports.write import pictures, write_report

    command = _command("run", experiment, _options(workspace, data, weights))
    for path in write_report(planned, out, command, pictures(planned, place)):
        print(path)


@app.command()
def sync(
    experiment: ExperimentPath = DEMO,
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    weights: WeightsOption = None,
) -> None:
    """Bring MLflow level with the workspace."""
    from pipeline.tracking.tracker import sync as sync_runs

    planned, place = _planned(experiment, workspace, data, weights)
    uri = _tracking_uri(tracking_uri, place)
    if planned.experiment.tune:
        from pipeline.tuning.outer import with_trials

        planned = with_trials(planned, place, print)
    print(f"MLflow shows {sync_runs(uri, planned, place)} results of {planned.experiment.name}")


@app.command()
def tune(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="The experiment's YAML file, with a section `tune`.")
    ],
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    data: DataOption = None,
    address: AddressOption = None,
) -> None:
    """Search recipes or genotypes by trials on held-out training identities; end in the best, or a Pareto front.

    A trial is a retraining without the last identities, and an evaluation on them: never on query or gallery.

    Run it again and it goes on where it was. The study lies in a journal in the workspace, or where `tune.storage` or
    MSINET_TUNE_STORAGE says: a journal's path, or a database's URL.
    """
    from pipeline.config.load import load_experiment
    from pipeline.tuning.fronts import front_of, text, write
    from pipeline.tuning.outer import Outer

    loaded, place = load_experiment(experiment, data or []), _workspace(workspace)
    if loaded.tune is None:
        raise RequestError(f"an experiment to tune must have a section `tune`, but {experiment} has none.")
    print(f"experiment {loaded.name} ({experiment}), workspace {place.address}", flush=True)
    outer = Outer(loaded, place, lambda line: print(line, flush=True))
    outer.check()
    problem = outer.run(address)
    print(f"\n{text(outer.study, loaded.tune)}\n")
    if front_of(outer.study, loaded.tune):
        for path in write(outer.study, loaded, place, outer.place):
            print(path)
    if place.root or _named_uri(tracking_uri):
        missed = _sync_problem(tracking_uri, outer.trials_plan(), place)
        if missed:
            options = _options(workspace, data, None)
            print(f"MLflow is behind ({missed}): `{_command('sync', experiment, options)}` brings it level.")
    if problem:
        print(f"not all {loaded.tune.trials} trials have ended ({problem}): run it again to go on", file=sys.stderr)
        raise typer.Exit(1)


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
        sound = [check_experiment(experiment, data or [], weights or [], _workspace(workspace))]
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

    options: dict[str, Any] = {} if genotype is None else {"genotype": genotype}
    if scales:
        options["scales"] = scales
    place = _workspace(workspace)
    print(evaluate_by_hand(model, network, options, data, image_size, place, after_neck=after_neck, rerank=rerank))


@app.command()
def ui(
    workspace: WorkspaceOption = None,
    tracking_uri: TrackingOption = None,
    port: Annotated[int, typer.Option(help="On loopback.")] = 5000,
) -> NoReturn:
    """Open MLflow's pages, on loopback."""
    uri = _tracking_uri(tracking_uri, _workspace(workspace))
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    arguments = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *arguments])


def _run_on_ray(
    planned: "Plan", workspace: "Workspace", tracking_uri: str | None, address: str | None, *, tracked: bool = True
) -> tuple[bool, str | None]:
    """Whether a stage failed, and what went wrong with MLflow."""
    from pipeline.cluster.connect import connect
    from pipeline.cluster.driver import ClusterLost, run_plan
    from pipeline.cluster.watcher import FAILED, SKIPPED
    from pipeline.reports.progress import Progress
    from pipeline.tracking.tracker import Tracker

    connect(address, planned.experiment.resources)
    uri = _shared_tracking_uri(tracking_uri, workspace) if tracked else None
    tracker = Tracker(uri, planned, workspace) if uri else None
    progress = Progress()
    try:
        outcome = run_plan(planned, workspace, [progress, *([tracker] if tracker else [])])
    except ClusterLost as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    progress.summary(outcome.states)
    failed = bool(outcome.names(FAILED) or outcome.names(SKIPPED))
    return failed, tracker.close(failed=failed) if tracker else None


def _sync_problem(tracking_uri: str | None, planned: "Plan", workspace: "Workspace") -> str | None:
    """Show in MLflow what was done before, by whatever experiment; what went wrong with that."""
    from pipeline.tracking.tracker import sync as sync_runs

    try:
        sync_runs(_tracking_uri(tracking_uri, workspace), planned, workspace)
    except RequestError as error:  # a view of the results: nothing about it may fail a run
        return f"{error}"
    return None


def _workspace(option: str | None) -> "Workspace":
    from pipeline.storage.workspace import Workspace, locate

    return Workspace(locate(option))


def _planned(
    experiment: Path, workspace: str | None, data: list[str] | None, weights: list[str] | None
) -> "tuple[Plan, Workspace]":
    """An experiment's plan with all that is known about it, nothing started."""
    from pipeline.config.load import load_experiment
    from pipeline.plan.preflight import known_fingerprints
    from pipeline.plan.unfold import plan

    loaded, place = load_experiment(experiment, data or [], weights or []), _workspace(workspace)
    planned = plan(loaded, known_fingerprints(loaded, place), place.result)
    planned.find_measurements(place.all_results("measure"))
    return planned, place


def _shared_tracking_uri(option: str | None, workspace: "Workspace") -> str | None:
    """Where MLflow is; None where several machines have no server to share."""
    import ray

    several = len([node for node in ray.nodes() if node["Alive"]]) > 1
    if not _named_uri(option) and (several or workspace.root is None):
        reason = "a cluster of several machines" if several else "a workspace on S3"
        print(f"{reason} needs a tracking server (--tracking-uri): untracked; `msinet sync` fills it in later")
        return None
    return _tracking_uri(option, workspace)


def _tracking_uri(option: str | None, workspace: "Workspace") -> str:
    """Where MLflow is: as named, else beside the results."""
    from pipeline.tracking.tracker import default_uri

    uri = _named_uri(option) or default_uri(workspace)
    if uri is None:
        raise RequestError(
            f"a workspace on S3 needs a tracking server (--tracking-uri), but {workspace.address} has none."
        )
    return uri


def _named_uri(option: str | None) -> str | None:
    return option or os.environ.get("MLFLOW_TRACKING_URI")


def _options(workspace: str | None, data: list[str] | None, weights: list[str] | None) -> list[str]:
    """The options that another command needs to mean the same results."""
    return [
        *(["--workspace", workspace] if workspace else []),
        *(part for item in data or [] for part in ("--data", item)),
        *(part for item in weights or [] for part in ("--weights", item)),
    ]


def _command(verb: str, experiment: Path | None, options: list[str]) -> str:
    if experiment and experiment.is_relative_to(ROOT):
        experiment = experiment.relative_to(ROOT)  # a job runs in a copy of the project that goes with it
    return shlex.join(["msinet", verb, *([str(experiment)] if experiment else []), *options])


def main(arguments: list[str] | None = None) -> None:
    """The console script; a wrong request ends in one sentence and exit code 2."""
    try:
        app(arguments)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
