"""What stages give back: results, reports of epochs, failures."""

from typing import Any

Result = dict[str, Any]


Report = dict[str, Any]
Ended = dict[str, Any]


Failure = dict[str, Any]
