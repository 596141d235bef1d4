"""Plots of a search over its epochs: the mixture of each slot, and how sure the slots are. Drawn by Matplotlib.

Only Matplotlib's own objects are used, without pyplot, so that several threads may draw.
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msinet.engine.certainty import Certainty
from msinet.genotype import LETTERS, OPERATIONS
from msinet.visual.genotype_diagram import STYLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
COLUMNS = 4  # of small plots, one for each slot
PALE = "#c4c9ce"


def draw_mixtures(found: Certainty, operations: Sequence[str] = OPERATIONS, letters: Sequence[str] = LETTERS) -> bytes:
    """Return a PNG with one small plot for each slot: the probability of each operation over the epochs."""
    from matplotlib.figure import Figure

    epochs, slots, _ = found.mixture_ESO.shape
    rows = math.ceil(slots / COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 1.9 * rows + 0.8))
    figure.subplots_adjust(left=0.075, right=0.99, bottom=0.09, top=0.9, wspace=0.06, hspace=0.3)
    planes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flat
    for slot, plane in zip(range(slots), planes, strict=False):
        for operation, name in enumerate(operations):
            color = STYLES[name].color
            plane.plot(_numbered(epochs), found.mixture_ESO[:, slot, operation], color=color, label=name, marker=".")
        since = found.slot_stands_since[slot]
        plane.axvline(since + 1, color=PALE, linestyle=":")
        plane.set_title(f"slot {slot + 1}: {letters[found.choice_ES[-1, slot]]}, stands since {since + 1}", fontsize=9)
    for plane in list(planes)[slots:]:
        plane.set_visible(False)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("probability in the mixture", fontsize=9, x=0.005)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=len(names), frameon=False, fontsize=9)
    return png_of(figure)


def draw_certainty(found: Certainty, operations: Sequence[str] = OPERATIONS) -> bytes:
    """Return a PNG with three plots over the epochs: entropy and margin of the slots, and shares of the operations."""
    from matplotlib.figure import Figure

    epochs, _, columns = found.mixture_ESO.shape
    figure = Figure(figsize=(11, 3.2))
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.15, top=0.9)
    entropy, margin, share = figure.subplots(1, 3)
    curves = ((entropy, found.entropy_ES, "entropy, bits"), (margin, found.margin_ES, "margin p1 − p2"))
    for plane, values_ES, title in curves:
        plane.plot(_numbered(epochs), values_ES, color=PALE, linewidth=0.8)
        plane.plot(_numbered(epochs), values_ES.mean(axis=1), color="black", marker=".", label="mean of the slots")
        plane.set_title(title, fontsize=10)
        plane.legend(frameon=False, fontsize=8)
    entropy.axhline(math.log2(columns), color=PALE, linestyle=":")
    for operation, name in enumerate(operations):
        share.plot(_numbered(epochs), found.share_EO[:, operation], color=STYLES[name].color, marker=".", label=name)
    share.set_title("mean share of the operations", fontsize=10)
    share.legend(frameon=False, fontsize=8)
    for plane in (entropy, margin, share):
        plane.axvline(found.stands_since + 1, color=PALE, linestyle=":")
        plane.set_xlabel("epoch (dotted: since then the genotype stands)", fontsize=8)
    return png_of(figure)


def draw_ranking(points: Sequence[tuple[float, float, str]], title: str, x_label: str, y_label: str) -> bytes:
    """Return a PNG with a point for each genotype: its score under shared weights, and after retraining.

    Args:
        points: (x, y, name) of each genotype.
        title, x_label, y_label: Texts above the plot, below it and at its side.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    plane = figure.subplots()
    plane.scatter([x for x, _, _ in points], [y for _, y, _ in points], color="#0b69a8")
    for x, y, name in points:
        plane.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
    plane.set_title(title, fontsize=10, wrap=True)
    plane.set_xlabel(x_label, fontsize=9)
    plane.set_ylabel(y_label, fontsize=9)
    return png_of(figure)


def png_of(figure: "Figure") -> bytes:
    """Return a figure as PNG. The same figure gives the same bytes under one version of Matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def _numbered(epochs: int) -> range:
    """Return the numbers of the epochs as people count them, from 1."""
    return range(1, epochs + 1)
