"""The twins contrastive search: α from the validation identities, weights from the training identities."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from msinet.data.loaders import Batch, TrainBatches
from msinet.engine.optim import build_optimizer, lr_factor, recipe_lr, require_finite, set_lr
from msinet.engine.recipes import SearchRecipe
from msinet.genotype import Genotype
from msinet.losses import memory_contrastive, update_memory
from msinet.models.supernet import Supernet


@dataclass(frozen=True)
class SearchReport:
    """What one epoch of a search did.

    Attributes:
        epoch: Counted from 0.
        train_loss, valid_loss: Means over the epoch's batches.
        lr, alpha_lr: Learning rates of the epoch.
        alphas: 12 rows of 4, after the epoch.
        genotype: What `alphas` derive now.
        steps: Batches of the training side.
        seconds: Duration of the epoch.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    lr: float
    alpha_lr: float
    alphas: list[list[float]]
    genotype: Genotype
    steps: int
    seconds: float


class Search:
    """Everything that changes while a search runs; its `state_dict` continues it to the same numbers.

    Args:
        supernet: The weight-sharing network, on `device`.
        train: Batches of the training identities; they set the length of an epoch.
        valid: Batches of the validation identities; they cycle.
        recipe: The numbers.
        device: Where the search runs.

    Raises:
        ValueError: A side's batches are not `recipe`'s P×K.
    """

    def __init__(
        self,
        supernet: Supernet,
        train: TrainBatches,
        valid: TrainBatches,
        recipe: SearchRecipe,
        device: torch.device,
    ) -> None:
        for side, batches in (("training", train), ("validation", valid)):
            received = batches.sampler.num_ids, batches.sampler.num_instances
            if received != (recipe.num_ids, recipe.num_instances):  # the memory's update counts on it
                raise ValueError(
                    f"a search's batches must be {recipe.num_ids} identities × {recipe.num_instances} images "
                    f"(`batch_size`, `num_instances`), but the {side} side's are {received[0]} × {received[1]}."
                )
        self.supernet = supernet.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train, self.valid = train, valid
        self.recipe = recipe
        self.device = device
        self.next_epoch = 0
        self.weights = list(supernet.weight_parameters())
        self.weight_optimizer = build_optimizer(self.weights, recipe)
        self.alpha_optimizer = torch.optim.Adam(
            [supernet.alphas],
            lr=recipe.alpha_lr,
            betas=recipe.alpha_betas,
            weight_decay=recipe.alpha_weight_decay,
        )
        self.train_memory = torch.zeros(train.num_classes, supernet.feature_dim, device=device)
        self.valid_memory = torch.zeros(valid.num_classes, supernet.feature_dim, device=device)

    def alpha_step(self, batch: Batch) -> Tensor:
        """Update α, and nothing else, on a validation batch; the loss, detached."""
        return self._step(batch, self.valid_memory, [self.supernet.alphas], self.alpha_optimizer)

    def weight_step(self, batch: Batch) -> Tensor:
        """Update the weights, and nothing else, on a training batch; the loss, detached."""
        return self._step(batch, self.train_memory, self.weights, self.weight_optimizer)

    def _step(
        self, batch: Batch, memory: Tensor, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer
    ) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            features_BD = self.supernet(batch.images_BCHW)
            loss = memory_contrastive(features_BD, batch.labels_B, memory, self.recipe.temperature)
        # Gradients are asked for by name: the other side's parameters never see this loss.
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
        update_memory(
            memory,
            features_BD.detach(),
            batch.labels_B,
            self.recipe.memory_momentum,
            num_instances=self.recipe.num_instances,
        )
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Weights, α, optimisers, memories and the epoch that comes next; random state follows from seed and epoch."""
        return {
            "next_epoch": self.next_epoch,
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "train_memory": self.train_memory,
            "valid_memory": self.valid_memory,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which `state_dict` of the same search gave."""
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.train_memory.copy_(state["train_memory"])
        self.valid_memory.copy_(state["valid_memory"])
        self.next_epoch = state["next_epoch"]


def search_epochs(search: Search) -> Iterator[SearchReport]:
    """Run the epochs that are left; after each report `search` may be saved.

    One step: α on a validation batch, then the weights on a training batch (method.md, section 2).

    Raises:
        ValueError: A loss is no longer a number.
    """
    recipe = search.recipe
    for epoch in range(search.next_epoch, recipe.epochs):
        search.supernet.train()  # whoever listens may have evaluated it
        started = time.perf_counter()
        lr = recipe_lr(recipe, epoch)
        alpha_lr = recipe.alpha_lr * lr_factor(
            epoch, warmup_epochs=0, warmup_factor=1.0, milestones=recipe.alpha_milestones, gamma=recipe.gamma
        )
        set_lr(search.weight_optimizer, lr)
        set_lr(search.alpha_optimizer, alpha_lr)
        losses_2 = torch.zeros(2, device=search.device)  # summed on the device: no step waits for the host
        steps = 0
        for train_batch, valid_batch in zip(search.train.epoch(epoch), search.valid.cycling(epoch), strict=False):
            valid_loss = search.alpha_step(valid_batch)
            losses_2 += torch.stack([search.weight_step(train_batch), valid_loss])
            steps += 1
        train_mean, valid_mean = require_finite(losses_2 / steps, epoch)
        search.next_epoch = epoch + 1
        alphas = search.supernet.alphas.detach().tolist()
        yield SearchReport(
            epoch=epoch,
            train_loss=train_mean,
            valid_loss=valid_mean,
            lr=lr,
            alpha_lr=alpha_lr,
            alphas=alphas,
            genotype=Genotype.from_alphas(alphas),
            steps=steps,
            seconds=time.perf_counter() - started,
        )
