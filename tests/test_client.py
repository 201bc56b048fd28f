"""The client: every endpoint of the embedded service, and every way in which an answer may fail to come."""

from __future__ import annotations

import datetime as dt
import email.utils
import ipaddress
import os
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3.connection import HTTPConnection
from wire import (
    NOW_MS,
    TOKEN,
    FakeServer,
    ReceivedRequest,
    Reply,
    ServedProject,
    call_record,
    call_records,
    client_of,
    error_reply,
    function_record,
    json_reply,
    running,
    serve_project,
)

from callframe import __version__
from callframe.api.client import Client
from callframe.auth.credentials import StaticToken, TokenFunction
from callframe.auth.oauth import ClientCredentials
from callframe.auth.settings import Target
from callframe.errors import (
    AuthenticationError,
    BadRequestError,
    CallframeError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServiceError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)
from callframe.http.retry import Retry, Throttle
from callframe.http.transport import Transport
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CALLS = [
    call_record(id=1, startTime=NOW_MS - 5000, scheduleId=71, scheduledTime=NOW_MS - 6000),
    call_record(id=2, startTime=NOW_MS - 4000, status="Failed", error={"message": "m", "trace": "t"}),
    call_record(id=3, startTime=NOW_MS - 3000),
]
CALL = json_reply(CALLS[0])
PAGE = json_reply({"items": CALLS})


@pytest.fixture(scope="module")
def at() -> Iterator[ServedProject]:
    world = ProjectData.of(
        functions=[function_record(), function_record(id=8, name="Eight", externalId=None)],
        schedules=[{"id": 71, "functionId": 7, "name": "s", "createdTime": 1, "cronExpression": "* * * * *"}],
        calls=CALLS,
        logs={(7, 1): [{"timestamp": NOW_MS, "message": "hello"}]},
        responses={(7, 1): {"answer": 42}},
    )
    with serve_project(world, page_cap=2) as made:
        yield made


@pytest.fixture
def client(at: ServedProject) -> Client:
    return at.client


# Endpoints


def test_one_call_is_retrieved_by_its_id(client: Client) -> None:
    call = client.retrieve_call(7, 1)
    assert (call.id, call.function_id, call.schedule_id, call.start_time) == (1, 7, 71, NOW_MS - 5000)


def test_all_calls_are_listed_page_by_page(client: Client) -> None:
    first = client.list_calls(7)
    second = client.list_calls(7, cursor=first.next_cursor)
    assert [call.id for call in first.items + second.items] == [3, 2, 1]
    assert second.next_cursor is None


def test_cursor_goes_back_just_as_it_came() -> None:
    raw = FakeServer(PAGE)
    with client_of(raw) as client:
        client.list_calls(7, cursor="a+b/c=&d é")
    assert parse_qs(urlsplit(raw.requests[0].path).query)["cursor"] == ["a+b/c=&d é"]


def test_calls_are_filtered(client: Client) -> None:
    page = client.filter_calls(7, {"status": "Failed"})
    assert [call.id for call in page.items] == [2]


def test_filter_goes_along_with_the_cursor(client: Client, at: ServedProject) -> None:
    first = client.filter_calls(7, {"startTime": {"min": 0}})
    client.filter_calls(7, {"startTime": {"min": 0}}, cursor=first.next_cursor)
    assert at.request_bodies("/7/calls/list")[-1] == {
        "filter": {"startTime": {"min": 0}},
        "limit": 10_000,
        "cursor": first.next_cursor,
    }


def test_calls_by_ids_leave_out_the_unknown(client: Client) -> None:
    page = client.calls_by_ids(7, [3, 1, 99])
    assert sorted(call.id for call in page.items) == [1, 3]


def test_log_of_a_call_is_read(client: Client) -> None:
    (entry,) = client.call_log(7, 1).items
    assert (entry.timestamp, entry.message) == (NOW_MS, "hello")


