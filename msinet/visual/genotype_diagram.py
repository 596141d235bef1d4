"""A genotype as a drawing: six cells, each with two branches and two interactions, as self-contained SVG."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from msinet.genotype import LETTERS, OPERATIONS, Genotype

INK, LINE, FAINT = "#212529", "#495057", "#868e96"

# All numbers are pixels. The branches are drawn at the heights A and B, and all that they share at MIDDLE.
A, B = 104, 160
MIDDLE = (A + B) / 2
TOP, BOTTOM = 76, 184  # edges of a cell
CHAIN, INTERACTION, STEP = 22, 40, 6  # widths inside a cell, and the gap between two parts
CELL = 14 + 2 * (CHAIN + INTERACTION + 2 * STEP) + 34
STEM, HALVE, HEAD, LINK = 52, 30, 58, 14  # widths outside of cells, and the length of an arrow
HEIGHT = 276


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
}
STAGES = (("256 channels", "H/4 × W/4"), ("384 channels", "H/8 × W/8"), ("512 channels", "H/16 × W/16"))


def genotype_svg(genotype: Genotype | str, title: str = "") -> str:
    """Return an SVG drawing of a genotype's network, from the image to the heads, with the operation of each slot.

    The document has no style sheet, no identifiers and no links. So it can be used alone, or inside a page together
    with other drawings. Each interaction is a group with the attributes `data-slot`, from 1, and `data-operation`.

    Args:
        genotype: A `Genotype`, a published name, or twelve letters.
        title: Text before the letters, such as the name of the network.

    Raises:
        ValueError: `genotype` has another form.
    """
    genotype = genotype if isinstance(genotype, Genotype) else Genotype.parse(genotype)
    title = "".join(sign for sign in title if sign.isprintable())  # XML allows no control characters
    drawing = Element("svg")  # its size is known at the end
    x = _stem(drawing, 16)
    for stage in range(3):
        start = x
        for cell in (2 * stage, 2 * stage + 1):
            x = _cell(drawing, x, cell, genotype.operations[2 * cell : 2 * cell + 2])
            _arrow(drawing, x, x + LINK)
            x += LINK
        _stage_label(drawing, (start + x - LINK) / 2, *STAGES[stage])
        if stage < 2:
            x = _halve(drawing, x, part_head=stage == 1)
    x = _box(drawing, x, HEAD, 44, ("global", "head"))
    _heading(drawing, title, genotype)
    _legend(drawing)
    _finish(drawing, x + 16, f"{title} {genotype.letters}".strip(), genotype)
    return tostring(drawing, encoding="unicode")


def _cell(parent: Element, x: float, cell: int, operations: Sequence[str]) -> float:
    """Draw a cell from `x` on, and return where it ends."""
    group = SubElement(parent, "g")
    _add(group, "rect", x=x, y=TOP, width=CELL, height=BOTTOM - TOP, rx=8, fill="#f8f9fa", stroke="#ced4da")
    enter, inside, leave = x + 4, x + 14, x + CELL - 14
    lanes_end = leave - 20
    _path(group, f"M{x} {MIDDLE}H{enter}M{enter} {A}V{B}M{enter} {A}H{lanes_end}M{enter} {B}H{lanes_end}")
    _path(group, f"M{lanes_end} {A}L{leave} {MIDDLE}L{lanes_end} {B}M{leave} {MIDDLE}H{x + CELL}")
    _path(group, f"M{enter} {A}V{TOP + 9}H{leave}V{MIDDLE}", dashed=True)
    at = inside
    for slot, operation in enumerate(operations, start=2 * cell + 1):
        for y, scale in ((A, "3"), (B, "7")):
            _box(group, at, CHAIN, 26, (scale,), y)
        _interaction(group, at + CHAIN + STEP, slot, operation)
        at += CHAIN + INTERACTION + 2 * STEP
    _add(group, "circle", cx=leave, cy=MIDDLE, r=9, fill="#ffffff", stroke=LINE)
    _path(group, f"M{leave - 5} {MIDDLE}H{leave + 5}M{leave} {MIDDLE - 5}V{MIDDLE + 5}")
    return x + CELL


def _interaction(parent: Element, x: float, slot: int, operation: str) -> None:
    """Draw a field over both branches, which shows what happens between them and the operation's letter."""
    style, right, middle = STYLES[operation], x + INTERACTION, x + INTERACTION / 2
    group = SubElement(parent, "g", {"data-slot": str(slot), "data-operation": operation})
    SubElement(group, "title").text = f"slot {slot}: {style.meaning}"
    top, height = A - 17, B - A + 34
    _add(group, "rect", x=x, y=top, width=INTERACTION, height=height, rx=6, fill=style.tint, stroke=style.color)
    through = f"M{x} {A}H{right}M{x} {B}H{right}"
    if operation == "exchange":
        through = f"M{x} {A}L{right} {B}M{x} {B}L{right} {A}"
    _path(group, through, color=style.color, width=2)
    if operation == "channel_gate":
        for y in (A, B):
            _add(group, "circle", cx=middle, cy=y, r=6, fill="#ffffff", stroke=style.color, stroke_width=1.5)
            _path(group, f"M{middle - 3} {y - 3}l6 6M{middle - 3} {y + 3}l6 -6", color=style.color)
    if operation == "cross_attention":
        for at, tail, tip, back in ((middle - 6, A, B, -7), (middle + 6, B, A, 7)):
            _path(group, f"M{at} {tail}V{tip}", color=style.color)
            _add(group, "path", d=f"M{at} {tip}l-4 {back}h8z", fill=style.color)
    _letter(group, middle, MIDDLE, operation)
    _text(group, middle, BOTTOM + 15, str(slot), size=11, color=FAINT)


