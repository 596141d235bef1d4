"""The retraining: cross entropy and batch-hard triplet loss on every head, and the alignment of activations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from msinet.data.loaders import Batch, TrainBatches
from msinet.engine.loop import Loop, require_batches
from msinet.engine.optim import build_optimizer, load_optimizer, recipe_lr, set_lr
from msinet.losses import (
    ALIGNMENT_MODES,
    activation_distribution,
    batch_hard_triplet,
    consistent_attention,
    spatial_alignment,
)
from msinet.models.alignment import SpatialAlignment
from msinet.models.layers import Outputs
from msinet.ranks import ALONE, Ranks
from msinet.recipes import TrainRecipe


@dataclass(frozen=True)
class TrainReport:
    """The report of one epoch of a training.

    Attributes:
        epoch: Counted from 0.
        loss: Weighted sum of the parts, each a mean over the epoch's batches.
        identity_loss, triplet_loss, alignment_loss: The parts; the alignment is not yet multiplied by its weight.
        accuracy: Fraction of the batches' images that the first head's classifier gets right.
        lr: Learning rate of the epoch.
        steps: Number of batches.
        seconds: Duration of the epoch.
    """

    epoch: int
    loss: float
    identity_loss: float
    triplet_loss: float
    alignment_loss: float
    accuracy: float
    lr: float
    steps: int
    seconds: float


class Training(Loop):
    """A training, with everything that changes while it runs. Continued from a `state_dict`, it gives the same numbers.

    Args:
        model: Any network of `build_model`.
        batches: P×K batches of the source's training identities.
        recipe: The numbers of the training.
        device: Device on which the training runs.
        ranks: This process among those that train together. Each has its part of every batch. All begin with the
            weights of rank 0, and compute the same.

    Raises:
        ValueError: The batches are not the P×K of `recipe`, or are made for other ranks.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: TrainBatches,
        recipe: TrainRecipe,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        require_batches(recipe, batches.sampler, "training")
        super().__init__(4, device, ranks, batches)
        self.model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = batches
        self.recipe = recipe
        self.device = device
        spatial = recipe.alignment in (*ALIGNMENT_MODES, "sam_softmax")
        self.alignment = SpatialAlignment(self.model.map_channels).to(device) if spatial else None
        networks = [self.model, *([self.alignment] if self.alignment else [])]
        for network in networks:
            ranks.broadcast(network)
        self.parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(self.parameters, recipe)

    def step(self, batch: Batch) -> Tensor:
        """Update the weights once. Return (identity, triplet, alignment, accuracy) of the global batch, detached."""
        recipe, gather = self.recipe, self.ranks.gather
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            outputs = self.model(batch.images_BCHW)
            labels_B = gather(batch.labels_B)
            logits = [gather(logits_BK) for logits_BK in outputs.logits]
            features = [gather(features_BD) for features_BD in outputs.features]
            identity = torch.stack(
                [cross_entropy(logits_BK, labels_B, label_smoothing=recipe.label_smoothing) for logits_BK in logits]
            ).sum()
            triplet = torch.stack(
                [batch_hard_triplet(features_BD, labels_B, recipe.margin) for features_BD in features]
            ).sum()
            alignment = self._alignment_loss(outputs, labels_B)
            loss = identity + triplet + recipe.alignment_weight * alignment
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.average_gradients(self.parameters)
        self.optimizer.step()
        accuracy = (logits[0].argmax(1) == labels_B).float().mean()
        return torch.stack([identity, triplet, alignment, accuracy]).detach()

    def _alignment_loss(self, outputs: Outputs, labels_B: Tensor) -> Tensor:
        """Return the alignment loss from the maps of this rank's images and the labels of all ranks' images."""
        choice = self.recipe.alignment
        if choice == "none":
            return outputs.feature_map.new_zeros((), dtype=torch.float32)
        if choice == "consistent_attention":  # compares the layers of one image, so the mean over ranks is the loss
            return self.ranks.gather(consistent_attention(outputs.maps)[None]).mean()
        feature_map = self.ranks.gather(outputs.feature_map)
        if self.alignment is None:
            return activation_distribution(feature_map, labels_B)
        sam_softmax = choice == "sam_softmax"
        mode = "pos_neg" if sam_softmax else choice
        return spatial_alignment(feature_map, labels_B, self.alignment, mode, sam_softmax=sam_softmax)

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimiser and the loop's position; it is valid between any two steps.

        Random state is not included, because it follows from seed, epoch and step.
        """
        return {
            **super().state_dict(),
            "model": self.model.state_dict(),
            "alignment": self.alignment.state_dict() if self.alignment else {},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which the `state_dict` of the same training returned."""
        super().load_state_dict(state)
        self.model.load_state_dict(state["model"])
        if self.alignment is not None:
            self.alignment.load_state_dict(state["alignment"])
        load_optimizer(self.optimizer, state["optimizer"])


def train_epochs(training: Training, after_step: Callable[[], None] | None = None) -> Iterator[TrainReport]:
    """Run the remaining epochs and yield a report after each of them. At each report `training` may be saved.

    Args:
        training: A new training, or one that continues from any step.
        after_step: Called after each step that does not end its epoch. It may save `training` too. An exception from it
            ends the training after that step.

    Raises:
        ValueError: A loss is infinite or not a number.
    """
    recipe = training.recipe
    for epoch in range(training.next_epoch, recipe.epochs):
        training.model.train()  # the caller may have set evaluation mode between reports
        lr = recipe_lr(recipe, epoch)
        set_lr(training.optimizer, lr)
        batches = training.batches.epoch(epoch, training.next_step)
        (identity, triplet, alignment, accuracy), steps, seconds = training.run_epoch(
            batches, training.step, after_step
        )
        yield TrainReport(
            epoch=epoch,
            loss=identity + triplet + recipe.alignment_weight * alignment,
            identity_loss=identity,
            triplet_loss=triplet,
            alignment_loss=alignment,
            accuracy=accuracy,
            lr=lr,
            steps=steps,
            seconds=seconds,
        )
