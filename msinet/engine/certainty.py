"""How sure a search is of its genotype, from the history of its architecture parameters. Only NumPy is needed.

Letters: E epochs, S slots, O operations. Everything here can be computed for a search that was published before.

An operation that a slot does not offer has α = -inf, and so the probability 0. The files of a search say `null` there,
because JSON has no infinite numbers, and older files say `-Infinity`. All functions take None and -inf.

The final mixture is read as a distribution over genotypes: each slot draws its operation with the probabilities
softmax(α) of the last epoch, and the slots are independent. In a short search α stays near 0. All probabilities are
then close to 1 / O, and the most probable genotype is only a little more probable than a random one.
"""

import heapq
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet.genotype import LETTERS, OPERATIONS

Array = NDArray[np.float64]

NOISE_SHARE = 0.25
"""Share of the epochs, at the end, whose steps are taken as the noise of α."""
COLLAPSE_SHARE = 0.75
"""Share of the slots that one operation must hold for a warning of collapse."""


@dataclass(frozen=True)
class Collapse:
    """A warning: one operation holds most slots. It can be given after every epoch of a search that still runs.

    Differentiable searches are known to end in networks of one operation without parameters, whose mixture gets a small
    loss early but which score badly after retraining (Zela et al., ICLR 2020; DARTS+, Liang et al., 2019). The limit is
    three quarters of the slots: in a random genotype of 12 slots and 4 operations, some operation holds 9 or more slots
    with probability 0.0016.

    Attributes:
        operation: Name of the operation.
        epoch: First epoch, counted from 0, from which on it holds that many slots.
        slots: Number of slots that it holds after the last epoch.
    """

    operation: str
    epoch: int
    slots: int


@dataclass(frozen=True)
class Certainty:
    """How sure a search is.

    Attributes:
        mixture_ESO: softmax(α) after each epoch.
        entropy_ES: Entropy of each slot's mixture in bits; log2(O) means that the slot knows nothing.
        margin_ES: Largest probability minus the second largest.
        share_EO: Mean probability of each operation over the slots.
        held_EO: Number of slots in which each operation is the most probable one.
        choice_ES: Index of the most probable operation.
        stands_since: First epoch, counted from 0, from which on the genotype no longer changes.
        slot_stands_since: The same for each slot.
        flip_S: Probability that a slot's choice changes; see `flip_probabilities`. NaN with fewer than four epochs.
        collapse: A warning that one operation holds most slots after the last epoch, or None.
    """

    mixture_ESO: Array
    entropy_ES: Array
    margin_ES: Array
    share_EO: Array
    held_EO: NDArray[np.int64]
    choice_ES: NDArray[np.int64]
    stands_since: int
    slot_stands_since: list[int]
    flip_S: Array
    collapse: Collapse | None


def certainty_of(alphas_ESO: Any, operations: Sequence[str] = OPERATIONS) -> Certainty:
    """Return how sure a search is, from α after each of its epochs.

    Args:
        alphas_ESO: α after each epoch, as the lines of a search's history hold it.
        operations: Names of the operations, in the order of α's columns.

    Raises:
        ValueError: α has another shape, no epoch, or something that is not a finite number.
    """
    alphas_ESO = _checked(alphas_ESO, len(operations))
    mixture_ESO, logs_ESO = mixture_of(alphas_ESO), _log_mixture(alphas_ESO)
    ordered_ESO = np.sort(mixture_ESO, axis=-1)
    choice_ES = alphas_ESO.argmax(axis=-1)  # ties go to the first operation, as in `Genotype.from_alphas`
    held_EO = np.stack([(choice_ES == operation).sum(axis=1) for operation in range(len(operations))], axis=1)
    return Certainty(
        mixture_ESO=mixture_ESO,
        entropy_ES=-(mixture_ESO * np.where(mixture_ESO > 0, logs_ESO, 0.0)).sum(axis=-1) / math.log(2),
        margin_ES=ordered_ESO[..., -1] - ordered_ESO[..., -2],
        share_EO=mixture_ESO.mean(axis=1),
        held_EO=held_EO,
        choice_ES=choice_ES,
        stands_since=_stands_since((choice_ES != choice_ES[-1]).any(axis=1)),
        slot_stands_since=[_stands_since(changed_E) for changed_E in (choice_ES != choice_ES[-1]).T],
        flip_S=flip_probabilities(alphas_ESO),
        collapse=_collapse(held_EO, choice_ES.shape[1], operations),
    )


