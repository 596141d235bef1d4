"""Parts of a report that are not tables of the paper: a table of texts with sentences below, in every form."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from pipeline.reports.console import aligned
from pipeline.reports.plain import escaped_markdown, markdown_note, markdown_rows


@dataclass(frozen=True)
class Panel:
    """A table of texts with a title and sentences.

    Attributes:
        anchor: Name within a page, such as `choice-street`.
        title: What the panel is about.
        rows: The cells; the first row is the header. There may be no rows.
        notes: Sentences below the table.
    """

    anchor: str
    title: str
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = field(default=())


def panel_text(panel: Panel) -> str:
    """Return a panel for a terminal."""
    return "\n".join([panel.title, *([aligned(panel.rows)] if panel.rows else []), *panel.notes])


def panel_markdown(panel: Panel) -> str:
    """Return a panel as GitHub-flavoured Markdown."""
    notes = [f"- {markdown_note(note)}" for note in panel.notes]
    return "\n".join([f"## {escaped_markdown(panel.title)}", "", *markdown_rows(panel.rows), "", *notes, ""])


def panel_html(panel: Panel) -> str:
    """Return a panel as a section of a page."""
    head, *body = [[escape(cell) for cell in row] for row in panel.rows] or [[]]
    lines = [f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in body]
    names = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    table = (
        f'<div class="scroll" role="region" aria-label="{escape(panel.title)}" tabindex="0">\n<table>'
        f"<thead><tr>{names}</tr></thead>\n<tbody>{''.join(lines)}</tbody></table>\n</div>\n"
    )
    notes = "".join(f"<li>{html_note(note)}</li>" for note in panel.notes)
    return (
        f'<section id="{escape(panel.anchor)}">\n<h2>{escape(panel.title)}</h2>\n{table if panel.rows else ""}'
        f'<ul class="notes">{notes}</ul>\n</section>'
    )


def html_note(text: str) -> str:
    """Return the escaped text, with `quoted` parts as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
