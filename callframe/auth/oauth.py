"""Tokens of an identity provider: client credentials, and a user's login with a device code or a browser."""

from __future__ import annotations

import math
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from requests.auth import AuthBase

from callframe.auth.tokens import Credentials, TokenResult, authorization_header
from callframe.errors import AuthenticationError, TransportError
from callframe.http.secret import Secret, redact, wrap_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import requests

    from callframe.http.transport import Transport

    _Response = tuple[int, str, Secret[dict[str, Any]] | None]  # status, content type, JSON object

DEFAULT_LIFETIME_S = 300.0
"""Lifetime assumed where the provider gives none: shorter than usual, as a renewal costs less than a rejected token."""

ATTEMPTS = 3
"""Number of token requests while the identity provider does not respond or is overloaded."""

TIMEOUT_S = (5.0, 30.0)
"""Seconds to wait for a connection to the identity provider, and for the next bytes of its response."""

_FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
_MESSAGE_LENGTH = 400
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500


class ClientCredentials(Credentials):
    """The OAuth client credentials flow of a service principal; empty `scopes` and `audience` are not sent."""

    def __init__(
        self,
        *,
        token_url: str,
        client_id: str,
        client_secret: str | Secret[str],
        transport: Transport,
        scopes: Iterable[str] = (),
        audience: str | None = None,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        client_secret = wrap_secret(client_secret)
        super().__init__(clock=clock)
        self._token_url = token_url
        self._host = urlsplit(token_url).hostname or token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._extra_fields = {"scope": " ".join(scopes), "audience": audience or ""}
        self._transport = transport
        self._wait = wait

    def __repr__(self) -> str:
        return f"<ClientCredentials of {self._client_id} at {self._host}>"

    def _request_token(self, *, force: bool) -> TokenResult:  # noqa: ARG002 - the provider is asked either way
        requested_at_s = self._clock()
        try:
            status, content_type, fields = self._send()
        finally:
            self._transport.close()  # the next request is about an hour away
        if fields is None:
            raise AuthenticationError(
                f"{self._host} responded with status {status} and {content_type} instead of JSON with a token; check"
                f" token_url= or IDP_TOKEN_URL, now {self._token_url.partition('?')[0]}."
            )
        return _token_result(fields, requested_at_s, self._host, hidden=[self._client_secret])

    def _send(self) -> _Response:
        """Send the request, again after temporary errors."""
        message = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._post()
            except TransportError as error:
                message = str(error)
            else:
                is_temporary = response[0] == _TOO_MANY_REQUESTS or response[0] >= _SERVER_ERROR
                if attempt == ATTEMPTS or not is_temporary:
                    return response
            if attempt < ATTEMPTS:
                self._wait(secrets.SystemRandom().uniform(0.5, 1.0) * attempt)  # not in step with other clients
        raise TransportError(f"No token: the identity provider did not respond in {ATTEMPTS} attempts. {message}")

    def _post(self) -> _Response:
        """Send the request once, and release the response itself, which holds the request."""
        fields = {"grant_type": "client_credentials", "client_id": self._client_id, **self._extra_fields}
        form = FormAuth(Secret(fields | {"client_secret": self._client_secret.reveal()}))
        headers = {"Accept": "application/json", **_FORM_HEADERS}
        response = self._transport.send("POST", self._token_url, auth=form, headers=headers)
        content_type = response.headers.get("Content-Type", "").partition(";")[0][:50] or "no content type"
        if response.is_redirect:
            host = urlsplit(response.headers["Location"]).hostname or "itself"
            content_type = f"a redirect to {host}, which is not followed,"
        return response.status_code, content_type, _json_object(response)


class FormAuth(AuthBase):
    """Write a form into the body just before the request is sent, so that no frame that may raise holds it bare."""

    def __init__(self, fields: Secret[dict[str, str]]) -> None:
        self._fields = fields

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the body; fields without a value are left out."""
        form = Secret({name: value for name, value in self._fields.reveal().items() if value})
        request.body = urlencode(form.reveal(), errors="surrogateescape").encode("ascii")
        return request


def _json_object(response: requests.Response) -> Secret[dict[str, Any]] | None:
    """Read the JSON object of a response; None if it is anything else."""
    try:
        fields = response.json()
    except ValueError:
        return None
    return Secret(fields) if isinstance(fields, dict) else None


def _token_result(
    fields: Secret[dict[str, Any]], requested_at_s: float, host: str, *, hidden: Iterable[Secret[str]]
) -> TokenResult:
    """Read a provider's response; an error message is repeated without the `hidden` secrets."""
    if message := _provider_error(fields, hidden):
        raise AuthenticationError(
            f"{host} returned no token: {message}. Check the client, its secret, the tenant and the scopes."
        )
    header = authorization_header(Secret(fields.reveal().get("access_token")), f"The identity provider {host}")
    return TokenResult(header, requested_at_s + _lifetime_s(fields))


def _provider_error(fields: Secret[dict[str, Any]], hidden: Iterable[Secret[str]]) -> str:
    """Format the error of a response in one printable line without the secrets that it may quote."""
    parts = (fields.reveal().get(name) for name in ("error", "error_description"))
    message = ": ".join(str(part) for part in parts if part)
    message = " ".join(redact(message, hidden).split())
    return "".join(letter if letter.isprintable() else " " for letter in message)[:_MESSAGE_LENGTH].rstrip(".")


def _lifetime_s(fields: Secret[dict[str, Any]]) -> float:
    """Read `expires_in`, which some providers send as a string and some omit."""
    try:
        lifetime_s = float(fields.reveal()["expires_in"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return DEFAULT_LIFETIME_S
    return lifetime_s if math.isfinite(lifetime_s) else DEFAULT_LIFETIME_S


def print_prompt(text: str) -> None:
    """Print what the user has to do to stderr, apart from the results of a program."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


class UserLogin(Credentials):
    """
    The login of a user of Entra ID by `flow`: "device_code", or "interactive" with a browser on this machine.

    The user is asked once; then msal renews the token silently as long as the provider allows it.
    """

    def __init__(
        self,
        *,
        flow: str,
        authority: str,
        client_id: str,
        scopes: Iterable[str],
        transport: Transport,
        clock: Callable[[], float] = time.time,
        prompt: Callable[[str], None] = print_prompt,
    ) -> None:
        super().__init__(clock=clock)
        self._msal = _import_msal()
        self._flow = flow
        self._authority = authority
        self._client_id = client_id
        self._scopes = list(scopes)
        self._http_client = _MsalHttpClient(transport)
        self._prompt = prompt
        self._application: Any = None

    def __repr__(self) -> str:
        return f"<UserLogin by {self._flow} with {self._client_id} at {self._authority}>"

    def _request_token(self, *, force: bool) -> TokenResult:
        requested_at_s = self._clock()
        fields = self._acquire(force=force)
        return _token_result(fields, requested_at_s, urlsplit(self._authority).hostname or self._authority, hidden=[])

    def _acquire(self, *, force: bool) -> Secret[Any]:
        """Let no exception of msal out, since its frames hold codes and tokens."""
        failure: tuple[type[AuthenticationError | TransportError], str] | None = None
        try:
            return self._acquire_with_msal(force=force)
        except (AuthenticationError, TransportError) as error:
            failure = (type(error), str(error))
        except Exception as exception:  # noqa: BLE001 - msal raises exceptions of any type
            message = f"Signing in by {self._flow} at {self._authority} failed ({type(exception).__name__})."
            failure = (AuthenticationError, f"{message} Check the tenant, the client id and the network.")
        except KeyboardInterrupt:
            pass
        finally:
            self._http_client.close()
        if failure is None:
            raise KeyboardInterrupt
        error_type, message = failure
        raise error_type(message)

    def _acquire_with_msal(self, *, force: bool) -> Secret[Any]:
        has_signed_in = self._application is not None
        self._application = self._application or self._msal.PublicClientApplication(
            self._client_id, authority=self._authority, http_client=self._http_client
        )
        for account in self._application.get_accounts() if has_signed_in else ():
            fields = Secret(self._application.acquire_token_silent(self._scopes, account, force_refresh=force))
            if fields.reveal() is not None:
                return fields
        return self._acquire_by_device_code() if self._flow == "device_code" else self._acquire_by_browser()

    def _acquire_by_device_code(self) -> Secret[Any]:
        flow = Secret(self._application.initiate_device_flow(scopes=self._scopes))
        if "user_code" not in flow.reveal():
            return flow  # an error of the provider
        self._prompt(str(flow.reveal().get("message", "")))
        return Secret(self._application.acquire_token_by_device_flow(flow.reveal()))

    def _acquire_by_browser(self) -> Secret[Any]:
        self._prompt("Sign in with the browser window that opens now.")
        return Secret(self._application.acquire_token_interactive(self._scopes, prompt="select_account"))


def _import_msal() -> Any:
    try:
        import msal  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        pass
    else:
        return msal
    raise AuthenticationError(
        "Signing in as a user needs the package msal, which is not installed: pip install 'callframe[login]'."
    )


class _MsalHttpClient:
    """The HTTP client that msal sends its requests with, based on `Transport`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(
        self, url: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> requests.Response:
        query = f"?{urlencode(params)}" if params else ""
        return self._checked(self._transport.send("GET", url + query, headers=headers))

    def post(
        self, url: str, *, data: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> requests.Response:
        form = FormAuth(Secret({name: str(value) for name, value in (data or {}).items() if value}))
        return self._checked(self._transport.send("POST", url, auth=form, headers={**_FORM_HEADERS, **(headers or {})}))

    def close(self) -> None:
        self._transport.close()

    def _checked(self, response: requests.Response) -> requests.Response:
        """Raise unless the response is JSON, since msal would write all of it to its log."""
        if _json_object(response) is None:
            host = urlsplit(response.url).hostname
            raise AuthenticationError(
                f"{host} responded with status {response.status_code} and no JSON; check the tenant and the network."
            )
        return response
