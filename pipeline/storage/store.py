"""The contract of a store of files, and the store that is a folder.

A workspace keeps its files in a folder that every node sees, or under a prefix of an S3 bucket. A key is a relative
path with slashes, such as `stages/search/<key>/result.json`. A file appears at its key in one step, after its last
byte has been written: a writer that dies leaves nothing at the key."""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msinet.files import written_whole
from pipeline.errors import RequestError

PARTIAL = ".partial"  # the folder of a LocalStore with what is not whole yet; no key starts with it


class UnreadableError(RequestError, OSError):
    """A store cannot be read: when a command starts it is a wrong request, in its course something that may pass."""


@dataclass(frozen=True)
class Entry:
    """A file in a store.

    Args:
        key: Where it lies.
        size: Bytes.
        modified: When it was written, in seconds since the epoch by the store's own clock, which need not agree with
            this machine's; S3 tells whole seconds.
    """

    key: str
    size: int
    modified: float


class Store(Protocol):
    """Files by key. Everything raises OSError where the store fails, and ValueError for what is not a key.

    Attributes:
        address: What `open_store` opens this store by, on any node.
    """

    address: str

    def read(self, key: str) -> bytes | None:
        """What is at a key, None where nothing is."""

    def create(self, key: str, data: bytes) -> bool:
        """Write where nothing is.

        Args:
            key: Where to.
            data: Bytes that no other writer would write, such as a text with an id of this attempt: where an answer of
                the store was lost, they tell whether this writer was the first.

        Returns:
            Whether it was written; of any number of writers, one is told True. False where something was there, which
            stays as it is.
        """

    def replace(self, key: str, data: bytes) -> None:
        """Write whatever is there; a reader sees the old or the new."""

    def delete(self, key: str) -> None:
        """Remove what is at a key, if anything is."""

    def entries(self, folder: str) -> list[Entry]:
        """The files below a folder ("" for all), also in folders of it, sorted by key; none where it is not there."""

    def upload(self, path: Path, key: str) -> None:
        """Write a file of any size, whatever is at the key."""

    def download(self, key: str, path: Path) -> None:
        """Copy to a local file of any size, making its folder.

        Raises:
            FileNotFoundError: Nothing is at the key.
        """

    def folder(self, folder: str) -> Path | None:
        """Where the files below a folder ("" for all) can be read without a copy, there or not; None where nowhere."""


class LocalStore:
    """A folder on a file system that every node sees, with hard links.

    Args:
        root: The folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.address = str(self.root)

    def __repr__(self) -> str:
        return f"LocalStore({self.address!r})"

    def read(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def create(self, key: str, data: bytes) -> bool:
        try:
            # A hard link fails where the name exists: creation and check are one step, also between nodes.
            with written_whole(self._path(key), self.root / PARTIAL, place=os.link) as file:
                file.write(data)
        except FileExistsError:
            return False
        return True

    def replace(self, key: str, data: bytes) -> None:
        with written_whole(self._path(key), self.root / PARTIAL) as file:
            file.write(data)

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            self._path(key).unlink()

    def entries(self, folder: str) -> list[Entry]:
        found = []
        for parent, _, names in os.walk(self.folder(folder), onerror=_raise_unless_absent):
            key_parent = Path(parent).relative_to(self.root)
            if key_parent.parts[:1] == (PARTIAL,):
                continue
            for name in names:
                with contextlib.suppress(FileNotFoundError):  # deleted just now
                    status = os.stat(os.path.join(parent, name))
                    found.append(Entry((key_parent / name).as_posix(), status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: entry.key)

    def upload(self, path: Path, key: str) -> None:
        with path.open("rb") as source, written_whole(self._path(key), self.root / PARTIAL) as file:
            shutil.copyfileobj(source, file, 2**20)

    def download(self, key: str, path: Path) -> None:
        with self._path(key).open("rb") as source, written_whole(path) as file:
            shutil.copyfileobj(source, file, 2**20)

    def folder(self, folder: str) -> Path:
        return self._path(folder) if folder else self.root

    def _path(self, key: str) -> Path:
        return self.root / checked(key)


def checked(key: str) -> str:
    """A key that is one.

    Raises:
        ValueError: It is not a plain relative path with slashes.
    """
    parts = key.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or parts[0] == PARTIAL:
        raise ValueError(f"a key must be a plain relative path such as stages/search/result.json, but got {key!r}.")
    return key


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
