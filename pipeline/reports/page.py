"""Tables as one HTML page that needs no other file."""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from string import Template

from msinet.genotype import Genotype
from msinet.spaces import PAPER_SPACE
from msinet.spaces.operations import LETTER_OF
from msinet.visual.genotype_diagram import STYLES, genotype_svg
from pipeline.reports.cells import (
    Cell,
    Column,
    Letters,
    Row,
    Status,
    Table,
    difference_text,
    footnotes,
    has_figures,
    mean_text,
    metric_text,
    paper_text,
    part_text,
    spread_text,
)
from pipeline.reports.panels import Panel, html_note, panel_html


def to_html(
    tables: Sequence[Table], title: str, pictures: Sequence[tuple[str, bytes]] = (), panels: Sequence[Panel] = ()
) -> str:
    """Return the tables as one page, which contains no script, needs no other file and sends no request.

    Args:
        tables: The tables.
        title: Heading of the page.
        pictures: Caption and PNG of each picture, shown below the tables and the panels.
        panels: What the experiment says apart from the paper's tables.
    """
    sections = [*map(_section, tables), *map(panel_html, panels), *([_gallery(pictures)] if pictures else [])]
    links = [f'<a href="#table{table.number}">{table.number} {escape(table.title)}</a>' for table in tables]
    links += [f'<a href="#{escape(panel.anchor)}">{escape(panel.title)}</a>' for panel in panels]
    links += ['<a href="#pictures">Pictures</a>'] if pictures else []
    return _PAGE.substitute(
        title=escape(title),
        style=_STYLE + _letter_colors(),
        counts=_counts(tables),
        links="\n".join(links),
        sections="\n".join(sections),
    )


def _counts(tables: Sequence[Table]) -> str:
    """Return a sentence that says how many cells of all tables are in which state."""
    cells = [cell for table in tables for row in table.rows for cell in row.cells]
    found: Counter[str] = Counter(cell.status for cell in cells if cell.status != "not planned")
    words = {"done": "done", "to run": "to run", "pending": "pending", "lacks": "lack something"}
    parts = [f"<b>{found[status]}</b> {word}" for status, word in words.items() if found[status]]
    return f"Of {found.total()} cells: {', '.join(parts)}." if parts else "This experiment fills no cells."


def _section(table: Table) -> str:
    notes, missing = footnotes(table)
    name = f"table{table.number}"
    groups = "".join(_group(group, list(rows), table, missing) for group, rows in groupby(table.rows, _group_of))
    listed = [f"<li>{html_note(note)}</li>" for note in notes]
    listed += [f'<li id="{name}-{n}"><sup>{n}</sup> {html_note(sentence)}</li>' for sentence, n in missing.items()]
    return (
        f'<section id="{name}">\n<h2 id="{name}-title">Table {table.number}. {escape(table.title)}</h2>\n'
        # A <caption> would be as wide as its table. The visible caption is therefore the paragraph, and the <caption>
        # is for screen readers only.
        f'<p class="caption" id="{name}-caption">{escape(table.caption)}</p>\n'
        f'<div class="scroll" role="region" aria-labelledby="{name}-title" tabindex="0">\n'
        f'<table aria-describedby="{name}-caption">\n<caption class="hidden">{escape(table.title)}</caption>\n'
        f"{_head(table.columns)}\n{groups}</table>\n</div>\n"
        + (f'<ul class="notes">{"".join(listed)}</ul>\n' if listed else "")
        + "".join(_diagrams(table))
        + "</section>"
    )


def _group_of(row: Row) -> str:
    return row.group


def _head(columns: Sequence[Column]) -> str:
    """Return the two header rows: names above, metrics below. Neighbours with the same name share one upper cell."""
    upper, lower = ["<td></td>"], ["<td></td>"]
    for name, shared in groupby(columns, lambda column: column.name):
        metrics = [column.metric for column in shared]
        kind = ' class="letters"' if metrics == ["letters"] else ""
        upper.append(f'<th scope="colgroup" colspan="{len(metrics)}"{kind}><span>{escape(name)}</span></th>')
        lower += [f'<th scope="col"{kind}>{escape(metric_text(metric))}</th>' for metric in metrics]
    return f"<thead><tr>{''.join(upper)}</tr><tr>{''.join(lower)}</tr></thead>"


def _group(name: str, rows: Sequence[Row], table: Table, missing: dict[str, int]) -> str:
    width = len(table.columns) + 1
    heading = f'<tr><th scope="rowgroup" colspan="{width}"><span>{escape(name)}</span></th></tr>\n' if name else ""
    lines = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th>{"".join(_cells(row, table, missing))}</tr>\n' for row in rows
    )
    return f"<tbody>{heading}{lines}</tbody>\n"


