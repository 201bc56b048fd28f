"""The embedded service: every endpoint over real HTTP, and every fault it can be asked for."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import requests

from callframe.errors import ArgumentError, CallframeError
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Serve: TypeAlias = "Callable[..., Client]"

END = datetime(2026, 6, 15, 12, 34, 56, tzinfo=UTC)


def record(**changes: object) -> dict[str, object]:
    return {"id": 1, "functionId": 7, "status": "Completed", "startTime": 1000, "endTime": 2000} | changes


FUNCTIONS: list[dict[str, object]] = [
    {
        "id": 7,
        "externalId": "seven",
        "name": "Seven",
        "owner": "me",
        "createdTime": 10,
        "metadata": {"a": "b", "c": "d"},
    },
    {"id": 8, "externalId": "eight", "name": "Eight", "owner": "you", "createdTime": 20, "status": "Ready"},
    {"id": 9, "name": "Nine", "createdTime": 30, "fileId": 99},
]
SCHEDULES: list[dict[str, object]] = [
    {"id": 71, "functionId": 7, "name": "s", "createdTime": 1, "cronExpression": "* * * * *"},
    {"id": 81, "functionExternalId": "eight", "name": "t", "createdTime": 2, "cronExpression": "0 * * * *"},
]
CALLS = [
    record(id=1, startTime=1000, endTime=1500, scheduleId=71, scheduledTime=900),
    record(id=2, startTime=2000, endTime=2500, status="Failed", error={"message": "m"}),
    record(id=3, startTime=3000, endTime=3500, scheduleId=71, scheduledTime=2900),
    {"id": 4, "functionId": 7, "status": "Running", "startTime": 4000},
    record(id=5, startTime=5000, endTime=5500, status="Timeout"),
    record(id=6, functionId=8, startTime=1),
]


def small_world() -> ProjectData:
    return ProjectData.of(
        functions=FUNCTIONS,
        schedules=SCHEDULES,
        calls=CALLS,
        logs={(7, 1): [{"timestamp": 1001, "message": "hello"}]},
        responses={(7, 1): {"answer": 42}},
    )


class Client:
    """Asks a service, with its token unless told otherwise."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {service.token}"
        self.root = f"{service.url}/api/v1/projects/{service.project}/functions"

    def get(self, path: str = "", **arguments: Any) -> requests.Response:
        return self.session.get(self.root + path, timeout=10, **arguments)

    def post(self, path: str, body: Any = None) -> requests.Response:
        return self.session.post(self.root + path, json={} if body is None else body, timeout=10)

    def ids(self, path: str, **body: Any) -> list[int]:
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    def all_ids(self, path: str, **body: Any) -> list[list[int]]:
        """Follow the cursors of a listing to its end; the ids of each page."""
        pages: list[list[int]] = []
        cursor: dict[str, str] = {}
        while True:
            answer = self.post(path, body | cursor).json()
            pages.append([item["id"] for item in answer["items"]])
            if "nextCursor" not in answer:
                return pages
            cursor = {"cursor": answer["nextCursor"]}


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve(small_world())


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Client] = []

    def start(world: ProjectData, **arguments: Any) -> Client:
        service = Service(world, **arguments)
        service.start()
        client = Client(service)
        started.append(client)
        return client

    yield start
    for client in started:
        client.session.close()
        client.service.stop()