def test_response_of_a_call_is_read(client: Client) -> None:
    assert client.call_response(7, 1) == {"answer": 42}


def test_call_that_returned_nothing_has_no_response(client: Client) -> None:
    assert client.call_response(7, 2) is None


def test_functions_are_listed(client: Client, at: ServedProject) -> None:
    assert [one.id for one in client.list_functions().items] == [7, 8]
    assert at.request_bodies("/functions/list")[-1] == {"limit": 10_000}


def test_one_function_is_retrieved_by_its_id(client: Client) -> None:
    assert client.retrieve_function(8).name == "Eight"


def test_functions_are_retrieved_by_ids(client: Client) -> None:
    assert [one.id for one in client.functions_by_ids([8, 99]).items] == [8]


def test_schedules_are_listed(client: Client) -> None:
    (schedule,) = client.list_schedules().items
    assert (schedule.id, schedule.function_id, schedule.cron_expression) == (71, 7, "* * * * *")


def test_limits_are_read(client: Client) -> None:
    limits = client.limits()
    assert (limits.timeout_minutes, limits.response_size_mb) == (10, 2)


def test_activation_is_read(client: Client) -> None:
    assert client.activation() == "activated"


def test_every_request_says_who_asks() -> None:
    raw = FakeServer(PAGE)
    with client_of(raw) as client:
        client.filter_calls(7, {})
    headers = raw.requests[0].headers
    assert (headers["cdf-version"], headers["x-cdp-app"]) == ("20230101", "callframe")
    assert headers["user-agent"].startswith(f"callframe/{__version__} ")
    assert (headers["authorization"], headers["content-type"]) == (f"Bearer {TOKEN}", "application/json")


# Answers that are no


@dataclass(frozen=True)
class No:
    """An answer, the error it should make, and the words that should be in it."""

    reply: Reply
    kind: type[CallframeError]
    words: list[str] = field(default_factory=list)


NOES = {
    "401": No(error_reply(401, "bad token"), UnauthorizedError, ["401", "bad token", "sign in again"]),
    "403": No(
        error_reply(403, "Required capabilities functionsAcl:READ not present on token"),
        ForbiddenError,
        ["403", "functionsAcl:READ", "administrator"],
    ),
    "404": No(error_reply(404, "gone"), NotFoundError, ["404", "gone", "90 days"]),
    "400 with missing": No(error_reply(400, "x", missing=[{"id": 5}]), NotFoundError, ["400", "{'id': 5}", "90 days"]),
    "400": No(error_reply(400, "unexpected field"), BadRequestError, ["400", "unexpected field"]),
    "409": No(error_reply(409), BadRequestError, ["409"]),
    "429": No(error_reply(429, "slow down"), RateLimitError, ["429", "slow down", "fewer workers"]),
    "500": No(error_reply(500, "oops"), UnavailableError, ["500", "oops", "Cognite support"]),
    "503": No(error_reply(503), UnavailableError, ["503", "try later"]),
    "504 in HTML": No(Reply(504, b"<html>gateway</html>", {"Content-Type": "text/html"}), UnavailableError, ["504"]),
    "502 without a body": No(Reply(502, b""), UnavailableError, ["502"]),
    "error as text": No(json_reply({"error": "in plain words"}, 400), BadRequestError, ["in plain words"]),
    "error as a list": No(json_reply({"error": [1]}, 400), BadRequestError, ["400"]),
    "error without a message": No(json_reply({"error": {"code": 400, "message": None}}, 400), BadRequestError, ["400"]),
    "redirect": No(
        Reply(307, b"", {"Location": "https://elsewhere.example/x"}),
        InvalidResponseError,
        ["307", "elsewhere.example", "not followed"],
    ),
    "204": No(Reply(204, b""), InvalidResponseError, ["204"]),
    "HTML with status 200": No(
        Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"}),
        InvalidResponseError,
        ["HTML usually comes"],
    ),
    "empty body with status 200": No(Reply(200, b""), InvalidResponseError, ["expected JSON"]),
    "JSON of another shape": No(json_reply([1, 2]), InvalidResponseError, ["cannot be read"]),
}


