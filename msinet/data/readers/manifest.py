"""A user's own data: a table of path, identity, camera (or nothing) and subset, as CSV or Parquet."""

import csv
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from msinet.data.dataset import DataError, Dataset
from msinet.data.records import SUBSETS, Record

FILES = ("manifest.csv", "manifest.parquet")
REQUIRED, OPTIONAL = ("path", "identity", "subset"), ("camera",)
INTEGER = re.compile(r"-?[0-9]+")

# The place of a row, for messages, and its cells as stripped text; a missing cell is an empty text.
Row = tuple[str, dict[str, str]]


def read_manifest(root: Path) -> Dataset:
    """Read a manifest; `root` is the file, or the folder that holds `manifest.csv` or `manifest.parquet`.

    Paths are relative to the manifest's folder. Identities become integers if all of them are integers, otherwise
    they stay names. A camera is a whole number or empty.

    Raises:
        DataError: There are no or two manifests, a column is missing, or a row breaks a rule; the message names the
            row's line.
    """
    file = _find_file(root)
    rows = list(_csv_rows(file) if file.suffix.lower() == ".csv" else _parquet_rows(file))
    if not rows:
        raise DataError(f"a manifest must list at least one image, but {file} lists none.")
    numbered = all(INTEGER.fullmatch(cells["identity"]) for _, cells in rows)
    first_seen: dict[str, str] = {}
    records = []
    for where, cells in rows:
        record = _record(where, cells, numbered)
        if record.path in first_seen:
            before = first_seen[record.path]
            raise DataError(f"{where}: every path must be listed once, but {record.path} is also listed at {before}.")
        first_seen[record.path] = where
        records.append(record)
    records.sort(key=lambda record: record.path)
    return Dataset(file.resolve().parent.name, file.parent, tuple(records))


def _find_file(root: Path) -> Path:
    if root.is_file():
        if root.suffix.lower() not in (".csv", ".parquet"):
            raise DataError(f"a manifest must end in .csv or .parquet, but got {root}.")
        return root
    found = [root / name for name in FILES if (root / name).is_file()]
    if len(found) != 1:
        state = "holds both" if found else "holds neither"
        raise DataError(
            f"a manifest's path must be its file, or a folder with one of {' and '.join(FILES)}, but {root} {state}."
        )
    return found[0]


def _check_columns(file: Path, columns: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise DataError(
            f"{file} must have the columns {', '.join(REQUIRED)} (and camera, if the cameras are known), "
            f"but {', '.join(missing)} is missing; found: {', '.join(columns) or 'none at all'}."
        )


def _csv_rows(file: Path) -> Iterator[Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            _check_columns(file, columns)
            for cells in reader:
                where = f"{file}, line {reader.line_num}"
                if not cells:  # an empty line
                    continue
                if len(cells) != len(columns):
                    raise DataError(f"{where}: a row must have {len(columns)} cells, but this one has {len(cells)}.")
                yield where, _texts(dict(zip(columns, cells, strict=True)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"a manifest must be a CSV file in UTF-8, but {file} is not: {error}.") from error


def _parquet_rows(file: Path) -> Iterator[Row]:
    try:
        parquet = pq.ParquetFile(file)
    except pa.ArrowException as error:
        raise DataError(f"a manifest must be a readable Parquet file, but {file} is not: {error}") from error
    columns = parquet.schema_arrow.names
    _check_columns(file, columns)
    table = parquet.read([name for name in REQUIRED + OPTIONAL if name in columns])
    for number, cells in enumerate(table.to_pylist(), start=1):
        yield f"{file}, row {number}", _texts(cells)


def _texts(cells: dict[str, Any]) -> dict[str, str]:
    return {name: _text(cells.get(name)) for name in REQUIRED + OPTIONAL}


def _text(cell: Any) -> str:
    if cell is None or cell != cell:  # a column of whole numbers with gaps is read as floats with NaN
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _record(where: str, cells: dict[str, str], numbered: bool) -> Record:
    identity, camera, subset = cells["identity"], cells["camera"], cells["subset"]
    if subset not in SUBSETS:
        raise DataError(f"{where}: the subset must be one of {', '.join(SUBSETS)}, but got {subset!r}.")
    if not identity:
        raise DataError(f"{where}: the identity must not be empty.")
    if camera and not INTEGER.fullmatch(camera):
        raise DataError(f"{where}: the camera must be a whole number or empty, but got {camera!r}.")
    if camera and abs(int(camera)) >= 2**31:  # prepared datasets store 32 bits
        raise DataError(f"{where}: the camera must be below 2^31, but got {camera}.")
    return Record(
        path=_inside(where, cells["path"]),
        pid=int(identity) if numbered else identity,
        camid=int(camera) if camera else None,
        subset=subset,
    )


def _inside(where: str, path: str) -> str:
    """Return `path` in its normal form; raise a `DataError` if it leaves the manifest's folder."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    if not path or plain == ".":
        raise DataError(f"{where}: the path must name an image, but got {path!r}.")
    if posixpath.isabs(plain) or PureWindowsPath(plain).drive:
        raise DataError(f"{where}: the path must be relative to the manifest's folder, but got {path!r}.")
    if plain.startswith("../") or plain == "..":
        raise DataError(f"{where}: the path must stay inside the manifest's folder, but got {path!r}.")
    return plain
