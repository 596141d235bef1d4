"""Plots of points, in which a staircase line joins the important ones.

The line is a Pareto front, or the best value of a series so far.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from msinet.visual.sheet import GREY, INK, LABEL_SIZE, MARGIN, PALE, WHITE, stacked, text

FRONT = (11, 105, 168)
BOUND = (194, 65, 12)
WIDTH, HEIGHT = 460, 340  # of the plane, in pixels
LEFT, BELOW = 64, 48  # room for the labels of the axes, in pixels
Point = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """The content of one plot.

    Attributes:
        title, x_label, y_label: Texts above the plot, below it and at its side.
        points: (x, y) of all points.
        front: (x, y, label) of the points that are joined, by rising x; an empty label is not written.
        bound: x of a vertical line that marks the largest allowed value; None for no line.
    """

    title: str
    x_label: str
    y_label: str
    points: Sequence[Point]
    front: Sequence[tuple[float, float, str]] = field(default_factory=list)
    bound: float | None = None


def draw_panel(panel: Panel) -> Image.Image:
    """Draw the plot with its axes.

    Raises:
        ValueError: There is no point.
    """
    if not panel.points:
        raise ValueError("a panel must have at least one point, but `points` is empty.")
    xs = [x for x, _ in panel.points] + ([panel.bound] if panel.bound is not None else [])
    x_ticks, y_ticks = _ticks(xs), _ticks([y for _, y in panel.points])
    plane = Image.new("RGB", (LEFT + WIDTH + MARGIN, HEIGHT + BELOW + MARGIN), WHITE)
    draw, font = ImageDraw.Draw(plane), ImageFont.load_default(LABEL_SIZE)

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + WIDTH * _share(x, x_ticks), MARGIN + HEIGHT * (1 - _share(y, y_ticks))

    bottom, right = MARGIN + HEIGHT, LEFT + WIDTH
    for tick in x_ticks:
        x, _ = at(tick, y_ticks[0])
        draw.line((x, MARGIN, x, bottom), fill=PALE)
        draw.text((x, bottom + 6), f"{tick:g}", fill=GREY, font=font, anchor="mt")
    for tick in y_ticks:
        _, y = at(x_ticks[0], tick)
        draw.line((LEFT, y, right, y), fill=PALE)
        draw.text((LEFT - 6, y), f"{tick:g}", fill=GREY, font=font, anchor="rm")
    draw.text((LEFT + WIDTH / 2, bottom + 24), panel.x_label, fill=INK, font=font, anchor="mt")
    if panel.bound is not None:
        x, _ = at(panel.bound, y_ticks[0])
        for top in range(MARGIN, bottom, 8):
            draw.line((x, top, x, top + 4), fill=BOUND)
    steps = [at(x, y) for x, y, _ in panel.front]
    for (x0, y0), (x1, y1) in pairwise(steps):
        draw.line((x0, y0, x1, y0, x1, y1), fill=FRONT, width=2)
    for x, y in (at(*point) for point in panel.points):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=GREY)
    for (x, y), (_, _, label) in zip(steps, panel.front, strict=True):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=FRONT, outline=WHITE)
        draw.text((x + 7, y - 6), label, fill=FRONT, font=font, anchor="ls")
    side = text(panel.y_label, LABEL_SIZE)
    turned = side.rotate(90, expand=True)
    plane.paste(turned, (4, MARGIN + (HEIGHT - turned.height) // 2))
    return stacked([text(panel.title), plane], gap=4)


def _ticks(values: Sequence[float]) -> list[float]:
    """Return about five round numbers; the first is not above the smallest value, the last not below the largest."""
    low, high = min(values), max(values)
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]


def _share(value: float, ticks: Sequence[float]) -> float:
    return (value - ticks[0]) / (ticks[-1] - ticks[0])