def many(count: int = 25) -> ProjectData:
    return ProjectData.of(
        functions=FUNCTIONS, calls=[record(id=at + 1, startTime=1000 + at // 3) for at in range(count)]
    )


# Reading calls


def test_single_call_is_not_wrapped(client: Client) -> None:
    assert client.get("/7/calls/1").json() == CALLS[0]


def test_unknown_call_is_404(client: Client) -> None:
    answer = client.get("/7/calls/99")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == 404


def test_call_of_another_function_is_404(client: Client) -> None:
    assert client.get("/7/calls/6").status_code == 404


@pytest.mark.parametrize("path", ["/99/calls", "/99/calls/1", "/99", "/99/calls/1/logs", "/99/calls/1/response"])
def test_unknown_function_is_404(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_calls_are_listed_by_get(client: Client) -> None:
    answer = client.get("/7/calls", params={"limit": 2}).json()
    rest = client.get("/7/calls", params={"limit": 10, "cursor": answer["nextCursor"]}).json()
    assert [call["id"] for call in answer["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    assert "nextCursor" not in rest


def test_calls_are_listed_by_post(client: Client) -> None:
    assert client.all_ids("/7/calls/list", limit=2) == [[5, 4], [3, 2], [1]]


def test_listing_without_limit_gives_100(serve: Serve) -> None:
    assert len(serve(many(150)).ids("/7/calls/list")) == 100


def test_function_without_calls_lists_none(client: Client) -> None:
    assert client.post("/9/calls/list").json() == {"items": []}


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"scheduleId": 71}, [3, 1]),
        ({"scheduleId": 72}, []),
        ({"status": "Failed"}, [2]),
        ({"status": "Nonsense"}, []),
        ({"status": "Completed", "scheduleId": 71}, [3, 1]),
        ({"startTime": {"min": 3000}}, [5, 4, 3]),
        ({"startTime": {"max": 3000}}, [3, 2, 1]),
        ({"startTime": {"min": 2000, "max": 4000}}, [4, 3, 2]),
        ({"startTime": {"min": 2001, "max": 2999}}, []),
        ({"endTime": {"min": 2500, "max": 3500}}, [3, 2]),
        ({"endTime": {"min": 0}}, [5, 3, 2, 1]),
    ],
)
def test_filters_narrow_and_ranges_include_both_ends(client: Client, given: dict[str, Any], ids: list[int]) -> None:
    assert client.ids("/7/calls/list", filter=given) == ids


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 24, 25, 26])
def test_pages_of_any_size_hold_every_call_once(serve: Serve, limit: int) -> None:
    pages = serve(many()).all_ids("/7/calls/list", limit=limit)
    assert sum(pages, []) == list(range(25, 0, -1))  # noqa: RUF017
    assert all(len(page) == limit for page in pages[:-1])


def test_filtered_listing_pages_too(serve: Serve) -> None:
    pages = serve(many()).all_ids("/7/calls/list", limit=4, filter={"startTime": {"min": 1002, "max": 1005}})
    assert [len(page) for page in pages] == [4, 4, 4]


def test_page_cap_holds_whatever_is_asked(serve: Serve) -> None:
    assert [len(page) for page in serve(many(), page_cap=10).all_ids("/7/calls/list", limit=1000)] == [10, 10, 5]


def test_listing_goes_on_where_it_was_while_new_calls_arrive(serve: Serve) -> None:
    world = many()
    client = serve(world)
    first = client.post("/7/calls/list", {"limit": 10}).json()
    for at in range(100, 120):
        world.add_call(record(id=at, startTime=9000))
    second = client.ids("/7/calls/list", limit=100, cursor=first["nextCursor"])
    assert [call["id"] for call in first["items"]] + second == list(range(25, 0, -1))


def test_running_call_becomes_completed(client: Client) -> None:
    assert client.get("/7/calls/4").json()["status"] == "Running"
    client.service.world.replace_call(record(id=4, startTime=4000, endTime=4500))
    assert client.get("/7/calls/4").json()["status"] == "Completed"


