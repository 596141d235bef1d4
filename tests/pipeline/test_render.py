"""Tables as text: what a person reads, what a machine reads, and what a browser is given."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.filled import answer_all, filled, scores

from msinet.statistics import Interval
from pipeline.plan.stage import Plan, Stage
from pipeline.reports.cells import Cell, Column, Letters, Row, Table, difference_text
from pipeline.reports.checklist import checklist_panel
from pipeline.reports.page import Content, to_html
from pipeline.reports.panels import Picture
from pipeline.reports.plain import CSV_HEADER, csv_text, to_csv, to_markdown
from pipeline.reports.tables import build_tables
from pipeline.reports.write import content_of, write_report
from pipeline.results import Result

COMMAND = "msinet run grid.yaml"
HOSTILE = '<img src=x onerror="alert(1)">|`a`\n[b](http://c) & $title'
SCORE = Column("M", "rank1", "M")
PICTURE = Picture("Ranked lists", b"\x89PNG")
VOID = {"meta", "img", "link", "br", "hr"}


def cells_table(*cells: Cell | Letters, name: str = "MSINet", column: Column = SCORE) -> Table:
    return Table(8, "Supervised", "How to read it.", [column] * len(cells), [Row("from scratch", name, list(cells))])


def page_of(tables: list[Table], **more: Any) -> str:
    return to_html(Content("grid", tables=tables, **more))


def content(plan: Plan) -> Content:
    return Content("grid", tables=build_tables(plan, COMMAND), after=[checklist_panel(plan)])


@pytest.fixture(scope="module")
def mixed() -> Plan:
    """Cells of every status, with published figures and without, seeds, draws and sizes."""

    def some(stage: Stage) -> Result | None:
        if stage.kind == "evaluate":
            seed = int(stage.labels["seed"])
            done = stage.labels["target"] != "MS" or seed == 0
            return scores(0.95 + 0.01 * seed, 0.8, rank1_std=0.01, rank5_std=0.02) if done else None
        return None if stage.kind == "search" and stage.labels["split"] == "50-50" else answer_all(stage)

    kinds = {"M": "market1501", "MS": "msmt17", "VID": "vehicleid"}
    datasets: dict[str, Any] = {name: {"kind": kind, "path": f"/{name}"} for name, kind in kinds.items()}
    datasets["VR"] = {"kind": "veri"}
    return filled(
        {
            "name": "grid",
            "datasets": datasets,
            "sources": list(datasets),
            "targets": list(datasets),
            "genotypes": ["MSINet", "N" * 12],
            "networks": ["resnet50", "osnet"],
            "alignments": ["none", "pos_neg"],
            "splits": ["60-80", "50-50"],
            "retrain_seeds": [0, 1],
            "measure": True,
        },
        some,
    )


@pytest.fixture(scope="module")
def tables(mixed: Plan) -> list[Table]:
    found = build_tables(mixed, COMMAND)
    statuses = {cell.status for table in found for row in table.rows for cell in row.cells}
    assert statuses == {"done", "to run", "pending", "lacks", "not planned"}
    assert [table.number for table in found] == [7, 8, 9, 10, 11]
    return found


class Page(HTMLParser):
    """Checks that what is opened is closed, and gathers text and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize(
    ("measured", "better", "expected"),
    [(76.34, 1, "+0.3"), (75.86, 1, "−0.1"), (76.04, 1, "0.0"), (75.96, 1, "0.0"), (70.0, -1, "−6.0"), (70.0, 0, "")],
)
def test_differences_are_signed(measured: float, better: Any, expected: str) -> None:
    cell = Cell(76.0, [measured], 1, "done")
    assert difference_text(cell, Column("M", "rank1", better=better)) == expected


def test_markdown_of_each_kind_of_cell() -> None:
    text = to_markdown(
        [
            cells_table(
                Cell(94.6, [94.0, 96.0], 2, "done", interval=Interval(95.0, 93.8, 96.8)),
                Cell(94.6, [94.0], 2, "to run", COMMAND),
                Cell(94.6, [94.0], 1, "done", spread=0.31, spread_of="IQR"),
                Cell(94.6, [], 1, "lacks", "needs data: `datasets.M.path`\nneeds weights"),
                Cell(None, [], 1, "pending", COMMAND),
                Cell(94.6),
                Cell(),
            )
        ]
    )
    row = next(line for line in text.splitlines() if line.startswith("| from scratch: MSINet"))
    assert [part.strip() for part in row.strip("|").split("|")][1:] == [
        "95.0 ± 1.5 (94.6, +0.4)",
        "94.0 (94.6, −0.6) [1 of 2 seeds]",
        "94.0, IQR 0.3 (94.6, −0.6)",
        "lacks [1] [2] (94.6)",
        "pending",
        "– (94.6)",
        "",
    ]
    assert "- [1] needs data: `datasets.M.path`\n- [2] needs weights\n" in text
    assert text.count("±: half of the 95 % interval") == 1
    assert text.count(COMMAND) == 2, "once for what is to run, once for what is pending"


