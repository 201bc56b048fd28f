"""As whom: what gives a token, keeps it while it lasts and renews it, and puts it on requests to one origin."""

from __future__ import annotations

import abc
import math
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from requests.auth import AuthBase

from callframe.errors import ArgumentError, AuthenticationError, TransportError
from callframe.http.secret import Secret, redact, wrap_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

EARLY_S = 60.0
"""A token is renewed this many seconds before it expires, so that none expires on its way."""

_BEARER = re.compile(r"^bearer(?!\S)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """
    What came of one attempt to get a token: a header and the time it expires, or trouble.

    Parameters
    ----------
    header
        The whole value of the Authorization header, or None.
    until
        When it expires, by the clock of the credentials.
    trouble
        The error to raise and its words, where there is no header.
    """

    header: Secret[str] | None = None
    until: float = -math.inf
    trouble: tuple[type[AuthenticationError | TransportError], str] = (AuthenticationError, "")


class Credentials(abc.ABC):
    """
    What proves to the service who is asking: the base of all ways to sign in.

    Threads may share it. It shows nothing secret, and it can be neither pickled nor copied.

    Parameters
    ----------
    clock
        Gives the time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._outcome = Outcome()

    def authorization(self) -> str:
        """
        Give the value of the Authorization header, renewed if it expires within a minute.

        Returns
        -------
        authorization
            "Bearer " and the token.

        Raises
        ------
        SignInError
            There is no token to be had.
        TransportError
            The identity provider could not be reached.
        """
        return self._current().reveal()

    def renew(self, rejected: str | Secret[str]) -> bool:
        """
        Get a new token after the service did not accept one; one thread does, the others wait for it.

        Parameters
        ----------
        rejected
            The value of the Authorization header that was not accepted.

        Returns
        -------
        renewed
            Whether `authorization` has another one now, so that sending again makes sense.

        Raises
        ------
        SignInError
            There is no token to be had.
        TransportError
            The identity provider could not be reached.
        """
        rejected = wrap_secret(rejected)
        seen = self._outcome
        if seen.header is not None and not seen.header.equals(rejected):
            return True
        return not self._after(seen, anew=True).equals(rejected)

    def __repr__(self) -> str:
        """Name the way to sign in."""
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied, since both would spread secrets."""
        raise TypeError(
            f"{type(self).__name__} stays in memory: it cannot be pickled or copied. Sign in again where it is needed."
        )

    def _current(self) -> Secret[str]:
        seen = self._outcome
        if seen.header is not None and self._clock() < seen.until - EARLY_S:
            return seen.header
        return self._after(seen, anew=False)

    def _after(self, seen: Outcome, *, anew: bool) -> Secret[str]:
        """Get what comes after an outcome; threads that saw the same one share what one of them gets, failures too."""
        with self._lock:
            if self._outcome is seen:
                self._outcome = self._attempt(anew=anew)
            outcome = self._outcome
        if outcome.header is None:
            kind, words = outcome.trouble
            raise kind(words)
        return outcome.header

    def _attempt(self, *, anew: bool) -> Outcome:
        """Keep the words of a failure only: the frames of its traceback stay behind."""
        try:
            return self._obtain(anew=anew)
        except (AuthenticationError, TransportError) as error:
            return Outcome(trouble=(type(error), str(error)))

    @abc.abstractmethod
    def _obtain(self, *, anew: bool) -> Outcome:
        """Get a token; `anew` says that the one at hand was rejected, however long it would have lasted."""


class StaticToken(Credentials):
    """
    A token that is what it is until it expires.

    Parameters
    ----------
    token
        With or without "Bearer " before it.
    source
        What the user calls it, for messages.

    Raises
    ------
    SignInError
        It cannot be a token.
    """

    def __init__(self, token: str | Secret[str], *, source: str = "token=") -> None:
        token = wrap_secret(token)
        super().__init__()
        self._outcome = Outcome(header_of(token, source), math.inf)

    def _obtain(self, *, anew: bool) -> Outcome:  # noqa: ARG002 - there is only the one
        return self._outcome


class TokenFunction(Credentials):
    """
    A function that gives a token, called for every request, by one thread at a time.

    Parameters
    ----------
    function
        Takes nothing and gives a token, with or without "Bearer " before it.
    source
        What the user calls it, for messages.
    """

    def __init__(self, function: Callable[[], Any] | Secret[Any], *, source: str = "token=") -> None:
        function = wrap_secret(function)
        super().__init__()
        self._function = function
        self._source = source

    def _obtain(self, *, anew: bool) -> Outcome:  # noqa: ARG002 - every call is anew
        return Outcome(header_of(self._call(), self._source))

    def _call(self) -> Secret[Any]:
        try:
            return Secret(self._function.reveal()())
        except Exception as exception:  # noqa: BLE001 - anything may come, and its words may hold a token
            trouble = type(exception).__name__
        raise AuthenticationError(
            f"{self._source} raised {trouble} when it was called for a token; call it yourself to see why."
        )


class NotebookToken(TokenFunction):
    """
    The token that a notebook hosted by CDF keeps fresh in a variable of its environment.

    Parameters
    ----------
    environ
        The environment, read anew for every request.
    name
        Name of the variable.
    """

    def __init__(self, environ: Secret[Mapping[str, str]], *, name: str = "COGNITE_TOKEN") -> None:
        super().__init__(lambda: environ.reveal().get(name), source=name)


class ClientToken(TokenFunction):
    """
    Whatever an existing `CogniteClient` signs in with.

    Parameters
    ----------
    provider
        `client.config.credentials`, of version 7 or 8 of cognite-sdk.
    """

    def __init__(self, provider: Any) -> None:
        provider = wrap_secret(provider)
        super().__init__(
            lambda: _token_of_pair(provider.reveal().authorization_header()),
            source="client.config.credentials.authorization_header()",
        )


def _token_of_pair(pair: Any) -> Any:
    """Take the token out of the name and the value of a header, if it is the header callframe sends."""
    name, value = pair
    return value if name.lower() == "authorization" and value[:7].lower() == "bearer " else None


def header_of(token: Secret[Any], source: str) -> Secret[str]:
    """
    Make the value of the Authorization header.

    Parameters
    ----------
    token
        With or without "Bearer " before it.
    source
        Where it came from, for messages.

    Returns
    -------
    header
        "Bearer " and the token.

    Raises
    ------
    SignInError
        It cannot be a token; the message does not show it.
    """
    flaw = _flaw(token)
    if flaw:
        raise AuthenticationError(
            f"{source} gave {flaw}; expected a token: visible ASCII characters without white space."
        )
    return _with_bearer(token)


def _bare(token: Secret[Any]) -> Secret[str]:
    words = token.reveal()
    return Secret(_BEARER.sub("", words.strip()) if isinstance(words, str) else "")


def _flaw(token: Secret[Any]) -> str:
    if not isinstance(token.reveal(), str):
        return "no token" if token.reveal() is None else f"a value of type {type(token.reveal()).__name__}"
    words = _bare(token).reveal()
    if not words:
        return "an empty text"
    if not all("!" <= letter <= "~" for letter in words):
        return "a text with white space or other characters that no token has"
    return ""


def _with_bearer(token: Secret[Any]) -> Secret[str]:
    return Secret(f"Bearer {_bare(token).reveal()}")


class BearerAuth(AuthBase):
    """
    Put the Authorization header on one request to one origin, and on no others.

    One is made for each request, and remembers what it sent with it.

    Parameters
    ----------
    credentials
        Whose token it is.
    origin
        `https://host[:port]`, as `Target.base_url` has it.
    """

    def __init__(self, credentials: Credentials, origin: str) -> None:
        self._credentials = credentials
        self._origin = origin
        self._sent: Secret[str] | None = None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """
        Put the header on.

        Parameters
        ----------
        request
            Ready to be sent but for this.

        Returns
        -------
        request
            The same.

        Raises
        ------
        ArgumentError
            The request goes elsewhere.
        SignInError
            There is no token to be had.
        TransportError
            The identity provider could not be reached.
        """
        # with the slash behind it no parser can read the origin as a part of a longer host or as a user's name
        if not (request.url or "").startswith(f"{self._origin}/"):
            raise ArgumentError(f"A request to another place than {self._origin} was not sent: the token is for there.")
        self._sent = Secret(self._credentials.authorization())
        request.headers["Authorization"] = self._sent.reveal()
        return request

    def renew(self) -> bool:
        """
        Get a new token after the service did not accept the one that was sent.

        Returns
        -------
        renewed
            Whether there is another one now, so that sending again makes sense.

        Raises
        ------
        SignInError
            There is no token to be had.
        TransportError
            The identity provider could not be reached.
        """
        return self._sent is not None and self._credentials.renew(self._sent)

    def redact(self, words: str) -> str:
        """
        Take the token that was sent out of what a service answered.

        Parameters
        ----------
        words
            What the service says.

        Returns
        -------
        words
            The same with `<secret>` in the place of the token.
        """
        return redact(words, () if self._sent is None else [_bare(self._sent)])

    def __repr__(self) -> str:
        """Name the origin."""
        return f"<BearerAuth for {self._origin}>"


def bearer(credentials: Credentials, origin: str) -> BearerAuth:
    """
    Make what puts the Authorization header on requests.

    Parameters
    ----------
    credentials
        Whose token it is.
    origin
        The only place the token goes to.

    Returns
    -------
    auth
        For `Transport.send`.
    """
    return BearerAuth(credentials, origin)
