"""Function apps: read beside functions where a service has them, and never in the way where it does not."""

from __future__ import annotations

import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import requests
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from services import (
    FakeServer,
    ReceivedRequest,
    Reply,
    ServedProject,
    client_of,
    error_reply,
    json_reply,
    serve_project,
)

import callframe as cf
from callframe.api import catalogue
from callframe.completeness import coverage, is_complete
from callframe.errors import IncompleteError, IncompleteWarning, NotFoundError, RecordWarning
from callframe.project import Project
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

APP, BOTH = 8, 9
FUNCTIONS = [function_record(), function_record(id=BOTH, externalId="both")]
APPS = [
    function_record(id=APP, externalId="energy app/1", name="Energy", functionType="app"),
    function_record(id=BOTH, externalId="both", functionType="app"),
    function_record(functionType="classic"),
]
SCHEDULES = [{"id": 5, "name": "hourly", "functionId": APP, "cronExpression": "0 * * * *", "createdTime": 1}]
CALLS = [
    call_record(id=1),
    call_record(id=2, functionId=APP, startTime=NOW_MS - 2 * DAY_MS, error="in plain words", status="Failed"),
    call_record(id=3, functionId=APP, scheduleId=5, scheduledTime=NOW_MS - DAY_MS, startTime=NOW_MS - DAY_MS),
    call_record(id=4, functionId=APP, startTime=NOW_MS - 30 * DAY_MS),
    call_record(id=5, functionId=BOTH),
]
RESPONSE = {"success": False, "statusCode": 500, "errorType": "ExecutionError", "message": "no"}


def project_data() -> ProjectData:
    logs = {(APP, 3): [{"timestamp": NOW_MS, "message": "GET /sums"}]}
    return ProjectData.from_records(
        functions=FUNCTIONS, apps=APPS, schedules=SCHEDULES, calls=CALLS, logs=logs, responses={(APP, 3): RESPONSE}
    )


@pytest.fixture(scope="module")
def served() -> Iterator[ServedProject]:
    with serve_project(project_data()) as served:
        yield served


@pytest.fixture
def project(served: ServedProject) -> Project:
    return served.project


def call_ids(calls: pd.DataFrame) -> list[int]:
    return sorted(calls["call_id"].tolist())


# The embedded service


def test_apps_are_listed_as_functions_of_another_family(project: Project) -> None:
    functions = project.functions().set_index("function")
    assert functions["family"].to_dict() == {"seven": "function", "energy app/1": "app", "both": "app"}
    assert functions.attrs["function_apps"] == "read"


def test_calls_of_apps_are_among_the_others(project: Project) -> None:
    calls = project.calls(strict=True)
    assert call_ids(calls) == [1, 2, 3, 5]
    assert calls.set_index("call_id")["function"].to_dict() == {
        1: "seven",
        2: "energy app/1",
        3: "energy app/1",
        5: "both",
    }
    assert calls["error_message"].dropna().tolist() == ["in plain words"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"start": "60d"}, [2, 3, 4]),
        ({"start": "36h"}, [3]),
        ({"end": "36h"}, [2]),
        ({"status": "Failed"}, [2]),
        ({"status": ["Failed", "Timeout"]}, [2]),
        ({"schedule": "hourly"}, [3]),
        ({"call_ids": [4, 2]}, [2, 4]),
        ({"call_ids": []}, []),
    ],
    ids=str,
)
def test_calls_of_an_app_are_selected_like_those_of_a_function(
    project: Project, arguments: dict[str, Any], expected: list[int]
) -> None:
    calls = project.calls("energy app/1", strict=True, **arguments)
    assert call_ids(calls) == expected
    assert coverage(calls)["set_aside"].sum() == 0


@pytest.mark.parametrize("name", [APP, "energy app/1", "Energy"])
def test_call_log_and_response_of_an_app_are_read(project: Project, name: str | int) -> None:
    assert project.call(name, 3)["schedule_id"].tolist() == [5]
    assert project.logs(name, 3)["message"].tolist() == ["GET /sums"]
    assert project.response(name, 3) == RESPONSE


def test_unknown_call_of_an_app_is_an_error(project: Project) -> None:
    with pytest.raises(NotFoundError, match=f"call 99 of function {APP}"):
        project.call("energy app/1", 99)


def test_function_that_is_listed_as_classic_too_is_asked_for_as_such(served: ServedProject) -> None:
    served.project.calls()
    assert not any("function-apps/seven" in request.path for request in served.service.requests)


