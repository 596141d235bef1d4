"""Patterns of paths, such as `{camera}/{identity}_*.jpg`, and the pictures whose paths fit one."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msinet.data.dataset import DataError
from msinet.data.names import is_picture, is_unicode

PLACES = ("identity", "camera", "subset")
# What a place stands for: part of one name, but never part of a number or of a word, so `c{camera}s` reads all of c12s.
INSIDE = r"(?:(?<=\d)(?=\d)|(?<=[^\W\d_])(?=[^\W\d_]))"
TOKENS = re.compile(r"\{[^{}]*\}?|\*\*/|\*|[^{*]+")


@dataclass(frozen=True)
class Seen:
    """A picture whose path fits a pattern.

    Attributes:
        path: Its path, relative to the folder.
        identity: The text that stands for the identity.
        camera: The text that stands for the camera; empty if the pattern has none.
        subset: The text that stands for the subset; empty if the pattern has none.
    """

    path: str
    identity: str
    camera: str = ""
    subset: str = ""


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern.

    `{identity}`, `{camera}` and `{subset}` each stand for as few characters of one file's or folder's name as the rest
    of the pattern allows, but never for a part of a number or of a word. `*` stands for any characters of one name, and
    `**/` for any folders. Capital and small letters count as equal.

    Raises:
        DataError: The pattern lacks `{identity}`, or has an unknown place or one that is there twice.
    """
    parts, found = [], []
    for token in TOKENS.findall(pattern):
        if token.startswith("{"):
            place = token.strip("{}")
            if place not in PLACES or token != f"{{{place}}}":
                known = ", ".join(f"{{{name}}}" for name in PLACES)
                raise DataError(f"the places of a pattern must be among {known}, but got {token!r} in {pattern!r}.")
            found.append(place)
            part = f"(?!{INSIDE})(?P<{place}>[^/]+?)(?!{INSIDE})"
        else:
            part = {"*": "[^/]*", "**/": "(?:[^/]+/)*"}.get(token) or re.escape(token)
        parts.append(part)
    if sorted(found) != sorted(set(found)) or "identity" not in found:
        raise DataError(f"a pattern must have {{identity}}, and each place once at most, but got {pattern!r}.")
    return re.compile("".join(parts), re.IGNORECASE)


def read_paths(pattern: str, paths: Iterable[str]) -> tuple[list[Seen], list[str]]:
    """Return the pictures that fit a pattern, and the paths of those that do not, both in the order of `paths`.

    Raises:
        DataError: The pattern is wrong; see `compiled`.
    """
    expression, seen, others = compiled(pattern), [], []
    for path in paths:
        match = expression.fullmatch(path)
        if match:
            seen.append(Seen(path, **match.groupdict()))
        else:
            others.append(path)
    return seen, others


def picture_paths(root: Path) -> tuple[list[str], list[str]]:
    """Return the sorted paths of the pictures below a folder, and those of all other files.

    A link to a folder is followed if it lies directly in `root`. Hidden files and folders are passed over. A picture
    whose name is no Unicode counts among the other files.

    Raises:
        DataError: The folder does not exist, or cannot be read.
    """
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"a folder of pictures must be readable, but {root} is not: {error.strerror}.") from error
    found: list[str] = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            found += _below(root, entry.name)
        else:
            found.append(entry.name)
    pictures = [path for path in found if is_picture(path) and is_unicode(path)]
    chosen = set(pictures)
    return sorted(pictures), sorted(path for path in found if path not in chosen)


def _below(root: Path, name: str) -> list[str]:
    paths: list[str] = []
    for folder, below, files in os.walk(root / name):
        below[:] = [folder for folder in below if not folder.startswith(".")]
        prefix = Path(folder).relative_to(root).as_posix()
        paths += [f"{prefix}/{file}" for file in files if not file.startswith(".")]
    return paths


def distinct(texts: Iterable[str]) -> int:
    """Return the number of different texts that are not empty."""
    return len(set(texts) - {""})


def repeated(seen: Sequence[Seen]) -> int:
    """Return the number of identities with at least two pictures."""
    counts: dict[str, int] = {}
    for picture in seen:
        counts[picture.identity] = counts.get(picture.identity, 0) + 1
    return sum(count > 1 for count in counts.values())
