"""The names that users give in an experiment: they appear in paths, tables, addresses and terminals."""

import re
from typing import Annotated

from pydantic import AfterValidator


def require_name(name: str) -> str:
    """Return `name` if it is harmless wherever it appears.

    Raises:
        ValueError: It has other characters than a name may have.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name):
        raise ValueError(
            "a name must consist of at most 200 letters, digits, dots, underscores and hyphens, "
            f"and begin with a letter or digit, but got {name!r:.100}."
        )
    return name


Name = Annotated[str, AfterValidator(require_name)]