def test_calls_that_are_listed_in_both_places_are_kept_once(served: ServedProject) -> None:
    before = len(served.service.requests)
    assert call_ids(served.project.calls("both")) == [5]
    paths = [request.path.rpartition("demo/")[2] for request in served.service.requests[before:]]
    assert {"function-apps/both/calls", "functions/9/calls/list"} <= set(paths)


def test_forbidden_app_is_incomplete() -> None:
    with (
        serve_project(project_data(), faults=Faults(forbidden=frozenset({APP}))) as served,
        pytest.warns(IncompleteWarning, match="1 of 3 functions could not .*\n  energy app/1: 403"),
    ):
        assert call_ids(served.project.calls()) == [1, 5]


def test_archive_keeps_calls_of_apps(served: ServedProject, tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "calls.delta")
    assert archive.sync(served.project).complete
    before = len(served.service.requests)
    assert archive.sync(served.project).new == 0
    listings = [request for request in served.service.requests[before:] if request.path.endswith("both/calls")]
    assert len(listings) == 1
    kept = archive.calls()
    assert call_ids(kept) == [1, 2, 3, 4, 5]
    assert kept["function"].value_counts().to_dict() == {"energy app/1": 3, "seven": 1, "both": 1}


@pytest.mark.parametrize("workers", [1, 5])
def test_apps_are_listed_in_one_more_request(workers: int) -> None:
    with serve_project(project_data(), workers=workers) as served:
        served.project.functions()
        paths = sorted(request.path.rpartition("demo/")[2] for request in served.service.requests)
    assert paths == ["function-apps", "functions/list"]


# Services that answer otherwise


def service_of(apps: Reply, calls: Reply | None = None, calls_of_functions: Reply | None = None) -> FakeServer:
    """Make a server of the function seven, with replies to requests for function apps and for their calls."""

    def respond(request: ReceivedRequest) -> Reply:
        if request.path.endswith("/function-apps"):
            return apps
        if "/function-apps/" in request.path:
            return calls or error_reply(404)
        if request.path.endswith("/functions/list"):
            return json_reply({"items": [function_record()]})
        return calls_of_functions or json_reply({"items": call_records(3)})

    return FakeServer(respond=respond, has_apps=True)


def app_requests(server: FakeServer) -> int:
    return sum(request.path.endswith("/function-apps") for request in server.requests)


@pytest.mark.parametrize("status", [400, 404, 405])
def test_service_without_apps_is_asked_once_and_the_functions_are_complete(status: int) -> None:
    server = service_of(error_reply(status))
    with client_of(server, workers=1) as client:
        project = Project(client, clock=lambda: NOW_MS / 1000)
        assert [len(project.calls(strict=True)) for _ in range(3)] == [3, 3, 3]
        assert f"not available: {status} from" in project.functions().attrs["function_apps"]
    assert app_requests(server) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_service_that_forbids_apps_is_asked_and_reported_once(status: int) -> None:
    server = service_of(error_reply(status))
    with client_of(server, workers=1) as client:
        project = Project(client, clock=lambda: NOW_MS / 1000)
        with pytest.warns(IncompleteWarning, match="Function apps, if there are any, are not read: 40"):
            assert len(project.calls(strict=True)) == 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(project.calls(strict=True)) == 3
    assert app_requests(server) == 1


@pytest.mark.parametrize(
    "reply", [error_reply(500), error_reply(503), Reply(body=b"<html>"), json_reply({"apps": []}), Reply(None)]
)
@pytest.mark.filterwarnings("ignore::callframe.errors.IncompleteWarning")
def test_service_that_fails_to_list_apps_gives_the_other_calls_as_incomplete(reply: Reply) -> None:
    with client_of(service_of(reply), workers=1) as client:
        project = Project(client, clock=lambda: NOW_MS / 1000)
        calls = project.calls()
        assert (len(calls), is_complete(calls)) == (3, False)
        assert "function apps could not be listed" in str(coverage(calls)["reason"].tolist())
        assert len(project.calls("seven", strict=True)) == 3


def test_apps_are_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "GRACE_S", 0.2)
    done, started_s = threading.Event(), time.monotonic()
    with client_of(service_of(Reply(wait_for=done))) as client:
        with pytest.warns(IncompleteWarning, match=r"no answer from /function-apps within 0.2 s"):
            assert len(Project(client).functions()) == 1
        done.set()
    assert time.monotonic() - started_s < 5


APP_LISTING = json_reply({"items": [APPS[0]]})


def fetch(server: FakeServer, *functions: str | int) -> pd.DataFrame:
    with client_of(server, workers=1) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordWarning)
        return Project(client, clock=lambda: NOW_MS / 1000).calls(*functions)


