"""The identity provider: asking it for tokens over HTTP, and reading what it answers."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from requests.auth import AuthBase

from callframe.auth.credentials import Credentials, Outcome, header_of
from callframe.errors import AuthenticationError, TransportError
from callframe.http.secret import Secret, redact, wrap_secret
from callframe.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import requests

LIFETIME_S = 300.0
"""
How long a token is kept whose answer says nothing of it.

Too long would cost a 401 and a renewal, too short one more request; five minutes is shorter than what providers give.
"""

TRIES = 3
"""How often a token is asked for when the identity provider cannot answer just now."""

_TIMEOUT_S = (5.0, 30.0)
_WORDS_LENGTH = 400
_TOO_MANY = 429
_BROKEN = 500


class ClientCredentials(Credentials):
    """
    A client, such as a service principal, that shows its secret to an identity provider.

    Parameters
    ----------
    token_url
        Where tokens are asked for; https, or this very machine.
    client_id, client_secret
        The client.
    scopes, audience
        What the token is for, as the provider wants to be told; empty ones are not sent.
    verify, proxies
        As `Transport` takes them.
    clock
        Gives the time in seconds.
    wait
        Waits for some seconds before another try.
    """

    def __init__(
        self,
        *,
        token_url: str,
        client_id: str,
        client_secret: str | Secret[str],
        scopes: Iterable[str] = (),
        audience: str | None = None,
        verify: bool | str | None = None,
        proxies: Mapping[str, str] | Secret[Any] | None = None,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        client_secret, proxies = wrap_secret(client_secret), wrap_secret(proxies)
        super().__init__(clock=clock)
        self._token_url = token_url
        self._client_id = client_id
        self._secret = client_secret
        self._extra = {"scope": " ".join(scopes), "audience": audience or ""}
        self._transport = transport_to(token_url, verify=verify, proxies=proxies)
        self._wait = wait

    def __repr__(self) -> str:
        """Name the client and the identity provider."""
        return f"<ClientCredentials of {self._client_id} at {self._host}>"

    @property
    def _host(self) -> str:
        return urlsplit(self._token_url).hostname or self._token_url

    def _obtain(self, *, anew: bool) -> Outcome:  # noqa: ARG002 - the provider is asked each time
        asked_at = self._clock()
        try:
            answer = self._ask()
        finally:
            self._transport.close()  # the next one is for another hour
        if answer.fields is None:
            raise AuthenticationError(
                f"{self._host} answered {answer.status} with {answer.kind}, and no JSON with a token in it; check"
                f" token_url= or IDP_TOKEN_URL, now {self._token_url.partition('?')[0]}."
            )
        return outcome_of(answer.fields, asked_at, self._host, hidden=[self._secret])

    def _ask(self) -> _Answer:
        """Ask for a token, and again after a fault that may pass."""
        trouble, answer = "", None
        for tried in range(TRIES):
            if tried:
                self._wait(_pause(tried))
            try:
                answer = _Answer.of(self._post())
            except TransportError as error:
                trouble, answer = str(error), None
                continue
            if answer.status != _TOO_MANY and answer.status < _BROKEN:
                break
        if answer is None:
            raise TransportError(f"No token, as the identity provider gave no answer in {TRIES} tries. {trouble}")
        return answer

    def _post(self) -> requests.Response:
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        return self._transport.send("POST", self._token_url, auth=Form(self._fields()), headers=headers)

    def _fields(self) -> Secret[dict[str, str]]:
        fields = {"grant_type": "client_credentials", "client_id": self._client_id, **self._extra}
        return Secret(fields | {"client_secret": self._secret.reveal()})


class Form(AuthBase):
    """
    Put a form into a request at the last moment, where no frame that may raise sees it.

    Parameters
    ----------
    fields
        The form; fields without a value are left out.
    """

    def __init__(self, fields: Secret[dict[str, str]]) -> None:
        self._fields = fields

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Fill the body."""
        request.body = _encoded(self._fields)
        return request


def _encoded(fields: Secret[dict[str, str]]) -> bytes:
    filled = {name: value for name, value in fields.reveal().items() if value}
    return urlencode(filled, errors="surrogateescape").encode("ascii")


@dataclass(frozen=True)
class _Answer:
    """What is kept of an answer, so that the response itself, which holds the request, can go."""

    status: int
    kind: str
    fields: Secret[dict[str, Any]] | None

    @classmethod
    def of(cls, response: requests.Response) -> _Answer:
        return cls(response.status_code, _kind(response), json_of(response))


def _kind(response: requests.Response) -> str:
    if response.is_redirect:
        return f"a redirect to {urlsplit(response.headers['Location']).hostname or 'itself'}, which is not followed"
    return response.headers.get("Content-Type", "").partition(";")[0][:50] or "nothing"


def json_of(response: requests.Response) -> Secret[dict[str, Any]] | None:
    """
    Read the JSON object in an answer.

    Parameters
    ----------
    response
        The answer of an identity provider.

    Returns
    -------
    fields
        None when it is anything else.
    """
    try:
        fields = response.json()
    except ValueError:
        return None
    return Secret(fields) if isinstance(fields, dict) else None


def transport_to(url: str, *, verify: bool | str | None, proxies: Secret[Any] | None) -> Transport:
    """
    Make a transport to an identity provider.

    Parameters
    ----------
    url
        Any address there.
    verify, proxies
        As `Transport` takes them; the address of a proxy may hold a password.

    Returns
    -------
    transport
        With the patience that a token is worth.
    """
    return Transport(url, verify=verify, proxies=None if proxies is None else proxies.reveal(), timeout_s=_TIMEOUT_S)


def outcome_of(fields: Secret[dict[str, Any]], asked_at: float, host: str, *, hidden: Iterable[Secret[str]]) -> Outcome:
    """
    Read the answer of an identity provider.

    Parameters
    ----------
    fields
        The JSON object it answered with.
    asked_at
        When it was asked, by the clock of the credentials.
    host
        Who answered, for messages.
    hidden
        What must not be repeated from its words.

    Returns
    -------
    outcome
        The header and when it expires.

    Raises
    ------
    SignInError
        It said no, or it gave what cannot be a token.
    """
    complaint = _complaint(fields, hidden)
    if complaint:
        raise AuthenticationError(
            f"{host} gave no token: {complaint}. Check the client, its secret, the tenant and the scopes."
        )
    header = header_of(Secret(fields.reveal().get("access_token")), f"The answer of {host}")
    return Outcome(header, asked_at + _lifetime(fields))


def _complaint(fields: Secret[dict[str, Any]], hidden: Iterable[Secret[str]]) -> str:
    """Repeat what the provider says is wrong, in one line, without the secrets that it may quote."""
    given = fields.reveal()
    words = ": ".join(str(given[name]) for name in ("error", "error_description") if given.get(name))
    words = " ".join(redact(words, hidden).split())
    return "".join(letter if letter.isprintable() else " " for letter in words)[:_WORDS_LENGTH].rstrip(".")


def _lifetime(fields: Secret[dict[str, Any]]) -> float:
    """Read `expires_in`, which some providers send as a string and some not at all."""
    try:
        seconds = float(fields.reveal()["expires_in"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return LIFETIME_S
    return seconds if math.isfinite(seconds) else LIFETIME_S


def _pause(tried: int) -> float:
    """Wait up to one second, then up to two: never in step with others who failed at the same moment."""
    return secrets.SystemRandom().uniform(0.5, 1.0) * tried
