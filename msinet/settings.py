"""Checks of settings, which recipes and schemes share. Nothing here needs torch."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, get_args

# Makes an unknown key or an infinite number in a configuration file an error. Only pydantic reads it; this package does
# not import pydantic.
STRICT = {"extra": "forbid", "allow_inf_nan": False}


def require(settings: object, must_be: str, holds: Callable[[Any], bool], *names: str) -> None:
    """Check some attributes of `settings`.

    Raises:
        ValueError: `holds` is false for one of them. The message says what it `must_be`.
    """
    for name in names:
        if not holds(value := getattr(settings, name)):
            raise ValueError(f"`{name}` must be {must_be}, but got {value!r}.")


def require_choice(settings: object, choices: Any, name: str) -> None:
    """Check that an attribute of `settings` is one of the values of the literal type `choices`.

    Raises:
        ValueError: It is not.
    """
    *others, last = map(repr, get_args(choices))
    require(settings, f"{', '.join(others)} or {last}", lambda x: x in get_args(choices), name)


def rises(values: Sequence[float]) -> bool:
    """Return whether each value is larger than the one before it."""
    return all(first < second for first, second in pairwise(values))
