"""A genotype as a drawing: six cells, each with its branches and two interactions, as self-contained SVG."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from msinet.genotype import Genotype
from msinet.spaces import Space
from msinet.spaces.operations import LETTER_OF

INK, LINE, FAINT = "#212529", "#495057", "#868e96"

# All numbers are pixels.
TOP = 76  # upper edge of a cell
CHAIN, INTERACTION, STEP = 22, 40, 6  # widths inside a cell, and the gap between two parts
CELL = 14 + 2 * (CHAIN + INTERACTION + 2 * STEP) + 34
STEM, HALVE, HEAD, LINK = 52, 30, 58, 14  # widths outside of cells, and the length of an arrow


class Layout(NamedTuple):
    """The heights of a drawing: those of the branches, and those that follow from them."""

    lanes: tuple[float, ...]

    @property
    def middle(self) -> float:
        """Return the height of all that the branches share."""
        return (self.lanes[0] + self.lanes[-1]) / 2

    @property
    def bottom(self) -> float:
        """Return the height of the lower edge of a cell."""
        return self.lanes[-1] + 24


class Style(NamedTuple):
    """The colours of an operation, and its name in the legend."""

    color: str
    tint: str
    meaning: str


STYLES = {
    "none": Style("#6c757d", "#f1f3f5", "none"),
    "channel_gate": Style("#0b69a8", "#e3f0fa", "channel gate"),
    "cross_attention": Style("#c2410c", "#fdeee6", "cross attention"),
    "exchange": Style("#00795a", "#e2f5ee", "exchange"),
    "sum": Style("#6d28d9", "#efe9fc", "sum"),
    "concat_project": Style("#9d174d", "#fbe8f0", "concat and project"),
    "spatial_gate": Style("#1d4ed8", "#e6ebfb", "spatial gate"),
    "to_larger": Style("#4d7c0f", "#eef5e1", "to larger"),
    "to_smaller": Style("#a16207", "#faf1dd", "to smaller"),
}
SIZES = ("H/4 × W/4", "H/8 × W/8", "H/16 × W/16")


def genotype_svg(genotype: Genotype | str, title: str = "") -> str:
    """Return an SVG drawing of a genotype's network, from the image to the heads, with the operation of each slot.

    The document has no style sheet, no identifiers and no links. So it can be used alone, or inside a page together
    with other drawings. Each interaction is a group with the attributes `data-slot`, from 1, and `data-operation`.

    Args:
        genotype: A `Genotype`, or a text as `Genotype.parse` reads it, such as a published name or twelve letters.
        title: Text before the letters, such as the name of the network.

    Raises:
        ValueError: `genotype` has another form.
    """
    genotype = genotype if isinstance(genotype, Genotype) else Genotype.parse(genotype)
    title = "".join(sign for sign in title if sign.isprintable())  # XML allows no control characters
    space = genotype.space
    layout = Layout(tuple(104 + 56 * lane for lane in range(len(space.scales))))
    drawing = Element("svg")  # its size is known at the end
    x = _stem(drawing, 16, layout)
    for stage in range(3):
        start = x
        for cell in (2 * stage, 2 * stage + 1):
            x = _cell(drawing, x, cell, genotype, layout)
            _arrow(drawing, x, x + LINK, layout.middle)
            x += LINK
        channels = f"{space.channels[stage + 1]} channels"
        _text(drawing, (start + x - LINK) / 2, 64, f"{channels}, {SIZES[stage]}", size=13)
        if stage < 2:
            x = _halve(drawing, x, layout, part_head=stage == 1)
    x = _box(drawing, x, HEAD, 44, ("global", "head"), layout.middle)
    _heading(drawing, title, genotype)
    height = _legend(drawing, space, layout)
    _finish(drawing, x + 16, height, f"{title} {genotype}".strip(), genotype)
    return tostring(drawing, encoding="unicode")


def _cell(parent: Element, x: float, cell: int, genotype: Genotype, layout: Layout) -> float:
    """Draw a cell from `x` on, and return where it ends."""
    group = SubElement(parent, "g")
    middle, first, last = layout.middle, layout.lanes[0], layout.lanes[-1]
    _add(group, "rect", x=x, y=TOP, width=CELL, height=layout.bottom - TOP, rx=8, fill="#f8f9fa", stroke="#ced4da")
    enter, inside, leave = x + 4, x + 14, x + CELL - 14
    lanes_end = leave - 20
    lanes = "".join(f"M{enter} {y}H{lanes_end}M{lanes_end} {y}L{leave} {middle}" for y in layout.lanes)
    _path(group, f"M{x} {middle}H{enter}M{enter} {first}V{last}{lanes}M{leave} {middle}H{x + CELL}")
    _path(group, f"M{enter} {first}V{TOP + 9}H{leave}V{middle}", dashed=True)
    at = inside
    for slot in (2 * cell, 2 * cell + 1):
        for y, scale in zip(layout.lanes, genotype.space.scales, strict=True):
            _box(group, at, CHAIN, 26, (f"{scale}",), y)
        _interaction(group, at + CHAIN + STEP, slot + 1, genotype.operations[slot], layout)
        at += CHAIN + INTERACTION + 2 * STEP
    _add(group, "circle", cx=leave, cy=middle, r=9, fill="#ffffff", stroke=LINE)
    _path(group, f"M{leave - 5} {middle}H{leave + 5}M{leave} {middle - 5}V{middle + 5}")
    if cell + 1 in genotype.space.instance_norm:
        _text(group, leave - 1, layout.bottom - 8, "IN", size=12, bold=True)
    return x + CELL


def _interaction(parent: Element, x: float, slot: int, operation: str, layout: Layout) -> None:
    """Draw a field over all branches, which shows what happens between them and the operation's letter."""
    style, right, middle, lanes = STYLES[operation], x + INTERACTION, x + INTERACTION / 2, layout.lanes
    group = SubElement(parent, "g", {"data-slot": str(slot), "data-operation": operation})
    SubElement(group, "title").text = f"slot {slot}: {style.meaning}"
    top, height = lanes[0] - 17, lanes[-1] - lanes[0] + 34
    _add(group, "rect", x=x, y=top, width=INTERACTION, height=height, rx=6, fill=style.tint, stroke=style.color)
    lines = "".join(f"M{x} {tail}L{right} {tip}" for tail, tip in _lines(operation, lanes))
    _path(group, lines, color=style.color, width=2)
    if operation == "concat_project":
        _add(group, "rect", x=middle - 4, y=top + 6, width=8, height=height - 12, fill="#ffffff", stroke=style.color)
    for y in lanes:
        if operation == "channel_gate":
            _add(group, "circle", cx=middle, cy=y, r=6, fill="#ffffff", stroke=style.color, stroke_width=1.5)
        if operation == "spatial_gate":
            _add(group, "rect", x=middle - 6, y=y - 6, width=12, height=12, fill="#ffffff", stroke=style.color)
        if operation in ("channel_gate", "spatial_gate"):
            _path(group, f"M{middle - 3} {y - 3}l6 6M{middle - 3} {y + 3}l6 -6", color=style.color)
    if operation == "cross_attention":
        down = [(middle - 6, tail, tip, -7) for tail, tip in pairwise(lanes)]
        for at, tail, tip, back in (*down, (middle + 6, lanes[-1], lanes[0], 7)):
            _path(group, f"M{at} {tail}V{tip}", color=style.color)
            _add(group, "path", d=f"M{at} {tip}l-4 {back}h8z", fill=style.color)
    _letter(group, middle, layout.middle, operation)
    _text(group, middle, layout.bottom + 15, str(slot), size=11, color=FAINT)


