"""Retraining: cross entropy and batch-hard triplet loss on every head, and the alignment of activations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from msinet.data.loaders import Batch, TrainBatches
from msinet.engine.loop import Loop
from msinet.engine.optim import build_optimizer, recipe_lr, set_lr
from msinet.engine.recipes import TrainRecipe
from msinet.losses import (
    ALIGNMENT_MODES,
    activation_distribution,
    batch_hard_triplet,
    consistent_attention,
    spatial_alignment,
)
from msinet.models.alignment import SpatialAlignment
from msinet.models.layers import Outputs


@dataclass(frozen=True)
class TrainReport:
    """What one epoch of a training did.

    Attributes:
        epoch: Counted from 0.
        loss: Mean over the epoch's batches, all parts summed.
        identity_loss, triplet_loss, alignment_loss: Its parts; the alignment before its weight.
        accuracy: Fraction of the batches' images that the first head's classifier gets right.
        lr: Learning rate of the epoch.
        steps: Batches.
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
    """Everything that changes while a network trains; its `state_dict` continues it to the same numbers.

    Args:
        model: Any network of `build_model`.
        batches: P×K batches of the source's training identities.
        recipe: The numbers.
        device: Where the training runs.

    Raises:
        ValueError: The batches are not `recipe`'s P×K.
    """

    def __init__(self, model: nn.Module, batches: TrainBatches, recipe: TrainRecipe, device: torch.device) -> None:
        recipe.check_sampler(batches.sampler, "training")
        super().__init__(num_sums=4, device=device)
        self.model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = batches
        self.recipe = recipe
        self.device = device
        spatial = recipe.alignment in (*ALIGNMENT_MODES, "sam_softmax")
        self.alignment = SpatialAlignment(self.model.map_channels).to(device) if spatial else None
        trained = [*self.model.parameters(), *(self.alignment.parameters() if self.alignment else ())]
        self.optimizer = build_optimizer([p for p in trained if p.requires_grad], recipe)

    def step(self, batch: Batch) -> Tensor:
        """One update; (identity, triplet, alignment, accuracy), detached."""
        recipe = self.recipe
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            outputs = self.model(batch.images_BCHW)
            identity = torch.stack(
                [
                    cross_entropy(logits, batch.labels_B, label_smoothing=recipe.label_smoothing)
                    for logits in outputs.logits
                ]
            ).sum()
            triplet = torch.stack(
                [batch_hard_triplet(features, batch.labels_B, recipe.margin) for features in outputs.features]
            ).sum()
            alignment = self._alignment_loss(outputs, batch.labels_B)
            loss = identity + triplet + recipe.alignment_weight * alignment
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        accuracy = (outputs.logits[0].argmax(1) == batch.labels_B).float().mean()
        return torch.stack([identity, triplet, alignment, accuracy]).detach()

    def _alignment_loss(self, outputs: Outputs, labels_B: Tensor) -> Tensor:
        choice = self.recipe.alignment
        if self.alignment is not None:
            sam_softmax = choice == "sam_softmax"
            mode = "pos_neg" if sam_softmax else choice
            return spatial_alignment(outputs.feature_map, labels_B, self.alignment, mode, sam_softmax=sam_softmax)
        if choice == "consistent_attention":
            return consistent_attention(outputs.maps)
        if choice == "activation_distribution":
            return activation_distribution(outputs.feature_map, labels_B)
        return outputs.feature_map.new_zeros((), dtype=torch.float32)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser and where the loop stands; valid between any two steps.

        Random state follows from seed, epoch and step.
        """
        return {
            **super().state_dict(),
            "model": self.model.state_dict(),
            "alignment": self.alignment.state_dict() if self.alignment else {},
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which `state_dict` of the same training gave."""
        super().load_state_dict(state)
        self.model.load_state_dict(state["model"])
        if self.alignment is not None:
            self.alignment.load_state_dict(state["alignment"])
        self.optimizer.load_state_dict(state["optimizer"])


def train_epochs(training: Training, after_step: Callable[[], None] | None = None) -> Iterator[TrainReport]:
    """Run the epochs that are left; after each report `training` may be saved.

    Args:
        training: A new one, or one that continues from any step.
        after_step: Called after each step that does not end its epoch. In it `training` may be saved too, and an
            exception from it ends the training there.

    Raises:
        ValueError: The loss is no longer a number.
    """
    recipe = training.recipe
    for epoch in range(training.next_epoch, recipe.epochs):
        training.model.train()  # whoever listens may have evaluated it
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
