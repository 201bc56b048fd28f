"""The token: in no log line, repr, pickle, exception, traceback, file or notebook output, and at no other host."""

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
from wire import FakeServer, ReceivedRequest, Reply, client_of, error_reply, json_reply, running, serve_project

import callframe as cf
from callframe.api.client import Client
from callframe.auth.credentials import StaticToken, TokenFunction
from callframe.auth.settings import Target
from callframe.errors import CallframeError, IncompleteWarning, ServiceError, TransportError
from callframe.http.retry import Retry
from callframe.http.secret import Secret
from callframe.sample.project_data import ProjectData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

TOKEN = "very.secret-t0ken_" + "0123456789abcdef" * 5
LONG_TOKEN = "eyJ.not-a-real-one." + "x1y2z3" * 300
PIECE = 24
ONCE = Retry(status=0, connect=0)
CALL = json_reply(call_record())


def shows(text: str, token: str = TOKEN) -> bool:
    """Tell whether a text holds the token, or any larger piece of it."""
    plain = re.sub(r"\x1b\[[\d;]*m|\s", "", text)
    return any(token[at : at + PIECE] in plain for at in range(0, len(token) - PIECE, PIECE // 2))


def test_pieces_of_a_token_are_noticed() -> None:
    assert shows(f"Bearer {TOKEN}")
    assert shows(TOKEN[:40])
    assert not shows("Bearer <secret>")


# Everything at once


def ask(client: Client) -> BaseException:
    with pytest.raises(CallframeError) as caught:
        client.retrieve_call(7, 1)
    return caught.value


def echoes(heard: ReceivedRequest) -> str:
    return heard.headers["authorization"]


ANSWERS: dict[str, Callable[[ReceivedRequest], Reply]] = {
    "401": lambda _: error_reply(401, "expired"),
    "403 that repeats the token": lambda heard: error_reply(403, f"{echoes(heard)} lacks functionsAcl:READ"),
    "400 that repeats it among the missing": lambda heard: error_reply(400, "x", missing=[{"token": echoes(heard)}]),
    "500": lambda _: error_reply(500, "oops"),
    "500 that repeats the token across the cut": lambda heard: error_reply(500, "x" * 480 + echoes(heard)),
    "429": lambda _: error_reply(429, "busy"),
    "error as text that repeats the token": lambda heard: json_reply({"error": echoes(heard)}, 400),
    "request id that repeats the token": lambda heard: error_reply(404, "gone", {"X-Request-ID": echoes(heard)}),
    "content type that repeats the token": lambda heard: Reply(200, b"<p>", {"Content-Type": echoes(heard)}),
    "page that begins with the token": lambda heard: Reply(200, echoes(heard).encode()),
    "JSON of another shape with the token": lambda heard: json_reply({"items": echoes(heard)}),
    "record with the token for an id": lambda heard: json_reply(call_record(id=echoes(heard))),
    "redirect with the token": lambda heard: Reply(307, b"", {"Location": f"https://x.example/?{echoes(heard)}"}),
    "redirect to a host named like the token": lambda heard: Reply(
        307, b"", {"Location": f"https://{echoes(heard).removeprefix('Bearer ')}/"}
    ),
    "closed": lambda _: Reply(None),
    "cut": lambda _: Reply(truncated=True),
    "length that repeats the token": lambda heard: Reply(
        200, b"", {"Content-Length": f"{echoes(heard)}, 5"}, truncated=True
    ),
    "no gzip": lambda heard: Reply(200, echoes(heard).encode(), {"Content-Encoding": "gzip"}),
}


def linked(error: BaseException) -> Iterator[BaseException]:
    """Go through an error and those behind it."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def local(frames: Any) -> Any:
    """Leave out the frames of this file: what a test holds in its own hands is no leak."""
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def everything_of(error: BaseException) -> str:
    """Write down an error as a debugger, an error tracker or a notebook would, variables of all frames included."""
    parts = ["".join(traceback.format_exception(error))]
    for link in linked(error):
        parts += [repr(link), str(link), repr(link.args), repr(vars(link))]
        frames = local(link.__traceback__)
        if frames is not None:
            parts += VerboseTB().structured_traceback(type(link), link, frames)
            parts += [variables(frame) for frame, _ in traceback.walk_tb(frames)]
    with contextlib.suppress(TypeError):
        parts.append(repr(pickle.dumps(error)))
    return "\n".join(parts)


def variables(frame: FrameType) -> str:
    """Write down the variables of a frame, but for those that are not made yet."""
    written = []
    for value in list(frame.f_locals.values()):
        with contextlib.suppress(AttributeError):
            written.append(repr(value))
    return "\n".join(written)


@pytest.mark.parametrize("token", [TOKEN, LONG_TOKEN], ids=["short", "long"])
@pytest.mark.parametrize("name", ANSWERS)
def test_no_failure_shows_the_token(name: str, token: str) -> None:
    with client_of(FakeServer(respond=ANSWERS[name]), retry=ONCE, credentials=StaticToken(token)) as client:
        error = ask(client)
    assert error.__cause__ is error.__context__ is None
    assert not shows(everything_of(error), token)


def test_answer_that_is_no_http_does_not_show_the_token() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=repeat_the_request, args=(server,))
        thread.start()
        target = Target(f"http://127.0.0.1:{server.getsockname()[1]}", "demo")
        client = Client(target, StaticToken(TOKEN), retry=ONCE)
        error = ask(client)
        thread.join()
        client.close()
    assert isinstance(error, TransportError)
    assert not shows(everything_of(error))


def repeat_the_request(server: socket.socket) -> None:
    """Answer with the line that holds the token, as a broken gateway might."""
    connection, _ = server.accept()
    with connection:
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += connection.recv(65536)
        line = next(line for line in heard.split(b"\r\n") if line.lower().startswith(b"authorization"))
        connection.sendall(line.partition(b" ")[2] + b"\r\n\r\n")


@pytest.mark.parametrize("trouble", ["refused", "silent", "no such name"])
def test_no_trouble_on_the_way_shows_the_token(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    with client_of(
        FakeServer(Reply(wait_for=never)), retry=ONCE, credentials=StaticToken(TOKEN), timeout_s=(1, 0.05)
    ) as client:
        if trouble == "refused":
            with socket.create_server(("127.0.0.1", 0)) as closed:
                address = closed.getsockname()
            client.target = Target(f"http://127.0.0.1:{address[1]}", "demo")
        elif trouble == "no such name":
            monkeypatch.setattr(socket, "getaddrinfo", unknown)
            client.target = Target("https://westeurop-1.cognitedata.com", "demo")
        error = ask(client)
        never.set()
    assert isinstance(error, TransportError)
    assert not shows(everything_of(error))


def unknown(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_renewal_that_fails_shows_neither_token() -> None:
    tokens = iter([TOKEN])
    with client_of(FakeServer(error_reply(401)), credentials=TokenFunction(lambda: next(tokens))) as client:
        error = ask(client)
    assert not shows(everything_of(error))


# Logs and prints


@pytest.fixture
def debugging(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with caplog.at_level(logging.DEBUG):
        yield


@pytest.mark.usefixtures("debugging")
def test_debug_logs_and_prints_show_no_token(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for answer in [*ANSWERS.values(), lambda _: CALL]:
        raw = FakeServer(respond=answer)
        with (
            client_of(raw, retry=ONCE, credentials=StaticToken(TOKEN)) as client,
            contextlib.suppress(CallframeError),
        ):
            client.retrieve_call(7, 1)
    records = "\n".join(f"{entry.getMessage()} {entry.args} {entry.exc_text}" for entry in caplog.records)
    assert "/functions/7/calls/1" in records
    assert not shows(records + caplog.text + "".join(capfd.readouterr()))


@pytest.mark.usefixtures("debugging")
def test_whole_fetch_with_debug_logging_shows_no_token(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with serve_project(
        ProjectData.of(functions=[function_record()], calls=call_records(50)), token=TOKEN, page_cap=7
    ) as at:
        calls = at.project.calls(progress=True)
        cf.write_csv(calls, tmp_path / "calls.csv")
        cf.write_parquet(calls, tmp_path / "calls.parquet")
        assert at.service.requests
    shown = caplog.text + "".join(capfd.readouterr())
    assert "calls/list" in shown
    assert not shows(shown)


# Frames and files


@pytest.fixture
def echoed() -> tuple[Any, list[str]]:
    """Fetch from a service that repeats the token with its refusal: the frame, and the warnings that came with it."""

    def answer(heard: ReceivedRequest) -> Reply:
        if heard.path.endswith("/functions/list"):
            return json_reply({"items": [function_record(), function_record(id=8, externalId="eight")]})
        return (
            json_reply({"items": call_records(3)})
            if "/7/" in heard.path
            else error_reply(403, f"{echoes(heard)} may not")
        )

    raw = FakeServer(respond=answer)
    with (
        client_of(raw, credentials=StaticToken(TOKEN)) as client,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        calls = cf.Project(client, clock=lambda: NOW_MS / 1000).calls()
    return calls, [str(warning.message) for warning in warned if warning.category is IncompleteWarning]


def test_warning_and_coverage_do_not_repeat_the_token(echoed: tuple[Any, list[str]]) -> None:
    calls, (warned,) = echoed
    assert "403" in warned
    assert not shows(warned + json.dumps(calls.attrs) + cf.coverage(calls).to_csv())


def test_files_hold_no_token(echoed: tuple[Any, list[str]], tmp_path: Path) -> None:
    calls, _ = echoed
    cf.write_csv(calls, tmp_path / "calls.csv")
    cf.write_parquet(
        calls,
        tmp_path / "calls.parquet",
    )
    for path in tmp_path.iterdir():
        assert TOKEN[:PIECE].encode() not in path.read_bytes()


def test_notebook_shows_no_token(echoed: tuple[Any, list[str]]) -> None:
    calls, _ = echoed
    assert not shows(calls.to_html() + cf.coverage(calls).to_html())


# Objects


@pytest.fixture
def project() -> Iterator[cf.Project]:
    with serve_project(ProjectData.of(functions=[function_record()], calls=call_records(5)), token=TOKEN) as at:
        at.project.calls()
        yield at.project


def parts(thing: object, depth: int = 8) -> Iterator[object]:
    """Go through what an object is made of, as far as `vars` and containers show it."""
    yield thing
    if depth == 0 or isinstance(thing, Secret | type | str | bytes):
        return
    inner: list[object] = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
    if isinstance(thing, dict):
        inner += [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        inner += [*thing]
    for part in inner:
        yield from parts(part, depth - 1)


@pytest.mark.parametrize("name", ["project", "client", "credentials", "transport"])
def test_nothing_that_is_shown_of_an_object_is_the_token(project: cf.Project, name: str) -> None:
    thing = held(project, name)
    shown = "\n".join(f"{part!r} {part!s}" for part in parts(thing))
    assert not shows(f"{shown} {vars(thing)} {thing:}")


@pytest.mark.parametrize("name", ["project", "client", "credentials"])
@pytest.mark.parametrize("spread", [pickle.dumps, copy.deepcopy])
def test_nothing_that_holds_the_token_can_be_pickled_or_copied(
    project: cf.Project, name: str, spread: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="cannot"):
        spread(held(project, name))


def test_transport_holds_no_token_to_be_pickled(project: cf.Project) -> None:
    with contextlib.suppress(TypeError, AttributeError):
        assert TOKEN[:PIECE].encode() not in pickle.dumps(held(project, "transport"))


def held(project: cf.Project, name: str) -> Any:
    client = project.client
    return {"project": project, "client": client, "credentials": client._credentials, "transport": client._transport}[
        name
    ]


def test_error_can_be_pickled_without_the_token() -> None:
    with client_of(FakeServer(respond=ANSWERS["403 that repeats the token"]), credentials=StaticToken(TOKEN)) as client:
        error = ask(client)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ServiceError)
    assert (str(again), again.status) == (str(error), 403)
    assert "<secret> lacks" in str(again)


# Other hosts


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_takes_the_token_nowhere(status: int) -> None:
    elsewhere = FakeServer(CALL)
    raw = FakeServer(
        respond=lambda _: Reply(status, b"", {"Location": f"{elsewhere.url}/api/v1/projects/demo/functions/list"})
    )
    with (
        running(elsewhere),
        client_of(raw, credentials=StaticToken(TOKEN)) as client,
        pytest.raises(ServiceError, match="redirected"),
    ):
        client.list_functions()
    assert elsewhere.requests == []


# Interrupts


def test_interrupt_in_the_middle_of_a_request_shows_no_token() -> None:
    def answer(_: ReceivedRequest) -> Reply:
        signal.raise_signal(signal.SIGINT)
        return CALL

    raw = FakeServer(respond=answer)
    with client_of(raw, credentials=StaticToken(TOKEN)) as client, pytest.raises(KeyboardInterrupt) as caught:
        client.retrieve_call(7, 1)
    assert not shows(everything_of(caught.value))


class Interrupt:
    """Raises a KeyboardInterrupt at one of the calls to come into callframe or what it sends with."""

    ROOMS = ("callframe", "requests", "urllib3", "http")

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and str(frame.f_globals.get("__name__")).partition(".")[0] in self.ROOMS:
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt


def interrupted(raw: FakeServer, at: int) -> tuple[bool, BaseException | None]:
    """Interrupt a request at one of its calls; tell whether it got that far, and what came out."""
    client = Client(Target(raw.url, "demo"), StaticToken(TOKEN), retry=ONCE)
    before, interrupt = sys.getprofile(), Interrupt(at)
    sys.setprofile(interrupt)
    try:
        client.retrieve_call(7, 1)
    except (CallframeError, KeyboardInterrupt) as error:
        return interrupt.left <= 0, error
    finally:
        sys.setprofile(before)
        client.close()
    return interrupt.left <= 0, None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where a finalizer was interrupted
@pytest.mark.parametrize("name", ["answered", "403 that repeats the token"])
def test_interrupt_anywhere_in_a_request_shows_no_token(name: str) -> None:
    leaks: set[str] = set()
    with running(FakeServer(respond=ANSWERS.get(name, lambda _: CALL))) as raw:
        for at in range(1, 5000, 3):
            got_there, error = interrupted(raw, at)
            frames = [] if error is None else [frame for frame, _ in traceback.walk_tb(local(error.__traceback__))]
            leaks |= {frame.f_code.co_qualname for frame in frames if shows(variables(frame))}
            if not got_there:
                break
    assert at > 100
    assert leaks == set()