@pytest.mark.parametrize("name", NOES)
def test_refusal_becomes_an_error_that_says_what_and_where(name: str) -> None:
    no = NOES[name]
    with (
        client_of(FakeServer(no.reply), retry=Retry(status=0, connect=0)) as client,
        pytest.raises(CallframeError) as caught,
    ):
        client.retrieve_call(7, 1)
    assert type(caught.value) is no.kind
    for words in [*no.words, "127.0.0.1", "call 1 of function 7"]:
        assert words in str(caught.value)


def test_error_carries_status_words_and_the_id_for_support() -> None:
    reply = error_reply(404, "gone", {"X-Request-ID": "abc-123"})
    with client_of(FakeServer(reply)) as client, pytest.raises(ServiceError) as caught:
        client.retrieve_call(7, 1)
    assert (caught.value.status, caught.value.request_id, caught.value.detail) == (404, "abc-123", "gone")
    assert "(X-Request-ID: abc-123)" in str(caught.value)


def test_error_without_a_request_id_does_not_make_one_up() -> None:
    with client_of(FakeServer(error_reply(404))) as client, pytest.raises(NotFoundError) as caught:
        client.retrieve_call(7, 1)
    assert caught.value.request_id is None
    assert "X-Request-ID" not in str(caught.value)


def test_endless_words_of_the_service_are_cut() -> None:
    with (
        client_of(FakeServer(error_reply(400, "x" * 100_000))) as client,
        pytest.raises(BadRequestError) as caught,
    ):
        client.retrieve_call(7, 1)
    assert len(str(caught.value)) < 1000


# Tries


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_passing_fault_is_tried_again(status: int) -> None:
    raw = FakeServer(error_reply(status), error_reply(status), CALL)
    with client_of(raw) as client:
        assert client.retrieve_call(7, 1).id == 1
    assert len(raw.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 501])
def test_lasting_fault_is_not_tried_again(status: int) -> None:
    raw = FakeServer(error_reply(status), CALL)
    with client_of(raw) as client, pytest.raises(ServiceError):
        client.retrieve_call(7, 1)
    assert len(raw.requests) == 1


@pytest.mark.parametrize("status", [400, 409, 500])
def test_fault_the_service_marks_as_passing_is_tried_again(status: int) -> None:
    raw = FakeServer(error_reply(status, isAutoRetryable=True), CALL)
    with client_of(raw) as client:
        assert client.retrieve_call(7, 1).id == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(None), Reply(truncated=True, body=b'{"items": []}'), Reply(200, b'{"id": 1, "func'), Reply(200, b"")],
    ids=["closed", "cut", "half a body", "no body"],
)
def test_answer_that_did_not_come_whole_is_asked_for_again(reply: Reply) -> None:
    raw = FakeServer(reply, CALL)
    with client_of(raw) as client:
        assert client.retrieve_call(7, 1).id == 1
    assert len(raw.requests) == 2


def test_posts_are_tried_again_too() -> None:
    raw = FakeServer(Reply(None), error_reply(503), PAGE)
    with client_of(raw) as client:
        assert len(client.filter_calls(7, {"status": "Failed"}).items) == 3
    assert len({heard.body for heard in raw.requests}) == 1


def test_used_up_tries_end_in_the_last_refusal() -> None:
    raw = FakeServer(error_reply(429, "busy", {"X-Request-ID": "r-9", "Retry-After": "0"}))
    with client_of(raw, retry=Retry(status=2, backoff_factor=0.01)) as client, pytest.raises(RateLimitError) as caught:
        client.retrieve_call(7, 1)
    assert len(raw.requests) == 3
    assert "after all retries" in str(caught.value)
    assert caught.value.request_id == "r-9"


