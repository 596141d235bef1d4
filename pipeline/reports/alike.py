"""Whether a network was trained as in the paper. Only then a published score may stand beside its own."""

from dataclasses import asdict
from typing import Any

from msinet.data.readers import READERS
from msinet.files import json_text
from msinet.recipes import RECIPES
from pipeline.plan.stage import Plan, Stage

# Settings that tables name in their rows, or that change no more than rounding.
OTHER_ROWS = ("alignment", "precision")


def as_in_the_paper(plan: Plan, evaluation: Stage) -> bool:
    """Return whether the evaluated network was retrained with the paper's recipe on pictures of the paper's size.

    Args:
        plan: The plan.
        evaluation: An evaluation of it.
    """
    model = plan.stages[evaluation.needs["model"]]
    recipe = RECIPES.get(str(model.labels.get("recipe")))
    data = plan.experiment.datasets.get(str(model.labels["source"]))  # None for a source of several datasets
    if recipe is None or data is None or data.kind not in READERS:
        return True  # the paper has no figure for this dataset
    same_recipe = _compared(model.settings["recipe"]) == _compared(asdict(recipe))
    return same_recipe and tuple(model.settings["image_size"]) == READERS[data.kind].image_size


def _compared(recipe: dict[str, Any]) -> str:
    """Return the settings that must be equal, as text in which lists and tuples are the same."""
    return json_text({name: value for name, value in recipe.items() if name not in OTHER_ROWS}, sort_keys=True)