def test_removed_function_is_404(client: Client) -> None:
    client.service.world.remove_function(7)
    assert client.get("/7/calls/1").status_code == 404
    assert client.ids("/list") == [8, 9]


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": "many"},
        {"limit": 1.5},
        {"limit": None},
        {"cursor": "no cursor"},
        {"cursor": 5},
        {"cursor": "W10="},
        {"filter": []},
        {"filter": {"startTime": 5}},
        {"filter": {"startTime": {"min": "now"}}},
        {"filter": {"startTime": {"from": 5}}},
        {"filter": {"scheduleID": 5}},
        {"filter": {"scheduleId": "x"}},
        {"filters": {}},
        [],
    ],
)
def test_request_that_makes_no_sense_is_400(client: Client, body: Any) -> None:
    answer = client.post("/7/calls/list", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_limit_of_0_is_400_by_get_too(client: Client) -> None:
    assert client.get("/7/calls", params={"limit": 0}).status_code == 400


def test_cursor_of_another_request_is_400(client: Client) -> None:
    cursor = client.post("/7/calls/list", {"limit": 1}).json()["nextCursor"]
    assert client.post("/7/calls/list", {"cursor": cursor, "filter": {"status": "Failed"}}).status_code == 400


def test_body_that_is_no_json_is_400(client: Client) -> None:
    answer = client.session.post(client.root + "/list", data=b"{", timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Request body is not valid JSON"


def test_compressed_body_is_understood(client: Client) -> None:
    body = gzip.compress(json.dumps({"limit": 1}).encode())
    answer = client.session.post(
        client.root + "/7/calls/list", data=body, headers={"Content-Encoding": "gzip"}, timeout=5
    )
    assert len(answer.json()["items"]) == 1


def test_calls_by_ids_come_in_the_order_asked(client: Client) -> None:
    assert client.ids("/7/calls/byids", items=[{"id": 3}, {"id": 1}]) == [3, 1]


def test_missing_ids_are_named(client: Client) -> None:
    answer = client.post("/7/calls/byids", {"items": [{"id": 1}, {"id": 77}]})
    assert (answer.status_code, answer.json()["error"]["missing"]) == (400, [{"id": 77}])


def test_missing_ids_are_ignored_when_asked_to(client: Client) -> None:
    assert client.ids("/7/calls/byids", items=[{"id": 1}, {"id": 77}], ignoreUnknownIds=True) == [1]


def test_duplicated_ids_are_named(client: Client) -> None:
    answer = client.post("/7/calls/byids", {"items": [{"id": 1}, {"id": 1}, {"id": 2}]})
    assert (answer.status_code, answer.json()["error"]["duplicated"]) == (400, [{"id": 1}])


@pytest.mark.parametrize("items", [[], None, "1", [1], [{"id": "1"}], [{"id": 0}], [{"externalId": "x"}]])
def test_items_that_are_no_ids_are_400(client: Client, items: Any) -> None:
    assert client.post("/7/calls/byids", {"items": items}).status_code == 400


def test_10_000_ids_are_allowed_and_one_more_is_not(serve: Serve) -> None:
    client = serve(many(10_001))
    items = [{"id": at} for at in range(1, 10_002)]
    assert len(client.ids("/7/calls/byids", items=items[:-1])) == 10_000
    assert client.post("/7/calls/byids", {"items": items}).status_code == 400


def test_logs_are_lines_with_times(client: Client) -> None:
    assert client.get("/7/calls/1/logs").json() == {"items": [{"timestamp": 1001, "message": "hello"}]}
    assert client.get("/7/calls/2/logs").json() == {"items": []}


def test_response_of_a_call_names_the_call(client: Client) -> None:
    assert client.get("/7/calls/1/response").json() == {"response": {"answer": 42}, "functionId": 7, "callId": 1}


def test_call_without_response_has_none(client: Client) -> None:
    assert client.get("/7/calls/4/response").json() == {"functionId": 7, "callId": 4}


def test_broken_records_arrive_as_they_are(serve: Serve) -> None:
    text = rb'{"id":1.5,"status":"Odd","startTime":-4,"error":"\ud83d"}'
    calls: list[bytes | dict[str, object]] = [text, {"status": "Failed"}]
    client = serve(ProjectData.of(functions=FUNCTIONS, calls={7: calls}))
    body = client.post("/7/calls/list", {"filter": {"startTime": {"min": 10}}}).content
    assert text in body
    assert b'{"status": "Failed"}' in body


# Functions, schedules and the rest


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({}, [7, 8, 9]),
        ({"limit": 2}, [7, 8]),
        ({"filter": {"name": "Eight"}}, [8]),
        ({"filter": {"owner": "me"}}, [7]),
        ({"filter": {"fileId": 99}}, [9]),
        ({"filter": {"status": "Ready"}}, [8]),
        ({"filter": {"externalIdPrefix": "se"}}, [7]),
        ({"filter": {"createdTime": {"min": 10, "max": 20}}}, [7, 8]),
        ({"filter": {"metadata": {"a": "b"}}}, [7]),
        ({"filter": {"metadata": {"a": "x"}}}, []),
    ],
)
def test_functions_are_listed_and_filtered(client: Client, body: Any, ids: list[int]) -> None:
    assert client.ids("/list", **body) == ids