def _lines(operation: str, lanes: Sequence[float]) -> list[tuple[float, float]]:
    """Return the lines through an interaction, each from the height on its left to the height on its right."""
    straight = [(y, y) for y in lanes]
    if operation == "exchange":  # each branch receives the next one, the last one receives the first
        return list(zip(lanes, [lanes[-1], *lanes[:-1]], strict=True))
    if operation == "sum":
        return list(product(lanes, lanes))
    down = list(pairwise(lanes))
    if operation == "to_larger":
        return straight + down
    return straight + [(tip, tail) for tail, tip in down] if operation == "to_smaller" else straight


def _letter(parent: Element, x: float, y: float, operation: str) -> None:
    _add(parent, "circle", cx=x, cy=y, r=11, fill=STYLES[operation].color)
    _text(parent, x, y + 5, LETTER_OF[operation], size=15, color="#ffffff", bold=True)


def _stem(parent: Element, x: float, layout: Layout) -> float:
    end = _box(parent, x, STEM, 44, ("7×7", "stem"), layout.middle)
    _arrow(parent, end, end + LINK, layout.middle)
    return end + LINK


def _halve(parent: Element, x: float, layout: Layout, *, part_head: bool) -> float:
    """Draw a downsampling from `x` on, and return where the next cell begins."""
    if part_head:
        middle = x + HALVE / 2
        bottom = layout.bottom
        _path(parent, f"M{middle} {layout.middle}V{bottom + 6}")
        _add(parent, "path", d=f"M{middle} {bottom + 10}l-4 -7h8z", fill=LINE)
        _box(parent, middle - HEAD / 2, HEAD, 36, ("part", "head"), bottom + 28)
    end = _box(parent, x, HALVE, 44, ("½",), layout.middle)
    _arrow(parent, end, end + LINK, layout.middle)
    return end + LINK


