"""The settings of a search in an experiment's file: the recipe, with any scheme of `msinet.schemes`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Discriminator, Tag

from msinet.recipes import SearchRecipe
from msinet.schemes import MIXTURE, SCHEMES, Scheme
from pipeline.errors import suggestion


def _named(value: Any) -> Any:
    """Return a scheme's settings with its name: in the file, a scheme without settings is its name alone.

    Raises:
        ValueError: There is no such scheme, or it has no such setting.
    """
    if isinstance(value, Scheme):
        return value
    settings = {"name": value} if isinstance(value, str) else value
    name = settings.get("name") if isinstance(settings, Mapping) else settings
    if not isinstance(name, str) or name not in SCHEMES:
        hint = suggestion(str(name), SCHEMES)
        raise ValueError(f"a scheme must have a known `name`, but got {name!r:.100}.{hint}")
    known = [field.name for field in fields(SCHEMES[name])]
    for setting in settings:
        if setting not in known:
            hint = suggestion(str(setting), known)
            raise ValueError(f"the scheme {name} has no setting {setting!r:.100}.{hint}")
    return settings


def _name_of(value: Any) -> Any:
    return value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)


if TYPE_CHECKING:
    AnyScheme = Scheme
else:
    _TAGGED = Union[tuple(Annotated[scheme, Tag(name)] for name, scheme in SCHEMES.items())]  # noqa: UP007
    AnyScheme = Annotated[_TAGGED, Discriminator(_name_of), BeforeValidator(_named)]


@dataclass(frozen=True, kw_only=True)
class SearchSettings(SearchRecipe):
    """A search recipe whose scheme can be read from a file.

    Attributes:
        scheme: A scheme's name, or a mapping of its name and those of its settings that differ from the defaults.
    """

    scheme: AnyScheme = MIXTURE
