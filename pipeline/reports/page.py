"""A report as one HTML page that needs no other file. `templates/` holds its form."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from msinet.genotype import Genotype
from msinet.spaces.operations import LETTER_OF
from msinet.visual.genotype_diagram import STYLES, genotype_svg
from pipeline.reports import cells
from pipeline.reports.answer import Matrix
from pipeline.reports.cells import Cell, Column, Letters, Table
from pipeline.reports.panels import Panel, Picture


@dataclass(frozen=True)
class Content:
    """What a page shows, in its order.

    Attributes:
        title: Heading of the page.
        state: A sentence on how much is done, when, and in how many hours.
        matrices: The answer: networks × targets.
        costs: Drawings of accuracy over cost.
        panels: What the results say.
        searches: Drawings of the searches over their epochs.
        spent: What the experiment has cost, and what failed.
        tables: The paper's tables.
        after: What follows the tables.
        pictures: Pictures at the end.
    """

    title: str
    state: str = ""
    matrices: Sequence[Matrix] = ()
    costs: Sequence[Picture] = ()
    panels: Sequence[Panel] = ()
    searches: Sequence[Picture] = ()
    spent: Sequence[Panel] = ()
    tables: Sequence[Table] = ()
    after: Sequence[Panel] = ()
    pictures: Sequence[Picture] = field(default=())


def to_html(content: Content) -> str:
    """Return a page that contains no script, needs no other file and sends no request. All texts are escaped."""
    notes = list(dict.fromkeys(note for matrix in content.matrices for note in matrix.notes))
    page = _environment().get_template("report.html")
    return page.render(content=content, counts=_counts(content.tables), matrix_notes=notes)


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("pipeline.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters |= {"note": _note, "drawing": Markup, "base64": _base64}
    found.tests["letters"] = lambda cell: isinstance(cell, Letters)
    texts = ("mean_text", "spread_text", "part_text", "paper_text", "difference_text", "metric_text", "has_figures")
    found.globals |= {name: getattr(cells, name) for name in (*texts, "footnotes")}
    found.globals |= {"groups": _groups, "kind_of": _kind_of, "direction": _direction, "diagrams": _diagrams}
    found.globals["letter_styles"] = [(letter, STYLES[name]) for name, letter in LETTER_OF.items()]
    return found


def _note(text: str) -> Markup:
    """Return the escaped text, with `quoted` parts as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _groups(items: Iterable[Any], attribute: str) -> list[tuple[str, list[Any]]]:
    """Return neighbours with an equal attribute, together with it."""
    return [(str(value), list(some)) for value, some in groupby(items, attrgetter(attribute))]


def _kind_of(columns: Sequence[Column]) -> str | Markup:
    return Markup(' class="letters"') if [column.metric for column in columns] == ["letters"] else ""


def _direction(cell: Cell, column: Column) -> str:
    """Return whether the shown difference is better, worse or even."""
    shown = float(cells.difference_text(cell, column).replace("−", "-"))
    sign = column.better * shown
    return "better" if sign > 0 else "worse" if sign < 0 else "even"


def _counts(tables: Sequence[Table]) -> str:
    """Return a sentence that says how many cells of all tables are in which state."""
    states = [cell.status for table in tables for row in table.rows for cell in row.cells]
    found: Counter[str] = Counter(status for status in states if status != "not planned")
    words = {"done": "done", "to run": "to run", "pending": "pending", "lacks": "lack something"}
    parts = [f"{found[status]} {word}" for status, word in words.items() if found[status]]
    return f"Of {found.total()} cells: {', '.join(parts)}." if parts else "This experiment fills no cells."


def _diagrams(table: Table) -> Iterator[tuple[str, str]]:
    """Yield the caption and a diagram of each genotype of a table, each once."""
    names: dict[Genotype, list[str]] = {}
    for row in table.rows:
        for cell in row.cells:
            if isinstance(cell, Letters) and (letters := cell.measured or (cell.paper if not cell.note else None)):
                names.setdefault(Genotype(letters, cell.space), []).append(row.name)
    for genotype, rows in names.items():
        yield str(genotype) if rows == [str(genotype)] else ", ".join(rows), genotype_svg(genotype)
