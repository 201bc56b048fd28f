"""Where to: the address and the project, and the variables that name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
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

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_CLUSTER = re.compile(rf"(?:{_LABEL}\.plink\.)?{_LABEL}")
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")
_PROJECT = re.compile(r"[A-Za-z0-9_-]+")
_VISIBLE = re.compile(r"[!-~]+")
_REFERENCE = re.compile(r"\$\{([^}:]+)(?::-([^}]*))?\}")
_PORTS = {"https": 443, "http": 80}
_SHOWN_LENGTH = 100


@dataclass(frozen=True)
class Target:
    """
    The service and the project that requests go to.

    Parameters
    ----------
    base_url
        `https://host[:port]` and nothing after it but a slash; plain http only to this machine.
    project
        Name of the CDF project: letters, digits, `-` and `_`.

    Raises
    ------
    ArgumentError
        The address or the name cannot be right.
    """

    base_url: str
    project: str

    def __post_init__(self) -> None:
        """Check both, and bring the address into its one normal form."""
        object.__setattr__(self, "base_url", origin_of(self.base_url))
        check_project(self.project)

    @classmethod
    def of_cluster(cls, cluster: str, project: str) -> Target:
        """
        Name the target by its cluster.

        Parameters
        ----------
        cluster
            Such as `westeurope-1`, or `name.plink.westeurope-1`.
        project
            Name of the CDF project.

        Returns
        -------
        target
            The cluster's own address, with the project.
        """
        return cls(url_of_cluster(cluster), project)

    @property
    def api_url(self) -> str:
        """The address under which all the project's endpoints lie."""
        return f"{self.base_url}/api/v1/projects/{self.project}"


def url_of_cluster(cluster: str, name: str = "cluster") -> str:
    """
    Make the address of a cluster.

    Parameters
    ----------
    cluster
        Such as `westeurope-1`, or `name.plink.westeurope-1`; capitals are made small, as names of hosts know none.
    name
        What the user calls this setting, for the message.

    Returns
    -------
    url
        Origin of the service.

    Raises
    ------
    ArgumentError
        It is not the name of a cluster and nothing else.
    """
    if _is_whole(_CLUSTER, cluster):
        return f"https://{cluster.lower()}{DOMAIN}"
    raise ArgumentError(
        f"{name} is {_shown(cluster)}; expected the part of the address before {DOMAIN}, such as 'westeurope-1', with"
        " nothing before or after it."
    )


def cluster_of_url(url: str) -> str | None:
    """
    Read the cluster out of an address.

    Parameters
    ----------
    url
        Origin of a service.

    Returns
    -------
    cluster
        Without any `name.plink.` before it; None where the address is not one of Cognite's.
    """
    host = urlsplit(url).hostname or ""
    if not host.endswith(DOMAIN):
        return None
    return host.removesuffix(DOMAIN).rpartition(".plink.")[2]


def check_project(project: str, name: str = "project") -> None:
    """
    Make sure that a project's name is one, since it becomes a part of every address.

    Parameters
    ----------
    project
        Name of the CDF project.
    name
        What the user calls this setting, for the message.

    Raises
    ------
    ArgumentError
        It holds anything but letters, digits, `-` and `_`.
    """
    if not _is_whole(_PROJECT, project):
        raise ArgumentError(
            f"{name} is {_shown(project)}; expected the project's name as CDF shows it: letters, digits, '-' and '_'."
        )


def origin_of(url: str, name: str = "base_url", *, cognite_only: bool = False) -> str:
    """
    Check an address that must be an origin, and bring it into its one normal form.

    Parameters
    ----------
    url
        `https://host[:port]`, perhaps with a slash after it; plain http only to this machine.
    name
        What the user calls this setting, for the message.
    cognite_only
        Take no host but Cognite's and this machine: for what a file or a variable says, which the user may not have
        looked at.

    Returns
    -------
    origin
        In small letters, without the slash and without the port that is the usual one.

    Raises
    ------
    ArgumentError
        It is anything else.
    """
    parts = _split(url, name)
    host = parts.hostname or ""
    if parts.path not in ("", "/") or "?" in url:
        _refuse(name, url, "only https://host: nothing after the host, and the project's name in project=")
    if cognite_only and not (host.endswith(DOMAIN) or is_loopback(host)):
        _refuse(name, url, f"a host under {DOMAIN}; to send tokens to another one, give base_url= in the call")
    shown_host = f"[{host}]" if ":" in host else host
    usual = parts.port in (None, _PORTS[parts.scheme])
    return f"{parts.scheme}://{shown_host}" if usual else f"{parts.scheme}://{shown_host}:{parts.port}"


def check_token_url(url: str, name: str = "token_url") -> str:
    """
    Check the address that secrets are sent to for a token.

    Parameters
    ----------
    url
        Any https address; plain http only to this machine.
    name
        What the user calls this setting, for the message.

    Returns
    -------
    url
        The same.

    Raises
    ------
    ArgumentError
        It is anything else.
    """
    _split(url, name)
    return url


