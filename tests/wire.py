"""What the tests of the wire share: small worlds, a project at the embedded service, a server that does as told."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from callframe.api.client import Client, Retry
from callframe.auth.credentials import Credentials, StaticToken
from callframe.auth.settings import Target
from callframe.http.transport import Transport
from callframe.project import Project
from callframe.sample.server import Service

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from callframe.sample.project_data import ProjectData

NOW_MS = 1_780_000_000_000  # 2026-05-28 20:26:40 UTC
DAY_MS = 24 * 60 * 60 * 1000
QUICK = Retry(base_s=0.01, cap_s=0.05)
TOKEN = "t0ken.of-nobody.c2ln"


def record(**changes: Any) -> dict[str, Any]:
    """Write a finished call of function 7 a minute before now, but for some changes."""
    start_ms = changes.get("startTime", NOW_MS - 60_000)
    call = {"id": 1, "functionId": 7, "status": "Completed", "startTime": start_ms, "endTime": NOW_MS - 30_000}
    return call | changes


def function(**changes: Any) -> dict[str, Any]:
    return {"id": 7, "name": "Seven", "externalId": "seven", "createdTime": NOW_MS - 30 * DAY_MS} | changes


def many(count: int, *, function_id: int = 7, step_ms: int = 1000) -> list[dict[str, Any]]:
    """Write finished calls, one every so many milliseconds up to a second ago; ids of functions do not overlap."""
    first_ms = NOW_MS - count * step_ms
    return [
        record(id=function_id * 1_000_000 + at, functionId=function_id, startTime=first_ms + at * step_ms)
        for at in range(count)
    ]


@dataclass(frozen=True)
class Stand:
    """A service, and a project that is connected to it, where it is always `now_ms`."""

    service: Service
    project: Project

    @property
    def client(self) -> Client:
        return self.project.client

    def asked(self, end: str) -> list[Any]:
        """List the bodies of the requests whose path ends like this."""
        return [asked.body for asked in self.service.requests if asked.path.endswith(end)]


@contextmanager
def stand(
    world: ProjectData,
    *,
    now_ms: int = NOW_MS,
    workers: int = 5,
    retry: Retry = QUICK,
    credentials: Credentials | None = None,
    **options: Any,
) -> Iterator[Stand]:
    """Serve a world to a project of its own."""
    with Service(world, **options) as service:
        target = Target(service.url, service.project)
        client = Client(target, credentials or StaticToken(service.token), workers=workers, retry=retry)
        with Project(client, clock=lambda: now_ms / 1000) as project:
            yield Stand(service, project)


@dataclass(frozen=True)
class Heard:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer as it goes; without a status the connection is closed, and `cut` ends it before its announced end."""

    status: int | None = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    after: threading.Event | None = None


def says(value: Any, status: int = 200, **headers: str) -> Reply:
    """Answer with JSON; the name of a header has underscores here."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | named)


def refuses(status: int, message: str = "no", headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
    """Answer with an error as the API writes it."""
    body = {"error": {"code": status, "message": message, **more}}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})


class Raw:
    """A server that answers with replies in turn, the last one for all that follow, or as a function says."""

    def __init__(self, *replies: Reply, answer: Callable[[Heard], Reply] | None = None) -> None:
        self.heard: list[Heard] = []
        self.port = 0
        self.scheme = "http"
        self._replies = replies
        self._answer = answer
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def reply(self, heard: Heard) -> Reply:
        with self._lock:
            self.heard.append(heard)
            if self._answer is not None:
                return self._answer(heard)
            return self._replies[min(len(self.heard), len(self._replies)) - 1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    raw: Raw

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.raw.reply(Heard(self.command, self.path, headers, body))
        if reply.after is not None:
            reply.after.wait(10)
        self.close_connection = reply.status is None or reply.cut
        if reply.status is None:
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)

    do_POST = do_CONNECT = do_GET  # noqa: N815 - names that http.server looks for

    def log_message(self, *_: object) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def listening(raw: Raw, *, tls: ssl.SSLContext | None = None) -> Iterator[Raw]:
    """Let a raw server answer."""
    handler = type("Handler", (_Handler,), {"raw": raw})
    with _Server(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            raw.scheme = "https"
        raw.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield raw
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def asking(
    raw: Raw,
    *,
    retry: Retry = QUICK,
    credentials: Credentials | None = None,
    workers: int = 5,
    tls: ssl.SSLContext | None = None,
    origin: str | None = None,
    **options: Any,
) -> Iterator[Client]:
    """Let a raw server answer a client; `options` are those of its transport."""
    with listening(raw, tls=tls):
        target = Target(origin or raw.url, "demo")
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
