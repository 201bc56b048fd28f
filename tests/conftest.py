"""Isolate the tests from the network and from the settings of their user, and provide a browser."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import notebook_servers
import pytest
from chromium import launch
from contract import ContractCheck, Exchange
from hypothesis import settings
from services import FakeServer

from callframe.http.transport import is_loopback
from callframe.sample.middleware import Middleware
from callframe.sample.project_data import CallStore, ProjectData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from notebook_servers import Server
    from playwright.sync_api import Browser
    from services import ReceivedRequest, Reply

    from callframe.sample.middleware import BufferedResponse

USER_SETTINGS = ("CDF_", "IDP_", "COGNITE_", "LOGIN_FLOW", "PROVIDER")

os.environ["MPLBACKEND"] = "Agg"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise every process that a test starts compiles all its modules
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts background jobs like that
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run, so that failures can be reproduced. `--hypothesis-profile=explore` tries other ones.
settings.register_profile("fixed", derandomize=True, deadline=None)  # a slow machine is not a failure
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Accept the options of pytest-xdist that pyproject.toml sets when it is disabled with `-p no:xdist`."""
    if not pluginmanager.hasplugin("xdist"):
        parser.addoption("--numprocesses")
        parser.addoption("--dist")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the tests that use a browser."""
    for item in items:
        if "chromium" in item.fixturenames:
            item.add_marker("browser")


class NetworkBlockedError(RuntimeError):
    """A test tried to reach another machine."""


@pytest.fixture(autouse=True, scope="session")
def blocked() -> Iterator[list[str]]:
    """Block connections to other machines, in every thread, and list their hosts."""
    hosts: list[str] = []

    def block(host: object) -> None:
        hosts.append(str(host))
        raise NetworkBlockedError(f"Tests must stay on this machine; this one tried to reach {host}.")

    def checked_connect(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(address[0]):
                block(address[0])
            return original(self, address)

        return connect

    def checked_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
        def look_up(host: str | bytes | None, *args: Any, **kwargs: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name and not is_loopback(name):
                block(name)
            return original(host, *args, **kwargs)

        return look_up

    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, checked_connect(getattr(socket.socket, method)))
        for function in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, function, checked_lookup(getattr(socket, function)))
        yield hosts


@pytest.fixture(autouse=True)
def fail_if_blocked(blocked: list[str]) -> Iterator[None]:
    """Fail a test that tried to reach another machine, even if a thread or an `except` swallowed the error."""
    yield
    hosts, blocked[:] = list(blocked), []
    if hosts:
        pytest.fail(f"The test tried to reach another machine: {', '.join(hosts)}.")


@pytest.fixture(autouse=True, scope="session")
def contract_check() -> Iterator[ContractCheck]:
    """Collect what is sent to and by the embedded service, and what callframe sends to fake servers."""
    check = ContractCheck()
    record_exchange, reply = Middleware._record, FakeServer.reply
    from_records, add_call = ProjectData.from_records.__func__, CallStore.add  # type: ignore[attr-defined] # a method
    add_function = ProjectData.add_function

    def record(self: Middleware, scope: Any, body: bytes, response: BufferedResponse | None, *more: Any) -> None:
        record_exchange(self, scope, body, response, *more)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if len(body) < int(headers.get("content-length", 0)):
            return  # the client was killed
        path, query = (scope[name].decode("latin-1") for name in ("raw_path", "query_string"))
        request = scope["method"], path, query, headers, body
        is_gateway = response is not None and response.status == 502  # whose page stands for an answer
        answer = () if response is None or is_gateway else (response.status, response.body)
        check.record(Exchange(*request, *answer))

    def record_request(self: FakeServer, request: ReceivedRequest) -> Reply:
        path, _, query = request.path.partition("?")
        check.record(Exchange(request.method, path, query, request.headers, request.body))
        return reply(self, request)

    def record_given(cls: type[ProjectData], /, **options: Any) -> Any:
        check.record_given(**options)
        return from_records(cls, **options)

    def record_call(self: CallStore, call: Any) -> None:
        check.record_given(calls=[call])
        add_call(self, call)

    def record_function(self: ProjectData, function: Any) -> None:
        check.record_given(functions=[function])
        add_function(self, function)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Middleware, "_record", record)
        patch.setattr(FakeServer, "reply", record_request)
        patch.setattr(ProjectData, "from_records", classmethod(record_given))
        patch.setattr(CallStore, "add", record_call)
        patch.setattr(ProjectData, "add_function", record_function)
        yield check


@pytest.fixture(autouse=True)
def keep_the_contract(contract_check: ContractCheck) -> Iterator[None]:
    """Fail a test in which the embedded service or callframe broke the published contract."""
    yield
    if problems := contract_check.problems():
        pytest.fail("Against the published contract:\n" + "\n".join(problems))


@pytest.fixture(autouse=True)
def clear_user_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the environment variables that name a project or credentials."""
    for name in list(os.environ):
        if name.startswith(USER_SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, and other modules run their own
def chromium() -> Iterator[Browser]:
    with launch() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with notebook_servers.jupyterlab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="session")
def voila(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with notebook_servers.voila(tmp_path_factory.mktemp("voila")) as server:
        yield server
