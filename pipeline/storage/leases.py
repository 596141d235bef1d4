"""Who works at a stage: a lease that its holder renews while it lives.

A lease saves double work, no more: two attempts at one stage are harmless, since the first to publish counts. Each
lease is a file of its own, `leases/<n>.json`, and the highest number counts. Taking a stage over is creating the next
number, which one of many succeeds in; a former holder that still renews its old number disturbs nobody. Age is judged
by the wall clocks of the machines, which a cluster keeps close: a wrong judgement costs double work.
"""

import contextlib
import json
import threading
import time
from types import TracebackType

from pipeline.storage.store import Store


class Lease:
    """A lease that is held until the end of a `with` block.

    Args:
        store: Where it lies.
        place: The folder of the leases in the store.
        number: Its own.
        holder: Who holds it.
        seconds: How long it is good for without being renewed.
    """

    def __init__(self, store: Store, place: str, number: int, holder: str, seconds: float) -> None:
        self._store, self._key = store, f"{place}/{number}.json"
        self._holder, self._seconds = holder, seconds
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
        # The store may be back before the lease runs out; without it nothing can be published either.
        with contextlib.suppress(OSError):
            self._store.replace(self._key, _content(self._holder, until))


def take(store: Store, place: str, holder: str, seconds: float) -> Lease | None:
    """Lease a stage.

    Args:
        store: Where leases lie.
        place: The folder of this stage's leases in the store.
        holder: Who asks; a holder takes over from itself at once.
        seconds: How long the lease is good for without being renewed.

    Returns:
        The lease, or None while another holds one.
    """
    number, found = _newest(store, place)
    if found is not None and found != holder:
        return None
    mine = _content(holder, time.time() + seconds)
    return (
        Lease(store, place, number + 1, holder, seconds) if store.create(f"{place}/{number + 1}.json", mine) else None
    )


def holder_of(store: Store, place: str) -> str | None:
    """Who holds the lease of a stage now, None where nobody does."""
    return _newest(store, place)[1]


def _newest(store: Store, place: str) -> tuple[int, str | None]:
    numbers = [int(entry.key.rpartition("/")[2].removesuffix(".json")) for entry in store.entries(place)]
    number = max(numbers, default=0)
    data = store.read(f"{place}/{number}.json") if number else None
    if data is None:
        return number, None
    content = json.loads(data)
    return number, content["holder"] if content["until"] > time.time() else None


def _content(holder: str, until: float) -> bytes:
    return json.dumps({"holder": holder, "until": until}).encode()
