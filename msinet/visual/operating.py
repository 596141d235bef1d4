"""The curve of true positives over false positives, with the thresholds of some rates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from msinet.statistics.operating import OperatingPoint, PairCounts
from msinet.visual.figures import INK, PALETTE, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_operating(counts: PairCounts, points: Sequence[OperatingPoint]) -> "Figure":
    """Return a figure of the share of accepted pairs of one identity over that of two identities.

    Beside each point stands its threshold, a cosine distance.

    Args:
        counts: The pairs.
        points: Thresholds to mark, with their intervals.
    """
    from matplotlib.figure import Figure

    false_E, true_E = counts.rates()
    shown_E = false_E > 0
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    style_axes(axes)
    axes.plot(false_E[shown_E], 100 * true_E[shown_E], color=PALETTE[0])
    for point in points:
        rate = point.true_positive_rate.scaled(100)
        reach = np.abs([[rate.estimate - rate.low], [rate.high - rate.estimate]])
        axes.errorbar([point.wanted], [rate.estimate], reach, fmt="o", color=PALETTE[1], capsize=3)
        above = rate.high < 85  # otherwise there is no room
        place, offset = ((point.wanted, rate.high), (0, 5)) if above else ((point.wanted, rate.low), (0, -14))
        label = f"{point.threshold:.3f}"
        axes.annotate(label, place, offset, textcoords="offset points", color=INK, fontsize=9, ha="center")
    axes.set_xscale("log")
    axes.set_ylim(0, 102)
    axes.set_xlabel("accepted pairs of two identities (share)", color=INK)
    axes.set_ylabel("accepted pairs of one identity, %", color=INK)
    return figure
