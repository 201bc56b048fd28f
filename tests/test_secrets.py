"""The token appears in no log, repr, pickle, exception, traceback, file or notebook output and at no other host."""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import logging
import pickle
import re
import signal
import socket
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from factories import NOW_MS, call_record, call_records, function_record
from IPython.core.ultratb import VerboseTB
from services import FakeServer, ReceivedRequest, Reply, client_of, error_reply, json_reply, running, serve_project

import callframe as cf
from callframe.api.client import Client
from callframe.auth.settings import Target
from callframe.auth.tokens import StaticToken, TokenFunction
from callframe.errors import CallframeError, IncompleteWarning, ServiceError, TransportError
from callframe.http.retry import Retry
from callframe.http.secret import Secret
from callframe.http.transport import Transport
from callframe.sample.project_data import ProjectData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

TOKEN = "very.secret-t0ken_" + "0123456789abcdef" * 5
LONG_TOKEN = "eyJ.not-a-real-one." + "x1y2z3" * 300
PART_LENGTH = 24
NO_RETRY = Retry(status=0, connect=0)
CALL = json_reply(call_record())


def contains_token(text: str, token: str = TOKEN) -> bool:
    """Whether a text contains the token or a longer part of it."""
    plain = re.sub(r"\x1b\[[\d;]*m|\s", "", text)
    return any(token[at : at + PART_LENGTH] in plain for at in range(0, len(token) - PART_LENGTH, PART_LENGTH // 2))


def test_parts_of_a_token_are_detected() -> None:
    assert contains_token(f"Bearer {TOKEN}")
    assert contains_token(TOKEN[:40])
    assert not contains_token("Bearer <secret>")


# Errors


def error_of_request(client: Client) -> BaseException:
    with pytest.raises(CallframeError) as caught:
        client.retrieve_call(7, 1)
    return caught.value


def bearer(request: ReceivedRequest) -> str:
    return request.headers["authorization"]


RESPONSES: dict[str, Callable[[ReceivedRequest], Reply]] = {
    "401": lambda _: error_reply(401, "expired"),
    "403 that repeats the token": lambda request: error_reply(403, f"{bearer(request)} needs functionsAcl:READ"),
    "400 with the token among the missing items": lambda request: error_reply(
        400, "x", missing=[{"token": bearer(request)}]
    ),
    "500": lambda _: error_reply(500, "oops"),
    "500 that repeats the token where the message is truncated": lambda request: error_reply(
        500, "x" * 480 + bearer(request)
    ),
    "429": lambda _: error_reply(429, "busy"),
    "error as a string that repeats the token": lambda request: json_reply({"error": bearer(request)}, 400),
    "request id that repeats the token": lambda request: error_reply(404, "gone", {"X-Request-ID": bearer(request)}),
    "content type that repeats the token": lambda request: Reply(200, b"<p>", {"Content-Type": bearer(request)}),
    "body that starts with the token": lambda request: Reply(200, bearer(request).encode()),
    "JSON with an unexpected structure and the token": lambda request: json_reply({"items": bearer(request)}),
    "record with the token as its id": lambda request: json_reply(call_record(id=bearer(request))),
    "redirect with the token": lambda request: Reply(307, b"", {"Location": f"https://x.example/?{bearer(request)}"}),
    "redirect to the token as a host name": lambda request: Reply(
        307, b"", {"Location": f"https://{bearer(request).removeprefix('Bearer ')}/"}
    ),
    "closed connection": lambda _: Reply(None),
    "truncated body": lambda _: Reply(truncated=True),
    "content length that repeats the token": lambda request: Reply(
        200, b"", {"Content-Length": f"{bearer(request)}, 5"}, truncated=True
    ),
    "invalid gzip": lambda request: Reply(200, bearer(request).encode(), {"Content-Encoding": "gzip"}),
}


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and its causes."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def without_test_frames(frames: Any) -> Any:
    """Skip the frames of this file, which hold the token on purpose."""
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def full_report(error: BaseException) -> str:
    """Format an error as a debugger, an error tracker or a notebook would, with the variables of all frames."""
    parts = ["".join(traceback.format_exception(error))]
    for link in exception_chain(error):
        parts += [repr(link), str(link), repr(link.args), repr(vars(link))]
        frames = without_test_frames(link.__traceback__)
        if frames is not None:
            parts += VerboseTB().structured_traceback(type(link), link, frames)
            parts += [variables(frame) for frame, _ in traceback.walk_tb(frames)]
    with contextlib.suppress(TypeError):
        parts.append(repr(pickle.dumps(error)))
    return "\n".join(parts)


def variables(frame: FrameType) -> str:
    """Format the variables of a frame, except objects that are not initialized yet."""
    formatted = []
    for value in list(frame.f_locals.values()):
        with contextlib.suppress(AttributeError):
            formatted.append(repr(value))
    return "\n".join(formatted)


@pytest.mark.parametrize("token", [TOKEN, LONG_TOKEN], ids=["short", "long"])
@pytest.mark.parametrize("name", RESPONSES)
def test_error_does_not_show_the_token(name: str, token: str) -> None:
    with client_of(FakeServer(respond=RESPONSES[name]), retry=NO_RETRY, credentials=StaticToken(token)) as client:
        error = error_of_request(client)
    assert error.__cause__ is error.__context__ is None
    assert not contains_token(full_report(error), token)


def test_error_about_invalid_http_does_not_show_the_token() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=send_back_the_token, args=(server,))
        thread.start()
        target = Target(f"http://127.0.0.1:{server.getsockname()[1]}", "demo")
        client = Client(target, StaticToken(TOKEN), retry=NO_RETRY)
        error = error_of_request(client)
        thread.join()
        client.close()
    assert isinstance(error, TransportError)
    assert not contains_token(full_report(error))


def send_back_the_token(server: socket.socket) -> None:
    """Respond with the line that holds the token, as a broken gateway might."""
    connection, _ = server.accept()
    with connection:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        line = next(line for line in received.split(b"\r\n") if line.lower().startswith(b"authorization"))
        connection.sendall(line.partition(b" ")[2] + b"\r\n\r\n")


@pytest.mark.parametrize("failure", ["refused", "timeout", "unknown host"])
def test_error_about_a_connection_does_not_show_the_token(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done, origin = threading.Event(), None
    options: dict[str, Any] = {"retry": NO_RETRY, "credentials": StaticToken(TOKEN), "timeout_s": (1, 0.05)}
    if failure == "refused":
        with socket.create_server(("127.0.0.1", 0)) as closed:
            origin = f"http://127.0.0.1:{closed.getsockname()[1]}"
    elif failure == "unknown host":
        origin = "https://westeurop-1.cognitedata.com"
    with client_of(FakeServer(Reply(wait_for=done)), origin=origin, **options) as client:
        if failure == "unknown host":
            monkeypatch.setattr(socket, "getaddrinfo", unknown)
        error = error_of_request(client)
        done.set()
    assert isinstance(error, TransportError)
    assert not contains_token(full_report(error))


def unknown(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_failed_renewal_shows_no_token() -> None:
    tokens = iter([TOKEN])
    with client_of(FakeServer(error_reply(401)), credentials=TokenFunction(lambda: next(tokens))) as client:
        error = error_of_request(client)
    assert not contains_token(full_report(error))


PASSWORD = "pr0xy-passw0rd-" + "0123456789" * 5


@pytest.mark.parametrize("place", ["argument", "environment"])
@pytest.mark.parametrize("failure", ["signing in", "proxy refuses", "no proxy", "invalid proxy"])
def test_error_does_not_show_the_password_of_a_proxy(failure: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def token() -> str:
        return "" if failure == "signing in" else TOKEN

    with running(FakeServer(Reply(407, b""))) as proxy:
        host = {"no proxy": "127.0.0.1:9", "invalid proxy": "[bad"}.get(failure, f"127.0.0.1:{proxy.port}")
        proxies = {"https": f"http://user:{PASSWORD}@{host}"}
        monkeypatch.setenv("HTTPS_PROXY", proxies["https"] if place == "environment" else "")
        origin = "https://westeurope-1.cognitedata.com"
        transport = Transport(origin, proxies=proxies if place == "argument" else None)
        client = Client(Target(origin, "demo"), TokenFunction(token), retry=NO_RETRY, transport=transport)
        error = error_of_request(client)
        client.close()
    assert not contains_token(full_report(error), PASSWORD)


# Logs and debug output


@pytest.fixture
def debugging(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with caplog.at_level(logging.DEBUG):
        yield


@pytest.mark.usefixtures("debugging")
def test_debug_logs_and_output_do_not_show_the_token(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for respond in [*RESPONSES.values(), lambda _: CALL]:
        server = FakeServer(respond=respond)
        with (
            client_of(server, retry=NO_RETRY, credentials=StaticToken(TOKEN)) as client,
            contextlib.suppress(CallframeError),
        ):
            client.retrieve_call(7, 1)
    log = "\n".join(f"{entry.getMessage()} {entry.args} {entry.exc_text}" for entry in caplog.records)
    assert "/functions/7/calls/1" in log
    assert not contains_token(log + caplog.text + "".join(capfd.readouterr()))


@pytest.mark.usefixtures("debugging")
def test_fetch_with_debug_logging_does_not_show_the_token(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with serve_project(
        ProjectData.from_records(functions=[function_record()], calls=call_records(50)), token=TOKEN, page_cap=7
    ) as served:
        calls = served.project.calls(progress=True)
        cf.write_csv(calls, tmp_path / "calls.csv")
        cf.write_parquet(calls, tmp_path / "calls.parquet")
        assert served.service.requests
    shown = caplog.text + "".join(capfd.readouterr())
    assert "calls/list" in shown
    assert not contains_token(shown)


# Frames and files


@pytest.fixture
def fetch_with_token_in_error() -> tuple[Any, list[str]]:
    """Fetch from a service that repeats the token in an error; return the frame and the warnings."""

    def respond(request: ReceivedRequest) -> Reply:
        if request.path.endswith("/functions/list"):
            return json_reply({"items": [function_record(), function_record(id=8, externalId="eight")]})
        if "/7/" in request.path:
            return json_reply({"items": call_records(3)})
        return error_reply(403, f"{bearer(request)} is not allowed")

    server = FakeServer(respond=respond)
    with (
        client_of(server, credentials=StaticToken(TOKEN)) as client,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        calls = cf.Project(client, clock=lambda: NOW_MS / 1000).calls()
    return calls, [str(warning.message) for warning in warned if warning.category is IncompleteWarning]


def test_warning_and_coverage_do_not_show_the_token(fetch_with_token_in_error: tuple[Any, list[str]]) -> None:
    calls, (warned,) = fetch_with_token_in_error
    assert "403" in warned
    assert not contains_token(warned + json.dumps(calls.attrs) + cf.coverage(calls).to_csv())


def test_files_do_not_contain_the_token(fetch_with_token_in_error: tuple[Any, list[str]], tmp_path: Path) -> None:
    calls, _ = fetch_with_token_in_error
    cf.write_csv(calls, tmp_path / "calls.csv")
    cf.write_parquet(calls, tmp_path / "calls.parquet")
    for path in tmp_path.iterdir():
        assert TOKEN[:PART_LENGTH].encode() not in path.read_bytes()


def test_notebook_output_does_not_show_the_token(fetch_with_token_in_error: tuple[Any, list[str]]) -> None:
    calls, _ = fetch_with_token_in_error
    assert not contains_token(calls.to_html() + cf.coverage(calls).to_html())


# Objects


@pytest.fixture
def project() -> Iterator[cf.Project]:
    with serve_project(
        ProjectData.from_records(functions=[function_record()], calls=call_records(5)), token=TOKEN
    ) as served:
        served.project.calls()
        yield served.project


def nested_objects(root: object, depth: int = 8) -> Iterator[object]:
    """Iterate over an object and those it holds in attributes and containers."""
    yield root
    if depth == 0 or isinstance(root, Secret | type | str | bytes):
        return
    children: list[object] = list(vars(root).values()) if hasattr(root, "__dict__") else []
    if isinstance(root, dict):
        children += [*root.keys(), *root.values()]
    elif isinstance(root, list | tuple | set | frozenset):
        children += [*root]
    for child in children:
        yield from nested_objects(child, depth - 1)


@pytest.mark.parametrize("name", ["project", "client", "credentials", "transport"])
def test_repr_of_nested_objects_does_not_show_the_token(project: cf.Project, name: str) -> None:
    holder = token_holder(project, name)
    shown = "\n".join(f"{nested!r} {nested!s}" for nested in nested_objects(holder))
    assert not contains_token(f"{shown} {vars(holder)} {holder:}")


@pytest.mark.parametrize("name", ["project", "client", "credentials"])
@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy])
def test_objects_that_hold_the_token_cannot_be_pickled_or_copied(
    project: cf.Project, name: str, duplicate: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="cannot"):
        duplicate(token_holder(project, name))


def test_pickled_transport_does_not_contain_the_token(project: cf.Project) -> None:
    with contextlib.suppress(TypeError, AttributeError):
        assert TOKEN[:PART_LENGTH].encode() not in pickle.dumps(token_holder(project, "transport"))


def token_holder(project: cf.Project, name: str) -> Any:
    client = project.client
    return {"project": project, "client": client, "credentials": client._credentials, "transport": client._transport}[
        name
    ]


def test_error_can_be_pickled_without_the_token() -> None:
    with client_of(
        FakeServer(respond=RESPONSES["403 that repeats the token"]), credentials=StaticToken(TOKEN)
    ) as client:
        error = error_of_request(client)
    copied = pickle.loads(pickle.dumps(error))
    assert isinstance(copied, ServiceError)
    assert (str(copied), copied.status) == (str(error), 403)
    assert "<secret> needs" in str(copied)


# Other hosts


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_token_is_not_sent_to_the_target_of_a_redirect(status: int) -> None:
    elsewhere = FakeServer(CALL)
    server = FakeServer(
        respond=lambda _: Reply(status, b"", {"Location": f"{elsewhere.url}/api/v1/projects/demo/functions/list"})
    )
    with (
        running(elsewhere),
        client_of(server, credentials=StaticToken(TOKEN)) as client,
        pytest.raises(ServiceError, match="redirected"),
    ):
        client.list_functions()
    assert elsewhere.requests == []


# Interrupts


def test_interrupt_during_a_request_does_not_show_the_token() -> None:
    def respond(_: ReceivedRequest) -> Reply:
        signal.raise_signal(signal.SIGINT)
        return CALL

    server = FakeServer(respond=respond)
    with client_of(server, credentials=StaticToken(TOKEN)) as client, pytest.raises(KeyboardInterrupt) as caught:
        client.retrieve_call(7, 1)
    assert not contains_token(full_report(caught.value))


class Interrupt:
    """A profile function that raises a KeyboardInterrupt at the n-th call into callframe or its HTTP libraries."""

    PACKAGES = ("callframe", "requests", "urllib3", "http")

    def __init__(self, call_number: int) -> None:
        self.remaining = call_number

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and str(frame.f_globals.get("__name__")).partition(".")[0] in self.PACKAGES:
            self.remaining -= 1
            if self.remaining == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt


def client_at(server: FakeServer) -> Client:
    return Client(Target(server.url, "demo"), StaticToken(TOKEN), retry=NO_RETRY)


def interrupt_request(client: Client, call_number: int) -> tuple[bool, BaseException | None]:
    """Interrupt a request at one of its calls; return whether there were that many calls, and the error."""
    previous, interrupt = sys.getprofile(), Interrupt(call_number)
    sys.setprofile(interrupt)
    try:
        client.retrieve_call(7, 1)
    except (CallframeError, KeyboardInterrupt) as error:
        return interrupt.remaining <= 0, error
    finally:
        sys.setprofile(previous)
    return interrupt.remaining <= 0, None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where a finalizer was interrupted
@pytest.mark.parametrize("name", ["success", "403 that repeats the token"])
def test_interrupt_anywhere_in_a_request_does_not_show_the_token(name: str) -> None:
    leaks: set[str] = set()
    with running(FakeServer(respond=RESPONSES.get(name, lambda _: CALL))) as server:
        for call_number in range(1, 5000, 3):
            with contextlib.closing(client_at(server)) as client:
                was_interrupted, error = interrupt_request(client, call_number)
            frames = (
                []
                if error is None
                else [frame for frame, _ in traceback.walk_tb(without_test_frames(error.__traceback__))]
            )
            leaks |= {frame.f_code.co_qualname for frame in frames if contains_token(variables(frame))}
            if not was_interrupted:
                break
    assert call_number > 100
    assert leaks == set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where a finalizer was interrupted
def test_interrupt_anywhere_in_a_request_keeps_no_place_among_the_concurrent_requests() -> None:
    lost: list[int] = []
    with running(FakeServer(CALL)) as server:
        for call_number in range(1, 5000, 3):
            with contextlib.closing(client_at(server)) as client:
                was_interrupted, _ = interrupt_request(client, call_number)
            lost += [call_number] if client.throttle.in_flight else []
            if not was_interrupted:
                break
    assert call_number > 100
    assert lost == []
