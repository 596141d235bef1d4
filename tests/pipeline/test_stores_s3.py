"""A store on S3 keeps its promises although S3 refuses, breaks off or loses answers."""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.s3 import SECRETS, Environ, S3Service
from support.stores import LARGE, assert_no_secret, first, keys, method
from werkzeug.test import Client

from pipeline.storage.open import open_store
from pipeline.storage.store import Store


def test_a_bucket_is_not_a_folder(s3_store: Store) -> None:
    assert s3_store.folder("") is None


def test_a_prefix_keeps_to_itself(s3_store: Store, s3_client: Any) -> None:
    bucket = s3_store.address.split("/")[2]
    # Consoles make keys such as the fifth for folders. No store could read the sixth and the seventh.
    for key in ("some/prefix2/a", "some/a", "b", "some/prefix/folder/", "some/prefix/folder//a", "some/prefix/../a"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"1")
    assert s3_store.entries("") == s3_store.entries("folder") == []
    s3_store.replace("a", b"2")
    assert keys(s3_store) == ["a"]
    assert keys(open_store(f"s3://{bucket}/")) == ["b", "some/a", "some/prefix/a", "some/prefix2/a"]
    assert open_store(f"s3://{bucket}/some/prefix/").address == s3_store.address


def test_entries_of_many_pages(s3_store: Store, s3_service: S3Service) -> None:
    written = [f"folder/{number:02d}" for number in range(23)]
    for key in written:
        s3_store.replace(key, b"1")

    def small_pages(environ: Environ) -> None:
        environ["QUERY_STRING"] += "&max-keys=5"

    s3_service.fault, s3_service.requests = small_pages, 0
    assert keys(s3_store, "folder") == written
    assert s3_service.requests == 5


def test_a_creation_whose_answer_was_lost_succeeded(s3_store: Store, s3_service: S3Service, no_waiting: None) -> None:
    s3_service.fault = first(1, "lost", method("PUT"))
    assert s3_store.create("a", b"mine")
    assert s3_store.read("a") == b"mine"


