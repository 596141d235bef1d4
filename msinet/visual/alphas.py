"""Plots of a search over its epochs: the mixture of each slot, and how sure the slots are. Drawn by Matplotlib."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msinet.engine.certainty import Array, Certainty
from msinet.genotype import LETTERS, OPERATIONS
from msinet.visual.figures import INK, MARKERS, PALE, PALETTE, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 4  # of small plots, one for each slot
STYLES = tuple(zip(PALETTE, MARKERS, strict=True))


def draw_mixtures(
    found: Certainty, operations: Sequence[str] = OPERATIONS, letters: Sequence[str] = LETTERS
) -> "Figure":
    """Return a figure with one small plot for each slot: the probability of each operation over the epochs."""
    from matplotlib.figure import Figure

    _, slots, _ = found.mixture_ESO.shape
    rows = math.ceil(slots / COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 1.9 * rows + 0.8))
    figure.subplots_adjust(left=0.075, right=0.99, bottom=0.09, top=0.9, wspace=0.06, hspace=0.3)
    planes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat
    for slot, plane in zip(range(slots), planes, strict=False):
        style_axes(plane)
        for operation, name in enumerate(operations):
            _plot(plane, found.mixture_ESO[:, slot, operation], operation, name)
        since = found.slot_stands_since[slot]
        plane.axvline(since + 1, color=INK, linestyle=":", linewidth=1)
        choice = letters[found.choice_ES[-1, slot]]
        plane.set_title(f"slot {slot + 1}: {choice}, stands since {since + 1}", fontsize=9, color=INK)
    for plane in list(planes)[slots:]:
        plane.set_visible(False)
    figure.supxlabel("epoch", fontsize=9, color=INK)
    figure.supylabel("probability in the mixture", fontsize=9, x=0.005, color=INK)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=len(names), frameon=False, fontsize=9, labelcolor=INK)
    return figure


def draw_certainty(found: Certainty, operations: Sequence[str] = OPERATIONS) -> "Figure":
    """Return a figure with three plots over the epochs: entropy and margin of slots, and shares of the operations."""
    from matplotlib.figure import Figure

    epochs, _, columns = found.mixture_ESO.shape
    figure = Figure(figsize=(11, 3.2))
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.15, top=0.9)
    entropy, margin, share = figure.subplots(1, 3)
    curves = ((entropy, found.entropy_ES, "entropy, bits"), (margin, found.margin_ES, "margin p1 − p2"))
    for plane, values_ES, title in curves:
        plane.plot(_numbered(epochs), values_ES, color=PALE, linewidth=0.8)
        plane.plot(_numbered(epochs), values_ES.mean(axis=1), color=INK, marker=".", label="mean of the slots")
        plane.set_title(title, fontsize=10, color=INK)
    entropy.axhline(math.log2(columns), color=INK, linestyle=":", linewidth=1)
    for operation, name in enumerate(operations):
        _plot(share, found.share_EO[:, operation], operation, name)
    share.set_title("mean share of the operations", fontsize=10, color=INK)
    for plane in (entropy, margin, share):
        style_axes(plane)
        plane.legend(frameon=False, fontsize=8, labelcolor=INK)
        plane.axvline(found.stands_since + 1, color=INK, linestyle=":", linewidth=1)
        plane.set_xlabel("epoch (dotted: since then the genotype stands)", fontsize=8, color=INK)
    return figure


def draw_ranking(points: Sequence[tuple[float, float, str]], title: str, x_label: str, y_label: str) -> "Figure":
    """Return a figure with a point for each genotype: its score under shared weights, and after retraining.

    Args:
        points: (x, y, name) of each genotype.
        title, x_label, y_label: Texts above the plot, below it and at its side.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    plane = figure.subplots()
    style_axes(plane)
    plane.scatter([x for x, _, _ in points], [y for _, y, _ in points], color=PALETTE[0])
    for x, y, name in points:
        plane.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7, color=INK)
    plane.set_title(title, fontsize=10, wrap=True, color=INK)
    plane.set_xlabel(x_label, fontsize=9, color=INK)
    plane.set_ylabel(y_label, fontsize=9, color=INK)
    return figure


def _plot(plane: "Axes", values_E: Array, operation: int, name: str) -> None:
    """Plot the values of an operation over the epochs, in its colour and with its marker."""
    color, marker = STYLES[operation % len(STYLES)]
    line = "-" if operation < len(STYLES) else "--"
    epochs = _numbered(len(values_E))
    plane.locator_params(axis="x", integer=True)
    plane.plot(epochs, values_E, color=color, marker=marker, linestyle=line, markersize=3.5, linewidth=1.2, label=name)


def _numbered(epochs: int) -> range:
    """Return the numbers of the epochs as people count them, from 1."""
    return range(1, epochs + 1)
