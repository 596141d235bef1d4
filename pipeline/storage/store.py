"""The contract of a store of files, and the store that is a folder.

A workspace keeps its files in a folder that every node sees, or under a prefix of an S3 bucket. A key is a relative
path with slashes, such as `stages/search/<key>/result.json`. A file appears at its key in one step, after its last
byte has been written: a writer that dies leaves nothing at the key. What is not a regular file, such as a FIFO or a
device, counts as absent, because reading it might never end.
"""

import contextlib
import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msinet.files import written_whole
from pipeline.errors import RequestError

PARTIAL = ".partial"  # folder of a LocalStore for files that are not complete yet; no key starts with it


# Errors of a path at which there is no file: a part of it is missing, is no folder, or is a link to itself.
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class UnreadableError(RequestError, OSError):
    """A store does not do what it must. For a command, the request is wrong; for a stage, it may pass by itself."""


@dataclass(frozen=True)
class Entry:
    """A file in a store.

    Args:
        key: Key of the file.
        size: Size in bytes.
        modified: When it was written, in seconds since the epoch by the store's own clock, which may differ from this
            machine's clock. S3 gives whole seconds.
    """

    key: str
    size: int
    modified: float


class Store(Protocol):
    """Files by key. Every method raises OSError if the store fails, and ValueError if a key is not valid.

    Attributes:
        address: Address from which `open_store` opens this store on any node.
    """

    address: str

    def read(self, key: str) -> bytes | None:
        """Return the content of the file at a key, or None if there is none."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a file, unless there is one at the key.

        Args:
            key: Key of the file.
            data: Bytes that no other writer would write, such as a text with an id of this attempt. If an answer of the
                store is lost, these bytes show whether this writer was the first.

        Returns:
            Whether the file was written. Of several writers, exactly one gets True. False means that there was a file,
            which stays as it is.
        """

    def replace(self, key: str, data: bytes) -> None:
        """Write a file and replace the one at the key, if any. A reader sees the old content or the new."""

    def delete(self, key: str) -> None:
        """Remove the file at a key, if there is one."""

    def entries(self, folder: str) -> list[Entry]:
        """Return the files below a folder ("" for all) at any depth, sorted by key; none if the folder is missing."""

    def holds(self, folder: str) -> bool:
        """Return whether there is a file below a folder ("" for all), at any depth. Do not list all files."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a local file of any size to a key, and replace the file there, if any."""

    def download(self, key: str, path: Path) -> None:
        """Copy the file at a key, of any size, to a local path, and make the folder of that path.

        Raises:
            FileNotFoundError: Nothing is at the key.
        """

    def folder(self, folder: str) -> Path | None:
        """Return where the files below a folder ("" for all) can be read without a copy, or None if they cannot be.

        The folder need not exist.
        """

    def expect(self, key: str) -> None:
        """From now on, raise OSError wherever the file at a key is not there, because the store has then vanished."""

    def require(self) -> None:
        """Raise OSError if the expected file is not there. Every method that misses or writes a file does this first.

        A folder vanishes when its file system is no longer mounted. A bucket that has vanished answers with an error.
        """


class LocalStore:
    """A folder on a file system that has hard links and that every node sees.

    Args:
        root: The folder; the first write makes it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.address = str(self.root)
        self._expected: Path | None = None

    def __repr__(self) -> str:
        return f"LocalStore({self.address!r})"

    def read(self, key: str) -> bytes | None:
        path = self._path(key)
        if _is_file(path):
            with contextlib.suppress(FileNotFoundError):  # deleted just now
                return path.read_bytes()
        self.require()
        return None

    def create(self, key: str, data: bytes) -> bool:
        self.require()
        try:
            # Making a hard link fails if the name exists, so check and creation are one step, also between nodes.
            with written_whole(self._path(key), self.root / PARTIAL, place=os.link) as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        self.require()
        with written_whole(self._path(key), self.root / PARTIAL) as file:
            file.write(data)

    def delete(self, key: str) -> None:
        path = self._path(key)
        self.require()
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            path.unlink()

    def entries(self, folder: str) -> list[Entry]:
        found = []
        for parent, _, names in os.walk(self.folder(folder), onerror=_raise_unless_absent):
            key_parent = Path(parent).relative_to(self.root)
            if key_parent.parts[:1] == (PARTIAL,):
                continue
            for name in names:
                if status := _status(os.path.join(parent, name)):
                    found.append(Entry((key_parent / name).as_posix(), status.st_size, status.st_mtime))
        self.require()
        return sorted(found, key=lambda entry: entry.key)

    def holds(self, folder: str) -> bool:
        walk = os.walk(self.folder(folder), onerror=_raise_unless_absent)
        return any(names and Path(parent).relative_to(self.root).parts[:1] != (PARTIAL,) for parent, _, names in walk)

    def upload(self, path: Path, key: str) -> None:
        self.require()
        with path.open("rb") as source, written_whole(self._path(key), self.root / PARTIAL) as file:
            shutil.copyfileobj(source, file, 2**20)

    def download(self, key: str, path: Path) -> None:
        source = self._path(key)
        if not _is_file(source):
            self.require()
            raise FileNotFoundError(f"nothing is at {source}")
        with source.open("rb") as opened, written_whole(path) as file:
            shutil.copyfileobj(opened, file, 2**20)

    def folder(self, folder: str) -> Path:
        return self._path(folder) if folder else self.root

    def expect(self, key: str) -> None:
        self._expected = self._path(key)

    def require(self) -> None:
        if self._expected is not None and not _is_file(self._expected):
            raise UnreadableError(
                f"the folder {self.root} must contain {self._expected.name}, but does not; it may not be mounted"
            )

    def _path(self, key: str) -> Path:
        return self.root / checked(key)


def checked(key: str) -> str:
    """Return a key if it is valid.

    Raises:
        ValueError: The key is not a plain relative path with slashes.
    """
    parts = key.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or parts[0] == PARTIAL:
        raise ValueError(f"a key must be a plain relative path such as stages/search/result.json, but got {key!r}.")
    return key


def _is_file(path: Path) -> bool:
    return _status(path) is not None


def _status(path: str | Path) -> os.stat_result | None:
    """Return the status of a regular file, or None if there is none at a path."""
    try:
        status = os.stat(path)
    except OSError as error:
        _raise_unless_absent(error)
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _raise_unless_absent(error: OSError) -> None:
    if error.errno not in ABSENT:
        raise error
