"""Signing in as a person, by Microsoft's own library, which is imported only then."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from callframe.auth.credentials import Credentials, Outcome
from callframe.auth.oauth import Form, json_of, outcome_of, transport_to
from callframe.errors import AuthenticationError, TransportError
from callframe.http.secret import Secret, wrap_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import requests


def say(words: str) -> None:
    """
    Tell the user what to do next, apart from what a program prints as its result.

    Parameters
    ----------
    words
        One line or more.
    """
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


class PersonalLogin(Credentials):
    """
    A person who signs in with a browser, on this machine or on another one.

    The person is asked once; after that the library renews the token as long as the provider lets it.

    Parameters
    ----------
    flow
        "device_code": the person types a short code into any browser. "interactive": a browser opens here.
    authority
        `https://login.microsoftonline.com/` and the tenant.
    client_id
        The registered application through which the person signs in.
    scopes
        What the token is for.
    verify, proxies
        As `Transport` takes them.
    clock
        Gives the time in seconds.
    tell
        Shows the person what to do.

    Raises
    ------
    SignInError
        The library is not installed.
    """

    def __init__(
        self,
        *,
        flow: str,
        authority: str,
        client_id: str,
        scopes: Iterable[str],
        verify: bool | str | None = None,
        proxies: Mapping[str, str] | Secret[Any] | None = None,
        clock: Callable[[], float] = time.time,
        tell: Callable[[str], None] = say,
    ) -> None:
        proxies = wrap_secret(proxies)
        super().__init__(clock=clock)
        self._msal = _library()
        self._flow = flow
        self._authority = authority
        self._client_id = client_id
        self._scopes = list(scopes)
        self._carrier = _Carrier(authority, verify, proxies)
        self._tell = tell
        self._application: Any = None

    def __repr__(self) -> str:
        """Name the flow, the application and the tenant."""
        return f"<PersonalLogin by {self._flow} with {self._client_id} at {self._authority}>"

    def _obtain(self, *, anew: bool) -> Outcome:
        asked_at = self._clock()
        fields = self._guarded(anew=anew)
        return outcome_of(fields, asked_at, urlsplit(self._authority).hostname or self._authority, hidden=[])

    def _guarded(self, *, anew: bool) -> Secret[Any]:
        """Let no exception of the library out, as its frames hold codes and tokens."""
        trouble: tuple[type[AuthenticationError | TransportError], str] | None = None
        try:
            return self._sign_in(anew=anew)
        except (AuthenticationError, TransportError) as error:
            trouble = (type(error), str(error))
        except Exception as exception:  # noqa: BLE001 - the library raises whatever it meets
            words = f"Signing in by {self._flow} at {self._authority} failed ({type(exception).__name__})."
            trouble = (AuthenticationError, f"{words} Check the tenant, the client id and the network.")
        except KeyboardInterrupt:
            pass
        finally:
            self._carrier.close()
        if trouble is None:
            raise KeyboardInterrupt
        kind, words = trouble
        raise kind(words)

    def _sign_in(self, *, anew: bool) -> Secret[Any]:
        known = self._application is not None
        self._application = self._application or self._msal.PublicClientApplication(
            self._client_id, authority=self._authority, http_client=self._carrier
        )
        for account in self._application.get_accounts() if known else ():
            fields = Secret(self._application.acquire_token_silent(self._scopes, account, force_refresh=anew))
            if fields.reveal() is not None:
                return fields
        return self._by_device_code() if self._flow == "device_code" else self._by_browser()

    def _by_device_code(self) -> Secret[Any]:
        flow = Secret(self._application.initiate_device_flow(scopes=self._scopes))
        if "user_code" not in flow.reveal():
            return flow  # the provider's complaint
        self._tell(str(flow.reveal().get("message", "")))
        return Secret(self._application.acquire_token_by_device_flow(flow.reveal()))

    def _by_browser(self) -> Secret[Any]:
        self._tell("Sign in with the browser window that opens now.")
        return Secret(self._application.acquire_token_interactive(self._scopes, prompt="select_account"))


def _library() -> Any:
    try:
        import msal  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        pass
    else:
        return msal
    raise AuthenticationError(
        "Signing in as a person needs a library that is not installed; expected msal. Install it with"
        " pip install 'callframe[login]'."
    )


class _Carrier:
    """What the library sends its requests with: the same careful transport that everything else goes by."""

    def __init__(self, authority: str, verify: bool | str | None, proxies: Secret[Any] | None) -> None:
        self._transport = transport_to(authority, verify=verify, proxies=proxies)

    def get(
        self, url: str, *, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> requests.Response:
        query = f"?{urlencode(params)}" if params else ""
        return self._checked(self._transport.send("GET", url + query, headers=headers))

    def post(
        self, url: str, *, data: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> requests.Response:
        form = Form(Secret({name: str(value) for name, value in (data or {}).items() if value}))
        whole = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._checked(self._transport.send("POST", url, auth=form, headers=whole))

    def close(self) -> None:
        self._transport.close()

    def _checked(self, response: requests.Response) -> requests.Response:
        """Stop what is no JSON here, since the library would write all of it into its log."""
        if json_of(response) is None:
            host = urlsplit(response.url).hostname
            raise AuthenticationError(
                f"{host} answered {response.status_code} and no JSON; check the tenant and the network."
            )
        return response
