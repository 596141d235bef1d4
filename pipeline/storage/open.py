"""Find where a workspace lies, open the store at an address, and prove that the store can be used."""

import os
import re
import uuid
from pathlib import Path

import platformdirs

from pipeline.errors import RequestError
from pipeline.paths import absolute
from pipeline.storage.store import LocalStore, Store, checked


def locate(option: str | None) -> str:
    """Return the workspace's address: the option, else MSINET_WORKSPACE, else a folder in the user's data directory.

    Raises:
        RequestError: The address is that of something else than a folder, or no path.
    """
    chosen = option or os.environ.get("MSINET_WORKSPACE")
    if not chosen:
        return str(Path(platformdirs.user_data_path("msinet")) / "workspace")
    if "://" in chosen:
        return chosen
    path = absolute(Path(chosen), "--workspace, MSINET_WORKSPACE")
    if os.path.lexists(path) and not os.path.isdir(path):
        raise RequestError(
            f"a workspace must be a folder, but {path} is something else (--workspace, MSINET_WORKSPACE)."
        )
    return str(path)


def open_store(address: str | Path) -> Store:
    """Return the store at an address.

    Args:
        address: A folder, or `s3://bucket/prefix`. The endpoint, region and credentials of S3 come from the AWS
            environment: AWS_ENDPOINT_URL, AWS_REGION, a profile or the machine's role. Google Cloud Storage is reached
            through its S3 endpoint, https://storage.googleapis.com, with HMAC keys.

    Raises:
        RequestError: The address is neither a folder nor on S3.
        UnreadableError: The store at the address cannot be read.
    """
    scheme, separator, rest = str(address).partition("://")
    if not separator:
        return LocalStore(Path(address))
    if scheme != "s3":
        # Do not repeat the address: it may contain a password.
        raise RequestError("a workspace must be a folder or s3://bucket/prefix, but got another URL (--workspace).")
    from pipeline.storage.s3 import S3Store  # boto3 takes a third of a second to import

    return S3Store(*split_address(rest))


def split_address(rest: str) -> tuple[str, str]:
    """Split what follows `s3://` into bucket and prefix.

    Raises:
        RequestError: It is not a bucket's name with a plain prefix.
    """
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    try:
        if not re.fullmatch("[A-Za-z0-9._-]+", bucket) or set(prefix) & set("?#"):
            raise ValueError
        return bucket, checked(prefix) if prefix else ""
    except ValueError:
        # Do not repeat the address: it may contain credentials, as in key:secret@bucket or bucket?secret=….
        raise RequestError(
            "an S3 workspace must be s3://bucket/prefix with a bucket's name and a plain prefix, but got something "
            "else; credentials belong in the AWS environment (--workspace)."
        ) from None


def require_conditions(store: Store) -> None:
    """Prove that a store can be written to, and that `create` never replaces a file, because all else relies on that.

    Raises:
        RequestError: The store does not do this. Examples are file systems without hard links and services that ignore
            `If-None-Match`.
    """
    key = f"probe-{uuid.uuid4().hex}"
    try:
        first = store.create(key, b"first")
        second = store.create(key, b"second")
        kept = store.read(key)
        store.delete(key)
    except OSError as error:
        raise RequestError(f"the workspace {store.address} must be writable, but {error} (--workspace).") from None
    if (first, second, kept) != (True, False, b"first"):
        raise RequestError(
            f"the workspace {store.address} must support conditional creation (If-None-Match), but it replaced an "
            "existing file: use a folder or another S3 service (--workspace)."
        )
