"""Responses and logs of many calls: everything is read, or what was not is reported."""

from __future__ import annotations

import json
import logging
import re
import signal
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import NOW_MS, call_frame, call_record, function_record, make_call
from services import TOKEN, FakeServer, ReceivedRequest, Reply, client_of, error_reply, json_reply, serve_project

import callframe as cf
from callframe import frame
from callframe.completeness import coverage, is_complete
from callframe.errors import ArgumentError, FrameError, IncompleteError, IncompleteWarning, RecordWarning
from callframe.http.retry import Retry
from callframe.project import Project
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ONE_TRY = Retry(status=0, connect=0)


def completed(count: int, **changes: Any) -> pd.DataFrame:
    return call_frame(*(make_call(id=number, **changes) for number in range(1, count + 1)))


@contextmanager
def answering(respond: Callable[[int, str], Reply], **options: Any) -> Iterator[tuple[Project, FakeServer]]:
    """Serve the response and the log of each call by `respond(call_id, "response" or "logs")`."""

    def reply(request: ReceivedRequest) -> Reply:
        match = re.search(r"/calls/(\d+)/(response|logs)$", request.path)
        return respond(int(match[1]), match[2]) if match else json_reply({"items": []})

    fake = FakeServer(respond=reply)
    with client_of(fake, **{"retry": ONE_TRY} | options) as client:
        yield Project(client, clock=lambda: NOW_MS / 1000), fake


def outputs(fake: FakeServer) -> list[str]:
    """List the requests for responses and logs."""
    return [request.path for request in fake.requests if "/calls/" in request.path]


def response_of(value: Any) -> Reply:
    return json_reply({"response": value, "functionId": 7, "callId": 1})


def log_of(*messages: str, **more: Any) -> Reply:
    return json_reply(
        {"items": [{"timestamp": NOW_MS + k, "message": text} for k, text in enumerate(messages)], **more}
    )


# Responses


def test_every_call_has_a_row_in_the_order_of_the_frame() -> None:
    calls = completed(20).iloc[::-1]
    with answering(lambda call_id, _: response_of({"n": call_id})) as (project, _):
        responses = project.responses(calls)
    assert responses["call_id"].tolist() == calls["call_id"].tolist()
    assert [json.loads(text) for text in responses["response"]] == [{"n": number} for number in range(20, 0, -1)]
    assert responses["response_error"].isna().all()
    assert is_complete(responses)


def test_responses_have_their_dtypes_with_and_without_rows() -> None:
    expected = ["int64", "int64", "category", "str", "str", "str"]
    with answering(lambda *_: response_of(1)) as (project, _):
        for calls in (completed(2), completed(0), completed(2, status="Failed")):
            assert [str(dtype) for dtype in project.responses(calls).dtypes] == expected


@pytest.mark.parametrize(
    "value", [None, [], "text", 0, False, [1, {"a": None}], "\x1b[31m", {"deep": [[[[1]]]]}, 2**70]
)
def test_response_of_any_type_is_kept_as_json(value: Any) -> None:
    with answering(lambda *_: response_of(value)) as (project, _):
        assert json.loads(project.responses(completed(1))["response"].iloc[0]) == value


def test_text_of_a_response_has_no_control_characters() -> None:
    value = {"a\u202eb": "\x1b[31m \x7f \x9b2J \u2066 \r\n é"}
    with answering(lambda *_: response_of(value)) as (project, _):
        [text] = project.responses(completed(1))["response"]
    assert text.isprintable()
    assert json.loads(text) == value


def test_call_that_returned_nothing_has_null() -> None:
    with answering(lambda *_: json_reply({"functionId": 7, "callId": 1})) as (project, _):
        assert project.responses(completed(1))["response"].tolist() == ["null"]


@pytest.mark.parametrize("status", ["Running", "Failed", "Timeout"])
def test_call_that_has_no_response_is_not_asked_for(status: str) -> None:
    with answering(lambda *_: response_of(1)) as (project, fake):
        responses = project.responses(completed(2, status=status))
    assert outputs(fake) == []
    assert responses[["response", "response_error"]].isna().all(axis=None)
    assert is_complete(responses)


