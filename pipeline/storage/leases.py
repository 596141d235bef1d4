"""Leases: a lease says who works at a stage, and its holder renews it while it lives.

Leases avoid double work; they do not guarantee it. Two attempts at one stage are harmless, because only the first to
publish counts. Each lease is a file of its own, `leases/<n>.json`, and the lease with the highest number counts. A
driver takes a stage over by creating the file with the next number; if several drivers try, one of them succeeds. A
former holder that still renews its old file changes nothing. The age of a lease is judged by the wall clocks of the
machines, which a cluster keeps close. A wrong judgement costs double work.

The files stay. Each says when its holder took the lease and when it last wrote to it, so the files of a stage tell how
long attempts lasted, also those that were killed: then up to a quarter of the lease's length is missing at the end.

Other files may lie among the leases, such as the `.nfs…` of a file system or the `…_$folder$` of a console. A file that
does not hold a lease counts as none.
"""

import contextlib
import json
import math
import re
import threading
import time
from types import TracebackType

from msinet.files import json_text
from pipeline.storage.store import Store

NAME = re.compile(r"([1-9][0-9]{0,99})\.json")  # name of a lease's file


class Lease:
    """A lease that is held until the end of a `with` block.

    Args:
        store: Store of the lease's file.
        place: Folder of the leases in the store.
        number: Number of this lease.
        holder: Who holds the lease.
        seconds: How long the lease is valid without being renewed.
    """

    def __init__(self, store: Store, place: str, number: int, holder: str, seconds: float) -> None:
        self._store, self._key = store, f"{place}/{number}.json"
        self._holder, self._seconds, self._since = holder, seconds, time.time()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._write(until=0.0)

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / 4):
            self._write(until=time.time() + self._seconds)

    def _write(self, until: float) -> None:
        # The store may answer again before the lease runs out. Until then nobody can publish a result either.
        with contextlib.suppress(OSError):
            self._store.replace(self._key, self.content(until))

    def content(self, until: float) -> bytes:
        """Return the content of the lease's file if it is valid until some time, in seconds since the epoch."""
        now = {"since": self._since, "last": time.time()}
        return json_text({"holder": self._holder, "until": until, "seconds": self._seconds, **now}).encode()


def take(store: Store, place: str, holder: str, seconds: float) -> Lease | None:
    """Lease a stage.

    Args:
        store: Store of the leases.
        place: Folder of this stage's leases in the store.
        holder: Who asks. A holder that has the lease already gets a new one at once.
        seconds: How long the lease is valid without being renewed.

    Returns:
        The lease, or None while another holder has one.
    """
    number, found = _newest(store, place)
    if found is not None and found != holder:
        return None
    lease = Lease(store, place, number + 1, holder, seconds)
    mine = lease.content(until=time.time() + seconds)
    return lease if store.create(f"{place}/{number + 1}.json", mine) else None


def holder_of(store: Store, place: str) -> str | None:
    """Return who holds the lease of a stage now, or None if nobody does."""
    return _newest(store, place)[1]


def _newest(store: Store, place: str) -> tuple[int, str | None]:
    names = [entry.key.removeprefix(f"{place}/") for entry in store.entries(place)]
    number = max((int(found[1]) for name in names if (found := NAME.fullmatch(name))), default=0)
    return number, _holder(store.read(f"{place}/{number}.json")) if number else None


def _holder(data: bytes | None) -> str | None:
    """Return who holds a lease with this content now. Nobody holds a lease that has run out or is damaged."""
    try:
        content = json.loads(data or b"")
        holder, left, seconds = content["holder"], content["until"] - time.time(), content["seconds"]
        # A lease is renewed to end `seconds` later. If it ends far later, the holder's clock is wrong by more than
        # `seconds`, and the lease would last as long as the clock is ahead.
        valid = isinstance(holder, str) and math.isfinite(seconds) and 0 < left <= 2 * seconds
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return holder if valid else None


def span_of(data: bytes | None) -> tuple[float, float] | None:
    """Return when a lease with this content was taken, and when it was last written, in seconds since the epoch.

    None if the content is damaged, or older than these times.
    """
    try:
        content = json.loads(data or b"")
        since, last = float(content["since"]), float(content["last"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return (since, last) if math.isfinite(since) and math.isfinite(last) and since <= last else None
