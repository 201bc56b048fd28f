"""ASGI middleware of the embedded service: authentication, latency, fault injection and a record of the requests."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import random
import secrets
import socket
import struct
import zlib
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import uuid4

from callframe.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FaultKind = Literal["throttled", "unavailable", "reset", "truncated", "bad_gateway"]
FAULT_KINDS: tuple[FaultKind, ...] = ("throttled", "unavailable", "reset", "truncated", "bad_gateway")

MAX_BODY_BYTES = 16 * 2**20
_PAUSE_S = 0.05
_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Faults:
    """
    Faults that the service injects; by default none.

    The first five are shares of all API requests. The seed and the number of a request decide which fault it meets.

    Parameters
    ----------
    throttled
        Share with status 429.
    unavailable
        Share with status 503.
    reset
        Share whose connection is reset before a response.
    truncated
        Share whose body is shorter than its `Content-Length`.
    bad_gateway
        Share with status 502 and an HTML page.
    forbidden
        Ids of functions with status 403.
    retry_after_s
        `Retry-After` of a 429; None omits the header.
    expire_cursors_after
        Number of pages after which the cursor of a listing expires, once for each function.
    repeat_cursor
        Whether each page of a listing repeats the same cursor, so that the listing never ends.
    short_pages
        Whether pages hold fewer calls than requested, sometimes none, although more follow.
    seed
        Seed of the random generator.

    Raises
    ------
    ArgumentError
        A share or their sum is not between 0 and 1.
    """

    throttled: float = 0.0
    unavailable: float = 0.0
    reset: float = 0.0
    truncated: float = 0.0
    bad_gateway: float = 0.0
    forbidden: frozenset[int] = frozenset()
    retry_after_s: float | None = 0.05
    expire_cursors_after: int | None = None
    repeat_cursor: bool = False
    short_pages: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate the shares."""
        shares = {kind: self._share(kind) for kind in FAULT_KINDS}
        if any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
            raise ArgumentError(f"Shares of faults and their sum must be between 0 and 1: found {shares}.")

    def draw(self, request_number: int) -> FaultKind | None:
        """Draw the fault of a request."""
        remainder = random.Random(f"{self.seed}/{request_number}").random()  # noqa: S311 - repeatable, not secret
        for kind in FAULT_KINDS:
            remainder -= self._share(kind)
            if remainder < 0:
                return kind
        return None

    def page_size(self, limit: int, request_number: int) -> int:
        """Draw the largest number of calls in the page of a request."""
        if not self.short_pages:
            return limit
        return random.Random(f"{self.seed}/{request_number}/page").randint(0, limit)  # noqa: S311

    def _share(self, kind: FaultKind) -> float:
        return cast("float", getattr(self, kind))


@dataclass(frozen=True)
class RequestRecord:
    """A request without its token, and the status and id of the response; a reset connection has no status."""

    method: str
    path: str
    query: str
    body: Any
    status: int | None
    request_id: str


@dataclass(frozen=True)
class BufferedResponse:
    """A complete response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Middleware:
    """An ASGI application in front of `app`; `find_transport` returns the connection of a client by its address."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        project: str,
        token: str,
        latency_s: float,
        faults: Faults,
        clock: Callable[[], float] | None,
        find_transport: Callable[[Any], asyncio.Transport | None],
    ) -> None:
        self._app = app
        self._project = project
        self._token = token
        self._latency_s = latency_s
        self._faults = faults
        self._clock = clock
        self._find_transport = find_transport
        self._request_numbers = itertools.count()
        self._concurrent_requests = 0
        self.requests: list[RequestRecord] = []
        self.max_concurrent_requests = 0
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            return
        self._concurrent_requests += 1
        self.max_concurrent_requests = max(self.max_concurrent_requests, self._concurrent_requests)
        try:
            await self._handle(scope, receive, send)
        finally:
            self._concurrent_requests -= 1

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        scope["number"] = next(self._request_numbers)
        request_id = str(uuid4())
        await self._delay()
        fault = self._faults.draw(scope["number"]) if scope["path"].startswith("/api/") else None
        response = None if fault == "reset" else await self._respond(scope, body, fault)
        self._record(scope, body, response, request_id)
        if response is None:
            await self._close(scope, receive, reset=True)
            return
        headers = [*response.headers, (b"x-request-id", request_id.encode())]
        if self._clock is not None:
            headers.append((b"date", formatdate(self._clock(), usegmt=True).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if fault == "truncated":
            half = response.body[: len(response.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            await self._close(scope, receive, reset=False)
            return
        await send({"type": "http.response.body", "body": response.body})

    async def _delay(self) -> None:
        remaining_s = self._latency_s
        while remaining_s > 0 and not self.stopping:
            await asyncio.sleep(min(remaining_s, _PAUSE_S))
            remaining_s -= _PAUSE_S

    async def _respond(self, scope: Scope, body: bytes, fault: FaultKind | None) -> BufferedResponse:
        if fault == "throttled":
            after_s = self._faults.retry_after_s
            headers = [] if after_s is None else [(b"retry-after", f"{after_s:g}".encode())]
            return _error(429, "Too many requests, please slow down", headers)
        if fault == "unavailable":
            return _error(503, "Service unavailable, please retry")
        if fault == "bad_gateway":
            return BufferedResponse(502, _headers(_GATEWAY_PAGE, b"text/html"), _GATEWAY_PAGE)
        if not self._is_authorized(scope):
            return _error(401, "Unauthorized")
        try:
            return await _call_app(self._app, scope, _decompressed(scope, body))
        except (OSError, EOFError, zlib.error):
            return _error(400, "Request body is not valid gzip")

    def _is_authorized(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        expected = f"Bearer {self._token}".encode()
        parts = scope["path"].split("/")
        is_this_project = len(parts) < 5 or parts[3] != "projects" or parts[4] == self._project  # noqa: PLR2004
        return secrets.compare_digest(headers.get(b"authorization", b""), expected) and is_this_project

    def _record(self, scope: Scope, body: bytes, response: BufferedResponse | None, request_id: str) -> None:
        try:
            parsed = json.loads(_decompressed(scope, body))
        except (ValueError, OSError, EOFError, zlib.error):
            parsed = None
        query, status = scope["query_string"].decode("latin-1"), None if response is None else response.status
        self.requests.append(RequestRecord(scope["method"], scope["path"], query, parsed, status, request_id))

    async def _close(self, scope: Scope, receive: Receive, *, reset: bool) -> None:
        transport = self._find_transport(scope["client"])
        if transport is not None and reset:
            no_linger = struct.pack("ii", 1, 0)  # makes the system reset the connection when it closes
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            transport.abort()
        elif transport is not None:
            transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass


async def _read_body(receive: Receive) -> bytes:
    """Read a request body; what exceeds `MAX_BODY_BYTES` is dropped."""
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _call_app(app: ASGIApp, scope: Scope, body: bytes) -> BufferedResponse:
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in messages[1:])
    return BufferedResponse(messages[0]["status"], messages[0]["headers"], content)


def _decompressed(scope: Scope, body: bytes) -> bytes:
    return gzip.decompress(body) if dict(scope["headers"]).get(b"content-encoding") == b"gzip" else body


def _error(status: int, message: str, headers: list[tuple[bytes, bytes]] | None = None) -> BufferedResponse:
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return BufferedResponse(status, [*_headers(body, b"application/json"), *(headers or [])], body)


def _headers(body: bytes, content_type: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
