"""A prefix of an S3 bucket as a store.

This module uses boto3 alone, because only boto3 offers conditional creation. Its managed transfers stream large files
in parts, retry each part, and give an object its key when all parts have arrived. A second client, such as pyarrow's,
would only add settings.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error, S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError
from urllib3.exceptions import HTTPError

from msinet.files import written_whole
from pipeline.errors import RequestError
from pipeline.storage.store import Entry, UnreadableError, checked

TRIES = 8

# Transfer up to four parts of 8 MiB at once. A download keeps at most 25 MiB that are not written to the file yet.
TRANSFER = TransferConfig(
    multipart_threshold=2**23,
    multipart_chunksize=2**23,
    max_concurrency=4,
    max_io_queue=100,
    num_download_attempts=TRIES,
    preferred_transfer_client="classic",  # the other client (CRT) has its own rules of retrying
)

ABSENT = ("NoSuchKey", "404")
# An answer that breaks off. botocore repeats a request, but not the reading of its answer.
BROKEN = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, HTTPError)
FAILED = (BotoCoreError, ClientError, ResponseParserError, Boto3Error, RetriesExceededError, S3DownloadFailedError)

DENIED = "access was denied (AWS credentials)"
REFUSED = "the credentials were refused (AWS credentials)"
MISSING = "there are no usable credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or a role)"
REGION = "the bucket lies in another region (AWS_REGION)"
UNREACHABLE = "its endpoint cannot be reached (AWS_ENDPOINT_URL)"
REASONS = {
    "NoSuchBucket": "the bucket does not exist (--workspace)",
    "AccessDenied": DENIED,
    "AllAccessDisabled": DENIED,
    "403": DENIED,
    "ExpiredToken": REFUSED,
    "InvalidAccessKeyId": REFUSED,
    "InvalidToken": REFUSED,
    "SignatureDoesNotMatch": REFUSED,
    "CredentialRetrievalError": MISSING,
    "NoCredentialsError": MISSING,
    "PartialCredentialsError": MISSING,
    "ProfileNotFound": MISSING,
    "AuthorizationHeaderMalformed": REGION,
    "IllegalLocationConstraintException": REGION,
    "PermanentRedirect": REGION,
    "NotImplemented": "the service lacks a needed function, probably conditional creation (AWS_ENDPOINT_URL)",
    "ConnectTimeoutError": UNREACHABLE,
    "EndpointConnectionError": UNREACHABLE,
    "ProxyConnectionError": UNREACHABLE,
    "SSLError": UNREACHABLE,
}


class S3Store:
    """A prefix of an S3 bucket.

    Args:
        bucket: Name of the bucket.
        prefix: Prefix without slashes around it; "" for the whole bucket.

    Raises:
        UnreadableError: The prefix cannot be read.
        RequestError: The AWS environment is not valid; see `new_client`.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self.address = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            with translated_errors(self.address):
                self._client = new_client()
                self._client.list_objects_v2(Bucket=bucket, Prefix=self._prefix, MaxKeys=1)
        except OSError as error:
            raise UnreadableError(f"the workspace must be readable, but {error}.") from None

    def __repr__(self) -> str:
        return f"S3Store({self.address!r})"

    def read(self, key: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError), self._errors_at(key):
            for _ in range(TRIES - 1):
                with contextlib.suppress(*BROKEN):
                    return self._get(key).read()
            return self._get(key).read()
        return None

    def create(self, key: str, data: bytes) -> bool:
        tries = 0
        with self._errors_at(key):
            while True:
                try:
                    self._client.put_object(**self._at(key), Body=data, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    tries += 1 + error.response["ResponseMetadata"].get("RetryAttempts", 0)
                    if _code(error) == "PreconditionFailed":
                        # The file may be this writer's own: the answer to an earlier try may have been lost.
                        return tries > 1 and self.read(key) == data
                    if _code(error) != "ConditionalRequestConflict" or tries >= TRIES:
                        raise
                # Another writer creates this key at the same time. botocore does not retry after this error.
                time.sleep(0.05 * 2**tries)

    def replace(self, key: str, data: bytes) -> None:
        with self._errors_at(key):
            self._client.put_object(**self._at(key), Body=data)

    def delete(self, key: str) -> None:
        # Unlike S3, some services report a missing key.
        with contextlib.suppress(FileNotFoundError), self._errors_at(key):
            self._client.delete_object(**self._at(key))

    def entries(self, folder: str) -> list[Entry]:
        prefix = self._prefix + (f"{checked(folder)}/" if folder else "")
        with translated_errors(f"{self.address}/{folder}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            found = [
                Entry(item["Key"].removeprefix(self._prefix), item["Size"], item["LastModified"].timestamp())
                for page in pages
                for item in page.get("Contents", ())
                if _is_key(item["Key"].removeprefix(self._prefix))
            ]
        return sorted(found, key=lambda entry: entry.key)

    def holds(self, folder: str) -> bool:
        prefix = self._prefix + (f"{checked(folder)}/" if folder else "")
        with translated_errors(f"{self.address}/{folder}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return any(not item["Key"].endswith("/") for page in pages for item in page.get("Contents", ()))

    def upload(self, path: Path, key: str) -> None:
        with self._errors_at(key):
            self._client.upload_file(str(path), **self._at(key), Config=TRANSFER)

    def download(self, key: str, path: Path) -> None:
        with self._errors_at(key):
            for _ in range(TRIES - 1):
                with contextlib.suppress(S3DownloadFailedError):  # the file was replaced between two of its parts
                    self._download(key, path)
                    return
            self._download(key, path)

    def folder(self, folder: str) -> None:
        return None

    def expect(self, key: str) -> None:
        return None

    def require(self) -> None:
        return None

    def _download(self, key: str, path: Path) -> None:
        with written_whole(path) as file:
            self._client.download_fileobj(**self._at(key), Fileobj=file, Config=TRANSFER)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + checked(key)}

    def _get(self, key: str) -> Any:
        return self._client.get_object(**self._at(key))["Body"]

    def _errors_at(self, key: str) -> contextlib.AbstractContextManager[None]:
        return translated_errors(f"{self.address}/{key}")


def new_client() -> Any:
    """Return a client for S3 that is configured by the AWS environment.

    Raises:
        RequestError: The endpoint or the region in the environment is not valid.
    """
    custom = "AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        # Other services refuse the checksums that AWS added later. A signature covers the content anyway.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Not every other service gives each bucket its own host name.
        s3={"addressing_style": "path"} if custom else None,
    )
    try:
        # botocore itself reads AWS_DEFAULT_REGION only.
        client = Session().client("s3", region_name=os.environ.get("AWS_REGION") or None, config=config)
    except ValueError:
        raise RequestError(
            "the endpoint of S3 must be a URL such as https://host:9000 and its region a name such as us-east-1, "
            "but one of them is not (AWS_ENDPOINT_URL, AWS_REGION)."
        ) from None
    # botocore asks for a bucket's region after a redirection that does not name it, and again after that answer's own
    # redirection, without end. Nothing else uses this operation.
    client.meta.events.register("before-call.s3.HeadBucket", _refuse)
    return client


def _refuse(**request: Any) -> None:
    raise ClientError({"ResponseMetadata": {"HTTPHeaders": {}}}, "HeadBucket")


def _is_key(key: str) -> bool:
    """Return whether a store could have written a key. Consoles make keys such as `folder/`."""
    with contextlib.suppress(ValueError):
        return bool(checked(key))
    return False


@contextlib.contextmanager
def translated_errors(place: str) -> Iterator[None]:
    """Raise errors of S3 at a place as `UnreadableError`, in words that contain no secret.

    The original errors are not passed on, because they can contain addresses, and answers that repeat tokens.
    """
    try:
        yield
    except (*FAILED, HTTPError) as error:
        code = _code(error)
        if code in ABSENT:
            raise FileNotFoundError(f"nothing is at {place}") from None
        raise UnreadableError(f"{place} failed: {REASONS.get(code, code)}") from None


def _code(error: BaseException) -> str:
    """Return S3's name for an error, or the name of its class."""
    if isinstance(error, S3UploadFailedError):
        error = error.__context__ or error
    if isinstance(error, RetriesExceededError):
        error = error.last_exception
    if isinstance(error, ClientError):
        return error.response.get("Error", {}).get("Code", "unknown")
    return type(error).__name__
