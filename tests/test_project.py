"""Projects: selecting and fetching calls, incomplete results, functions, schedules, logs and responses."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from services import TOKEN, FakeServer, ReceivedRequest, Reply, ServedProject, client_of, json_reply, serve_project

import callframe as cf
from callframe import frame
from callframe.completeness import coverage, is_complete
from callframe.errors import (
    ArgumentError,
    AuthenticationError,
    IncompleteError,
    IncompleteWarning,
    NotFoundError,
    RecordWarning,
    UnauthorizedError,
)
from callframe.project import Project
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PUBLISHED = {
    "id": 4503599627370496,
    "status": "Running",
    "startTime": 1730204346000,
    "endTime": 1730204346000,
    "error": {"trace": "Cannot assign foo to bar.", "message": "Could not authenticate."},
    "scheduledTime": 1730204346000,
    "functionId": 4503599627370496,
    "scheduleId": 4503599627370496,
}
OLD, NEW, SAME_NAME, OTHER_SAME_NAME = 7, 8, 9, 10
FUNCTIONS = [
    function_record(id=OLD, externalId="ingest-sap", name="Ingest SAP", createdTime=NOW_MS - 60 * DAY_MS),
    function_record(
        id=NEW, externalId="ingest-sap", name="Ingest SAP", createdTime=NOW_MS - 5 * DAY_MS, owner="me", cpu=0.5
    ),
    function_record(id=SAME_NAME, externalId=None, name="shared", createdTime=NOW_MS - 50 * DAY_MS),
    function_record(id=OTHER_SAME_NAME, externalId=None, name="shared", createdTime=NOW_MS - 40 * DAY_MS),
]
SCHEDULES = [
    {"id": 71, "functionId": OLD, "name": "hourly", "createdTime": 1, "cronExpression": "0 * * * *"},
    {"id": 81, "functionExternalId": "ingest-sap", "name": "hourly", "createdTime": 2, "cronExpression": "0 * * * *"},
    {
        "id": 91,
        "functionId": SAME_NAME,
        "name": "daily",
        "createdTime": 3,
        "cronExpression": "0 0 * * *",
        "sessionId": 5,
    },
]
CALLS = [
    call_record(
        id=1, functionId=OLD, startTime=NOW_MS - 6 * DAY_MS, scheduleId=71, scheduledTime=NOW_MS - 6 * DAY_MS - 5
    ),
    call_record(id=2, functionId=NEW, startTime=NOW_MS - 4 * DAY_MS, scheduleId=81, scheduledTime=NOW_MS - 4 * DAY_MS),
    call_record(id=3, functionId=NEW, startTime=NOW_MS - 3 * DAY_MS, status="Failed", error="in plain words"),
    call_record(id=4, functionId=SAME_NAME, startTime=NOW_MS - 2 * DAY_MS, status="Timeout"),
    call_record(id=5, functionId=OTHER_SAME_NAME, startTime=NOW_MS - DAY_MS, status="Running"),
    call_record(id=6, functionId=OTHER_SAME_NAME, startTime=NOW_MS - 20 * DAY_MS),
]


@pytest.fixture(scope="module")
def served() -> Iterator[ServedProject]:
    logs: dict[tuple[int, int], list[dict[str, Any]]] = {}
    logs[OLD, 1] = [{"timestamp": 0, "message": "b"}, {"timestamp": NOW_MS, "message": ""}, {"message": "a"}]
    data = ProjectData.from_records(
        functions=FUNCTIONS, schedules=SCHEDULES, calls=CALLS, logs=logs, responses={(OLD, 1): {"n": 1}}
    )
    with serve_project(data) as served:
        yield served


@pytest.fixture
def project(served: ServedProject) -> Project:
    return served.project


def call_ids(calls: pd.DataFrame) -> list[int]:
    return [int(call_id) for call_id in calls["call_id"]]


# Single calls


@pytest.fixture(scope="module")
def published() -> Iterator[pd.DataFrame]:
    data = ProjectData.from_records(
        functions=[function_record(id=PUBLISHED["functionId"], externalId="example")], calls=[PUBLISHED]
    )
    with serve_project(data) as served:
        yield served.project.call("example", 4503599627370496)


def test_published_example_is_a_row_with_all_fields(published: pd.DataFrame) -> None:
    time = pd.Timestamp("2024-10-29T12:19:06Z")
    frame.check(published)
    assert published.drop(columns="duration").to_dict("records") == [
        {
            "call_id": 4503599627370496,
            "function_id": 4503599627370496,
            "function": "example",
            "schedule_id": 4503599627370496,
            "status": "Running",
            "scheduled_time": time,
            "start_time": time,
            "end_time": time,
            "schedule_delay": pd.Timedelta(0),
            "error_message": "Could not authenticate.",
            "error_trace": "Cannot assign foo to bar.",
        }
    ]


def test_running_call_has_no_duration(published: pd.DataFrame) -> None:
    assert published["duration"].isna().to_list() == [True]


@pytest.mark.parametrize("name", [OLD, "7", "ingest-sap", "Ingest SAP"])
def test_function_is_given_by_id_external_id_or_name(project: Project, name: str | int) -> None:
    assert call_ids(project.call(name, 1)) == [1]


@pytest.mark.parametrize(("call_id", "function_id"), [(1, OLD), (2, NEW)])
def test_call_is_found_in_any_deployment(project: Project, call_id: int, function_id: int) -> None:
    assert project.call("ingest-sap", call_id)["function_id"].to_list() == [function_id]


def test_unknown_call_is_an_error(project: Project) -> None:
    with pytest.raises(NotFoundError, match="call 99 of function 7"):
        project.call("ingest-sap", 99)


def test_call_of_an_unlisted_function_is_labelled_by_its_id() -> None:
    with serve_project(ProjectData.from_records(functions=[], calls={7: [call_record()]})) as served:
        assert served.project.call(7, 1)["function"].to_list() == ["7"]


def test_single_call_is_complete(project: Project) -> None:
    calls = project.call(OLD, 1)
    assert is_complete(calls)
    assert calls.attrs["callframe"]["call_ids"] == 1


# Selecting calls


def test_calls_of_all_functions_are_sorted_by_start_time(project: Project) -> None:
    calls = project.calls()
    frame.check(calls)
    assert call_ids(calls) == [1, 2, 3, 4, 5]


def test_default_window_is_a_week(project: Project) -> None:
    assert project.calls().attrs["callframe"]["window"] == {
        "start": "2026-09-23T12:00:00.000Z",
        "end": "2026-09-30T12:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("30d", None, [6, 1, 2, 3, 4, 5]),
        ("36h", None, [5]),
        ("4d", "2d", [2, 3]),
        (pd.Timestamp("2026-09-27T12:00:00Z"), pd.Timestamp("2026-09-28T12:00:00Z"), [3]),
        ("2026-09-28", pd.Timestamp("2026-09-29").date(), [4]),
        ("2026-09-28T14:00:00.001+02:00", None, [5]),
    ],
)
def test_window_includes_its_start_and_excludes_its_end(
    project: Project, start: Any, end: Any, expected: list[int]
) -> None:
    assert call_ids(project.calls(start=start, end=end)) == expected


def test_functions_are_selected_by_id_or_name(project: Project) -> None:
    assert call_ids(project.calls("ingest-sap")) == [1, 2, 3]
    assert call_ids(project.calls(SAME_NAME, "10", SAME_NAME)) == [4, 5]


def test_deployments_share_a_label_and_functions_of_the_same_name_do_not(project: Project) -> None:
    assert project.calls()["function"].to_list() == ["ingest-sap"] * 3 + ["shared (9)", "shared (10)"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Failed", [3]),
        ("failed", [3]),
        (["Failed", "TIMEOUT"], [3, 4]),
        (["Running", "Running"], [5]),
    ],
)
def test_calls_are_filtered_by_status(project: Project, status: Any, expected: list[int]) -> None:
    assert call_ids(project.calls(status=status)) == expected


@pytest.mark.parametrize(
    ("status", "expected"), [(["Running", "Completed"], [1, 2, 5]), (["Running", "Failed", "Timeout"], [3, 4, 5])]
)
def test_running_calls_are_not_queried_separately(
    served: ServedProject, status: list[str], expected: list[int]
) -> None:
    before = len(served.service.requests)
    assert call_ids(served.project.calls(status=status)) == expected
    bodies = [request.body for request in served.service.requests[before:]]
    assert "status" not in str(bodies)  # or a call that ends between two queries would be missed


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [(71, [1]), ("71", [1]), ("hourly", [1, 2]), (["daily", 81], [2]), (999, []), ([71, 81], [1, 2])],
)
def test_calls_are_filtered_by_schedule(project: Project, schedule: Any, expected: list[int]) -> None:
    assert call_ids(project.calls(schedule=schedule)) == expected


@pytest.mark.parametrize("name", ["status", "schedule", "call_ids"])
@pytest.mark.parametrize(
    "nothing", [[], (), pd.Series([], dtype="int64"), iter(())], ids=["list", "tuple", "series", "iterator"]
)
def test_empty_list_selects_no_calls(project: Project, name: str, nothing: Any) -> None:
    calls: pd.DataFrame = project.calls(**{name: nothing})
    pd.testing.assert_frame_equal(calls, frame.empty())
    assert "window" not in calls.attrs["callframe"]  # which would say that there were none


def test_schedule_is_requested_from_its_function_only(served: ServedProject) -> None:
    before = len(served.service.requests)
    served.project.calls(schedule=71)
    paths = {request.path.rpartition("functions/")[2] for request in served.service.requests[before:]}
    assert {path for path in paths if "calls" in path} == {"7/calls/list"}


def test_calls_are_fetched_by_ids(project: Project) -> None:
    assert call_ids(project.calls("ingest-sap", call_ids=[3, 1, 3])) == [1, 3]


def test_calls_by_ids_are_requested_from_all_functions(project: Project) -> None:
    assert call_ids(project.calls(call_ids=pd.Series([6, 1]))) == [6, 1]


def test_warning_names_unknown_ids(project: Project) -> None:
    with pytest.warns(IncompleteWarning, match=r"2 of 3 ids were not found: 98, 99"):
        calls = project.calls(OLD, call_ids=[99, 1, 98])
    assert call_ids(calls) == [1]
    assert is_complete(calls) is False


def test_warning_names_only_the_first_unknown_ids(project: Project) -> None:
    with pytest.warns(IncompleteWarning, match=r"50 of 50 ids were not found: 100, 101, 102, 103, 104 \.\.\."):
        project.calls(OLD, call_ids=range(100, 150))


def test_functions_are_cached_for_a_minute_if_only_labels_are_needed() -> None:
    now_s = [NOW_MS / 1000]
    data = ProjectData.from_records(functions=FUNCTIONS, calls=CALLS)
    with serve_project(data, clock=lambda: now_s[0]) as served:
        project = served.project
        for passed_s, listings in ((0, 1), (59, 1), (2, 2)):
            now_s[0] += passed_s
            assert project.calls(NEW)["function"].unique().tolist() == ["ingest-sap"]
            assert len(served.request_bodies("/functions/list")) == listings


@pytest.mark.parametrize("functions", [(), ("ingest-sap",), (NEW, "shared"), (NEW, 12345)], ids=str)
def test_functions_are_listed_again_unless_only_labels_are_needed(functions: tuple[Any, ...]) -> None:
    with serve_project(ProjectData.from_records(functions=FUNCTIONS, calls=CALLS)) as served, warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)  # 12345 is not a function of the project
        served.project.functions()
        served.project.calls(*functions)
        assert len(served.request_bodies("/functions/list")) == 2


def test_frame_without_calls_has_all_dtypes(project: Project) -> None:
    calls = project.calls(start="1h")
    pd.testing.assert_frame_equal(calls, frame.empty())
    assert is_complete(calls)


def test_project_without_functions_has_no_calls() -> None:
    with serve_project(ProjectData.from_records(functions=[])) as served:
        assert served.project.calls().empty
        assert served.project.functions().empty


def test_coverage_can_be_written_as_json(project: Project) -> None:
    content = project.calls(status="Failed").attrs["callframe"]
    assert json.loads(json.dumps(content)) == content
    assert (content["project"], content["fetched_at"]) == ("demo", "2026-09-30T12:00:00.000Z")


# Invalid arguments


@pytest.mark.parametrize(
    ("functions", "arguments", "message"),
    [
        (["ingest-sab"], {}, "Did you mean 'ingest-sap'"),
        (["nothing like it"], {}, "The project has 4 functions"),
        ([0], {}, "out of range"),
        ([2**53], {}, "out of range"),
        ([1.5], {}, "of type float"),
        ([], {"start": "1d", "end": "2d"}, "not before"),
        ([], {"start": "2030-01-01"}, "not before now"),
        ([], {"start": "yesterday-ish"}, "cannot be parsed"),
        ([], {"status": "Faild"}, "expected one or several of Running, Completed, Failed, Timeout"),
        ([], {"schedule": "hourli"}, "Did you mean 'hourly'"),
        ([], {"schedule": 0}, "out of range"),
        ([], {"schedule": 1.5}, "of type float"),
        ([], {"schedule": True}, "of type bool"),
        ([], {"schedule": [71, False]}, "of type bool"),
        ([], {"schedule": b"G"}, "of type bytes"),
        ([], {"call_ids": True}, "of type bool"),
        ([], {"call_ids": b"12"}, "of type bytes"),
        ([], {"call_ids": [2**53]}, "out of range"),
        ([], {"call_ids": [1], "start": "1d", "status": "Failed"}, "cannot be combined with start, status"),
    ],
)
def test_invalid_argument_is_an_error(
    project: Project, functions: list[Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        project.calls(*functions, **arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", ["call", "logs", "response"])
@pytest.mark.parametrize("call_id", [0, -1, 2**53, 1.0, "1", True])
def test_invalid_call_id_is_an_error_without_a_request(served: ServedProject, method: str, call_id: Any) -> None:
    before = len(served.service.requests)
    with pytest.raises(ArgumentError, match="call id"):
        getattr(served.project, method)(OLD, call_id)
    assert len(served.service.requests) == before


def test_missing_file_of_certificates_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="does not exist"):
        cf.connect(base_url="https://x.cognitedata.com", project="p", token="t", verify=str(tmp_path / "none.pem"))


@pytest.mark.parametrize("workers", [0, 11])
def test_number_of_workers_is_limited(workers: int) -> None:
    with pytest.raises(ArgumentError, match="expected 1 to 10"):
        cf.connect(base_url="http://127.0.0.1:1", project="demo", token=TOKEN, workers=workers)


# Invalid records

INVALID: list[dict[str, Any] | bytes] = [
    call_record(id=None),
    call_record(id=2.5),
    call_record(id=2**63),
    call_record(id=0),
    call_record(id=21, startTime=-1),
    call_record(id=22, startTime=None),
    call_record(id=23, status=None),
    call_record(id=24, endTime="later"),
    b'{"functionId":7,"status":"Failed","startTime":1790769540000}',
]

VALID: list[dict[str, Any] | bytes] = [*call_records(20)]


@pytest.fixture(scope="module")
def with_invalid_records() -> Iterator[tuple[pd.DataFrame, pytest.WarningsRecorder]]:
    data = ProjectData.from_records(functions=[function_record()], calls={7: [*INVALID, *VALID]})
    with serve_project(data, page_cap=7, workers=2) as served, pytest.warns(RecordWarning) as warned:
        yield served.project.calls(), warned


def test_valid_records_are_returned_despite_invalid_ones(with_invalid_records: Any) -> None:
    assert call_ids(with_invalid_records[0]) == [call["id"] for call in call_records(20)]


def test_invalid_records_are_counted_by_reason(with_invalid_records: Any) -> None:
    row = coverage(with_invalid_records[0]).iloc[0]
    assert row["set_aside"] == len(INVALID)
    for reason in ("startTime: expected `int` >= 0", "endTime: expected `int", "missing required field `id`"):
        assert reason in row["set_aside_reason"]


def test_invalid_records_give_one_warning_with_an_example(with_invalid_records: Any) -> None:
    (warning,) = with_invalid_records[1]
    assert str(warning.message).startswith(f"{len(INVALID)} records violate the API's contract and were set aside")


def test_function_with_invalid_records_is_complete(with_invalid_records: Any) -> None:
    assert is_complete(with_invalid_records[0])


def test_lone_surrogate_is_replaced() -> None:
    invalid = b'{"id":9,"functionId":7,"status":"Failed","startTime":1790769599000,"error":{"message":"half \\ud83d"}}'
    with serve_project(ProjectData.from_records(functions=[function_record()], calls={7: [invalid, *VALID]})) as served:
        calls = served.project.calls()
    assert len(calls) == 21
    assert calls["error_message"].dropna().to_list() == ["half \ufffd"]


def test_unknown_status_is_kept_with_one_warning() -> None:
    calls = [call_record(id=number, status="Paused") for number in (1, 2)]
    with (
        serve_project(ProjectData.from_records(functions=[function_record()], calls=calls)) as served,
        pytest.warns(RecordWarning) as warned,
    ):
        fetched = served.project.calls()
    assert fetched["status"].to_list() == ["Paused", "Paused"]
    assert ["Unknown status 'Paused'" in str(warning.message) for warning in warned] == [True]


def test_unknown_fields_are_ignored() -> None:
    with serve_project(
        ProjectData.from_records(
            functions=[function_record(colour="red")], calls=[call_record(colour="red", nested={"a": [1]})]
        )
    ) as served:
        assert call_ids(served.project.calls()) == [1]


# Incomplete results


@pytest.fixture(scope="module")
def forbidden() -> Iterator[ServedProject]:
    faults = Faults(forbidden=frozenset({SAME_NAME}))
    with serve_project(
        ProjectData.from_records(functions=FUNCTIONS, schedules=SCHEDULES, calls=CALLS), faults=faults
    ) as served:
        yield served


def test_forbidden_function_gives_a_warning_and_the_others_are_fetched(forbidden: ServedProject) -> None:
    with pytest.warns(
        IncompleteWarning, match=r"1 of 4 functions .*\n  shared \(9\): 403 .*functionsAcl:READ"
    ) as warned:
        calls = forbidden.project.calls()
    assert call_ids(calls) == [1, 2, 3, 5]
    assert warned[0].filename == __file__


def test_coverage_contains_the_reason_by_function(forbidden: ServedProject) -> None:
    with pytest.warns(IncompleteWarning):
        rows = coverage(forbidden.project.calls()).set_index("function_id")
    assert rows["complete"].to_dict() == {OLD: True, NEW: True, SAME_NAME: False, OTHER_SAME_NAME: True}
    assert "Required capabilities functionsAcl:READ" in rows["reason"][SAME_NAME]
    assert rows["calls"].to_dict() == {OLD: 1, NEW: 2, SAME_NAME: 0, OTHER_SAME_NAME: 1}


def test_strict_error_contains_what_was_read(forbidden: ServedProject) -> None:
    with pytest.raises(IncompleteError, match=r"shared \(9\): 403") as caught:
        forbidden.project.calls(strict=True)
    assert call_ids(caught.value.calls) == [1, 2, 3, 5]
    assert is_complete(caught.value.calls) is False


def test_strict_returns_complete_calls(project: Project) -> None:
    assert len(project.calls(strict=True)) == 5


def test_forbidden_call_is_an_error(forbidden: ServedProject) -> None:
    with pytest.raises(cf.errors.ForbiddenError, match="functionsAcl:READ"):
        forbidden.project.call(SAME_NAME, 4)


def test_rejected_token_is_an_error(served: ServedProject) -> None:
    with (
        cf.connect(base_url=served.service.url, project="demo", token="wrong") as project,
        pytest.raises(UnauthorizedError, match="sign in again"),
    ):
        project.calls()


def test_missing_credentials_are_an_error(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AuthenticationError, match="CDF_TOKEN"):
        cf.connect(cluster="westeurope-1", project="demo")


# Retention


def project_data(created_ms: int | None, calls: list[dict[str, Any]]) -> ProjectData:
    return ProjectData.from_records(functions=[function_record(createdTime=created_ms)], calls={7: calls})


LONG_AGO, RECENTLY = NOW_MS - 200 * DAY_MS, NOW_MS - 20 * DAY_MS
RECENT_CALL, OLD_CALL = call_record(id=1, startTime=NOW_MS - DAY_MS), call_record(id=2, startTime=NOW_MS - 95 * DAY_MS)


@pytest.mark.parametrize("created_ms", [LONG_AGO, None])
def test_window_beyond_retention_is_incomplete(created_ms: int | None) -> None:
    message = "keeps calls for 90 days: none are left from before 2026-07-02 12:00 UTC"
    with (
        serve_project(project_data(created_ms, [RECENT_CALL])) as served,
        pytest.warns(IncompleteWarning, match=message),
    ):
        calls = served.project.calls(start="1y")
    assert call_ids(calls) == [1]
    assert is_complete(calls) is False


@pytest.mark.parametrize(
    ("created_ms", "calls", "start"),
    [
        (LONG_AGO, [RECENT_CALL], "90d"),
        (LONG_AGO, [RECENT_CALL], "7d"),
        (RECENTLY, [RECENT_CALL], "1y"),
        (LONG_AGO, [RECENT_CALL, OLD_CALL], "1y"),
    ],
    ids=["exactly retention", "a week", "function deployed later", "calls before retention"],
)
def test_window_within_retention_is_complete(created_ms: int, calls: list[dict[str, Any]], start: str) -> None:
    with serve_project(project_data(created_ms, calls)) as served:
        assert is_complete(served.project.calls(start=start))


# Progress


@pytest.fixture
def not_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def shown_progress(capsys: pytest.CaptureFixture[str], *, latency_s: float, progress: bool | None) -> str:
    """Fetch five pages and return what was written to stderr."""
    with serve_project(
        ProjectData.from_records(functions=[function_record()], calls=call_records(50)),
        workers=1,
        page_cap=10,
        latency_s=latency_s,
    ) as served:
        served.project.calls(progress=progress)
    return capsys.readouterr().err


@pytest.mark.usefixtures("not_in_a_notebook")
def test_long_fetch_shows_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    output = shown_progress(capsys, latency_s=0.3, progress=True)
    assert "calls 100%" in output
    assert "50 calls" in output
    assert output.endswith("\n")


@pytest.mark.usefixtures("not_in_a_notebook")
def test_short_fetch_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown_progress(capsys, latency_s=0, progress=True) == ""


@pytest.mark.usefixtures("not_in_a_notebook")
@pytest.mark.parametrize("progress", [False, None])
def test_progress_is_not_shown_in_a_script(capsys: pytest.CaptureFixture[str], progress: bool | None) -> None:
    assert shown_progress(capsys, latency_s=0.25, progress=progress) == ""


# Functions, schedules, logs, responses, limits


def test_functions_are_listed_as_a_frame(project: Project) -> None:
    functions = project.functions().set_index("function_id")
    assert functions.index.to_list() == [OLD, NEW, OTHER_SAME_NAME, SAME_NAME]
    assert list(functions.loc[NEW, ["function", "name", "owner", "cpu"]]) == ["ingest-sap", "Ingest SAP", "me", 0.5]
    created = functions["created_time"].to_list()
    assert created[0] == pd.Timestamp(NOW_MS - 60 * DAY_MS, unit="ms", tz="UTC")


def test_schedules_are_listed_with_the_newest_deployment_of_their_function(project: Project) -> None:
    schedules = project.schedules().set_index("schedule_id")
    assert schedules["function_id"].to_dict() == {71: OLD, 81: NEW, 91: SAME_NAME}
    assert schedules["function"].to_dict() == {71: "ingest-sap", 81: "ingest-sap", 91: "shared (9)"}
    assert schedules["cron_expression"][91] == "0 0 * * *"


def test_log_has_the_order_of_the_service(project: Project) -> None:
    log = project.logs("ingest-sap", 1)
    assert log["message"].to_list() == ["b", "", "a"]
    assert log["timestamp"].isna().to_list() == [False, False, True]
    assert log["timestamp"][0] == pd.Timestamp(0, tz="UTC")


def test_log_without_entries_has_all_dtypes(project: Project) -> None:
    log = project.logs("ingest-sap", 2)
    assert log.empty
    assert [str(log[name].dtype) for name in log] == ["datetime64[ms, UTC]", "str"]


def test_response_is_what_the_call_returned(project: Project) -> None:
    assert project.response("ingest-sap", 1) == {"n": 1}
    assert project.response("ingest-sap", 2) is None


@pytest.mark.parametrize("method", ["logs", "response"])
def test_log_or_response_of_an_unknown_call_is_an_error(project: Project, method: str) -> None:
    with pytest.raises(NotFoundError, match="404"):
        getattr(project, method)("ingest-sap", 99)


def test_limits_have_python_names(project: Project) -> None:
    limits = project.limits()
    assert (limits["timeout_minutes"], limits["response_size_mb"]) == (10, 2)
    assert set(limits) == {"timeout_minutes", "cpu_cores", "memory_gb", "runtimes", "response_size_mb"}


LISTINGS = {"functions": "/functions/list", "schedules": "/functions/schedules/list"}


def listing(kind: str, *pages: dict[str, Any], repeat: bool = False) -> FakeServer:
    """Make a server whose listing of functions or schedules has these pages, with cursors; all else is empty."""
    served = 0

    def respond(request: ReceivedRequest) -> Reply:
        nonlocal served
        if not request.path.endswith(LISTINGS[kind]):
            return json_reply({"items": []})
        page = pages[min(served, len(pages) - 1)]
        served += 1
        has_next = repeat or served < len(pages)
        return json_reply(page | ({"nextCursor": f"cursor {served}"} if has_next else {}))

    return FakeServer(respond=respond)


@pytest.mark.parametrize("method", LISTINGS)
def test_listing_as_long_as_its_limit_gives_a_warning(method: str) -> None:
    items = [{"id": number, "name": str(number)} for number in range(1, 10_001)]
    with (
        client_of(listing(method, {"items": items})) as client,
        pytest.warns(IncompleteWarning, match=f"10000 {method}"),
    ):
        getattr(Project(client), method)()


@pytest.mark.parametrize("method", LISTINGS)
def test_next_page_of_a_listing_is_read(method: str) -> None:
    pages: list[dict[str, Any]] = [{"items": [{"id": 1}]}, {"items": []}, {"items": [{"id": 2}, {"id": 1}]}]
    server = listing(method, *pages)
    with client_of(server) as client:
        assert sorted(getattr(Project(client), method)().iloc[:, 0]) == [1, 2]
    bodies = [json.loads(request.body) for request in server.requests if request.path.endswith(LISTINGS[method])]
    assert [body.get("cursor") for body in bodies] == [None, "cursor 1", "cursor 2"]


def test_listing_that_never_ends_is_incomplete() -> None:
    server = listing("functions", {"items": [{"id": 1}]}, repeat=True)
    with client_of(server) as client, pytest.warns(IncompleteWarning, match="listing of functions did not end"):
        assert not is_complete(Project(client).calls())
    assert len(server.requests) < 20


@pytest.mark.parametrize(
    "field", [{"createdTime": NOW_MS - 0.5}, {"createdTime": "yesterday"}, {"cpu": []}, {"metadata": "none"}], ids=str
)
def test_function_with_an_invalid_field_keeps_its_calls(field: dict[str, Any]) -> None:
    functions = [function_record(**field), function_record(id=8, externalId="eight")]
    calls = [*call_records(20), *call_records(10, function_id=8)]
    with (
        serve_project(ProjectData.from_records(functions=functions, calls=calls)) as served,
        pytest.warns(RecordWarning, match=f"1 fields of functions .* of seven: {next(iter(field))}: expected"),
    ):
        assert len(served.project.calls(strict=True)) == 30


def test_schedules_with_invalid_fields_are_listed() -> None:
    schedules = [*SCHEDULES, {"id": 92, "functionId": NEW, "name": "odd", "sessionId": "a1", "createdTime": "now"}]
    data = ProjectData.from_records(functions=FUNCTIONS, schedules=schedules, calls=CALLS)
    with serve_project(data) as served, pytest.warns(RecordWarning, match="2 fields of schedules"):
        assert sorted(served.project.schedules()["schedule_id"]) == [71, 81, 91, 92]


@pytest.fixture(scope="module")
def without_an_id() -> Iterator[ServedProject]:
    """Serve a function and a schedule whose ids are not valid."""
    functions, schedules = [*FUNCTIONS, {"id": "11", "name": "lost"}], [*SCHEDULES, {"id": 0, "name": "hourly"}]
    with serve_project(ProjectData.from_records(functions=functions, schedules=schedules, calls=CALLS)) as served:
        yield served


LOST = r"lost: its record was left out: id: expected `int`, got `str`"
IGNORE_RECORDS = pytest.mark.filterwarnings("ignore::callframe.errors.RecordWarning")


@IGNORE_RECORDS
def test_calls_are_incomplete_without_a_function_whose_id_is_invalid(without_an_id: ServedProject) -> None:
    with pytest.warns(IncompleteWarning, match=f"1 of 5 functions could not .*\n  {LOST}"):
        calls = without_an_id.project.calls()
    assert call_ids(calls) == [1, 2, 3, 4, 5]
    assert coverage(calls).set_index("function")["complete"].to_dict()["lost"] is False


@IGNORE_RECORDS
@pytest.mark.parametrize(("functions", "schedule"), [((), None), ((), "hourly"), (("ingest-sap",), "hourly")], ids=str)
def test_strict_raises_if_a_record_was_left_out(
    without_an_id: ServedProject, functions: tuple[str, ...], schedule: str | None
) -> None:
    with pytest.raises(IncompleteError, match="its record was left out"):
        without_an_id.project.calls(*functions, schedule=schedule, strict=True)


@IGNORE_RECORDS
def test_other_functions_are_complete_without_it(without_an_id: ServedProject) -> None:
    assert call_ids(without_an_id.project.calls("ingest-sap", SAME_NAME, strict=True)) == [1, 2, 3, 4]


@IGNORE_RECORDS
def test_error_says_why_the_named_function_is_unknown(without_an_id: ServedProject) -> None:
    with pytest.raises(ArgumentError, match="but its record was left out"):
        without_an_id.project.calls("lost")


# Connection


def test_repr_contains_name_and_address(served: ServedProject) -> None:
    assert repr(served.project) == f"<Project 'demo' at {served.service.url}>"


def test_close_stops_the_sample_service() -> None:
    project = cf.demo(calls=100, functions=2)
    url = project.client.target.base_url
    project.close()
    with (
        cf.connect(base_url=url, project="demo", token=TOKEN, retry=cf.Retry(connect=0)) as reconnected,
        pytest.raises(cf.errors.TransportError, match="No connection"),
    ):
        reconnected.limits()


def test_sample_project_can_be_fetched() -> None:
    with cf.demo(calls=2_000, functions=5, seed=1) as project:
        calls = project.calls(start="30d")
    assert len(calls) == 2_000
    assert is_complete(calls)


def test_stopping_while_functions_are_listed_gives_no_calls_and_says_so() -> None:
    stop, end = threading.Event(), threading.Event()

    def never_respond(_: ReceivedRequest) -> Reply:
        stop.set()
        return Reply(wait_for=end)

    with client_of(FakeServer(respond=never_respond)) as client, Project(client) as project:
        with pytest.warns(IncompleteWarning, match="functions: interrupted"):
            calls = project.calls("seven", start="1d", schedule="daily", stop=stop)
        end.set()
    assert calls.empty
    assert is_complete(calls) is False


@pytest.mark.slow
def test_twenty_fetches_leave_little_in_memory() -> None:
    code = (
        "import callframe as cf, psutil\n"
        "memory = psutil.Process().memory_info\n"
        "with cf.demo(calls=40_000) as project:\n"
        "    sizes = [(project.calls(start='30d', progress=False), memory().rss)[1] for _ in range(24)]\n"
        "print(sizes[-1] - sizes[3])\n"
    )
    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 30_000_000
