"""A check that values keep their types: pydantic alone reads `true` and the text "1" as the number 1."""

from collections.abc import Iterator
from typing import Any

from pipeline.config.parts import SyntheticData

MUST_BE = {bool: "true or false", int: "a whole number", float: "a number"}


def converted_values(given: Any, read: Any, setting: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield a sentence for each truth value, number or text of a document that was read as another type.

    A number such as 3.0 may stand where a whole number is meant, and 3 where any number is meant.

    Args:
        given: The document, or a part of it.
        read: What pydantic made of it.
        setting: The parts of the setting's name.
    """
    if isinstance(given, dict | list):
        for name, part in given.items() if isinstance(given, dict) else enumerate(given):
            yield from converted_values(part, _part(read, name), (*setting, str(name)))
    elif type(read) in MUST_BE and (isinstance(given, str) or isinstance(given, bool) != isinstance(read, bool)):
        yield f"`{'.'.join(setting)}` must be {MUST_BE[type(read)]}, but got {given!r:.100}."


def _part(read: Any, name: Any) -> Any:
    """Return a part of what was read, or None if the setting has another form there, such as `60-80` for a split."""
    if isinstance(read, SyntheticData) and name != "kind":
        read = read.spec
    if isinstance(read, dict):
        return read.get(name)
    return read[name] if isinstance(read, list | tuple) else getattr(read, str(name), None)
