"""What a user did wrong, told in one sentence."""

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """The request cannot be carried out as it stands: the command line prints this and exits with 2."""


class ClusterLost(RuntimeError):
    """The driver has lost its own Ray; what is published and saved stays."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names, or all of them, as a sentence to append to an error."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else f" Known: {', '.join(sorted(known))}." if known else ""
