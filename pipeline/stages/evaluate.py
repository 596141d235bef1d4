"""The stage `evaluate`: scores of a network on a target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from msinet.engine.evaluate import embed, rank_records
from msinet.engine.held_out import rank_others
from msinet.engine.state import save_tensors
from pipeline.plan.kinds import EMBEDDING, PER_QUERY
from pipeline.results import Result
from pipeline.stages.inputs import (
    device_of,
    divide_held_out,
    image_store,
    in_other_runtime,
    packed_dataset,
    records_of,
    trained_network,
)
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Rank a target's gallery for each of its queries, and save the scores of each query and the embeddings.

    The embeddings are those of the queries, then those of the gallery, each side sorted by path. A specification with
    `hold_out` ranks held-out training pictures instead, and saves no embeddings.
    """

    spec, device = context.spec, device_of(context.spec)
    trained = context.task.inputs["model"]
    model = trained_network(context, "model")
    if "hold_out" in spec:
        scores, per_query = evaluate_held_out(context, model)
        _save_per_query(context.out / PER_QUERY, per_query)
        return {"network": trained["network"], **trained["options"], "metrics": scores}
    packed = packed_dataset(context, "target_data")
    records = [*records_of(packed, "query"), *records_of(packed, "gallery")]
    store = image_store(context, "target_data", packed, records)
    embedding_ND = embed(
        model, store, device, after_neck=spec["after_neck"], run=_other_runtime(context, model, device)
    )
    protocol = spec["target_data"]["protocol"]
    scores, per_query = rank_records(records, embedding_ND, protocol, rerank=False)
    if spec["rerank"]:
        reranked, _ = rank_records(records, embedding_ND, protocol, rerank=True)
        scores |= {f"reranked_{name}": value for name, value in reranked.items()}
    _save_per_query(context.out / PER_QUERY, per_query)
    save_tensors(context.out / EMBEDDING, {"embedding_ND": embedding_ND})
    return {"network": trained["network"], **trained["options"], "metrics": scores}


def evaluate_held_out(context: Context, model: Any) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """Rank all other held-out training pictures for each of them; return what `rank_records` returns."""

    packed = packed_dataset(context, "source_data")
    _, records = divide_held_out(context, packed)
    store = image_store(context, "source_data", packed, records)
    device, after_neck = device_of(context.spec), context.spec.get("after_neck", False)
    run = _other_runtime(context, model, device)
    return rank_others(records, embed(model, store, device, after_neck=after_neck, run=run))


def _other_runtime(context: Context, model: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor] | None:
    """Return what embeds pictures if that is not PyTorch. A training whose epochs are scored has no such setting."""
    if "runtime" not in context.spec:
        return None
    trained = context.task.inputs["model"]
    return in_other_runtime(context, model, trained["network"], trained["options"], device, "evaluation_runtime")


def _save_per_query(path: Path, per_query: dict[str, list[Any]]) -> None:

    pq.write_table(pa.table(per_query), path)
