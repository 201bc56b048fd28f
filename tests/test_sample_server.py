"""The embedded service: every endpoint over HTTP, and every fault."""

from __future__ import annotations

import gc
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import pytest
import requests
from factories import NOW, call_record

from callframe.errors import ArgumentError, CallframeError
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Serve: TypeAlias = "Callable[..., Client]"


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
    call_record(id=1, startTime=1000, endTime=1500, scheduleId=71, scheduledTime=900),
    call_record(id=2, startTime=2000, endTime=2500, status="Failed", error={"message": "m"}),
    call_record(id=3, startTime=3000, endTime=3500, scheduleId=71, scheduledTime=2900),
    {"id": 4, "functionId": 7, "status": "Running", "startTime": 4000},
    call_record(id=5, startTime=5000, endTime=5500, status="Timeout"),
    call_record(id=6, functionId=8, startTime=1),
]


def small_data() -> ProjectData:
    return ProjectData.from_records(
        functions=FUNCTIONS,
        schedules=SCHEDULES,
        calls=CALLS,
        logs={(7, 1): [{"timestamp": 1001, "message": "hello"}]},
        responses={(7, 1): {"answer": 42}},
    )


class Client:
    """Sends requests with the token of a service."""

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
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json()["items"]]

    def all_ids(self, path: str, **body: Any) -> list[list[int]]:
        """Return the ids of each page of a listing."""
        pages: list[list[int]] = []
        cursor: dict[str, str] = {}
        while True:
            response = self.post(path, body | cursor).json()
            pages.append([item["id"] for item in response["items"]])
            if "nextCursor" not in response:
                return pages
            cursor = {"cursor": response["nextCursor"]}


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve(small_data())


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Client] = []

    def start(data: ProjectData, **arguments: Any) -> Client:
        service = Service(data, **arguments)
        service.start()
        client = Client(service)
        started.append(client)
        return client

    yield start
    for client in started:
        client.session.close()
        client.service.stop()


