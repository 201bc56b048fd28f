"""
One HTTP session that keeps secrets: no cookies, no redirects, no debug output and no exceptions of other libraries.

An exception of `requests` holds the request, and with it the token, in its attributes and in the frames of its
traceback. `Transport.send` therefore replaces it with a `TransportError` raised outside the `except` block.
"""

from __future__ import annotations

import ipaddress
import os
import platform
from http.client import IncompleteRead
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NameResolutionError, NewConnectionError

from callframe.errors import ArgumentError, CallframeError, TransportError
from callframe.http.secret import Secret, wrap_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests.auth import AuthBase

TIMEOUT_S = (5.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes of a response."""

POOL_SIZE = 10


class _QuietConnection:
    debuglevel = 0  # http.client prints whole requests, including the token, where a user enables debugging globally


class _QuietAdapter(HTTPAdapter):
    """An adapter whose connections never print what they send."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if not issubclass(pool.ConnectionCls, _QuietConnection):
            pool.ConnectionCls = type("QuietConnection", (_QuietConnection, pool.ConnectionCls), {})
        return pool


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

    `verify` and `proxies` are those of `requests`, by default from the environment, where `SSL_CERT_FILE` counts too.
    Requests to this machine ignore proxies.
    """

    def __init__(
        self,
        origin: str,
        *,
        verify: bool | str | None = None,
        proxies: Mapping[str, str] | Secret[Any] | None = None,
        timeout_s: tuple[float, float] = TIMEOUT_S,
    ) -> None:
        proxies = wrap_secret(proxies)
        if isinstance(verify, str) and not Path(verify).exists():
            raise ArgumentError(f"verify={verify!r} does not exist; expected a file or folder of trusted certificates.")
        self._verify = _ca_bundle() if verify is None else verify
        self._timeout_s = timeout_s
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
    ) -> requests.Response:
        """
        Send one request and read the whole response, whatever its status; redirects are not followed.

        The response holds the request and with it the token, so callers must not keep it. `auth` sets the Authorization
        header, since a `.netrc` would override one in `headers`. Raises `TransportError` without a complete response.
        """
        message: str
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
            # `content` reads 10 kB at a time, and threads that read pages wait for each other every time.
            response._content = b"".join(response.iter_content(None))  # noqa: SLF001
        except requests.RequestException as exception:
            message = _error_message(exception, urlsplit(url).hostname or url)
        except CallframeError:  # signing in failed before anything was sent
            raise
        except Exception as exception:  # noqa: BLE001 - its text may contain a header, so only its type is reported
            message = f"The request to {urlsplit(url).hostname or url} could not be sent ({type(exception).__name__})."
        except KeyboardInterrupt:
            message = ""
        else:
            return response
        if not message:
            raise KeyboardInterrupt
        raise TransportError(message)

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
            session.mount(scheme, _QuietAdapter(pool_maxsize=POOL_SIZE))
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
