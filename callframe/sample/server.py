"""
An HTTP service on the loopback address that answers as CDF Functions do, from a made-up world.

It is what `callframe.demo` connects to, and what the tests of the client talk to: real requests, real faults.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from callframe.errors import ArgumentError, CallframeError
from callframe.http.transport import is_loopback
from callframe.sample.fault_injection import Faults
from callframe.sample.http_api import Api
from callframe.sample.middleware import Asked, Middleware

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from callframe.sample.project_data import ProjectData

__all__ = ["Asked", "Faults", "Service"]

PATIENCE_S = 0.5
"""How long answers under way may take when the service stops."""


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn is not followed by the type checker
    """A server that ends when told to; uvicorn's own looks ten times a second and then sleeps a little."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets=sockets)

    async def main_loop(self) -> None:
        await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()  # closes those that are idle, the others after their answer
        await self._finish()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._finish()

    async def _finish(self) -> None:
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=PATIENCE_S)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)


class Service:
    """
    Serves a world over HTTP on this machine.

    Parameters
    ----------
    world
        What is served; it may change meanwhile.
    project
        Name of the project.
    token
        The bearer token to insist on; None for a random one.
    host
        A loopback address.
    port
        Port to listen on; 0 for any that is free.
    latency_s
        Seconds every answer waits; requests wait side by side.
    page_cap
        Most calls a page holds, whatever limit is asked for.
    faults
        What goes wrong on the way.

    Raises
    ------
    ArgumentError
        The host is not a loopback address, or another argument cannot be right.
    """

    def __init__(
        self,
        world: ProjectData,
        *,
        project: str = "demo",
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        page_cap: int = 10_000,
        faults: Faults | None = None,
    ) -> None:
        if not is_loopback(host):
            raise ArgumentError(f"host={host!r}: the embedded service listens on a loopback address only (127.0.0.1).")
        if not latency_s >= 0 or page_cap < 1:
            raise ArgumentError(f"latency_s={latency_s} must not be negative, page_cap={page_cap} not below 1.")
        self.world = world
        self.project = project
        self.token = secrets.token_urlsafe(32) if token is None else token
        self.faults = Faults() if faults is None else faults
        self._host, self._port = host, port
        api = Api(world, project=project, page_cap=page_cap, faults=self.faults)
        self._gate = Middleware(
            api.app,
            project=project,
            token=self.token,
            latency_s=latency_s,
            faults=self.faults,
            transport=self._transport,
        )
        self._server: _Server
        self._thread: threading.Thread | None = None
        self._url: str | None = None

    def __repr__(self) -> str:
        """Tell where it listens; the token is no part of it."""
        return f"<Service of project {self.project!r}, {self._url or 'not started'}>"

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:PORT`."""
        if self._url is None:
            raise CallframeError("The service has not been started: call start(), or use it as a context manager.")
        return self._url

    @property
    def requests(self) -> list[Asked]:
        """Every request so far, in the order of the answers."""
        return self._gate.asked

    @property
    def most_at_once(self) -> int:
        """The largest number of requests there were at the same time."""
        return self._gate.most_at_once

    def environment(self) -> dict[str, str]:
        """Tell the environment variables that let a client find the service and sign in, the token among them."""
        return {
            "CDF_URL": self.url,
            "CDF_PROJECT": self.project,
            "CDF_CLUSTER": "demo",
            "LOGIN_FLOW": "token",
            "CDF_TOKEN": self.token,
        }

    def start(self) -> None:
        """
        Listen, in a thread of its own; on return requests are answered.

        Raises
        ------
        CallframeError
            It runs already, or the port is taken.
        """
        if self._thread is not None:
            raise CallframeError(f"The service runs already at {self._url}.")
        listener = self._listen()
        # The log set-up of uvicorn would change that of the whole process.
        config = uvicorn.Config(
            self._gate,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            server_header=False,
            date_header=False,
            timeout_keep_alive=60,
        )
        self._gate.stopping = False
        self._server = _Server(config)
        arguments = {"sockets": [listener]}
        self._thread = threading.Thread(target=self._server.run, kwargs=arguments, name="callframe-demo", daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self._thread = None
                raise CallframeError("The embedded service did not start; its thread ended at once.")
            time.sleep(0.002)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{host}:{listener.getsockname()[1]}"

    def stop(self) -> None:
        """Close the listener and every connection; a service that does not run is left alone."""
        if self._thread is None:
            return
        self._gate.stopping = True
        self._server.end()
        self._thread.join(5)
        self._thread, self._url = None, None

    def serve_forever(self, announce: Callable[[], None] | None = None) -> None:
        """
        Serve until Ctrl-C or SIGTERM, in the main thread; a service that runs already goes on till then.

        Parameters
        ----------
        announce
            Called once requests are answered.

        Raises
        ------
        CallframeError
            The port is taken.
        """
        done = threading.Event()
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda *_: done.set()) for number in signals}
        try:
            if self._thread is None:
                self.start()
            if announce is not None:
                announce()
            # A wait without end is deaf to signals on Windows.
            while not done.wait(0.5):
                pass
        finally:
            self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio sends small answers at once (TCP_NODELAY) only from sockets that name their protocol.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
            listener.listen(256)
        except OSError as error:
            listener.close()
            raise CallframeError(
                f"Cannot listen on {self._host}, port {self._port}: {error.strerror}. "
                "Choose another port, or 0 for any that is free."
            ) from error
        return listener

    def _transport(self, client: Any) -> asyncio.Transport | None:
        for connection in self._server.server_state.connections:
            if connection.client == tuple(client):
                transport: asyncio.Transport = connection.transport
                return transport
        return None
