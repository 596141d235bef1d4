"""What the run of a stage shows beside its labels and scores: name, settings, datasets, and a description."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msinet.files import json_text
from msinet.genotype import Genotype
from pipeline.plan.stage import HELD_OUT, Plan, Stage, content_hash
from pipeline.results import Result

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

NOTE_TAG = "mlflow.note.content"  # the description of a run, in Markdown
OWN_TAG = "msinet.note"  # hash of a description that was not written by a person
MOST = 7500  # characters of a description; MLflow cuts longer ones
SETTINGS = {"epochs": "epochs", "lr": "learning_rate", "batch_size": "batch_size"}  # name in a recipe -> in MLflow
DIGEST = 36  # characters that MLflow keeps of a dataset's fingerprint


def run_name(stage: Stage) -> str:
    """Return a short name of a stage, whose beginning tells runs apart: `MSINet street→campus s0`."""
    labels = stage.labels
    if stage.kind not in ("search", "retrain", "evaluate"):
        return stage.name
    source, target = str(labels["source"]), str(labels.get("target", labels["source"]))
    seed = f"s{labels['seed']}"
    if stage.kind == "search":
        return " ".join([seed_free(stage.name), seed])
    varied = varied_labels(stage)
    place = source if target in (source, f"held-out {source}") else f"{source}→{target}"
    held_out = ["held-out"] if labels.get("domain") == HELD_OUT or "hold_out" in stage.settings else []
    crossing = ["cross"] if stage.kind == "retrain" and labels.get("recipe") == "cross_domain" else []
    kind = ["train"] if stage.kind == "retrain" else []
    trial = [f"trial {labels['trial']}"] if "trial" in labels else []
    return " ".join([*trial, *kind, str(labels["origin"]), place, *held_out, *crossing, *varied, seed])


def varied_labels(stage: Stage) -> list[str]:
    """Return the alignment and the start of a network's training, where they are not the usual ones."""
    usual = {"alignment": "none", "start": "scratch"}
    return [str(stage.labels[name]) for name, value in usual.items() if stage.labels.get(name, value) != value]


def seed_free(name: str) -> str:
    """Return a stage's name without its seed."""
    return name.rpartition(" seed ")[0] or name


def settings_of(stage: Stage, plan: Plan) -> dict[str, str]:
    """Return epochs, learning rate, batch and picture size of a training, or of that of an evaluated network."""
    trained = plan.stages[stage.needs["model"]] if "model" in stage.needs else stage
    recipe = trained.settings.get("recipe", {})
    found = {shown: str(recipe[name]) for name, shown in SETTINGS.items() if name in recipe}
    size = stage.settings.get("image_size")
    return {**found, "image_size": "×".join(map(str, size))} if size else found


def datasets_of(stage: Stage, plan: Plan) -> "list[DatasetInput]":
    """Return the datasets that a stage reads, with their fingerprints."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    for role, entry, context in (
        ("source_data", "train_fingerprint", "training"),
        ("target_data", "fingerprint", "testing"),
    ):
        prepared = plan.stages[stage.needs[role]] if role in stage.needs else None
        if prepared is None or prepared.result is None or entry not in prepared.result:
            continue
        profile = {"fingerprint": prepared.result[entry], "images": prepared.result.get("images")}
        found.append(
            DatasetInput(
                Dataset(
                    name=str(prepared.labels["dataset"]),
                    digest=prepared.result[entry][:DIGEST],
                    source_type="msinet",
                    source=json_text({"stage": prepared.key}),
                    profile=json_text(profile),
                ),
                tags=[InputTag("mlflow.data.context", context)],
            )
        )
    return found


def genotype_text(genotype: Genotype) -> str:
    """Return a genotype as Markdown: its six cells as a row, and what its letters mean."""
    letters = genotype.letters
    cells = [letters[slot : slot + 2] for slot in range(0, len(letters), 2)]
    head = "| " + " | ".join(f"cell {number}" for number in range(1, len(cells) + 1)) + " |"
    row = "| " + " | ".join(f"`{' → '.join(cell)}`" for cell in cells) + " |"
    used = dict(zip(letters, genotype.operations, strict=True))
    meaning = ", ".join(f"{letter} {name.replace('_', ' ')}" for letter, name in sorted(used.items()))
    return "\n".join([f"**{genotype}**", "", head, "|---" * len(cells) + "|", row, "", meaning])


def scores_text(result: Result) -> str:
    """Return the scores of an evaluation as a table in Markdown."""
    names = [name for name in ("mAP", "rank1", "rank5", "rank10", "mINP") if name in result["metrics"]]
    values = [f"{100 * result['metrics'][name]:.1f}" for name in names]
    return "\n".join(
        [f"| {' | '.join(names)} |", "|---" * len(names) + "|", f"| {' | '.join(values)} |", "", "In percent."]
    )


def note_of(stage: Stage, plan: Plan) -> str:
    """Return the description of a finished stage's run: its genotype, and its scores. Empty if it has neither."""
    assert stage.result is not None
    parts = []
    if genotype := genotype_of(stage.result, plan):
        parts.append(genotype_text(genotype))
    if stage.kind == "evaluate":
        parts.append(scores_text(stage.result))
    return "\n\n".join(parts)


def note_tags(tags: Mapping[str, str], text: str) -> dict[str, str]:
    """Return the tags that describe a run; none if a person has written its description.

    Args:
        tags: The tags that the run has.
        text: The description, in Markdown.
    """
    there, text = tags.get(NOTE_TAG), text[:MOST]
    if not text or (there and tags.get(OWN_TAG) != content_hash(there)):
        return {}
    return {NOTE_TAG: text, OWN_TAG: content_hash(text)}


def genotype_of(result: Result, plan: Plan) -> Genotype | None:
    """Return the genotype that a result names, or None."""
    letters: Any = result.get("genotype")
    return Genotype.parse(letters, plan.experiment.space) if letters else None
