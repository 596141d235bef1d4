"""Recipes: the paper's numbers are the defaults, and a number outside its range is a clear error."""

import re
from dataclasses import FrozenInstanceError

import pytest

from msinet.recipes import RECIPES, Augmentation, SearchRecipe, TrainRecipe
from msinet.schemes.mixture import SoftmaxMixture

SHARED = {
    "batch_size": 64,
    "num_instances": 4,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "warmup_epochs": 10,
    "warmup_factor": 0.01,
    "gamma": 0.1,
    "precision": "float32",
}
RETRAINING = {
    **SHARED,
    "label_smoothing": 0.1,
    "margin": 0.3,
    "alignment": "none",
    "alignment_weight": 2.0,
}
STEPS = (150, 225, 300)
IN_DOMAIN = Augmentation(flip=0.5, pad=10, brightness=0.0, contrast=0.0, saturation=0.0, erasing=0.5)
CROSS_DOMAIN = Augmentation(flip=0.5, pad=10, brightness=0.4, contrast=0.4, saturation=0.3, erasing=0.0)
PUBLISHED = {
    "in_domain": ("sgd", 0.065, 350, STEPS, IN_DOMAIN),
    "cross_domain": ("sgd", 0.065, 250, STEPS, CROSS_DOMAIN),
    "strong_baseline": ("adam", 3.5e-4, 120, (40, 70), IN_DOMAIN),
}


def test_the_search_has_the_papers_numbers():
    assert vars(SearchRecipe()) == {
        **SHARED,
        "epochs": 350,
        "optimizer": "sgd",
        "lr": 0.025,
        "milestones": STEPS,
        "augmentation": IN_DOMAIN,
        "alpha_lr": 0.002,
        "alpha_betas": (0.5, 0.999),
        "alpha_weight_decay": 1e-3,
        "alpha_milestones": (150, 225),
        "temperature": 0.05,
        "memory_momentum": 0.2,
        "supervision": "tcm",
        "scheme": SoftmaxMixture(),
    }
    assert SearchRecipe().num_ids == 16


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_retraining_has_the_papers_numbers(name):
    optimizer, lr, epochs, milestones, augmentation = PUBLISHED[name]
    assert vars(RECIPES[name]) == {
        **RETRAINING,
        "optimizer": optimizer,
        "lr": lr,
        "epochs": epochs,
        "milestones": milestones,
        "augmentation": augmentation,
    }


def test_there_are_no_other_recipes():
    assert list(RECIPES) == list(PUBLISHED)
    assert TrainRecipe() == RECIPES["in_domain"]


@pytest.mark.parametrize("recipe", [SearchRecipe, TrainRecipe])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "`epochs` must be at least 1, but got 0."),
        ({"batch_size": 0}, "`batch_size` must be at least 1, but got 0."),
        ({"num_instances": -4}, "`num_instances` must be at least 1, but got -4."),
        (
            {"batch_size": 30},
            "`batch_size` must be a multiple of `num_instances`, but got batch_size=30, num_instances=4.",
        ),
        (
            {"batch_size": 4},
            "a batch must hold at least two identities, but got batch_size=4, num_instances=4.",
        ),
        ({"lr": 0.0}, "`lr` must be positive, but got 0.0."),
        ({"lr": float("nan")}, "`lr` must be positive, but got nan."),
        ({"gamma": -0.1}, "`gamma` must be positive, but got -0.1."),
        ({"momentum": 1.5}, "`momentum` must be 0 to 1, but got 1.5."),
        ({"warmup_factor": -0.01}, "`warmup_factor` must be 0 to 1, but got -0.01."),
        ({"weight_decay": -5e-4}, "`weight_decay` must be at least 0, but got -0.0005."),
        ({"warmup_epochs": -1}, "`warmup_epochs` must be at least 0, but got -1."),
        ({"milestones": (150, 150)}, "`milestones` must be rising, but got (150, 150)."),
        ({"precision": "fp16"}, "`precision` must be 'float32' or 'bf16', but got 'fp16'."),
    ],
)
def test_what_both_recipes_demand(recipe, values, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        recipe(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha_lr": 0.0}, "`alpha_lr` must be positive, but got 0.0."),
        ({"temperature": 0.0}, "`temperature` must be positive, but got 0.0."),
        ({"alpha_betas": (0.5, 1.0)}, "`alpha_betas` must be two numbers from 0 to below 1, but got (0.5, 1.0)."),
        ({"alpha_weight_decay": -1.0}, "`alpha_weight_decay` must be at least 0, but got -1.0."),
        ({"alpha_milestones": (3, 2)}, "`alpha_milestones` must be rising, but got (3, 2)."),
        ({"memory_momentum": 2.0}, "`memory_momentum` must be 0 to 1, but got 2.0."),
        ({"supervision": "labels"}, "`supervision` must be 'tcm' or 'softmax', but got 'labels'."),
    ],
)
def test_what_a_search_demands(values, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        SearchRecipe(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_smoothing": 1.1}, "`label_smoothing` must be 0 to 1, but got 1.1."),
        ({"margin": -0.3}, "`margin` must be at least 0, but got -0.3."),
        ({"alignment_weight": -2.0}, "`alignment_weight` must be at least 0, but got -2.0."),
        (
            {"alignment": "positive"},
            "`alignment` must be 'none', 'pos', 'neg', 'pos_neg', 'sam_softmax', 'consistent_attention' or "
            "'activation_distribution', but got 'positive'.",
        ),
        (
            {"alignment": "activation_distribution", "num_instances": 1},
            "`alignment` activation_distribution compares two images of one identity, so `num_instances` must be "
            "at least 2, but got 1.",
        ),
    ],
)
def test_what_a_retraining_demands(values, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        TrainRecipe(**values)


def test_the_bounds_themselves_are_allowed():
    recipe = TrainRecipe(batch_size=2, num_instances=1, epochs=1, warmup_epochs=0, milestones=(), label_smoothing=0.0)
    assert recipe.num_ids == 2
    assert SearchRecipe(memory_momentum=0.0, momentum=1.0, alpha_betas=(0.0, 0.0)).memory_momentum == 0


def test_recipes_do_not_change():
    with pytest.raises(FrozenInstanceError):
        RECIPES["in_domain"].epochs = 1
