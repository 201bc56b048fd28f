"""The service and project to connect to, and the variables that configure it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import SplitResult, urlsplit

import dotenv

from callframe.errors import ArgumentError, AuthenticationError
from callframe.http.secret import Secret
from callframe.http.transport import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DOMAIN = ".cognitedata.com"

HOSTED_VARIABLES = ("COGNITE_FUSION_NOTEBOOK", "COGNITE_PROJECT", "COGNITE_BASE_URL", "COGNITE_TOKEN")
VARIABLES = {
    "cluster": "CDF_CLUSTER",
    "base_url": "CDF_URL",
    "project": "CDF_PROJECT",
    "token": "CDF_TOKEN",
    "login": "LOGIN_FLOW",
    "client_id": "IDP_CLIENT_ID",
    "client_secret": "IDP_CLIENT_SECRET",
    "tenant_id": "IDP_TENANT_ID",
    "token_url": "IDP_TOKEN_URL",
    "scopes": "IDP_SCOPES",
    "audience": "IDP_AUDIENCE",
}
"""The variable of the Cognite Toolkit for each connection option."""

TOOLKIT_VARIABLES = (*VARIABLES.values(), "PROVIDER")
SHARED_VARIABLES = tuple(name for name in TOOLKIT_VARIABLES if name not in ("CDF_TOKEN", "IDP_CLIENT_SECRET"))
"""The variables of the environment that a `.env` file may refer to: those without secrets."""

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_CLUSTER = re.compile(rf"(?:{_LABEL}\.plink\.)?{_LABEL}")
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")
_PROJECT = re.compile(r"[A-Za-z0-9_-]+")
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_REFERENCE = re.compile(r"\$\{([^}:]+)(?::-([^}]*))?\}")
_PORTS = {"https": 443, "http": 80}
_QUOTED_LENGTH = 100


@dataclass(frozen=True)
class Target:
    """The service and the project that requests go to, validated; `base_url` is in its normalized form."""

    base_url: str
    project: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", normalize_origin(self.base_url))
        check_project(self.project)

    @property
    def api_url(self) -> str:
        """The URL that the paths of all endpoints are appended to."""
        return f"{self.base_url}/api/v1/projects/{self.project}"


def cluster_url(cluster: str, name: str = "cluster") -> str:
    """Return the URL of a cluster such as `westeurope-1` or `name.plink.westeurope-1`; `name` is for messages."""
    if _matches(_CLUSTER, cluster):
        return f"https://{cluster.lower()}{DOMAIN}"
    raise ArgumentError(
        f"{name} is {_quote(cluster)}; expected the part of the address before {DOMAIN} and nothing else, such as"
        " 'westeurope-1'."
    )


def cluster_name(url: str) -> str | None:
    """Return the cluster of a URL, without `name.plink.`; None if the host is not one of Cognite's."""
    host = urlsplit(url).hostname or ""
    return host.removesuffix(DOMAIN).rpartition(".plink.")[2] if host.endswith(DOMAIN) else None


def check_project(project: str, name: str = "project") -> None:
    """Validate the name of a project, which becomes part of every URL."""
    if not _matches(_PROJECT, project):
        raise ArgumentError(
            f"{name} is {_quote(project)}; expected the project's name as CDF shows it: letters, digits, '-' and '_'."
        )


def normalize_origin(url: str, name: str = "base_url", *, cognite_only: bool = False) -> str:
    """
    Validate `https://host[:port]` (http only to this machine) and return it in lower case without the default port.

    `cognite_only` accepts no hosts but Cognite's and this machine: for URLs of variables and files, which the user may
    not have looked at.
    """
    parts = _split(url, name)
    host = parts.hostname or ""
    if parts.path not in ("", "/") or "?" in url:
        _reject(name, url, "https://host without a path; the project's name goes into project=")
    if cognite_only and not (host.endswith(DOMAIN) or is_loopback(host)):
        _reject(name, url, f"a host under {DOMAIN}; to send tokens to another host, give base_url= in the call")
    origin = f"{parts.scheme}://[{host}]" if ":" in host else f"{parts.scheme}://{host}"
    return origin if parts.port in (None, _PORTS[parts.scheme]) else f"{origin}:{parts.port}"


def check_token_url(url: str, name: str = "token_url") -> str:
    """Validate the URL that secrets are sent to: https, or http to this machine."""
    _split(url, name)
    return url


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _split(url: str, name: str) -> SplitResult:
    """Split a URL, and reject it if two parsers could disagree about its host."""
    if not _matches(_VISIBLE_ASCII, url) or "\\" in url:
        _reject(name, url, "an address such as 'https://westeurope-1.cognitedata.com', without white space")
    try:
        parts = urlsplit(url)
        is_valid = parts.port != 0  # `port` raises if it is not a port number
    except ValueError:
        is_valid = False
    if not is_valid or not _HOST.fullmatch(parts.hostname or "") or parts.scheme not in _PORTS:
        _reject(name, url, "an address such as 'https://westeurope-1.cognitedata.com'")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        _reject(name, url, "https; plain http is allowed to this machine only")
    if "@" in parts.netloc or "#" in url:
        _reject(name, url, "an address without user, password and fragment")
    return parts


