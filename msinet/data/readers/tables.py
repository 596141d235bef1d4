"""Tables as a spreadsheet, pandas or a person writes them: CSV or Parquet, read as texts."""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from msinet.data.dataset import DataError

SEPARATORS = (",", ";", "\t", "|")

# The place of a row, for messages, and its cells as stripped texts, by column; a missing cell is an empty text.
Row = tuple[str, dict[str, str]]


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read.

    Attributes:
        required: Names of the columns that must be there.
        optional: Names of other columns, each with a pattern of wrong names that mean it.
    """

    required: tuple[str, ...]
    optional: Mapping[str, re.Pattern[str]] = field(default_factory=dict)

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the required columns that are not among the names of a table."""
        lower = _lower(names)
        return [column for column in self.required if column not in lower]

    def places(self, what: str, file: Path, names: Sequence[str]) -> dict[str, int]:
        """Return the position of each column among the names of a table.

        Raises:
            DataError: A column is missing, has a wrong name, or is there twice.
        """
        lower, found = _lower(names), ", ".join(map(repr, names)) or "none at all"
        if missing := self.missing(names):
            optional = f" (and may have {', '.join(self.optional)})" if self.optional else ""
            raise DataError(
                f"{what} must have the columns {', '.join(self.required)}{optional}, "
                f"but {file} lacks {', '.join(missing)}; found: {found}."
            )
        for column, pattern in self.optional.items():
            if column not in lower and (wrong := next(filter(pattern.fullmatch, lower), None)):
                raise DataError(f"{what} must name this column {column}, but {file} names it {wrong}.")
        columns = [column for column in (*self.required, *self.optional) if column in lower]
        for column in columns:
            if lower.count(column) > 1:
                raise DataError(f"{what} must have each column once, but {file} has {column} twice; found: {found}.")
        return {column: lower.index(column) for column in columns}


def csv_rows(what: str, file: Path, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a CSV file that are not empty.

    The cells are separated by the first of `SEPARATORS` that divides the header into the required columns. Excel's
    first line `sep=;` is skipped.

    Args:
        what: What the table is, for messages: "a manifest".
        file: The file.
        columns: The columns to read; their names may be in upper or lower case. Other columns are ignored.

    Raises:
        DataError: The file is not readable, a column is missing or there twice, or a row has a wrong form.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            fits = (separator for separator in SEPARATORS if not columns.missing(_header(_reader(stream, separator))))
            reader = _reader(stream, next(fits, SEPARATORS[0]))
            names = _header(reader)
            places = columns.places(what, file, names)
            for cells in reader:
                where = f"{file}, line {reader.line_num}"
                if not any(map(str.strip, cells)):
                    continue
                if len(cells) != len(names):
                    raise DataError(f"{where}: a row must have {len(names)} cells, but this one has {len(cells)}.")
                yield where, {column: cells[place].strip() for column, place in places.items()}
    except OSError as error:
        raise DataError(f"{what} must be readable, but {file} is not: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{what} must be a CSV file in UTF-8, but {file} is not: {error} (in a spreadsheet, save as CSV UTF-8)."
        ) from error


def _reader(stream: TextIO, separator: str) -> Any:
    """Return a reader of the whole file."""
    stream.seek(0)
    return csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)


def _header(reader: Iterator[list[str]]) -> list[str]:
    """Return the first row that is neither empty nor Excel's `sep=;`."""
    rows = (cells for cells in reader if any(map(str.strip, cells)) and not cells[0].lower().startswith("sep="))
    return next(rows, [])


def parquet_rows(what: str, file: Path, columns: Columns) -> Iterator[Row]:
    """Yield the rows of a Parquet file that are not empty. See `csv_rows`."""
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        places = columns.places(what, file, names)
        table = parquet.read([names[place] for place in places.values()])
        values = {column: table.column(names[place]) for column, place in places.items()}
        exact = {column: _exact(file, column, cells.type) for column, cells in values.items()}
        rows = zip(*(cells.to_pylist() for cells in values.values()), strict=True)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{what} must be a readable Parquet file, but {file} is not: {error}") from error
    for number, cells in enumerate(rows, start=1):
        where = f"{file}, row {number}"
        texts = {column: _text(where, cell, exact[column]) for column, cell in zip(exact, cells, strict=True)}
        if any(texts.values()):
            yield where, texts


def _exact(file: Path, column: str, kind: pa.DataType) -> int:
    """Return the number from which on the floating-point numbers of this type may stand for several whole numbers.

    Raises:
        DataError: The type is neither text nor number.
    """
    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "fixed_size_binary", "integer")
    if not any(getattr(pa.types, f"is_{test}")(held) for test in (*tests, "floating", "decimal", "null")):
        raise DataError(f"{file}: the column {column} must hold texts or numbers, but it holds {kind}.")
    return 2**11 if pa.types.is_float16(held) else 2**24 if pa.types.is_float32(held) else 2**53


def _text(where: str, cell: Any, exact: int) -> str:
    """Return a cell of Parquet as text."""
    if isinstance(cell, bytes):
        try:
            return cell.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: a text must be UTF-8, but got {cell!r}.") from error
    if not isinstance(cell, float | Decimal):
        return "" if cell is None else str(cell).strip()
    if not math.isfinite(cell):  # a column of whole numbers with gaps is read as floats with NaN
        return ""
    if isinstance(cell, float) and abs(cell) >= exact:
        raise DataError(f"{where}: a large number must be stored as a whole number or as text, but {cell} is rounded.")
    return str(int(cell) if cell == int(cell) else cell)


def _lower(names: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in names]
