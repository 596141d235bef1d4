"""The setting `space` of an experiment: the search space, by name, by file or written out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf, PlainSerializer

from msinet.schemes import Scheme
from msinet.spaces import PAPER_SPACE, SHIPPED, Space, load, own_space
from pipeline.config.document import read_mapping
from pipeline.errors import RequestError, suggestion


def _read(value: Any) -> Any:
    if isinstance(value, Space):
        return value
    return load(value) if isinstance(value, str) else own_space(value)


SearchSpace = Annotated[InstanceOf[Space], BeforeValidator(_read), PlainSerializer(Space.to_document)]


def with_space(document: dict[Any, Any], place: Callable[[Path], Path]) -> dict[Any, Any]:
    """Return an experiment's document with the content of the file that its setting `space` names, if it names one.

    Args:
        document: Content of the experiment's file.
        place: Function that makes the path of another file absolute.

    Raises:
        RequestError: There is no such space and no such file, or the file does not describe a space.
    """
    named = document.get("space")
    if not isinstance(named, str) or named in SHIPPED:
        return document
    path = place(Path(named))
    if not os.path.exists(path):  # `Path.exists` raises an error for a text that no path can be
        hint = suggestion(named, SHIPPED)
        raise RequestError(f"`space` must be one that comes with msinet, or a YAML file, but got {named!r:.100}.{hint}")
    content = read_mapping(path, "a space")
    try:
        own_space(content)
    except ValueError as error:
        raise RequestError(f"{path}: {error}") from None
    return {**document, "space": content}


def check_scheme(space: Space, scheme: Scheme) -> None:
    """Check that a scheme can search in a space.

    Raises:
        ValueError: It cannot.
    """
    if scheme.num_generations and space != PAPER_SPACE:
        raise ValueError(
            f"the scheme {scheme.name} knows only the costs of the paper's operations, so `space` must be msinet, "
            f"but is {space.name}."
        )
    narrowest, divisor = space.channels[1] // 4, scheme.channel_divisor
    if divisor > 1 and narrowest // divisor < 16:
        raise ValueError(
            f"the scheme {scheme.name} takes one {divisor}th of a branch's channels, which must be at least 16, but "
            f"the space {space.name} has {narrowest} channels in its narrowest branch (search.scheme.k)."
        )


def check_size(space: Space, size: tuple[int, int]) -> None:
    """Check that the maps of a space's instance norms have more than one position.

    Args:
        space: The space.
        size: (height, width) of the pictures.

    Raises:
        ValueError: They have one position, which such a norm would replace by a constant.
    """
    if max(size) < 32 and {5, 6} & set(space.instance_norm):
        raise ValueError(
            f"the space {space.name} has an instance norm in a cell whose maps have one position, so a side of the "
            f"pictures must have at least 32 pixels, but got {size} (image_size)."
        )
