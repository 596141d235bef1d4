"""A user's own data: a table of path, identity, camera (or nothing) and subset, as CSV or Parquet."""

import ntpath
import posixpath
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from msinet.data.dataset import DataError, Dataset
from msinet.data.readers.tables import Columns, Row, csv_rows, parquet_rows
from msinet.data.records import SUBSETS, Record

FILES = ("manifest.csv", "manifest.parquet")
CAMERA = "camera"
MEANS_CAMERA = re.compile(r"cam(era)?s?[ _-]?(id|ids|no|nr|number|name|label)?")
COLUMNS = Columns(("path", "identity", "subset"), {CAMERA: MEANS_CAMERA})
# pandas writes the whole numbers of a column with gaps as 1.0. Three zeros are left: 1.000 may also be a thousand.
WHOLE = re.compile(r"(-?[0-9]+)(?:[.,](?:0{1,2}|0{4,}))?")
# Spreadsheets write a long number as 1.23457E+12, so different numbers become equal.
ROUNDED = re.compile(r"-?[0-9][.,][0-9]+e[+-]?[0-9]+", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What pandas, R, databases and spreadsheets write for a value that is missing.
MISSING = {"", "nan", "NaN", "NAN", "-nan", "NA", "N/A", "n/a", "<NA>", "NaT", "None", "null", "NULL"}
MISSING |= {"#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"}
LONGEST = 1000  # characters of an identity or a camera


def read_manifest(root: Path) -> Dataset:
    """Read a manifest; `root` is the file, or the folder that holds `manifest.csv` or `manifest.parquet`.

    Paths are relative to the manifest's folder. Identities become integers if all of them are whole numbers, otherwise
    they stay names. Cameras become integers in the same case; otherwise they are numbered from 1, in the order of their
    sorted names.

    Raises:
        DataError: There are no or two manifests, a column is missing, or a row breaks a rule; the message names the
            row's line.
    """
    file = _find_file(root)
    read_rows = csv_rows if file.suffix.lower() == ".csv" else parquet_rows
    rows = list(read_rows("a manifest", file, COLUMNS))
    if not rows:
        raise DataError(f"a manifest must list at least one image, but {file} lists none.")
    for row in rows:
        _check_row(*row)
    pids, camids = _identities(rows), _cameras(rows)
    first_seen: dict[str, str] = {}
    records = []
    for where, cells in rows:
        path = _inside(where, cells["path"])
        if path in first_seen:
            before = first_seen[path]
            raise DataError(f"{where}: every path must be listed once, but {path} is also listed at {before}.")
        first_seen[path] = where
        camid = camids[cells.get(CAMERA, "")]
        records.append(Record(path, pids[cells["identity"]], camid, cells["subset"].lower()))
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
            f"{'' if found else _hint(root)}"
        )
    return found[0]


def _hint(root: Path) -> str:
    """Return a sentence that says where a table lies near `root`, or an empty text."""
    for folder in (root, root.parent, *sorted(root.glob("*/"))):
        for file in filter(Path.is_file, sorted(folder.glob("*"))):
            if file.suffix.lower() in (".csv", ".parquet") and (folder == root or file.name in FILES):
                return f" Set it to {file}, if that is the manifest."
    return ""


def _check_row(where: str, cells: dict[str, str]) -> None:
    if cells["subset"].lower() not in SUBSETS:
        raise DataError(f"{where}: the subset must be one of {', '.join(SUBSETS)}, but got {cells['subset']!r}.")
    if cells["identity"] in MISSING:
        given = f", but got {cells['identity']!r}, which stands for a missing value" if cells["identity"] else ""
        raise DataError(f"{where}: the identity must not be empty{given}.")
    for column, cell in cells.items():
        if CONTROL.search(cell):
            raise DataError(f"{where}: the {column} must not hold control characters, but got {cell!r}.")
        if column == "path":
            continue
        if ROUNDED.fullmatch(cell):
            raise DataError(
                f"{where}: the {column} must be written in full, but {cell} is a rounded number: store it as text."
            )
        if len(cell) > LONGEST:
            raise DataError(f"{where}: the {column} must have at most {LONGEST:,} characters, but has {len(cell):,}.")


def _identities(rows: list[Row]) -> dict[str, int | str]:
    """Return the identity of each cell."""
    distinct = {cells["identity"] for _, cells in rows}
    numbers = _whole_numbers(distinct)
    if len(numbers) < len(distinct):
        _require_one_form("identity", distinct)
        return {cell: cell for cell in distinct}
    return {**numbers}


def _cameras(rows: list[Row]) -> dict[str, int | None]:
    """Return the number of the camera of each cell, or None."""
    cells = {cells.get(CAMERA, "") for _, cells in rows}
    distinct = cells - MISSING
    numbers = _whole_numbers(distinct)
    if len(numbers) < len(distinct) or any(abs(number) >= 2**31 for number in numbers.values()):  # shards have 32 bits
        names = {cell: str(numbers.get(cell, cell)) for cell in distinct}
        _require_one_form(CAMERA, names.values())
        place = {name: number for number, name in enumerate(sorted(set(names.values())), start=1)}
        numbers = {cell: place[name] for cell, name in names.items()}
    return {**dict.fromkeys(cells & MISSING), **numbers}


def _whole_numbers(cells: Iterable[str]) -> dict[str, int]:
    """Return the value of each cell that is a whole number."""
    return {cell: int(match[1]) for cell in cells if (match := WHOLE.fullmatch(cell))}


def _require_one_form(column: str, names: Iterable[str]) -> None:
    """Raise a `DataError` if two names look the same and differ only in how Unicode composes their letters."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        form = unicodedata.normalize("NFC", name)
        if form in seen:
            raise DataError(
                f"each {column} must be written in one Unicode form, but {name} has two, {seen[form]!a} and {name!a}."
            )
        seen[form] = name


def _inside(where: str, path: str) -> str:
    """Return `path` in its normal form; raise a `DataError` if it leaves the manifest's folder."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    if path in MISSING or plain == ".":
        raise DataError(f"{where}: the path must name an image, but got {path!r}.")
    if posixpath.isabs(plain) or ntpath.splitdrive(plain)[0]:
        raise DataError(f"{where}: the path must be relative to the manifest's folder, but got {path!r}.")
    if plain.startswith("../") or plain == "..":
        raise DataError(f"{where}: the path must stay inside the manifest's folder, but got {path!r}.")
    return plain
