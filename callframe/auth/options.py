"""Where to, and as whom: from arguments, a client, a hosted notebook, variables and `.env` files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

from callframe.auth.credentials import (
    BearerAuth,
    ClientToken,
    Credentials,
    NotebookToken,
    StaticToken,
    TokenFunction,
    bearer,
)
from callframe.auth.interactive import PersonalLogin
from callframe.auth.oauth import ClientCredentials
from callframe.auth.settings import (
    Settings,
    Target,
    check_project,
    check_token_url,
    cluster_of_url,
    origin_of,
    url_of_cluster,
)
from callframe.errors import ArgumentError, AuthenticationError
from callframe.http.secret import Secret, wrap_secret
from callframe.http.transport import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["BearerAuth", "Credentials", "Login", "Secret", "Target", "bearer", "find", "wrap_secret"]

Login = Literal["client_credentials", "token", "device_code", "interactive"]
"""The ways to sign in, as `login=` and the variable `LOGIN_FLOW` name them."""

LOGINS: tuple[str, ...] = get_args(Login)
PROVIDERS = ("entra_id", "auth0", "cdf", "other")
ENTRA = "https://login.microsoftonline.com/"
ENTRA_TOKEN_PATH = "/oauth2/v2.0/token"  # noqa: S105 - a path
CDF_TOKEN_URL = "https://auth.cognite.com/oauth2/token"  # noqa: S105 - an address

HOSTED_VARIABLES = ("COGNITE_FUSION_NOTEBOOK", "COGNITE_PROJECT", "COGNITE_BASE_URL", "COGNITE_TOKEN")
TOOLKIT_VARIABLES = (
    "CDF_CLUSTER",
    "CDF_URL",
    "CDF_PROJECT",
    "CDF_TOKEN",
    "PROVIDER",
    "LOGIN_FLOW",
    "IDP_CLIENT_ID",
    "IDP_CLIENT_SECRET",
    "IDP_TENANT_ID",
    "IDP_TOKEN_URL",
    "IDP_SCOPES",
    "IDP_AUDIENCE",
)

_ARGUMENTS = (
    "client",
    "cluster",
    "base_url",
    "project",
    "token",
    "client_id",
    "client_secret",
    "tenant_id",
    "token_url",
    "login",
)
_TENANT = re.compile(r"[A-Za-z0-9.-]+")


@dataclass(frozen=True)
class _Asked:
    """The arguments of `find`; the secrets and whatever may hold one are wrapped."""

    client: Secret[Any] | None
    cluster: str | None
    project: str | None
    base_url: str | None
    token: Secret[Any] | None
    client_id: str | None
    client_secret: Secret[str] | None
    tenant_id: str | None
    token_url: str | None
    scopes: Iterable[str] | str | None
    audience: str | None
    login: str | None
    verify: bool | str | None
    proxies: Secret[Any] | None


def find(
    *,
    client: Any = None,
    cluster: str | None = None,
    project: str | None = None,
    base_url: str | None = None,
    token: str | Callable[[], str] | Secret[Any] | None = None,
    client_id: str | None = None,
    client_secret: str | Secret[str] | None = None,
    tenant_id: str | None = None,
    token_url: str | None = None,
    scopes: Iterable[str] | str | None = None,
    audience: str | None = None,
    login: Login | None = None,
    verify: bool | str | None = None,
    proxies: Mapping[str, str] | Secret[Any] | None = None,
    environ: Mapping[str, str] | Secret[Any] | None = None,
    folder: Path | str | None = None,
) -> tuple[Target, Credentials]:
    """
    Find out where to go and as whom.

    Arguments come first, then an existing client, the variables of a notebook hosted by CDF, the variables of Cognite's
    toolkit, and a `.env` file in the current folder or the one above it. What arguments leave open, the others fill in.

    Parameters
    ----------
    client
        A `CogniteClient` of version 7 or 8 of cognite-sdk, or an `AsyncCogniteClient`.
    cluster, base_url
        Where the project is: one or the other.
    project
        Name of the CDF project.
    token
        A token, or a function that gives one and is called for every request.
    client_id, client_secret
        The client that signs in, and what it shows to the identity provider.
    tenant_id, token_url
        The identity provider: a tenant of Entra ID, or the address where tokens are asked for.
    scopes, audience
        What the token is for; the identity provider's usual ones for the cluster when not given.
    login
        How to sign in; read from the other arguments and the variable `LOGIN_FLOW` when not given.
    verify, proxies
        As `Transport` takes them.
    environ
        The environment; the process's own when not given.
    folder
        The current folder; the process's own when not given.

    Returns
    -------
    target
        The service and the project.
    credentials
        What gives tokens. It has not asked for one yet.

    Raises
    ------
    ArgumentError
        A setting cannot be right, or two of them disagree.
    SignInError
        Not enough was found; the message lists what was looked for, and where.
    """
    client, token, client_secret, proxies = (
        wrap_secret(client),
        wrap_secret(token),
        wrap_secret(client_secret),
        wrap_secret(proxies),
    )
    environ = wrap_secret(os.environ if environ is None else environ)
    asked = _Asked(
        client, cluster, project, base_url, token, client_id, client_secret,
        tenant_id, token_url, scopes, audience, login, verify, proxies,
    )  # fmt: skip
    _check_arguments(asked)
    if asked.client is not None:
        return _from_client(asked.client, asked)
    search = _Search(asked, Settings(environ, Path.cwd() if folder is None else Path(folder)))
    hosted_token = NotebookToken(environ) if search.is_hosted() else None
    return search.target_and_credentials(hosted_token)


def _check_arguments(asked: _Asked) -> None:
    """Refuse arguments that exclude each other."""
    if asked.login is not None and asked.login not in LOGINS:
        raise ArgumentError(f"login is {asked.login!r}; expected one of {', '.join(LOGINS)}.")
    for name in ("client_id", "client_secret", "tenant_id", "audience"):
        if not _is_text(getattr(asked, name)):
            raise ArgumentError(f"{name}= is empty or no text; expected a text, or leave it out.")
    if asked.cluster is not None and asked.base_url is not None:
        _check_agreement(asked.cluster, "cluster=", origin_of(asked.base_url), "base_url=")
    others = [name for name in ("token", "client_id", "client_secret", "login") if getattr(asked, name) is not None]
    if asked.client is not None and others:
        raise ArgumentError(f"client= signs in by itself; leave out {' and '.join(f'{name}=' for name in others)}.")
    if asked.token is not None and asked.client_secret is not None:
        raise ArgumentError("token= and client_secret= are two ways to sign in; give one of them.")
    if asked.token is not None and asked.login not in (None, "token"):
        raise ArgumentError(f"token= was given, and login={asked.login!r} does not use it; leave one of them out.")
    if asked.client_secret is not None and asked.login not in (None, "client_credentials"):
        raise ArgumentError(f"client_secret= was given, and login={asked.login!r} does not use it; leave one out.")


def _is_text(value: object) -> bool:
    bare = value.reveal() if isinstance(value, Secret) else value
    return bare is None or (isinstance(bare, str) and bool(bare))


def _from_client(client: Secret[Any], asked: _Asked) -> tuple[Target, Credentials]:
    """Read the three things that all versions of the client have in common, and nothing else."""
    read = _config_of(client)
    if read is None:
        raise ArgumentError(
            "client= has no config with project, base_url and credentials; expected a CogniteClient of cognite-sdk"
            " 7 or 8."
        )
    project, base_url, provider = read
    origin = origin_of(base_url, "client.config.base_url")
    _check_same_place(asked, origin, "client=")
    return Target(origin, asked.project or project), ClientToken(provider)


def _config_of(client: Secret[Any]) -> tuple[str, str, Secret[Any]] | None:
    try:
        config = client.reveal().config
        return config.project, config.base_url, Secret(config.credentials)
    except AttributeError:
        return None


def _check_same_place(asked: _Asked, origin: str, source: str) -> None:
    """Refuse to send a token to another place than the one it comes with."""
    if asked.base_url is not None and origin_of(asked.base_url) != origin:
        raise ArgumentError(
            f"base_url= is {origin_of(asked.base_url)!r} and {source} is for {origin!r}; a token goes only to the"
            " place it is for. Leave base_url= out, or sign in by other means."
        )
    if asked.cluster is not None:
        _check_agreement(asked.cluster, "cluster=", origin, source)


def _check_agreement(cluster: str, cluster_name: str, origin: str, origin_name: str) -> None:
    if url_of_cluster(cluster, cluster_name) != origin and cluster_of_url(origin) != cluster.lower():
        raise ArgumentError(
            f"{cluster_name} is {cluster!r} and {origin_name} is {origin!r}; expected both to name the same place."
            " Correct one of them or leave it out."
        )


class _Search:
    """Put together what arguments and variables say, and remember what is missing."""

    def __init__(self, asked: _Asked, settings: Settings) -> None:
        self._asked = asked
        self._settings = settings
        self._missing: list[str] = []

    def is_hosted(self) -> bool:
        """Tell whether the token of a hosted notebook is the one to use."""
        asked = self._asked
        others = (asked.token, asked.client_id, asked.client_secret)
        if asked.login not in (None, "token") or any(other is not None for other in others):
            return False
        return all(self._settings.hosted(name) for name in HOSTED_VARIABLES)

    def target_and_credentials(self, hosted_token: Credentials | None) -> tuple[Target, Credentials]:
        base_url, project = self._base_url(), self._project()
        if hosted_token is not None:
            _check_same_place(self._asked, self._hosted_origin() or "", "COGNITE_TOKEN")
        credentials = hosted_token or self._credentials(base_url or "")
        if base_url is None or project is None or credentials is None:
            raise AuthenticationError(_report(self._asked, self._settings, self._missing))
        return Target(base_url, project), credentials

    def _base_url(self) -> str | None:
        if self._asked.base_url is not None:
            return origin_of(self._asked.base_url, "base_url=")
        if self._asked.cluster is not None:
            return url_of_cluster(self._asked.cluster, "cluster=")
        return self._hosted_origin() or self._toolkit_origin()

    def _hosted_origin(self) -> str | None:
        url = self._settings.hosted("COGNITE_BASE_URL")
        if url is None or self._settings.hosted("COGNITE_FUSION_NOTEBOOK") is None:
            return None
        return origin_of(url, "COGNITE_BASE_URL", cognite_only=True)

    def _toolkit_origin(self) -> str | None:
        url, cluster = self._settings.text("CDF_URL"), self._settings.text("CDF_CLUSTER")
        if url is None:
            if cluster is None:
                self._missing.append("the cluster (cluster= or CDF_CLUSTER)")
            return None if cluster is None else url_of_cluster(cluster, "CDF_CLUSTER")
        origin = origin_of(url, "CDF_URL", cognite_only=True)
        if cluster is not None and not is_loopback(urlsplit(origin).hostname):  # a service here may be called anything
            _check_agreement(cluster, "CDF_CLUSTER", origin, "CDF_URL")
        return origin

    def _project(self) -> str | None:
        hosted = self._settings.hosted("COGNITE_FUSION_NOTEBOOK") and self._settings.hosted("COGNITE_PROJECT")
        for name, value in (
            ("project=", self._asked.project),
            ("COGNITE_PROJECT", hosted),
            ("CDF_PROJECT", self._settings.text("CDF_PROJECT")),
        ):
            if value is not None:
                check_project(value, name)
                return value
        self._missing.append("the project (project= or CDF_PROJECT)")
        return None

    def _credentials(self, base_url: str) -> Credentials | None:
        login = self._login()
        if login == "token":
            return self._token()
        if login == "client_credentials":
            return self._client_credentials(base_url)
        return self._personal_login(login, base_url)

    def _login(self) -> str:
        asked, has_client_id = self._asked, self._text(self._asked.client_id, "IDP_CLIENT_ID") is not None
        if asked.login is not None:
            return asked.login
        if asked.token is not None:
            return "token"
        flow = "client_credentials" if asked.client_secret is not None else self._flow()
        if flow is None:
            return "token" if self._settings.secret("CDF_TOKEN") and not has_client_id else "client_credentials"
        return "client_credentials" if flow == "token" and asked.client_id is not None else flow

    def _flow(self) -> str | None:
        flow = self._settings.text("LOGIN_FLOW")
        if flow is None or flow.strip().lower() in LOGINS:
            return flow and flow.strip().lower()
        if flow.strip().lower() == "session":
            raise ArgumentError(
                "LOGIN_FLOW is 'session', which only Cognite's toolkit can use, while it deploys; for callframe set"
                f" LOGIN_FLOW or login= to one of {', '.join(LOGINS)}."
            )
        raise ArgumentError(f"LOGIN_FLOW is {flow!r}; expected one of {', '.join(LOGINS)}.")

    def _provider(self) -> str:
        provider = self._settings.text("PROVIDER")
        if self._asked.token_url == CDF_TOKEN_URL:
            return "cdf"
        if self._asked.tenant_id is not None or provider is None:
            return "entra_id"
        if provider.strip().lower() not in PROVIDERS:
            raise ArgumentError(f"PROVIDER is {provider!r}; expected one of {', '.join(PROVIDERS)}.")
        return provider.strip().lower()

    def _token(self) -> Credentials | None:
        token = self._asked.token
        if token is not None:
            return TokenFunction(token) if callable(token.reveal()) else StaticToken(token)
        token = self._settings.secret("CDF_TOKEN")
        if token is None:
            self._missing.append("a token (token= or CDF_TOKEN)")
            return None
        return StaticToken(token, source="CDF_TOKEN")

    def _client_credentials(self, base_url: str) -> Credentials | None:
        client_id = self._needed(
            self._asked.client_id, "IDP_CLIENT_ID", "the client's id (client_id= or IDP_CLIENT_ID)"
        )
        client_secret = self._asked.client_secret or self._settings.secret("IDP_CLIENT_SECRET")
        if client_secret is None:
            self._missing.append("the client's secret (client_secret= or IDP_CLIENT_SECRET)")
        token_url = self._token_url()
        if client_id is None or client_secret is None or token_url is None:
            return None
        return ClientCredentials(
            token_url=token_url,
            client_id=client_id,
            client_secret=client_secret,
            scopes=self._scopes(base_url),
            audience=self._audience(base_url),
            verify=self._asked.verify,
            proxies=self._asked.proxies,
        )

    def _personal_login(self, flow: str, base_url: str) -> Credentials | None:
        if self._provider() != "entra_id":
            raise ArgumentError(
                f"PROVIDER is {self._provider()!r}, and signing in by {flow} works with entra_id only; sign in with"
                " client_credentials or a token."
            )
        client_id = self._needed(
            self._asked.client_id, "IDP_CLIENT_ID", "the client's id (client_id= or IDP_CLIENT_ID)"
        )
        token_url = self._token_url()
        if client_id is None or token_url is None:
            return None
        if not token_url.startswith("https:") or not token_url.endswith(ENTRA_TOKEN_PATH):
            raise ArgumentError(
                f"Signing in by {flow} needs a tenant of Entra ID; give tenant_id= or IDP_TENANT_ID, or a token URL"
                f" that ends in {ENTRA_TOKEN_PATH}."
            )
        return PersonalLogin(
            flow=flow,
            authority=token_url.removesuffix(ENTRA_TOKEN_PATH),
            client_id=client_id,
            scopes=self._scopes(base_url),
            verify=self._asked.verify,
            proxies=self._asked.proxies,
        )

    def _token_url(self) -> str | None:
        if self._asked.token_url is not None:
            return check_token_url(self._asked.token_url, "token_url=")
        if self._asked.tenant_id is not None:
            return _url_of_tenant(self._asked.tenant_id, "tenant_id=")
        url, tenant = self._settings.text("IDP_TOKEN_URL"), self._settings.text("IDP_TENANT_ID")
        if url is not None:
            return check_token_url(url, "IDP_TOKEN_URL")
        if self._provider() == "cdf":
            return CDF_TOKEN_URL
        if self._provider() == "entra_id" and tenant is not None:
            return _url_of_tenant(tenant, "IDP_TENANT_ID")
        tenant_too = "tenant_id= or IDP_TENANT_ID, or " if self._provider() == "entra_id" else ""
        self._missing.append(f"the identity provider ({tenant_too}token_url= or IDP_TOKEN_URL)")
        return None

    def _scopes(self, base_url: str) -> list[str]:
        given = self._asked.scopes if self._asked.scopes is not None else self._settings.text("IDP_SCOPES")
        if given is None:
            return [] if self._provider() == "cdf" else [f"{self._resource(base_url)}/.default"]
        return re.split(r"[,\s]+", given.strip()) if isinstance(given, str) else list(given)

    def _audience(self, base_url: str) -> str | None:
        given = self._text(self._asked.audience, "IDP_AUDIENCE")
        return given or (None if self._provider() == "cdf" else self._resource(base_url))

    def _resource(self, base_url: str) -> str:
        """Name the cluster as identity providers know it: without private link, and even when a proxy stands before."""
        cluster = cluster_of_url(base_url) or self._settings.text("CDF_CLUSTER")
        return base_url if cluster is None else url_of_cluster(cluster_of_url(url_of_cluster(cluster)) or cluster)

    def _text(self, argument: str | None, name: str) -> str | None:
        return argument if argument is not None else self._settings.text(name)

    def _needed(self, argument: str | None, name: str, what: str) -> str | None:
        value = self._text(argument, name)
        if value is None:
            self._missing.append(what)
        return value


def _url_of_tenant(tenant: str, name: str) -> str:
    if not _TENANT.fullmatch(tenant):
        raise ArgumentError(f"{name} is {tenant!r}; expected the id or the domain of a tenant of Entra ID.")
    return f"{ENTRA}{tenant}{ENTRA_TOKEN_PATH}"


def _report(asked: _Asked, settings: Settings, missing: list[str]) -> str:
    """List all that was looked for, and where; whether it is there, and never what it is."""
    given = ", ".join(f"{name}=" for name in _ARGUMENTS if getattr(asked, name) is not None)
    absent = ", ".join(f"{name}=" for name in _ARGUMENTS if getattr(asked, name) is None)
    files = ", ".join(f"{path} {'read' if path == settings.path else 'not there'}" for path in settings.paths)
    return f"""Not enough was found to sign in. Missing: {"; ".join(missing)}.
Looked for, the first one found counts:
  arguments: given {given or "none"}; not given {absent}
  a notebook hosted by CDF: {", ".join(settings.state(name) for name in HOSTED_VARIABLES)}
  variables of the toolkit: {", ".join(settings.state(name) for name in TOOLKIT_VARIABLES)}
  files: {files}
The two shortest ways to sign in:
  callframe.connect(client=CogniteClient()), with a client that works already
  callframe.connect(cluster="westeurope-1", project="my-project", token="..."), or the same three in the variables
  CDF_CLUSTER, CDF_PROJECT and CDF_TOKEN
Without an account, on a made-up project: callframe.demo(), or in a shell: callframe demo"""
