"""Continue a search or a training from the newest state that any attempt saved and that fits."""

import copy
import json
import logging
from typing import Any

import torch
from torch import distributed

from msinet.engine.state import load_state, same_form
from pipeline.results import Report
from pipeline.stages.task import Context

log = logging.getLogger(__name__)

# Errors of a state that has another form. Errors of a GPU's memory are RuntimeErrors too, but say nothing of the state.
MISFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
NO_MISFIT = (torch.OutOfMemoryError, torch.AcceleratorError)


def continue_from_saved(context: Context, loop: Any, total: int) -> list[Report]:
    """Let a loop continue from the newest state that fits, or leave it as it is. All ranks choose the same state.

    A state that is damaged, foreign, or cannot be read now is passed over. A newer state then costs time only.

    Args:
        context: Context of the stage, whose attempts saved states.
        loop: A new loop.
        total: Number of its epochs.

    Returns:
        The history of the epochs that have ended; empty without a state.
    """
    fresh: Any = None
    for place in _places(context):
        state = _read(context, place)
        if not _on_all_ranks(context, state is not None):
            continue
        fresh = fresh or copy.deepcopy(loop.state_dict())
        history = _load(loop, state, total)
        if _on_all_ranks(context, history is not None):
            return history or []
        log.warning("%s/%s does not fit this stage, and is passed over.", context.workspace.address, place)
        loop.load_state_dict(fresh)
    return []


def _places(context: Context) -> list[str]:
    """Return where states are, the newest first: on every rank what the first rank finds.

    Other ranks may look later and find something else.
    """
    if context.ranks and context.ranks.rank > 0:
        found: list[list[str]] = [[]]
    else:
        found = [context.workspace.checkpoints(context.task.kind, context.task.key)]
    if context.ranks:
        distributed.broadcast_object_list(found, src=0)
    return found[0]


def _read(context: Context, place: str) -> dict[str, Any] | None:
    try:
        with context.workspace.checkpoint(place) as path:
            return load_state(path)
    except FileNotFoundError:  # the attempt has just ended
        return None
    except (OSError, ValueError) as error:
        log.warning("%s/%s is passed over: %s", context.workspace.address, place, error)
        return None


def _load(loop: Any, state: Any, total: int) -> list[Report] | None:
    """Load a state into a loop and return its history, or return None if the state does not fit."""
    try:
        history = [json.loads(line) for line in state["history"]]
        loop.load_state_dict(state["loop"])
        fits = (
            same_form(loop.state_dict(), state["loop"])
            and [line["epoch"] for line in history] == list(range(loop.next_epoch))
            and loop.next_epoch <= total
            and loop.next_step >= 0
        )
    except NO_MISFIT:
        raise
    except MISFIT:
        return None
    return history if fits else None


def _on_all_ranks(context: Context, holds: bool) -> bool:
    """Return whether something holds on every rank."""
    if not context.ranks:
        return holds
    answers = [holds] * context.ranks.world
    distributed.all_gather_object(answers, holds)
    return all(answers)
