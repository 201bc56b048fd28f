"""Client of the Functions API: endpoints, errors, retries and tokens."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from factories import NOW_MS, call_record, call_records, function_record
from services import (
    TOKEN,
    FakeServer,
    ReceivedRequest,
    Reply,
    ServedProject,
    client_of,
    error_reply,
    json_reply,
    running,
    serve_project,
)

from callframe import __version__
from callframe.api.client import Client
from callframe.auth.oauth import ClientCredentials
from callframe.auth.settings import Target
from callframe.auth.tokens import TokenFunction
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
from callframe.http.retry import Retry
from callframe.http.transport import Transport
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = [
    call_record(id=1, startTime=NOW_MS - 5000, scheduleId=71, scheduledTime=NOW_MS - 6000),
    call_record(id=2, startTime=NOW_MS - 4000, status="Failed", error={"message": "m", "trace": "t"}),
    call_record(id=3, startTime=NOW_MS - 3000),
]
CALL = json_reply(CALLS[0])
PAGE = json_reply({"items": CALLS})


@pytest.fixture(scope="module")
def served() -> Iterator[ServedProject]:
    data = ProjectData.from_records(
        functions=[function_record(), function_record(id=8, name="Eight", externalId=None)],
        schedules=[{"id": 71, "functionId": 7, "name": "s", "createdTime": 1, "cronExpression": "* * * * *"}],
        calls=CALLS,
        logs={(7, 1): [{"timestamp": NOW_MS, "message": "hello"}]},
        responses={(7, 1): {"answer": 42}},
    )
    with serve_project(data, page_cap=2) as project:
        yield project


@pytest.fixture
def client(served: ServedProject) -> Client:
    return served.client


# Endpoints


def test_call_is_retrieved_by_id(client: Client) -> None:
    call = client.retrieve_call(7, 1)
    assert (call.id, call.function_id, call.schedule_id, call.start_time) == (1, 7, 71, NOW_MS - 5000)


def test_cursor_is_sent_back_unchanged() -> None:
    server = FakeServer(PAGE)
    with client_of(server) as client:
        client.filter_calls(7, {}, cursor="a+b/c=&d é")
    assert json.loads(server.requests[0].body)["cursor"] == "a+b/c=&d é"


def test_calls_are_filtered(client: Client) -> None:
    page = client.filter_calls(7, {"status": "Failed"})
    assert [call.id for call in page.items] == [2]


def test_filter_is_sent_with_the_cursor(client: Client, served: ServedProject) -> None:
    first = client.filter_calls(7, {"startTime": {"min": 0}})
    client.filter_calls(7, {"startTime": {"min": 0}}, cursor=first.next_cursor)
    assert served.request_bodies("/7/calls/list")[-1] == {
        "filter": {"startTime": {"min": 0}},
        "limit": 10_000,
        "cursor": first.next_cursor,
    }


def test_calls_by_ids_ignores_unknown_ids(client: Client) -> None:
    page = client.calls_by_ids(7, [3, 1, 99])
    assert sorted(call.id for call in page.items) == [1, 3]


def test_log_of_a_call_is_returned(client: Client) -> None:
    (entry,) = client.call_log(7, 1).items
    assert (entry.timestamp, entry.message) == (NOW_MS, "hello")


def test_response_of_a_call_is_returned(client: Client) -> None:
    assert client.call_response(7, 1).response == {"answer": 42}


def test_response_of_a_call_that_returned_nothing_is_none(client: Client) -> None:
    assert client.call_response(7, 2).response is None


def test_functions_are_listed(client: Client, served: ServedProject) -> None:
    assert [item.id for item in client.list_functions().items] == [7, 8]
    assert served.request_bodies("/functions/list")[-1] == {"limit": 10_000}


def test_schedules_are_listed(client: Client) -> None:
    (schedule,) = client.list_schedules().items
    assert (schedule.id, schedule.function_id, schedule.cron_expression) == (71, 7, "* * * * *")


def test_limits_are_returned(client: Client) -> None:
    limits = client.limits()
    assert (limits.timeout_minutes, limits.response_size_mb) == (10, 2)


def test_request_has_the_headers_of_the_api() -> None:
    server = FakeServer(PAGE)
    with client_of(server) as client:
        client.filter_calls(7, {})
    headers = server.requests[0].headers
    assert (headers["cdf-version"], headers["x-cdp-app"]) == ("20230101", "callframe")
    assert headers["user-agent"].startswith(f"callframe/{__version__} ")
    assert (headers["authorization"], headers["content-type"]) == (f"Bearer {TOKEN}", "application/json")


# Errors


class ErrorCase(NamedTuple):
    """A reply, the error it should raise, and texts that its message should contain."""

    reply: Reply
    error_type: type[CallframeError]
    texts: list[str]


ERROR_CASES = {
    "401": ErrorCase(error_reply(401, "bad token"), UnauthorizedError, ["401", "bad token", "sign in again"]),
    "403": ErrorCase(
        error_reply(403, "Required capabilities functionsAcl:READ not present on token"),
        ForbiddenError,
        ["403", "functionsAcl:READ", "administrator"],
    ),
    "404": ErrorCase(error_reply(404, "gone"), NotFoundError, ["404", "gone", "90 days"]),
    "400 with missing": ErrorCase(
        error_reply(400, "x", missing=[{"id": 5}]), NotFoundError, ["400", "{'id': 5}", "90 days"]
    ),
    "400": ErrorCase(error_reply(400, "unexpected field"), BadRequestError, ["400", "unexpected field"]),
    "409": ErrorCase(error_reply(409), BadRequestError, ["409"]),
    "429": ErrorCase(error_reply(429, "slow down"), RateLimitError, ["429", "slow down", "fewer workers"]),
    "500": ErrorCase(error_reply(500, "oops"), UnavailableError, ["500", "oops", "Cognite support"]),
    "503": ErrorCase(error_reply(503), UnavailableError, ["503", "try later"]),
    "504 in HTML": ErrorCase(
        Reply(504, b"<html>gateway</html>", {"Content-Type": "text/html"}), UnavailableError, ["504"]
    ),
    "502 without a body": ErrorCase(Reply(502, b""), UnavailableError, ["502"]),
    "error as text": ErrorCase(json_reply({"error": "in plain words"}, 400), BadRequestError, ["in plain words"]),
    "error as a list": ErrorCase(json_reply({"error": [1]}, 400), BadRequestError, ["400"]),
    "error without a message": ErrorCase(
        json_reply({"error": {"code": 400, "message": None}}, 400), BadRequestError, ["400"]
    ),
    "redirect": ErrorCase(
        Reply(307, b"", {"Location": "https://elsewhere.example/x"}),
        InvalidResponseError,
        ["307", "elsewhere.example", "not followed"],
    ),
    "204": ErrorCase(Reply(204, b""), InvalidResponseError, ["204"]),
    "HTML with status 200": ErrorCase(
        Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"}),
        InvalidResponseError,
        ["HTML usually comes"],
    ),
    "empty body with status 200": ErrorCase(Reply(200, b""), InvalidResponseError, ["expected JSON"]),
    "JSON of another shape": ErrorCase(json_reply([1, 2]), InvalidResponseError, ["cannot be read"]),
}


@pytest.mark.parametrize("name", ERROR_CASES)
def test_error_response_raises_an_error_with_its_context(name: str) -> None:
    reply, error_type, texts = ERROR_CASES[name]
    with (
        client_of(FakeServer(reply), retry=Retry(status=0, connect=0)) as client,
        pytest.raises(CallframeError) as caught,
    ):
        client.retrieve_call(7, 1)
    assert type(caught.value) is error_type
    for text in [*texts, "127.0.0.1", "call 1 of function 7"]:
        assert text in str(caught.value)


def test_error_has_status_detail_and_request_id() -> None:
    reply = error_reply(404, "gone", {"X-Request-ID": "abc-123"})
    with client_of(FakeServer(reply)) as client, pytest.raises(ServiceError) as caught:
        client.retrieve_call(7, 1)
    assert (caught.value.status, caught.value.request_id, caught.value.detail) == (404, "abc-123", "gone")
    assert "(X-Request-ID: abc-123)" in str(caught.value)


def test_request_id_is_none_if_the_response_has_none() -> None:
    with client_of(FakeServer(error_reply(404))) as client, pytest.raises(NotFoundError) as caught:
        client.retrieve_call(7, 1)
    assert caught.value.request_id is None
    assert "X-Request-ID" not in str(caught.value)


def test_long_message_of_the_service_is_cut() -> None:
    with (
        client_of(FakeServer(error_reply(400, "x" * 100_000))) as client,
        pytest.raises(BadRequestError) as caught,
    ):
        client.retrieve_call(7, 1)
    assert len(str(caught.value)) < 1000


# Retries


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_transient_error_is_retried(status: int) -> None:
    server = FakeServer(error_reply(status), error_reply(status), CALL)
    with client_of(server) as client:
        assert client.retrieve_call(7, 1).id == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 501])
def test_other_error_is_not_retried(status: int) -> None:
    server = FakeServer(error_reply(status), CALL)
    with client_of(server) as client, pytest.raises(ServiceError):
        client.retrieve_call(7, 1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 409, 500])
def test_error_that_the_service_marks_as_retryable_is_retried(status: int) -> None:
    server = FakeServer(error_reply(status, isAutoRetryable=True), CALL)
    with client_of(server) as client:
        assert client.retrieve_call(7, 1).id == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(None), Reply(truncated=True, body=b'{"items": []}'), Reply(200, b'{"id": 1, "func'), Reply(200, b"")],
    ids=["connection closed", "body truncated", "half a body", "empty body"],
)
def test_incomplete_response_is_retried(reply: Reply) -> None:
    server = FakeServer(reply, CALL)
    with client_of(server) as client:
        assert client.retrieve_call(7, 1).id == 1
    assert len(server.requests) == 2


def test_post_request_is_retried() -> None:
    server = FakeServer(Reply(None), error_reply(503), PAGE)
    with client_of(server) as client:
        assert len(client.filter_calls(7, {"status": "Failed"}).items) == 3
    assert len({request.body for request in server.requests}) == 1


def test_last_error_response_is_raised_after_all_retries() -> None:
    server = FakeServer(error_reply(429, "busy", {"X-Request-ID": "r-9", "Retry-After": "0"}))
    with (
        client_of(server, retry=Retry(status=2, backoff_factor=0.01)) as client,
        pytest.raises(RateLimitError) as caught,
    ):
        client.retrieve_call(7, 1)
    assert len(server.requests) == 3
    assert "after all retries" in str(caught.value)
    assert caught.value.request_id == "r-9"


def test_last_connection_error_is_raised_after_all_retries() -> None:
    server = FakeServer(Reply(None))
    with (
        client_of(server, retry=Retry(connect=2, backoff_factor=0.01)) as client,
        pytest.raises(TransportError, match="broke"),
    ):
        client.retrieve_call(7, 1)
    assert len(server.requests) == 3


def test_retries_after_responses_and_connection_errors_are_counted_separately() -> None:
    server = FakeServer(Reply(None), error_reply(503), Reply(None), error_reply(503), CALL)
    with client_of(server, retry=Retry(status=2, connect=2, backoff_factor=0.01)) as client:
        assert client.retrieve_call(7, 1).id == 1


@pytest.fixture
def backoffs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float | None]]:
    """Record the arguments of each backoff instead of waiting."""
    recorded: list[tuple[int, float | None]] = []

    def record(_: Retry, retry: int, retry_after_s: float | None = None) -> float:
        recorded.append((retry, retry_after_s))
        return 0.0

    monkeypatch.setattr(Retry, "backoff_s", record)
    return recorded


def test_backoff_depends_on_the_number_of_the_retry(backoffs: list[tuple[int, float | None]]) -> None:
    with client_of(FakeServer(error_reply(503), error_reply(503), error_reply(503), CALL)) as client:
        client.retrieve_call(7, 1)
    assert backoffs == [(1, None), (2, None), (3, None)]


def test_backoff_depends_on_retry_after(backoffs: list[tuple[int, float | None]]) -> None:
    with client_of(FakeServer(error_reply(429, headers={"Retry-After": "3"}), CALL)) as client:
        client.retrieve_call(7, 1)
    assert backoffs == [(1, 3.0)]


@pytest.mark.parametrize("reply", [error_reply(503), error_reply(429), Reply(None)], ids=["503", "429", "closed"])
def test_outage_is_found_out_once_and_not_by_each_request(reply: Reply) -> None:
    server = FakeServer(reply)

    def retrieve(function_id: int) -> str:
        with pytest.raises((ServiceError, TransportError)) as caught:
            one.retrieve_call(function_id, 1)
        return type(caught.value).__name__

    with client_of(server, retry=Retry(6, 6, 0.01, 0.05)) as one, ThreadPoolExecutor(5) as pool:
        assert len(set(pool.map(retrieve, range(1, 41)))) == 1
    assert len(server.requests) <= 2 * 40 + 5 * 6


def test_request_is_retried_while_others_succeed() -> None:
    server = FakeServer(respond=lambda request: error_reply(503) if "/functions/8/" in request.path else CALL)
    with client_of(server, retry=Retry(4, 4, 0.001)) as client:
        for _ in range(3):
            with pytest.raises(UnavailableError):
                client.retrieve_call(8, 1)
            client.retrieve_call(7, 1)
    assert len(server.requests) == 3 * (5 + 1)


def test_client_tells_what_it_waits_for() -> None:
    server, told = FakeServer(error_reply(503), Reply(None), CALL), []

    class RecordingRetry(Retry):
        def backoff_s(self, *_: Any) -> float:
            told.append(one.waiting)
            return 0.0

    with client_of(server, retry=RecordingRetry()) as one:
        one.retrieve_call(7, 1)
        assert (told, one.waiting) == (["waiting, 503", "waiting, no response"], "")


# Page limits


def test_smaller_page_limit_is_used_if_the_service_rejects_the_first() -> None:
    def respond(request: ReceivedRequest) -> Reply:
        return PAGE if json.loads(request.body)["limit"] == 1000 else error_reply(400, "limit")

    server = FakeServer(respond=respond)
    with client_of(server) as client:
        assert len(client.filter_calls(7, {}).items) == 3
        client.filter_calls(7, {})
    assert len(server.requests) == 3


def test_error_is_raised_if_the_service_rejects_all_page_limits() -> None:
    server = FakeServer(error_reply(400, "limit is out of range"))
    with client_of(server) as client, pytest.raises(BadRequestError, match="limit is out of range"):
        client.filter_calls(7, {})
    assert len(server.requests) == 3


# Tokens


class TokenServer:
    """Response function of a service that accepts a single token, and of its token endpoint."""

    def __init__(self, *tokens: str, accepted: str) -> None:
        self._tokens = tokens
        self._accepted = accepted
        self.token_requests = 0

    def __call__(self, request: ReceivedRequest) -> Reply:
        if request.path == "/token":
            self.token_requests += 1
            token = self._tokens[min(self.token_requests, len(self._tokens)) - 1]
            return json_reply({"access_token": token, "expires_in": 3600})
        is_accepted = request.headers["authorization"] == f"Bearer {self._accepted}"
        return CALL if is_accepted else error_reply(401, "expired")


@contextmanager
def client_with_client_credentials(respond: TokenServer) -> Iterator[tuple[FakeServer, Client]]:
    with running(FakeServer(respond=respond)) as server:
        credentials = ClientCredentials(
            token_url=f"{server.url}/token", client_id="robot", client_secret="pssst", transport=Transport(server.url)
        )
        client = Client(Target(server.url, "demo"), credentials, workers=8)
        yield server, client
        client.close()


def test_rejected_token_is_renewed_once_for_all_threads() -> None:
    respond = TokenServer("old", "new", accepted="new")
    barrier = threading.Barrier(8)
    with client_with_client_credentials(respond) as (_, client), ThreadPoolExecutor(8) as pool:

        def retrieve(_: int) -> int:
            barrier.wait(10)
            return client.retrieve_call(7, 1).id

        assert list(pool.map(retrieve, range(8))) == [1] * 8
    assert respond.token_requests == 2


def test_request_is_repeated_once_after_a_401() -> None:
    respond = TokenServer("one", "two", "three", "four", accepted="none of these")
    with client_with_client_credentials(respond) as (server, client):
        with pytest.raises(UnauthorizedError, match="sign in again"):
            client.retrieve_call(7, 1)
        assert sum("calls" in request.path for request in server.requests) == 2


def test_request_with_a_fixed_token_is_not_repeated_after_a_401() -> None:
    server = FakeServer(error_reply(401))
    with client_of(server) as client, pytest.raises(UnauthorizedError):
        client.retrieve_call(7, 1)
    assert len(server.requests) == 1


def test_token_function_is_called_again_after_a_401() -> None:
    tokens = iter(["old", "new", "new", "new"])
    server = FakeServer(error_reply(401), CALL)
    with client_of(server, credentials=TokenFunction(lambda: next(tokens))) as client:
        assert client.retrieve_call(7, 1).id == 1
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]


def test_authentication_error_is_not_retried() -> None:
    server = FakeServer(CALL)
    with (
        client_of(server, credentials=TokenFunction(lambda: "")) as client,
        pytest.raises(AuthenticationError, match="empty string"),
    ):
        client.retrieve_call(7, 1)
    assert server.requests == []


def test_error_while_renewing_the_token_is_raised() -> None:
    tokens = iter(["old"])
    with (
        client_of(FakeServer(error_reply(401)), credentials=TokenFunction(lambda: next(tokens))) as client,
        pytest.raises(AuthenticationError, match="StopIteration"),
    ):
        client.retrieve_call(7, 1)


# Concurrency


def test_simultaneous_429_responses_reduce_the_number_of_concurrent_requests() -> None:
    barrier = threading.Barrier(8)

    def respond(_: ReceivedRequest) -> Reply:
        return error_reply(429) if len(server.requests) <= 8 else CALL

    server = FakeServer(respond=respond)

    def retrieve(_: int) -> int:
        barrier.wait(10)
        return client.retrieve_call(7, 1).id

    with client_of(server, workers=8) as client, ThreadPoolExecutor(8) as pool:
        throttle = client.throttle
        assert set(pool.map(retrieve, range(8))) == {1}
    assert throttle.limit < 8


def test_concurrent_requests_are_limited_to_the_workers() -> None:
    data = ProjectData.from_records(functions=[function_record()], calls=call_records(20))
    with serve_project(data, workers=3, latency_s=0.02) as served, ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: served.client.retrieve_call(7, 7_000_001), range(24)))
        assert served.service.max_concurrent_requests == 3


def test_request_that_waits_for_a_retry_does_not_block_others() -> None:
    faults = Faults(throttled=0.5, retry_after_s=None, seed=1)
    with serve_project(
        ProjectData.from_records(functions=[function_record()], calls=CALLS), workers=1, faults=faults
    ) as served:
        with ThreadPoolExecutor(4) as pool:
            call_ids = list(pool.map(lambda _: served.client.retrieve_call(7, 1).id, range(20)))
        assert call_ids == [1] * 20
        assert served.client.throttle.limit == 1
