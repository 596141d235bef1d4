"""The table of a manifest as a spreadsheet, pandas or a person writes it: CSV or Parquet, read as texts."""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from msinet.data.dataset import DataError

REQUIRED, CAMERA = ("path", "identity", "subset"), "camera"
SURELY_CAMERA = re.compile(r"cam(era)?s?[ _-]?(id|ids|no|nr|number|name|label)?")
SEPARATORS = (",", ";", "\t", "|")
ROUNDED = 2**53  # from this number on, a floating-point number may stand for several whole numbers

# The place of a row, for messages, and its cells as stripped texts, by column; a missing cell is an empty text.
Row = tuple[str, dict[str, str]]


def table_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a `.csv` or `.parquet` file, with their cells in the columns of a manifest.

    The names of columns may be in upper or lower case; other columns are ignored. The cells of a CSV file are separated
    by the first of `SEPARATORS` that divides its header into the required columns. Empty rows are skipped, and so is
    Excel's first line `sep=;`.

    Raises:
        DataError: The file is not readable, a column is missing or there twice, or a row has a wrong form.
    """
    return _csv_rows(file) if file.suffix.lower() == ".csv" else _parquet_rows(file)


def _csv_rows(file: Path) -> Iterator[Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            fits = (separator for separator in SEPARATORS if not _missing(_header(_reader(stream, separator))))
            reader = _reader(stream, next(fits, SEPARATORS[0]))
            names = _header(reader)
            places = _places(file, names)
            for cells in reader:
                where = f"{file}, line {reader.line_num}"
                if not any(map(str.strip, cells)):
                    continue
                if len(cells) != len(names):
                    raise DataError(f"{where}: a row must have {len(names)} cells, but this one has {len(cells)}.")
                yield where, {column: cells[place].strip() for column, place in places.items()}
    except OSError as error:
        raise DataError(f"a manifest must be readable, but {file} is not: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"a manifest must be a CSV file in UTF-8, but {file} is not: {error} (in a spreadsheet, save as CSV UTF-8)."
        ) from error


def _reader(stream: TextIO, separator: str) -> Any:
    """Return a reader of the whole file."""
    stream.seek(0)
    return csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)


def _header(reader: Iterator[list[str]]) -> list[str]:
    """Return the first row that is neither empty nor Excel's `sep=;`."""
    rows = (cells for cells in reader if any(map(str.strip, cells)) and not cells[0].lower().startswith("sep="))
    return next(rows, [])


def _parquet_rows(file: Path) -> Iterator[Row]:
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        places = _places(file, names)
        table = parquet.read([names[place] for place in places.values()])
        columns = [table.column(names[place]) for place in places.values()]
        for column, values in zip(places, columns, strict=True):
            _require_texts_or_numbers(file, column, values.type)
        rows = zip(*(values.to_pylist() for values in columns), strict=True)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"a manifest must be a readable Parquet file, but {file} is not: {error}") from error
    for number, cells in enumerate(rows, start=1):
        where = f"{file}, row {number}"
        texts = {column: _text(where, cell) for column, cell in zip(places, cells, strict=True)}
        if any(texts.values()):
            yield where, texts


def _require_texts_or_numbers(file: Path, column: str, kind: pa.DataType) -> None:
    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "fixed_size_binary", "integer")
    if not any(getattr(pa.types, f"is_{test}")(held) for test in (*tests, "floating", "decimal", "null")):
        raise DataError(f"{file}: the column {column} must hold texts or numbers, but it holds {kind}.")


def _text(where: str, cell: Any) -> str:
    """Return a cell of Parquet as text."""
    if isinstance(cell, bytes):
        try:
            return cell.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: a text must be UTF-8, but got {cell!r}.") from error
    if isinstance(cell, float | Decimal):
        if not math.isfinite(cell):  # a column of whole numbers with gaps is read as floats with NaN
            return ""
        if isinstance(cell, float) and abs(cell) >= ROUNDED:
            raise DataError(
                f"{where}: a large number must be stored as a whole number or as text, but {cell} is a rounded one."
            )
        return str(int(cell) if cell == int(cell) else cell)
    return "" if cell is None else str(cell).strip()


def _missing(names: Sequence[str]) -> list[str]:
    lower = {name.strip().lower() for name in names}
    return [column for column in REQUIRED if column not in lower]


def _places(file: Path, names: Sequence[str]) -> dict[str, int]:
    """Return the position of each of a manifest's columns among the names of a table."""
    lower = [name.strip().lower() for name in names]
    found = ", ".join(map(repr, names)) or "none at all"
    if missing := _missing(names):
        raise DataError(
            f"{file} must have the columns {', '.join(REQUIRED)} (and {CAMERA}, if the cameras are known), "
            f"but {', '.join(missing)} is missing; found: {found}."
        )
    if CAMERA not in lower and (similar := [name for name in lower if SURELY_CAMERA.fullmatch(name)]):
        raise DataError(f"{file}: the column of the cameras must be named {CAMERA}, but is named {similar[0]}.")
    columns = [column for column in (*REQUIRED, CAMERA) if column in lower]
    for column in columns:
        if lower.count(column) > 1:
            raise DataError(f"{file}: a column must be there once, but {column} is there twice; found: {found}.")
    return {column: lower.index(column) for column in columns}
