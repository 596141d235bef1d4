"""The schemes that can be replayed, one in each file. A new file is a new scheme (see `pipeline.bench.scheme`)."""

from importlib import import_module
from pathlib import Path

from pipeline.bench.scheme import Scheme
from pipeline.errors import RequestError, suggestion

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def scheme_of(name: str) -> type[Scheme]:
    """Return the scheme with a name.

    Raises:
        RequestError: There is none.
    """
    if name not in NAMES:
        raise RequestError(f"`--scheme` must be one of {', '.join(NAMES)}, but got {name!r}.{suggestion(name, NAMES)}")
    scheme: type[Scheme] = import_module(f"{__name__}.{name}").SCHEME
    return scheme