def test_used_up_tries_end_in_the_last_break() -> None:
    raw = FakeServer(Reply(None))
    with (
        client_of(raw, retry=Retry(connect=2, backoff_factor=0.01)) as client,
        pytest.raises(TransportError, match="broke"),
    ):
        client.retrieve_call(7, 1)
    assert len(raw.requests) == 3


def test_refusals_and_breaks_are_counted_apart() -> None:
    raw = FakeServer(Reply(None), error_reply(503), Reply(None), error_reply(503), CALL)
    with client_of(raw, retry=Retry(status=2, connect=2, backoff_factor=0.01)) as client:
        assert client.retrieve_call(7, 1).id == 1


# Waiting


class Noted(Retry):
    """Notes what the service asked for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "noted", [])

    def backoff_s(self, tries: int, retry_after_s: float | None = None) -> float:
        noted: list[tuple[int, float | None]] = vars(self)["noted"]
        noted.append((tries, retry_after_s))
        return 0.0

    @property
    def asked(self) -> list[tuple[int, float | None]]:
        noted: list[tuple[int, float | None]] = vars(self)["noted"]
        return noted


def retry_after(value: str | None) -> float | None:
    """Tell how a client understands a `Retry-After`."""
    retry = Noted()
    headers = {} if value is None else {"Retry-After": value}
    with client_of(FakeServer(error_reply(429, headers=headers), CALL), retry=retry) as client:
        client.retrieve_call(7, 1)
    ((_, asked),) = retry.asked
    return asked


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("7200", 7200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        (None, None),
    ],
)
def test_retry_after_is_understood(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


@pytest.fixture
def east_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XYZ-05:30")
    reset = getattr(time, "tzset", lambda: None)  # which Windows lacks
    reset()
    yield
    monkeypatch.undo()
    reset()


@pytest.mark.usefixtures("east_of_greenwich")
@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_may_be_a_date(zone: str) -> None:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    asked = retry_after(email.utils.format_datetime(moment).replace("+0000", zone))
    assert asked is not None
    assert 7000 < asked <= 7200


def test_retry_after_is_waited_at_least() -> None:
    retry = Retry(backoff_factor=0.5)
    assert all(retry.backoff_s(1, 5.0) == 5.0 for _ in range(100))


@pytest.mark.parametrize("asked", [3600.0, float("inf")])
def test_retry_after_of_hours_is_capped(asked: float) -> None:
    assert Retry().backoff_s(1, asked) == 60.0


@pytest.mark.parametrize(("tries", "most_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (10, 30.0), (2000, 30.0)])
def test_wait_is_drawn_from_the_whole_range(tries: int, most_s: float) -> None:
    waits = [Retry().backoff_s(tries) for _ in range(500)]
    assert 0 <= min(waits) < 0.2 * most_s
    assert 0.8 * most_s < max(waits) <= most_s


def test_tries_are_counted_for_the_wait() -> None:
    retry = Noted()
    with client_of(FakeServer(error_reply(503), error_reply(503), error_reply(503), CALL), retry=retry) as client:
        client.retrieve_call(7, 1)
    assert [tries for tries, _ in retry.asked] == [1, 2, 3]


# Page limits


def test_smaller_page_is_asked_for_where_the_service_minds_the_limit() -> None:
    def answer(heard: ReceivedRequest) -> Reply:
        return (
            PAGE if b'"limit":1000' in heard.body and b'"limit":10000' not in heard.body else error_reply(400, "limit")
        )

    raw = FakeServer(respond=answer)
    with client_of(raw) as client:
        assert len(client.filter_calls(7, {}).items) == 3
        client.filter_calls(7, {})
    assert len(raw.requests) == 3


def test_limit_that_no_size_satisfies_is_an_error() -> None:
    raw = FakeServer(error_reply(400, "limit is out of range"))
    with client_of(raw) as client, pytest.raises(BadRequestError, match="limit is out of range"):
        client.filter_calls(7, {})
    assert len(raw.requests) == 3


# Tokens


class Shop:
    """A service that accepts one token only, and an identity provider that sells tokens."""

    def __init__(self, *tokens: str, accepted: str) -> None:
        self._tokens = tokens
        self._accepted = accepted
        self.sold = 0

    def __call__(self, heard: ReceivedRequest) -> Reply:
        if heard.path == "/token":
            self.sold += 1
            return json_reply({"access_token": self._tokens[min(self.sold, len(self._tokens)) - 1], "expires_in": 3600})
        return CALL if heard.headers["authorization"] == f"Bearer {self._accepted}" else error_reply(401, "expired")


@pytest.fixture
def shopping() -> Iterator[Callable[[Shop], tuple[FakeServer, Client]]]:
    opened: list[Any] = []

    def start(shop: Shop) -> tuple[FakeServer, Client]:
        context = running(FakeServer(respond=shop))
        raw = context.__enter__()
        credentials = ClientCredentials(token_url=f"{raw.url}/token", client_id="robot", client_secret="pssst")
        client = Client(Target(raw.url, "demo"), credentials, workers=8)
        opened.append((context, client))
        return raw, client

    yield start
    for context, client in opened:
        client.close()
        context.__exit__(None, None, None)


def test_rejected_token_is_renewed_once_for_all_threads(
    shopping: Callable[[Shop], tuple[FakeServer, Client]],
) -> None:
    shop = Shop("old", "new", accepted="new")
    _, client = shopping(shop)
    barrier = threading.Barrier(8)

    def ask(_: int) -> int:
        barrier.wait(10)
        return client.retrieve_call(7, 1).id

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [1] * 8
    assert shop.sold == 2


def test_request_is_sent_once_more_after_a_401(shopping: Callable[[Shop], tuple[FakeServer, Client]]) -> None:
    raw, client = shopping(Shop("one", "two", "three", "four", accepted="none of these"))
    with pytest.raises(UnauthorizedError, match="sign in again"):
        client.retrieve_call(7, 1)
    assert sum("calls" in heard.path for heard in raw.requests) == 2


def test_token_that_cannot_be_renewed_is_sent_once() -> None:
    raw = FakeServer(error_reply(401))
    with client_of(raw) as client, pytest.raises(UnauthorizedError):
        client.retrieve_call(7, 1)
    assert len(raw.requests) == 1


def test_token_function_is_called_anew_after_a_401() -> None:
    tokens = iter(["old", "new", "new", "new"])
    raw = FakeServer(error_reply(401), CALL)
    with client_of(raw, credentials=TokenFunction(lambda: next(tokens))) as client:
        assert client.retrieve_call(7, 1).id == 1
    assert [heard.headers["authorization"] for heard in raw.requests] == ["Bearer old", "Bearer new"]


def test_trouble_with_signing_in_is_not_tried_again() -> None:
    raw = FakeServer(CALL)
    with (
        client_of(raw, credentials=TokenFunction(lambda: "")) as client,
        pytest.raises(AuthenticationError, match="empty text"),
    ):
        client.retrieve_call(7, 1)
    assert raw.requests == []


def test_renewal_that_fails_is_told() -> None:
    tokens = iter(["old"])
    with (
        client_of(FakeServer(error_reply(401)), credentials=TokenFunction(lambda: next(tokens))) as client,
        pytest.raises(AuthenticationError, match="StopIteration"),
    ):
        client.retrieve_call(7, 1)


# Connections


def test_redirect_is_not_followed_and_takes_no_token_along() -> None:
    elsewhere = FakeServer(CALL)
    with running(elsewhere):
        raw = FakeServer(Reply(307, b"", {"Location": f"{elsewhere.url}/api/v1/projects/demo/functions/7/calls/1"}))
        with client_of(raw) as client, pytest.raises(InvalidResponseError, match=r"redirected to 127\.0\.0\.1"):
            client.retrieve_call(7, 1)
    assert elsewhere.requests == []
    assert len(raw.requests) == 1


def test_cookies_are_not_kept() -> None:
    raw = FakeServer(json_reply(CALLS[0], Set_Cookie="session=1; Path=/"))
    with client_of(raw) as client:
        client.retrieve_call(7, 1)
        client.retrieve_call(7, 1)
    assert ["cookie" in heard.headers for heard in raw.requests] == [False, False]


def test_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password else\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    raw = FakeServer(CALL)
    with client_of(raw) as client:
        client.retrieve_call(7, 1)
    assert raw.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment_is_not_used_for_this_machine(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = FakeServer(json_reply({}))
    with running(proxy), client_of(FakeServer(CALL)) as client:
        monkeypatch.setenv(variable, proxy.url)
        assert client.retrieve_call(7, 1).id == 1
    assert proxy.requests == []


def through(**arguments: Any) -> Client:
    target = Target("https://westeurope-1.cognitedata.com", "demo")
    transport = Transport(target.base_url, **arguments)
    return Client(target, StaticToken(TOKEN), retry=Retry(connect=0), transport=transport)


def test_proxy_that_says_no_is_named() -> None:
    proxy = FakeServer(Reply(407, b""))
    with running(proxy):
        client = through(proxies={"https": proxy.url})
        with pytest.raises(TransportError, match=r"proxy on the way to westeurope-1\.cognitedata\.com.*407"):
            client.retrieve_call(7, 1)
        client.close()


@pytest.mark.parametrize("given", [True, False])
def test_proxy_is_told_the_host_and_no_token(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = FakeServer(Reply(403, b""))
    with running(proxy):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9" if given else proxy.url)
        client = through(proxies={"https": proxy.url} if given else None)
        with pytest.raises(TransportError):
            client.retrieve_call(7, 1)
        client.close()
    (heard,) = proxy.requests
    assert (heard.method, heard.path) == ("CONNECT", "westeurope-1.cognitedata.com:443")
    assert "authorization" not in heard.headers


def test_name_that_is_not_found_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    target = Target("https://westeurop-1.cognitedata.com", "demo")
    client = Client(target, StaticToken(TOKEN), retry=Retry(connect=0))
    with pytest.raises(TransportError, match=r"westeurop-1\.cognitedata\.com was not found \(DNS\)"):
        client.retrieve_call(7, 1)


def test_closed_port_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = Client(Target(f"http://127.0.0.1:{port}", "demo"), StaticToken(TOKEN), retry=Retry(connect=0))
    with pytest.raises(TransportError, match=r"No connection to 127\.0\.0\.1: .*refused"):
        client.retrieve_call(7, 1)


def test_silence_ends_in_an_error() -> None:
    never = threading.Event()
    with client_of(FakeServer(Reply(wait_for=never)), retry=Retry(connect=0), timeout_s=(1.0, 0.05)) as client:
        with pytest.raises(TransportError, match="sent no answer in time"):
            client.retrieve_call(7, 1)
        never.set()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse where this one keeps waiting")
def test_connection_that_does_not_come_about_ends_in_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.settimeout(0)
            other.connect_ex(full.getsockname())
        target = Target(f"http://127.0.0.1:{full.getsockname()[1]}", "demo")
        transport = Transport(target.base_url, timeout_s=(0.1, 0.1))
        client = Client(target, StaticToken(TOKEN), retry=Retry(connect=0), transport=transport)
        with pytest.raises(TransportError, match="did not accept a connection in time"):
            client.retrieve_call(7, 1)
        for other in others:
            other.close()


# Certificates


@dataclass(frozen=True)
class Certified:
    """A server's certificate that nobody but `bundle` vouches for."""

    context: ssl.SSLContext
    bundle: str


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "callframe")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return Certified(context, str(path))