def read_alphas(history: str) -> list[list[list[float | None]]]:
    """Return α after each epoch, from the text of a search's `history.jsonl`; empty if its scheme has no α."""
    reports = [json.loads(line) for line in history.splitlines()]
    found = [report["alphas"] for report in reports if report.get("alphas")]
    return found if len(found) == len(reports) else []


def mixture_of(alphas: Any) -> Array:
    """Return softmax(α) over the last axis."""
    return np.exp(_log_mixture(_numbers(alphas)))


def _log_mixture(alphas: Array) -> Array:
    below = alphas - alphas.max(axis=-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(axis=-1, keepdims=True)))


def epoch_figures(alphas_SO: Any, operations: Sequence[str] = OPERATIONS) -> dict[str, float]:
    """Return the figures of one epoch, for a curve over the epochs: means over the slots.

    Returns:
        `entropy` in bits, `margin`, `held_slots` (most slots that one operation holds), and `share_<operation>`.
    """
    found = certainty_of(_numbers(alphas_SO)[None], operations)
    shares = dict(zip(operations, found.share_EO[0], strict=True))
    return {
        "entropy": float(found.entropy_ES.mean()),
        "margin": float(found.margin_ES.mean()),
        "held_slots": float(found.held_EO.max()),
        **{f"share_{name}": float(share) for name, share in shares.items()},
    }


def likely_genotypes(alphas_SO: Any, count: int = 1, letters: Sequence[str] = LETTERS) -> list[tuple[str, float]]:
    """Return the most probable genotypes under the mixture, exactly and without listing all of them.

    The first one has the largest α in every slot. Each further one comes from an earlier one by the next smaller
    probability in one slot (best-first search). The state of a genotype is the rank of its operation in each slot. A
    state's parent is found by lowering its last rank above 0, so that each state is reached once.

    Args:
        alphas_SO: α of one epoch.
        count: Number of genotypes.
        letters: The operations' letters, in the order of α's columns.

    Returns:
        (letters, probability), from the most probable one on. Genotypes of equal probability come in the order of
        their states, so ties go to the first operation.

    Raises:
        ValueError: There are fewer genotypes than `count`, or α has another shape.
    """
    alphas_SO = _checked(_numbers(alphas_SO)[None], len(letters))[0]
    offered_S = np.isfinite(alphas_SO).sum(axis=1).tolist()
    slots, genotypes = len(offered_S), math.prod(offered_S)
    if not 1 <= count <= genotypes:
        raise ValueError(f"`candidates` must be 1 to {genotypes}, the number of genotypes, but got {count} (derive).")
    order_SO = np.argsort(-alphas_SO, axis=1, kind="stable")
    logs_SO = np.take_along_axis(_log_mixture(alphas_SO), order_SO, axis=1)
    loss_SO = logs_SO[:, :1] - logs_SO  # what a rank costs, at least 0
    best = float(logs_SO[:, 0].sum())
    heap: list[tuple[float, tuple[int, ...]]] = [(0.0, (0,) * slots)]
    found: list[tuple[str, float]] = []
    while len(found) < count:
        loss, state = heapq.heappop(heap)
        chosen = "".join(letters[order_SO[slot, rank]] for slot, rank in enumerate(state))
        found.append((chosen, math.exp(best - loss)))
        last = max((slot for slot, rank in enumerate(state) if rank), default=0)
        for slot in range(last, slots):
            if state[slot] + 1 < offered_S[slot]:
                child = (*state[:slot], state[slot] + 1, *state[slot + 1 :])
                heapq.heappush(heap, (sum(loss_SO[s, rank] for s, rank in enumerate(child)), child))
    return found


