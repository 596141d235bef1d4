"""The storage of a study: a journal in a file, or a database."""

import json
import os
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from pipeline.errors import RequestError


def open_storage(place: str) -> BaseStorage:
    """Open the storage of a study.

    Args:
        place: Path of a journal, or URL of a database.

    Raises:
        RequestError: The storage cannot be opened. The message does not repeat the URL, which may contain a password.
    """
    _require_journal(place)
    try:
        if "://" in place:
            return RDBStorage(place)
        path = Path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(place, lock_obj=JournalFileSymlinkLock(place)))
    except Exception as error:  # of the file system, of SQLAlchemy, or of a missing database driver
        found = f"{error}" if isinstance(error, ImportError) else type(error).__name__
        raise RequestError(
            "a study must lie in a journal that can be written, or in a database that can be reached, but opening it "
            f"gave: {found} (tune.storage, MSINET_TUNE_STORAGE)."
        ) from None


def mend(place: str) -> None:
    """Remove half a line from the end of a journal, where a machine left it when it died.

    Otherwise the next entry would be appended to that half line. Nobody else may write to the journal meanwhile.

    Raises:
        RequestError: The file is no journal.
    """
    _require_journal(place)
    path = Path(place)
    if "://" not in place and path.is_file() and not (data := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)


def _require_journal(place: str) -> None:
    """Make sure that a file is a journal, because a study writes into it. The last line may be half written.

    Raises:
        RequestError: It is something else.
    """
    path = Path(place)
    if "://" in place or not os.path.lexists(path) or (os.path.isfile(path) and _is_journal(path)):
        return
    raise RequestError(
        f"a study's journal must be a file that a study has written, but {path} is something else or damaged "
        "(tune.storage, MSINET_TUNE_STORAGE)."
    )


def _is_journal(path: Path) -> bool:
    begin = b'{"op_code":'
    with path.open("rb") as file:
        return all(_is_entry(line) if line.endswith(b"\n") else begin.startswith(line[: len(begin)]) for line in file)


def _is_entry(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False