def test_repeated_call_is_read_once() -> None:
    calls = pd.concat([completed(1), completed(1)]).astype({"function": "category", "status": "category"})
    with answering(lambda *_: response_of(1)) as (project, fake):
        assert len(project.responses(calls)) == len(outputs(fake)) == 1


@pytest.mark.parametrize(
    ("data", "response", "route"),
    [
        ({"path": "/pumps/7?key=secret", "method": "get"}, {}, "GET /pumps/7"),
        ({"path": "/pumps"}, {"path": "/other"}, "/pumps"),
        (None, {"path": "/pumps", "method": "POST", "success": False}, "POST /pumps"),
        (None, {"path": "data/file.csv"}, None),
        ({"path": 5}, "text", None),
        (None, None, None),
    ],
)
def test_route_is_that_of_the_request(data: Any, response: Any, route: str | None) -> None:
    with answering(lambda *_: json_reply({"response": response, "data": data})) as (project, _):
        found = project.responses(completed(1))["route"].iloc[0]
    assert found == route or (route is None and pd.isna(found))


# What cannot be read


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_response_that_cannot_be_read_is_reported_and_the_others_are_kept(status: int) -> None:
    def respond(call_id: int, _: str) -> Reply:
        return error_reply(status, "not this one") if call_id % 4 == 0 else response_of(call_id)

    with answering(respond, workers=1) as (project, _), pytest.warns(IncompleteWarning, match="2 of 8 responses"):
        responses = project.responses(completed(8))
    unread = responses["call_id"] % 4 == 0
    assert responses["response"].isna().equals(unread)
    assert responses["response_error"].notna().equals(unread)
    assert responses["response_error"][unread].str.contains(str(status)).all()
    assert coverage(responses)["calls"].tolist() == [6]
    assert not is_complete(responses)


def test_strict_raises_with_what_was_read() -> None:
    with (
        answering(lambda call_id, _: error_reply(404) if call_id == 2 else response_of(1)) as (project, _),
        pytest.raises(IncompleteError, match="1 of 3 responses") as error,
    ):
        project.responses(completed(3), strict=True)
    assert error.value.calls["response"].notna().tolist() == [True, False, True]


@pytest.mark.parametrize("status", [401, 403, 503])
def test_function_that_refuses_everything_is_not_asked_for_every_call(status: int) -> None:
    with (
        answering(lambda *_: error_reply(status), workers=1) as (project, fake),
        pytest.warns(IncompleteWarning, match=f"200 of 200 responses could not be read, .*{status}"),
    ):
        project.responses(completed(200))
    assert len(outputs(fake)) < 10


def test_other_functions_are_read_although_one_is_forbidden() -> None:
    records = [call_record(id=10 * k + n, functionId=k) for k in (7, 8) for n in range(1, 9)]
    functions = [function_record(id=7), function_record(id=8, externalId="b")]
    data = ProjectData.from_records(functions=functions, calls=records)
    calls = call_frame(*(make_call(id=record["id"], function_id=record["functionId"]) for record in records))
    with (
        serve_project(data, faults=Faults(forbidden=frozenset({7}))) as served,
        pytest.warns(IncompleteWarning, match="1 of 2 functions"),
    ):
        responses = served.project.responses(calls)
    assert responses.groupby("function_id")["response"].count().to_dict() == {7: 0, 8: 8}


def test_one_call_without_a_response_does_not_stop_its_function() -> None:
    with (
        answering(lambda call_id, _: error_reply(404) if call_id <= 50 else response_of(1), workers=1) as (project, _),
        pytest.warns(IncompleteWarning, match="50 of 60"),
    ):
        assert project.responses(completed(60))["response"].count() == 10


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"response": ', b"\xff"])
def test_answer_that_is_not_json_is_reported(body: bytes) -> None:
    with (
        answering(lambda *_: Reply(200, body)) as (project, _),
        pytest.warns(IncompleteWarning, match="cannot be read"),
    ):
        assert project.responses(completed(1))["response"].isna().all()