def _cells(row: Row, table: Table, missing: dict[str, int]) -> Iterator[str]:
    for cell, column in zip(row.cells, table.columns, strict=True):
        markers = ""
        if cell.status == "lacks":
            links = (f'<a href="#table{table.number}-{missing[s]}">{missing[s]}</a>' for s in cell.note.splitlines())
            markers = f"<sup>{' '.join(links)}</sup>"
        if isinstance(cell, Letters):
            yield f'<td class="letters">{_letters(cell, markers)}</td>'
        else:
            yield f"<td>{_number(cell, column, markers)}</td>"


def _number(cell: Cell, column: Column, markers: str) -> str:
    if not has_figures(cell):
        return ""
    mean = mean_text(cell, column)
    spread, part = (f"<small>{text}</small>" if text else "" for text in (spread_text(cell, column), part_text(cell)))
    main = f"<b>{mean}</b>{spread}{markers}" if mean else _state(cell.status, markers)
    below = [f"<small>{_hidden('published ')}{paper}</small>" if (paper := paper_text(cell, column)) else ""]
    if difference := difference_text(cell, column):
        sign = column.better * (cell.difference or 0) if float(difference.replace("−", "-")) else 0
        kind = "better" if sign > 0 else "worse" if sign < 0 else "even"
        below[0] += f' <small class="{kind}">{_hidden("difference ")}{difference}</small>'
    below.append(f'<i class="to-run">{part}</i>' if part else "")
    return main + "".join(f"<div>{line}</div>" for line in below if line)


def _state(status: Status, markers: str = "") -> str:
    if status == "not planned":
        return f'<i class="not-planned" aria-hidden="true">–</i>{_hidden("not in this experiment")}'
    return f'<i class="{status.replace(" ", "-")}">{status}</i>{markers}'


def _hidden(text: str) -> str:
    """Return text that is not visible, for screen readers and for text that is copied from the page."""
    return f'<span class="hidden">{text}</span>'


def _letters(cell: Letters, markers: str) -> str:
    if cell.measured is None:
        below = f"<div><small>published {escape(cell.paper_name)}</small></div>"
        if cell.status == "not planned":
            return _slots(cell.paper or "")
        return _state(cell.status, markers) + (f"{_slots(cell.paper)}{below}" if cell.paper else "")
    if cell.paper is None:
        space = "" if cell.space == PAPER_SPACE else f"<div><small>{escape(cell.space.name)}</small></div>"
        return _slots(cell.measured) + space
    told = f"published {escape(cell.paper_name)}: {cell.difference} of {len(cell.paper)} slots differ"
    return f"{_slots(cell.measured, cell.paper)}{_slots(cell.paper)}<div><small>{told}</small></div>"


def _slots(letters: str, other: str | None = None) -> str:
    """Return a field for each letter, in pairs as in a cell. Letters that differ from `other` are marked."""
    fields = [
        f'<span class="{escape(letter)}{" differs" if other and letter != other[slot] else ""}">{escape(letter)}</span>'
        for slot, letter in enumerate(letters)
    ]
    pairs = ["".join(fields[slot : slot + 2]) for slot in range(0, len(fields), 2)]
    return (
        f'<div class="slots" role="img" aria-label="{escape(letters)}"><span>{"</span><span>".join(pairs)}</span></div>'
    )


def _diagrams(table: Table) -> Iterator[str]:
    """Yield a diagram of each genotype of a table, each once."""
    names: dict[Genotype, list[str]] = {}
    for row in table.rows:
        for cell in row.cells:
            if isinstance(cell, Letters) and (letters := cell.measured or (cell.paper if not cell.note else None)):
                names.setdefault(Genotype(letters, cell.space), []).append(row.name)
    for genotype, rows in names.items():
        told = "" if rows == [str(genotype)] else ", ".join(rows)
        caption = f"<figcaption>{escape(told or str(genotype))}</figcaption>"
        drawing = f'<div class="scroll" tabindex="0">{genotype_svg(genotype)}</div>'
        yield f'<figure class="diagram">{caption}{drawing}</figure>\n'


def _gallery(pictures: Sequence[tuple[str, bytes]]) -> str:
    figures = [
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, png in pictures
    ]
    return f'<section id="pictures">\n<h2>Pictures</h2>\n{"".join(figures)}\n</section>'


