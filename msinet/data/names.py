"""Names of files: how they are printed, and where a missing file may be instead."""

import contextlib
import itertools
import os
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

PICTURES = (".jpg", ".jpeg", ".png")
NEIGHBOURS = 10  # subfolders that are searched for a missing file


def is_picture(file: str) -> bool:
    """Return whether a file's name has the ending of a picture."""
    return file.lower().endswith(PICTURES)


def is_unicode(name: str) -> bool:
    """Return whether a file's name is UTF-8. Python stands other bytes for surrogates, which no text may contain."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def printable(name: str) -> str:
    """Return a file's name with its control characters, and bytes that are not UTF-8, written as `\\x1b`."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def hint(root: Path, path: str) -> str:
    """Return a sentence, with a space before it, about a file that a missing one may be; or an empty text.

    The file is `root`/`path`, except that names have another case, another Unicode form or another ending of pictures,
    or that a folder is one level off.
    """
    root = root.absolute()
    found = next(filter(None, (_similar(start, rest) for start, rest in _starts(root, path))), None)
    near = os.path.relpath(found, root) if found else path
    if near == path:
        return ""
    if unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path):
        return f" The file's name has another Unicode form there: {near!a} instead of {path!a}."
    return f" Did you mean {printable(near)}?"


def similar_name(folder: Path, name: str) -> str | None:
    """Return the file or folder in `folder` whose name differs from `name` only in case, Unicode form or ending."""
    similar = _listing(folder)
    stem, ending = os.path.splitext(name)
    endings = PICTURES if ending.lower() in PICTURES else ()
    return next((similar[key] for key in (_key(name), *(_key(stem + e) for e in endings)) if key in similar), None)


def _starts(root: Path, path: str) -> Iterator[tuple[Path, str]]:
    """Yield folders in which to search, each with the path to search for."""
    yield root, path
    yield root.parent, path
    if "/" in path:
        yield root, path.partition("/")[2]
    with contextlib.suppress(OSError):  # the root itself may be missing
        yield from ((folder, path) for folder in _folders(root, os.stat(root).st_mtime_ns))


def _similar(start: Path, path: str) -> Path | None:
    place = start
    for part in path.split("/"):
        name = part if os.path.lexists(place / part) else similar_name(place, part)
        if name is None:
            return None
        place /= name
    return place


def _listing(folder: Path) -> Mapping[str, str]:
    """Return the names in a folder by their `_key`, or nothing if there is no such folder."""
    try:
        return _list(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=64)  # many files of one folder may be missing
def _list(folder: Path, mtime_ns: int) -> Mapping[str, str]:
    """Return the names in a folder that was last changed at this time, by their `_key`."""
    return {_key(name): name for name in sorted(os.listdir(folder), reverse=True)}


@lru_cache(maxsize=64)
def _folders(root: Path, mtime_ns: int) -> list[Path]:
    """Return the first few subfolders of a folder, last changed at this time."""
    folders = filter(os.path.isdir, (root / name for name in sorted(os.listdir(root))))
    return list(itertools.islice(folders, NEIGHBOURS))


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
