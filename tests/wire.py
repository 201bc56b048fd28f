"""Shared by the tests that send requests: a project of the embedded service, and a fake HTTP server."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from factories import NOW_MS

from callframe.api.client import Client
from callframe.auth.credentials import Credentials, StaticToken
from callframe.auth.settings import Target
from callframe.http.retry import Retry
from callframe.http.transport import Transport
from callframe.project import Project
from callframe.sample.server import Service

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from callframe.sample.project_data import ProjectData

FAST_RETRY = Retry(backoff_factor=0.01, backoff_max=0.05)
TOKEN = "t0ken.of-nobody.c2ln"


@dataclass(frozen=True)
class ServedProject:
    """An embedded service and a project connected to it."""

    service: Service
    project: Project

    @property
    def client(self) -> Client:
        return self.project.client

    def request_bodies(self, path_end: str) -> list[Any]:
        """List the bodies of the requests whose path ends with `path_end`."""
        return [request.body for request in self.service.requests if request.path.endswith(path_end)]


@contextmanager
def serve_project(
    data: ProjectData,
    *,
    now_ms: int = NOW_MS,
    workers: int = 5,
    retry: Retry = FAST_RETRY,
    credentials: Credentials | None = None,
    **options: Any,
) -> Iterator[ServedProject]:
    """Serve project data to a project whose clock stands still at `now_ms`."""
    with Service(data, **options) as service:
        target = Target(service.url, service.project)
        client = Client(target, credentials or StaticToken(service.token), workers=workers, retry=retry)
        with Project(client, clock=lambda: now_ms / 1000) as project:
            yield ServedProject(service, project)


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that the fake server received."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A response to send; without a status the connection is closed, and `truncated` sends half of the body."""

    status: int | None = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    truncated: bool = False
    wait_for: threading.Event | None = None


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    """Reply with JSON; underscores in the names of headers become hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | named)


def error_reply(status: int, message: str = "no", headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
    """Reply with an error as the API formats it."""
    body = {"error": {"code": status, "message": message, **more}}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


class FakeServer:
    """A server that sends the given replies in turn and repeats the last one, or calls `respond` for each request."""

    def __init__(self, *replies: Reply, respond: Callable[[ReceivedRequest], Reply] | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self.port = 0
        self.scheme = "http"
        self._replies = replies
        self._respond = respond
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def reply(self, request: ReceivedRequest) -> Reply:
        with self._lock:
            self.requests.append(request)
            if self._respond is not None:
                return self._respond(request)
            return self._replies[min(len(self.requests), len(self._replies)) - 1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.fake.reply(ReceivedRequest(self.command, self.path, headers, body))
        if reply.wait_for is not None:
            reply.wait_for.wait(10)
        self.close_connection = reply.status is None or reply.truncated
        if reply.status is None:
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.truncated else reply.body)

    do_POST = do_CONNECT = do_GET  # noqa: N815 - names required by http.server

    def log_message(self, *_: object) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Print nothing when a client disconnects."""


@contextmanager
def running(fake: FakeServer, *, tls: ssl.SSLContext | None = None) -> Iterator[FakeServer]:
    """Run a fake server."""
    handler = type("Handler", (_Handler,), {"fake": fake})
    with _Server(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            fake.scheme = "https"
        fake.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def client_of(
    fake: FakeServer,
    *,
    retry: Retry = FAST_RETRY,
    credentials: Credentials | None = None,
    workers: int = 5,
    tls: ssl.SSLContext | None = None,
    origin: str | None = None,
    **options: Any,
) -> Iterator[Client]:
    """Run a fake server and yield a client of it; `options` are those of its transport."""
    with running(fake, tls=tls):
        target = Target(origin or fake.url, "demo")
        transport = Transport(target.base_url, **options)
        client = Client(
            target,
            credentials or StaticToken(TOKEN),
            workers=workers,
            retry=retry,
            transport=transport,
        )
        try:
            yield client
        finally:
            client.close()
