"""What a store promises, the same for a folder and a bucket, and what S3 may do in between."""

import contextlib
import logging
import os
import pickle
import resource
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.s3 import SECRETS, Environ, Fault, S3Service

from pipeline.errors import RequestError
from pipeline.storage.open import open_store, require_conditions
from pipeline.storage.store import LocalStore, Store

MEBI = 2**20
LARGE = 20 * MEBI  # three parts
HUGE = 96 * MEBI  # more than a transfer may hold


@pytest.fixture(params=["local", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store lies."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("s3_address")


@pytest.fixture
def store(address: str) -> Store:
    """An empty store of either kind."""
    return open_store(address)


@pytest.fixture
def s3_store(s3_address: str) -> Store:
    """An empty store on S3."""
    return open_store(s3_address)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries at once."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of several parts."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    return path


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A disk that is full before a large file is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def keys(store: Store, folder: str = "") -> list[str]:
    return [entry.key for entry in store.entries(folder)]


def first(count: int, fault: str, wanted: Callable[[Environ], bool]) -> Fault:
    """What does a fault to the first so many requests of a kind."""
    done = []

    def decide(environ: Environ) -> str | None:
        if not wanted(environ) or len(done) == count:
            return None
        done.append(environ)
        return fault

    return decide


def method(name: str) -> Callable[[Environ], bool]:
    return lambda environ: environ["REQUEST_METHOD"] == name


# The contract


def test_nothing_is_there_at_first(store: Store, tmp_path: Path) -> None:
    assert store.read("a/b") is None
    assert store.entries("") == store.entries("a") == []
    store.delete("a/b")
    with pytest.raises(FileNotFoundError):
        store.download("a/b", tmp_path / "copies" / "b")
    assert not list(tmp_path.glob("copies/*"))


def test_an_address_opens_the_same_store(store: Store) -> None:
    store.replace("a", b"1")
    assert open_store(store.address).read("a") == b"1"


def test_the_first_creates(store: Store) -> None:
    assert store.create("a/b", b"1")
    assert not store.create("a/b", b"2")
    assert not store.create("a/b", b"1")  # also with the same bytes
    assert store.read("a/b") == b"1"
    assert keys(store) == ["a/b"]


def test_of_many_at_once_one_creates(store: Store) -> None:
    barrier, created = threading.Barrier(12), {}

    def create(number: int) -> None:
        barrier.wait()
        created[number] = store.create("stages/search/k/result.json", b"%d" % number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, won in created.items() if won]
    assert len(created) == 12
    assert len(winners) == 1
    assert store.read("stages/search/k/result.json") == b"%d" % winners[0]


def test_replacing(store: Store) -> None:
    store.replace("a/b", b"1")
    store.replace("a/b", b"22")
    assert store.read("a/b") == b"22"
    assert [(entry.key, entry.size) for entry in store.entries("")] == [("a/b", 2)]


def test_a_reader_sees_the_old_or_the_new(store: Store) -> None:
    old, new = b"o" * MEBI, b"n" * 2 * MEBI
    store.replace("a", old)
    stop = threading.Event()

    def write() -> None:
        for data in [new, old] * 10:
            store.replace("a", data)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not stop.is_set():
        seen.append(store.read("a"))
    writer.join()
    assert seen
    assert all(data in (old, new) for data in seen)


def test_deleting(store: Store) -> None:
    store.replace("a/b", b"1")
    store.replace("a/c", b"1")
    store.delete("a/b")
    assert store.read("a/b") is None
    assert keys(store) == ["a/c"]
    assert store.create("a/b", b"2")


def test_folders_are_not_files(store: Store) -> None:
    store.replace("a/b", b"1")
    assert store.read("a") is None
    assert store.read("a/b/c") is None
    assert store.entries("a/b") == []
    store.delete("a")
    assert keys(store) == ["a/b"]


def test_entries_are_below_their_folder_and_sorted(store: Store) -> None:
    for key in ["a/bc", "a/b/2", "a/b/10", "a/b/x/y", "a/b.txt", "a/B", "z", "a/b-/1"]:
        store.replace(key, b"1")
    assert keys(store, "a/b") == ["a/b/10", "a/b/2", "a/b/x/y"]
    assert keys(store, "a") == ["a/B", "a/b-/1", "a/b.txt", "a/b/10", "a/b/2", "a/b/x/y", "a/bc"]
    assert keys(store) == [*keys(store, "a"), "z"]


def test_entries_tell_when_they_were_written(store: Store) -> None:
    before = time.time()
    store.replace("a", b"1")
    (entry,) = store.entries("")
    assert before - 2 < entry.modified < time.time() + 2  # S3 tells whole seconds


def test_empty_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert store.create("created", b"")
    store.replace("replaced", b"")
    store.upload(tmp_path / "empty", "uploaded")
    store.download("uploaded", tmp_path / "copy")
    assert [(entry.key, entry.size) for entry in store.entries("")] == [
        ("created", 0),
        ("replaced", 0),
        ("uploaded", 0),
    ]
    assert store.read("created") == (tmp_path / "copy").read_bytes() == b""


ODD = [
    "a b/c  d",
    "ü/日本",
    "1+1",
    "100%",
    "%20",
    "a=b&c?d#e",
    "'q' \"q\"",
    "...",
    ".hidden",
    "back\\slash",
    "a~:;,(@)!*$",
]


def test_odd_keys(store: Store, tmp_path: Path) -> None:
    for key in ODD:
        assert store.create(key, key.encode())
        assert not store.create(key, b"2")
        store.replace(f"folder/{key}/file", b"2")
        assert keys(store, f"folder/{key}") == [f"folder/{key}/file"]
        store.download(key, tmp_path / "copy")
        store.upload(tmp_path / "copy", f"copies/{key}")
        assert store.read(f"copies/{key}") == store.read(key) == key.encode()
    assert len(store.entries("")) == len(ODD) * 3
    for key in ODD:
        store.delete(key)
    assert len(store.entries("")) == len(ODD) * 2


def test_what_is_not_a_key(store: Store, tmp_path: Path) -> None:
    for key in ["", "/a", "a/", "a//b", "../a", "a/../../b", "./a", ".partial/a"]:
        for use in (
            partial(store.read, key),
            partial(store.create, key, b""),
            partial(store.replace, key, b""),
            partial(store.delete, key),
            partial(store.download, key, tmp_path / "copy"),
            partial(store.upload, Path(__file__), key),
            partial(store.entries, key or "/"),
        ):
            with pytest.raises(ValueError, match="a key must be"):
                use()
    assert store.entries("") == []


def test_large_files(store: Store, large: Path, tmp_path: Path) -> None:
    store.upload(large, "weights/large")
    assert store.entries("weights")[0].size == LARGE
    store.download("weights/large", tmp_path / "new" / "folder" / "copy")
    assert (tmp_path / "new" / "folder" / "copy").read_bytes() == large.read_bytes()
    assert store.read("weights/large") == large.read_bytes()
    assert os.listdir(tmp_path / "new" / "folder") == ["copy"]


def test_an_upload_takes_the_place_of_what_was_there(store: Store, tmp_path: Path) -> None:
    store.replace("a", b"before")
    (tmp_path / "new").write_bytes(b"after")
    store.upload(tmp_path / "new", "a")
    assert store.read("a") == b"after"


def test_transfers_hold_little_in_memory(store: Store, tmp_path: Path) -> None:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", HUGE)
    transfers = """
        import sys, tracemalloc
        from pathlib import Path
        from pipeline.storage.open import open_store

        store, path = open_store(sys.argv[1]), Path(sys.argv[2])
        tracemalloc.start()
        store.upload(path / "huge", "huge")
        store.download("huge", path / "copy")
        print(tracemalloc.get_traced_memory()[1])
    """
    command = [sys.executable, "-c", textwrap.dedent(transfers), store.address, str(tmp_path)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "copy").stat().st_size == HUGE
    assert peak < HUGE / 2


def test_a_download_that_fails_midway_leaves_nothing(store: Store, large: Path, tmp_path: Path) -> None:
    store.upload(large, "large")
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "there").write_bytes(b"before")
    for name in ("there", "absent"):
        with files_no_larger_than(LARGE // 2), pytest.raises(OSError, match="File too large"):
            store.download("large", tmp_path / "copies" / name)
    assert [path.read_bytes() for path in tmp_path.glob("copies/*")] == [b"before"]


def test_an_upload_of_an_absent_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "absent", "a")
    assert store.entries("") == []


def test_conditional_creation_is_proved(store: Store) -> None:
    require_conditions(store)
    assert store.entries("") == []


def test_an_unknown_kind_of_address_is_not_repeated() -> None:
    with pytest.raises(RequestError, match="must be a folder or s3://bucket/prefix") as caught:
        open_store("ftp://user:password@host/folder")
    assert "password" not in str(caught.value)


# A folder


def test_a_folder_is_read_in_place(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.replace("a/b", b"1")
    folder = store.folder("a")
    assert folder is not None
    assert (folder / "b").read_bytes() == b"1"
    assert store.folder("") == tmp_path
    assert store.folder("absent") == tmp_path / "absent"


@pytest.mark.parametrize("write", ["create", "replace", "upload"])
def test_a_write_that_fails_midway_is_not_visible(tmp_path: Path, large: Path, write: str) -> None:
    store = LocalStore(tmp_path / "store")
    source: Any = large if write == "upload" else large.read_bytes()
    arguments = (source, "a/b") if write == "upload" else ("a/b", source)
    with files_no_larger_than(LARGE // 2), pytest.raises(OSError, match="File too large"):
        getattr(store, write)(*arguments)
    assert store.read("a/b") is None
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_what_a_killed_writer_left_is_not_visible(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "left").write_bytes(b"half")
    store.replace("a", b"1")
    assert keys(store) == ["a"]


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pipeline.storage.store.os.link", link)
    with pytest.raises(RequestError, match=r"must be writable.*Operation not permitted"):
        require_conditions(LocalStore(tmp_path))


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.replace("a/b", b"1")

    def scandir(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("pipeline.storage.store.os.scandir", scandir)
    with pytest.raises(PermissionError):
        store.entries("")


# S3


def test_a_bucket_is_not_a_folder(s3_store: Store) -> None:
    assert s3_store.folder("") is None


def test_a_prefix_keeps_to_itself(s3_store: Store, s3_client: Any) -> None:
    bucket = s3_store.address.split("/")[2]
    for key in ("some/prefix2/a", "some/a", "b", "some/prefix/folder/"):  # the last as consoles make folders
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


def assert_no_secret(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert not [secret for secret in SECRETS if secret in told]


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


def test_a_service_that_ignores_conditions_is_refused(s3_store: Store, s3_service: S3Service) -> None:
    def ignore(environ: Environ) -> None:
        environ.pop("HTTP_IF_NONE_MATCH", None)

    s3_service.fault = ignore
    with pytest.raises(RequestError, match="must support conditional creation"):
        require_conditions(s3_store)
    assert s3_store.entries("") == []


@pytest.mark.parametrize("fault", ["501 NotImplemented", "403 AccessDenied"])
def test_a_service_that_refuses_to_write_is_refused(s3_store: Store, s3_service: S3Service, fault: str) -> None:
    s3_service.fault = lambda environ: fault if method("PUT")(environ) else None
    with pytest.raises(RequestError, match=r"must be writable, but .*(conditional creation|access was denied)"):
        require_conditions(s3_store)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404 NoSuchBucket", r"the bucket does not exist \(--workspace\)"),
        ("403 AccessDenied", r"access was denied \(AWS credentials\)"),
        ("403 InvalidAccessKeyId", r"the credentials were refused \(AWS credentials\)"),
        ("403 SignatureDoesNotMatch", r"the credentials were refused \(AWS credentials\)"),
        ("400 AuthorizationHeaderMalformed", r"another region \(AWS_REGION\)"),
    ],
)
def test_opening_tells_what_is_wrong(
    s3_address: str, s3_service: S3Service, caplog: pytest.LogCaptureFixture, fault: str, reason: str
) -> None:
    s3_service.fault = lambda environ: fault
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(RequestError, match=f"must be readable, but .*{reason}") as caught,
    ):
        open_store(s3_address)
    assert s3_address in str(caught.value)
    assert_no_secret(caught.value, caplog)
    told = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(told, OSError), "a stage on another node that is told so is tried again"
    assert str(told) == str(caught.value)


def test_opening_without_a_bucket(s3_service: S3Service) -> None:
    with pytest.raises(RequestError, match="the bucket does not exist"):
        open_store(f"s3://absent-{uuid.uuid4().hex}/prefix")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no usable credentials"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "no usable credentials"),
        ({"AWS_PROFILE": "absent"}, "no usable credentials"),
        ({"AWS_ENDPOINT_URL": "http://user:planted-secret-key@127.0.0.1:1"}, r"cannot be reached \(AWS_ENDPOINT_URL\)"),
        ({"AWS_ENDPOINT_URL": "planted-secret-key"}, r"must be a URL .*\(AWS_ENDPOINT_URL"),
        ({"AWS_REGION": "planted-secret-key@us"}, "AWS_REGION"),
    ],
)
def test_opening_in_a_wrong_environment(
    s3_address: str,
    no_waiting: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str | None],
    reason: str,
) -> None:
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with caplog.at_level(logging.INFO), pytest.raises(RequestError, match=reason) as caught:
        open_store(s3_address)
    assert_no_secret(caught.value, caplog)


@pytest.mark.parametrize(
    "address",
    [
        "s3://key:hidden@bucket/prefix",
        "s3://hidden@bucket",
        "s3://bucket/prefix?secret=hidden",
        "s3://bucket/prefix#hidden",
        "s3://bucket//hidden",
        "s3://bucket/../hidden",
        "s3:///hidden",
        "s3://",
    ],
)
def test_other_addresses_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(RequestError, match="must be s3://bucket/prefix") as caught:
        open_store(address)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
