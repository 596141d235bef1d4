"""The kinds of stages, with one entry for each, and the names of the files in their results.

The code of a kind is the function `run` in `pipeline/stages/<kind>.py`. What one stage of it occupies is set in
`resources.<kind>` of an experiment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msinet.genotype import Genotype
from msinet.spaces import as_space
from pipeline.results import scored_queries

SHARDS, WEIGHTS, HISTORY = "shards", "weights.safetensors", "history.jsonl"
GENOTYPE, SPLIT = "genotype.json", "split.parquet"
PER_QUERY, EMBEDDING = "per_query.parquet", "embedding.safetensors"
PICTURES = ("ranked_lists.png", "activation_maps.png")

# Roles of the datasets that a combined one is made of.
PARTS = tuple(f"part{number:02}" for number in range(1, 21))

Contribution = Callable[[Mapping[str, Any]], Any]


def _no_outcome(result: Mapping[str, Any]) -> str:
    return ""


def _no_files(result: Mapping[str, Any]) -> tuple[str, ...]:
    return ()


def _always(*names: str) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
    return lambda result: names


@dataclass(frozen=True)
class Kind:
    """What the pipeline must know about all stages of one kind.

    Attributes:
        schema: A number in every key. Raise it when a change of the code gives the same specification another result.
        contribution: What the result adds to the specification of a stage that needs it, by the role in which that
            stage needs it.
        files: Function from a result to the names of its files. Without all of them the stage is not done.
        artifacts: Files of a result that its run in MLflow shows. Other files stay in the workspace.
        trains: Whether a stage trains for epochs. Plans estimate how long such stages take.
        scored: Whether the result's `metrics` are figures of a network, which MLflow shows.
        alone: Whether no other stage of the grid may run at the same time.
        outcome: Function from a result to the text after the stage's name in the line that says that it is done.
    """

    schema: int
    contribution: Mapping[str, Contribution] = field(default_factory=dict)
    files: Callable[[Mapping[str, Any]], tuple[str, ...]] = _no_files
    artifacts: tuple[str, ...] = ()
    trains: bool = False
    scored: bool = False
    alone: bool = False
    outcome: Callable[[Mapping[str, Any]], str] = _no_outcome


def _shards(result: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{SHARDS}/shard-{number:05}.arrow" for number in range(result["shards"]))


def _scored_files(result: Mapping[str, Any]) -> tuple[str, ...]:
    return (PER_QUERY,) if "hold_out" in result["spec"] else (PER_QUERY, EMBEDDING)


def found_genotype(result: Mapping[str, Any], candidate: int = 1) -> str:
    """Return a genotype that a search found, as text.

    Args:
        result: Result of the search.
        candidate: 1 for the genotype that the search derived, n for the n-th most probable one of its final mixture, or
            the n-th best one of a search that evaluated genotypes.

    Raises:
        ValueError: The mixture has fewer genotypes, or fewer were evaluated.
    """
    if candidate == 1:
        return str(result["genotype"])
    if "ranked" in result:
        if candidate > len(result["ranked"]):
            raise ValueError(
                f"`candidates` must be at most the number of evaluated genotypes, {len(result['ranked'])}, but got "
                f"{candidate} (derive.candidates)."
            )
        return str(result["ranked"][candidate - 1][0])
    from msinet.engine.certainty import likely_genotypes  # imports numpy; most plans do not need it

    space = as_space(result.get("spec", {}).get("space"))
    letters, _ = likely_genotypes(result["alphas"], candidate, space.column_letters)[-1]
    return str(Genotype(letters, space))


def _key(result: Mapping[str, Any]) -> Any:
    return result["key"]


def _scores(result: Mapping[str, Any]) -> str:
    metrics = result["metrics"]
    part = f" ({queries})" if (queries := scored_queries(metrics)) else ""
    return f": mAP {100 * metrics['mAP']:.1f} %, rank-1 {100 * metrics['rank1']:.1f} %{part}"


KINDS: dict[str, Kind] = {
    "prepare": Kind(
        schema=3,
        contribution={
            # A training does not depend on test images.
            **dict.fromkeys(("source_data", *PARTS), lambda result: result["train_fingerprint"]),
            "target_data": lambda result: {"fingerprint": result["fingerprint"], "protocol": result["protocol"]},
        },
        files=_shards,
    ),
    "search": Kind(
        schema=4,
        contribution={"genotype": found_genotype, "supernet": _key},
        files=_always(GENOTYPE, HISTORY, SPLIT, WEIGHTS),
        artifacts=(GENOTYPE, HISTORY, SPLIT),
        trains=True,
        outcome=lambda result: f": {result['genotype']}",
    ),
    "retrain": Kind(
        schema=4,
        contribution={"model": _key, "other_model": _key},
        files=_always(HISTORY, WEIGHTS),
        artifacts=(HISTORY,),
        trains=True,
    ),
    "evaluate": Kind(
        schema=4,
        contribution={"evaluation": _key, "other_evaluation": _key},
        files=_scored_files,
        artifacts=(PER_QUERY,),
        scored=True,
        outcome=_scores,
    ),
    "score": Kind(schema=1, files=_always(PER_QUERY), artifacts=(PER_QUERY,), scored=True, outcome=_scores),
    "measure": Kind(schema=2, scored=True, alone=True),  # other stages would disturb its times
    "proxy": Kind(schema=1, scored=True),
    "picture": Kind(schema=2, files=_always(*PICTURES), artifacts=PICTURES),
}

# The contributions by role alone: each role belongs to one kind only.
CONTRIBUTION = {role: contribute for kind in KINDS.values() for role, contribute in kind.contribution.items()}
