"""Helpers for readers of published layouts: find the folder, and make records from file names or from lists."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msinet.data.dataset import OWN_FOLDER, OWN_NAME, DataError, described
from msinet.data.names import PICTURES, is_picture, similar_name
from msinet.data.records import Record

ENDING = "(?:" + "|".join(map(re.escape, PICTURES)) + ")"  # for patterns of file names
OTHER_FORMATS = (".bmp", ".gif", ".tif", ".tiff", ".webp")

LeftOut = dict[str, list[str]]  # names of files, by reason


@dataclass(frozen=True)
class Layout:
    """The files and folders of a dataset on disk.

    Attributes:
        name: Name for messages.
        folder: Name of the dataset's folder in its archive.
        contents: Files and folders that must be in this folder.
    """

    name: str
    folder: str
    contents: tuple[str, ...]

    def missing(self, folder: Path) -> list[str]:
        """Return the entries of `contents` that are not in `folder`."""
        return [item for item in self.contents if not os.path.exists(folder / item)]


def find_folder(root: Path, *layouts: Layout) -> tuple[Layout, Path]:
    """Find which of the layouts is at `root`, and the dataset's folder.

    The folder is `root`, or the folder in it that is named `Layout.folder`.

    Raises:
        DataError: There is more than one layout or none. In the second case the message says what is missing, and
            where the dataset is if it was found near `root`.
    """
    found = [(layout, folder) for layout in layouts if (folder := _folder_of(layout, root))]
    if len(found) == 1:
        return found[0]
    if found:
        places = " and ".join(f"{layout.name} at {folder}" for layout, folder in found)
        raise DataError(f"a dataset's path must lead to one dataset, but {root} leads to {places}.")
    wanted = " or ".join(f"{', '.join(layout.contents)} ({layout.name})" for layout in layouts)
    looked_in = [root, *(root / layout.folder for layout in layouts)]
    best, place = min(
        ((layout, folder) for layout in layouts for folder in (root, root / layout.folder)),
        key=lambda at: len(at[0].missing(at[1])),
    )
    folders = " or ".join(layout.folder for layout in layouts)
    hint = _elsewhere(root, layouts) or _spelled(place, best)
    hint = hint or f"set the dataset's path to the folder {folders} itself or to its parent"
    raise DataError(
        f"a dataset's folder must hold {wanted}, but neither {' nor '.join(map(str, looked_in))} has all of them "
        f"({place} lacks {', '.join(best.missing(place))}); {hint}."
    )


def pictures_by_name(
    folder: Path, subsets: Mapping[str, str], pattern: re.Pattern[str], *, example: str, junk: int | None = None
) -> tuple[tuple[Record, ...], LeftOut]:
    """Make records of pictures whose names contain identity and camera.

    If a folder has the same picture with several endings, the one with the first ending of `PICTURES` counts.

    Args:
        folder: Folder of the dataset.
        subsets: Name of each folder of pictures, and the subset that it contains.
        pattern: Pattern of a file name; its first group is the identity, its second the camera.
        example: An example of a file name, for the message.
        junk: Identity of the pictures that are left out.

    Returns:
        The records sorted by path, and the files that were left out, by reason.

    Raises:
        DataError: A folder is not readable, or no picture has such a name.
    """
    records: list[Record] = []
    left_out: LeftOut = {}
    for name, subset in subsets.items():
        files, below = _entries(folder, name)
        for path in below:
            left_out.setdefault(OWN_FOLDER if is_picture(path) else "not a picture", []).append(path)
        chosen = _by_stem(files)
        for file in files:
            if not (match := pattern.fullmatch(file)):
                is_any_picture = file.lower().endswith((*PICTURES, *OTHER_FORMATS))
                reason = OWN_NAME if is_any_picture else "not a picture"
            elif _ending(file) != _ending(chosen[_stem(file)]):
                reason = "there with another ending too"
            elif (pid := int(match[1])) == junk:
                reason = f"junk (identity {junk})"
            else:
                records.append(Record(f"{name}/{file}", pid, int(match[2]), subset))
                continue
            left_out.setdefault(reason, []).append(f"{name}/{file}")
    if not records:
        raise DataError(
            f"a dataset must hold images such as {example} ({', '.join(PICTURES)}) directly in {', '.join(subsets)}, "
            f"but {folder} has none; left out: {described(left_out) or 'nothing'}."
        )
    return tuple(sorted(records, key=_path)), left_out


def pictures_by_list(
    folder: Path, subfolders: Sequence[str], listed: Iterable[tuple[str, Record]]
) -> tuple[tuple[Record, ...], LeftOut]:
    """Return the records of listed pictures. A picture that is missing on disk is kept, so that `check` reports it.

    Args:
        folder: Folder of the dataset.
        subfolders: Names of the folders of pictures; files in them that are not listed are left out.
        listed: For each line of the lists, its place (for messages) and its record.

    Returns:
        The records sorted by path, and the files that were left out, by reason.

    Raises:
        DataError: The lists are empty, or list a picture twice with different records.
    """
    first_seen: dict[str, tuple[str, Record]] = {}
    left_out: LeftOut = {}
    for where, record in listed:
        before, same = first_seen.setdefault(record.path, (where, record))
        if same != record:
            raise DataError(f"{where}: every image must be listed once, but {record.path} is also listed at {before}.")
        if before != where:
            left_out.setdefault("listed again", []).append(record.path)
    if not first_seen:
        raise DataError(f"a dataset's lists must name at least one image, but those in {folder} name none.")
    for file in sorted(file for name in subfolders for file in _files(folder, name)):
        if file not in first_seen:
            left_out.setdefault("in no list that is read" if is_picture(file) else "not a picture", []).append(file)
    return tuple(sorted((record for _, record in first_seen.values()), key=_path)), left_out


def file_names(folder: Path) -> dict[str, str]:
    """Return the name of each picture in a folder, by its name without the ending.

    If there is one with several endings, that with the first ending of `PICTURES` counts.

    Raises:
        DataError: The folder is not readable.
    """
    return _by_stem(_entries(folder.parent, folder.name)[0])


def list_lines(file: Path, pattern: re.Pattern[str], *, example: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the place (for messages) and the match of each line of a list that is not empty.

    Raises:
        DataError: The file is no regular file with readable text, or a line does not match `pattern`.
    """
    if not file.is_file():  # reading a pipe could wait for ever, and reading a device could have no end
        raise DataError(f"a list of images must be a regular file, but {file} is another kind of file.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"a list of images must be readable text, but {file} is not: {error}.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not (line := line.strip()):
            continue
        where = f"{file}, line {number}"
        if not (match := pattern.fullmatch(line)):
            raise DataError(f"{where}: a line must look like {example!r}, but got {line!r}.")
        yield where, match


def _folder_of(layout: Layout, root: Path) -> Path | None:
    return next((folder for folder in (root, root / layout.folder) if not layout.missing(folder)), None)


def _elsewhere(root: Path, layouts: Sequence[Layout]) -> str | None:
    """Return a hint if the path leads to a wrong level near the dataset, otherwise None."""
    above = root.resolve().parents[:2]
    for start in (*above, *sorted(root.glob("*"))):
        for layout in layouts:
            if folder := _folder_of(layout, start):
                where = "further up" if folder in above else "beside it" if start in above else "further down"
                return f"{layout.name} lies {where}: set the dataset's path to {folder}"
    return None


def _spelled(folder: Path, layout: Layout) -> str | None:
    """Return a hint if an entry of the layout that is missing is there under a similar name, otherwise None."""
    for item in layout.missing(folder):
        if near := similar_name(folder / os.path.dirname(item), os.path.basename(item)):
            return f"rename {folder / os.path.dirname(item) / near} to {os.path.basename(item)}"
    return None


def _entries(folder: Path, name: str) -> tuple[list[str], list[str]]:
    """Return the sorted names of the files in a folder, and the sorted paths of the files in its subfolders."""
    try:
        entries = sorted(os.scandir(folder / name), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"a folder must be readable, but {folder / name} is not: {error.strerror}.") from error
    files = [entry.name for entry in entries if not entry.is_dir()]
    below = (path for entry in entries if entry.is_dir() for path in _files(folder, f"{name}/{entry.name}"))
    return files, sorted(below)


def _files(folder: Path, name: str) -> Iterator[str]:
    for directory, _, files in os.walk(folder / name):
        prefix = Path(directory).relative_to(folder).as_posix()
        yield from (f"{prefix}/{file}" for file in files)


def _by_stem(files: Iterable[str]) -> dict[str, str]:
    """Return the picture that counts for each name without ending."""
    pictures = sorted(filter(is_picture, files))  # .JPG comes before .jpg
    pictures.sort(key=lambda file: PICTURES.index(_ending(file)), reverse=True)
    return {_stem(file): file for file in pictures}


def _stem(file: str) -> str:
    return os.path.splitext(file)[0]


def _ending(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _path(record: Record) -> str:
    return record.path