def test_lists_of_functions_and_schedules_have_no_cursor(client: Client) -> None:
    assert client.post("/list", {"limit": 1}).json().keys() == {"items"}
    assert client.post("/schedules/list", {"limit": 1}).json().keys() == {"items"}
    assert client.post("/list", {"cursor": "x"}).status_code == 400


def test_one_function_is_not_wrapped(client: Client) -> None:
    assert client.get("/7").json() == FUNCTIONS[0]


def test_functions_are_found_by_id_and_external_id(client: Client) -> None:
    assert client.ids("/byids", items=[{"externalId": "eight"}, {"id": 7}]) == [8, 7]


def test_at_most_10_functions_are_looked_up(client: Client) -> None:
    assert client.post("/byids", {"items": [{"id": at} for at in range(1, 12)]}).status_code == 400


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({}, [71, 81]),
        ({"FunctionId": 7}, [71]),
        ({"functionId": 7}, [71]),
        ({"FunctionExternalId": "eight"}, [81]),
        ({"name": "t"}, [81]),
        ({"cronExpression": "* * * * *"}, [71]),
        ({"createdTime": {"max": 1}}, [71]),
    ],
)
def test_schedules_are_listed_and_filtered(client: Client, given: dict[str, Any], ids: list[int]) -> None:
    assert client.ids("/schedules/list", filter=given) == ids


def test_schedules_are_found_by_id(client: Client) -> None:
    assert client.ids("/schedules/byids", items=[{"id": 81}]) == [81]


def test_limits_tell_the_run_limit(client: Client) -> None:
    assert client.get("/limits").json()["timeoutMinutes"] == 10


def test_given_limits_are_served(serve: Serve) -> None:
    assert serve(ProjectData.of(functions=[], limits={"timeoutMinutes": 9})).get("/limits").json() == {
        "timeoutMinutes": 9
    }


def test_status_says_activated(client: Client) -> None:
    assert client.get("/status").json() == {"status": "activated"}


@pytest.mark.parametrize("path", ["/nonsense", "/7/nonsense", "/7/calls/abc"])
def test_unknown_path_is_404_in_json(client: Client, path: str) -> None:
    assert client.get(path).json()["error"]["code"] == 404


def test_wrong_method_is_405_in_json(client: Client) -> None:
    assert client.get("/list").json()["error"]["code"] == 405


# Who is let in


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}])
def test_token_is_insisted_on(client: Client, header: dict[str, str]) -> None:
    answer = requests.get(client.root + "/limits", headers=header, timeout=5)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 401)


def test_another_project_is_not_let_in(client: Client) -> None:
    answer = client.session.get(client.root.replace("/demo/", "/other/") + "/limits", timeout=5)
    assert answer.status_code == 401


def test_every_answer_has_a_request_id(client: Client) -> None:
    answers = [client.get("/limits"), client.get("/nonsense"), requests.get(client.root, timeout=5)]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 3


def test_token_is_random_and_not_shown(client: Client) -> None:
    other = Service(small_world())
    assert other.token != client.service.token
    assert client.service.token not in repr(client.service)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.com", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(ArgumentError, match="loopback"):
        Service(small_world(), host=host)


