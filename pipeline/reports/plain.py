"""Tables as Markdown and as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import printable
from pipeline.reports.cells import (
    METRICS,
    Cell,
    Column,
    Letters,
    Table,
    difference_text,
    footnotes,
    has_figures,
    mean_text,
    metric_text,
    paper_text,
    part_text,
    row_name,
    spread_text,
)

CSV_HEADER = [
    "table",
    "row",
    "column",
    "metric",
    "paper",
    "measured",
    "low",
    "high",
    "deviation",
    "seeds",
    "difference",
    "status",
    "note",
]


# Markdown.


def to_markdown(tables: Iterable[Table]) -> str:
    """Return the tables as GitHub-flavoured Markdown."""
    return "\n".join(_markdown_table(table) for table in tables)


def _markdown_table(table: Table) -> str:
    notes, missing = footnotes(table)
    header = ["", *(f"{column.name} {metric_text(column.metric)}" for column in table.columns)]
    lines = [f"## Table {table.number}. {table.title}", "", table.caption, ""]
    lines += [markdown_row(header), "|---" + "|---:" * len(table.columns) + "|"]
    for row in table.rows:
        cells = zip(row.cells, table.columns, strict=True)
        lines.append(markdown_row([row_name(row), *(_cell_text(cell, column, missing) for cell, column in cells)]))
    notes = [*_reading(table), *notes, *(f"[{number}] {sentence}" for sentence, number in missing.items())]
    return "\n".join([*lines, "", *(f"- {markdown_note(note)}" for note in notes), ""])


def _reading(table: Table) -> list[str]:
    scores = any(column.metric in ("mAP", *METRICS) for column in table.columns)
    return ["A cell shows: measured (published, measured − published), for scores in percent."] if scores else []


def _cell_text(cell: Cell | Letters, column: Column, missing: dict[str, int]) -> str:
    if not has_figures(cell):
        return ""
    markers = "".join(f" [{missing[line]}]" for line in cell.note.splitlines()) if cell.status == "lacks" else ""
    state = "–" if cell.status == "not planned" else cell.status
    if isinstance(cell, Letters):
        told = f"published {cell.paper_name} {cell.paper}" if cell.measured or cell.status != "not planned" else ""
        told += f", {cell.difference} differ" if cell.difference is not None else ""
        main = cell.shown or (f"{state}{markers}" if told else cell.paper or "")
        return f"{main} ({told})" if cell.paper and told else main
    measured = mean_text(cell, column) + spread_text(cell, column) or state
    compared = ", ".join(filter(None, [paper_text(cell, column), difference_text(cell, column)]))
    part = part_text(cell)
    return f"{measured}{markers}" + (f" ({compared})" if compared else "") + (f" [{part}]" if part else "")


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(map(escaped_markdown, cells)) + " |"


def markdown_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table of texts, whose first row is the header; nothing without rows."""
    lines = [markdown_row(row) for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]] if lines else []


def escaped_markdown(text: str) -> str:
    """Return text that Markdown shows unchanged, also in a table."""
    return re.sub(r"[\\|<>*_`]|(?<=\])[(\[:]", r"\\\g<0>", printable(" ".join(text.split())))


def markdown_note(text: str) -> str:
    """Return a sentence as Markdown, with its `quoted` parts as code."""
    parts = text.split("`")
    return "".join(f"`{part}`" if odd % 2 else escaped_markdown(f"x{part}x")[1:-1] for odd, part in enumerate(parts))


# CSV.


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV. Control characters are escaped, and texts that could be formulas begin with an apostrophe."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if cell.startswith(("=", "+", "-", "@")) else printable(cell)


def to_csv(table: Table) -> str:
    """Return the table in long form, with a line for each cell that is published or planned."""
    rows: list[Sequence[Any]] = [CSV_HEADER]
    for row in table.rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            if has_figures(cell):
                figures, state = _csv_figures(cell), _csv_state(cell)
                rows.append([table.number, row_name(row), column.name, column.metric, *figures, *state])
    return csv_text(rows)


def _csv_figures(cell: Cell | Letters) -> list[str | int | float | None]:
    if isinstance(cell, Letters):
        return [cell.paper, cell.shown, None, None, None, int(cell.measured is not None), cell.difference]
    ends = (cell.interval.low, cell.interval.high) if cell.interval else (None, None)
    mean, low, high, deviation, difference = (
        value if value is None else round(value, 4) for value in (cell.mean, *ends, cell.deviation, cell.difference)
    )
    return [cell.paper, mean, low, high, deviation, len(cell.measured), difference]


def _csv_state(cell: Cell | Letters) -> list[str]:
    told = cell.note.splitlines()
    if isinstance(cell, Cell):
        told.append(f"deviation: {cell.spread_of}" if cell.spread_of and len(cell.measured) == 1 else "")
        told.append(cell.queries)
    return [cell.status, "; ".join(filter(None, told))]
