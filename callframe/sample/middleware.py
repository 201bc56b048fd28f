"""The gate every request passes before the API: token, latency, faults, and a record of what was asked."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import secrets
import socket
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from callframe.sample.fault_injection import Faults, Kind

MOST_BYTES = 16 * 2**20
_PAUSE_S = 0.05
_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True)
class Asked:
    """
    One request, and how it went.

    Parameters
    ----------
    method, path, query
        What was asked, without the token.
    body
        JSON of the request, None when there was none or it is not JSON.
    status
        HTTP status of the answer, None when the connection was reset instead.
    request_id
        `X-Request-ID` of the answer.
    """

    method: str
    path: str
    query: str
    body: Any
    status: int | None
    request_id: str


@dataclass(frozen=True)
class Answer:
    """What goes back, once it is known whole."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Middleware:
    """
    An ASGI application in front of the API.

    Parameters
    ----------
    app
        The API.
    project, token
        The only ones that are let in.
    latency_s
        Seconds every answer waits.
    faults
        What goes wrong on the way.
    transport
        Finds the connection of a client by its address.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        project: str,
        token: str,
        latency_s: float,
        faults: Faults,
        transport: Callable[[Any], asyncio.Transport | None],
    ) -> None:
        self._app = app
        self._project = project
        self._token = token
        self._latency_s = latency_s
        self._faults = faults
        self._transport = transport
        self._numbers = itertools.count()
        self._at_once = 0
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._serve(scope, receive, send)
        finally:
            self._at_once -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        scope["number"] = next(self._numbers)
        request_id = str(uuid4())
        await self._wait()
        fault = self._faults.draw(scope["number"]) if scope["path"].startswith("/api/") else None
        answer = None if fault == "reset" else await self._answer(scope, body, fault)
        self._note(scope, body, answer, request_id)
        if answer is None:
            await self._break_off(scope, receive)
            return
        headers = [*answer.headers, (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if fault == "cut":
            await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
            await self._hang_up(scope, receive)
            return
        await send({"type": "http.response.body", "body": answer.body})

    async def _wait(self) -> None:
        remaining_s = self._latency_s
        while remaining_s > 0 and not self.stopping:
            await asyncio.sleep(min(remaining_s, _PAUSE_S))
            remaining_s -= _PAUSE_S

    async def _answer(self, scope: Scope, body: bytes, fault: Kind | None) -> Answer:
        if fault == "too_many":
            after_s = self._faults.retry_after_s
            more = [] if after_s is None else [(b"retry-after", f"{after_s:g}".encode())]
            return _error(429, "Too many requests, please slow down", more)
        if fault == "unavailable":
            return _error(503, "Service unavailable, please retry")
        if fault == "html":
            return Answer(502, _headers(_GATEWAY, b"text/html"), _GATEWAY)
        if not self._is_let_in(scope):
            return _error(401, "Unauthorized")
        try:
            return await _ask(self._app, scope, _plain(scope, body))
        except (OSError, EOFError, zlib.error):
            return _error(400, "Request body is not valid gzip")

    def _is_let_in(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        expected = f"Bearer {self._token}".encode()
        parts = scope["path"].split("/")
        known = len(parts) < 5 or parts[3] != "projects" or parts[4] == self._project  # noqa: PLR2004
        return secrets.compare_digest(headers.get(b"authorization", b""), expected) and known

    def _note(self, scope: Scope, body: bytes, answer: Answer | None, request_id: str) -> None:
        try:
            parsed = json.loads(_plain(scope, body))
        except (ValueError, OSError, EOFError, zlib.error):
            parsed = None
        query, status = scope["query_string"].decode("latin-1"), None if answer is None else answer.status
        self.asked.append(Asked(scope["method"], scope["path"], query, parsed, status, request_id))

    async def _break_off(self, scope: Scope, receive: Receive) -> None:
        transport = self._transport(scope["client"])
        if transport is not None:
            # Lingering for no time makes closing a reset.
            linger = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.abort()
        await _gone(receive)

    async def _hang_up(self, scope: Scope, receive: Receive) -> None:
        transport = self._transport(scope["client"])
        if transport is not None:
            transport.close()
        await _gone(receive)


async def _read(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= MOST_BYTES:
            parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ask(app: ASGIApp, scope: Scope, body: bytes) -> Answer:
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in messages[1:])
    return Answer(messages[0]["status"], messages[0]["headers"], text)


def _plain(scope: Scope, body: bytes) -> bytes:
    return gzip.decompress(body) if dict(scope["headers"]).get(b"content-encoding") == b"gzip" else body


def _error(status: int, message: str, more: list[tuple[bytes, bytes]] | None = None) -> Answer:
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return Answer(status, [*_headers(body, b"application/json"), *(more or [])], body)


def _headers(body: bytes, kind: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