@pytest.fixture
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("no_bundle")
def test_certificate_that_nobody_vouches_for_is_refused(certified: Certified) -> None:
    raw = FakeServer(CALL)
    with (
        client_of(raw, tls=certified.context, retry=Retry(connect=0)) as client,
        pytest.raises(TransportError, match=r"No trusted TLS connection to 127\.0\.0\.1: .*self-signed.*verify="),
    ):
        client.retrieve_call(7, 1)
    assert raw.requests == []


@pytest.mark.usefixtures("no_bundle")
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("verify", [True, False])
def test_certificate_is_checked_against_a_given_bundle_or_not_at_all(certified: Certified, verify: bool) -> None:
    with client_of(FakeServer(CALL), tls=certified.context, verify=certified.bundle if verify else False) as client:
        assert client.retrieve_call(7, 1).id == 1


@pytest.mark.usefixtures("no_bundle")
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_bundle_of_the_environment_is_used(
    certified: Certified, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, certified.bundle)
    with client_of(FakeServer(CALL), tls=certified.context) as client:
        assert client.retrieve_call(7, 1).id == 1


def test_given_bundle_wins_over_the_environment(
    certified: Certified, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "no-such-file.pem"))
    with client_of(FakeServer(CALL), tls=certified.context, verify=certified.bundle) as client:
        assert client.retrieve_call(7, 1).id == 1


