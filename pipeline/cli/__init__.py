"""The command line: `msinet <verb> [EXPERIMENT]`. There is one file for each group of verbs.

Exit codes: 0 means that everything is done, 1 that some stages or trials are not done (finished results are kept), 2
that the request was wrong.
Heavy libraries are imported by the verbs that need them, so that `--help` answers at once.
"""

import io
import sys

from pipeline.cli import grids, models, tracking, tune  # noqa: F401 (the verbs, which register themselves)
from pipeline.cli.options import app
from pipeline.errors import ClusterLost, RequestError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. After a wrong request, print one message and exit with code 2."""
    _print_any_text()
    try:
        app(arguments)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ClusterLost as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _print_any_text() -> None:
    """Print characters that a terminal does not know, and bytes that are not UTF-8, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
