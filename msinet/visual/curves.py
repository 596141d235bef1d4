"""Curves with the bands of their intervals, drawn by Matplotlib."""

import io
from collections.abc import Mapping
from pathlib import Path

from numpy.typing import NDArray

COLORS = ("#0b69a8", "#8a949c", "#c2410c")
FORMATS = (".svg", ".png")


def draw_curves(
    curves: Mapping[str, NDArray], lines: Mapping[str, float], labels: tuple[str, str, str], path: Path
) -> bytes:
    """Return a picture of curves over 1, 2, 3, … in the format of a path's ending.

    Args:
        curves: By name the estimate, the low and the high end of its interval, (3, N).
        lines: By name the height of a dotted horizontal line.
        labels: Title, label of the x axis, label of the y axis.
        path: A name with an ending of `FORMATS`.

    Raises:
        ValueError: The ending is another one.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if path.suffix not in FORMATS:
        raise ValueError(f"a plot must have a name that ends in {' or '.join(FORMATS)}, but got {path}.")
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    plane = figure.subplots()
    for (name, (mean, low, high)), color in zip(curves.items(), COLORS, strict=False):
        xs = range(1, len(mean) + 1)
        plane.plot(xs, mean, color=color, label=name)
        plane.fill_between(xs, low, high, color=color, alpha=0.18, linewidth=0)
    for name, height in lines.items():
        plane.axhline(height, color="#1f2328", linestyle=":", linewidth=1, label=name)
    title, x_label, y_label = labels
    plane.set(title=title, xlabel=x_label, ylabel=y_label)
    plane.legend(frameon=False, fontsize=9)
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "msinet"}):  # the same curves give the same bytes
        figure.savefig(out, format=path.suffix[1:], dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
    return out.getvalue()
