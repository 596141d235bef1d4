"""Look at a folder of pictures: what it holds, and what its names do not say."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from msinet.data.dataset import DataError, Dataset, described
from msinet.data.folders.layouts import Proposal, known_layouts, proposals
from msinet.data.folders.patterns import Seen, distinct, picture_paths, read_paths
from msinet.data.folders.subsets import Divided, divide
from msinet.data.names import printable
from msinet.data.pictures import decode, read_picture
from msinet.data.readers import READERS, read
from msinet.data.readers.manifest import FILES
from msinet.data.records import Record
from msinet.recipes import PERSON_SIZE, VEHICLE_SIZE
from pipeline.errors import RequestError

LISTED = 5  # names that a line shows at most
SAMPLED = 200  # pictures that are decoded to learn their sizes
SLENDER = 1.5  # height over width from which on pictures get the size of persons


@dataclass(frozen=True)
class Look:
    """What a folder holds.

    Attributes:
        kind: The layout, a name of `READERS`.
        root: The folder.
        lines: What to tell the user, in order.
        divided: The pictures of a manifest that must be written, or None if the layout is known.
        dataset: What the reader of a known layout found, or None.
    """

    kind: str
    root: Path
    lines: list[str] = field(default_factory=list)
    divided: Divided | None = None
    dataset: Dataset | None = None


def look(root: Path, pattern: str | None) -> Look:
    """Find out which layout a folder has, or which identity and camera its paths name.

    Args:
        root: The folder.
        pattern: Pattern of the paths (`msinet.data.folders.patterns`), or None to find the layout by itself.

    Raises:
        RequestError: There are no pictures, or nothing says which identity they show. The message shows how to say it.
    """
    try:
        if pattern is None:
            if any((root / name).is_file() for name in FILES):
                return _known(root, "manifest", read("manifest", root), [])
            if found := known_layouts(root):
                (kind, dataset), *others = found
                return _known(root, kind, dataset, [name for name, _ in others])
        return _own(root, pattern)
    except DataError as error:
        raise RequestError(f"{error} (FOLDER{', --pattern' if pattern else ''})") from None


def _known(root: Path, kind: str, dataset: Dataset, others: Sequence[str]) -> Look:
    told = "lists its pictures in a manifest" if kind == "manifest" else f"has the layout {kind}"
    lines = [f"{root} {told}: {len(dataset.records):,} pictures."]
    if others:
        lines.append(
            f"It could also be read as {' or '.join(others)}: change `kind` in the experiment if that is meant."
        )
    if dataset.left_out:
        lines.append(f"left out: {described(dataset.left_out)}")
    return Look(kind, root, lines, dataset=dataset)


def _own(root: Path, pattern: str | None) -> Look:
    paths, other_files = picture_paths(root)
    if not paths:
        near = f" It holds {len(other_files):,} other files{_some(other_files)}." if other_files else ""
        raise RequestError(f"a folder must hold pictures (.jpg, .jpeg, .png), but {root} has none.{near} (FOLDER)")
    if pattern is None:
        found = proposals(paths)
        if not found:
            raise RequestError(_ask(root, paths))
        chosen, *others = found
    else:
        chosen, others = Proposal(pattern, *read_paths(pattern, paths)), []
        if not chosen.seen:
            raise RequestError(
                f"some of the {len(paths):,} pictures must fit the pattern {pattern!r}, but none does{_some(paths)} "
                "(--pattern)."
            )
    seen, divided = chosen.seen, divide(chosen.seen)
    cameras = distinct(picture.camera for picture in seen)
    lines = [
        f"{root} holds {len(paths):,} pictures. Pattern: {chosen.pattern}",
        f"{len(seen):,} fit it: {distinct(p.identity for p in seen):,} identities, {cameras or 'no'} cameras. Such as:",
        *(f"  {printable(p.path)}: identity {p.identity}, camera {p.camera or 'unknown'}" for p in _spread(seen)),
    ]
    left = [("do not fit", chosen.unmatched), ("lie in a folder that names no known subset", divided.unknown)]
    lines += [f"{len(names):,} pictures {why} and are left out{_some(names)}" for why, names in left if names]
    if other_files:
        lines.append(f"{len(other_files):,} files are no pictures and are left out{_some(other_files)}")
    if others:
        fits = ", ".join(other.pattern for other in others)
        lines.append(f"These patterns fit too, and --pattern chooses one: {fits}")
    lines += divided.chosen
    if not cameras:
        lines.append(
            "No names say which camera took a picture. Scores then count pictures of the same camera as matches too, "
            "and are higher than on other data."
        )
    return Look("manifest", root, lines, divided=divided)


def _ask(root: Path, paths: Sequence[str]) -> str:
    return (
        f"no name says which identity and camera the {len(paths):,} pictures in {root} show{_some(paths)}. "
        "Give a pattern, such as --pattern '{camera}/{identity}_*' or --pattern '{subset}/{identity}/*_c{camera}*' "
        "(--pattern)."
    )


def _spread(items: Sequence[Seen], count: int = 3) -> list[Seen]:
    """Return a few pictures from all parts of a list."""
    return list(items[:: max(1, len(items) // count)][:count])


def _some(names: Sequence[str]) -> str:
    """Return the first names in brackets."""
    more = ", …" if len(names) > LISTED else ""
    return f" ({', '.join(map(printable, names[:LISTED]))}{more})"


@dataclass(frozen=True)
class Sizes:
    """The sizes of some pictures of a dataset.

    Attributes:
        median_HW: Median height and width in pixels.
        read: Number of pictures that were decoded.
        broken: What is wrong with those that cannot be decoded.
    """

    median_HW: tuple[int, int]
    read: int
    broken: list[str]

    def training_size(self, kind: str) -> tuple[int, int]:
        """Return (height, width) of the pictures for networks: the layout's own, or the paper's that fits better."""
        slender = self.median_HW[0] >= SLENDER * self.median_HW[1]
        return READERS[kind].image_size or (PERSON_SIZE if slender else VEHICLE_SIZE)


def sizes_of(root: Path, records: Sequence[Record]) -> Sizes:
    """Return the sizes of at most `SAMPLED` pictures from all parts of a dataset.

    Raises:
        RequestError: None of them can be decoded.
    """
    found, broken = [], []
    for record in records[:: max(1, -(-len(records) // SAMPLED))]:
        try:
            found.append(decode(read_picture(root, record.path), record.path).size)
        except DataError as error:
            broken.append(str(error))
    if not found:
        raise RequestError(f"the pictures in {root} must be readable, but {broken[0]} (FOLDER)")
    height, width = (int(median(size[axis] for size in found)) for axis in (1, 0))
    return Sizes((height, width), len(found), broken)