def test_large_response_is_kept_or_reported() -> None:
    with answering(lambda *_: response_of("x" * 50_000_000)) as (project, _), warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        [row] = project.responses(completed(1)).to_dict("records")
    assert len(row["response"]) > 50_000_000 if pd.isna(row["response_error"]) else pd.isna(row["response"])


@pytest.mark.parametrize("depth", [500, 900, 990, 5_000, 100_000])
def test_deeply_nested_response_is_kept_or_reported(depth: int) -> None:
    body = b'{"response": ' + b"[" * depth + b"]" * depth + b"}"
    with answering(lambda *_: Reply(200, body)) as (project, _), warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        [row] = project.responses(completed(1)).to_dict("records")
    assert pd.isna(row["response"]) != pd.isna(row["response_error"])


def test_token_in_an_answer_is_neither_shown_nor_logged(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        answering(lambda *_: error_reply(500, f"bad {TOKEN}")) as (project, _),
        pytest.warns(IncompleteWarning) as caught,
    ):
        responses = project.responses(completed(1))
    assert TOKEN not in caplog.text + str(caught[0].message) + responses["response_error"].iloc[0]


def test_content_of_responses_and_logs_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def respond(_: int, what: str) -> Reply:
        return log_of("password=hunter2") if what == "logs" else response_of({"password": "hunter2"})

    with caplog.at_level(logging.DEBUG), answering(respond) as (project, _):
        project.responses(completed(3))
        project.logs(completed(3))
    assert "hunter2" not in caplog.text


# Stopping


def test_stop_ends_the_reading_and_keeps_what_was_read() -> None:
    stop = threading.Event()

    def respond(call_id: int, _: str) -> Reply:
        if call_id == 30:
            stop.set()
        return response_of(call_id)

    with answering(respond, workers=2) as (project, _), pytest.warns(IncompleteWarning, match="interrupted"):
        responses = project.responses(completed(1000), stop=stop)
    assert 20 < responses["response"].count() < 100
    assert (responses["response"].isna() == responses["response_error"].notna()).all()


def test_ctrl_c_ends_the_reading_within_a_second_although_the_service_hangs() -> None:
    hang = threading.Event()

    def respond(call_id: int, _: str) -> Reply:
        if call_id <= 10:
            return response_of(call_id)
        if call_id == 11:
            signal.raise_signal(signal.SIGINT)
        return Reply(wait_for=hang)

    with answering(respond, workers=2) as (project, _):
        started = time.monotonic()
        with pytest.warns(IncompleteWarning, match="interrupted"):
            responses = project.responses(completed(100))
        took = time.monotonic() - started
        hang.set()
    assert 8 <= responses["response"].count() <= 10  # two workers may have been about to pass theirs on
    assert took < 2


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def respond(call_id: int, _: str) -> Reply:
        time.sleep(0.05)
        return response_of(call_id)

    with answering(respond, workers=1) as (project, _):
        project.responses(completed(30), progress=True)
    assert "responses" in (shown := capsys.readouterr().err)
    assert "30 of 30" in shown


# Logs


def test_logs_have_a_row_per_line_in_the_order_of_the_calls() -> None:
    with answering(lambda call_id, _: log_of(*(["a", "b"] * (call_id != 2)))) as (project, _):
        log = project.logs(completed(3))
    assert log["call_id"].tolist() == [1, 1, 3, 3]
    assert log["message"].tolist() == ["a", "b"] * 2
    assert log["timestamp"].iloc[1] == pd.Timestamp(NOW_MS + 1, unit="ms", tz="UTC")
    assert is_complete(log)


@pytest.mark.parametrize("count", [0, 1])
def test_logs_have_their_dtypes(count: int) -> None:
    with answering(lambda *_: log_of("a")) as (project, _):
        log = project.logs(completed(count))
    assert [str(dtype) for dtype in log.dtypes] == ["int64", "int64", "category", "datetime64[ms, UTC]", "str"]


def test_calls_of_every_status_have_logs() -> None:
    calls = call_frame(*(make_call(id=1 + k, status=status) for k, status in enumerate(frame.STATUSES)))
    with answering(lambda *_: log_of("a")) as (project, _):
        assert len(project.logs(calls)) == 4


