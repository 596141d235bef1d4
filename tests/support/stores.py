"""Stores of both kinds as fixtures, and what S3 may do in between."""

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.storage.open import open_store
from pipeline.storage.store import Store
from pipeline.storage.workspace import Workspace
from support.s3 import SECRETS, Environ, Fault

MEBI = 2**20
LARGE = 20 * MEBI  # three parts


@pytest.fixture(params=["local", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a store lies, in turn of either kind."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("s3_address")


@pytest.fixture
def either_workspace(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a workspace that is made and empty, in turn on either kind of store."""
    monkeypatch.setenv("MSINET_CACHE", str(tmp_path / "cache"))
    workspace = Workspace(address)
    workspace.make()
    return workspace


@pytest.fixture
def store(address: str) -> Store:
    """Return an empty store, in turn of either kind."""
    return open_store(address)


@pytest.fixture
def s3_store(s3_address: str) -> Store:
    """Return an empty store on S3."""
    return open_store(s3_address)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries come at once."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Write a file of several parts."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    return path


def keys(store: Store, folder: str = "") -> list[str]:
    """List the keys below a folder, in the store's order."""
    return [entry.key for entry in store.entries(folder)]


def first(count: int, fault: str, wanted: Callable[[Environ], bool]) -> Fault:
    """Return what does a fault to the first so many requests of a kind."""
    done = []

    def decide(environ: Environ) -> str | None:
        if not wanted(environ) or len(done) == count:
            return None
        done.append(environ)
        return fault

    return decide


def method(name: str) -> Callable[[Environ], bool]:
    """Return what tells whether a request has a method."""
    return lambda environ: environ["REQUEST_METHOD"] == name


def assert_no_secret(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Assert that neither an error, with all that led to it, nor the log tells a secret."""
    told = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert not [secret for secret in SECRETS if secret in told]
