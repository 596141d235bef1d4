"""The errors whose message is printed without a traceback, and the texts in such a message."""

import difflib
import unicodedata
from collections.abc import Iterable


class RequestError(Exception):
    """A request that cannot be carried out. The command line prints the message and exits with code 2."""


class ClusterLost(RuntimeError):
    """The loss of the Ray that this driver had started. Published results and saved states are kept."""


class Interrupted(Exception):
    """Ctrl-C, or another SIGINT."""


class Terminated(RuntimeError):
    """The end that SIGTERM asked for. Published results and saved states are kept."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a sentence to append to an error: the most similar known name, or else all known names."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else f" Known: {', '.join(sorted(known))}." if known else ""


def printable(text: str) -> str:
    r"""Return text with an escape such as `\n` or `\x1b` for every character that would control a terminal."""
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text)