def test_a_creation_that_another_overtook_failed(
    s3_store: Store, s3_service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_store(s3_store.address)
    s3_service.fault = first(1, "503 SlowDown", method("PUT"))
    monkeypatch.setattr(time, "sleep", lambda seconds: other.create("a", b"other"))  # before the second try
    assert not s3_store.create("a", b"mine")
    assert s3_store.read("a") == b"other"


@pytest.mark.parametrize("conflicts", [2, 100])
def test_conflicts_are_tried_again(s3_store: Store, s3_service: S3Service, no_waiting: None, conflicts: int) -> None:
    s3_service.fault = first(conflicts, "409 ConditionalRequestConflict", method("PUT"))
    if conflicts == 2:
        assert s3_store.create("a", b"1")
    else:
        with pytest.raises(OSError, match="ConditionalRequestConflict"):
            s3_store.create("a", b"1")


# With a file at "there": what to do, what it returns, what is there afterwards.
USES: dict[str, tuple[Callable[[Store, Path], Any], Any, list[str]]] = {
    "read": (lambda store, path: store.read("there"), b"1", ["there"]),
    "create": (lambda store, path: store.create("new", b"1"), True, ["new", "there"]),
    "replace": (lambda store, path: store.replace("new", b"1"), None, ["new", "there"]),
    "delete": (lambda store, path: store.delete("there"), None, []),
    "entries": (lambda store, path: keys(store), ["there"], ["there"]),
    "upload": (lambda store, path: store.upload(path, "new"), None, ["new", "there"]),
    "download": (lambda store, path: store.download("there", path.with_name("copy")), None, ["there"]),
}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("fault", ["503 SlowDown", "lost"])
def test_a_busy_service_is_asked_again(
    s3_store: Store, s3_service: S3Service, no_waiting: None, tmp_path: Path, name: str, fault: str
) -> None:
    (tmp_path / "file").write_bytes(b"1")
    s3_store.replace("there", b"1")
    use, expected, left = USES[name]
    s3_service.fault, s3_service.requests = first(2, fault, lambda environ: True), 0
    assert use(s3_store, tmp_path / "file") == expected
    assert s3_service.requests >= 3
    assert keys(s3_store) == left


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("fault", ["403 AccessDenied", "503 SlowDown"])
def test_what_fails_for_good_is_told_without_secrets(
    s3_store: Store,
    s3_service: S3Service,
    no_waiting: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    fault: str,
) -> None:
    (tmp_path / "file").write_bytes(b"1")
    s3_store.replace("there", b"1")
    s3_service.fault = lambda environ: fault
    with caplog.at_level(logging.INFO), pytest.raises(OSError, match=s3_store.address) as caught:
        USES[name][0](s3_store, tmp_path / "file")
    assert not isinstance(caught.value, FileNotFoundError)
    assert_no_secret(caught.value, caplog)
    assert not (tmp_path / "copy").exists()


def test_a_store_shows_no_secret(s3_store: Store) -> None:
    assert repr(s3_store) == f"S3Store({s3_store.address!r})"
    assert not [secret for secret in SECRETS if secret in repr(vars(s3_store))]


@pytest.mark.parametrize("times", [1, 100])
@pytest.mark.parametrize("size", [1000, LARGE])
def test_answers_that_break_off(
    s3_store: Store, s3_service: S3Service, no_waiting: None, tmp_path: Path, times: int, size: int
) -> None:
    data = os.urandom(size)
    s3_store.replace("a", data)
    whole = times == 1
    s3_service.fault = first(times, "cut", method("GET"))
    with contextlib.nullcontext() if whole else pytest.raises(OSError, match=r"IncompleteRead|ResponseStreaming"):
        assert s3_store.read("a") == data
    s3_service.fault = first(times, "cut", method("GET"))
    with contextlib.nullcontext() if whole else pytest.raises(OSError, match=r"IncompleteRead|ResponseStreaming"):
        s3_store.download("a", tmp_path / "copies" / "a")
    assert [path.read_bytes() for path in tmp_path.glob("copies/*")] == ([data] if whole else [])


@pytest.mark.parametrize("times", [1, 100])
def test_a_file_that_is_replaced_while_it_is_downloaded(
    s3_store: Store, s3_service: S3Service, no_waiting: None, large: Path, tmp_path: Path, times: int
) -> None:
    s3_store.upload(large, "a")
    path, newer = f"/{s3_store.address.removeprefix('s3://')}/a", [os.urandom(LARGE) for _ in range(2)]
    replaced: list[bytes] = []

    def replace_between_parts(environ: Environ) -> None:
        later_part = method("GET")(environ) and not environ.get("HTTP_RANGE", "bytes=0").startswith("bytes=0")
        if later_part and len(replaced) < times:
            replaced.append(newer[len(replaced) % 2])
            # This request does not take the lock of the service, which the outer request holds.
            base, headers = f"http://{environ['HTTP_HOST']}", {"Authorization": environ["HTTP_AUTHORIZATION"]}
            answer = Client(s3_service.application).put(path, base, data=replaced[-1], headers=headers)
            assert answer.status_code == 200

    s3_service.fault = replace_between_parts
    copy = tmp_path / "copies" / "a"
    if times == 1:
        s3_store.download("a", copy)
        assert copy.read_bytes() == replaced[-1], "whole, and the newer one"
    else:
        with pytest.raises(OSError, match=r"a failed: S3DownloadFailedError"):
            s3_store.download("a", copy)
        assert not list(tmp_path.glob("copies/*"))


def test_an_answer_of_something_else_than_s3_is_an_error(s3_store: Store, s3_service: S3Service) -> None:
    s3_service.fault = lambda environ: "200 <a page of a proxy"  # it is not valid XML
    with pytest.raises(OSError, match=s3_store.address):
        s3_store.entries("")


def test_an_upload_to_s3_that_fails_midway_leaves_nothing(
    s3_store: Store, s3_service: S3Service, s3_client: Any, large: Path
) -> None:
    s3_store.replace("there", b"before")
    s3_service.fault = lambda environ: "403 AccessDenied" if "partNumber=3" in environ["QUERY_STRING"] else None
    for key in ("there", "absent"):
        with pytest.raises(OSError, match="access was denied"):
            s3_store.upload(large, key)
    s3_service.fault = lambda environ: None
    assert s3_store.read("there") == b"before"
    assert keys(s3_store) == ["there"]
    assert "Uploads" not in s3_client.list_multipart_uploads(Bucket=s3_store.address.split("/")[2])
