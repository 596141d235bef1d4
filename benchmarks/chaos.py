"""A grid whose workers, nodes and driver are killed: `python benchmarks/chaos.py --help`.

The script runs an experiment undisturbed, then again in an empty workspace. In the second run it kills workers, nodes
and the driver with SIGKILL, on a schedule that depends on a seed, and restarts what died. Then it compares every result
of both runs. It ends with exit code 1 if a result differs, was published twice, or does not have exactly one described
run in MLflow. Ray runs on this machine, on nodes of one core.
"""

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")
# The nodes below find no token of their own if Ray has never run here before.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import psutil
import yaml
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from pipeline.config.load import load_experiment
from pipeline.plan.kinds import KINDS as STAGE_KINDS
from pipeline.plan.stage import Plan
from pipeline.plan.unfold import plan
from pipeline.storage.workspace import RESULT, Workspace
from pipeline.tracking.parent import EXPERIMENT_FILE
from pipeline.tracking.runs import KEY_TAG

ROOT = Path(__file__).parent.parent
KINDS = {"worker": 0.76, "node": 0.12, "driver": 0.12}  # the share of kills for each kind
STAGES = tuple(f"ray::{kind} " for kind in STAGE_KINDS)  # Ray gives a process such a title while it runs a stage
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
# Notice a dead node after 3 s instead of 25, because a driver that starts meanwhile may wait for that node.
HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3, "health_check_timeout_ms": 1000}


class Grid:
    """A cluster and a driver on it.

    Args:
        experiment: File of the experiment.
        workspace: Folder for the results.
        log: File for the driver's output.
    """

    def __init__(self, experiment: Path, workspace: Path, log: Path) -> None:
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": HEALTH}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.cluster.add_node(**NODE) for _ in range(2)]
        self.log = log.open("w")
        self.tracking = f"sqlite:///{workspace}/mlflow.db"
        self.command = [
            *(sys.executable, str(ROOT / "pipeline" / "run_grid.py"), str(experiment)),
            *("--workspace", str(workspace), "--tracking-uri", self.tracking, "--address", self.cluster.address),
        ]
        self.starts = 0
        self.start_driver()

    def start_driver(self) -> None:
        """Start the driver, with the same command each time."""
        self.starts += 1
        self.driver = subprocess.Popen(self.command, stdout=self.log, stderr=subprocess.STDOUT)

    def kill(self, kind: str, rng: random.Random) -> bool:
        """Kill a worker, a node or the driver while a stage runs. Return whether a stage ran."""
        workers = busy_workers()
        if not workers:
            return False
        if kind == "driver":
            self.driver.send_signal(signal.SIGKILL)
            self.driver.wait()
            self.start_driver()
        elif kind == "node":
            node = self.nodes.pop(rng.randrange(len(self.nodes)))
            self.cluster.remove_node(node, allow_graceful=False)
            self.nodes.append(self.cluster.add_node(**NODE))
        else:
            rng.choice(workers).kill()
        return True

    def close(self) -> None:
        """End the driver and the cluster."""
        if self.driver.poll() is None:
            self.driver.kill()
        self.cluster.shutdown()
        self.log.close()


