"""The embedded HTTP service: serves project data on a loopback address as CDF Functions does."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from callframe.errors import ArgumentError, CallframeError
from callframe.http.transport import is_loopback
from callframe.sample.http_api import HttpApi
from callframe.sample.middleware import Faults, Middleware, RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from callframe.sample.project_data import ProjectData

__all__ = ["Faults", "RequestRecord", "Service"]

SHUTDOWN_TIMEOUT_S = 0.5
"""How long running requests may take when the service stops."""


class _Server(uvicorn.Server):  # type: ignore[misc]  # the type checker does not follow uvicorn
    """A server that stops at once; uvicorn's own polls ten times a second and then sleeps."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets=sockets)

    async def main_loop(self) -> None:
        await self._stopped.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # asyncio leaks a connection that is accepted just before its listener closes, so accepting ends first.
        with contextlib.suppress(NotImplementedError):  # the event loop of Windows
            for listener in sockets or ():
                self._loop.remove_reader(listener)
        for _ in range(3):
            await asyncio.sleep(0)
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()  # closes idle connections now, the others after their response
        await self._wait_for_requests()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._wait_for_requests()

    async def _wait_for_requests(self) -> None:
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=SHUTDOWN_TIMEOUT_S)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)


class Service:
    """
    An HTTP service for project data, which may change while it runs.

    Parameters
    ----------
    data
        Data to serve.
    project
        Name of the project.
    token
        Bearer token that requests must carry; None generates one.
    host
        A loopback address.
    port
        Port to listen on; 0 chooses a free one.
    latency_s
        Delay of each response; concurrent requests are delayed concurrently.
    page_cap
        Largest number of calls in a page, whatever limit is requested.
    faults
        Faults to inject.
    clock
        Function that returns the time of the `Date` header, in seconds since 1970-01-01 UTC; None sends no date.

    Raises
    ------
    ArgumentError
        The host is not a loopback address, or another argument is invalid.
    """

    def __init__(
        self,
        data: ProjectData,
        *,
        project: str = "demo",
        token: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency_s: float = 0.0,
        page_cap: int = 10_000,
        faults: Faults | None = None,
        clock: Callable[[], float] | None = time.time,
    ) -> None:
        if not is_loopback(host):
            raise ArgumentError(f"host={host!r}: the embedded service listens only on a loopback address (127.0.0.1).")
        if not latency_s >= 0 or page_cap < 1:
            raise ArgumentError(f"latency_s={latency_s} must be at least 0, page_cap={page_cap} at least 1.")
        self.data = data
        self.project = project
        self.token = secrets.token_urlsafe(32) if token is None else token
        faults = Faults() if faults is None else faults
        self._host, self._port = host, port
        self._middleware = Middleware(
            HttpApi(data, project=project, page_cap=page_cap, faults=faults).app,
            project=project,
            token=self.token,
            latency_s=latency_s,
            faults=faults,
            clock=clock,
            find_transport=self._find_transport,
        )
        self._server: _Server
        self._thread: threading.Thread | None = None
        self._url: str | None = None

    def __repr__(self) -> str:
        """Show the address without the token."""
        return f"<Service of project {self.project!r}, {self._url or 'not started'}>"

    def __enter__(self) -> Self:
        """Start the service."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the service."""
        self.stop()

    @property
    def url(self) -> str:
        """Base URL, `http://127.0.0.1:PORT`."""
        if self._url is None:
            raise CallframeError("The service has not been started: call start(), or use it as a context manager.")
        return self._url

    @property
    def requests(self) -> list[RequestRecord]:
        """All requests so far, ordered by response."""
        return self._middleware.requests

    @property
    def max_concurrent_requests(self) -> int:
        """Largest number of concurrent requests so far."""
        return self._middleware.max_concurrent_requests

    def environment(self) -> dict[str, str]:
        """Return the environment variables that connect a client, including the token."""
        return {
            "CDF_URL": self.url,
            "CDF_PROJECT": self.project,
            "CDF_CLUSTER": "demo",
            "LOGIN_FLOW": "token",
            "CDF_TOKEN": self.token,
        }

    def start(self) -> None:
        """Listen in a new thread; returns when the service responds."""
        if self._thread is not None:
            raise CallframeError(f"The service is already running at {self._url}.")
        listener = self._listen()
        # The logging set-up of uvicorn would change that of the whole process.
        config = uvicorn.Config(
            self._middleware,
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
        self._middleware.stopping = False
        self._server = _Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="callframe-demo", daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                self._thread = None
                raise CallframeError("The embedded service could not start: its thread ended.")
            time.sleep(0.002)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{host}:{listener.getsockname()[1]}"

    def stop(self) -> None:
        """Close the listener and all connections; does nothing if the service is not running."""
        if self._thread is None:
            return
        self._middleware.stopping = True
        self._server.stop()
        self._thread.join(5)
        self._thread, self._url = None, None

    def serve_forever(self, on_start: Callable[[], None] | None = None) -> None:
        """Serve until Ctrl-C or SIGTERM, called in the main thread; calls `on_start` when the service responds."""
        done = threading.Event()
        signals = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, lambda *_: done.set()) for number in signals}
        try:
            if self._thread is None:
                self.start()
            if on_start is not None:
                on_start()
            while not done.wait(0.5):  # on Windows, signals do not interrupt a wait without a timeout
                pass
        finally:
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio sends small responses at once (TCP_NODELAY) only if the socket names its protocol.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
            listener.listen(256)
        except OSError as error:
            listener.close()
            raise CallframeError(
                f"Cannot listen on {self._host}, port {self._port}: {error.strerror}. "
                "Choose another port, or 0 for any free port."
            ) from error
        return listener

    def _find_transport(self, client: Any) -> asyncio.Transport | None:
        for connection in self._server.server_state.connections:
            if connection.client == tuple(client):
                transport: asyncio.Transport = connection.transport
                return transport
        return None
