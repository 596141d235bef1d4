"""The end of a driver by SIGTERM, as batch systems, Kubernetes and `ray job stop` send it."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from pipeline.errors import Terminated


@contextlib.contextmanager
def sigterm_as_error() -> Iterator[None]:
    """Within the block, let SIGTERM raise `Terminated`. Without it Ray would abort the process with a trace of its own.

    Enter the block after Ray is connected, because Ray sets a handler. Signals arrive in the main thread only; in other
    threads the block changes nothing.

    Raises:
        Terminated: SIGTERM has arrived.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        arrived = True
        raise KeyboardInterrupt  # the only exception of a handler that Ray's own code passes on

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if not arrived:
            raise
        raise Terminated(
            "ended by SIGTERM: everything that is finished is kept. Run the same command again to continue."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)
