"""What stages read: published results, datasets, decoded pictures, batches, devices."""

from pathlib import Path
from typing import Any, TypeVar

from pipeline.plan.kinds import SHARDS, WEIGHTS
from pipeline.plan.stage import content_of
from pipeline.stages.task import Context

T = TypeVar("T")


def device_of(spec: dict[str, Any]) -> Any:
    import torch

    torch.set_num_threads(spec["threads"])
    # Ray's own helper names cuda:0 also on machines without one.
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def recipe_of(recipe: type[T], values: dict[str, Any]) -> T:
    from pydantic import TypeAdapter

    return TypeAdapter(recipe).validate_python(values)


def trained_network(context: Context, role: str) -> Any:
    """The network of a retraining, with its weights."""
    import safetensors.torch

    from msinet.models import build_model

    trained = context.task.inputs[role]
    model = build_model(trained["network"], num_classes=trained["num_classes"], **trained["options"])
    model.load_state_dict(safetensors.torch.load_file(context.folder(role) / WEIGHTS))
    return model


def packed_dataset(context: Context, role: str) -> Any:
    from msinet.data.packed import PackedDataset

    return PackedDataset(context.folder(role) / SHARDS)


def records_of(packed: Any, subset: str) -> list[Any]:
    return [packed.records[index] for index in packed.subset(subset)]


def divide_held_out(context: Context, packed: Any) -> tuple[list[Any], list[Any]]:
    """Training records of a source that a network sees, and those of the last identities, which it does not."""
    from msinet.data.splits import identity_split

    records = records_of(packed, "train")
    percent = context.spec.get("hold_out")
    return identity_split(records, 100 - percent, percent) if percent else (records, [])


def image_store(context: Context, role: str, packed: Any, records: Any) -> Any:
    """The decoded pictures of some records, at the specification's size."""
    from msinet.data.packed import ImageStore

    # One file for each kind of records, which every split and every retraining shares.
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
    context: Context, packed: Any, records: Any, recipe: Any, device: Any, stream: str, label: Any = None
) -> Any:
    """P×K batches of the given training records, augmented on the device.

    `label` numbers more identities than these; by default these are numbered among themselves.
    """
    from msinet.data.loaders import TrainBatches
    from msinet.data.records import label_of
    from msinet.data.samplers import IdentityBatches

    num_classes = len(label) if label else None
    label = label or label_of(records)
    labels = [label[record.pid] for record in records]
    store = image_store(context, "source_data", packed, records)
    seed = context.spec["seed"]
    sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, seed, stream)
    ranks = ranks_of(context)
    return TrainBatches(store, labels, sampler, recipe.augmentation, seed, device, stream, num_classes, ranks)


def ranks_of(context: Context) -> Any:
    from msinet.ranks import ALONE

    return context.ranks or ALONE


def synchronise(context: Context, network: Any, device: Any) -> None:
    """The option of several ranks that batch norms see the whole batch."""
    from msinet.ranks import synchronise_batch_norm

    if context.spec.get("sync_batch_norm"):
        synchronise_batch_norm(network, ranks_of(context), device)


def divide_by_split(context: Context, records: list[Any]) -> tuple[list[Any], list[Any], Any]:
    """Both sides of the specification's split of training records, and their sizes."""
    from msinet.data.splits import identity_split, load_split, parse_split, saved_split_report, split_report

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
    if content_of(path) != expected:
        raise ValueError(f"a file must not change while a grid runs, but {path} did: run again.")
