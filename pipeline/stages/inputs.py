"""The inputs of stages: published results, datasets, decoded pictures, batches, devices."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from msinet.data.held_out import hold_out
from msinet.data.loaders import TrainBatches
from msinet.data.packed import ImageStore, PackedDataset
from msinet.data.records import Record, label_of
from msinet.data.samplers import IdentityBatches
from msinet.data.splits import (
    SplitReport,
    identity_split,
    load_split,
    parse_split,
    saved_split_report,
    split_report,
)
from msinet.export.compiled import in_runtime
from msinet.export.form import ExportForm
from msinet.interop.card import Card
from msinet.models import build_model
from msinet.ranks import ALONE, Ranks, synchronise_batch_norm
from msinet.recipes import BatchRecipe
from pipeline.plan.kinds import SHARDS, WEIGHTS
from pipeline.plan.stage import content_of
from pipeline.stages.task import Context

T = TypeVar("T")


def device_of(spec: Mapping[str, Any]) -> torch.device:
    """Return the device of this process, and set the specification's number of CPU threads."""
    torch.set_num_threads(spec["threads"])
    # Ray's own helper returns cuda:0 even on machines without a GPU.
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def recipe_of(recipe: type[T], values: Mapping[str, Any]) -> T:
    """Return the recipe with the values that a specification holds."""
    return TypeAdapter(recipe).validate_python(values)


def trained_network(context: Context, role: str) -> nn.Module:
    """Return the network of a retraining, with its weights."""
    trained = context.task.inputs[role]
    model = build_model(trained["network"], num_classes=trained["num_classes"], **trained["options"])
    model.load_state_dict(safetensors.torch.load_file(context.folder(role) / WEIGHTS))
    return model


def in_other_runtime(
    context: Context, model: nn.Module, network: str, options: dict[str, Any], device: torch.device, setting: str
) -> Callable[..., Tensor] | None:
    """Return a function from normalised pictures to embeddings if the specification names another runtime than PyTorch.

    Args:
        context: Context of the stage.
        model: The network.
        network, options: What it is, as for `build_model`.
        device: Device of this process.
        setting: Setting of an experiment that chose the runtime, for the error.

    Raises:
        ModuleNotFoundError: The runtime is not installed.
        ValueError: The process has a GPU.
    """
    spec = context.spec
    if "runtime" not in spec:
        return None
    if device.type != "cpu":
        raise ValueError(
            f"the runtime {spec['runtime']} must run on a processor, but the stage has a GPU: use torch ({setting}) or "
            f"no GPU (resources.{context.task.kind}.gpus)."
        )
    card = Card(network, options, 0, tuple(spec["image_size"]))
    form = ExportForm(model, spec.get("after_neck", False), normalised=False)
    return in_runtime(model, card, spec["runtime"], spec["threads"], form=form)


def packed_dataset(context: Context, role: str) -> PackedDataset:
    """Return a prepared dataset."""
    return PackedDataset(context.folder(role) / SHARDS)


def records_of(packed: PackedDataset, subset: str) -> list[Record]:
    """Return the records of one subset: train, query or gallery."""
    return [packed.records[index] for index in packed.subset(subset)]


def divide_held_out(context: Context, packed: PackedDataset) -> tuple[list[Record], list[Record]]:
    """Return the training records that a network sees, and those that it is scored on if some are held out."""
    records, spec = records_of(packed, "train"), context.spec
    if "hold_out" not in spec:
        return records, []
    return hold_out(records, spec["hold_out"], cameras=spec.get("hold_out_cameras", False))


def image_store(context: Context, role: str, packed: PackedDataset, records: Sequence[Record]) -> ImageStore:
    """Return the decoded pictures of some records, at the specification's size."""
    # All splits and all retrainings share one file for each subset.
    indices = [i for subset in dict.fromkeys(record.subset for record in records) for i in packed.subset(subset)]
    store = ImageStore.open(
        packed,
        indices,
        tuple(context.spec["image_size"]),
        context.cache,
        context.task.inputs[role]["fingerprint"],
    )
    position = {packed.records[index].path: position for position, index in enumerate(indices)}
    return store.subset([position[record.path] for record in records])


def train_batches(
    context: Context,
    packed: PackedDataset,
    records: Sequence[Record],
    recipe: BatchRecipe,
    device: torch.device,
    stream: str,
    label: Mapping[int | str, int] | None = None,
) -> TrainBatches:
    """Return P×K batches of training records, augmented on the device.

    Args:
        context: Context of the stage.
        packed: Prepared dataset of the source.
        records: Some of its training records.
        recipe: Recipe with the batch size and the augmentation.
        device: Device on which the batches are needed.
        stream: Name of the random numbers: two streams of one seed differ.
        label: Class of each identity; it may number more identities than these records have. By default the identities
            of the records are numbered.
    """
    num_classes = len(label) if label else None
    label = label or label_of(records)
    labels = [label[record.pid] for record in records]
    store = image_store(context, "source_data", packed, records)
    seed = context.spec["seed"]
    sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, seed, stream)
    ranks = ranks_of(context)
    return TrainBatches(store, labels, sampler, recipe.augmentation, seed, device, stream, num_classes, ranks)


def ranks_of(context: Context) -> Ranks:
    """Return this process's place among those that share the stage."""
    return context.ranks or ALONE


def synchronise(context: Context, network: nn.Module, device: torch.device) -> None:
    """Let batch norms see the whole batch of several ranks, if the specification asks for it."""
    if context.spec.get("sync_batch_norm"):
        synchronise_batch_norm(network, ranks_of(context), device)


def divide_by_split(context: Context, records: Sequence[Record]) -> tuple[list[Record], list[Record], SplitReport]:
    """Return both sides of the specification's split of training records, and their sizes."""
    split = context.spec["split"]
    if isinstance(split, dict):
        file = Path(context.task.location["split"])
        require_content(file, split["file"])
        sides = load_split(file, records)
        return *sides, saved_split_report(*sides)
    percents, split_seed = parse_split(split), context.spec["split_seed"]
    sides = identity_split(records, *percents, split_seed=split_seed)
    return *sides, split_report(records, *percents, split_seed=split_seed)


def require_content(path: Path, expected: str) -> None:
    """Make sure that a file still has the content that it had when the grid was planned.

    Raises:
        ValueError: The content has changed.
    """
    if content_of(path) != expected:
        raise ValueError(f"a file must not change while a grid runs, but {path} did: run again.")
