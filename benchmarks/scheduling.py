"""How busy the driver keeps a cluster, and how much time it needs per stage: `python benchmarks/scheduling.py --help`.

The cluster has light nodes with pretended GPUs on this machine. A real experiment is planned, but every stage only
sleeps, for a random time from a skewed distribution. This measures the driver: which stages it submits, and when.

The start of processes is not measured. Here one process for each GPU is started before the clock and runs stage after
stage, while `msinet run` starts a new process for each stage on a GPU, which frees all of its memory. Ray needs 0.7 s
of a core to start a process, and the imports take additional time. That is little compared with a stage of minutes, on
a node that has a core for each GPU.

The script ends with an error if the GPUs were busy for less than 95 % of the time in which stages waited.
"""

import argparse
import asyncio
import os
import random
import secrets
import statistics
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from pipeline.cluster.watcher import Watcher
from pipeline.results import Failure

os.environ.setdefault("RAY_AUTH_MODE", "token")
# The nodes below find no token of their own if Ray has never run here before.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from ray.cluster_utils import Cluster

from pipeline.cluster.driver import run_plan
from pipeline.cluster.watcher import Outcome
from pipeline.config.experiment import Experiment
from pipeline.plan.stage import Plan, Stage, content_hash
from pipeline.plan.unfold import plan
from pipeline.results import Done, Ended
from pipeline.stages.task import Task
from pipeline.storage.workspace import Workspace

# Mean seconds of a stage by kind. This grid has one retraining and two evaluations for each search.
MEANS = {"prepare": 1.0, "search": 60.0, "retrain": 40.0, "evaluate": 10.0}
GOAL = 0.95  # share of the GPUs that must be busy while stages wait
TICK = 1.0  # seconds that the driver may take to notice that a stage is ready
SKEW = 0.8  # sigma of the log-normal times: the longest twentieth takes more than 3 times the median


@ray.remote(max_retries=0, max_calls=0)
def sleep(kind: str, key: str, spec: dict[str, Any], board: Any) -> Ended:
    """Sleep, and return a result to which the next stages can bind."""
    started = time.time()
    board.post.remote(key, started)
    time.sleep(spec["seconds"])
    letters = random.Random(key).choices("NGAE", k=12)
    result = {"kind": kind, "key": key, "spec": spec, "started": started, "attempt": "none", "metrics": {}}
    part = {"genotype": "".join(letters), "fingerprint": key, "train_fingerprint": key, "protocol": "fixed"}
    return Done({**result, **part, "seconds": time.time() - started})


class SleepTask:
    """A replacement for `run_task`. Workers get plain values and do not import torch, because cores are few here."""

    def __init__(self, **options: Any) -> None:
        self._sleep = sleep.options(**options)  # type: ignore[attr-defined]

    @staticmethod
    def options(**options: Any) -> "SleepTask":
        """Return a task with these options, like the same method of a remote function."""
        return SleepTask(**options)

    def remote(self, address: str, task: Task, board: Any, holder: str) -> Any:
        """Submit a stage."""
        return self._sleep.remote(task.kind, task.key, task.spec, board)


@ray.remote(num_cpus=0)
class Gate:
    """A gate that opens when as many callers as expected wait at it."""

    def __init__(self, expected: int) -> None:
        self.missing = expected
        self.open = asyncio.Event()

    async def enter(self) -> None:
        """Wait until all others are here too."""
        self.missing -= 1
        if not self.missing:
            self.open.set()
        await self.open.wait()


@ray.remote(num_cpus=0.01, num_gpus=1, max_calls=0)
def enter(gate: Any) -> None:
    """Occupy a GPU until all GPUs are occupied."""
    ray.get(gate.enter.remote())


def start_processes(gpus: int) -> float:
    """Start a process for every GPU and return the seconds that took. A real node has its own cores for that."""
    began = time.time()
    gate = Gate.remote(gpus)  # type: ignore[attr-defined]
    ray.get([enter.remote(gate) for _ in range(gpus)])
    return time.time() - began


@dataclass
class Clock(Watcher):
    """A watcher that counts finished stages, and ends the benchmark if a stage fails."""

    ended: int = 0

    def retried(self, stage: Stage, reason: str) -> None:
        """Raise an error, because only a bug of this benchmark can cause a retry."""
        raise RuntimeError(f"{stage.name}: {reason}")

    def finished(self, stage: Stage) -> None:
        """Count the stage."""
        self.ended += 1

    def failed(self, stage: Stage, failure: Failure) -> None:
        """Raise an error, because only a bug of this benchmark can make a stage fail."""
        raise RuntimeError(f"{stage.name}: {failure.message}")