def flip_probabilities(alphas_ESO: Any) -> Array:
    """Return for each slot the probability that the noise of the last epochs changes its choice.

    The noise is estimated from the steps between consecutive epochs in the last quarter of the search (at least three
    steps): for each operation other than the chosen one, the gap α(chosen) − α(other) is followed, and its steps are
    taken as independent draws from a normal distribution. Their standard deviation σ is the noise of one epoch, their
    mean the drift. Over the n steps of this window, a random walk without drift moves by σ·√n. A choice flips against
    one operation with probability Φ(−gap / (σ·√n)); the largest of these over the other operations is returned, which
    is a lower bound of the probability that any of them wins. So the answer is to this question: had the last quarter
    been run with other batches, would the slot have chosen differently? The noise of the initial weights, which other
    search seeds show, is not part of it. Steps that depend on the step before, as under momentum, make it too small.

    Returns:
        One probability for each slot, 0 to 0.5; NaN for a search of fewer than four epochs, which has too few steps.
    """
    alphas_ESO = _numbers(alphas_ESO)
    epochs, slots, _ = alphas_ESO.shape
    steps = max(3, round(NOISE_SHARE * epochs))
    flip_S = np.full(slots, np.nan)
    if epochs < 4:
        return flip_S
    for slot, chosen in enumerate(alphas_ESO[-1].argmax(axis=-1)):
        others = [o for o in np.flatnonzero(np.isfinite(alphas_ESO[-1, slot])) if o != chosen]
        gaps_EO = alphas_ESO[:, slot, [chosen]] - alphas_ESO[:, slot, others]
        moved_O = np.diff(gaps_EO[-steps - 1 :], axis=0).std(axis=0, ddof=1) * math.sqrt(steps)
        flip_S[slot] = max(map(_below_zero, gaps_EO[-1], moved_O), default=0.0)
    return flip_S


def _below_zero(mean: float, deviation: float) -> float:
    """Return the probability that a normal variable is below 0; 1/2 for a tie, also without deviation."""
    if deviation == 0:
        return 0.5 if mean == 0 else 0.0
    return 0.5 * math.erfc(mean / deviation / math.sqrt(2))


def _numbers(alphas: Any) -> Array:
    """Return α as an array, with -inf for None."""
    values = np.asarray(alphas)
    if values.dtype == object:
        values = np.where(np.equal(values, np.array(None)), -np.inf, values)
    return values.astype(np.float64)


def _checked(alphas_ESO: Any, operations: int) -> Array:
    alphas_ESO = _numbers(alphas_ESO)
    if alphas_ESO.ndim != 3 or alphas_ESO.shape[2] != operations or 0 in alphas_ESO.shape:
        raise ValueError(f"α must be epochs × slots × {operations} operations, but has shape {alphas_ESO.shape}.")
    if np.isnan(alphas_ESO).any() or not np.isfinite(alphas_ESO.max(axis=-1)).all():
        raise ValueError("α must be numbers, finite for at least one operation of each slot, but is not.")
    return alphas_ESO


def _stands_since(differs_E: NDArray[np.bool_]) -> int:
    """Return the first epoch from which on nothing differs from the end."""
    differing = np.flatnonzero(differs_E)
    return int(differing[-1]) + 1 if len(differing) else 0


def _collapse(held_EO: NDArray[np.int64], slots: int, operations: Sequence[str]) -> Collapse | None:
    operation = int(held_EO[-1].argmax())
    crowded_E = held_EO[:, operation] >= COLLAPSE_SHARE * slots
    if not crowded_E[-1]:
        return None
    return Collapse(operations[operation], _stands_since(~crowded_E), int(held_EO[-1, operation]))
