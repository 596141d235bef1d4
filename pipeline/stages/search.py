"""The stage `search`: α on one train/valid split of a source."""

from dataclasses import asdict

import torch

from msinet.data.records import label_of
from msinet.data.splits import save_split
from msinet.engine.search import Search, search_epochs
from msinet.interop.card import SUPERNET, Card
from msinet.models.supernet import Supernet
from msinet.spaces import as_space
from pipeline.config.search import SearchSettings
from pipeline.plan.kinds import GENOTYPE, SPLIT
from pipeline.results import Result
from pipeline.stages.epochs import effort, run_epochs, save_weights
from pipeline.stages.inputs import (
    device_of,
    divide_by_split,
    packed_dataset,
    ranks_of,
    recipe_of,
    records_of,
    synchronise,
    train_batches,
)
from pipeline.stages.task import Context


def run(context: Context) -> Result:
    """Search α on one train/valid split of a source, and derive a genotype."""

    spec, device = context.spec, device_of(context.spec)
    recipe = recipe_of(SearchSettings, spec["recipe"])
    packed = packed_dataset(context, "source_data")
    train, valid, sizes = divide_by_split(context, records_of(packed, "train"))
    save_split(context.out / SPLIT, train, valid)
    # With softmax supervision one classifier serves both sides, so their labels share one numbering.
    label = label_of([*train, *valid]) if recipe.supervision == "softmax" else None
    space = as_space(spec.get("space"))
    torch.manual_seed(spec["seed"])
    supernet = Supernet(len(label) if label else None, recipe.scheme.channel_divisor, space)
    synchronise(context, supernet, device)
    search = Search(
        supernet,
        train_batches(context, packed, train, recipe, device, "train", label),
        train_batches(context, packed, valid, recipe, device, "valid", label),
        recipe,
        device,
        ranks_of(context),
        valid,
    )
    history = run_epochs(context, search, search_epochs, search.num_epochs)
    genotype, trained = search.derive(), history[recipe.epochs - 1]
    num_classes = len(label) if label else 0
    save_weights(context, search.supernet, Card(SUPERNET, space.options, num_classes, tuple(spec["image_size"])))
    (context.out / GENOTYPE).write_text(genotype.to_json(), encoding="utf-8")
    return {
        **effort(history, recipe),
        "genotype": str(genotype),
        **({"alphas": trained["alphas"]} if recipe.scheme.uses_alphas else {}),
        **(search.evolution.outcome() if search.evolution else {}),
        "split": asdict(sizes),
        "metrics": {name: trained[name] for name in ("train_loss", "valid_loss") if trained[name] is not None},
    }
