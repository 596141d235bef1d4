"""Libraries of the extra `export`."""

from importlib import import_module
from typing import Any


def library(name: str) -> Any:
    """Import a library of the extra `export`.

    Raises:
        ModuleNotFoundError: It is not installed. The message says how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:
            raise
        message = f"the package `{package}` is needed, but is not installed: pip install 'msinet[export]'."
        raise ModuleNotFoundError(message, name=package) from None
