"""The workspace: all results, and the only record of what is done.

    stages/<kind>/<key>/attempts/<id>/   files of one attempt, in its own folder, so that two writers never mix
    stages/<kind>/<key>/leases/<n>.json  who works at the stage (`pipeline.storage.leases`)
    stages/<kind>/<key>/result.json      names the attempt that counts; written last, whole, and only if absent
    workspace.txt                        the marker of a workspace, which is written once

A stage without `result.json` is not done, even if other files are there. Published files are never overwritten. The
workspace lies in a store (`pipeline.storage.store`). If the store is not a folder, an attempt writes its files to this
machine and then uploads them.
"""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from pipeline.errors import RequestError
from pipeline.results import Failure, Result
from pipeline.storage.disk import sync, write_through
from pipeline.storage.documents import encoded, read_failure, read_result
from pipeline.storage.open import locate, open_store
from pipeline.storage.store import Entry, UnreadableError

RESULT, FAILURE, CHECKPOINT = "result.json", "failure.json", "checkpoint.pt"
FINGERPRINT = re.compile("[0-9a-f]{64}")
MARKER = "workspace.txt"
MARK = b"This is a workspace of msinet. Do not delete this file: a run that does not find it waits until it is back.\n"


@dataclass(frozen=True)
class Attempt:
    """One try at a stage.

    Attributes:
        kind, key: Kind and key of the stage.
        id: Unique id of the attempt.
        folder: Folder of the attempt, on this machine or where every node sees it.
    """

    kind: str
    key: str
    id: str
    folder: Path

    @property
    def place(self) -> str:
        """Return the key of the attempt's folder in the store."""
        return f"{stage_place(self.kind, self.key)}/attempts/{self.id}"


def study_place(name: str) -> str:
    """Return the key of the folder for everything about an experiment's outer loop."""
    return f"tune/{name}"


def stage_place(kind: str, key: str) -> str:
    """Return the key of a stage's folder in the store."""
    return f"stages/{kind}/{key}"


