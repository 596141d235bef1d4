"""Figures of Matplotlib as files: PNG, and SVG for a page. The same figure gives the same bytes under one version.

Only Matplotlib's own objects are used, without pyplot, so that several threads may draw.
"""

import io
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
PIXELS = 92  # of an inch of an SVG
INK, PALE = "#1c2024", "#c4c9ce"  # on a page they become the colours of its text and of its lines
# Colours that people with any kind of colour blindness tell apart, for light and dark paper: M. Okabe and K. Ito, Color
# Universal Design (2008), without its yellow and its black.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "osD^vP"  # a second sign of what a colour says


def style_axes(axes: "Axes") -> None:
    """Give axes the two colours of `INK` and `PALE`, and pale lines at the ticks."""
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_color(PALE)
        spine.set_visible(side in ("left", "bottom"))


def png_of(figure: "Figure") -> bytes:
    """Return a figure as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def svg_of(figure: "Figure", name: str, label: str) -> str:
    """Return a figure as an SVG element for a page that may hold others.

    Its text and lines have the colours of the page, also if the page is dark: `currentColor`, and the variable
    `--line`. Its identifiers begin with `name`. It has no style sheet and no date.

    Args:
        figure: The figure.
        name: A name that no other drawing of the page has, of letters, digits and hyphens.
        label: What the drawing shows, for people who cannot see it.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = file.getvalue()[file.getvalue().index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", drawing, flags=re.DOTALL)
    for reference in (' id="', "url(#", 'href="#'):
        drawing = drawing.replace(reference, f"{reference}{name}-")
    drawing = drawing.replace("xlink:href", "href").replace(INK, "currentColor").replace(PALE, "var(--line)")
    width, height = (round(PIXELS * inches) for inches in figure.get_size_inches())
    view = re.search(r'viewBox="[^"]+"', drawing)
    assert view is not None
    size = f'{view[0]} width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(label)}">'
    return head + drawing[drawing.index(">") + 1 :].strip()
