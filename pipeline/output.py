"""What the command line prints: a terminal receives printable characters only, and a full disk ends no grid."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from pipeline.errors import printable


def say(line: str = "") -> None:
    """Print a line at once. If that is impossible, because a disk is full for example, go on without it."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def silence(line: str = "") -> None:
    """Print nothing, in place of `say`."""


RESET = "\x1b[0m"  # ends all colours


class Output:
    """A text stream that passes on printable characters, newlines and tabs, and escapes for all other characters.

    Only `RESET` alone passes as it is: a library that Ray uses writes it to a terminal when the process ends.

    Args:
        stream: The stream that receives the text.

    Attributes:
        stream: The stream.
        lost: The first error of the stream, or None.
    """

    def __init__(self, stream: Any) -> None:
        self.lost: OSError | None = None
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            OSError: The stream cannot be written to.
        """
        with self._noticed():
            self.stream.write(text if text == RESET else re.sub(r"[^\n\t]+", lambda match: printable(match[0]), text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            OSError: The stream cannot be written to.
        """
        with self._noticed():
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def _noticed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = self.lost or error
            raise


def give_up(stream: Any) -> None:
    """Drop what is buffered if it cannot be written. Python would otherwise change the exit code at its end."""
    with contextlib.suppress(AttributeError, ValueError):  # there may be no stream, or it may be closed
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
