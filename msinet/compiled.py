"""Functions that numba compiles, with a cache of the compiled code that may fail at any moment."""

import contextlib
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import FunctionCache


def compiled(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function with `numba.njit` when it is first called, and release Python's lock while it runs.

    The compiled code is kept beside the package or in the user's cache folder, or in NUMBA_CACHE_DIR. If no such folder
    can be written to, every process compiles the function for itself, which takes seconds.

    Args:
        function: The function; None if the decorator is used with options.
        options: Further options of `numba.njit`.
    """
    if function is None:
        return lambda function: compiled(function, **options)
    dispatcher = numba.njit(nogil=True, **options)(function)
    with contextlib.suppress(RuntimeError):  # numba found no folder that it can write to
        dispatcher._cache = _Cache(function)  # `njit(cache=True)` sets the same attribute
    return dispatcher


class _Cache(FunctionCache):
    """A cache that never fails: a file that cannot be read or written costs only the time to compile again."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged file can raise anything
            with contextlib.suppress(OSError):
                self.flush()  # so that the next process finds a whole file
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):  # for example, the disk is full
            super().save_overload(sig, data)
