"""Which known layout a folder has, or which pattern its paths fit, if names of files and folders say so."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msinet.data.dataset import DataError, Dataset
from msinet.data.folders.patterns import Seen, distinct, read_paths, repeated
from msinet.data.folders.subsets import SUBSET_WORDS
from msinet.data.readers import READERS, read

MOST = 0.9  # share of the pictures that must lie in a folder, or fit a pattern, for it to be proposed
CAMERA_NAME = re.compile(r"(?:cam(?:era)?|c|view|kamera)[ _-]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Proposal:
    """A pattern that most pictures of a folder fit.

    Attributes:
        pattern: The pattern.
        seen: The pictures that fit.
        unmatched: The paths of the other pictures.
    """

    pattern: str
    seen: list[Seen]
    unmatched: list[str]


def known_layouts(root: Path) -> list[tuple[str, Dataset]]:
    """Return the kinds of published layouts, or `manifest`, that are in a folder, each with what its reader found.

    Of VehicleID's kinds, which differ in their test lists, only the one with the largest list is returned.
    """
    found: list[tuple[str, Dataset]] = []
    families: set[str] = set()
    for kind, reader in READERS.items():
        if reader.family in families:
            continue
        try:
            found.append((kind, read(kind, root)))
        except (DataError, OSError):
            continue
        families |= {reader.family} if reader.family else set()
    return found


def proposals(paths: Sequence[str]) -> list[Proposal]:
    """Return the patterns that the names of files and folders suggest, the most convincing one first.

    A pattern is proposed if at least 90 percent of the pictures fit it, at least half of its identities have several
    pictures, and its cameras have names of cameras: `cam3`, `camera_3`, `c3`, or a number after `c` or `cam`.
    """
    prefix, rest = _shared_folder(paths)
    words = Counter(path.partition("/")[0].lower() for path in rest if "/" in path)
    if sum(count for word, count in words.items() if word in SUBSET_WORDS) >= MOST * len(paths):
        prefix += "{subset}/"
    found = []
    for tail, fits in TAILS:
        seen, unmatched = read_paths(prefix + tail, paths)
        many = distinct(picture.identity for picture in seen)
        if len(seen) >= MOST * len(paths) and many > 1 and 2 * repeated(seen) >= many and fits(seen):
            found.append(Proposal(prefix + tail, seen, unmatched))
    return found


def _shared_folder(paths: Sequence[str]) -> tuple[str, list[str]]:
    """Return the folder in which most pictures lie, with a slash, and the paths in it from there on."""
    prefix, rest = "", list(paths)
    while rest:
        (name, count), *_ = Counter(path.partition("/")[0] if "/" in path else "" for path in rest).most_common(1)
        if not name or count < MOST * len(rest) or name.lower() in SUBSET_WORDS or CAMERA_NAME.fullmatch(name):
            break
        prefix, rest = f"{prefix}{name}/", [path.partition("/")[2] for path in rest if path.startswith(f"{name}/")]
    return prefix, rest


def _numbers(seen: Sequence[Seen]) -> bool:
    return all(picture.camera.isdecimal() for picture in seen)


def _names(seen: Sequence[Seen]) -> bool:
    return all(CAMERA_NAME.fullmatch(picture.camera) for picture in seen)


def _anything(seen: Sequence[Seen]) -> bool:
    return True


# Patterns of the part of a path that is below the shared folder and the subset's folder, and how cameras look in each.
TAILS: tuple[tuple[str, Callable[[Sequence[Seen]], bool]], ...] = (
    ("{identity}_cam{camera}*", _numbers),
    ("{identity}_c{camera}*", _numbers),
    ("{camera}/{identity}/*", _names),
    ("{identity}/{camera}/*", _names),
    ("{camera}/{identity}_*", _names),
    ("{camera}/{identity}.*", _names),
    ("{identity}/*cam{camera}*", _numbers),
    ("{identity}/c{camera}*", _numbers),
    ("{identity}/*_c{camera}*", _numbers),
    ("{identity}/*", _anything),
)
