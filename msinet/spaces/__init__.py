"""Search spaces as data: YAML files, of which some come with this package, and others are the user's own."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from msinet.files import require_regular
from msinet.spaces.space import PAPER, PAPER_SPACE, Space

__all__ = ["PAPER_SPACE", "SHIPPED", "Space", "as_space", "load", "own_space"]

_FOLDER = Path(__file__).parent
SHIPPED = (PAPER, *sorted(path.stem for path in _FOLDER.glob("*.yaml")))
"""Names of the spaces that come with this package."""


def load(path_or_name: str | os.PathLike[str]) -> Space:
    """Return a space by its name, if it comes with this package, or from a YAML file.

    Args:
        path_or_name: A name of `SHIPPED`, or the path of a file; `Space` documents the settings in it.

    Raises:
        ValueError: The file is missing or is no YAML, or one of its settings is not possible.
    """
    if path_or_name in SHIPPED:
        return _shipped(str(path_or_name))
    path = Path(path_or_name)
    if not os.path.exists(path):
        raise ValueError(f"a space must be one of {', '.join(SHIPPED)}, or a YAML file, but got {str(path)!r:.100}.")
    try:
        return own_space(_read(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def own_space(document: Any) -> Space:
    """Return the space of a user's own document.

    Raises:
        ValueError: A setting is not possible, or the name is that of another space in `SHIPPED`.
    """
    space = Space.from_document(document)
    if space.name in SHIPPED and space != load(space.name):
        raise ValueError(f"`name` must not be that of a space that comes with msinet, but got {space.name!r}.")
    return space


def as_space(given: Space | Mapping[str, Any] | str | None) -> Space:
    """Return a space that is given in any form: itself, its document, or a name; None means the paper's.

    Raises:
        ValueError: The document or the name is not one of a space.
    """
    if given is None:
        return PAPER_SPACE
    if isinstance(given, Space):
        return given
    return load(given) if isinstance(given, str) else Space.from_document(given)


@cache
def _shipped(name: str) -> Space:
    return PAPER_SPACE if name == PAPER else Space.from_document(_read(_FOLDER / f"{name}.yaml"))


def _read(path: Path) -> Any:
    import yaml  # planning and searching in the paper's space need no YAML

    require_regular(path)
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"a space must be a YAML file, but it cannot be read: {' '.join(str(error).split())}"
        ) from None
