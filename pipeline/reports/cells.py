"""The tables of a report as data, and the text of their cells, which is the same in every form."""

from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Literal

Status = Literal["done", "to run", "pending", "lacks", "not planned"]


@dataclass(frozen=True)
class Column:
    """What the cells below it hold.

    Attributes:
        name: A dataset, a pair `source → target`, or a property of the network.
        metric: `rank1`, `rank5`, `mAP`, or what the property is measured in.
        code: The paper's name of this column, such as `M` or `MS->M`; None where it has none.
        digits: After the decimal point.
        better: 1 where more is better, -1 where less is, 0 where neither.
    """

    name: str
    metric: str
    code: str | None = None
    digits: int = 1
    better: Literal[-1, 0, 1] = 1


@dataclass(frozen=True)
class Cell:
    """A number: published, measured, or both.

    Attributes:
        paper: The published figure.
        measured: One value for each seed that is done.
        planned: How many values there will be.
        status: `done` when all of them are there. `pending`: what is to run depends on an earlier stage.
        note: The command that fills the cell, or what is missing to run it, a sentence on each line.
        spread: Of a single value, where it has one.
        spread_of: What `spread` is: `draws` (deviation over VehicleID's galleries) or `IQR` (interquartile range).
    """

    paper: float | None = None
    measured: list[float] = field(default_factory=list)
    planned: int = 0
    status: Status = "not planned"
    note: str = ""
    spread: float | None = None
    spread_of: Literal["", "draws", "IQR"] = ""

    @property
    def mean(self) -> float | None:
        """Over the seeds."""
        return mean(self.measured) if self.measured else None

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation over several seeds, else `spread`."""
        return stdev(self.measured) if len(self.measured) > 1 else self.spread

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper


@dataclass(frozen=True)
class Letters:
    """A genotype: published, found by a search, or both.

    Attributes:
        paper: The published letters.
        measured: The letters of this experiment; None until the search is done.
        paper_name: The published genotype's name.
        status, note: As in `Cell`.
    """

    paper: str | None = None
    measured: str | None = None
    paper_name: str = ""
    status: Status = "not planned"
    note: str = ""

    @property
    def difference(self) -> int | None:
        """In how many of the twelve slots the letters differ."""
        if self.paper is None or self.measured is None:
            return None
        return sum(ours != theirs for ours, theirs in zip(self.measured, self.paper, strict=True))


@dataclass(frozen=True)
class Row:
    """A line of a table, in a group of such lines; `group` may be empty."""

    group: str
    name: str
    cells: list[Cell | Letters]


@dataclass(frozen=True)
class Table:
    """A table in the form that the paper gives it.

    Attributes:
        number: In the paper's supplementary material.
        title: What it compares.
        caption: How to read it.
        columns, rows: Rows have one cell for each column; those of one group are neighbours.
    """

    number: int
    title: str
    caption: str
    columns: list[Column]
    rows: list[Row]


METRICS = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10"}
SPREADS = {
    "draws": "“draws”: standard deviation over VehicleID's drawn galleries, of one seed.",
    "IQR": "“IQR”: between the quartiles of the repeated timings.",
}


# Text of a cell, the same everywhere.


def mean_text(cell: Cell, column: Column) -> str:
    """The mean over the seeds; empty where nothing is measured."""
    return "" if cell.mean is None else f"{cell.mean:.{column.digits}f}"


def deviation_text(cell: Cell, column: Column) -> str:
    """What follows the mean: its deviation, and of what where that is not the seeds'."""
    if cell.deviation is None:
        return ""
    text = f"{cell.deviation:.{column.digits}f}"
    if len(cell.measured) > 1:
        return f" ± {text}"
    return f", IQR {text}" if cell.spread_of == "IQR" else f" ± {text} draws"


def seeds_text(cell: Cell) -> str:
    """How many of the seeds are done, where some are not."""
    done = len(cell.measured)
    return f"{done} of {cell.planned} seeds" if 0 < done < cell.planned else ""


def paper_text(cell: Cell, column: Column) -> str:
    """The published figure, as precise as it was printed."""
    if cell.paper is None:
        return ""
    return f"{cell.paper:.1f}" if column.metric in ("mAP", *METRICS) else f"{cell.paper:g}"


def difference_text(cell: Cell, column: Column) -> str:
    """Measured − published, with its sign, where one is better; a published number of parameters is rounded."""
    if cell.difference is None or not column.better:
        return ""
    text = f"{cell.difference:+.{column.digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def footnotes(table: Table) -> tuple[list[str], dict[str, int]]:
    """What stands below a table.

    Returns:
        Sentences on what the cells say; and what is missing, a number for each, which the cells refer to.
    """
    cells = [cell for row in table.rows for cell in row.cells]
    by_status: dict[Status, list[str]] = {}
    for cell in cells:
        by_status.setdefault(cell.status, []).extend(cell.note.splitlines())
    notes = []
    numbers = [cell for cell in cells if isinstance(cell, Cell)]
    if any(len(cell.measured) > 1 for cell in numbers):
        notes.append("±: standard deviation over seeds.")
    shown = {cell.spread_of for cell in numbers if len(cell.measured) == 1}
    notes += [text for spread, text in SPREADS.items() if spread in shown]
    for status, text in (("to run", "to run: `{}`."), ("pending", "pending: known once an earlier stage ends; `{}`.")):
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
