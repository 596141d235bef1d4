"""The search, which trains α on the validation identities and the weights on the training identities.

It is supervised by the twins contrastive mechanism (Gu et al., CVPR 2023), or by a classifier that both sides share.
The scheme of the recipe says which operations a step computes (`msinet.schemes`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from msinet.data.loaders import Batch, TrainBatches
from msinet.data.records import Record
from msinet.data.streams import generator
from msinet.engine.costs import cost_table
from msinet.engine.evolution import Evolution, GenerationReport, Judge, genotype_of, spread
from msinet.engine.loop import Loop, require_batches, require_classes
from msinet.engine.optim import build_optimizer, load_optimizer, lr_factor, recipe_lr, set_lr
from msinet.genotype import Genotype
from msinet.losses import memory_contrastive, update_memory
from msinet.models.supernet import Supernet
from msinet.ranks import ALONE, Ranks
from msinet.recipes import SearchRecipe
from msinet.schemes import Moment, Path


@dataclass(frozen=True)
class SearchReport:
    """The report of one epoch of a search.

    Attributes:
        epoch: Counted from 0.
        train_loss, valid_loss: Means over the epoch's batches; no validation loss if the epoch only trained weights.
        lr, alpha_lr: Learning rates of the epoch.
        alphas: 12 rows with a number for each column of the space, after the epoch; -inf for an operation that a slot
            does not offer. None for a scheme that does not use α.
        genotype: The genotype that `alphas` give, or None.
        steps: Number of batches of the training side.
        seconds: Duration of the epoch.
    """

    epoch: int
    train_loss: float
    valid_loss: float | None
    lr: float
    alpha_lr: float
    alphas: list[list[float]] | None
    genotype: Genotype | None
    steps: int
    seconds: float


class Search(Loop):
    """A search, with everything that changes while it runs. Continued from a `state_dict`, it gives the same numbers.

    Args:
        supernet: The weight-sharing network. For the softmax supervision it has a classifier over the identities of
            both sides.
        train: Batches of the training identities; they set the length of an epoch.
        valid: Batches of the validation identities; they start again when they end. For the softmax supervision the
            labels of both sides share one numbering, with as many classes as the classifier has; otherwise each side
            has a numbering of its own.
        recipe: The numbers of the search.
        device: Device on which the search runs.
        ranks: This process among those that search together. Each has its part of every batch. All begin with the
            weights and α of rank 0, and compute the same.
        valid_records: Records of the validation pictures, in the order of their store. Only schemes with generations
            need them.

    Attributes:
        num_epochs: Number of reports of the whole search: one for each epoch, then one for each generation.

    Raises:
        ValueError: The batches of a side are not the P×K of `recipe`, or are made for other ranks; or the supervision
            does not fit the supernet or the labels of a side.
    """

    def __init__(
        self,
        supernet: Supernet,
        train: TrainBatches,
        valid: TrainBatches,
        recipe: SearchRecipe,
        device: torch.device,
        ranks: Ranks = ALONE,
        valid_records: Sequence[Record] = (),
    ) -> None:
        for side, batches in (("training", train), ("validation", valid)):
            require_batches(recipe, batches.sampler, side)
            require_classes(recipe.supervision, supernet.num_classes, batches, side)
        super().__init__(2, device, ranks, train, valid)
        self.supernet = supernet.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ranks.broadcast(self.supernet)
        self.train, self.valid = train, valid
        self.recipe = recipe
        self.device = device
        self.weights = list(supernet.weight_parameters())
        self.weight_optimizer = build_optimizer(self.weights, recipe)
        self.alpha_optimizer = torch.optim.Adam(
            [supernet.alphas],
            lr=recipe.alpha_lr,
            betas=recipe.alpha_betas,
            weight_decay=recipe.alpha_weight_decay,
        )
        self.train_memory = self._new_memory(train)
        self.valid_memory = self._new_memory(valid)
        self.num_epochs = recipe.epochs + recipe.scheme.num_generations
        self.evolution = self._new_evolution(valid_records) if recipe.scheme.num_generations else None

    def _new_evolution(self, valid_records: Sequence[Record]) -> Evolution:
        scheme, store = self.recipe.scheme, self.train.store
        scheme.check_size(store.size_HW)
        pictures = spread(store, scheme.recalibration_pictures)
        judge = Judge(self.supernet, pictures, self.valid.store, valid_records, self.device, self.ranks)
        evolution = Evolution(scheme, judge.score, cost_table(store.size_HW), self.supernet.choices, self.train.seed)
        evolution.begin(0)  # raises an error if no genotype is allowed, before the training
        return evolution

    def num_steps(self) -> int:
        """Return the number of steps of the epoch `next_epoch`, or of evaluations if that is a generation."""
        if self.evolution and self.next_epoch >= self.recipe.epochs:
            return len(self.evolution.population)
        return super().num_steps()

    def evaluate(self, path: Path) -> Tensor:
        """Score a genotype with the shared weights. Return (mAP, 0)."""
        assert self.evolution is not None
        return torch.tensor([self.evolution.evaluate(path), 0.0], device=self.device)

    def derive(self) -> Genotype:
        """Return the genotype that the search ends in."""
        return genotype_of(self.evolution.ranked[0]) if self.evolution else self.supernet.derive()

    def batches(self, epoch: int) -> Iterator[tuple[Batch, Batch | None]]:
        """Return the remaining pairs of batches of the epoch that comes next, as `step` takes them."""
        train = self.train.epoch(epoch, self.next_step)
        if self.recipe.scheme.trains_alphas(epoch, self.recipe.epochs):
            return zip(train, self.valid.cycling(epoch, self.next_step), strict=False)
        return ((batch, None) for batch in train)

    def step(self, batches: tuple[Batch, Batch | None]) -> Tensor:
        """Update α on a validation batch, if there is one, then the weights on a training batch.

        Args:
            batches: (training batch, validation batch or None).

        Returns:
            (training loss, validation loss), detached; the validation loss is 0 without a validation batch.
        """
        train_batch, valid_batch = batches
        valid_loss = None if valid_batch is None else self.alpha_step(valid_batch)
        train_loss = self.weight_step(train_batch)
        return torch.stack([train_loss, torch.zeros_like(train_loss) if valid_loss is None else valid_loss])

    def alpha_step(self, batch: Batch) -> Tensor:
        """Update α, but no weights, on a validation batch. Return the loss, detached."""
        return self._step("valid", batch, self.valid_memory, [self.supernet.alphas], self.alpha_optimizer)

    def weight_step(self, batch: Batch) -> Tensor:
        """Update the weights, but not α, on a training batch. Return the loss, detached."""
        return self._step("train", batch, self.train_memory, self.weights, self.weight_optimizer)

    def _moment(self, side: str) -> Moment:
        rng = generator(self.train.seed, f"scheme {side}", self.next_epoch, self.next_step)
        return Moment(self.next_epoch, self.recipe.epochs, rng, self.supernet.choices)

    def _step(
        self,
        side: str,
        batch: Batch,
        memory: Tensor | None,
        parameters: Sequence[Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> Tensor:
        mixture = self.recipe.scheme.mixture(self.supernet.offered_alphas(), self._moment(side))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            own_BD = self.supernet(batch.images_BCHW, mixture)
            if memory is None:
                own_BD = self.supernet.logits(own_BD)
            # From here on every rank computes the same, for the global batch.
            output_BD, labels_B = self.ranks.gather(own_BD), self.ranks.gather(batch.labels_B)
            loss = self._loss(output_BD, labels_B, memory)
        # Compute the gradients of `parameters` only, so that this loss never reaches the other side's parameters. The
        # weights of an operation that was not computed get none, and the optimiser leaves them as they are.
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.ranks.average_gradients(parameters)
        optimizer.step()
        if memory is not None:
            update_memory(
                memory,
                output_BD.detach(),
                labels_B,
                self.recipe.memory_momentum,
                num_instances=self.recipe.num_instances,
            )
        return loss.detach()

    def _loss(self, output_BD: Tensor, labels_B: Tensor, memory: Tensor | None) -> Tensor:
        """Return the loss of features where there is a memory, otherwise the loss of logits."""
        if memory is None:
            return cross_entropy(output_BD.float(), labels_B)
        return memory_contrastive(output_BD, labels_B, memory, self.recipe.temperature)

    def _new_memory(self, batches: TrainBatches) -> Tensor | None:
        """Return a memory with one entry for each identity of a side, or None where a classifier supervises."""
        if self.recipe.supervision == "softmax":
            return None
        return torch.zeros(batches.num_classes, self.supernet.feature_dim, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return weights, α, optimisers, memories and the loop's position; it is valid between any two steps.

        Random state is not included, because it follows from seed, epoch and step.
        """
        return {
            **super().state_dict(),
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "train_memory": self.train_memory,
            "valid_memory": self.valid_memory,
            **({"evolution": self.evolution.state_dict()} if self.evolution else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, which the `state_dict` of the same search returned."""
        super().load_state_dict(state)
        self.supernet.load_state_dict(state["supernet"])
        load_optimizer(self.weight_optimizer, state["weight_optimizer"])
        load_optimizer(self.alpha_optimizer, state["alpha_optimizer"])
        for memory, saved in (
            (self.train_memory, state["train_memory"]),
            (self.valid_memory, state["valid_memory"]),
        ):
            if memory is not None:
                memory.copy_(saved)
        if self.evolution:
            self.evolution.load_state_dict(state["evolution"])


def search_epochs(
    search: Search, after_step: Callable[[], None] | None = None
) -> Iterator[SearchReport | GenerationReport]:
    """Run the remaining epochs and yield a report after each of them. At each report `search` may be saved.

    If the scheme has generations, they follow the epochs, and each of their steps evaluates one genotype.

    A step updates α on a validation batch, unless the scheme says otherwise, then the weights on a training batch.

    Args:
        search: A new search, or one that continues from any step.
        after_step: Called after each step that does not end its epoch. It may save `search` too. An exception from it
            ends the search after that step.

    Raises:
        ValueError: A loss is infinite or not a number.
    """
    recipe = search.recipe
    for epoch in range(search.next_epoch, recipe.epochs):
        search.supernet.train()  # the caller may have set evaluation mode between reports
        lr = recipe_lr(recipe, epoch)
        alpha_lr = recipe.alpha_lr * lr_factor(
            epoch, warmup_epochs=0, warmup_factor=1.0, milestones=recipe.alpha_milestones, gamma=recipe.gamma
        )
        set_lr(search.weight_optimizer, lr)
        set_lr(search.alpha_optimizer, alpha_lr)
        (train_mean, valid_mean), steps, seconds = search.run_epoch(search.batches(epoch), search.step, after_step)
        alphas = search.supernet.offered_alphas().detach().tolist() if recipe.scheme.uses_alphas else None
        yield SearchReport(
            epoch=epoch,
            train_loss=train_mean,
            valid_loss=valid_mean if recipe.scheme.trains_alphas(epoch, recipe.epochs) else None,
            lr=lr,
            alpha_lr=alpha_lr,
            alphas=alphas,
            genotype=Genotype.from_alphas(alphas, search.supernet.space) if alphas else None,
            steps=steps,
            seconds=seconds,
        )
    if search.evolution:
        yield from _generations(search, search.evolution, after_step)


def _generations(
    search: Search, evolution: Evolution, after_step: Callable[[], None] | None
) -> Iterator[GenerationReport]:
    for epoch in range(search.next_epoch, search.num_epochs):
        if search.next_step == 0:
            evolution.begin(epoch - search.recipe.epochs)
        population = evolution.population[search.next_step :]
        (mean, _), evaluations, seconds = search.run_epoch(population, search.evaluate, after_step)
        best = evolution.ranked[0]
        yield GenerationReport(epoch, evolution.scores[best], mean, genotype_of(best), evaluations, seconds)