# Starting and stopping


def test_environment_tells_a_client_all_it_needs(client: Client) -> None:
    service = client.service
    assert service.environment() == {
        "CDF_URL": service.url,
        "CDF_PROJECT": "demo",
        "CDF_CLUSTER": "demo",
        "LOGIN_FLOW": "token",
        "CDF_TOKEN": service.token,
    }


def test_taken_port_is_a_clear_error(client: Client) -> None:
    port = int(client.service.url.rsplit(":", 1)[1])
    with pytest.raises(CallframeError, match=f"port {port}.*another port"):
        Service(small_world(), port=port).start()


def test_service_that_runs_does_not_start_again(client: Client) -> None:
    with pytest.raises(CallframeError, match="runs already"):
        client.service.start()


def test_service_that_was_not_started_has_no_url() -> None:
    with pytest.raises(CallframeError, match="not been started"):
        _ = Service(small_world()).url


def test_stopped_service_answers_no_more(client: Client) -> None:
    client.get("/limits")
    client.service.stop()
    with pytest.raises(requests.ConnectionError):
        client.get("/limits")


def test_stopped_service_leaves_no_thread(serve: Serve) -> None:
    before = set(threading.enumerate())
    client = serve(small_world())
    client.get("/limits")
    client.service.stop()
    client.service.stop()
    assert set(threading.enumerate()) <= before


def test_stopped_service_starts_again(client: Client) -> None:
    client.service.stop()
    with client.service as service:
        assert Client(service).get("/limits").ok


def test_stop_does_not_wait_for_slow_answers(serve: Serve) -> None:
    client = serve(small_world(), latency_s=60)
    asking = threading.Thread(target=client.get, args=("/limits",))
    asking.start()
    while client.service.most_at_once == 0:
        asking.join(0.005)
    client.service.stop()
    asking.join(5)
    assert not asking.is_alive()


def test_stop_does_not_wait_for_a_client_that_does_not_read(serve: Serve) -> None:
    before = set(threading.enumerate())
    client = serve(ProjectData.generate(calls=10_000, functions=1, end_time=END))
    function_id = client.service.world.functions[0]["id"]
    with client.get(f"/{function_id}/calls?limit=10000", stream=True) as answer:
        client.service.stop()
        assert answer.status_code == 200
    assert set(threading.enumerate()) <= before


def test_service_listens_on_ipv6_loopback_too(serve: Serve) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        client = serve(small_world(), host="::1")
    except CallframeError:
        pytest.skip("this machine has no IPv6 loopback")
    assert client.get("/limits").ok


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_forever_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    code = (
        "from callframe.sample.server import Service\n"
        "from callframe.sample.project_data import ProjectData\n"
        "service = Service(ProjectData.of(functions=[]))\n"
        "start = service.start\n"
        "service.start = lambda: (start(), print(service.url, flush=True))\n"
        "service.serve_forever()\n"
        "print('done', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"http://127.0.0.1:")
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"done\n", b"")


# Slowness and faults


