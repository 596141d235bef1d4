"""Run a search or a training to its end, from the newest state that any attempt saved."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from math import isfinite
from typing import Any

from torch import nn

from msinet.engine.state import require_finite_tensors, save_state, save_tensors
from msinet.files import json_text
from msinet.interop.card import Card
from msinet.recipes import BatchRecipe
from pipeline.plan.kinds import HISTORY, WEIGHTS
from pipeline.results import Report, Result, Step
from pipeline.stages.saved import continue_from_saved
from pipeline.stages.task import Context, StopRequested

log = logging.getLogger(__name__)

STEP_EVERY = 5.0  # seconds between two messages about steps within an epoch


def run_epochs(
    context: Context, loop: Any, epochs: Callable[[Any, Callable[[], None]], Iterator[Any]], total: int
) -> list[Report]:
    """Run a loop to its end, from the newest state that any attempt saved; return the history of all its epochs."""
    history = continue_from_saved(context, loop, total)
    saved = told = time.monotonic()

    def save() -> None:
        nonlocal saved
        state = {"loop": loop.state_dict(), "history": [json_text(line) for line in history]}
        context.workspace.save_checkpoint(context.attempt, lambda path: save_state(path, state))
        saved = time.monotonic()

    def save_if_possible(ending: bool) -> None:
        nonlocal saved
        try:
            save()
        except OSError as error:
            if ending:  # the next attempt starts from the last saved state
                raise
            saved = time.monotonic()  # try again after the usual interval
            log.warning(
                "the state of %s %s was not saved, training goes on: %s", context.task.kind, context.task.key, error
            )

    def tell_step() -> None:
        nonlocal told
        if loop.next_step and time.monotonic() - told >= STEP_EVERY:
            context.step(Step(loop.next_epoch, total, loop.next_step, loop.num_steps(), loop.seconds))
            told = time.monotonic()

    def after_step() -> None:
        if context.ranks and context.ranks.rank > 0:
            return  # all ranks have equal states, so the first rank saves
        tell_step()
        ending = context.stop()
        if ending or time.monotonic() - saved >= context.task.checkpoint_every:
            save_if_possible(ending)
        if ending:
            raise StopRequested

    for report in epochs(loop, after_step):
        history.append(_plain(report))
        context.report({**history[-1], "epochs": total, "pid": os.getpid()})
        if context.after_epoch:
            context.after_epoch(context, loop, save)
        after_step()
    text = "".join(json_text(line) + "\n" for line in history)
    (context.out / HISTORY).write_text(text, encoding="utf-8")
    return history


def effort(history: list[Report], recipe: BatchRecipe) -> Result:
    """Return how many training images were seen and how many seconds that took; later plans estimate from these.

    The generations at the end of a search take time too, but train on no images.
    """
    return {
        "images": recipe.batch_size * sum(line.get("steps", 0) for line in history),
        "train_seconds": sum(line["seconds"] for line in history),
    }


def _plain(report: Any) -> Report:
    """Return a report as a dictionary that JSON can hold."""
    values = asdict(report)
    if values.get("genotype") is not None:
        values["genotype"] = str(report.genotype)
    if values.get("alphas") is not None:  # JSON has no -inf, which is α of an operation that a slot does not offer
        values["alphas"] = [[a if isfinite(a) else None for a in row] for row in values["alphas"]]
    return values


def save_weights(context: Context, model: nn.Module, card: Card) -> None:
    """Write the weights of a network into the attempt's folder.

    Raises:
        ValueError: Some weights are infinite or not numbers. The losses do not show what the last step has done.
    """
    weights = model.state_dict()
    require_finite_tensors(weights, "the weights")
    save_tensors(context.out / WEIGHTS, weights, card.to_metadata())
