"""The token by which Ray's processes recognise each other. Only its owner can read it."""

import contextlib
import os
import secrets
from pathlib import Path

from msinet.files import written_whole
from pipeline.errors import RequestError

TOKEN = "RAY_AUTH_TOKEN"


def provide_token() -> None:
    """Make sure that a Ray which is started on this machine has a token, unless the user wants none.

    Ray itself would write a file that everybody can read, and would fail where it cannot write to the home. Then the
    token is in the environment only, for this process and those that it starts.

    Raises:
        RequestError: RAY_AUTH_MODE has a value that Ray does not know.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() not in ("token", "disabled"):  # Ray would start without a token
        raise RequestError(f"RAY_AUTH_MODE must be `token` or `disabled`, but got {mode!r}.")
    if mode.lower() == "disabled" or os.environ.get(TOKEN) or os.environ.get(f"{TOKEN}_PATH"):
        return
    try:
        path = _path()
        if not path.exists():
            _write(path)
        _close(path)
        usable = bool(path.read_bytes().strip())
    except (OSError, RuntimeError):
        usable = False
    if not usable:
        os.environ[TOKEN] = secrets.token_hex(32)


def protect_token() -> None:
    """Let only the owner read a token that `ray get-auth-token --generate` has written."""
    with contextlib.suppress(OSError, RuntimeError):
        _close(_path())


def _path() -> Path:
    """Return where Ray looks for a token.

    Raises:
        RuntimeError: This user has no home.
    """
    return Path.home() / ".ray" / "auth_token"


def _write(path: Path) -> None:
    before = os.umask(0o077)
    try:
        # If another process has just written a token, that one is used.
        with contextlib.suppress(FileExistsError), written_whole(path, place=os.link) as file:
            file.write(secrets.token_hex(32).encode())
    finally:
        os.umask(before)


def _close(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