def experiment(stages: int) -> Experiment:
    """Return a grid with about so many stages, four for each search."""
    sources = {f"domain{n}": {"kind": "synthetic", "category": "person", "domain": "street"} for n in range(10)}
    seeds = list(range(max(1, round(stages / 4 / len(sources) / 5))))
    return Experiment.model_validate(
        {
            "name": "scheduling",
            "datasets": {name: {**data, "seed": n} for n, (name, data) in enumerate(sources.items())},
            "sources": list(sources),
            "targets": {name: [name, f"domain{(n + 1) % 10}"] for n, name in enumerate(sources)},
            "splits": ["60-80", "50-50", "80-60", "33-67", "67-33"],
            "search_seeds": seeds,
            "retrain": {"cross_domain": "same"},
            "resources": {kind: {"cpus": 0.01, "gpus": 1 if kind != "prepare" else 0} for kind in MEANS},
        }
    )


def sleeping(planned: Plan, scale: float) -> Plan:
    """Return the plan with a time to sleep in every stage. The time depends only on the stage's name and `scale`."""
    for stage in planned.stages.values():
        rng = np.random.default_rng(int(content_hash(stage.name)[:8], 16))
        mean = MEANS[stage.kind] * scale
        stage.settings["seconds"] = float(rng.lognormal(np.log(mean) - SKEW**2 / 2, SKEW))
    return planned


def busy_while_waiting(planned: Plan, gpus: int, least: int = 1, grace: float = 0.0) -> tuple[float, float]:
    """Return how busy the GPUs were while stages waited for a GPU.

    Args:
        planned: Plan whose stages are all done.
        gpus: Number of GPUs; a stage occupies one.
        least: Only moments count in which at least so many stages ran or waited.
        grace: Seconds in which a stage does not count as waiting, from the end of the last stage that it needs.

    Returns:
        (Share of the GPUs that worked in the moments that count, seconds of all these moments.)
    """
    results = planned.results()
    events = []  # (time, change of stages at work, change of stages that wait)
    for stage in planned.stages.values():
        result = results[stage.name]
        if stage.kind == "prepare":
            continue
        ready = grace + max(results[name]["started"] + results[name]["seconds"] for name in stage.needs.values())
        start, end = result["started"], result["started"] + result["seconds"]
        if ready < start:
            events += [(ready, 0, 1), (start, 0, -1)]
        events += [(start, 1, 0), (end, -1, 0)]
    busy = waiting_time = 0.0
    at_work = waiting = 0
    before = min(event[0] for event in events)
    for moment, work, wait in sorted(events):
        if waiting > 0 and at_work + waiting >= least:
            busy += min(at_work, gpus) * (moment - before)
            waiting_time += moment - before
        at_work, waiting, before = at_work + work, waiting + wait, moment
    return busy / (gpus * waiting_time) if waiting_time else 1.0, waiting_time


def main() -> None:
    """Run the plan and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of one node")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for all times")
    options = parser.parse_args()
    planned = sleeping(plan(experiment(options.stages)), options.scale)
    seconds = [stage.settings["seconds"] for stage in planned.stages.values() if stage.kind != "prepare"]
    gpus = options.nodes * options.gpus
    print(
        f"{len(planned.stages)} stages of {statistics.mean(seconds):.1f} s on average (median "
        f"{statistics.median(seconds):.1f}, longest {max(seconds):.0f}), {gpus} pretended GPUs on {options.nodes} "
        f"nodes, {os.cpu_count()} cores; at best {sum(seconds) / gpus:.0f} s",
        flush=True,
    )
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(options.nodes):
        # A node has as many cores as GPUs, because Ray keeps as many idle processes as a node has cores.
        cluster.add_node(num_cpus=options.gpus, num_gpus=options.gpus, object_store_memory=80_000_000)
    ray.init(address=cluster.address, log_to_driver=False)
    print(f"{gpus} processes started in {start_processes(gpus):.0f} s, before the clock", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.time(), time.process_time()
        outcome: Outcome = run_plan(planned, Workspace(folder), [Clock()], run=SleepTask)
        wall, cpu = time.time() - wall, time.process_time() - cpu
    assert set(outcome.states.values()) == {"done"}, outcome.states
    print(f"all done in {wall:.0f} s")
    shares = []
    for what, least, grace in (
        ("enough stages were ready for all", gpus, 0.0),
        (f"any stage had been ready for more than {TICK:g} s", 1, TICK),
    ):
        share, seconds_so = busy_while_waiting(planned, gpus, least, grace)
        print(f"GPUs busy while {what}: {100 * share:.1f} % (over {seconds_so:.0f} s)")
        shares.append(share)
    print(f"GPUs busy over all: {100 * sum(seconds) / gpus / wall:.1f} %")
    print(f"the driver's own time: {1000 * cpu / len(planned.stages):.1f} ms of a core per stage")
    ray.shutdown()
    cluster.shutdown()
    if min(shares) < GOAL:
        raise SystemExit(
            f"GPUs must be busy for {100 * GOAL:g} % of the time in which stages wait, but were for "
            f"{100 * min(shares):.1f} %."
        )


if __name__ == "__main__":
    main()
