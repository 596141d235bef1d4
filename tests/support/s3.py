"""Fixtures of an S3 service in the test's own process, which can produce faults."""

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

# Credentials that must never appear in any output. The service itself accepts any keys.
ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "AKIAPLANTEDACCESSKEY", "planted-secret-key", "planted-session-token"
SECRETS = (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)

Environ = dict[str, Any]
Fault = Callable[[Environ], str | None]


class S3Service:
    """moto's S3, with faults.

    Attributes:
        fault: Function that is called with each request (WSGI's environ, which it may change) and returns the fault.
            None: no fault. "503 SlowDown" or another status and code: the request is answered with that error and not
            processed. "lost": the request is processed, but answered with an error. "cut": only the first half of the
            answer is sent.
        requests: Number of requests so far.
    """

    def __init__(self) -> None:
        self.application = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        self.fault: Fault = lambda environ: None
        self.requests = 0

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # moto looks for an object and writes it in two steps. Another request could write in between, which is not
        # possible in S3.
        with self.lock:
            self.requests += 1
            todo = self.fault(environ)
            if todo in (None, "lost", "cut"):
                body, status, headers = run_wsgi_app(self.application, environ, buffered=True)
                content = b"".join(body)
            else:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if todo == "lost":
            todo = "500 InternalError"
        if todo in (None, "cut"):
            start_response(status, list(headers))
            return [content if todo is None else content[: len(content) // 2]]
        code = todo.split(" ", 1)[1]
        error = f"<Error><Code>{code}</Code><Message>{' '.join(SECRETS)}</Message></Error>".encode()
        start_response(todo, [("Content-Type", "application/xml"), ("Content-Length", str(len(error)))])
        return [error]


class Quiet(MotoRequestHandler):
    """A request handler that logs nothing."""

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[S3Service, str]]:
    """Start an S3 service for the test process. Other processes of the machine can use its address too."""
    service = S3Service()
    server = make_server("127.0.0.1", 0, service, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield service, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def s3_service(s3_server: tuple[S3Service, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Service:
    """Return the service without faults, and set the AWS environment variables so that only this service is used."""
    service, endpoint = s3_server
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION_TOKEN)
    service.fault, service.requests = lambda environ: None, 0
    return service


@pytest.fixture(scope="session")
def s3_client(s3_server: tuple[S3Service, str]) -> Any:
    """Return a client of the service."""
    session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
    return session.client("s3", endpoint_url=s3_server[1])


@pytest.fixture
def s3_address(s3_service: S3Service, s3_client: Any) -> str:
    """Return `s3://bucket/some/prefix` with a new bucket for this test."""
    bucket = f"test-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/prefix"