def _heading(parent: Element, title: str, genotype: Genotype) -> None:
    heading = _text(parent, 16, 32, "", size=18, anchor="start")
    letters = {"font-family": "monospace", "letter-spacing": "1.5"}
    if title:
        SubElement(heading, "tspan", {"font-weight": "bold"}).text = title
        letters["dx"] = "12"
    SubElement(heading, "tspan", letters).text = str(genotype)


def _legend(parent: Element, space: Space, layout: Layout) -> float:
    """Draw the legend, and return the height of the whole drawing."""
    x, y = 27.0, layout.bottom + 70
    for operation in space.columns:
        _letter(parent, x, y, operation)
        _text(parent, x + 17, y + 4.5, STYLES[operation].meaning, size=13, anchor="start")
        x += 52 + 7.2 * len(STYLES[operation].meaning)
    if len(space.columns) > 4:  # the note has a line of its own
        x, y = 10.0, y + 26
    scales = ", ".join(map(str, space.scales))
    note = f"1 to 12: slots · {scales}: scale of the branch · dashed: the input is added · ½: downsampling"
    _text(
        parent,
        x + 6,
        y + 4.5,
        note + (" · IN: instance norm" * bool(space.instance_norm)),
        size=12,
        color=LINE,
        anchor="start",
    )
    return y + 22


def _finish(drawing: Element, width: float, height: float, name: str, genotype: Genotype) -> None:
    """Add the size, the background and the text for screen readers."""
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "width": f"{width:g}",
        "height": f"{height:g}",
        "viewBox": f"0 0 {width:g} {height:g}",
        "style": "max-width:100%;height:auto",
        "font-family": "Helvetica, Arial, sans-serif",
        "role": "img",
        "aria-label": f"{name}: {', '.join(STYLES[operation].meaning for operation in genotype.operations)}",
    }
    for key, value in attributes.items():
        drawing.set(key, value)
    drawing.insert(0, Element("rect", {"width": f"{width:g}", "height": f"{height:g}", "fill": "#ffffff"}))


def _box(parent: Element, x: float, width: float, height: float, lines: Sequence[str], y: float) -> float:
    """Draw a box around `y` with lines of text, and return where it ends."""
    _add(parent, "rect", x=x, y=y - height / 2, width=width, height=height, rx=4, fill="#ffffff", stroke=LINE)
    for number, line in enumerate(lines):
        _text(parent, x + width / 2, y + 4.5 + 15 * (number - (len(lines) - 1) / 2), line, size=13)
    return x + width


def _arrow(parent: Element, start: float, end: float, y: float) -> None:
    _path(parent, f"M{start:g} {y}H{end - 5:g}")
    _add(parent, "path", d=f"M{end:g} {y}l-7 -4v8z", fill=LINE)


def _path(parent: Element, d: str, *, color: str = LINE, width: float = 1.5, dashed: bool = False) -> None:
    path = _add(parent, "path", d=d, fill="none", stroke=color, stroke_width=width)
    if dashed:
        path.set("stroke-dasharray", "4 3")


def _text(
    parent: Element,
    x: float,
    y: float,
    content: str,
    *,
    size: float,
    color: str = INK,
    anchor: str = "middle",
    bold: bool = False,
) -> Element:
    text = _add(parent, "text", x=x, y=y, font_size=size, fill=color, text_anchor=anchor)
    if bold:
        text.set("font-weight", "bold")
    text.text = content
    return text


def _add(parent: Element, tag: str, **attributes: str | float) -> Element:
    """Add a child element; numbers become text, and `stroke_width` becomes `stroke-width`."""
    values = {
        name.replace("_", "-"): value if isinstance(value, str) else f"{value:g}" for name, value in attributes.items()
    }
    return SubElement(parent, tag, values)
