"""The experiments that `init` proposes: the paper's recipe, and one that ends within an hour on this machine."""

import os
from dataclasses import dataclass
from typing import Any

from msinet.recipes import RECIPES, SearchRecipe
from pipeline.config.experiment import Experiment
from pipeline.errors import RequestError
from pipeline.plan.estimate import elapsed_hours
from pipeline.plan.unfold import plan

SPLIT = "60-80"
TRAIN_SHARE = 60  # percent of the training identities on the smaller side of the split
WITHIN = 0.75  # hours by the estimate, so that a machine that is somewhat slower still ends within one hour
SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)  # of the height and width of pictures
ENOUGH = (60, 40, 30)  # epochs of a retraining that are worth larger pictures
FEW = (20, 12, 8, 4, 2)
ALPHA_LR = 0.02  # the largest learning rate of α, that of the demo


@dataclass(frozen=True)
class Data:
    """The dataset that the experiments use.

    Attributes:
        name: Its name in the experiments.
        entry: Its entry in `datasets`.
        image_size: (height, width) of the pictures for networks.
        identities: Number of training identities.
    """

    name: str
    entry: dict[str, Any]
    image_size: tuple[int, int]
    identities: int

    def batch(self, num_ids: int, num_instances: int) -> dict[str, int]:
        """Return the settings of the largest batch that the smaller side of the split can fill.

        Raises:
            RequestError: The side has fewer than two identities.
        """
        most = self.identities * TRAIN_SHARE // 100
        if most < 2:
            raise RequestError(
                f"a search needs at least 4 training identities, but {self.name} has {self.identities} (FOLDER)."
            )
        return {"batch_size": num_instances * min(num_ids, most), "num_instances": num_instances}


@dataclass(frozen=True)
class Recipe:
    """An experiment's content, with the hours that it takes on this machine's cores by the estimate of `plan`."""

    document: dict[str, Any]
    hours: float


def paper_recipe(data: Data) -> Recipe:
    """Return the experiment with the paper's recipe; only batches are smaller if there are few identities."""
    batch = data.batch(16, 4)
    small = batch if batch["batch_size"] < 64 else {}
    document = {
        **_grid(data, data.name),
        "image_size": list(data.image_size),
        **({"search": small, "retrain": {"in_domain": small, "cross_domain": small}} if small else {}),
    }
    return _estimated(document)


def laptop_recipe(data: Data) -> Recipe | None:
    """Return the experiment with the largest pictures and the most epochs that end within an hour on this machine.

    Returns:
        The recipe, or None if even two epochs of the smallest pictures take longer.
    """
    for scale, counts in [*((scale, ENOUGH) for scale in SCALES), (SCALES[-1], FEW)]:
        for epochs in counts:
            recipe = _estimated(_scaled(data, scale, epochs))
            if recipe.hours <= WITHIN:
                return recipe
    return None


def _scaled(data: Data, scale: float, epochs: int) -> dict[str, Any]:
    """Return the experiment with smaller pictures and schedules that are shortened in proportion."""
    paper, search = RECIPES["in_domain"], SearchRecipe()
    batch = data.batch(8, 2)
    shared: dict[str, Any] = {**batch, "warmup_epochs": max(1, round(paper.warmup_epochs * epochs / paper.epochs))}
    pad = {"pad": max(1, round(paper.augmentation.pad * scale))}
    searched = max(1, epochs // 2)
    alpha_lr = min(ALPHA_LR, search.alpha_lr * search.epochs / searched)
    return {
        **_grid(data, f"{data.name}-laptop"),
        "image_size": [max(32, round(side * scale / 16) * 16) for side in data.image_size],
        "search": {
            **shared,
            "epochs": searched,
            "milestones": _milestones(search.milestones, searched / search.epochs),
            "alpha_lr": round(alpha_lr, 4),
            "alpha_milestones": _milestones(search.alpha_milestones, searched / search.epochs),
            "augmentation": pad,
        },
        "retrain": {
            "in_domain": {
                **shared,
                "epochs": epochs,
                "optimizer": "adam",
                "lr": 0.003,
                "milestones": _milestones(paper.milestones, epochs / paper.epochs),
                "augmentation": pad,
            },
            "cross_domain": "same",
        },
    }


def _grid(data: Data, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasets": {data.name: data.entry},
        "sources": [data.name],
        "targets": [data.name],
        "splits": [SPLIT],
        "genotypes": ["MSINet"],
    }


def _milestones(milestones: tuple[int, ...], factor: float) -> list[int]:
    """Return shortened milestones, each at least one epoch after the one before."""
    shortened: list[int] = []
    for milestone in milestones:
        shortened.append(max(round(milestone * factor), shortened[-1] + 1 if shortened else 1))
    return shortened


def _estimated(document: dict[str, Any]) -> Recipe:
    planned = plan(Experiment.model_validate(document))
    return Recipe(document, elapsed_hours(planned, cores()))


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
