"""Ray's token: only its owner can read it, and a home that cannot be written is no obstacle."""

import os
from pathlib import Path

import pytest

from pipeline.cluster.token import TOKEN, protect_token, provide_token
from pipeline.errors import RequestError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home of a user with the usual umask, for a Ray with a token."""
    for name in (TOKEN, f"{TOKEN}_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(TOKEN, "")  # restored after the test, whatever the code sets
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(0o022)
    yield tmp_path  # type: ignore[misc]
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_nobody_else_can_read_a_new_token(home: Path) -> None:
    provide_token()
    path = home / ".ray" / "auth_token"
    assert len(path.read_text()) >= 32
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert not os.environ[TOKEN], "Ray reads the file"


@pytest.mark.parametrize("react", [provide_token, protect_token])
def test_a_token_that_others_can_read_is_closed_to_them(home: Path, react: object) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("mine" * 8)
    path.chmod(0o644)
    react()  # type: ignore[operator]
    assert mode(path) == 0o600
    assert path.read_text() == "mine" * 8


def test_where_no_file_can_be_written_the_token_is_in_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc/nohome")
    provide_token()
    first = os.environ[TOKEN]
    assert len(first) >= 32
    monkeypatch.setenv(TOKEN, "")
    provide_token()
    assert os.environ[TOKEN] != first, "each run has its own"


def test_an_empty_file_is_no_token(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("\n")
    provide_token()
    assert len(os.environ[TOKEN]) >= 32


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_MODE", "disabled"), (TOKEN, "t" * 32), (f"{TOKEN}_PATH", "/some/file")]
)
def test_what_the_user_has_set_stays(home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    provide_token()
    assert os.environ[name] == value
    assert not (home / ".ray").exists()


@pytest.mark.parametrize("value", ["tokens", ""])
def test_a_wrong_mode_does_not_mean_no_token(home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", value)
    with pytest.raises(RequestError, match="must be `token` or `disabled`"):
        provide_token()


def test_no_token_is_no_error_for_a_driver_that_joins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protect_token()
    assert list(home.iterdir()) == []