def test_lines_that_contain_a_text_are_found_in_any_case() -> None:
    lines = ("Starting", "Read TIMEOUT", "a timeout", "done (50 %)", "")
    with answering(lambda *_: log_of(*lines)) as (project, _):
        found = {text: project.logs(completed(1), contains=text)["message"].tolist() for text in ("timeout", "(50 %")}
    assert found == {"timeout": ["Read TIMEOUT", "a timeout"], "(50 %": ["done (50 %)"]}


def test_lines_of_one_call_are_found_too() -> None:
    record = call_record(id=1, startTime=NOW_MS - 1000)
    logs = {(7, 1): [{"timestamp": 1, "message": "a"}, {"timestamp": 2, "message": "b"}]}
    with serve_project(ProjectData.from_records(functions=[function_record()], calls=[record], logs=logs)) as served:
        assert served.project.logs(7, 1, contains="B")["message"].tolist() == ["b"]


def test_log_of_which_a_part_arrived_is_reported_and_kept() -> None:
    with (
        answering(lambda *_: log_of("a", nextCursor="more")) as (project, _),
        pytest.warns(IncompleteWarning, match="only a part"),
    ):
        assert project.logs(completed(1))["message"].tolist() == ["a"]


def test_invalid_lines_are_counted() -> None:
    reply = json_reply({"items": [{"timestamp": "soon", "message": "a"}, {"timestamp": 1, "message": "b"}]})
    with answering(lambda *_: reply) as (project, _), pytest.warns(RecordWarning, match="1 records"):
        log = project.logs(completed(1))
    assert log["message"].tolist() == ["b"]
    assert coverage(log)["set_aside"].tolist() == [1]


def test_log_that_cannot_be_read_is_reported() -> None:
    with (
        answering(lambda call_id, _: error_reply(404) if call_id == 1 else log_of("a")) as (project, _),
        pytest.warns(IncompleteWarning, match="1 of 2 logs"),
    ):
        assert len(project.logs(completed(2))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((completed(1), 5), "with a call frame"), (("ingest-sap",), "takes a call frame, or"), ((7,), "a call frame, or")],
)
def test_wrong_arguments_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with answering(lambda *_: log_of()) as (project, fake), pytest.raises(ArgumentError, match=message):
        project.logs(*arguments)
    assert fake.requests == []


def test_frame_that_is_not_a_call_frame_is_refused() -> None:
    with answering(lambda *_: log_of()) as (project, _), pytest.raises(FrameError):
        project.responses(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("method", ["responses", "logs"])
def test_input_is_not_changed(method: str) -> None:
    calls = completed(3)
    before, attrs = calls.copy(deep=True), dict(calls.attrs)
    replies: Mapping[str, Reply] = {"response": response_of({"error": "x"}), "logs": log_of("a")}
    with answering(lambda _, what: replies[what]) as (project, _):
        getattr(project, method)(calls)
    pd.testing.assert_frame_equal(calls, before)
    assert calls.attrs == attrs


def test_sample_project_is_read_under_faults() -> None:
    with cf.demo(calls=300) as project:
        calls = project.calls(start="14d").head(60)
        responses, log = project.responses(calls), project.logs(calls)
    assert is_complete(responses)
    assert is_complete(log)
    assert set(log["call_id"]) == set(calls["call_id"])


def test_responses_of_a_function_app_are_asked_for_there() -> None:
    def reply(request: ReceivedRequest) -> Reply:
        if request.path.endswith("/function-apps"):
            return json_reply({"items": [{"id": 9, "externalId": "pumps", "functionType": "app"}]})
        if request.path.endswith("/function-apps/pumps/calls/1/response"):
            return json_reply(
                {"response": {"success": False, "statusCode": 500}, "data": {"path": "/a", "method": "GET"}}
            )
        return json_reply({"items": []})

    with client_of(FakeServer(respond=reply, has_apps=True), retry=ONE_TRY) as client:
        project, calls = Project(client), completed(1, function_id=9)
        judged = cf.with_responses(calls, project.responses(calls))
    assert judged[["status", "route"]].to_numpy().tolist() == [["Error response", "GET /a"]]
