"""The small files of a workspace, which hold JSON. A file that is damaged or of another shape counts as absent.

Power may fail, disks may break, and people copy and edit files. What cannot be read is named in a warning.
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar

from msinet.files import json_text
from pipeline.results import Failure, Result

log = logging.getLogger(__name__)

T = TypeVar("T")

# What every `result.json` holds, whatever its kind.
RESULT_VALUES = {"kind": str, "key": str, "attempt": str, "spec": dict, "started": int | float}
ATTEMPT_ID = re.compile("[0-9A-Za-z_-]+")

_named: set[str] = set()  # places that a warning of this process has named


def encoded(content: dict[str, Any]) -> bytes:
    """Return the content of a file from which `read_result` or `read_failure` reads the same values."""
    return json_text(content, indent=1, sort_keys=True).encode()


def read_result(data: bytes | None, place: str, kind: str, key: str) -> Result | None:
    """Return the result that the file at a place holds, or None if the file does not hold a result of this stage."""

    def read(content: bytes) -> Result:
        result = json.loads(content)
        if not all(isinstance(result[name], type_) for name, type_ in RESULT_VALUES.items()):
            raise ValueError
        if (result["kind"], result["key"]) != (kind, key) or not ATTEMPT_ID.fullmatch(result["attempt"]):
            raise ValueError
        return dict(result)

    return _read(data, place, read, "the result of its stage, which counts as not done and is computed again")


def read_failure(data: bytes | None, place: str) -> Failure | None:
    """Return the failure that the file at a place holds, or None."""
    return _read(data, place, lambda content: Failure.from_json(json.loads(content)), "a failure, and is passed over")


def _read(data: bytes | None, place: str, read: Callable[[bytes], T], purpose: str) -> T | None:
    if data is None:
        return None
    try:
        return read(data)
    except (ValueError, TypeError, LookupError, RecursionError):
        if place not in _named:
            _named.add(place)
            log.warning("%s does not hold %s.", place, purpose)
        return None