def test_markdown_of_genotypes() -> None:
    letters = [
        Letters("GGEGAGGNGAEA", "GGEGAGGNGANN", "MSINet", "done"),
        Letters("GGEGAGGNGAEA", None, "MSINet", "to run", COMMAND),
        Letters("GGEGAGGNGAEA", None, "MSINet"),
        Letters(None, "N" * 12, "", "done"),
    ]
    text = to_markdown([cells_table(*letters, column=Column("genotype", "letters"))])
    assert "| GGEGAGGNGANN (published MSINet GGEGAGGNGAEA, 2 differ) | to run (published MSINet GGEGAGGNGAEA) |" in text
    assert f"| GGEGAGGNGAEA | {'N' * 12} |" in text


def test_markdown_rows_are_even(tables: list[Table]) -> None:
    hostile = cells_table(Cell(94.6, [], 1, "lacks", HOSTILE), name=HOSTILE, column=Column(HOSTILE, "rank1"))
    for table in [*tables, hostile]:
        lines = [line for line in to_markdown([table]).splitlines() if line.startswith("|")]
        assert len(lines) == len(table.rows) + 2
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.columns) + 2}


def test_hostile_text_means_itself_in_markdown() -> None:
    text = to_markdown([cells_table(Cell(94.6), name=HOSTILE)])
    assert "<img" not in text.replace("\\<img", "")
    assert "](http" not in text.replace("]\\(http", "")


def test_csv_has_a_line_for_each_cell_that_says_something(tables: list[Table]) -> None:
    for table in tables:
        lines = list(csv.reader(io.StringIO(to_csv(table))))
        assert lines[0] == CSV_HEADER
        said = [c for row in table.rows for c in row.cells if c.paper is not None or c.status != "not planned"]
        assert len(lines) - 1 == len(said)
        assert {len(line) for line in lines} == {len(CSV_HEADER)}


def test_csv_figures() -> None:
    table = cells_table(
        Cell(94.6, [94.0, 96.0], 2, "done", interval=Interval(95.0, 93.8, 96.8)),
        Cell(None, [], 1, "lacks", "one\ntwo"),
        Cell(76.5, [76.0], 1, "done", spread=0.4, spread_of="draws"),
        Letters("GGEGAGGNGAEA", "GGEGAGGNGANN", "MSINet", "done"),
    )
    start = {"table": "8", "row": "from scratch: MSINet", "column": "M", "metric": "rank1"}
    names = CSV_HEADER[4:]
    expected = [
        ["94.6", "95.0", "93.8", "96.8", "1.4142", "2", "0.4", "done", ""],
        ["", "", "", "", "", "0", "", "lacks", "one; two"],
        ["76.5", "76.0", "", "", "0.4", "1", "-0.5", "done", "deviation: draws"],
        ["GGEGAGGNGAEA", "GGEGAGGNGANN", "", "", "", "1", "2", "done", ""],
    ]
    found = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert found == [{**start, **dict(zip(names, line, strict=True))} for line in expected]


@pytest.mark.parametrize(("first", "written"), [(c, f"'{c}") for c in "=+-@"] + [("\t", "\\t")])
def test_no_text_in_a_csv_is_a_formula(first: str, written: str) -> None:
    formula = f"{first}HYPERLINK(1)"
    cells = [Cell(94.6, [94.0], 1, "lacks", formula), Letters(None, formula, "", "done")]
    table = Table(8, "", "", [Column(formula, "rank1"), Column("M", formula)], [Row("", formula, cells)])
    texts = [cell for line in csv.reader(io.StringIO(to_csv(table))) for cell in line if "HYPERLINK" in cell]
    assert len(texts) == 6
    assert set(texts) == {f"{written}HYPERLINK(1)"}
    assert "-0.6" in to_csv(table), "a number stays a number"
    assert csv_text([["a\r=b\x1b[31m", -1.5, None]]) == "a\\r=b\\x1b[31m,-1.5,\n"


def test_markdown_controls_no_terminal() -> None:
    text = to_markdown([cells_table(Cell(94.6, [94.0], 1, "lacks", "a\x1b[31m"), name="b\x1b[31m")])
    assert "\x1b" not in text
    assert "\\\\x1b" in text


def test_a_page_is_whole_and_asks_nobody(tables: list[Table]) -> None:
    page = Page(page_of(tables, pictures=[PICTURE]))
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for name, attributes in page.tags:
        for address in ("src", "href", "srcset", "action", "xlink:href"):
            value = attributes.get(address) or ""
            assert value == "" or value.startswith("data:image/png;base64,") or value[1:] in targets, (name, value)
        assert not [attribute for attribute in attributes if attribute.startswith("on")]
    style = "".join(page.text)
    assert "url(" not in style
    assert "@import" not in style
    assert len(targets) == sum("id" in attributes for _, attributes in page.tags), "an id stands once"


