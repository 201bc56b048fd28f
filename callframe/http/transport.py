"""
One HTTP session that keeps secrets: no cookies, no redirects, no debug output and no exceptions of other libraries.

An exception of `requests` holds the request, and with it the token, in its attributes and in the frames of its
traceback. `Transport.send` therefore replaces it with a `TransportError` raised outside the `except` block.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import os
import platform
import ssl
import sys
import threading
import time
from http.client import IncompleteRead
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import NameResolutionError, NewConnectionError

from callframe.errors import ArgumentError, CallframeError, TransportError
from callframe.http.secret import Secret, wrap_secret

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from requests.auth import AuthBase

TIMEOUT_S = (5.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes of a response."""

DEADLINE_S = 300.0
"""Seconds in which a response must be complete, however steadily it drips."""

MAX_BODY_MB = 256.0
"""Largest size of a decoded body in megabytes: a page of 10,000 calls with long tracebacks has less."""

POOL_SIZE = 10

_POLL_S = 0.1
_PIECE_BYTES = 2**20
_current = threading.local()  # the `_Exchange` of the thread


class StoppedError(Exception):
    """The request was stopped. Never raised to users."""


class UnfinishedResponseError(TransportError):
    """A response was given up that is too large or takes too long; a repeated request would not help."""


class _Exchange:
    """What limits a request while its response is read: an event that stops it, and a deadline."""

    def __init__(self, stop: threading.Event | None, deadline_s: float) -> None:
        self.stop = stop
        self._end_s = time.monotonic() + deadline_s

    @property
    def is_stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self._end_s


class _WatchedReader(io.RawIOBase):
    """Read from a socket as long as the exchange of this thread allows it; it is checked ten times a second."""

    def __init__(self, sock: socket.socket, file: io.BufferedIOBase) -> None:
        self._sock = sock
        self._file = file  # keeps the socket open until it is closed
        self._exchange: _Exchange = _current.exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        timeout_s = self._sock.gettimeout() or TIMEOUT_S[1]
        end_s = time.monotonic() + timeout_s
        try:
            while True:
                if self._exchange.is_stopped or self._exchange.is_late:
                    raise TimeoutError
                self._sock.settimeout(min(_POLL_S, timeout_s))
                try:
                    return self._sock.recv_into(buffer)
                except TimeoutError:
                    if time.monotonic() >= end_s:
                        raise
        finally:
            self._sock.settimeout(timeout_s)

    def close(self) -> None:
        self._file.close()
        super().close()


