"""Parts of a report that are not tables of the paper: a table of texts with sentences below, in every form."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.reports.console import aligned
from pipeline.reports.plain import escaped_markdown, markdown_note, markdown_rows


class Picture(NamedTuple):
    """A picture of a page.

    Attributes:
        caption: What it shows.
        image: A PNG as bytes, or an SVG element as text.
    """

    caption: str
    image: bytes | str


@dataclass(frozen=True)
class Panel:
    """A table of texts with a title and sentences.

    Attributes:
        anchor: Name within a page, such as `choice-street`.
        title: What the panel is about.
        rows: The cells; the first row is the header. There may be no rows.
        notes: Sentences below the table.
        pictures: Drawings below the table, which only a page shows.
    """

    anchor: str
    title: str
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = field(default=())
    pictures: Sequence[Picture] = field(default=())


def panel_text(panel: Panel) -> str:
    """Return a panel for a terminal."""
    return "\n".join([panel.title, *([aligned(panel.rows)] if panel.rows else []), *panel.notes])


def panel_markdown(panel: Panel) -> str:
    """Return a panel as GitHub-flavoured Markdown."""
    notes = [f"- {markdown_note(note)}" for note in panel.notes]
    return "\n".join([f"## {escaped_markdown(panel.title)}", "", *markdown_rows(panel.rows), "", *notes, ""])
