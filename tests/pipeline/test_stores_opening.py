"""A store that cannot be opened says in one sentence what is wrong, and repeats no secret."""

import logging
import pickle
import re
import traceback
import uuid
from pathlib import Path
from typing import Any

import pytest
from support.command_line import write
from support.s3 import Environ, S3Service
from support.stores import assert_no_secret, method

from pipeline.cli import main
from pipeline.errors import RequestError
from pipeline.storage.open import open_store, require_conditions
from pipeline.storage.store import Store
from pipeline.storage.workspace import Workspace


def test_an_unknown_kind_of_address_is_not_repeated() -> None:
    with pytest.raises(RequestError, match="must be a folder or s3://bucket/prefix") as caught:
        open_store("ftp://user:password@host/folder")
    assert "password" not in str(caught.value)


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
        ("301 PermanentRedirect", r"another region \(AWS_REGION\)"),
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


@pytest.mark.parametrize("status", ["301 PermanentRedirect", "307 TemporaryRedirect", "302 Found"])
def test_a_redirection_without_a_region_is_not_followed_for_ever(
    s3_address: str, s3_service: S3Service, status: str
) -> None:
    s3_service.fault = lambda environ: status
    with pytest.raises(RequestError, match="must be readable"):
        open_store(s3_address)
    assert s3_service.requests < 10


@pytest.mark.parametrize("verb", ["plan", "status"])
def test_a_store_that_fails_after_it_was_opened_is_one_sentence(
    s3_address: str,
    s3_service: S3Service,
    tiny: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
) -> None:
    Workspace(s3_address).make()
    s3_service.fault = lambda environ: "403 AccessDenied" if environ["PATH_INFO"].endswith("/result.json") else None
    with pytest.raises(SystemExit) as ended:
        main([verb, str(write(tmp_path, tiny)), "--workspace", s3_address])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert re.fullmatch(rf"error: {s3_address}/stages/prepare/\w+/result.json failed: access was denied .*\n", err), err
    assert out == ""


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
