"""Run a search or a training to its end, from the newest state that any attempt saved."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from torch import distributed, nn

from msinet.engine.state import load_state, save_state, save_tensors
from msinet.interop.card import Card
from msinet.recipes import BatchRecipe
from pipeline.plan.kinds import HISTORY, WEIGHTS
from pipeline.results import Report, Result
from pipeline.stages.task import Context, StopRequested

log = logging.getLogger(__name__)


def run_epochs(
    context: Context, loop: Any, epochs: Callable[[Any, Callable[[], None]], Iterator[Any]], total: int
) -> list[Report]:
    """Run a loop to its end, from the newest state that any attempt saved; return the history of all its epochs."""
    history: list[Report] = []
    for place in _agreed(context, context.workspace.checkpoints(context.task.kind, context.task.key)):
        try:
            with context.workspace.checkpoint(place) as path:
                state = load_state(path)
        except (OSError, ValueError):
            continue  # the attempt has just ended or the file is damaged: try an older state
        loop.load_state_dict(state["loop"])
        history = [json.loads(line) for line in state["history"]]
        break
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        state = {"loop": loop.state_dict(), "history": [json.dumps(line) for line in history]}
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

    def after_step() -> None:
        if context.ranks and context.ranks.rank > 0:
            return  # all ranks have equal states, so the first rank saves
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
    text = "".join(json.dumps(line) + "\n" for line in history)
    (context.out / HISTORY).write_text(text, encoding="utf-8")
    return history


def _agreed(context: Context, places: list[str]) -> list[str]:
    """Return on every rank what the first rank found. Other ranks may look later and find something else."""
    if not context.ranks:
        return places

    agreed = [places]
    distributed.broadcast_object_list(agreed, src=0)
    return agreed[0]


def effort(history: list[Report], recipe: BatchRecipe) -> Result:
    """Return how many training images were seen and how many seconds that took; later plans estimate from these."""
    return {
        "images": recipe.batch_size * sum(line["steps"] for line in history),
        "train_seconds": sum(line["seconds"] for line in history),
    }


def _plain(report: Any) -> Report:
    """Return a report as a dictionary that JSON can hold."""
    values = asdict(report)
    if "genotype" in values:
        values["genotype"] = report.genotype.letters
    return values


def save_weights(context: Context, model: nn.Module, card: Card) -> None:
    """Write the weights of a network into the attempt's folder."""
    save_tensors(context.out / WEIGHTS, model.state_dict(), card.to_metadata())
