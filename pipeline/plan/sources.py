"""The stages that trainings begin with: prepared datasets and searches."""

import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from msinet.data.synthetic import RENDERER_VERSION
from msinet.recipes import BatchRecipe
from msinet.schemes import MIXTURE
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData, SearchSplit
from pipeline.plan.kinds import PARTS
from pipeline.plan.stage import Stage


@cache  # many stages have one recipe
def recipe_numbers(recipe: BatchRecipe) -> dict[str, Any]:
    """Return the numbers of a recipe as a specification holds them: without the scheme if it is the paper's."""
    numbers = asdict(recipe)
    if getattr(recipe, "scheme", None) == MIXTURE:
        del numbers["scheme"]
    return numbers


def prepare_stage(experiment: Experiment, name: str, fingerprint: str | None) -> Stage:
    """Return the stage that prepares a dataset.

    Args:
        experiment: The experiment.
        name: Name of the dataset.
        fingerprint: Fingerprint of a dataset on disk, None if it is not known.
    """
    data = experiment.datasets[name]
    location: dict[str, str] = {}
    lacks = None
    if isinstance(data, DiskData):
        dataset: dict[str, Any] = {"kind": data.kind, "fingerprint": fingerprint}
        location = {"path": str(data.path)}
        if data.path is None:
            lacks = f"needs data: give `datasets.{name}.path` or --data {name}=PATH"
    else:
        dataset = {"kind": data.kind, **asdict(data.spec), "renderer": RENDERER_VERSION}
    labels: dict[str, str | int] = {"dataset": name}
    return Stage(f"prepare {name}", "prepare", {"dataset": dataset}, labels=labels, location=location, lacks=lacks)


def combined_stage(experiment: Experiment, source: str) -> Stage:
    """Return the stage that makes one training set of the datasets of a combined source."""
    needs = {role: f"prepare {part}" for role, part in zip(PARTS, experiment.parts_of(source), strict=False)}
    settings = {"dataset": {"kind": "combined"}}
    return Stage(f"prepare {source}", "prepare", settings, needs=needs, labels={"dataset": source})


def search_stage(
    experiment: Experiment, source: str, entry: SearchSplit, seed: int, content: Callable[[Path], str]
) -> Stage:
    """Return a search.

    Args:
        experiment: The experiment.
        source: The dataset that it searches on.
        entry: Split, supervision and scheme.
        seed: Seed of the search.
        content: Function from a file to the hash of its content.
    """
    split, recipe = entry.split, entry.recipe(experiment.search)
    division: dict[str, Any] = {"split": split, "split_seed": experiment.split_seed}
    lacks = None
    if entry.file is not None:
        there = os.path.isfile(entry.file)
        division = {"split": {"file": content(entry.file) if there else None}}
        lacks = None if there else f"needs a split: the file {entry.file} must exist (splits, {split})"
    return Stage(
        f"search {source} {entry.origin(experiment.search)} seed {seed}",
        "search",
        {
            **division,
            "seed": seed,
            "image_size": list(experiment.training_size(source)),
            "recipe": recipe_numbers(recipe),
            "threads": experiment.threads,
            **experiment.workers.settings("search"),
            **experiment.space.options,
        },
        needs={"source_data": f"prepare {source}"},
        labels={
            "dataset": source,
            "source": source,
            "split": split,
            "seed": seed,
            "supervision": recipe.supervision,
            **entry.labels,
        },
        location={"split": str(entry.file)} if entry.file else {},
        lacks=lacks,
    )
