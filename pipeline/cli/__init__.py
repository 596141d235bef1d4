"""The command line: `msinet <verb> [EXPERIMENT]`, a file for each group of verbs.

Exit codes: 0 done, 1 some stages failed (the others are done and kept), 2 the request was wrong.
Heavy libraries are imported by the verbs that need them, so that `--help` answers at once.
"""

import sys

from pipeline.cli import grids, models, tracking, tune  # noqa: F401 (the verbs, which register themselves)
from pipeline.cli.options import app
from pipeline.errors import ClusterLost, RequestError


def main(arguments: list[str] | None = None) -> None:
    """Run the console script; a wrong request ends in one sentence and exit code 2."""
    try:
        app(arguments)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except ClusterLost as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
