"""Reuse of a processor's memory in a loop."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Settings of glibc, named as in malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
MB = 2**20
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 256 * MB}
# The values that glibc itself arrives at in a process that frees large blocks.
USUAL = {M_MMAP_MAX: 65536, M_TRIM_THRESHOLD: 64 * MB, M_TOP_PAD: MB // 8, M_MMAP_THRESHOLD: 32 * MB}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in the process while the context lasts, and return free memory to the system at its end.

    By default glibc returns large blocks as soon as they are free, and the system clears every page of the next block.
    Without that, embedding takes a fifth less time and a training step a tenth less. With another C library nothing
    changes.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield
        return
    assert library is not None
    _set(library, KEPT)
    try:
        yield
    finally:
        _set(library, USUAL)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, settings: dict[int, int]) -> None:
    for name, value in settings.items():
        library.mallopt(name, value)