# The throttle


def test_many_refusals_together_halve_the_gate_once() -> None:
    throttle = Throttle(8)
    with throttle.acquire() as one, throttle.acquire() as other:
        throttle.slow_down(one)
        throttle.slow_down(other)
    assert throttle.limit == 4


def test_gate_never_closes() -> None:
    throttle = Throttle(5)
    for _ in range(10):
        with throttle.acquire() as generation:
            throttle.slow_down(generation)
    assert throttle.limit == 1


def test_gate_recovers_one_by_one_up_to_the_most() -> None:
    throttle = Throttle(4)
    throttle.slow_down(0)
    limits = []
    for _ in range(100):
        throttle.record_success()
        limits.append(throttle.limit)
    assert (limits[0], limits[-1]) == (2, 4)
    assert limits == sorted(limits)


def test_burst_of_refusals_halves_the_requests_at_once() -> None:
    together = threading.Barrier(8)

    def answer(_: ReceivedRequest) -> Reply:
        return error_reply(429) if len(raw.requests) <= 8 else CALL

    raw = FakeServer(respond=answer)

    def ask(_: int) -> int:
        together.wait(10)
        return client.retrieve_call(7, 1).id

    with client_of(raw, workers=8) as client, ThreadPoolExecutor(8) as pool:
        throttle = client.throttle
        assert set(pool.map(ask, range(8))) == {1}
    assert throttle.limit < 8


def test_no_more_requests_at_once_than_workers() -> None:
    world = ProjectData.of(functions=[function_record()], calls=call_records(20))
    with serve_project(world, workers=3, latency_s=0.02) as made, ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: made.client.retrieve_call(7, 7_000_001), range(24)))
        assert made.service.most_at_once == 3


def test_tries_after_a_refusal_leave_the_gate_to_others() -> None:
    faults = Faults(too_many=0.5, retry_after_s=None, seed=1)
    with serve_project(ProjectData.of(functions=[function_record()], calls=CALLS), workers=1, faults=faults) as made:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: made.client.retrieve_call(7, 1).id, range(20)))
        assert answers == [1] * 20
        assert made.client.throttle.limit == 1


def test_forked_process_opens_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[HTTPConnection] = []
    connect = HTTPConnection.connect

    def counted(self: HTTPConnection) -> None:
        opened.append(self)
        connect(self)

    monkeypatch.setattr(HTTPConnection, "connect", counted)
    with client_of(FakeServer(CALL)) as client:
        client.retrieve_call(7, 1)
        client.retrieve_call(7, 1)
        assert len(opened) == 1
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
        client.retrieve_call(7, 1)
        assert len(opened) == 2
