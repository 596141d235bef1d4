"""The setting `space` of an experiment: the search space, by name, by file or written out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf, PlainSerializer

from msinet.spaces import SHIPPED, Space, load, own_space
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
        known, hint = ", ".join(SHIPPED), suggestion(named, SHIPPED)
        raise RequestError(f"`space` must be one of {known}, or a YAML file, but got {named!r:.100}.{hint}")
    content = read_mapping(path, "a space")
    try:
        own_space(content)
    except ValueError as error:
        raise RequestError(f"{path}: {error}") from None
    return {**document, "space": content}