def test_a_page_can_be_read_aloud(tables: list[Table]) -> None:
    page = Page(page_of(tables, pictures=[PICTURE]))
    assert len(page.of("table")) == len(page.of("caption")) == len(tables)
    assert all(attributes.get("scope") in ("col", "colgroup", "row", "rowgroup") for attributes in page.of("th"))
    assert sum(a.get("scope") == "row" for a in page.of("th")) == sum(len(table.rows) for table in tables)
    assert [attributes["alt"] for attributes in page.of("img")] == ["Ranked lists"]
    assert all(attributes.get("aria-label") for attributes in page.of("svg"))
    for table, section in zip(tables, page_of(tables).split("<section")[2:], strict=True):
        assert section.count("</td>") == (len(table.columns)) * len(table.rows) + 2


def test_each_genotype_is_drawn_once(tables: list[Table]) -> None:
    letters = {cell.measured or cell.paper for row in tables[0].rows for cell in row.cells if isinstance(cell, Letters)}
    assert len(Page(page_of(tables)).of("svg")) == len(letters - {None})


def test_a_page_says_how_to_fill_a_table_once(tables: list[Table]) -> None:
    for section in page_of(tables).split("<section")[2:]:
        assert section.count(COMMAND) <= 2, "to run, and pending"
        lacks = re.findall(r"<code>datasets\.VR\.path</code>", section)
        assert len(lacks) == 1
        assert 'sup><a href="#table' in section


def test_hostile_text_means_itself_on_a_page() -> None:
    table = Table(
        8,
        HOSTILE,
        HOSTILE,
        [Column(HOSTILE, "rank1"), Column("genotype", "letters")],
        [Row(HOSTILE, HOSTILE, [Cell(94.6, [], 1, "lacks", HOSTILE), Letters(None, "N" * 12, HOSTILE, "done")])],
    )
    page = Page(to_html(Content(HOSTILE, tables=[table], pictures=[Picture(HOSTILE, b"\x89PNG")])))
    assert [attributes.get("onerror") for attributes in page.of("img")] == [None]
    text = "".join(page.text)
    # Title and heading; link, heading and caption, told twice; column, group, row; note; diagram and picture.
    assert text.count('<img src=x onerror="alert(1)">') == 12
    assert "$title" in text


def test_better_and_worse_are_signed_and_coloured() -> None:
    higher, lower = Column("M", "rank1"), Column("time", "× ResNet-50", digits=2, better=-1)
    for column, measured, kind, sign in [
        (higher, 96.0, "better", "+1.0"),
        (higher, 94.0, "worse", "−1.0"),
        (higher, 95.0, "even", "0.0"),
        (lower, 94.0, "better", "−1.00"),
        (lower, 96.0, "worse", "+1.00"),
    ]:
        text = page_of([cells_table(Cell(95.0, [measured], 1, "done"), column=column)])
        assert re.search(rf'<small class="{kind}"><span class="hidden">difference </span>{re.escape(sign)}<', text)


def test_a_report_is_written_whole_and_alike(mixed: Plan, tmp_path: Path) -> None:
    written = write_report(content(mixed), tmp_path / "report")
    there = sorted(path for path in (tmp_path / "report").rglob("*") if path.is_file())
    assert sorted(written) == there, "nothing else, no partial file"
    names = {path.relative_to(tmp_path / "report").as_posix() for path in written}
    assert names == {"report.md", "report.html", *(f"tables/table{number}.csv" for number in range(7, 12))}
    before = {path: path.read_bytes() for path in written}
    assert write_report(content(mixed), tmp_path / "report") == written
    assert {path: path.read_bytes() for path in written} == before
    assert (
        (tmp_path / "report" / "report.md").read_text(encoding="utf-8").startswith("# grid\n\n## Table 7. Genotypes\n")
    )


def test_a_finished_experiment_has_a_report(finished: tuple[Plan, Any], tmp_path: Path) -> None:
    planned, workspace = finished
    write_report(content_of(planned, workspace, COMMAND), tmp_path)
    lines = list(csv.DictReader((tmp_path / "tables" / "table9.csv").open(encoding="utf-8")))
    for line in lines:
        stage = next(
            stage
            for stage in planned.of_kind("evaluate")
            if line["column"] in (stage.labels["target"], f"{stage.labels['source']} → {stage.labels['target']}")
        )
        assert stage.result is not None
        assert float(line["measured"]) == pytest.approx(100 * stage.result["metrics"][line["metric"]], abs=1e-3)
        assert line["status"] == "done"
    assert len(lines) == 2 * len(list(planned.of_kind("evaluate")))