def many(count: int = 25) -> ProjectData:
    return ProjectData.from_records(
        functions=FUNCTIONS, calls=[call_record(id=at + 1, startTime=1000 + at // 3) for at in range(count)]
    )


# Reading calls


def test_single_call_is_the_whole_body(client: Client) -> None:
    assert client.get("/7/calls/1").json() == CALLS[0]


def test_unknown_call_is_404(client: Client) -> None:
    response = client.get("/7/calls/99")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == 404


def test_call_of_another_function_is_404(client: Client) -> None:
    assert client.get("/7/calls/6").status_code == 404


@pytest.mark.parametrize("path", ["/99/calls", "/99/calls/1", "/99", "/99/calls/1/logs", "/99/calls/1/response"])
def test_unknown_function_is_404(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_calls_are_listed_by_get(client: Client) -> None:
    response = client.get("/7/calls", params={"limit": 2}).json()
    rest = client.get("/7/calls", params={"limit": 10, "cursor": response["nextCursor"]}).json()
    assert [call["id"] for call in response["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    assert "nextCursor" not in rest


def test_calls_are_listed_by_post(client: Client) -> None:
    assert client.all_ids("/7/calls/list", limit=2) == [[5, 4], [3, 2], [1]]


def test_listing_without_limit_returns_100(serve: Serve) -> None:
    assert len(serve(many(150)).ids("/7/calls/list")) == 100


def test_function_without_calls_has_an_empty_listing(client: Client) -> None:
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
def test_filters_apply_and_ranges_include_both_ends(client: Client, given: dict[str, Any], ids: list[int]) -> None:
    assert client.ids("/7/calls/list", filter=given) == ids


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 24, 25, 26])
def test_pages_of_any_size_contain_every_call_once(serve: Serve, limit: int) -> None:
    pages = serve(many()).all_ids("/7/calls/list", limit=limit)
    assert sum(pages, []) == list(range(25, 0, -1))  # noqa: RUF017
    assert all(len(page) == limit for page in pages[:-1])


def test_filtered_listing_has_pages_too(serve: Serve) -> None:
    pages = serve(many()).all_ids("/7/calls/list", limit=4, filter={"startTime": {"min": 1002, "max": 1005}})
    assert [len(page) for page in pages] == [4, 4, 4]


def test_page_cap_limits_every_page(serve: Serve) -> None:
    assert [len(page) for page in serve(many(), page_cap=10).all_ids("/7/calls/list", limit=1000)] == [10, 10, 5]


def test_listing_continues_correctly_while_calls_are_added(serve: Serve) -> None:
    data = many()
    client = serve(data)
    first = client.post("/7/calls/list", {"limit": 10}).json()
    for at in range(100, 120):
        data.add_call(call_record(id=at, startTime=9000))
    second = client.ids("/7/calls/list", limit=100, cursor=first["nextCursor"])
    assert [call["id"] for call in first["items"]] + second == list(range(25, 0, -1))


def test_running_call_can_complete(client: Client) -> None:
    assert client.get("/7/calls/4").json()["status"] == "Running"
    client.service.data.replace_call(call_record(id=4, startTime=4000, endTime=4500))
    assert client.get("/7/calls/4").json()["status"] == "Completed"


def test_removed_function_is_404(client: Client) -> None:
    client.service.data.remove_function(7)
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
def test_invalid_request_is_400(client: Client, body: Any) -> None:
    response = client.post("/7/calls/list", body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_limit_of_0_is_400_with_get_too(client: Client) -> None:
    assert client.get("/7/calls", params={"limit": 0}).status_code == 400


def test_cursor_of_another_request_is_400(client: Client) -> None:
    cursor = client.post("/7/calls/list", {"limit": 1}).json()["nextCursor"]
    assert client.post("/7/calls/list", {"cursor": cursor, "filter": {"status": "Failed"}}).status_code == 400


def test_body_that_is_not_json_is_400(client: Client) -> None:
    response = client.session.post(client.root + "/list", data=b"{", timeout=5)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "Request body is not valid JSON"


def test_compressed_body_is_accepted(client: Client) -> None:
    body = gzip.compress(json.dumps({"limit": 1}).encode())
    response = client.session.post(
        client.root + "/7/calls/list", data=body, headers={"Content-Encoding": "gzip"}, timeout=5
    )
    assert len(response.json()["items"]) == 1


def test_calls_by_ids_have_the_requested_order(client: Client) -> None:
    assert client.ids("/7/calls/byids", items=[{"id": 3}, {"id": 1}]) == [3, 1]


def test_missing_ids_are_listed(client: Client) -> None:
    response = client.post("/7/calls/byids", {"items": [{"id": 1}, {"id": 77}]})
    assert (response.status_code, response.json()["error"]["missing"]) == (400, [{"id": 77}])


def test_missing_ids_are_ignored_on_request(client: Client) -> None:
    assert client.ids("/7/calls/byids", items=[{"id": 1}, {"id": 77}], ignoreUnknownIds=True) == [1]


def test_duplicated_ids_are_listed(client: Client) -> None:
    response = client.post("/7/calls/byids", {"items": [{"id": 1}, {"id": 1}, {"id": 2}]})
    assert (response.status_code, response.json()["error"]["duplicated"]) == (400, [{"id": 1}])


@pytest.mark.parametrize("items", [[], None, "1", [1], [{"id": "1"}], [{"id": 0}], [{"externalId": "x"}]])
def test_items_that_are_not_ids_are_400(client: Client, items: Any) -> None:
    assert client.post("/7/calls/byids", {"items": items}).status_code == 400


def test_10_000_ids_are_allowed_and_one_more_is_not(serve: Serve) -> None:
    client = serve(many(10_001))
    items = [{"id": at} for at in range(1, 10_002)]
    assert len(client.ids("/7/calls/byids", items=items[:-1])) == 10_000
    assert client.post("/7/calls/byids", {"items": items}).status_code == 400


def test_logs_are_lines_with_times(client: Client) -> None:
    assert client.get("/7/calls/1/logs").json() == {"items": [{"timestamp": 1001, "message": "hello"}]}
    assert client.get("/7/calls/2/logs").json() == {"items": []}


def test_response_of_a_call_has_its_ids(client: Client) -> None:
    assert client.get("/7/calls/1/response").json() == {"response": {"answer": 42}, "functionId": 7, "callId": 1}


def test_call_without_response_has_none(client: Client) -> None:
    assert client.get("/7/calls/4/response").json() == {"functionId": 7, "callId": 4}


def test_invalid_records_are_sent_unchanged(serve: Serve) -> None:
    text = rb'{"id":1.5,"status":"Odd","startTime":-4,"error":"\ud83d"}'
    calls: list[bytes | dict[str, object]] = [text, {"status": "Failed"}]
    client = serve(ProjectData.from_records(functions=FUNCTIONS, calls={7: calls}))
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


def test_single_function_is_the_whole_body(client: Client) -> None:
    assert client.get("/7").json() == FUNCTIONS[0]


def test_functions_are_found_by_id_and_external_id(client: Client) -> None:
    assert client.ids("/byids", items=[{"externalId": "eight"}, {"id": 7}]) == [8, 7]


def test_more_than_10_functions_by_ids_are_400(client: Client) -> None:
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


def test_limits_contain_the_run_limit(client: Client) -> None:
    assert client.get("/limits").json()["timeoutMinutes"] == 10


def test_given_limits_are_served(serve: Serve) -> None:
    assert serve(ProjectData.from_records(functions=[], limits={"timeoutMinutes": 9})).get("/limits").json() == {
        "timeoutMinutes": 9
    }


def test_status_says_activated(client: Client) -> None:
    assert client.get("/status").json() == {"status": "activated"}


@pytest.mark.parametrize("path", ["/nonsense", "/7/nonsense", "/7/calls/abc"])
def test_unknown_path_is_404_in_json(client: Client, path: str) -> None:
    assert client.get(path).json()["error"]["code"] == 404


def test_wrong_method_is_405_in_json(client: Client) -> None:
    assert client.get("/list").json()["error"]["code"] == 405


# Authentication


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}])
def test_requests_without_the_token_are_401(client: Client, header: dict[str, str]) -> None:
    response = requests.get(client.root + "/limits", headers=header, timeout=5)
    assert (response.status_code, response.json()["error"]["code"]) == (401, 401)


def test_another_project_is_401(client: Client) -> None:
    response = client.session.get(client.root.replace("/demo/", "/other/") + "/limits", timeout=5)
    assert response.status_code == 401


def test_every_response_has_a_request_id(client: Client) -> None:
    responses = [client.get("/limits"), client.get("/nonsense"), requests.get(client.root, timeout=5)]
    assert len({response.headers["X-Request-ID"] for response in responses}) == 3


def test_token_is_random_and_not_in_the_repr(client: Client) -> None:
    other = Service(small_data())
    assert other.token != client.service.token
    assert client.service.token not in repr(client.service)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.com", ""])
def test_only_loopback_addresses_are_accepted(host: str) -> None:
    with pytest.raises(ArgumentError, match="loopback"):
        Service(small_data(), host=host)


# Starting and stopping


def test_environment_connects_a_client(client: Client) -> None:
    service = client.service
    assert service.environment() == {
        "CDF_URL": service.url,
        "CDF_PROJECT": "demo",
        "CDF_CLUSTER": "demo",
        "LOGIN_FLOW": "token",
        "CDF_TOKEN": service.token,
    }


def test_port_in_use_is_a_clear_error(client: Client) -> None:
    port = int(client.service.url.rsplit(":", 1)[1])
    with pytest.raises(CallframeError, match=f"port {port}.*another port"):
        Service(small_data(), port=port).start()


def test_running_service_cannot_be_started_again(client: Client) -> None:
    with pytest.raises(CallframeError, match="already running"):
        client.service.start()


def test_service_has_no_url_before_it_is_started() -> None:
    with pytest.raises(CallframeError, match="not been started"):
        _ = Service(small_data()).url


def test_stopped_service_does_not_respond(client: Client) -> None:
    client.get("/limits")
    client.service.stop()
    with pytest.raises(requests.ConnectionError):
        client.get("/limits")


def test_stopped_service_leaves_no_thread(serve: Serve) -> None:
    before = set(threading.enumerate())
    client = serve(small_data())
    client.get("/limits")
    client.service.stop()
    client.service.stop()
    assert set(threading.enumerate()) <= before


def test_stopped_service_can_be_started_again(client: Client) -> None:
    client.service.stop()
    with client.service as service:
        assert Client(service).get("/limits").ok


def test_stop_does_not_wait_for_slow_responses(serve: Serve) -> None:
    client = serve(small_data(), latency_s=60)
    thread = threading.Thread(target=client.get, args=("/limits",))
    thread.start()
    while client.service.max_concurrent_requests == 0:
        thread.join(0.005)
    client.service.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_stop_does_not_wait_for_a_client_that_does_not_read(serve: Serve) -> None:
    before = set(threading.enumerate())
    client = serve(ProjectData.generate(calls=10_000, functions=1, end_time=NOW))
    function_id = client.service.data.functions[0]["id"]
    with client.get(f"/{function_id}/calls?limit=10000", stream=True) as response:
        client.service.stop()
        assert response.status_code == 200
    assert set(threading.enumerate()) <= before


def test_stop_closes_connections_that_were_just_accepted() -> None:
    for _ in range(10):
        service = Service(small_data())
        service.start()
        address = urlsplit(service.url)
        clients = [socket.create_connection((address.hostname, address.port)) for _ in range(20)]
        service.stop()
        for client in clients:
            client.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    assert [warning for warning in caught if "unclosed" in str(warning.message)] == []


def test_service_listens_on_ipv6_loopback_too(serve: Serve) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        client = serve(small_data(), host="::1")
    except CallframeError:
        pytest.skip("this machine has no IPv6 loopback")
    assert client.get("/limits").ok


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_forever_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    code = (
        "from callframe.sample.server import Service\n"
        "from callframe.sample.project_data import ProjectData\n"
        "service = Service(ProjectData.from_records(functions=[]))\n"
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


# Latency and faults


def test_delayed_responses_overlap(serve: Serve) -> None:
    client = serve(small_data(), latency_s=0.2)
    threads = [threading.Thread(target=Client(client.service).get, args=("/limits",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.service.max_concurrent_requests > 1


def test_requests_are_recorded(client: Client) -> None:
    client.post("/7/calls/list", {"limit": 1})
    client.get("/7/calls", params={"limit": 0})
    posted, got = client.service.requests
    assert (posted.method, posted.status, posted.body) == ("POST", 200, {"limit": 1})
    assert posted.path.endswith("/functions/7/calls/list")
    assert (got.method, got.status, got.query, got.body) == ("GET", 400, "limit=0", None)


def test_throttled_response_has_retry_after(serve: Serve) -> None:
    response = serve(small_data(), faults=Faults(throttled=1)).get("/limits")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "0.05")


def test_retry_after_can_be_omitted(serve: Serve) -> None:
    response = serve(small_data(), faults=Faults(throttled=1, retry_after_s=None)).get("/limits")
    assert "Retry-After" not in response.headers


def test_unavailable_service_is_503(serve: Serve) -> None:
    response = serve(small_data(), faults=Faults(unavailable=1)).get("/limits")
    assert (response.status_code, response.json()["error"]["code"]) == (503, 503)


def test_bad_gateway_is_html(serve: Serve) -> None:
    response = serve(small_data(), faults=Faults(bad_gateway=1)).get("/limits")
    assert (response.status_code, response.headers["Content-Type"]) == (502, "text/html")
    assert "Bad Gateway" in response.text


def test_reset_connection_has_no_response(serve: Serve) -> None:
    client = serve(small_data(), faults=Faults(reset=1))
    with pytest.raises(requests.ConnectionError) as caught:
        client.get("/limits")
    assert "ConnectionResetError" in repr(caught.value)
    assert client.service.requests[0].status is None


def test_truncated_body_is_shorter_than_its_content_length(serve: Serve) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        serve(small_data(), faults=Faults(truncated=1)).get("/limits")


def test_forbidden_function_is_403_with_the_missing_capability(serve: Serve) -> None:
    client = serve(small_data(), faults=Faults(forbidden=frozenset({7})))
    response = client.post("/7/calls/list")
    assert (response.status_code, client.post("/8/calls/list").status_code) == (403, 200)
    assert response.json()["error"]["message"] == "Required capabilities functionsAcl:READ not present on token"


def test_faults_follow_their_shares_and_seed(serve: Serve) -> None:
    faults = Faults(throttled=0.2, unavailable=0.1, seed=3)
    first, second = (
        [client.get("/limits").status_code for _ in range(200)]
        for client in (serve(small_data(), faults=faults), serve(small_data(), faults=faults))
    )
    assert first == second
    assert 20 < first.count(429) < 60
    assert 5 < first.count(503) < 35


@pytest.mark.parametrize("shares", [{"reset": 1.5}, {"truncated": -0.1}, {"bad_gateway": 0.6, "reset": 0.6}])
def test_invalid_shares_are_rejected(shares: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        Faults(**shares)


def test_expired_cursor_stays_expired_and_a_new_listing_succeeds(serve: Serve) -> None:
    client = serve(many(), faults=Faults(expire_cursors_after=2))
    cursor: dict[str, Any] = {}
    for status in (200, 200, 400, 400):
        response = client.post("/7/calls/list", {"limit": 4} | cursor)
        assert response.status_code == status
        cursor = {"cursor": response.json().get("nextCursor", cursor.get("cursor"))}
    assert "cursor expired" in response.json()["error"]["message"]
    assert sum(client.all_ids("/7/calls/list", limit=4), []) == list(range(25, 0, -1))  # noqa: RUF017


def test_repeated_cursor_makes_a_listing_endless(serve: Serve) -> None:
    client = serve(many(), faults=Faults(repeat_cursor=True))
    cursors: set[str] = set()
    cursor: dict[str, str] = {}
    for _ in range(10):
        cursor = {"cursor": client.post("/7/calls/list", {"limit": 10} | cursor).json()["nextCursor"]}
        cursors.add(cursor["cursor"])
    assert len(cursors) == 1


def test_short_pages_contain_every_call_once(serve: Serve) -> None:
    client = serve(many(), faults=Faults(short_pages=True))
    pages = client.all_ids("/7/calls/list", limit=3)
    assert sum(pages, []) == list(range(25, 0, -1))  # noqa: RUF017
    assert any(len(page) == 0 for page in pages)
    assert len({len(page) for page in pages}) > 1


def test_large_sample_function_is_listed_completely(serve: Serve) -> None:
    data = ProjectData.generate(calls=60_000, functions=1, end_time=NOW)
    client = serve(data)
    pages = client.all_ids(f"/{data.functions[0]['id']}/calls/list", limit=10_000)
    assert [len(page) for page in pages] == [10_000] * 6
    assert len(set().union(*pages)) == 60_000