@pytest.mark.parametrize("function_id", [..., None, APP, 999, "8", [], 8.5], ids=str)
def test_calls_of_an_app_may_name_any_function_or_none(function_id: Any) -> None:
    listed = [call_record(id=1, functionId=function_id), call_record(id=2, functionId=function_id, endTime=...)]
    calls = fetch(service_of(APP_LISTING, json_reply({"items": listed})), "energy app/1")
    assert calls[["call_id", "function_id"]].to_numpy().tolist() == [[1, APP], [2, APP]]


def test_call_of_another_deployment_keeps_its_function_id() -> None:
    apps = [APPS[0], APPS[0] | {"id": 10, "createdTime": 5}]
    server = service_of(json_reply({"items": apps}), json_reply({"items": [call_record(functionId=10)]}))
    calls = fetch(server, "energy app/1")
    assert calls[["function_id", "function"]].to_numpy().tolist() == [[10, "energy app/1"]]


def test_next_page_of_the_calls_of_an_app_is_read() -> None:
    pages = {"": {"items": call_records(2), "nextCursor": "a b"}, "cursor=a+b": {"items": [call_record(id=5)]}}
    server = service_of(APP_LISTING)
    reply, server._respond = server._respond, None
    assert reply is not None

    def respond(request: ReceivedRequest) -> Reply:
        path, _, query = request.path.partition("?")
        return json_reply(pages[query]) if path.endswith("energy%20app%2F1/calls") else reply(request)

    server._respond = respond
    assert len(fetch(server, "energy app/1")) == 3


@pytest.mark.parametrize("count", [100, 1_000])
def test_listing_of_a_usual_length_without_a_cursor_may_be_cut(count: int) -> None:
    server = service_of(APP_LISTING, json_reply({"items": call_records(count, step_ms=1)}))
    with pytest.warns(IncompleteWarning, match="a usual limit, so there may be more"):
        calls = fetch(server, "energy app/1")
    assert (len(calls), is_complete(calls)) == (count, False)


def test_app_without_an_id_or_external_id_is_incomplete() -> None:
    listing = json_reply({"items": [APPS[0], {"id": 11, "name": "nameless"}, {"id": "12"}]})
    with pytest.warns(IncompleteWarning) as warned:
        calls = fetch(service_of(listing, json_reply({"items": []})))
    text = str(warned[-1].message)
    assert "nameless: it is a function app without an external id" in text
    assert "its record was left out: id: expected `int`" in text
    assert len(calls) == 3


@pytest.mark.parametrize("external_id", ["..", ".", "../functions/7", "a?b#c", "%2e%2e"])
def test_external_id_never_leads_to_another_path(external_id: str) -> None:
    server = service_of(json_reply({"items": [APPS[0] | {"externalId": external_id}]}), json_reply({"items": []}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        fetch(server)
    paths = {request.path.partition("demo/")[2].partition("/")[0] for request in server.requests}
    assert paths == {"functions", "function-apps"}
    assert not any(request.path.endswith("/projects/demo/calls") for request in server.requests)


def test_preview_version_is_requested_for_apps_only() -> None:
    server = service_of(APP_LISTING, json_reply({"items": []}))
    fetch(server, 7, "energy app/1")
    versions = {("function-apps" in request.path): request.headers["cdf-version"] for request in server.requests}
    assert versions == {True: "20230101-beta", False: "20230101"}


def test_log_of_an_app_that_only_functions_serve_is_read_there() -> None:
    server = service_of(APP_LISTING, None, json_reply({"items": [{"timestamp": 1, "message": "m"}]}))
    with client_of(server, workers=1) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert Project(client).logs("energy app/1", 3)["message"].tolist() == ["m"]


def test_strict_raises_if_apps_could_not_be_listed() -> None:
    with (
        client_of(service_of(error_reply(500))) as client,
        pytest.warns(IncompleteWarning, match="Calls of function apps are missing"),
        pytest.raises(IncompleteError, match="function apps could not be listed: 500"),
    ):
        Project(client, clock=lambda: NOW_MS / 1000).calls(strict=True)


def test_embedded_service_serves_apps_to_preview_versions_only(served: ServedProject) -> None:
    url = f"{served.client.target.api_url}/function-apps"
    headers = {"Authorization": f"Bearer {served.service.token}"}
    versions = [{}, {"cdf-version": "20230101"}, {"cdf-version": "20230101-alpha"}]
    statuses = [requests.get(url, headers=headers | version, timeout=10).status_code for version in versions]
    assert statuses == [404, 404, 200]
