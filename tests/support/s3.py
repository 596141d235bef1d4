"""An S3 service in the test's own process that can be told to misbehave, as fixtures."""

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

# What nothing may ever tell; the service itself accepts any keys.
ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "AKIAPLANTEDACCESSKEY", "planted-secret-key", "planted-session-token"
SECRETS = (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)

Environ = dict[str, Any]
Fault = Callable[[Environ], str | None]


class S3Service:
    """moto's S3, with faults.

    Attributes:
        fault: Called with each request (WSGI's environ, which it may change); what it returns is done to the request:
            "503 SlowDown" and the like answer it with that error, and it never arrives; "lost" loses the answer to it;
            "cut" breaks its answer off halfway; None does nothing.
        requests: How many requests came.
    """

    def __init__(self) -> None:
        self.application = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        self.fault: Fault = lambda environ: None
        self.requests = 0

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        # moto looks for an object and writes it in two steps, between which another request could write; S3 could not.
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
    """Writes no line for each request."""

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[tuple[S3Service, str]]:
    """An S3 service and its address, one per test process; other processes of the machine reach it too."""
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
    """The service without faults, in an AWS environment that knows of nothing else."""
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
    """A client of the service."""
    session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
    return session.client("s3", endpoint_url=s3_server[1])


@pytest.fixture
def s3_address(s3_service: S3Service, s3_client: Any) -> str:
    """`s3://bucket/some/prefix` with a bucket of the test's own."""
    bucket = f"test-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/prefix"