class _WatchedResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_WatchedReader(sock, self.fp))

    def _read_status(self) -> tuple[str, int, str]:
        """Skip interim responses such as 103, which `http.client` takes for the response: all later ones would slip."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        while http.HTTPStatus.CONTINUE < status < http.HTTPStatus.OK and status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason


class _QuietConnection:
    debuglevel = 0  # http.client prints whole requests, including the token, where a user enables debugging globally
    response_class = _WatchedResponse


class _QuietAdapter(HTTPAdapter):
    """
    An adapter whose connections never print what they send, and stop reading in time.

    With `trusts_system` they trust the certificates of the system, as browsers do, beside those of `requests`.
    """

    trusts_system = False
    _context: ssl.SSLContext | None = None

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _QuietConnection):
            pool.ConnectionCls = type("QuietConnection", (_QuietConnection, pool.ConnectionCls), {})
            if self.trusts_system and pool.scheme == "https":
                pool.ConnectionCls.ssl_context = property(lambda _: self._trusting_context(), lambda *_: None)
        return pool

    def cert_verify(self, conn: Any, *args: Any, **kwargs: Any) -> None:
        super().cert_verify(conn, *args, **kwargs)  # type: ignore[no-untyped-call]
        if self.trusts_system:
            conn.ca_certs = None  # the context has them, and reading them takes 50 ms

    def _trusting_context(self) -> ssl.SSLContext:
        if self._context is not None and sys.platform == "linux":
            return self._context
        import truststore  # noqa: PLC0415 - needed for https only

        context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        if sys.platform == "linux":
            # OpenSSL itself verifies here, so one plain context serves all connections: each of truststore's own would
            # read the files again, and handshakes that share one wait for each other.
            context = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost").context
            context.sslsocket_class = ssl.SSLSocket
        self._context = context
        return context


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address is this machine."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def user_agent() -> str:
    """Return the `User-Agent` header: the versions of callframe and Python, and the platform."""
    return f"callframe/{version('callframe')} python/{platform.python_version()} ({platform.system() or 'unknown'})"


class Transport:
    """
    Send requests to one origin, `https://host[:port]`, without revealing secrets. Threads may share it.

    `verify` and `proxies` are those of `requests`, by default from the environment, where `SSL_CERT_FILE` counts too;
    without either, the certificates of the system are trusted beside those of `requests`. Requests to this machine
    ignore proxies.
    """

    def __init__(
        self,
        origin: str,
        *,
        verify: bool | str | None = None,
        proxies: Mapping[str, str] | Secret[Any] | None = None,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        deadline_s: float = DEADLINE_S,
        max_body_mb: float = MAX_BODY_MB,
    ) -> None:
        proxies = wrap_secret(proxies)
        if isinstance(verify, str) and not Path(verify).exists():
            raise ArgumentError(f"verify={verify!r} does not exist; expected a file or folder of trusted certificates.")
        self._verify = _ca_bundle() if verify is None else verify
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._max_body_mb = max_body_mb
        self._is_loopback = is_loopback(urlsplit(origin).hostname)
        # Passed with each request, since proxies of the environment take precedence over those of a session.
        self._proxies = Secret({}) if self._is_loopback or proxies is None else proxies
        self._session, self._process_id = self._open_session(), os.getpid()

    def send(
        self,
        method: str,
        url: str,
        *,
        auth: AuthBase | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        stop: threading.Event | None = None,
    ) -> requests.Response:
        """
        Send one request and read the whole response, whatever its status; redirects are not followed.

        The response holds the request and with it the token, so callers must not keep it. `auth` sets the Authorization
        header, since a `.netrc` would override one in `headers`. Raises `TransportError` without a complete response,
        and `StoppedError` soon after `stop` is set.
        """
        message, refusal = "", None
        error_type, host = TransportError, urlsplit(url).hostname or url
        outer: _Exchange | None = getattr(_current, "exchange", None)  # signing in sends a request within a request
        exchange = _current.exchange = _Exchange(stop or (None if outer is None else outer.stop), self._deadline_s)
        self._reopen_after_fork()
        try:
            response = self._session.request(
                method,
                url,
                auth=auth or _no_auth,
                headers=dict(headers or {}),
                data=body,
                timeout=self._timeout_s,
                verify=self._verify,
                proxies=dict(self._proxies.reveal()),
                allow_redirects=False,
                stream=True,
            )
            response._content = self._read_body(response, host)  # noqa: SLF001
        except requests.RequestException as exception:
            message = _error_message(exception, host)
            if exchange.is_late:
                error_type = UnfinishedResponseError
                message = f"{host} did not complete its response in {self._deadline_s:g} s; deadline_s= allows more."
        except CallframeError as error:  # frames of `requests` hold the password of a proxy, and ours the response
            refusal = error.with_traceback(None)
        except Exception as exception:  # noqa: BLE001 - its text may contain a header, so only its type is reported
            message = f"The request to {host} could not be sent ({type(exception).__name__})."
        except KeyboardInterrupt:
            pass
        else:
            return response
        finally:
            _current.exchange = outer
        if exchange.is_stopped:
            raise StoppedError
        if not message and refusal is None:
            raise KeyboardInterrupt
        try:
            raise refusal or error_type(message)
        finally:
            del refusal  # the error and this frame would keep each other

    def _read_body(self, response: requests.Response, host: str) -> bytes:
        """Read the body at once if its size is known, else in large pieces: threads wait for each other at each."""
        length = response.headers.get("Content-Length", "")
        is_known = length.isdecimal() and "Content-Encoding" not in response.headers
        is_small = is_known and int(length) <= self._max_body_mb * 1e6
        pieces, size_bytes = [], 0
        for piece in response.iter_content(None if is_small else _PIECE_BYTES):
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes > self._max_body_mb * 1e6:
                response.close()
                raise UnfinishedResponseError(
                    f"The decoded response of {host} is larger than {self._max_body_mb:g} MB; max_body_mb= allows more."
                )
        return b"".join(pieces)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _reopen_after_fork(self) -> None:
        """Open a new session after a fork: two processes that share connections receive each other's responses."""
        if self._process_id != os.getpid():
            self._session, self._process_id = self._open_session(), os.getpid()

    def _open_session(self) -> requests.Session:
        """Open a session that threads can share: cookies are off, and urllib3's pools are thread-safe."""
        session = requests.Session()
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.trust_env = not self._is_loopback
        for scheme in ("http://", "https://"):
            adapter = _QuietAdapter(pool_maxsize=POOL_SIZE)
            adapter.trusts_system = self._verify is True
            session.mount(scheme, adapter)
        return session


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add nothing, but keep `requests` from reading a password from a `.netrc`."""
    return request


def _ca_bundle() -> bool | str:
    """Find the trusted certificates; `requests` ignores OpenSSL's variable, and all three on loopback."""
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return next((path for path in map(os.environ.get, variables) if path), True)


def _error_message(exception: requests.RequestException, host: str) -> str:  # noqa: PLR0911 - one for each cause
    """Describe a failed request and what to do about it."""
    cause = _root_cause(exception)
    # Errors of the operating system are safe to show; protocol errors quote the response, which may repeat the token.
    is_safe = isinstance(cause, OSError | IncompleteRead | NewConnectionError)
    reason = str(cause)[:300] if is_safe else type(cause).__name__
    if isinstance(cause, NameResolutionError):
        return f"The host name {host} was not found (DNS). Check the spelling of the cluster and the network."
    if isinstance(exception, requests.exceptions.SSLError):
        return (
            f"No trusted TLS connection to {host}: {reason}. Behind a corporate proxy, pass its certificates with"
            " verify='bundle.pem' or REQUESTS_CA_BUNDLE."
        )
    if isinstance(exception, requests.exceptions.ProxyError):
        return f"The proxy did not forward the request to {host}: {reason}. Check HTTPS_PROXY or proxies=."
    if isinstance(exception, requests.ConnectTimeout):
        return f"{host} did not accept a connection in time. Check the network, the firewall and the proxy."
    if isinstance(exception, requests.Timeout):
        return f"{host} accepted the request but did not respond in time."
    if isinstance(cause, NewConnectionError):
        return f"No connection to {host}: {reason.rpartition(': ')[2]}. Check the address, the network and the proxy."
    return f"The connection to {host} broke: {reason}."


def _root_cause(exception: BaseException) -> BaseException:
    """Unwrap the innermost exception from those of `requests` and urllib3."""
    for _ in range(10):
        inner = getattr(exception, "reason", None) or next(
            (part for part in exception.args if isinstance(part, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        exception = inner
    return exception
