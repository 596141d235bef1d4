"""The tables of a report as data, and the text of their cells, which is the same in HTML and in Markdown."""

from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import TYPE_CHECKING, Literal

from pipeline.reports.intervals import MEANING, plus_minus

if TYPE_CHECKING:
    from msinet.statistics import Interval

from msinet.spaces import PAPER_SPACE, Space

Status = Literal["done", "to run", "pending", "lacks", "not planned"]


@dataclass(frozen=True)
class Column:
    """A column of a table: what its cells hold.

    Attributes:
        name: A dataset, a pair `source → target`, or a property of the network.
        metric: `rank1`, `rank5`, `mAP`, or the unit of the property.
        code: The paper's name for this column, such as `M` or `MS->M`; None if the paper has no such column.
        digits: Number of digits after the decimal point.
        better: 1 if larger is better, -1 if smaller is better, 0 if neither is.
    """

    name: str
    metric: str
    code: str | None = None
    digits: int = 1
    better: Literal[-1, 0, 1] = 1


@dataclass(frozen=True)
class Cell:
    """A cell with a number: published, measured, or both.

    Attributes:
        paper: The published figure.
        measured: One value for each seed that is done.
        planned: How many values there are when all seeds are done.
        status: `done` means that all values are there, `pending` that the stages to run depend on an earlier stage.
        note: The command that fills the cell, or what must be given first, with one sentence on each line.
        interval: The 95 % interval of the mean, None if it is not known. See `pipeline.reports.intervals.MEANING`.
        spread: Spread of a single measured value, if it has one.
        spread_of: What `spread` is: `draws` (deviation over VehicleID's galleries) or `IQR` (interquartile range).
        queries: How many of the queries the scores are of, such as `1 of 12 queries`; empty if they are of all.
    """

    paper: float | None = None
    measured: list[float] = field(default_factory=list)
    planned: int = 0
    status: Status = "not planned"
    note: str = ""
    interval: "Interval | None" = None
    spread: float | None = None
    spread_of: Literal["", "draws", "IQR"] = ""
    queries: str = ""

    @property
    def mean(self) -> float | None:
        """Return the mean over the seeds, or None if nothing is measured."""
        return mean(self.measured) if self.measured else None

    @property
    def deviation(self) -> float | None:
        """Return the sample standard deviation over several seeds, or `spread` for a single one."""
        return stdev(self.measured) if len(self.measured) > 1 else self.spread

    @property
    def difference(self) -> float | None:
        """Return the measured mean minus the published figure, or None if one of them is missing."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper


@dataclass(frozen=True)
class Letters:
    """A cell with the letters of a genotype: published, found by a search, or both.

    Attributes:
        paper: The published letters.
        measured: The letters of this experiment; None until the search is done.
        paper_name: Name of the published genotype.
        status, note: As in `Cell`.
        space: The space of the measured letters.
    """

    paper: str | None = None
    measured: str | None = None
    paper_name: str = ""
    status: Status = "not planned"
    note: str = ""
    space: Space = PAPER_SPACE

    @property
    def shown(self) -> str | None:
        """Return the measured genotype as text, which begins with the space's name unless it is the paper's."""
        return self.measured if self.space == PAPER_SPACE else self.measured and f"{self.space.name}:{self.measured}"

    @property
    def difference(self) -> int | None:
        """Return in how many of the twelve slots the letters differ, or None if one of the two is missing."""
        if self.paper is None or self.measured is None:
            return None
        return sum(ours != theirs for ours, theirs in zip(self.measured, self.paper, strict=True))


@dataclass(frozen=True)
class Row:
    """A row of a table. Rows with the same `group` belong together; `group` may be empty."""

    group: str
    name: str
    cells: list[Cell | Letters]


@dataclass(frozen=True)
class Table:
    """A table in the form that it has in the paper.

    Attributes:
        number: Number of the table in the paper's supplementary material.
        title: What the table compares.
        caption: How to read the table.
        columns: The columns.
        rows: The rows, with one cell for each column. Rows of the same group are neighbours.
    """

    number: int
    title: str
    caption: str
    columns: list[Column]
    rows: list[Row]


METRICS = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10"}


# Text of a cell, the same in every form of the report.


def mean_text(cell: Cell, column: Column) -> str:
    """Return the mean over the seeds; empty if nothing is measured."""
    return "" if cell.mean is None else f"{cell.mean:.{column.digits}f}"


def spread_text(cell: Cell, column: Column) -> str:
    """Return the text after the mean: half of the interval of a score, or the interquartile range of timings."""
    if cell.spread is not None and cell.spread_of == "IQR":
        return f", IQR {cell.spread:.{column.digits}f}"
    return plus_minus(cell.interval, column.digits)


def part_text(cell: Cell) -> str:
    """Return of how many seeds and of how many queries the figure is; empty if it is of all, or if there is none."""
    done = len(cell.measured)
    seeds = f"{done} of {cell.planned} seeds" if 0 < done < cell.planned else ""
    return ", ".join(filter(None, [seeds, cell.queries]))


def paper_text(cell: Cell, column: Column) -> str:
    """Return the published figure with the digits that the paper prints; empty if there is none."""
    if cell.paper is None:
        return ""
    return f"{cell.paper:.1f}" if column.metric in ("mAP", *METRICS) else f"{cell.paper:g}"


def difference_text(cell: Cell, column: Column) -> str:
    """Return measured − published, with its sign; empty if one is missing, or if neither larger nor smaller is better.

    The latter leaves out parameters, whose published numbers are rounded.
    """
    if cell.difference is None or not column.better:
        return ""
    text = f"{cell.difference:+.{column.digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def footnotes(table: Table) -> tuple[list[str], dict[str, int]]:
    """Return the notes below a table.

    Returns:
        Sentences that explain the cells; and the sentences on what must be given first, with the number by which cells
        refer to each.
    """
    cells = [cell for row in table.rows for cell in row.cells]
    by_status: dict[Status, list[str]] = {}
    for cell in cells:
        by_status.setdefault(cell.status, []).extend(cell.note.splitlines())
    notes = []
    numbers = [cell for cell in cells if isinstance(cell, Cell)]
    if any(cell.interval for cell in numbers):
        notes.append(MEANING)
    if any(cell.queries for cell in numbers):
        notes.append(
            "If a cell says of how many queries it is, the others have no match in the gallery and are left out."
        )
    if any(cell.spread_of == "IQR" and cell.measured for cell in numbers):
        notes.append("“IQR”: interquartile range of the repeated timings.")
    for status, text in (("to run", "to run: use `{}`."), ("pending", "pending: needs an earlier stage; use `{}`.")):
        notes += [text.format(command) for command in dict.fromkeys(by_status.get(status, []))]  # type: ignore[call-overload]
    if any(cell.paper is not None for cell in numbers if cell.status == "not planned"):
        notes.append("–: not in this experiment.")
    lacking = dict.fromkeys(by_status.get("lacks", []))
    return notes, {sentence: number for number, sentence in enumerate(lacking, start=1)}


def has_figures(cell: Cell | Letters) -> bool:
    return cell.paper is not None or cell.status != "not planned"


def metric_text(name: str) -> str:
    return METRICS.get(name, name)


def row_name(row: Row) -> str:
    return f"{row.group}: {row.name}" if row.group else row.name