def _letter_colors() -> str:
    """Return the styles that give the letters the colours of the diagrams."""
    return "\n".join(
        f".slots .{letter} {{ color: {STYLES[name].color}; background: {STYLES[name].tint}; }}"
        for name, letter in LETTER_OF.items()
    )


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p>$counts</p>
<p class="legend">Scores are in percent. A cell shows the <b>measured</b> figure, and below it the
<small>published</small> one and the difference <small class="better">measured − published</small> (for scores in
percentage points). A green difference is better than published, a red one is worse.</p>
<nav aria-label="Tables">$links</nav>
</header>
<main>
$sections
</main>
</body>
</html>
""")

_STYLE = """
:root {
  --page: #ffffff; --ink: #1c2024; --soft: #5b636b; --line: #d9dde1; --band: #f3f5f7; --link: #0b5cad;
  --better: #0b6b43; --worse: #b3261e; --wait: #8a5a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181b; --ink: #e8eaed; --soft: #a3abb3; --line: #353b41; --band: #1e2327; --link: #8ab8f0;
    --better: #6fd3a0; --worse: #ff9a90; --wait: #f0c063;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem clamp(0.75rem, 3vw, 3rem) 4rem; max-width: 110rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 0.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 0.5rem; }
header p { margin: 0.25rem 0; max-width: 60rem; }
.legend, .caption, .notes, figcaption { color: var(--soft); font-size: 0.9rem; }
.legend b { color: var(--ink); }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin-top: 0.75rem; }
code { font: 0.9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
.caption { margin: 0 0 0.75rem; max-width: 60rem; }
thead th { font-weight: 600; text-align: right; vertical-align: bottom; }
thead tr:first-child > * { border-top: 2px solid var(--ink); max-width: 12rem; }
thead tr:last-child > * { border-bottom: 1px solid var(--ink); color: var(--soft); font-weight: 500; }
thead th[scope=colgroup] { padding-bottom: 0; }
thead th[colspan="2"] { text-align: center; }
thead th[colspan="2"] span { display: block; border-bottom: 1px solid var(--line); padding-bottom: 0.2rem; }
tbody:last-child tr:last-child > * { border-bottom: 2px solid var(--ink); }
td, th { padding: 0.4rem 0.75rem; text-align: right; vertical-align: top; }
tbody th[scope=row], thead td {
  position: sticky; left: 0; z-index: 1; background: var(--page); text-align: left; font-weight: 500;
  white-space: nowrap;
}
tbody tr:nth-child(even) > * { background: var(--band); }
tbody th[scope=rowgroup] {
  background: var(--page); color: var(--soft); text-align: left; font-weight: 600; padding-top: 1rem;
}
th[scope=rowgroup] span { position: sticky; left: 0.75rem; }
td { white-space: nowrap; }
td b { font-weight: 600; }
td small { font-size: 0.8rem; color: var(--soft); }
td i { font-style: normal; color: var(--soft); font-size: 0.85rem; }
td i.to-run, td i.pending { color: var(--wait); }
sup { font-size: 0.7em; line-height: 0; }
td sup a { text-decoration: none; padding: 0 0.1rem; }
small.better { color: var(--better); font-size: 0.8rem; font-weight: 600; }
td small.worse { color: var(--worse); font-weight: 600; }
td small.better { color: var(--better); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.notes { list-style: none; margin: 0.75rem 0; padding: 0; }
.notes li:target { color: var(--ink); background: var(--band); }
td.letters, thead th.letters { text-align: left; }
.slots { display: flex; gap: 0.4rem; margin: 0.1rem 0 0.25rem; }
.slots { font: 600 0.85rem/1.6 ui-monospace, Menlo, Consolas, monospace; }
.slots > span { display: flex; gap: 1px; }
.slots > span > span { width: 1.6em; text-align: center; border-radius: 3px; border: 1px solid transparent; }
.slots > span > span.differs { border-color: currentColor; text-decoration: underline; }
.slots + .slots { font-weight: 400; }
figure { margin: 1.25rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; }
.diagram figcaption { color: var(--ink); margin-bottom: 0.25rem; overflow-wrap: anywhere; }
.diagram svg { min-width: 44rem; border-radius: 4px; display: block; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  td, th { padding: 0.35rem 0.5rem; }
  tbody th[scope=row], thead td { max-width: 8rem; white-space: normal; overflow-wrap: break-word; }
}
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root {
    --page: #fff; --ink: #000; --soft: #444; --line: #bbb; --band: #fff; --link: #000;
    --better: #0b6b43; --worse: #b3261e; --wait: #444;
  }
  body { font-size: 9pt; padding: 0; max-width: none; }
  nav { display: none; }
  h2 { break-after: avoid; }
  tr, figure { break-inside: avoid; }
  .scroll { overflow: visible; }
  td, th { padding: 2pt 4pt; }
  tbody th[scope=row], thead td { position: static; }
  td small, small.better, td i { font-size: 7.5pt; }
  .legend, .caption, .notes, figcaption { font-size: 8pt; }
  .diagram svg { min-width: 0; }
  tbody tr + tr > * { border-top: 0.5pt solid var(--line); }
}
"""
