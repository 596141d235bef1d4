"""Sentences that say what is wrong with the settings of an experiment's file."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from msinet.data.synthetic import SyntheticSpec
from pipeline.config.experiment import Experiment
from pipeline.config.parts import DiskData
from pipeline.errors import suggestion

MOST = 20  # number of errors that are described
Setting = tuple[str, ...]  # the parts of a setting's name

# What a setting must do, by pydantic's types of errors.
MUST = {
    "be a list": ("list_type", "tuple_type"),
    "be a mapping": ("dict_type", "model_type", "model_attributes_type", "dataclass_type"),
    "be a text": ("string_type",),
    "be a path": ("path_type",),
    "be a whole number": ("int_type", "int_parsing", "int_from_float"),
    "be a number": ("float_type", "float_parsing"),
    "be a finite number": ("finite_number",),
    "be true or false": ("bool_type", "bool_parsing"),
    "be {expected}": ("literal_error",),
    "be at least {ge}": ("greater_than_equal",),
    "be above {gt}": ("greater_than",),
    "be at most {le}": ("less_than_equal",),
    "have at least one entry": ("too_short",),
    "have at most {max_length} entries": ("too_long",),
    "be given": ("missing",),
}
_PHRASES = {error: phrase for phrase, errors in MUST.items() for error in errors}


def describe_errors(error: ValidationError, document: Any) -> list[str]:
    """Return one sentence for each wrong setting of a document, with the setting's dotted name."""
    by_setting: dict[Setting, list[Any]] = {}
    for details in error.errors():
        by_setting.setdefault(_setting_of(details, document), []).append(details)
    told = [_sentence(setting, errors) for setting, errors in by_setting.items() if _matters(setting, by_setting)]
    return most_of(told)


def most_of(sentences: list[str]) -> list[str]:
    """Return the first sentences, and how many more there are."""
    more = [f"and {len(sentences) - MOST} more errors."] if len(sentences) > MOST else []
    return [*sentences[:MOST], *more]


def _matters(setting: Setting, wrong: Iterable[Setting]) -> bool:
    """Return whether the error is the user's.

    A setting may have several forms, such as a list and a mapping. Errors inside a setting show which form was meant,
    and then the errors of the other forms do not matter. Nor do errors of other keys if the `kind` is wrong, because
    it decides which keys are allowed.
    """
    inside = any(other[: len(setting)] == setting and other != setting for other in wrong)
    return not inside and (setting[-1:] == ("kind",) or (*setting[:-1], "kind") not in wrong)


def _setting_of(details: Any, document: Any) -> Setting:
    """Return the parts of a setting's name: those of pydantic's location that are in the document.

    The others are tags of unions and names of types. The last part is kept too if it is a setting that is missing, or
    that was written as a part of a text, such as the supervision in `60-80 softmax`.
    """
    parts: list[str] = []
    value, found = document, True
    for part in details["loc"]:
        try:
            value, found = value[part], True
        except (LookupError, TypeError):
            found = False
        else:
            parts.append(str(part))
    if not found and (details["type"] == "missing" or part in _keys_at(tuple(parts))):
        parts.append(str(part))
    return tuple(parts)


def _sentence(setting: Setting, errors: Sequence[Any]) -> str:
    name = ".".join(setting)
    first = next((details for details in errors if details["type"] not in _PHRASES), errors[0])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key `{name}`.{suggestion(setting[-1], _keys_at(setting[:-1]) - {setting[-1]})}"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] == "value_error":
        return f"{message} ({name})." if name else f"{message}."
    got = _shown(first)
    if first["type"] in _PHRASES:
        phrases = dict.fromkeys(_PHRASES[details["type"]].format(**details.get("ctx", {})) for details in errors)
        return f"`{name}` must {' or '.join(phrases).replace(' or be ', ' or ')}, but {got}."
    return f"`{name}`: {message[0].lower()}{message[1:]}, but {got}."


def _shown(details: Any) -> str:
    """Return what was received. Lists and mappings are not shown, because they may hold a password."""
    value = details["input"]
    if details["type"] == "missing":
        return "is missing"
    if isinstance(value, dict | list | tuple):
        return f"got a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    return f"got {value!r:.100}"


def _keys_at(setting: Setting) -> set[str]:
    """Return the keys that are allowed at a place of the file."""
    if setting[:1] == ("datasets",):
        return {field.name for field in fields(SyntheticSpec)} | set(DiskData.model_fields)
    kind: Any = Experiment
    for part in setting:
        annotations = _annotations(kind)
        if part in annotations:  # otherwise it is a number of an entry or a name of the user's
            kind = next(iter(_classes(annotations[part])), None)
    return set(_annotations(kind))


def _annotations(kind: Any) -> dict[str, Any]:
    if kind is None:
        return {}
    if hasattr(kind, "model_fields"):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return {field.name: field.type for field in fields(kind)}


def _classes(annotation: Any) -> Iterable[Any]:
    """Yield the models and dataclasses inside a type."""
    if is_dataclass(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    for part in get_args(annotation):
        yield from _classes(part)
