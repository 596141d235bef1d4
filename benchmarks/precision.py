"""A comparison of the demo's searches in float32 and in bf16, over several seeds.

A third search in float32 starts from weights that are changed by 1e-6 of their size. It shows how much two searches
differ in any case.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from harness import begin, image_size

from msinet.data import synthetic
from msinet.data.loaders import TrainBatches
from msinet.data.packed import ImageStore, PackedDataset, write_shards
from msinet.data.records import label_of
from msinet.data.samplers import IdentityBatches
from msinet.data.splits import identity_split
from msinet.engine.search import Search, search_epochs
from msinet.models.supernet import Supernet
from msinet.recipes import Augmentation, SearchRecipe

# The demo's source and search (configs/demo.yaml).
SPEC = synthetic.SyntheticSpec(category="person", domain="street", train_ids=48, test_ids=32, seed=1)
SPLIT = (60, 80)
NUDGE = 1e-6


def recipe(precision: str) -> SearchRecipe:
    return SearchRecipe(
        epochs=2,
        batch_size=16,
        num_instances=2,
        warmup_epochs=1,
        milestones=(),
        alpha_lr=0.02,
        alpha_milestones=(),
        augmentation=Augmentation(pad=2),
        precision=precision,  # type: ignore[arg-type]
    )


def search(
    packed: PackedDataset, args: argparse.Namespace, seed: int, precision: str, cache: Path, nudge: float = 0.0
) -> Search:
    """Run a whole search, from pictures to α, from weights that are changed by `nudge` of their size."""
    device, chosen = torch.device(args.device), recipe(precision)
    train_indices = packed.subset("train")
    store = ImageStore.open(packed, train_indices, args.image_size, cache, "precision")
    records = [packed.records[index] for index in train_indices]
    position = {record.path: place for place, record in enumerate(records)}

    def batches(name: str, own: Sequence[object]) -> TrainBatches:
        numbers = label_of(own)
        labels = [numbers[record.pid] for record in own]
        sampler = IdentityBatches(labels, chosen.num_ids, chosen.num_instances, seed, name)
        part = store.subset([position[record.path] for record in own])
        return TrainBatches(part, labels, sampler, chosen.augmentation, seed, device, name)

    sides = zip(("train", "valid"), identity_split(records, *SPLIT), strict=True)
    torch.manual_seed(seed)
    run = Search(Supernet(), *(batches(name, own) for name, own in sides), chosen, device)
    with torch.no_grad():
        for weight in run.weights:
            weight.mul_(1 + nudge * torch.randn_like(weight))
    for _ in search_epochs(run):
        pass
    return run


def compared(first: Supernet, second: Supernet) -> str:
    """Return a text that compares the genotypes and α of two searches."""
    letters = [supernet.derive().letters for supernet in (first, second)]
    same = sum(a == b for a, b in zip(*letters, strict=True))
    apart = (first.alphas - second.alphas).abs().max().item()
    best = first.alphas.topk(2, dim=1).values
    margin = (best[:, 0] - best[:, 1]).median().item()
    return (
        f"{' '.join(letters)}, {same} of {len(letters[0])} slots agree; α differs by at most {apart:.3f}, while the "
        f"best operation of a slot leads by {margin:.3f} (median)"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of the processor")
    parser.add_argument("--image-size", type=image_size, default="64x32", help="height x width")
    parser.add_argument("--seeds", type=int, default=3)
    args, _ = begin(parser, argv)
    with tempfile.TemporaryDirectory() as folder:
        write_shards(synthetic.render(SPEC), Path(folder) / "shards")
        packed = PackedDataset(Path(folder) / "shards")
        for seed in range(args.seeds):
            plain = search(packed, args, seed, "float32", Path(folder))
            others = {
                "bf16": search(packed, args, seed, "bf16", Path(folder)),
                "nudged": search(packed, args, seed, "float32", Path(folder), NUDGE),
            }
            for name, other in others.items():
                print(f"seed {seed}: float32 and {name}: {compared(plain.supernet, other.supernet)}", flush=True)


if __name__ == "__main__":
    main()