def busy_workers() -> list[psutil.Process]:
    """Return the processes in which a stage of this cluster runs. Ray gives them the stage's name as a title."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = process.cmdline()[0]
        except (psutil.Error, IndexError):
            continue
        if title.startswith(STAGES):
            found.append(process)
    return found


def undisturbed(experiment: Path, workspace: Path, log: Path) -> float:
    """Run the experiment to its end, and return the seconds that it took."""
    began = time.monotonic()
    grid = Grid(experiment, workspace, log)
    try:
        if grid.driver.wait() != 0:
            raise SystemExit(f"the undisturbed run must succeed, but did not: {log}")
    finally:
        grid.close()
    return time.monotonic() - began


def disturbed(
    experiment: Path, workspace: Path, log: Path, kills: int, every: float, seed: int
) -> tuple[Counter[str], int, float, list[str]]:
    """Run the experiment with kills; return kills by kind, starts of the driver, seconds and results that changed."""
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    seen: dict[Path, bytes] = {}
    changed: set[str] = set()
    began = time.monotonic()
    grid = Grid(experiment, workspace, log)
    kind, next_kill = None, time.monotonic() + every
    try:
        while grid.driver.poll() != 0:
            if grid.driver.poll() is not None:  # the driver ended by itself, for example because its node was lost
                grid.start_driver()
            for path in workspace.glob(f"stages/*/*/{RESULT}"):
                content = path.read_bytes()
                if seen.setdefault(path, content) != content:
                    changed.add(str(path))
            if time.monotonic() >= next_kill and done.total() < kills:
                kind = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
                if grid.kill(kind, rng):
                    done[kind] += 1
                    print(f"{time.monotonic() - began:6.0f} s  {done.total():3}  killed a {kind}", flush=True)
                    kind, next_kill = None, time.monotonic() + rng.expovariate(1 / every)
            time.sleep(0.1)
    finally:
        grid.close()
    return done, grid.starts, time.monotonic() - began, sorted(changed)


def differences(expected: tuple[Plan, Workspace], found: tuple[Plan, Workspace]) -> list[str]:
    """Return a line for each difference from the undisturbed run."""
    lines = []
    for name, stage in expected[0].stages.items():
        first, second = stage.result, found[0].stages[name].result
        if first is None or second is None:
            lines.append(f"{name}: not done")
            continue
        ignored = {"started", "seconds", "train_seconds", "attempt"}  # times, and the attempt that made the result
        if _without(first, ignored) != _without(second, ignored):
            lines.append(f"{name}: another result")
        folders = [workspace.files(result) for (_, workspace), result in ((expected, first), (found, second))]
        for path in sorted(folders[0].rglob("*.safetensors")):
            if path.read_bytes() != (folders[1] / path.relative_to(folders[0])).read_bytes():
                lines.append(f"{name}: another {path.name}")
    return lines


def _without(result: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in names}


def wrong_runs(tracking: str, name: str, kinds: dict[str, str]) -> list[str]:
    """Return a line for each stage without exactly one described run in MLflow, and for a wrong parent run.

    Args:
        tracking: Address of MLflow.
        name: Name of the experiment.
        kinds: Kinds of the stages, by key.
    """
    client = MlflowClient(tracking_uri=tracking)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id], max_results=5000)
    count = Counter(run.data.tags.get(KEY_TAG, "parent") for run in runs)
    lines = [f"{key}: {count[key]} runs" for key in (*kinds, "parent") if count[key] != 1]
    for run in runs:
        key = run.data.tags.get(KEY_TAG)
        if key is None:
            if EXPERIMENT_FILE not in [artifact.path for artifact in client.list_artifacts(run.info.run_id)]:
                lines.append(f"parent: its run has no {EXPERIMENT_FILE}")
        elif key in kinds and {shown.get("kind") for shown in (run.data.params, run.data.tags)} != {kinds[key]}:
            lines.append(f"{key}: its run must have `kind` {kinds[key]} as a parameter and as a tag")
    return lines


def main() -> None:
    """Run the experiment undisturbed and with kills, and compare the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=ROOT / "configs" / "demo.yaml")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between kills, on average")
    parser.add_argument("--longer", type=int, default=1, help="factor for the number of epochs, for a fast machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="folder for workspaces and logs [default: a new temporary folder]")
    options = parser.parse_args()
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    document = yaml.safe_load(options.experiment.read_text(encoding="utf-8"))
    planned = load_experiment(options.experiment)  # with the defaults of what the file does not name
    document.setdefault("search", {})["epochs"] = options.longer * planned.search.epochs
    in_domain = document.setdefault("retrain", {}).setdefault("in_domain", {})
    in_domain["epochs"] = options.longer * planned.retrain.in_domain.epochs
    document |= {"checkpoint_every": 2, "resources": {**document.get("resources", {}), "lease_seconds": 6}}
    experiment = folder / "experiment.yaml"
    experiment.write_text(yaml.safe_dump(document), encoding="utf-8")
    calm, fire = folder / "undisturbed", folder / "disturbed"

    alone = undisturbed(experiment, calm, folder / "undisturbed.log")
    print(f"undisturbed: {alone:.0f} s; logs in {folder}", flush=True)
    fired = disturbed(experiment, fire, folder / "disturbed.log", options.kills, options.every, options.seed)
    done, starts, seconds, changed = fired
    print(
        f"with kills: {seconds:.0f} s, {done.total()} kills ("
        + ", ".join(f"{done[kind]} {kind}s" for kind in KINDS)
        + f"), the driver started {starts} times"
    )

    loaded = load_experiment(experiment)
    expected, found = ((plan(loaded, lookup=Workspace(p).result), Workspace(p)) for p in (calm, fire))
    kinds = {str(stage.key): stage.kind for stage in found[0].stages.values()}
    problems = [
        *differences(expected, found),
        *(f"published twice: {path}" for path in changed),
        *wrong_runs(f"sqlite:///{fire}/mlflow.db", loaded.name, kinds),
    ]
    attempts = len(list(fire.glob("stages/*/*/attempts/*")))
    print(f"{len(kinds)} results, {attempts} attempts; {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    if done.total() < options.kills:
        print(f"the grid ended after {done.total()} of {options.kills} kills: lower --every or raise --longer")
    sys.exit(bool(problems) or done.total() < options.kills)


if __name__ == "__main__":
    main()
