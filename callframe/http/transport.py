"""
One HTTP session that keeps secrets: no cookies, no redirects, no debug prints, and no library exception let out.

A library exception holds the request, and with it the token, in its attributes and in the frames of its traceback.
So none leaves this room: `send` turns each into a `TransportError` made outside the `except` block.
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
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError

from callframe.errors import ArgumentError, CallframeError, TransportError
from callframe.http.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests.auth import AuthBase
    from urllib3 import PoolManager

TIMEOUT_S = (5.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes of an answer."""

POOL_SIZE = 10


class _QuietConnection(HTTPConnection):
    debuglevel = 0  # http.client prints whole requests, token included, when a user turns this on for all


class _QuietSecureConnection(HTTPSConnection):
    debuglevel = 0


class _QuietPool(HTTPConnectionPool):
    ConnectionCls = _QuietConnection


class _QuietSecurePool(HTTPSConnectionPool):
    ConnectionCls = _QuietSecureConnection


class _QuietAdapter(HTTPAdapter):
    """An adapter whose connections never print what they send."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _quieten(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(*args, **kwargs)
        _quieten(manager)
        return manager


def _quieten(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _QuietPool, "https": _QuietSecurePool}


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this very machine, by name or by address."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def user_agent() -> str:
    """Name callframe, Python and the platform, as servers' logs expect it."""
    return f"callframe/{version('callframe')} python/{platform.python_version()} ({platform.system() or 'unknown'})"


class Transport:
    """
    Send requests to one origin, and let nothing secret out.

    Parameters
    ----------
    origin
        `https://host[:port]`, or plain http to this machine. Proxies of the environment are not used for this machine.
    verify
        Whether and against which bundle of certificates to check the server; None takes `REQUESTS_CA_BUNDLE`,
        `CURL_CA_BUNDLE` or `SSL_CERT_FILE` from the environment, else the bundle of certifi.
    proxies
        Proxy by scheme, as `requests` takes them; None leaves it to the environment.
    timeout_s
        Seconds to wait for a connection, and for the next bytes of an answer.
    """

    def __init__(
        self,
        origin: str,
        *,
        verify: bool | str | None = None,
        proxies: Mapping[str, str] | None = None,
        timeout_s: tuple[float, float] = TIMEOUT_S,
    ) -> None:
        if isinstance(verify, str) and not Path(verify).exists():
            raise ArgumentError(f"verify={verify!r} is not there; expected a file or folder of certificates to trust.")
        self._verify = _bundle() if verify is None else verify
        self._timeout_s = timeout_s
        self._at_home = is_loopback(urlsplit(origin).hostname)
        # For each request: those of the environment would win over those of a session.
        self._proxies = Secret({} if self._at_home else dict(proxies or {}))
        self._session, self._process = self._open(), os.getpid()

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
        Send one request and read the whole answer.

        Parameters
        ----------
        method, url, body
            The request.
        auth
            What puts the Authorization header on; a header set by hand would give way to a `.netrc`.
        headers
            Headers that are no secrets.

        Returns
        -------
        response
            The answer, body included, whatever its status; a redirect is an answer and is not followed. It holds the
            request, so it must not be kept.

        Raises
        ------
        TransportError
            There was no whole answer.
        """
        trouble: str
        self._leave_to_the_parent()
        try:
            response = self._session.request(
                method,
                url,
                auth=auth or _nobody,
                headers=dict(headers or {}),
                data=body,
                timeout=self._timeout_s,
                verify=self._verify,
                proxies=dict(self._proxies.reveal()),
                allow_redirects=False,
                stream=True,
            )
            # `content` itself reads 10 kB at a time, and each time threads that read pages wait for one another.
            response._content = b"".join(response.iter_content(None))  # noqa: SLF001
        except requests.RequestException as exception:
            trouble = _describe(exception, urlsplit(url).hostname or url)
        except CallframeError:  # signing in failed before anything was sent
            raise
        except Exception as exception:  # noqa: BLE001 - its words may hold a header, so only its name goes on
            trouble = f"The request to {urlsplit(url).hostname or url} could not be sent ({type(exception).__name__})."
        except KeyboardInterrupt:
            trouble = ""
        else:
            return response
        if not trouble:
            raise KeyboardInterrupt
        raise TransportError(trouble)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _leave_to_the_parent(self) -> None:
        """Open anew after a fork: on connections that two processes share, answers reach the wrong one."""
        if self._process != os.getpid():
            self._session, self._process = self._open(), os.getpid()

    def _open(self) -> requests.Session:
        """Open the one session. Threads may share it: cookies are off, and urllib3's pools are made for threads."""
        session = requests.Session()
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.trust_env = not self._at_home
        for scheme in ("http://", "https://"):
            session.mount(scheme, _QuietAdapter(pool_maxsize=POOL_SIZE))
        return session


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add nothing; being there, it keeps `requests` from looking for a password in a `.netrc`."""
    return request


def _bundle() -> bool | str:
    """Find the certificates to trust; `requests` knows not OpenSSL's variable, and for this machine none of them."""
    variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return next((path for path in map(os.environ.get, variables) if path), True)


def _describe(exception: requests.RequestException, host: str) -> str:  # noqa: PLR0911 - one for each cause
    """Say what broke in words a user can act on; the exception itself holds the request and stays behind."""
    cause = _root(exception)
    # What the system says is safe; an error of the protocol quotes the answer, and that may repeat the token.
    is_safe = isinstance(cause, OSError | IncompleteRead | NewConnectionError)
    words = str(cause)[:300] if is_safe else type(cause).__name__
    if isinstance(cause, NameResolutionError):
        return f"The name {host} was not found (DNS). Check the cluster's spelling and the network."
    if isinstance(exception, requests.exceptions.SSLError):
        return (
            f"No trusted TLS connection to {host}: {words}. Behind a proxy of the company, give its certificates with"
            " verify='bundle.pem' or REQUESTS_CA_BUNDLE."
        )
    if isinstance(exception, requests.exceptions.ProxyError):
        return f"The proxy on the way to {host} did not pass the request on: {words}. Check HTTPS_PROXY or proxies=."
    if isinstance(exception, requests.ConnectTimeout):
        return f"{host} did not accept a connection in time. Check the network, the firewall and the proxy."
    if isinstance(exception, requests.Timeout):
        return f"{host} accepted the request and sent no answer in time."
    if isinstance(cause, NewConnectionError):
        return f"No connection to {host}: {words.rpartition(': ')[2]}. Check the address, the network and the proxy."
    return f"The connection to {host} broke: {words}."


def _root(exception: BaseException) -> BaseException:
    """Dig the innermost reason out of what `requests` and urllib3 wrap round it."""
    for _ in range(10):
        inner = getattr(exception, "reason", None) or next(
            (part for part in exception.args if isinstance(part, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        exception = inner
    return exception