def _reject(name: str, url: object, expected: str) -> NoReturn:
    raise ArgumentError(f"{name} is {_quote(url)}; expected {expected}.")


def _quote(value: object) -> str:
    """Quote a value without the parts that may be a password or a token."""
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    harmless = re.sub(r"(?<=//)[^/]*@", "...@", value.partition("?")[0])
    return repr(harmless[:_QUOTED_LENGTH] + ("?..." if "?" in value else ""))


class Source(IntEnum):
    """Where a variable is set, the more trusted source first; arguments count with the environment."""

    ENVIRONMENT = 0
    FILE = 1


class Settings:
    """
    Variables of the environment, read at each access, and of a `.env` file in `folder` or its parent.

    The environment takes precedence and is never changed. An empty variable counts as not set. `within` leaves out the
    sources that are trusted less.
    """

    def __init__(self, environ: Secret[Mapping[str, str]], folder: Path) -> None:
        self.paths = [directory / ".env" for directory in (folder, folder.parent)]
        self.path = next((path for path in self.paths if path.is_file()), None)
        self._environ = environ
        self._file = _read_env_file(self.path, environ) if self.path else {}

    def secret(self, name: str, *, within: Source = Source.FILE) -> Secret[str] | None:
        """Return a variable that must not be shown."""
        source = self.source(name)
        if source is None or source > within:
            return None
        return _variable(self._environ, name) if source is Source.ENVIRONMENT else self._file_value(name)

    def text(self, name: str, *, within: Source = Source.FILE) -> str | None:
        """Return a variable that may be shown."""
        value = self.secret(name, within=within)
        return None if value is None else value.reveal()

    def source(self, name: str) -> Source | None:
        """Return where a variable is set."""
        if _variable(self._environ, name):
            return Source.ENVIRONMENT
        return Source.FILE if name in self._file else None

    def place(self, name: str) -> str:
        """Name the source of a variable that is set, for messages."""
        return str(self.path) if self.source(name) is Source.FILE else "the environment"

    def describe(self, name: str) -> str:
        """Describe whether and where a variable is set, without its value."""
        place = f" in {self.path}" if self.source(name) is Source.FILE else ""
        return f"{name} not set" if self.source(name) is None else f"{name} set{place}"

    def _file_value(self, name: str) -> Secret[str]:
        value = self._file[name]
        references = (match[1] for match in _REFERENCE.finditer(value.reveal()))
        reference = next((other for other in references if _variable(self._environ, other)), None)
        if reference is None:
            return value
        raise AuthenticationError(
            f"{name} in {self.path} refers to the variable {reference} of the environment. A .env file may refer to"
            f" variables above in the file, and of the environment only to {', '.join(SHARED_VARIABLES)}. Write the"
            f" value into the file, or set {name} in the environment."
        )


def _variable(environ: Secret[Mapping[str, str]], name: str) -> Secret[str] | None:
    value = Secret(environ.reveal().get(name) or "")
    return value if value.reveal().strip() else None


def _read_env_file(path: Path, environ: Secret[Mapping[str, str]]) -> dict[str, Secret[str]]:
    """
    Read a `.env` file and replace `${NAME}` by a shared variable of the environment or a variable above in the file.

    Other references are kept: dotenv itself would replace them with nothing, which breaks passwords that contain `${`,
    or with any variable of the environment, which lets a file send it elsewhere. Its errors may quote the file, so only
    their type is reported.
    """
    try:
        lines = Secret(dotenv.dotenv_values(path, interpolate=False, encoding="utf-8-sig"))
    except (OSError, ValueError) as exception:
        error_name = type(exception).__name__
    else:
        values: dict[str, Secret[str]] = {}
        for name in lines.reveal():
            value = _interpolated(Secret(lines.reveal()[name] or ""), environ, values)
            values |= {name: value} if value.reveal().strip() else {}
        return values
    raise AuthenticationError(
        f"{path} could not be read ({error_name}); expected a text file of NAME=value lines in UTF-8."
    )


def _interpolated(
    line: Secret[str], environ: Secret[Mapping[str, str]], values: Mapping[str, Secret[str]]
) -> Secret[str]:
    def replace(match: re.Match[str]) -> str:
        variable = _variable(environ, match[1])
        value = (variable if match[1] in SHARED_VARIABLES else None) or values.get(match[1])
        if value is not None:
            return value.reveal()
        return match[0] if match[2] is None or variable is not None else match[2]

    return Secret(_REFERENCE.sub(replace, line.reveal()))
