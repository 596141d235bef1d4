"""Optimisers, the learning rate of each epoch, and the check that a loss is still a number."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor, optim


class OptimizerRecipe(Protocol):
    """The settings of a recipe that `build_optimizer` reads."""

    @property
    def optimizer(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


class ScheduleRecipe(Protocol):
    """The settings of a recipe that `recipe_lr` reads."""

    @property
    def lr(self) -> float: ...
    @property
    def warmup_epochs(self) -> int: ...
    @property
    def warmup_factor(self) -> float: ...
    @property
    def milestones(self) -> Sequence[int]: ...
    @property
    def gamma(self) -> float: ...


def build_optimizer(parameters: Iterable[Tensor], recipe: OptimizerRecipe) -> optim.Optimizer:
    """Build the optimiser of `recipe` for `parameters`; `weight_decay` is an L2 penalty in SGD and in Adam.

    Raises:
        ValueError: `recipe.optimizer` is neither `"sgd"` nor `"adam"`.
    """
    if recipe.optimizer == "sgd":
        return optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "adam":
        return optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    raise ValueError(f"`optimizer` must be 'sgd' or 'adam', but got {recipe.optimizer!r}.")


def load_optimizer(optimizer: optim.Optimizer, state: dict[str, Any]) -> None:
    """Let an optimiser continue from a state that its `state_dict` returned.

    Raises:
        ValueError: The state is that of an optimiser of other parameters.
    """
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f"`{name}` of an optimiser must have its parameter's shape {list(parameter.shape)}, but has "
                    f"{list(value.shape)}."
                )


def lr_factor(
    epoch: int, *, warmup_epochs: int, warmup_factor: float, milestones: Sequence[int], gamma: float
) -> float:
    """Return the factor on the learning rate in `epoch`: a linear warm-up, then steps.

    Args:
        epoch: Counted from 0.
        warmup_epochs: The first epoch at full rate; 0 for no warm-up.
        warmup_factor: The factor of epoch 0, when there is a warm-up.
        milestones: Epochs, in rising order, at which the factor is multiplied by `gamma`.
        gamma: See `milestones`.
    """
    factor = gamma ** bisect_right(milestones, epoch)
    if epoch >= warmup_epochs:
        return factor
    progress = epoch / warmup_epochs
    return factor * (warmup_factor * (1 - progress) + progress)


def recipe_lr(recipe: ScheduleRecipe, epoch: int) -> float:
    """Return the learning rate of `epoch`, counted from 0."""
    return recipe.lr * lr_factor(
        epoch,
        warmup_epochs=recipe.warmup_epochs,
        warmup_factor=recipe.warmup_factor,
        milestones=recipe.milestones,
        gamma=recipe.gamma,
    )


def set_lr(optimizer: optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def require_finite(means: Tensor, epoch: int) -> list[float]:
    """Return the means of an epoch as Python numbers. Only here an epoch waits for the device.

    Raises:
        ValueError: One of them is infinite or not a number.
    """
    if not means.isfinite().all():
        raise ValueError(
            f"the losses must stay finite, but epoch {epoch} gave {means.tolist()}; a smaller `lr` or "
            "a longer warm-up (`warmup_epochs`) may help."
        )
    return means.tolist()
