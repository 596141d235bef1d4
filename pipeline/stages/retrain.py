"""The stage `retrain`: a network on the training identities of a source."""

from pathlib import Path

import torch

from msinet.engine.train import Training, train_epochs
from msinet.interop import load_start, read_state_dict
from msinet.interop.card import Card, require_card
from msinet.models import build_model
from msinet.recipes import TrainRecipe
from pipeline.plan.stage import network_options
from pipeline.results import Result
from pipeline.stages.epochs import effort, run_epochs, save_weights
from pipeline.stages.inputs import (
    device_of,
    divide_held_out,
    packed_dataset,
    ranks_of,
    recipe_of,
    require_content,
    synchronise,
    train_batches,
)
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Train a network on all training identities of a source, or on those that are not held out."""

    spec, device = context.spec, device_of(context.spec)
    recipe = recipe_of(TrainRecipe, spec["recipe"])
    packed = packed_dataset(context, "source_data")
    records, _ = divide_held_out(context, packed)
    batches = train_batches(context, packed, records, recipe, device, "train")
    torch.manual_seed(spec["seed"])
    model = build_model(spec["network"], num_classes=batches.num_classes, **network_options(spec))
    if "start" in spec:
        weights = Path(context.task.location["weights"])
        require_content(weights, spec["start"])
        require_card(weights, spec["network"], network_options(spec))
        load_start(model, read_state_dict(weights))
    synchronise(context, model, device)
    training = Training(model, batches, recipe, device, ranks_of(context))
    history = run_epochs(context, training, train_epochs, recipe.epochs)
    card = Card(spec["network"], network_options(spec), batches.num_classes, tuple(spec["image_size"]))
    save_weights(context, training.model, card)
    return {
        **effort(history, recipe),
        "network": spec["network"],
        "options": network_options(spec),
        **network_options(spec),
        "num_classes": batches.num_classes,
        "metrics": {"loss": history[-1]["loss"], "accuracy": history[-1]["accuracy"]},
    }
