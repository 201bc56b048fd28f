"""Connection options, and how target and credentials follow from them, the environment and `.env` files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, get_args
from urllib.parse import urlsplit

from callframe.auth.oauth import TIMEOUT_S, ClientCredentials, UserLogin
from callframe.auth.settings import (
    HOSTED_VARIABLES,
    TOOLKIT_VARIABLES,
    VARIABLES,
    Settings,
    Source,
    Target,
    check_project,
    check_token_url,
    cluster_name,
    cluster_url,
    normalize_origin,
)
from callframe.auth.tokens import Credentials, ExistingClient, HostedNotebookToken, StaticToken, TokenFunction
from callframe.errors import ArgumentError, AuthenticationError
from callframe.http.secret import Secret, wrap_secret
from callframe.http.transport import Transport, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

Login = Literal["client_credentials", "token", "device_code", "interactive"]
"""The login flows, as `login=` and the variable `LOGIN_FLOW` name them."""

LOGINS: tuple[str, ...] = get_args(Login)
PROVIDERS = ("entra_id", "auth0", "cdf", "other")
ENTRA_URL = "https://login.microsoftonline.com/"
ENTRA_TOKEN_PATH = "/oauth2/v2.0/token"  # noqa: S105 - a path
CDF_TOKEN_URL = "https://auth.cognite.com/oauth2/token"  # noqa: S105 - an address

_SECRET_OPTIONS = {"token": "token", "client_credentials": "client_secret"}  # by login flow; the others have none
_SECRETS = ("client", "token", "client_secret", "proxies")
_TENANT = re.compile(r"[A-Za-z0-9.-]+")


@dataclass(frozen=True)
class ConnectionOptions:
    """The arguments of `connect` that decide where to connect and how to sign in; those with secrets are wrapped."""

    client: Secret[Any] | None = None
    cluster: str | None = None
    base_url: str | None = None
    project: str | None = None
    token: Secret[Any] | None = None
    client_id: str | None = None
    client_secret: Secret[str] | None = None
    tenant_id: str | None = None
    token_url: str | None = None
    scopes: Iterable[str] | str | None = None
    audience: str | None = None
    login: Login | None = None
    verify: bool | str | None = None
    proxies: Secret[Any] | None = None

    @classmethod
    def from_arguments(cls, **arguments: Any) -> ConnectionOptions:
        """Wrap the arguments that may hold a secret."""
        arguments |= {name: wrap_secret(arguments.get(name)) for name in _SECRETS}
        return cls(**arguments)

    def __post_init__(self) -> None:
        """Reject invalid options, and options that exclude each other."""
        if self.login is not None and self.login not in LOGINS:
            raise ArgumentError(f"login is {self.login!r}; expected one of {', '.join(LOGINS)}.")
        for name in ("client_id", "client_secret", "tenant_id", "audience"):
            if not _is_text(getattr(self, name)):
                raise ArgumentError(f"{name}= is empty or not a string; expected a string, or leave it out.")
        if self.cluster is not None and self.base_url is not None:
            _check_agreement(self.cluster, "cluster=", normalize_origin(self.base_url), "base_url=")
        others = self.given("token", "client_id", "client_secret", "login")
        if self.client is not None and others:
            raise ArgumentError(f"client= signs in by itself; leave out {' and '.join(others)}.")
        if self.token is not None and self.client_secret is not None:
            raise ArgumentError("token= and client_secret= are two ways to sign in; give one of them.")
        for name, login in (("token", "token"), ("client_secret", "client_credentials")):
            if self.given(name) and self.login not in (None, login):
                raise ArgumentError(f"{name}= is not used by login={self.login!r}; leave one of them out.")

    def given(self, *names: str) -> list[str]:
        """List which of these options are given, as `name=`."""
        return [f"{name}=" for name in names if getattr(self, name) is not None]


def _is_text(value: object) -> bool:
    bare = value.reveal() if isinstance(value, Secret) else value
    return bare is None or (isinstance(bare, str) and bool(bare))


def resolve_connection(
    options: ConnectionOptions,
    *,
    environ: Mapping[str, str] | Secret[Any] | None = None,
    folder: Path | None = None,
) -> tuple[Target, Credentials]:
    """
    Find the target and the credentials.

    Options take precedence over the variables of a notebook hosted by CDF, then those of the Cognite Toolkit, then a
    `.env` file in the current folder or its parent. No token is requested yet. Raises `ArgumentError` for an invalid or
    contradictory setting, and `AuthenticationError` that lists where it looked if a setting is missing, or if a source
    would decide where a secret from elsewhere is sent.
    """
    environ = wrap_secret(os.environ if environ is None else environ)
    if options.client is not None:
        return _connection_of_client(options, options.client)
    return _Resolver(options, environ, folder or Path.cwd()).connection()


def _connection_of_client(options: ConnectionOptions, client: Secret[Any]) -> tuple[Target, Credentials]:
    """Read only the three attributes that all versions of the client have in common."""
    config = _client_config(client)
    if config is None:
        raise ArgumentError(
            "client= has no config with project, base_url and credentials; expected a CogniteClient of cognite-sdk"
            " 7 or 8."
        )
    project, base_url, provider = config
    origin = normalize_origin(base_url, "client.config.base_url")
    _check_same_origin(options, origin, "client=")
    return Target(origin, options.project or project), ExistingClient(provider)


def _client_config(client: Secret[Any]) -> tuple[str, str, Secret[Any]] | None:
    try:
        config = client.reveal().config
        return config.project, config.base_url, Secret(config.credentials)
    except AttributeError:
        return None


def _check_same_origin(options: ConnectionOptions, origin: str, source: str) -> None:
    """Refuse to send a token to an origin other than its own."""
    base_url = origin if options.base_url is None else normalize_origin(options.base_url)
    if base_url != origin:
        raise ArgumentError(
            f"base_url= is {base_url!r} and {source} is for {origin!r}; a token is sent only to the host it is for."
            " Leave base_url= out, or sign in another way."
        )
    if options.cluster is not None:
        _check_agreement(options.cluster, "cluster=", origin, source)


def _check_agreement(cluster: str, cluster_source: str, origin: str, origin_source: str) -> None:
    if cluster_url(cluster, cluster_source) != origin and cluster_name(origin) != cluster.lower():
        raise ArgumentError(
            f"{cluster_source} is {cluster!r} and {origin_source} is {origin!r}; expected both to name the same"
            " cluster. Correct one of them or leave it out."
        )


class _Resolver:
    """Combine options and variables, and collect what is missing."""

    def __init__(self, options: ConnectionOptions, environ: Secret[Mapping[str, str]], folder: Path) -> None:
        self._options = options
        self._environ = environ
        self._settings = Settings(environ, folder)
        self._missing: list[str] = []

    def connection(self) -> tuple[Target, Credentials]:
        uses_hosted_token = self._uses_hosted_token()
        base_url, project = self._require(self._base_url(), "the cluster", "cluster"), self._project()
        credentials: Credentials | None
        if uses_hosted_token:
            _check_same_origin(self._options, self._hosted_origin() or "", "COGNITE_TOKEN")
            credentials = HostedNotebookToken(self._environ)
        else:
            credentials = self._credentials(base_url or "")
        if base_url is None or project is None or credentials is None:
            raise AuthenticationError(self._report())
        return Target(base_url, project), credentials

    def _uses_hosted_token(self) -> bool:
        if self._options.login not in (None, "token") or self._options.given("token", "client_id", "client_secret"):
            return False
        return all(self._settings.source(name) is Source.ENVIRONMENT for name in HOSTED_VARIABLES)

    def _base_url(self, within: Source = Source.FILE) -> str | None:
        if self._options.base_url is not None:
            return normalize_origin(self._options.base_url, "base_url=")
        if self._options.cluster is not None:
            return cluster_url(self._options.cluster, "cluster=")
        return self._hosted_origin(within) or self._toolkit_origin(within)

    def _hosted_origin(self, within: Source = Source.ENVIRONMENT) -> str | None:
        url = self._hosted_text("COGNITE_BASE_URL", within)
        return None if url is None else normalize_origin(url, "COGNITE_BASE_URL", cognite_only=True)

    def _hosted_text(self, name: str, within: Source = Source.ENVIRONMENT) -> str | None:
        """Return a variable of a hosted notebook, which no `.env` file can set."""
        is_hosted = self._settings.source("COGNITE_FUSION_NOTEBOOK") is Source.ENVIRONMENT
        return self._settings.text(name, within=min(within, Source.ENVIRONMENT)) if is_hosted else None

    def _toolkit_origin(self, within: Source) -> str | None:
        url, cluster = (self._settings.text(name, within=within) for name in ("CDF_URL", "CDF_CLUSTER"))
        if url is None:
            return None if cluster is None else cluster_url(cluster, "CDF_CLUSTER")
        origin = normalize_origin(url, "CDF_URL", cognite_only=True)
        if cluster is not None and not is_loopback(urlsplit(origin).hostname):  # a local service may have any name
            _check_agreement(cluster, "CDF_CLUSTER", origin, "CDF_URL")
        return origin

    def _project(self) -> str | None:
        for source, project in (
            ("project=", self._options.project),
            ("COGNITE_PROJECT", self._hosted_text("COGNITE_PROJECT")),
            ("CDF_PROJECT", self._settings.text("CDF_PROJECT")),
        ):
            if project is not None:
                check_project(project, source)
                return project
        return self._require(None, "the project", "project")

    def _credentials(self, base_url: str) -> Credentials | None:
        flow = self._flow()
        self._check_base_url(base_url, flow)
        if flow == "token":
            return self._token()
        return self._client_credentials(base_url) if flow == "client_credentials" else self._user_login(flow, base_url)

    def _flow(self) -> str:
        options = self._options
        if options.login is not None:
            return options.login
        if options.token is not None:
            return "token"
        if options.client_secret is not None:
            return "client_credentials"
        flow = self._choice("LOGIN_FLOW", LOGINS)
        if flow is None:
            has_token_only = self._text("client_id") is None and self._settings.source("CDF_TOKEN") is not None
            return "token" if has_token_only else "client_credentials"
        return "client_credentials" if flow == "token" and options.client_id is not None else flow

    def _provider(self, within: Source = Source.FILE) -> str:
        if self._options.token_url == CDF_TOKEN_URL:
            return "cdf"
        return (self._options.tenant_id is None and self._choice("PROVIDER", PROVIDERS, within)) or "entra_id"

    def _choice(self, variable: str, choices: tuple[str, ...], within: Source = Source.FILE) -> str | None:
        value = self._settings.text(variable, within=within)
        choice = None if value is None else value.strip().lower()
        if choice is None or choice in choices:
            return choice
        is_session = (variable, choice) == ("LOGIN_FLOW", "session")
        reason = ", which only the Cognite Toolkit can use, while it deploys" if is_session else ""
        raise ArgumentError(f"{variable} is {value!r}{reason}; expected one of {', '.join(choices)}.")

    def _token(self) -> Credentials | None:
        token = self._options.token
        if token is not None:
            return TokenFunction(token) if callable(token.reveal()) else StaticToken(token)
        token = self._require(self._settings.secret("CDF_TOKEN"), "a token", "token")
        return None if token is None else StaticToken(token, source="CDF_TOKEN")

    def _client_credentials(self, base_url: str) -> Credentials | None:
        client_id = self._client_id()
        client_secret = self._options.client_secret or self._settings.secret("IDP_CLIENT_SECRET")
        client_secret = self._require(client_secret, "the client's secret", "client_secret")
        token_url = self._required_token_url()
        if client_id is None or client_secret is None or token_url is None:
            return None
        self._check_token_url(token_url, "client_credentials", harmless=CDF_TOKEN_URL)
        return ClientCredentials(
            token_url=token_url,
            client_id=client_id,
            client_secret=client_secret,
            transport=self._transport(token_url),
            scopes=self._scopes(base_url),
            audience=self._audience(base_url),
        )

    def _user_login(self, flow: str, base_url: str) -> Credentials | None:
        if self._provider() != "entra_id":
            raise ArgumentError(
                f"PROVIDER is {self._provider()!r}, and signing in by {flow} works with entra_id only; sign in with"
                " client_credentials or a token."
            )
        client_id, token_url = self._client_id(), self._required_token_url()
        if client_id is None or token_url is None:
            return None
        self._check_token_url(token_url, flow, harmless=ENTRA_URL)
        if not token_url.startswith("https:") or not token_url.endswith(ENTRA_TOKEN_PATH):
            raise ArgumentError(
                f"Signing in by {flow} needs a tenant of Entra ID; give tenant_id= or IDP_TENANT_ID, or a token URL"
                f" that ends in {ENTRA_TOKEN_PATH}."
            )
        return UserLogin(
            flow=flow,
            authority=token_url.removesuffix(ENTRA_TOKEN_PATH),
            client_id=client_id,
            scopes=self._scopes(base_url),
            transport=self._transport(token_url),
        )

    def _transport(self, url: str) -> Transport:
        return Transport(url, verify=self._options.verify, proxies=self._options.proxies, timeout_s=TIMEOUT_S)

    def _client_id(self) -> str | None:
        return self._require(self._text("client_id"), "the client's id", "client_id")

    def _required_token_url(self) -> str | None:
        options = ("tenant_id", "token_url") if self._provider() == "entra_id" else ("token_url",)
        return self._require(self._token_url(), "the identity provider", *options)

    def _token_url(self, within: Source = Source.FILE) -> str | None:
        if self._options.token_url is not None:
            return check_token_url(self._options.token_url, "token_url=")
        if self._options.tenant_id is not None:
            return _tenant_token_url(self._options.tenant_id, "tenant_id=")
        url = self._settings.text("IDP_TOKEN_URL", within=within)
        if url is not None:
            return check_token_url(url, "IDP_TOKEN_URL")
        provider = self._provider(within)
        if provider == "cdf":
            return CDF_TOKEN_URL
        tenant = self._settings.text("IDP_TENANT_ID", within=within) if provider == "entra_id" else None
        return None if tenant is None else _tenant_token_url(tenant, "IDP_TENANT_ID")

    def _check_base_url(self, base_url: str, flow: str) -> None:
        """Refuse a local service named by a source less trusted than that of the secret; other hosts are Cognite's."""
        secret, source = self._secret_of(flow)
        if is_loopback(urlsplit(base_url).hostname) and source is not None and base_url != self._base_url(source):
            variable = "CDF_URL" if self._hosted_origin() is None else "COGNITE_BASE_URL"
            self._refuse(secret if flow == "token" else f"a token of {secret}", base_url, variable, flow)

    def _check_token_url(self, url: str, flow: str, *, harmless: str) -> None:
        """
        Refuse a token URL named by a source less trusted than that of the secret.

        A URL that starts with `harmless` is accepted if no other follows from the trusted sources.
        """
        secret, source = self._secret_of(flow)
        expected = None if source is None else self._token_url(source)
        if url == expected or (expected is None and url.startswith(harmless)):
            return
        variable = "PROVIDER" if url == CDF_TOKEN_URL else "IDP_TENANT_ID"
        self._refuse(secret, url, variable if self._settings.source("IDP_TOKEN_URL") is None else "IDP_TOKEN_URL", flow)

    def _secret_of(self, flow: str) -> tuple[str, Source | None]:
        """Return the name and the source of the secret of a login flow; a user's login is not read from a file."""
        option = _SECRET_OPTIONS.get(flow)
        if option is None:
            return "your login", Source.ENVIRONMENT
        if self._options.given(option):
            return f"{option}=", Source.ENVIRONMENT
        return VARIABLES[option], self._settings.source(VARIABLES[option])

    def _refuse(self, secret: str, url: str, variable: str, flow: str) -> NoReturn:
        place = self._settings.place(variable)
        option = next((name for name, value in VARIABLES.items() if value == variable), "token_url")
        advice = f"pass {option}=, or set {variable} in the environment"
        if flow in _SECRET_OPTIONS:
            advice += f", or set {VARIABLES[_SECRET_OPTIONS[flow]]} only in {place}"
        raise AuthenticationError(
            f"Refusing to send {secret} to {url.partition('?')[0]!r}, which {variable} in {place} names: a .env file"
            f" decides only where its own secrets are sent. If the address is right, {advice}."
        )

    def _scopes(self, base_url: str) -> list[str]:
        scopes = self._options.scopes if self._options.scopes is not None else self._settings.text("IDP_SCOPES")
        if scopes is None:
            return [] if self._provider() == "cdf" else [f"{self._resource(base_url)}/.default"]
        return re.split(r"[,\s]+", scopes.strip()) if isinstance(scopes, str) else list(scopes)

    def _audience(self, base_url: str) -> str | None:
        return self._text("audience") or (None if self._provider() == "cdf" else self._resource(base_url))

    def _resource(self, base_url: str) -> str:
        """Return the URL by which identity providers know the cluster, also behind private link or a proxy."""
        cluster = cluster_name(base_url) or self._settings.text("CDF_CLUSTER")
        return base_url if cluster is None else cluster_url(cluster_name(cluster_url(cluster)) or cluster)

    def _text(self, option: str) -> str | None:
        value: str | None = getattr(self._options, option)
        return value if value is not None else self._settings.text(VARIABLES[option])

    def _require(self, value: T | None, what: str, *options: str) -> T | None:
        """Return the value, and note what is missing if it is None."""
        if value is None:
            sources = ", or ".join(f"{option}= or {VARIABLES[option]}" for option in options)
            self._missing.append(f"{what} ({sources})")
        return value

    def _report(self) -> str:
        """List all options, variables and files that were looked at, and whether they are set, without values."""
        names = [field.name for field in fields(self._options) if field.name not in ("verify", "proxies")]
        given = self._options.given(*names)
        files = (f"{path} {'read' if path == self._settings.path else 'not found'}" for path in self._settings.paths)
        return f"""Not enough was found to sign in. Missing: {"; ".join(self._missing)}.
Looked at, in order of precedence:
  arguments: given {", ".join(given) or "none"}; not given {", ".join(f"{n}=" for n in names if f"{n}=" not in given)}
  a notebook hosted by CDF: {", ".join(self._settings.describe(name) for name in HOSTED_VARIABLES)}
  variables of the Cognite Toolkit: {", ".join(self._settings.describe(name) for name in TOOLKIT_VARIABLES)}
  files: {", ".join(files)}
The two shortest ways to sign in:
  callframe.connect(client=CogniteClient()), with an existing client
  callframe.connect(cluster="westeurope-1", project="my-project", token="..."), or the same three in the variables
  CDF_CLUSTER, CDF_PROJECT and CDF_TOKEN
Without an account, on a sample project: callframe.demo(), or in a shell: callframe demo"""


def _tenant_token_url(tenant: str, source: str) -> str:
    if not _TENANT.fullmatch(tenant):
        raise ArgumentError(f"{source} is {tenant!r}; expected the id or the domain of a tenant of Entra ID.")
    return f"{ENTRA_URL}{tenant}{ENTRA_TOKEN_PATH}"
