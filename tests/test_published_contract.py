"""The published contract: it is strict, and what is exchanged in the tests is checked against it."""

from __future__ import annotations

import copy
import json
from typing import Any

import contract
import pytest
import requests
from contract import ContractCheck, problems_of_answer, problems_of_request
from factories import NOW, NOW_MS, PUBLISHED_RECORD, call_record, function_record
from services import TOKEN, serve_project

from callframe.sample.project_data import ProjectData

ROOT = "/api/v1/projects/demo"
HEADERS = {"cdf-version": "20230101", "authorization": f"Bearer {TOKEN}"}
CALLS = f"{ROOT}/functions/7/calls/list"
FUNCTION = function_record(fileId=1, status="Ready")
SCHEDULE = {"id": 1, "name": "s", "createdTime": 1, "cronExpression": "* * * * *", "when": "w", "functionId": 7}


def answer_problems(method: str, path: str, content: Any, status: int = 200) -> list[str]:
    return problems_of_answer(method, ROOT + path, status, json.dumps(content).encode())


def body_problems(path: str, body: Any) -> list[str]:
    return problems_of_request("POST", ROOT + path, "", HEADERS, json.dumps(body).encode())


def test_published_example_of_a_call_keeps_the_contract() -> None:
    assert answer_problems("GET", f"/functions/7/calls/{PUBLISHED_RECORD['id']}", PUBLISHED_RECORD) == []


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/functions/list", {"items": [FUNCTION]}),
        ("POST", "/functions/schedules/list", {"items": [SCHEDULE]}),
        ("POST", "/functions/7/calls/list", {"items": [call_record()], "nextCursor": "a"}),
        ("GET", "/function-apps/a%2Fb/calls", {"items": [call_record(error="text")]}),
        ("GET", "/functions/7/calls/1/logs", {"items": [{"timestamp": NOW_MS, "message": "m"}]}),
        ("GET", "/functions/7/calls/1/response", {"functionId": 7, "callId": 1, "response": {}}),
        ("GET", "/functions/limits", {"timeoutMinutes": 10, "runtimes": ["py311"]}),
    ],
)
def test_answers_are_checked_field_by_field(method: str, path: str, content: dict[str, Any]) -> None:
    assert answer_problems(method, path, content) == []
    record = content["items"][0] if "items" in content else content
    for name in list(record):
        changed = copy.deepcopy(content)
        (changed["items"][0] if "items" in content else changed)[name] = [1]
        assert answer_problems(method, path, changed), name
    assert answer_problems(method, path, {**content, "surprise": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 0}, {"id": 2**53}, {"id": "1"}, {"functionId": ...}, {"startTime": -1}, {"startTime": 0.5}, {"new": 1},
        {"error": {"trace": "t"}}, {"scheduleId": 5}, {"scheduledTime": 5}, {"endTime": None},
    ],
    ids=str,
)  # fmt: skip
def test_call_that_breaks_the_contract_is_found(changes: dict[str, Any]) -> None:
    assert answer_problems("POST", "/functions/7/calls/list", {"items": [call_record(), call_record(**changes)]})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/functions/list", {"limit": 0}),
        ("/functions/list", {"cursor": "a"}),
        ("/functions/7/calls/list", {"filter": {"startTime": {"min": -1}}}),
        ("/functions/7/calls/list", {"filter": {"status": "failed"}}),
        ("/functions/7/calls/list", {"filter": {"scheduleId": "5"}}),
        ("/functions/7/calls/byids", {"items": []}),
        ("/functions/7/calls/byids", {"items": [{"id": 1}, {"id": 1}]}),
        ("/functions/7/calls/byids", {"items": [{"id": number} for number in range(1, 10_002)]}),
        ("/functions/schedules/list", {"filter": {"functionId": 7}}),
        ("/functions/7/call", {}),
    ],
    ids=str,
)
def test_request_that_breaks_the_contract_is_found(path: str, body: Any) -> None:
    assert body_problems(path, body)


@pytest.mark.parametrize("headers", [{}, {"cdf-version": "20230101-beta"}, {"authorization": "Basic x"}], ids=str)
def test_version_and_token_are_required(headers: dict[str, str]) -> None:
    kept = HEADERS | headers if headers else {}
    assert problems_of_request("GET", f"{ROOT}/functions/limits", "", kept, b"")
    assert problems_of_request("GET", f"{ROOT}/functions/limits", "", HEADERS, b"") == []


@pytest.mark.parametrize("body", [{}, {"error": "text"}, {"error": {"code": 400, "message": "m"}}], ids=str)
def test_errors_are_checked_too(body: Any) -> None:
    assert answer_problems("POST", "/functions/list", body, status=404)


def test_only_what_a_test_handed_over_may_break_the_contract() -> None:
    check = ContractCheck()
    given = call_record(id=0)
    check.record_given(calls=[given])
    for item, is_found in ((given, False), (call_record(id=-1), True)):
        body = json.dumps({"items": [call_record(), item]}).encode()
        assert bool(problems_of_answer("POST", CALLS, 200, body, check.given)) is is_found


def test_all_that_callframe_reads_from_the_embedded_service_is_checked(contract_check: ContractCheck) -> None:
    before = contract_check.counts.copy()
    data = ProjectData.generate(calls=3_000, functions=20, end_time=NOW)
    with serve_project(data) as served:
        project, app = served.project, data.apps[0]["externalId"]
        calls = project.calls(start="30d")
        by_app = calls[calls["function"] == app]
        for row in (calls.iloc[0], by_app.iloc[0]):
            project.call(row["function_id"], row["call_id"])
            project.logs(row["function_id"], row["call_id"])
            project.response(row["function_id"], row["call_id"])
        project.schedules(), project.limits(), project.calls(call_ids=calls["call_id"].head(3))
        paths = {request.path for request in served.service.requests}
    endpoints = [contract.find_endpoint(method, path) for path in paths for method in ("GET", "POST")]
    assert len({endpoint.path for endpoint in endpoints if endpoint}) == 13
    assert contract_check.problems() == []
    assert contract_check.counts["answers"] - before["answers"] > 30
    assert contract_check.counts["requests"] - before["requests"] > 30


def test_check_of_the_suite_finds_an_answer_that_breaks_the_contract(contract_check: ContractCheck) -> None:
    data = ProjectData.generate(calls=50, functions=2, end_time=NOW)
    data._schedules.append({"id": "odd"})  # not handed over as a record of a test
    with serve_project(data) as served:
        url = f"{served.client.target.api_url}/functions/schedules/list"
        headers = {"Authorization": f"Bearer {served.service.token}"}
        requests.post(url, json={}, headers=headers, timeout=10)
        requests.post(url, json={"limit": -1}, headers=headers | {"x-cdp-app": "callframe"}, timeout=10)
    first, *others = contract_check.problems()
    assert "answer: items/" in first
    assert any("request: body: limit" in problem for problem in others)
