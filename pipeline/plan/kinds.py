"""The kinds of stages, and the files that their results consist of."""

from collections.abc import Callable, Mapping
from typing import Any

KINDS = ("prepare", "search", "retrain", "evaluate", "measure", "picture")
# Raise a number when the same specification starts to mean another result.
SCHEMA = {"prepare": 3, "search": 4, "retrain": 4, "evaluate": 4, "measure": 2, "picture": 2}
# What the result of a needed stage adds to a specification, by the role it is needed in.
CONTRIBUTION: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "source_data": lambda result: result["train_fingerprint"],  # test images decide nothing about a training
    "target_data": lambda result: {"fingerprint": result["fingerprint"], "protocol": result["protocol"]},
    "genotype": lambda result: result["genotype"],
    "model": lambda result: result["key"],
    "other_model": lambda result: result["key"],
    "evaluation": lambda result: result["key"],
    "other_evaluation": lambda result: result["key"],
}


SHARDS, WEIGHTS, HISTORY = "shards", "weights.safetensors", "history.jsonl"
GENOTYPE, SPLIT = "genotype.json", "split.parquet"
PER_QUERY, EMBEDDING = "per_query.parquet", "embedding.safetensors"
PICTURES = ("ranked_lists.png", "activation_maps.png")


# Files of a result that its run shows, by kind; the others stay where `WEIGHTS_TAG` says.
ARTIFACTS: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "search": (GENOTYPE, HISTORY, SPLIT),
    "retrain": (HISTORY,),
    "evaluate": (PER_QUERY,),
    "measure": (),
    "picture": PICTURES,
}