def test_slow_answers_overlap(serve: Serve) -> None:
    client = serve(small_world(), latency_s=0.2)
    threads = [threading.Thread(target=Client(client.service).get, args=("/limits",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.service.most_at_once > 1


def test_requests_are_remembered(client: Client) -> None:
    client.post("/7/calls/list", {"limit": 1})
    client.get("/7/calls", params={"limit": 0})
    posted, got = client.service.requests
    assert (posted.method, posted.status, posted.body) == ("POST", 200, {"limit": 1})
    assert posted.path.endswith("/functions/7/calls/list")
    assert (got.method, got.status, got.query, got.body) == ("GET", 400, "limit=0", None)


def test_too_many_requests_say_when_to_come_back(serve: Serve) -> None:
    answer = serve(small_world(), faults=Faults(too_many=1)).get("/limits")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "0.05")


def test_retry_after_may_be_missing(serve: Serve) -> None:
    answer = serve(small_world(), faults=Faults(too_many=1, retry_after_s=None)).get("/limits")
    assert "Retry-After" not in answer.headers


def test_unavailable_service_says_503(serve: Serve) -> None:
    answer = serve(small_world(), faults=Faults(unavailable=1)).get("/limits")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, 503)


def test_gateway_answers_in_html(serve: Serve) -> None:
    answer = serve(small_world(), faults=Faults(html=1)).get("/limits")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert "Bad Gateway" in answer.text


def test_reset_connection_gives_no_answer(serve: Serve) -> None:
    client = serve(small_world(), faults=Faults(reset=1))
    with pytest.raises(requests.ConnectionError) as caught:
        client.get("/limits")
    assert "ConnectionResetError" in repr(caught.value)
    assert client.service.requests[0].status is None


def test_cut_body_is_shorter_than_announced(serve: Serve) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        serve(small_world(), faults=Faults(cut=1)).get("/limits")


def test_forbidden_function_says_which_capability_is_missing(serve: Serve) -> None:
    client = serve(small_world(), faults=Faults(forbidden=frozenset({7})))
    answer = client.post("/7/calls/list")
    assert (answer.status_code, client.post("/8/calls/list").status_code) == (403, 200)
    assert answer.json()["error"]["message"] == "Required capabilities functionsAcl:READ not present on token"


def test_shares_of_faults_are_kept_and_repeat_with_the_seed(serve: Serve) -> None:
    faults = Faults(too_many=0.2, unavailable=0.1, seed=3)
    first, second = (
        [client.get("/limits").status_code for _ in range(200)]
        for client in (serve(small_world(), faults=faults), serve(small_world(), faults=faults))
    )
    assert first == second
    assert 20 < first.count(429) < 60
    assert 5 < first.count(503) < 35


@pytest.mark.parametrize("shares", [{"reset": 1.5}, {"cut": -0.1}, {"html": 0.6, "reset": 0.6}])
def test_impossible_shares_are_refused(shares: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        Faults(**shares)


def test_expired_cursor_stays_expired_and_a_new_listing_goes_through(serve: Serve) -> None:
    client = serve(many(), faults=Faults(expire_cursors_after=2))
    cursor: dict[str, Any] = {}
    for status in (200, 200, 400, 400):
        answer = client.post("/7/calls/list", {"limit": 4} | cursor)
        assert answer.status_code == status
        cursor = {"cursor": answer.json().get("nextCursor", cursor.get("cursor"))}
    assert "cursor expired" in answer.json()["error"]["message"]
    assert sum(client.all_ids("/7/calls/list", limit=4), []) == list(range(25, 0, -1))  # noqa: RUF017


def test_repeated_cursor_never_ends(serve: Serve) -> None:
    client = serve(many(), faults=Faults(repeat_cursor=True))
    cursors: set[str] = set()
    cursor: dict[str, str] = {}
    for _ in range(10):
        cursor = {"cursor": client.post("/7/calls/list", {"limit": 10} | cursor).json()["nextCursor"]}
        cursors.add(cursor["cursor"])
    assert len(cursors) == 1


def test_short_pages_go_on_and_hold_every_call_once(serve: Serve) -> None:
    client = serve(many(), faults=Faults(short_pages=True))
    pages = client.all_ids("/7/calls/list", limit=3)
    assert sum(pages, []) == list(range(25, 0, -1))  # noqa: RUF017
    assert any(len(page) == 0 for page in pages)
    assert len({len(page) for page in pages}) > 1


def test_large_generated_function_is_read_completely(serve: Serve) -> None:
    world = ProjectData.generate(calls=60_000, functions=1, end_time=END)
    client = serve(world)
    pages = client.all_ids(f"/{world.functions[0]['id']}/calls/list", limit=10_000)
    assert [len(page) for page in pages] == [10_000] * 6
    assert len(set().union(*pages)) == 60_000
