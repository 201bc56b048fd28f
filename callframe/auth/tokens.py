"""Credentials: obtain an access token, renew it before it expires, and send it to one origin only."""

from __future__ import annotations

import abc
import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from requests.auth import AuthBase

from callframe.errors import ArgumentError, AuthenticationError, TransportError
from callframe.http.locks import fork_safe_lock
from callframe.http.secret import Secret, redact, wrap_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

RENEWAL_MARGIN_S = 60.0
"""A token is renewed this many seconds before it expires, so that it does not expire on the way."""

_BEARER = re.compile(r"^bearer(?!\S)\s*", re.IGNORECASE)
_VISIBLE_ASCII = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class TokenResult:
    """The result of one token request: a header and when it expires on the clock of the credentials, or an error."""

    header: Secret[str] | None = None
    expiry_time_s: float = -math.inf
    error: tuple[type[AuthenticationError | TransportError], str] = (AuthenticationError, "")


class Credentials(abc.ABC):
    """Base class of all login flows. Threads may share credentials; they cannot be pickled or copied."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = fork_safe_lock()
        self._result = TokenResult()

    def authorization(self) -> str:
        """Return the value of the Authorization header, after renewing the token if it is about to expire."""
        result = self._result
        if result.header is None or self._clock() >= result.expiry_time_s - RENEWAL_MARGIN_S:
            return self._refresh(result, force=False).reveal()
        return result.header.reveal()

    def renew(self, rejected: str | Secret[str]) -> bool:
        """Replace a rejected Authorization header; return whether there is a different one now."""
        rejected = wrap_secret(rejected)
        result = self._result
        if result.header is not None and not result.header.equals(rejected):
            return True
        return not self._refresh(result, force=True).equals(rejected)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied, which would spread secrets."""
        raise TypeError(
            f"{type(self).__name__} stays in memory: it cannot be pickled or copied. Sign in again where it is needed."
        )

    def _refresh(self, previous: TokenResult, *, force: bool) -> Secret[str]:
        """Request a token; threads that saw the same previous result share the new one, errors included."""
        with self._lock:
            if self._result is previous:
                try:
                    self._result = self._request_token(force=force)
                except (AuthenticationError, TransportError) as error:  # kept without the frames of its traceback
                    self._result = TokenResult(error=(type(error), str(error)))
            result = self._result
        if result.header is None:
            error_type, message = result.error
            raise error_type(message)
        return result.header

    @abc.abstractmethod
    def _request_token(self, *, force: bool) -> TokenResult:
        """Obtain a token; `force` means that the current one was rejected before it expired."""


class StaticToken(Credentials):
    """A token that is never renewed. `source` names it in messages."""

    def __init__(self, token: str | Secret[str], *, source: str = "token=") -> None:
        token = wrap_secret(token)
        super().__init__()
        self._result = TokenResult(authorization_header(token, source), math.inf)

    def _request_token(self, *, force: bool) -> TokenResult:  # noqa: ARG002 - there is no other token
        return self._result


class TokenFunction(Credentials):
    """A function that returns a token, called for every request by one thread at a time."""

    def __init__(self, function: Callable[[], Any] | Secret[Any], *, source: str = "token=") -> None:
        function = wrap_secret(function)
        super().__init__()
        self._function = function
        self._source = source

    def _request_token(self, *, force: bool) -> TokenResult:  # noqa: ARG002 - the function is called either way
        return TokenResult(authorization_header(self._call(), self._source))

    def _call(self) -> Secret[Any]:
        try:
            return Secret(self._function.reveal()())
        except Exception as exception:  # noqa: BLE001 - a user's function, and its message may contain a token
            error_name = type(exception).__name__
        raise AuthenticationError(
            f"{self._source} raised {error_name} when it was called for a token; call it yourself to see why."
        )


class HostedNotebookToken(TokenFunction):
    """The token that a notebook hosted by CDF keeps up to date in its environment."""

    def __init__(self, environ: Secret[Mapping[str, str]]) -> None:
        super().__init__(lambda: environ.reveal().get("COGNITE_TOKEN"), source="COGNITE_TOKEN")


class ExistingClient(TokenFunction):
    """The credentials of an existing `CogniteClient`: `client.config.credentials` of cognite-sdk 7 or 8."""

    def __init__(self, provider: Any) -> None:
        provider = wrap_secret(provider)
        super().__init__(
            lambda: _bearer_value(*provider.reveal().authorization_header()),
            source="client.config.credentials.authorization_header()",
        )


def _bearer_value(name: str, value: str) -> str | None:
    """Return the value of a header if it is an Authorization header with a bearer token."""
    return value if name.lower() == "authorization" and value[:7].lower() == "bearer " else None


def authorization_header(token: Secret[Any], source: str) -> Secret[str]:
    """Validate a token, with or without "Bearer ", and return the header value; messages do not show the token."""
    if problem := _problem(token):
        raise AuthenticationError(
            f"{source} returned {problem}; expected a token: visible ASCII characters without white space."
        )
    return Secret(f"Bearer {_without_bearer(token).reveal()}")


def _problem(token: Secret[Any]) -> str:
    if token.reveal() is None:
        return "no token"
    if not isinstance(token.reveal(), str):
        return f"a value of type {type(token.reveal()).__name__}"
    if not _without_bearer(token).reveal():
        return "an empty string"
    if not _VISIBLE_ASCII.fullmatch(_without_bearer(token).reveal()):
        return "a string with white space or other characters that a token cannot contain"
    return ""


def _without_bearer(token: Secret[str]) -> Secret[str]:
    return Secret(_BEARER.sub("", token.reveal().strip()))


class BearerAuth(AuthBase):
    """Set the Authorization header of one request to one origin, and remember what was sent."""

    def __init__(self, credentials: Credentials, origin: str) -> None:
        self._credentials = credentials
        self._origin = origin
        self._sent: Secret[str] | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header, or raise `ArgumentError` if the request goes to another origin."""
        # With the slash, no parser can read the origin as a part of a longer host name or as a user name.
        if not (request.url or "").startswith(f"{self._origin}/"):
            raise ArgumentError(f"Refusing to send the token to a host other than {self._origin}.")
        self._sent = Secret(self._credentials.authorization())
        request.headers["Authorization"] = self._sent.reveal()
        return request

    def renew(self) -> bool:
        """Replace the token that was sent and rejected; return whether there is a different one now."""
        return self._sent is not None and self._credentials.renew(self._sent)

    def redact(self, text: str) -> str:
        """Replace the token that was sent with `<secret>` in a text of the service."""
        return redact(text, () if self._sent is None else [_without_bearer(self._sent)])

    def __repr__(self) -> str:
        return f"<BearerAuth for {self._origin}>"
