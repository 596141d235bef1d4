"""Distance thresholds for wanted false-positive rates, from the embeddings that evaluations have published."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.plan.kinds import EMBEDDING, KINDS, SHARDS
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.panels import Panel, Picture
from pipeline.storage.workspace import Workspace
from pipeline.tracking.registry import Chosen, chosen_models

if TYPE_CHECKING:
    from msinet.statistics.operating import OperatingPoint, PairCounts

HEADER = ["target", "network", "false positives", "largest distance", "smallest similarity", "true positives, %"]
MEANING = (
    "Two pictures count as one identity if their cosine distance is below the threshold. False positives are a share "
    "of the pairs of two identities, true positives of the pairs of one identity that two cameras have taken. In "
    "brackets: the 95 % interval over the identities of the queries, which also holds how uncertain the threshold is. "
    "A threshold belongs to these weights and to cameras like those of the target."
)


def operating_panels(plan: Plan, workspace: Workspace) -> list[Panel]:
    """Return thresholds and curves of the chosen network of each target; nothing if no target has an evaluation.

    The network is the one that MLflow registers (`pipeline.tracking.registry`), of the first retraining seed.

    Args:
        plan: A plan that was resolved against a workspace.
        workspace: Workspace with the embeddings of the evaluations and the records of the targets.
    """
    from msinet.statistics.operating import RATES, operating_points  # most commands compute none

    rows, notes, pictures = [], [], []
    for chosen in chosen_models(plan):
        evaluation = _evaluation(plan, chosen)
        counts = _counts(plan, workspace, evaluation)
        if isinstance(counts, str):
            notes.append(f"{chosen.target}: {counts}.")
            continue
        points = operating_points(counts, RATES)
        assert evaluation.result is not None
        name = str(evaluation.result.get("genotype") or evaluation.labels["origin"])
        rows += [[chosen.target, name, *_texts(point)] for point in points]
        told = f"{counts.positive.sum():,} pairs of one identity and {counts.negative.sum():,} of two"
        few = ". Smaller rates need more pairs of two identities" if len(points) < len(RATES) else ""
        notes.append(f"{chosen.target}: {chosen.reason} {told}{few}.")
        pictures.append(_picture(chosen.target, name, counts, points))
    if not (rows or notes):
        return []
    table = [HEADER, *rows] if rows else []
    return [Panel("operating", "Thresholds of the distance", table, [*notes, MEANING], pictures)]


def _evaluation(plan: Plan, chosen: Chosen) -> Stage:
    stages = (stage for stage in plan.of_kind("evaluate") if stage.on_target and stage.result)
    return next(s for s in stages if s.needs["model"] == chosen.model.name and s.labels["target"] == chosen.target)


def _counts(plan: Plan, workspace: Workspace, evaluation: Stage) -> "PairCounts | str":
    """Return the pairs of an evaluation by their distance, or why they cannot be counted."""
    prepared = plan.stages[evaluation.needs["target_data"]].result
    assert evaluation.result is not None
    assert prepared is not None
    shards = workspace.nearby(prepared, KINDS["prepare"].files(prepared))
    if shards is None:
        return "no thresholds, because this machine has no copy of the prepared dataset, which names the identities"
    embeddings = workspace.file(evaluation.result, EMBEDDING)
    if embeddings is None:
        return "no thresholds, because the embeddings of the evaluation are gone"
    try:
        return count_evaluation(embeddings, shards / SHARDS, prepared["protocol"])
    except ValueError as error:
        return f"no thresholds: {error}".removesuffix(".")


def count_evaluation(embeddings: Path, shards: Path, protocol: str) -> "PairCounts":
    """Return the pairs of a published evaluation by their distance. Of random galleries, the first one counts.

    Args:
        embeddings: The file of its embeddings.
        shards: Folder with the shards of the target.
        protocol: How the target is scored (`msinet.engine.evaluate.rank_records`).

    Raises:
        ValueError: Fewer than two identities have pairs of both kinds, or a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from msinet.data.galleries import sides
    from msinet.data.shards import target_records
    from msinet.engine.pairs import count_pairs

    records = target_records(shards)
    try:
        embedding_ND = load_file(embeddings)["embedding_ND"]
    except (SafetensorError, KeyError, OSError) as error:
        raise ValueError(f"{embeddings} must hold the embeddings of an evaluation, but: {error}.") from error
    if len(embedding_ND) != len(records):
        raise ValueError(f"{embeddings} must hold {len(records):,} embeddings, but it holds {len(embedding_ND):,}.")
    query, gallery = (([records[i] for i in side], embedding_ND[side]) for side in sides(records, protocol)[0])
    return count_pairs(*query, *gallery)


def _texts(point: "OperatingPoint") -> Iterator[str]:
    yield f"{point.wanted:g}"
    yield f"{point.threshold:.4f}"
    yield f"{1 - point.threshold:.4f}"
    rate = point.true_positive_rate.scaled(100)
    yield f"{rate.estimate:.1f} ({rate.low:.1f} to {rate.high:.1f})"


def _picture(target: str, network: str, counts: "PairCounts", points: "list[OperatingPoint]") -> Picture:
    from msinet.visual.figures import svg_of
    from msinet.visual.operating import draw_operating

    caption = f"{target}, {network}: true positives over false positives; numbers are thresholds of the distance"
    name = "operating-" + re.sub("[^A-Za-z0-9]+", "-", target)
    return Picture(caption, svg_of(draw_operating(counts, points), name, caption))
