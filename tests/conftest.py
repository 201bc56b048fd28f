"""Keep every test on this machine, and away from what its user has set up."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import notebook_servers
import pytest
from chromium import browser
from hypothesis import settings

from callframe.http.transport import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notebook_servers import Server
    from playwright.sync_api import Browser

OF_THE_USER = ("CDF_", "IDP_", "COGNITE_", "LOGIN_FLOW", "PROVIDER")

os.environ["MPLBACKEND"] = "Agg"

# The same examples each time: what fails for one fails for all. `--hypothesis-profile=explore` looks further.
settings.register_profile("steady", derandomize=True)
settings.register_profile("explore", max_examples=1000)
settings.load_profile("steady")


class NetworkBlockedError(RuntimeError):
    """A test went for the network."""


@pytest.fixture(autouse=True, scope="session")
def blocked() -> Iterator[list[str]]:
    """Refuse, for the whole session and so for stray threads too, what leaves this machine; list what was refused."""
    refused: list[str] = []

    def refuse(host: object) -> None:
        refused.append(str(host))
        raise NetworkBlockedError(f"Tests stay on this machine; this one went for {host}.")

    def connecting(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
                refuse(address[0])
            return original(self, address)

        return connect

    def resolving(original: Callable[..., Any]) -> Callable[..., Any]:
        def resolve(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name and not is_loopback(name):
                refuse(name)
            return original(host, *args, **kwargs)

        return resolve

    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, connecting(getattr(socket.socket, method)))
        for function in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, function, resolving(getattr(socket, function)))
        yield refused


@pytest.fixture(autouse=True)
def stays_on_this_machine(blocked: list[str]) -> Iterator[None]:
    """Fail a test that went for the network, also where a thread or an `except` swallowed the error."""
    yield
    hosts, blocked[:] = list(blocked), []
    if hosts:
        pytest.fail(f"The test went for the network: {', '.join(hosts)}.")


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the variables that name a project or a way to sign in."""
    for name in list(os.environ):
        if name.startswith(OF_THE_USER):
            monkeypatch.delenv(name)


# A real browser. Playwright keeps an event loop running while it is open, so it is closed at the end of a module: other
# tests run loops of their own.


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with notebook_servers.jupyterlab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="session")
def voila(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with notebook_servers.voila(tmp_path_factory.mktemp("voila")) as server:
        yield server
