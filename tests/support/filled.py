"""Plans and workspaces with made-up results, to draw reports without training anything."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.experiment import Experiment
from pipeline.plan.kinds import PER_QUERY
from pipeline.plan.stage import Plan, Stage
from pipeline.plan.unfold import plan
from pipeline.results import Result
from pipeline.stages.attempt import execute
from pipeline.storage.workspace import Workspace
from support.grids import done, quiet, task_of

Answer = Callable[[Stage], Result | None]


def filled(document: dict[str, Any], answer: Answer) -> Plan:
    """Return the plan of an experiment in which each stage has the result that `answer` returns, None if not done.

    A stage gets a key and a result only if all stages that it needs have results and it lacks nothing.
    """
    planned = plan(Experiment.model_validate(document))
    for stage in planned.stages.values():
        if getattr(stage, "lacks", None) or any(planned.stages[name].result is None for name in stage.needs.values()):
            continue
        stage.key = stage.name
        stage.result = answer(stage)
    return planned


def scores(rank1: float, mAP: float, rank5: float = 0.9, **more: float) -> Result:
    """Return the result of an evaluation, with scores as fractions."""
    return {"metrics": {"rank1": rank1, "rank5": rank5, "rank10": 0.95, "mAP": mAP, "mINP": 0.1, **more}}


def answer_all(stage: Stage) -> Result:
    """Return a result for every stage, the same one for every evaluation."""
    if stage.kind == "search":
        return {"genotype": "GGEGAGGNGAEA"}
    if stage.kind == "measure":
        return {"metrics": {"parameters": 2_000_000, "latency_ms": 10.0, "latency_ms_iqr": 0.1}}
    return scores(0.75, 0.5) if stage.kind == "evaluate" else {}


def published(document: dict[str, Any], workspace: Workspace) -> Plan:
    """Publish made-up results of an experiment's searches, trainings and scores, with the files that reports read.

    Only the datasets are really prepared. So a workspace with all results takes a second.
    """
    workspace.make()
    planned = plan(Experiment.model_validate(document))
    for stage in planned.stages.values():
        task = task_of(stage, planned)
        if stage.kind == "prepare":
            done(execute(workspace.address, task, quiet))
        else:
            attempt = workspace.begin(task.kind, task.key)
            genotype = task.spec.get("genotype") or _genotype_behind(stage, planned)
            result: Result = {"network": "msinet", "genotype": genotype, "train_seconds": 1.0, "images": 8}
            if stage.kind in ("evaluate", "score"):
                result["metrics"] = _queries(attempt.folder / PER_QUERY, task.key)
            workspace.publish(attempt, {**result, "spec": task.spec, "started": 0.0, "seconds": 1.0})
        planned.resolve(workspace.result)
    return planned


def _genotype_behind(stage: Stage, planned: Plan) -> str:
    """Return the genotype of the training that a stage evaluates; a search finds twelve gates."""
    model = planned.stages[stage.needs["model"]].result if "model" in stage.needs else None
    return str(model["genotype"]) if model else "GGGGGGGGGGGG"


def _queries(path: Path, seed: str) -> dict[str, float]:
    """Write made-up scores of 24 queries of twelve identities, and return their means."""
    rng = random.Random(seed)
    ranks = [rng.choice((1, 1, 2, 7)) for _ in range(24)]
    precisions = [rng.uniform(0.2, 1.0) / rank for rank in ranks]
    columns = {"pid": [str(n // 2) for n in range(24)], "average_precision": precisions, "first_match_rank": ranks}
    pq.write_table(pa.table({**columns, "inverse_negative_penalty": precisions}), path)
    hits = {f"rank{k}": sum(rank <= k for rank in ranks) / 24 for k in (1, 5, 10)}
    return {**hits, "mAP": sum(precisions) / 24, "mINP": sum(precisions) / 24, "num_valid_queries": 24}