class Workspace:
    """A workspace in a store that every node reaches.

    Args:
        address: A folder or `s3://bucket/prefix`.
        made: Whether somebody has made the workspace before. If its marker is missing now, it has vanished: its file
            system may not be mounted. Reading and writing then raise OSError, and nothing is written.

    Attributes:
        store: Store that holds the workspace.
        root: Folder of the workspace; None if the store is not a folder.
        cache: Folder for copies on this machine, which any stage may reuse and anybody may delete.

    Raises:
        RequestError: The address is neither a folder nor on S3.
        UnreadableError: The store at the address cannot be read.
    """

    def __init__(self, address: str | Path, *, made: bool = False) -> None:
        self.store = open_store(address)
        self._made = made
        if made:
            self.store.expect(MARKER)
        self.address = self.store.address
        self.root = self.store.folder("")
        machine_cache = os.environ.get("MSINET_CACHE") or platformdirs.user_cache_path("msinet")
        self.cache = self.root / "cache" if self.root else Path(machine_cache)

    @property
    def exists(self) -> bool:
        """Return whether a run, a check or an outer loop has written anything here."""
        return bool(self.store.read(MARKER)) or any(map(self.store.holds, ("stages", "fingerprints", "tune")))

    def make(self) -> None:
        """Write the marker, unless it is there. From now on a missing marker means that the workspace has vanished.

        Raises:
            UnreadableError: The workspace cannot be written to.
        """
        if not self._made:
            try:
                self.store.create(MARKER, MARK)
            except OSError as error:
                raise UnreadableError(f"the workspace must be writable, but {error} (--workspace).") from None
            self.store.expect(MARKER)
            self._made = True

    def require_existing(self) -> None:
        """Make sure that the workspace exists, for a verb that only reads.

        Raises:
            RequestError: There is no workspace at the address.
        """
        if not self.exists:
            raise RequestError(
                f"there must be a workspace at {self.address}, but there is none. Check the address, or make a "
                "workspace with `run` (--workspace, MSINET_WORKSPACE)."
            )

    def result(self, kind: str, key: str) -> Result | None:
        """Return the published result of a stage, or None while the stage is not done."""
        place = f"{stage_place(kind, key)}/{RESULT}"
        return read_result(self.store.read(place), f"{self.address}/{place}", kind, key)

    def all_results(self, kind: str) -> list[Result]:
        """Return every published result of a kind, the newest first."""
        parts = [entry.key.split("/") for entry in self.store.entries(f"stages/{kind}")]
        keys = [part[2] for part in parts if len(part) == 4 and part[3] == RESULT]
        found = [result for key in keys if (result := self.result(kind, key))]
        return sorted(found, key=lambda result: result["started"], reverse=True)

    def files(self, result: Result) -> Path:
        """Return a folder with a published result's files; copy them to this machine if the store is not a folder."""
        place = f"{stage_place(result['kind'], result['key'])}/attempts/{result['attempt']}"
        return self.store.folder(place) or self._copied(place)

    def file(self, result: Result, name: str) -> Path | None:
        """Return one file of a published result, copied like those of `files`, or None if no file has that name."""
        if self.root is not None:
            path = self.files(result) / name
            return path if path.is_file() else None
        key = f"{stage_place(result['kind'], result['key'])}/attempts/{result['attempt']}/{name}"
        copy = self.cache / "files" / key
        if not copy.is_file():
            with contextlib.suppress(FileNotFoundError):
                self.store.download(key, copy)
        return copy if copy.is_file() else None

    def nearby(self, result: Result, names: Collection[str]) -> Path | None:
        """Return a folder with these files of a published result, or None if this machine would have to copy some."""
        place = f"{stage_place(result['kind'], result['key'])}/attempts/{result['attempt']}"
        folder = self.store.folder(place) or self.cache / place
        return folder if all((folder / name).is_file() for name in names) else None

    def location(self, result: Result) -> str:
        """Return where a published result's files lie, as a text for people."""
        return f"{self.address}/{stage_place(result['kind'], result['key'])}/attempts/{result['attempt']}"

    def begin(self, kind: str, key: str) -> Attempt:
        """Open an attempt at a stage."""
        attempt_id = uuid.uuid4().hex[:12]
        place = f"{stage_place(kind, key)}/attempts/{attempt_id}"
        folder = self.store.folder(place) or self.cache / "attempts" / attempt_id
        self.store.require()
        folder.mkdir(parents=True)
        return Attempt(kind, key, attempt_id, folder)

    def publish(self, attempt: Attempt, result: Result, files: Collection[str] = ()) -> Result:
        """Make an attempt the stage's result, unless another was first.

        Args:
            attempt: Attempt that has written its files.
            result: Values of the result.
            files: Names of the files without which there is no result.

        Returns:
            The result that counts from now on: this one, or the one published before.

        Raises:
            OSError: A file is missing or empty, for example because somebody has deleted the cache of this machine.
        """
        if self.root is None:
            for path in sorted(attempt.folder.rglob("*")):
                if path.is_file() and path.name != CHECKPOINT:
                    self.store.upload(path, f"{attempt.place}/{path.relative_to(attempt.folder).as_posix()}")
        else:
            write_through(attempt.folder, self.root)
        sizes = {entry.key.removeprefix(f"{attempt.place}/"): entry.size for entry in self.store.entries(attempt.place)}
        if lacking := [name for name in files if not sizes.get(name)]:
            raise OSError(
                f"a result must have all of its files, but {attempt.folder} has lost {', '.join(lacking[:5])}."
            )
        full = {**result, "kind": attempt.kind, "key": attempt.key, "attempt": attempt.id}
        place = f"{stage_place(attempt.kind, attempt.key)}/{RESULT}"
        if not self.store.create(place, encoded(full)) and self.result(attempt.kind, attempt.key) is None:
            self.store.replace(place, encoded(full))  # the file that was there holds no result
        if self.root is not None:
            sync(self.root / stage_place(attempt.kind, attempt.key))  # before the states are deleted
        published = self.result(attempt.kind, attempt.key)
        if published is None:
            raise OSError(f"a result must stay where it was written, but {self.address}/{place} holds none.")
        self._clean_up(attempt)
        return published

    def record_failure(self, attempt: Attempt, failure: Failure) -> None:
        """Write down what went wrong in an attempt."""
        self.store.replace(f"{attempt.place}/{FAILURE}", encoded(failure.to_json()))
        if self.root is None:
            shutil.rmtree(attempt.folder, ignore_errors=True)

    def last_failure(self, kind: str, key: str) -> Failure | None:
        """Return the newest failure of a stage, or None if it never failed. Skip files that hold no failure."""
        entries = self._of_attempts(kind, key, FAILURE)
        read = (read_failure(self.store.read(entry.key), f"{self.address}/{entry.key}") for entry in entries)
        return next(filter(None, read), None)

    def save_checkpoint(self, attempt: Attempt, write: Callable[[Path], None]) -> None:
        """Save the state of an attempt.

        Args:
            attempt: Attempt whose state is saved.
            write: Function that writes the state to a given path, whole or not at all.
        """
        path = attempt.folder / CHECKPOINT
        self.store.require()
        write(path)
        if self.root is None:
            self.store.upload(path, f"{attempt.place}/{CHECKPOINT}")

    def checkpoints(self, kind: str, key: str) -> list[str]:
        """Return the keys in the store of all states that attempts at a stage saved, the newest first."""
        return [entry.key for entry in self._of_attempts(kind, key, CHECKPOINT)]

    @contextlib.contextmanager
    def checkpoint(self, place: str) -> Iterator[Path]:
        """Yield a saved state as a file on this machine. If the file is a copy, it is deleted afterwards.

        Raises:
            FileNotFoundError: The attempt has just ended, and its state is deleted.
        """
        if self.root is not None:
            yield self.root / place
            return
        copy = self.cache / "checkpoints" / uuid.uuid4().hex
        self.store.download(place, copy)
        try:
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def newest_checkpoint(self, kind: str, key: str) -> float:
        """Return when any attempt at a stage last saved its state, by the store's clock; 0 if none has."""
        return max((entry.modified for entry in self._of_attempts(kind, key, CHECKPOINT)), default=0.0)

    def fingerprint(self, signature: str) -> str | None:
        """Return the fingerprint that is kept for a disk dataset with this signature, or None if none is kept."""
        found = (self.store.read(f"fingerprints/{signature}") or b"").decode(errors="replace")
        return found if FINGERPRINT.fullmatch(found) else None  # a damaged file counts as none

    def keep_fingerprint(self, signature: str, fingerprint: str) -> None:
        """Keep the fingerprint of a checked dataset under the dataset's signature.

        If it cannot be written, nothing is lost: the dataset is checked again next time.
        """
        with contextlib.suppress(OSError):
            self.store.replace(f"fingerprints/{signature}", fingerprint.encode())

    def forget_fingerprint(self, signature: str) -> None:
        """Delete the fingerprint of a dataset that has changed, although its signature has not."""
        self.store.delete(f"fingerprints/{signature}")

    def _clean_up(self, attempt: Attempt) -> None:
        """Delete the saved states of a stage that is done, and the attempt's own copy on this machine."""
        for entry in self._of_attempts(attempt.kind, attempt.key, CHECKPOINT):
            self.store.delete(entry.key)
        if self.root is None:
            shutil.rmtree(attempt.folder, ignore_errors=True)

    def _of_attempts(self, kind: str, key: str, name: str) -> list[Entry]:
        """Return the files of one name in the folders of all attempts at a stage, the newest first."""
        entries = self.store.entries(f"{stage_place(kind, key)}/attempts")
        chosen = [entry for entry in entries if entry.key.rpartition("/")[2] == name]
        return sorted(chosen, key=lambda entry: entry.modified, reverse=True)

    def _copied(self, place: str) -> Path:
        """Copy the files below a place that this machine does not have, or no longer has; return their folder."""
        copies = self.cache / place
        for entry in self.store.entries(place):
            copy = copies / entry.key.removeprefix(f"{place}/")
            if not (copy.is_file() and copy.stat().st_size == entry.size):
                self.store.download(entry.key, copy)
        return copies


def open_workspace(option: str | None) -> Workspace:
    """Return the workspace that `locate` finds."""
    return Workspace(locate(option))
