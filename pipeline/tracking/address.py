"""MLflow's address: which one is used, what it must look like, and how to show it without a password."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.errors import RequestError
from pipeline.paths import absolute

if TYPE_CHECKING:
    from pipeline.storage.workspace import Workspace

SETTING = "--tracking-uri, MLFLOW_TRACKING_URI"
SERVERS, SQLITE, DATABASES = ("http", "https"), "sqlite", ("postgresql", "mysql", "mssql")


def named_address(option: str | None) -> str | None:
    """Return the address that the user has given by the option or by MLFLOW_TRACKING_URI, or None.

    Raises:
        RequestError: MLflow cannot use such an address.
    """
    uri = option or os.environ.get("MLFLOW_TRACKING_URI")
    return _checked(uri) if uri else None


def tracking_address(option: str | None, workspace: "Workspace") -> str:
    """Return MLflow's address: the one that the user named, else a file beside the results.

    Raises:
        RequestError: The user named none, and the workspace is on S3, where such a file cannot be. Or MLflow cannot use
            the address that the user named.
    """
    uri = named_address(option) or default_address(workspace)
    if uri is None:
        raise RequestError(
            f"a workspace on S3 needs a tracking server, but none was given for {workspace.address} (--tracking-uri)."
        )
    return uri


def default_address(workspace: "Workspace") -> str | None:
    """Return the address of an SQLite file beside the results, for one machine; None if they are not in a folder."""
    return sqlite_address(workspace.root / "mlflow.db") if workspace.root else None


def _checked(uri: str) -> str:
    """Return an address that MLflow can use, with the absolute path of an SQLite file."""
    try:
        parts = urlsplit(uri)
        scheme, host = parts.scheme.partition("+")[0], parts.hostname if parts.port != 0 else None
    except ValueError:  # the host or the port is not valid
        scheme, host = "", None
    file = database_file(uri)
    if not (file if scheme == SQLITE else host if scheme in SERVERS else scheme in DATABASES and "://" in uri):
        # Do not repeat the address: it may contain a password.
        raise RequestError(
            "MLflow's address must be http://HOST:PORT, https://…, sqlite:////PATH/FILE or the URL of a database "
            f"({', '.join(DATABASES)}), but got something else ({SETTING})."
        )
    if file is None:
        return uri
    _, mark, options = uri.partition("?")
    return sqlite_address(absolute(file, SETTING)) + mark + options


def sqlite_address(file: Path) -> str:
    """Return the address of an SQLite file. Characters that have a meaning in an address are escaped."""
    return f"sqlite:///{re.sub('[%?]', lambda found: f'%{ord(found[0]):02X}', str(file))}"


def database_file(uri: str) -> Path | None:
    """Return the file of an SQLite database as the address gives it, or None for another address."""
    name = unquote(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else ""
    return Path(name) if name else None


def is_server(uri: str) -> bool:
    """Return whether the address is that of a tracking server, and not that of a database."""
    return urlsplit(uri).scheme in SERVERS


def shown(uri: str) -> str:
    """Return an address without the name, the password and the options that it may contain."""
    return re.sub("^([a-z+]+://)[^/]*@", r"\1", uri.partition("?")[0])


def has_secret(uri: str) -> bool:
    """Return whether an address may contain a password."""
    return database_file(uri) is None and bool("@" in uri or urlsplit(uri).query)


def without_credentials(error: BaseException, uri: str) -> str:
    """Return an error's kind and first line, without the name and password that the address may contain."""
    line = next(iter(str(error).splitlines()), "")
    parts = urlsplit(uri)
    user = parts.netloc.rpartition("@")[0]
    for secret in (user, user.partition(":")[2], *(value for _, value in parse_qsl(parts.query))):
        for spelled in (secret, unquote(secret)):
            line = line.replace(spelled, "…") if spelled else line
    line = re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>:? ?", "", line)  # parts of messages of other libraries
    return f"{type(error).__name__}: {line}"
