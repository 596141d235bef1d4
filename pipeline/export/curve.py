"""The picture of true positives over false positives."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from msinet.statistics.operating import OperatingPoint, PairCounts


def draw_curve(counts: PairCounts, points: Sequence[OperatingPoint], path: Path) -> None:
    """Draw the share of accepted pairs of one identity over that of two identities, as a PNG file.

    Args:
        counts: The pairs.
        points: Thresholds to mark, with their intervals.
        path: The file.
    """
    false_E, true_E = counts.rates()
    shown = false_E > 0
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(false_E[shown], true_E[shown], color="#1f4e79")
    for point in points:
        rate = point.true_positive_rate
        reach = np.abs([[rate.estimate - rate.low], [rate.high - rate.estimate]])
        axes.errorbar([point.wanted], [rate.estimate], reach, fmt="o", color="#b35900", capsize=3)
        axes.annotate(
            f"distance {point.threshold:.3f}", (point.wanted, rate.estimate), (6, -12), textcoords="offset points"
        )
    axes.set(
        xscale="log",
        ylim=(0, 1.02),
        xlabel="false positives: accepted pairs of two identities",
        ylabel="true positives: accepted pairs of one identity",
    )
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
