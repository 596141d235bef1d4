"""Charts of points, in which a staircase line joins the important ones. Drawn by Matplotlib.

The line is a Pareto front, or the best value of a series so far.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msinet.visual.figures import INK, PALETTE, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEAR = 0.05  # share of an axis within which labels would cover each other


@dataclass(frozen=True)
class Point:
    """A point of a chart.

    Attributes:
        x, y: Its place.
        label: Text beside it; empty for none.
        low, high: Ends of the interval of y; None if it is not known.
    """

    x: float
    y: float
    label: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Chart:
    """The content of one chart.

    Attributes:
        title, x_label, y_label: Texts above the chart, below it and at its side.
        points: All points.
        front: The points that are joined, by rising x. They are drawn larger, and may be points that are not in
            `points`.
        bound: x of a vertical line that marks the largest allowed value; None for no line.
    """

    title: str
    x_label: str
    y_label: str
    points: Sequence[Point]
    front: Sequence[Point] = field(default_factory=list)
    bound: float | None = None


def staircase(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats with a smaller x and a larger y, by rising x."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def draw_charts(charts: Sequence[Chart]) -> "Figure":
    """Return a figure with charts beside each other.

    Raises:
        ValueError: There is no chart, or a chart has no point.
    """
    from matplotlib.figure import Figure

    if not charts or not all(chart.points for chart in charts):
        raise ValueError("a figure must have at least one chart, and a chart at least one point in `points`.")
    figure = Figure(figsize=(4.6 * len(charts), 3.6), layout="constrained")
    for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False).flat, charts, strict=True):
        style_axes(axes)
        for point in chart.points:
            if point.low is not None and point.high is not None:
                axes.plot([point.x, point.x], [point.low, point.high], color=PALETTE[0], alpha=0.45, linewidth=1.5)
        axes.scatter([p.x for p in chart.points], [p.y for p in chart.points], color=PALETTE[0], s=28)
        if chart.front:
            xs, ys = [p.x for p in chart.front], [p.y for p in chart.front]
            axes.step(xs, ys, where="post", color=PALETTE[1], linewidth=1.2)
            axes.scatter(xs, ys, color=PALETTE[1], marker="D", s=44, zorder=3)
        _write_labels(axes, list(dict.fromkeys([*chart.points, *chart.front])))
        if chart.bound is not None:
            axes.axvline(chart.bound, color=PALETTE[3], linestyle="--", linewidth=1.2)
        axes.set_title(chart.title, fontsize=10, color=INK, parse_math=False)
        axes.set_xlabel(chart.x_label, fontsize=9, color=INK, parse_math=False)
        axes.set_ylabel(chart.y_label, fontsize=9, color=INK, parse_math=False)
        axes.margins(0.08)
    return figure


def _write_labels(axes: "Axes", points: Sequence[Point]) -> None:
    """Write the label of each point on its right, or on its left if the right is taken by that of a near point."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    written: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.y, point.x)):
        near = [
            other
            for other in written
            if abs(other.x - point.x) < NEAR * (right - left) and abs(other.y - point.y) < NEAR * (high - low)
        ]
        side, aligned = (-6, "right") if len(near) % 2 else (6, "left")
        axes.annotate(
            point.label,
            (point.x, point.y),
            xytext=(side, 4 - 10 * (len(near) // 2)),
            textcoords="offset points",
            horizontalalignment=aligned,
            fontsize=9,
            color=INK,
            parse_math=False,
        )
        written += [point] if point.label else []