def _is_whole(pattern: re.Pattern[str], value: object) -> bool:
    """Match from the first character to the last, a newline at the end included."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _split(url: str, name: str) -> SplitResult:
    """Take an address apart, unless two parsers could disagree about its host."""
    if not _is_whole(_VISIBLE, url) or "\\" in url:
        _refuse(name, url, "an address such as 'https://westeurope-1.cognitedata.com', without white space")
    parts = _parsed(url)
    if parts is None or not _HOST.fullmatch(parts.hostname or "") or parts.scheme not in _PORTS:
        _refuse(name, url, "an address such as 'https://westeurope-1.cognitedata.com'")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        _refuse(name, url, "https; plain http is for this very machine only")
    if "@" in parts.netloc or "#" in url:
        _refuse(name, url, "an address without user, password and fragment")
    return parts


def _parsed(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port  # raises unless it is a number that can be a port
    except ValueError:
        return None
    return None if port == 0 else parts


def _refuse(name: str, url: object, expected: str) -> NoReturn:
    raise ArgumentError(f"{name} is {_shown(url)}; expected {expected}.")


def _shown(value: object) -> str:
    """Quote what was found, without what may be a password or a token in it."""
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    harmless = re.sub(r"(?<=//)[^/]*@", "...@", value.partition("?")[0])
    return repr(harmless[:_SHOWN_LENGTH] + ("?..." if "?" in value else ""))


class Settings:
    """
    Look variables up in the environment and then in a `.env` file; nothing is written anywhere.

    An empty variable counts as one that is not set.

    Parameters
    ----------
    environ
        The environment, read anew at every look.
    folder
        Where a `.env` file is looked for, and then in the folder above it.

    Raises
    ------
    SignInError
        There is a `.env` file that cannot be read.
    """

    def __init__(self, environ: Secret[Mapping[str, str]], folder: Path) -> None:
        self.paths = [place / ".env" for place in (folder, folder.parent)]
        self.path = next((path for path in self.paths if path.is_file()), None)
        self._environ = environ
        self._file = _read(self.path, environ) if self.path else {}

    def secret(self, name: str) -> Secret[str] | None:
        """
        Look up a variable that must not be shown.

        Parameters
        ----------
        name
            Name of the variable.

        Returns
        -------
        value
            None when it is not set.
        """
        return _looked_up(self._environ, name) or self._file.get(name)

    def text(self, name: str) -> str | None:
        """
        Look up a variable that may be shown.

        Parameters
        ----------
        name
            Name of the variable.

        Returns
        -------
        value
            None when it is not set.
        """
        value = self.secret(name)
        return None if value is None else value.reveal()

    def hosted(self, name: str) -> str | None:
        """
        Look up a variable that may be shown in the environment alone, where a hosted notebook has its own.

        Parameters
        ----------
        name
            Name of the variable.

        Returns
        -------
        value
            None when it is not set.
        """
        value = _looked_up(self._environ, name)
        return None if value is None else value.reveal()

    def state(self, name: str) -> str:
        """
        Say whether and where a variable is set, and not to what.

        Parameters
        ----------
        name
            Name of the variable.

        Returns
        -------
        state
            Words for a message.
        """
        if _looked_up(self._environ, name):
            return f"{name} set"
        return f"{name} set in {self.path}" if name in self._file else f"{name} not set"


def _looked_up(environ: Secret[Mapping[str, str]], name: str) -> Secret[str] | None:
    value = environ.reveal().get(name)
    return Secret(value) if value and value.strip() else None


def _read(path: Path, environ: Secret[Mapping[str, str]]) -> dict[str, Secret[str]]:
    """Read a file of variables; what it says of the failure may quote the file, so only its name goes on."""
    trouble = ""
    try:
        return _resolved(Secret(dotenv.dotenv_values(path, interpolate=False, encoding="utf-8-sig")), environ)
    except (OSError, ValueError) as exception:
        trouble = type(exception).__name__
    raise AuthenticationError(
        f"{path} could not be read ({trouble}); expected a text file of NAME=value lines in UTF-8."
    )


def _resolved(raw: Secret[dict[str, str | None]], environ: Secret[Mapping[str, str]]) -> dict[str, Secret[str]]:
    """
    Put variables in for `${NAME}`, the shell's before the file's.

    `dotenv` itself would prefer the file's, and put nothing in for an unknown one, which a password may look like.
    """
    values: dict[str, Secret[str]] = {}
    for name in raw.reveal():
        secret = _filled(raw, name, environ, values)
        if secret is not None:
            values[name] = secret
    return values


def _filled(
    raw: Secret[dict[str, str | None]], name: str, environ: Secret[Mapping[str, str]], values: dict[str, Secret[str]]
) -> Secret[str] | None:
    def replace(match: re.Match[str]) -> str:
        found = _looked_up(environ, match[1]) or values.get(match[1])
        if found is not None:
            return found.reveal()
        return match[0] if match[2] is None else match[2]

    value = _REFERENCE.sub(replace, raw.reveal()[name] or "")
    return Secret(value) if value.strip() else None
