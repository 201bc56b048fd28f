"""Services for tests: projects at the embedded service, project data that changes, and a fake HTTP server."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from factories import DAY_MS, MINUTE_MS, NOW_MS, call_record, function_record, page_body

from callframe import frame
from callframe.api import schemas
from callframe.api.catalogue import Catalogue
from callframe.api.client import Client
from callframe.api.schemas import Call, Function, decode_page
from callframe.auth.settings import Target
from callframe.auth.tokens import Credentials, StaticToken
from callframe.http.retry import Retry
from callframe.http.transport import Transport
from callframe.project import Project
from callframe.sample.http_api import ApiError
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Service

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd

    from callframe.sample.project_data import Filter, Page

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
    clock: Callable[[], float] | None = None,
    local_clock: Callable[[], float] | None = None,
    sends_date: bool = True,
    workers: int = 5,
    retry: Retry = FAST_RETRY,
    credentials: Credentials | None = None,
    **options: Any,
) -> Iterator[ServedProject]:
    """Serve project data to a project; by default the clocks of both stand still at `now_ms`."""
    clock = clock or (lambda: now_ms / 1000)
    with Service(data, clock=clock if sends_date else None, **options) as service:
        target = Target(service.url, service.project)
        client = Client(target, credentials or StaticToken(service.token), workers=workers, retry=retry)
        with Project(client, clock=local_clock or clock) as project:
            yield ServedProject(service, project)


RUN_LIMIT_MS = 15 * MINUTE_MS
"""How late a call may appear in a listing."""


class ChangingProject(ProjectData):
    """Project data with a clock, and with time ranges of functions that cannot be listed."""

    now_ms: int = NOW_MS
    unreadable: list[tuple[int, int, int]]
    """Function id, start and end of the time ranges that cannot be listed."""

    def page(self, function_id: int, filter_: Filter, **more: Any) -> Page:
        low, high = filter_.start
        for unreadable_id, start_ms, end_ms in self.unreadable:
            if (
                unreadable_id == function_id
                and low is not None
                and high is not None
                and low < end_ms
                and high >= start_ms
            ):
                raise ApiError(400, "This range cannot be listed")
        return super().page(function_id, filter_, **more)


def changing_project(
    *calls: dict[str, Any], functions: list[dict[str, Any]] | None = None, **more: Any
) -> ChangingProject:
    """Build project data with calls, by default of the function seven."""
    by_function: dict[int, list[dict[str, Any]]] = {7: []}
    for call in calls:
        by_function.setdefault(call["functionId"], []).append(call)
    data = ChangingProject.from_records(functions=functions or [function_record()], calls=by_function, **more)
    assert isinstance(data, ChangingProject)
    data.unreadable = []
    return data


@contextmanager
def serve(data: ChangingProject, **options: Any) -> Iterator[Project]:
    """Serve project data to a project with the same clock."""
    with serve_project(data, clock=lambda: data.now_ms / 1000, workers=2, **options) as served:
        yield served.project


@dataclass
class RecordedHistory:
    """Every function and every state of a call that was ever listed."""

    functions: dict[int, dict[str, Any]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def record(self, data: ChangingProject) -> None:
        self.functions |= {function["id"]: function for function in data.functions}
        for function in data.functions:
            self.calls += data.calls(function["id"])

    def to_frame(self) -> pd.DataFrame:
        """Return the frame that a single fetch of everything would give."""
        calls = decode_page(page_body(*self.calls), Call)
        functions = decode_page(page_body(*self.functions.values()), Function)
        return frame.from_columns([schemas.to_columns(calls.items)], Catalogue(functions.items).labels)


@dataclass
class RandomChanges:
    """Changes project data at random, in ways that the service allows."""

    data: ChangingProject
    rng: random.Random
    next_id: int = 1000

    def advance(self) -> None:
        """Let time pass: calls end, calls start."""
        before_ms = self.data.now_ms
        self.data.now_ms += self.rng.choice([1, 20 * MINUTE_MS, DAY_MS // 3, DAY_MS, 5 * DAY_MS])
        for function in self.data.functions:
            for call in self.data.calls(function["id"]):
                if call["status"] not in {"Completed", "Failed", "Timeout"} and self.rng.random() < 0.5:
                    self.data.replace_call(self._end(call))
            for _ in range(self.rng.randrange(4)):
                self.data.add_call(self._start(function["id"], before_ms, self.data.now_ms))
            if self.rng.random() < 0.3:  # a call that started before the last sync, but was not listed then
                self.data.add_call(self._start(function["id"], before_ms - RUN_LIMIT_MS, before_ms))

    def delete(self, function_ids: set[int]) -> None:
        """Delete calls of functions, and redeploy some."""
        for function in list(self.data.functions):
            if function["id"] not in function_ids:
                continue
            for call in self.data.calls(function["id"]):
                if self.rng.random() < 0.2:
                    self.data.remove_call(function["id"], call["id"])
            if self.rng.random() < 0.2:
                self.data.remove_function(function["id"])
                self.next_id += 1
                self.data.add_function({**function, "id": self.next_id, "createdTime": self.data.now_ms})

    def _start(self, function_id: int, after_ms: int, before_ms: int) -> dict[str, Any]:
        self.next_id += 1
        start_ms = self.rng.randrange(after_ms, before_ms)
        call = call_record(id=self.next_id, functionId=function_id, startTime=start_ms, status="Running", endTime=...)
        if self.rng.random() < 0.5:
            call |= {"scheduledTime": start_ms - 1, "scheduleId": 3}
        if self.rng.random() < 0.1:
            call["status"] = "Paused"
        return self._end(call) if self.rng.random() < 0.6 else call

    def _end(self, call: dict[str, Any]) -> dict[str, Any]:
        status = self.rng.choice(["Completed", "Failed", "Timeout"])
        error = {"error": {"message": "no", "trace": "at all"}} if status == "Failed" else {}
        return {**call, "status": status, "endTime": call["startTime"] + self.rng.randrange(600_000), **error}


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
    early_hints: bool = False
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
    """
    A server that sends the given replies in turn and repeats the last one, or calls `respond` for each request.

    It has no function apps, and does not record that it was asked for them, unless `has_apps` is true.
    """

    def __init__(
        self, *replies: Reply, respond: Callable[[ReceivedRequest], Reply] | None = None, has_apps: bool = False
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        self.port = 0
        self.scheme = "http"
        self._replies = replies
        self._respond = respond
        self._has_apps = has_apps
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def reply(self, request: ReceivedRequest) -> Reply:
        if request.path.endswith("/function-apps") and not self._has_apps:
            return error_reply(404)
        with self._lock:
            self.requests.append(request)
            if self._respond is not None:
                return self._respond(request)
            return self._replies[min(len(self.requests), len(self._replies)) - 1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each reply, sent in two parts, would wait for 40 ms
    fake: FakeServer

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.fake.reply(ReceivedRequest(self.command, self.path, headers, body))
        if reply.wait_for is not None:
            reply.wait_for.wait(10)
        if reply.early_hints:
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        self.close_connection = reply.status is None or reply.truncated
        if reply.status is None:
            return
        self.send_response_only(reply.status)  # without the date, which is not that of the tests
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