def _letter(parent: Element, x: float, y: float, operation: str) -> None:
    _add(parent, "circle", cx=x, cy=y, r=11, fill=STYLES[operation].color)
    _text(parent, x, y + 5, LETTERS[OPERATIONS.index(operation)], size=15, color="#ffffff", bold=True)


def _stem(parent: Element, x: float) -> float:
    end = _box(parent, x, STEM, 44, ("7×7", "stem"))
    _arrow(parent, end, end + LINK)
    return end + LINK


def _halve(parent: Element, x: float, *, part_head: bool) -> float:
    """Draw a downsampling from `x` on, and return where the next cell begins."""
    if part_head:
        middle = x + HALVE / 2
        _path(parent, f"M{middle} {MIDDLE}V{BOTTOM + 6}")
        _add(parent, "path", d=f"M{middle} {BOTTOM + 10}l-4 -7h8z", fill=LINE)
        _box(parent, middle - HEAD / 2, HEAD, 36, ("part", "head"), BOTTOM + 28)
    end = _box(parent, x, HALVE, 44, ("½",))
    _arrow(parent, end, end + LINK)
    return end + LINK


def _stage_label(parent: Element, x: float, channels: str, size: str) -> None:
    _text(parent, x, 64, f"{channels}, {size}", size=13)


def _heading(parent: Element, title: str, genotype: Genotype) -> None:
    heading = _text(parent, 16, 32, "", size=18, anchor="start")
    letters = {"font-family": "monospace", "letter-spacing": "1.5"}
    if title:
        SubElement(heading, "tspan", {"font-weight": "bold"}).text = title
        letters["dx"] = "12"
    SubElement(heading, "tspan", letters).text = genotype.letters


def _legend(parent: Element) -> None:
    x, y = 27.0, HEIGHT - 22
    for operation in OPERATIONS:
        _letter(parent, x, y, operation)
        _text(parent, x + 17, y + 4.5, STYLES[operation].meaning, size=13, anchor="start")
        x += 52 + 7.2 * len(STYLES[operation].meaning)
    note = "1 to 12: slots · 3, 7: scale of the branch · dashed: the input is added · ½: downsampling"
    _text(parent, x + 6, y + 4.5, note, size=12, color=LINE, anchor="start")


def _finish(drawing: Element, width: float, name: str, genotype: Genotype) -> None:
    """Add the size, the background and the text for screen readers."""
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "width": f"{width:g}",
        "height": f"{HEIGHT}",
        "viewBox": f"0 0 {width:g} {HEIGHT}",
        "style": "max-width:100%;height:auto",
        "font-family": "Helvetica, Arial, sans-serif",
        "role": "img",
        "aria-label": f"{name}: {', '.join(STYLES[operation].meaning for operation in genotype.operations)}",
    }
    for key, value in attributes.items():
        drawing.set(key, value)
    drawing.insert(0, Element("rect", {"width": f"{width:g}", "height": f"{HEIGHT}", "fill": "#ffffff"}))


def _box(parent: Element, x: float, width: float, height: float, lines: Sequence[str], y: float = MIDDLE) -> float:
    """Draw a box around `y` with lines of text, and return where it ends."""
    _add(parent, "rect", x=x, y=y - height / 2, width=width, height=height, rx=4, fill="#ffffff", stroke=LINE)
    for number, line in enumerate(lines):
        _text(parent, x + width / 2, y + 4.5 + 15 * (number - (len(lines) - 1) / 2), line, size=13)
    return x + width


def _arrow(parent: Element, start: float, end: float) -> None:
    _path(parent, f"M{start:g} {MIDDLE}H{end - 5:g}")
    _add(parent, "path", d=f"M{end:g} {MIDDLE}l-7 -4v8z", fill=LINE)


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
