"""A tiny generated dataset, as batches and stores, for the tests of search, training and evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msinet.data.loaders import TrainBatches
from msinet.data.packed import ImageStore, PackedDataset
from msinet.data.records import Record, label_of
from msinet.data.samplers import IdentityBatches
from msinet.data.splits import identity_split
from msinet.recipes import BatchRecipe


@dataclass(frozen=True)
class Tiny:
    """Pictures of 32×16, four for each of eight training, four validation and three test identities."""

    folder: Path
    packed: PackedDataset

    def store(self, records: Sequence[Record]) -> ImageStore:
        index = {record.path: index for index, record in enumerate(self.packed.records)}
        chosen = [index[record.path] for record in records]
        return ImageStore.open(self.packed, chosen, (32, 16), self.folder / "cache", "tiny")

    def records(self, subset: str) -> list[Record]:
        return [self.packed.records[index] for index in self.packed.subset(subset)]

    def batches(self, side: str, recipe: BatchRecipe, seed: int = 0) -> TrainBatches:
        """Return the batches of a `side`: an epoch has three or four of `train` and two of `valid`."""
        records = identity_split(self.records("train"), 67, 33)[side == "valid"]
        labels = [label_of(records)[record.pid] for record in records]
        sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, seed, side)
        return TrainBatches(self.store(records), labels, sampler, recipe.augmentation, seed, "cpu", side)
