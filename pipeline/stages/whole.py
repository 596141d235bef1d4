"""A check that files of a result are there and whole, before the result is published."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
from PIL import Image


def require_whole(folder: Path, names: Iterable[str]) -> None:
    """Make sure that files of a folder are there and whole, as far as their formats show it.

    Raises:
        OSError: A file is missing or damaged. The stage must run again, because somebody may have deleted the folder.
    """
    for name in names:
        path = folder / name
        try:
            READERS[path.suffix](path)
        except Exception as error:  # each library has its own errors for a damaged file
            raise OSError(
                f"a result must have all of its files, whole, but {path} is missing or damaged ({error})."
            ) from error


def _read_lines(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        raise ValueError("its last line has no end")
    for line in text.splitlines():
        json.loads(line)


def _read_shard(path: Path) -> None:
    with pa.memory_map(str(path)) as file:
        pa.ipc.open_file(file)


def _read_picture(path: Path) -> None:
    with Image.open(path, formats=["PNG"]) as picture:
        picture.verify()


def _read_tensors(path: Path) -> None:
    with safetensors.safe_open(path, "pt"):
        pass


READERS: dict[str, Callable[[Path], Any]] = {
    ".arrow": _read_shard,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": _read_lines,
    ".parquet": pq.read_metadata,
    ".png": _read_picture,
    ".safetensors": _read_tensors,
}
