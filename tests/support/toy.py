"""A toy problem whose best architecture is known, for the tests of all search schemes.

A picture's upper half shows its identity, its lower half shows noise. An operation is good or bad. The more good ones a
network has, the less of the noise is in its feature. So the loss falls, and mAP rises, with each good operation, on the
training side as on the validation side. The search itself is the real one, with its losses, memories and optimisers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from msinet.data.loaders import TrainBatches, eval_batches
from msinet.data.packed import ImageStore
from msinet.data.records import Record
from msinet.data.samplers import IdentityBatches
from msinet.engine.held_out import rank_others
from msinet.engine.search import Search
from msinet.genotype import LETTERS, Genotype
from msinet.recipes import Augmentation, SearchRecipe
from msinet.schemes import Scheme, one_path
from msinet.spaces import PAPER_SPACE

NUM_IDS, PER_ID = 12, 8
NOISE = 3.0
RECIPE = SearchRecipe(
    epochs=15,
    batch_size=24,
    num_instances=4,
    lr=0.01,
    alpha_lr=0.05,
    warmup_epochs=0,
    milestones=(),
    alpha_milestones=(),
    augmentation=Augmentation(flip=0, pad=0),
)


@dataclass(frozen=True)
class Quality:
    """For each slot, the letters of its good operations. One that is not good adds noise to the feature."""

    good: Sequence[str]

    def amount(self, mixture: Sequence[Sequence[Tensor | float | None]]) -> Tensor:
        """Return the share of good operations in a mixture, from 0 to 1."""
        return sum(  # type: ignore[return-value]
            weight
            for row, good in zip(mixture, self.good, strict=True)
            for weight, letter in zip(row, LETTERS, strict=True)
            if weight is not None and letter in good
        ) / len(self.good) + torch.zeros(())


class ToySupernet(nn.Module):
    """A network with α, whose feature has less noise the better its operations are."""

    feature_dim, num_classes, space = 12, None, PAPER_SPACE

    def __init__(self, quality: Quality, channel_divisor: int = 1) -> None:
        super().__init__()
        self.quality, self.channel_divisor = quality, channel_divisor
        self.choices = (tuple(range(4)),) * 12
        self.alphas = nn.Parameter(1e-3 * torch.randn(12, 4))
        self.scale = nn.Parameter(torch.ones(12))

    def offered_alphas(self) -> Tensor:
        return self.alphas

    def weight_parameters(self) -> list[Tensor]:
        return [self.scale]

    def forward(self, images_BCHW: Tensor, mixture: Sequence[Sequence[Tensor | float | None]]) -> Tensor:
        shown_BD, noise_BD = (adaptive_avg_pool2d(half, 2).flatten(1) for half in images_BCHW.chunk(2, dim=2))
        good = self.quality.amount(mixture) / self.channel_divisor
        return self.scale * (shown_BD + noise_BD * (NOISE * (1 - good)).exp())

    def derive(self) -> Genotype:
        return Genotype.from_alphas(self.alphas.detach())


def toy_search(quality: Quality, scheme: Scheme, seed: int = 0) -> Search:
    """Return a search of the toy problem."""
    torch.manual_seed(seed)
    supernet = ToySupernet(quality, scheme.channel_divisor)
    # Shared weights without α are as good after one epoch.
    recipe = replace(RECIPE, scheme=scheme, epochs=RECIPE.epochs if scheme.uses_alphas else 1)
    train, valid = (_batches(side, recipe, seed) for side in ("train", "valid"))
    records = [Record(f"{number}.jpg", label, None, "train") for number, label in enumerate(valid.labels.tolist())]
    search = Search(supernet, train, valid, recipe, torch.device("cpu"), valid_records=records)  # type: ignore[arg-type]
    if search.evolution:
        (images_BCHW,) = eval_batches(valid.store, len(valid.store), "cpu")
        # In place of `Judge`, which builds the real network.
        search.evolution.score = lambda path: rank_others(records, supernet(images_BCHW, one_path(path, 4)).detach())[
            0
        ]["mAP"]
    return search


def _batches(side: str, recipe: SearchRecipe, seed: int) -> TrainBatches:
    rng = np.random.default_rng([seed, side == "valid"])
    labels = np.repeat(np.arange(NUM_IDS), PER_ID)
    shown = rng.integers(0, 256, (NUM_IDS, 2, 2, 3))[labels]
    noise = rng.integers(0, 256, (len(labels), 2, 2, 3))
    blocks = np.concatenate((shown, noise), axis=1).astype(np.uint8)
    store = ImageStore(blocks.repeat(8, axis=1).repeat(8, axis=2))
    sampler = IdentityBatches(labels, recipe.num_ids, recipe.num_instances, seed, side)
    return TrainBatches(store, labels, sampler, recipe.augmentation, seed, "cpu", side)
