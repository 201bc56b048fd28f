"""The project: names to ids, typed frames out, and a word on whatever is lacking."""

from __future__ import annotations

import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from wire import TOKEN, FakeServer, ReceivedRequest, Reply, ServedProject, client_of, json_reply, serve_project

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
from callframe.sample.server import Faults, Service

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
OLD, NEW, TWIN, OTHER_TWIN = 7, 8, 9, 10
FUNCTIONS = [
    function_record(id=OLD, externalId="ingest-sap", name="Ingest SAP", createdTime=NOW_MS - 60 * DAY_MS),
    function_record(
        id=NEW, externalId="ingest-sap", name="Ingest SAP", createdTime=NOW_MS - 5 * DAY_MS, owner="me", cpu=0.5
    ),
    function_record(id=TWIN, externalId=None, name="twin", createdTime=NOW_MS - 50 * DAY_MS),
    function_record(id=OTHER_TWIN, externalId=None, name="twin", createdTime=NOW_MS - 40 * DAY_MS),
]
SCHEDULES = [
    {"id": 71, "functionId": OLD, "name": "hourly", "createdTime": 1, "cronExpression": "0 * * * *"},
    {"id": 81, "functionExternalId": "ingest-sap", "name": "hourly", "createdTime": 2, "cronExpression": "0 * * * *"},
    {"id": 91, "functionId": TWIN, "name": "daily", "createdTime": 3, "cronExpression": "0 0 * * *", "sessionId": 5},
]
CALLS = [
    call_record(
        id=1, functionId=OLD, startTime=NOW_MS - 6 * DAY_MS, scheduleId=71, scheduledTime=NOW_MS - 6 * DAY_MS - 5
    ),
    call_record(id=2, functionId=NEW, startTime=NOW_MS - 4 * DAY_MS, scheduleId=81, scheduledTime=NOW_MS - 4 * DAY_MS),
    call_record(id=3, functionId=NEW, startTime=NOW_MS - 3 * DAY_MS, status="Failed", error="in plain words"),
    call_record(id=4, functionId=TWIN, startTime=NOW_MS - 2 * DAY_MS, status="Timeout"),
    call_record(id=5, functionId=OTHER_TWIN, startTime=NOW_MS - DAY_MS, status="Running"),
    call_record(id=6, functionId=OTHER_TWIN, startTime=NOW_MS - 20 * DAY_MS),
]


@pytest.fixture(scope="module")
def at() -> Iterator[ServedProject]:
    logs: dict[tuple[int, int], list[dict[str, Any]]] = {}
    logs[OLD, 1] = [{"timestamp": 0, "message": "b"}, {"timestamp": NOW_MS, "message": ""}, {"message": "a"}]
    world = ProjectData.of(
        functions=FUNCTIONS, schedules=SCHEDULES, calls=CALLS, logs=logs, responses={(OLD, 1): {"n": 1}}
    )
    with serve_project(world) as made:
        yield made


@pytest.fixture
def project(at: ServedProject) -> Project:
    return at.project


def ids(calls: pd.DataFrame) -> list[int]:
    numbers: list[int] = calls["call_id"].to_list()
    return numbers


# One call


@pytest.fixture(scope="module")
def published() -> Iterator[pd.DataFrame]:
    world = ProjectData.of(
        functions=[function_record(id=PUBLISHED["functionId"], externalId="example")], calls=[PUBLISHED]
    )
    with serve_project(world) as made:
        yield made.project.call("example", 4503599627370496)


def test_published_example_becomes_one_row_with_every_field_right(published: pd.DataFrame) -> None:
    moment = pd.Timestamp("2024-10-29T12:19:06Z")
    frame.check(published)
    assert published.drop(columns="duration").to_dict("records") == [
        {
            "call_id": 4503599627370496,
            "function_id": 4503599627370496,
            "function": "example",
            "schedule_id": 4503599627370496,
            "status": "Running",
            "scheduled_time": moment,
            "start_time": moment,
            "end_time": moment,
            "schedule_delay": pd.Timedelta(0),
            "error_message": "Could not authenticate.",
            "error_trace": "Cannot assign foo to bar.",
        }
    ]


def test_published_example_is_running_and_so_has_no_duration(published: pd.DataFrame) -> None:
    assert published["duration"].isna().to_list() == [True]


@pytest.mark.parametrize("name", [OLD, "7", "ingest-sap", "Ingest SAP"])
def test_function_goes_by_id_external_id_or_name(project: Project, name: str | int) -> None:
    assert ids(project.call(name, 1)) == [1]


@pytest.mark.parametrize(("call_id", "function_id"), [(1, OLD), (2, NEW)])
def test_call_is_found_under_whichever_deployment_has_it(project: Project, call_id: int, function_id: int) -> None:
    assert project.call("ingest-sap", call_id)["function_id"].to_list() == [function_id]


def test_unknown_call_is_said_to_be(project: Project) -> None:
    with pytest.raises(NotFoundError, match="call 99 of function 7"):
        project.call("ingest-sap", 99)


def test_call_of_a_function_that_is_listed_no_more_is_labelled_by_the_id() -> None:
    with serve_project(ProjectData.of(functions=[], calls={7: [call_record()]})) as made:
        assert made.project.call(7, 1)["function"].to_list() == ["7"]


def test_coverage_of_one_call_is_complete(project: Project) -> None:
    calls = project.call(OLD, 1)
    assert is_complete(calls)
    assert calls.attrs["callframe"]["call_ids"] == 1


# Many calls


def test_calls_of_all_functions_come_sorted_by_start(project: Project) -> None:
    calls = project.calls()
    frame.check(calls)
    assert ids(calls) == [1, 2, 3, 4, 5]


def test_week_is_the_window_unless_told_otherwise(project: Project) -> None:
    assert project.calls().attrs["callframe"]["window"] == {
        "start": "2026-09-23T12:00:00.000Z",
        "end": "2026-09-30T12:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        ("30d", None, [6, 1, 2, 3, 4, 5]),
        ("36h", None, [5]),
        ("4d", "2d", [2, 3]),
        (pd.Timestamp("2026-09-27T12:00:00Z"), pd.Timestamp("2026-09-28T12:00:00Z"), [3]),
        ("2026-09-28", pd.Timestamp("2026-09-29").date(), [4]),
        ("2026-09-28T14:00:00.001+02:00", None, [5]),
    ],
)
def test_window_holds_its_start_and_not_its_end(project: Project, start: Any, end: Any, found: list[int]) -> None:
    assert ids(project.calls(start=start, end=end)) == found


def test_functions_are_picked_by_any_of_their_names(project: Project) -> None:
    assert ids(project.calls("ingest-sap")) == [1, 2, 3]
    assert ids(project.calls(TWIN, "10", TWIN)) == [4, 5]


def test_deployments_share_their_label_and_twins_do_not(project: Project) -> None:
    assert project.calls()["function"].to_list() == ["ingest-sap"] * 3 + ["twin (9)", "twin (10)"]


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("Failed", [3]),
        ("failed", [3]),
        (["Failed", "TIMEOUT"], [3, 4]),
        (["Running", "Running"], [5]),
        ([], [1, 2, 3, 4, 5]),
    ],
)
def test_status_narrows_the_calls(project: Project, status: Any, found: list[int]) -> None:
    assert ids(project.calls(status=status)) == found


@pytest.mark.parametrize(
    ("schedule", "found"),
    [(71, [1]), ("71", [1]), ("hourly", [1, 2]), (["daily", 81], [2]), (999, []), ([71, 81], [1, 2])],
)
def test_schedule_narrows_the_calls(project: Project, schedule: Any, found: list[int]) -> None:
    assert ids(project.calls(schedule=schedule)) == found


def test_schedule_is_asked_for_where_it_belongs_only(at: ServedProject) -> None:
    before = len(at.service.requests)
    at.project.calls(schedule=71)
    paths = {asked.path.rpartition("functions/")[2] for asked in at.service.requests[before:]}
    assert {path for path in paths if "calls" in path} == {"7/calls/list"}


def test_calls_are_fetched_by_ids(project: Project) -> None:
    assert ids(project.calls("ingest-sap", call_ids=[3, 1, 3])) == [1, 3]


def test_calls_by_ids_are_looked_for_in_every_function(project: Project) -> None:
    assert ids(project.calls(call_ids=pd.Series([6, 1]))) == [6, 1]


def test_ids_that_were_not_found_are_named(project: Project) -> None:
    with pytest.warns(IncompleteWarning, match=r"2 of 3 ids were not found: 98, 99"):
        calls = project.calls(OLD, call_ids=[99, 1, 98])
    assert ids(calls) == [1]
    assert is_complete(calls) is False


def test_only_some_of_many_missing_ids_are_named(project: Project) -> None:
    with pytest.warns(IncompleteWarning, match=r"50 of 50 ids were not found: 100, 101, 102, 103, 104 \.\.\."):
        project.calls(OLD, call_ids=range(100, 150))


def test_labels_of_ids_are_not_asked_for_again_within_a_minute() -> None:
    now_s = [NOW_MS / 1000]
    with serve_project(ProjectData.of(functions=FUNCTIONS, calls=CALLS)) as at:
        project = Project(at.client, clock=lambda: now_s[0])
        for passed_s, listings in ((0, 1), (59, 1), (2, 2)):
            now_s[0] += passed_s
            assert project.calls(NEW)["function"].unique().tolist() == ["ingest-sap"]
            assert len(at.request_bodies("/functions/list")) == listings


@pytest.mark.parametrize("functions", [(), ("ingest-sap",), (NEW, "twin"), (NEW, 12345)], ids=str)
def test_catalogue_is_asked_for_anew_where_ids_do_not_say_it_all(functions: tuple[Any, ...]) -> None:
    with serve_project(ProjectData.of(functions=FUNCTIONS, calls=CALLS)) as at, warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)  # 12345 is no function of the project
        at.project.functions()
        at.project.calls(*functions)
        assert len(at.request_bodies("/functions/list")) == 2


def test_no_calls_are_an_empty_typed_frame(project: Project) -> None:
    calls = project.calls(start="1h")
    pd.testing.assert_frame_equal(calls, frame.empty())
    assert is_complete(calls)


def test_project_without_functions_has_no_calls() -> None:
    with serve_project(ProjectData.of(functions=[])) as made:
        assert made.project.calls().empty
        assert made.project.functions().empty


def test_coverage_is_json(project: Project) -> None:
    held = project.calls(status="Failed").attrs["callframe"]
    assert json.loads(json.dumps(held)) == held
    assert (held["project"], held["fetched_at"]) == ("demo", "2026-09-30T12:00:00.000Z")


# Arguments that cannot be right


@pytest.mark.parametrize(
    ("functions", "arguments", "words"),
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
        ([], {"call_ids": [2**53]}, "out of range"),
        ([], {"call_ids": [1], "start": "1d", "status": "Failed"}, "cannot be combined with start, status"),
    ],
)
def test_argument_that_cannot_be_right_is_refused(
    project: Project, functions: list[Any], arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        project.calls(*functions, **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("method", ["call", "logs", "response"])
@pytest.mark.parametrize("call_id", [0, -1, 2**53, 1.0, "1", True])
def test_id_of_a_call_that_cannot_be_one_is_not_asked_for(at: ServedProject, method: str, call_id: Any) -> None:
    before = len(at.service.requests)
    with pytest.raises(ArgumentError, match="call id"):
        getattr(at.project, method)(OLD, call_id)
    assert len(at.service.requests) == before


@pytest.mark.parametrize("workers", [0, 11])
def test_number_of_workers_is_bounded(workers: int) -> None:
    with pytest.raises(ArgumentError, match="expected 1 to 10"):
        cf.connect(base_url="http://127.0.0.1:1", project="demo", token=TOKEN, workers=workers)


# Records that break the contract

BROKEN: list[dict[str, Any] | bytes] = [
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

MANY: list[dict[str, Any] | bytes] = [*call_records(20)]


@pytest.fixture(scope="module")
def broken() -> Iterator[tuple[pd.DataFrame, pytest.WarningsRecorder]]:
    world = ProjectData.of(functions=[function_record()], calls={7: [*BROKEN, *MANY]})
    with serve_project(world, page_cap=7, workers=2) as made, pytest.warns(RecordWarning) as warned:
        yield made.project.calls(), warned


def test_broken_records_do_not_keep_the_others_from_arriving(broken: Any) -> None:
    assert ids(broken[0]) == [call["id"] for call in call_records(20)]


def test_broken_records_are_counted_with_their_reasons(broken: Any) -> None:
    row = coverage(broken[0]).iloc[0]
    assert row["set_aside"] == len(BROKEN)
    for reason in ("startTime: expected `int` >= 0", "endTime: expected `int", "missing required field `id`"):
        assert reason in row["set_aside_reason"]


def test_broken_records_are_said_once_with_an_example(broken: Any) -> None:
    (warning,) = broken[1]
    assert str(warning.message).startswith(f"{len(BROKEN)} records violate the API's contract and were set aside")


def test_broken_records_leave_the_function_complete(broken: Any) -> None:
    assert is_complete(broken[0])


def test_half_a_surrogate_pair_costs_one_letter_and_no_page() -> None:
    bad = b'{"id":9,"functionId":7,"status":"Failed","startTime":1790769599000,"error":{"message":"half \\ud83d"}}'
    with serve_project(ProjectData.of(functions=[function_record()], calls={7: [bad, *MANY]})) as made:
        calls = made.project.calls()
    assert len(calls) == 21
    assert calls["error_message"].dropna().to_list() == ["half \ufffd"]


def test_new_status_is_kept_and_said_once() -> None:
    calls = [call_record(id=number, status="Paused") for number in (1, 2)]
    with (
        serve_project(ProjectData.of(functions=[function_record()], calls=calls)) as made,
        pytest.warns(RecordWarning) as warned,
    ):
        found = made.project.calls()
    assert found["status"].to_list() == ["Paused", "Paused"]
    assert ["Unknown status 'Paused'" in str(one.message) for one in warned] == [True]


def test_more_fields_than_expected_do_no_harm() -> None:
    with serve_project(
        ProjectData.of(functions=[function_record(colour="red")], calls=[call_record(colour="red", nested={"a": [1]})])
    ) as made:
        assert ids(made.project.calls()) == [1]


# What is lacking


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServedProject]:
    faults = Faults(forbidden=frozenset({TWIN}))
    with serve_project(ProjectData.of(functions=FUNCTIONS, schedules=SCHEDULES, calls=CALLS), faults=faults) as made:
        yield made


def test_forbidden_function_is_told_and_the_others_arrive(guarded: ServedProject) -> None:
    with pytest.warns(IncompleteWarning, match=r"1 of 4 functions .*\n  twin \(9\): 403 .*functionsAcl:READ") as warned:
        calls = guarded.project.calls()
    assert ids(calls) == [1, 2, 3, 5]
    assert warned[0].filename == __file__


def test_coverage_says_which_function_and_why(guarded: ServedProject) -> None:
    with pytest.warns(IncompleteWarning):
        rows = coverage(guarded.project.calls()).set_index("function_id")
    assert rows["complete"].to_dict() == {OLD: True, NEW: True, TWIN: False, OTHER_TWIN: True}
    assert "Required capabilities functionsAcl:READ" in rows["reason"][TWIN]
    assert rows["calls"].to_dict() == {OLD: 1, NEW: 2, TWIN: 0, OTHER_TWIN: 1}


def test_strict_raises_with_what_was_read(guarded: ServedProject) -> None:
    with pytest.raises(IncompleteError, match=r"twin \(9\): 403") as caught:
        guarded.project.calls(strict=True)
    assert ids(caught.value.calls) == [1, 2, 3, 5]
    assert is_complete(caught.value.calls) is False


def test_strict_is_content_with_all_of_it(project: Project) -> None:
    assert len(project.calls(strict=True)) == 5


def test_forbidden_call_is_an_error(guarded: ServedProject) -> None:
    with pytest.raises(cf.errors.ForbiddenError, match="functionsAcl:READ"):
        guarded.project.call(TWIN, 4)


def test_token_that_nobody_accepts_is_an_error_and_no_empty_frame(at: ServedProject) -> None:
    with (
        cf.connect(base_url=at.service.url, project="demo", token="wrong") as project,
        pytest.raises(UnauthorizedError, match="sign in again"),
    ):
        project.calls()


def test_nothing_to_sign_in_with_is_told_before_anything_is_sent(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AuthenticationError, match="CDF_TOKEN"):
        cf.connect(cluster="westeurope-1", project="demo")


# Retention


def retained(created_ms: int | None, calls: list[dict[str, Any]]) -> ProjectData:
    return ProjectData.of(functions=[function_record(createdTime=created_ms)], calls={7: calls})


LONG_AGO, LATELY = NOW_MS - 200 * DAY_MS, NOW_MS - 20 * DAY_MS
WITHIN, BEYOND = call_record(id=1, startTime=NOW_MS - DAY_MS), call_record(id=2, startTime=NOW_MS - 95 * DAY_MS)


@pytest.mark.parametrize("created_ms", [LONG_AGO, None])
def test_window_beyond_retention_is_said_to_be_incomplete(created_ms: int | None) -> None:
    words = "keeps calls for 90 days: none are left from before 2026-07-02 12:00 UTC"
    with serve_project(retained(created_ms, [WITHIN])) as made, pytest.warns(IncompleteWarning, match=words):
        calls = made.project.calls(start="1y")
    assert ids(calls) == [1]
    assert is_complete(calls) is False


@pytest.mark.parametrize(
    ("created_ms", "calls", "start"),
    [
        (LONG_AGO, [WITHIN], "90d"),
        (LONG_AGO, [WITHIN], "7d"),
        (LATELY, [WITHIN], "1y"),
        (LONG_AGO, [WITHIN, BEYOND], "1y"),
    ],
    ids=["exactly retention", "a week", "no such function then", "calls from then are there"],
)
def test_window_that_lost_nothing_is_complete(created_ms: int, calls: list[dict[str, Any]], start: str) -> None:
    with serve_project(retained(created_ms, calls)) as made:
        assert is_complete(made.project.calls(start=start))


# Progress


@pytest.fixture
def no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)


def progress_of(capsys: pytest.CaptureFixture[str], *, latency_s: float, progress: bool | None) -> str:
    """Fetch five pages, and give what was written to stderr."""
    with serve_project(
        ProjectData.of(functions=[function_record()], calls=call_records(50)),
        workers=1,
        page_cap=10,
        latency_s=latency_s,
    ) as made:
        made.project.calls(progress=progress)
    return capsys.readouterr().err


@pytest.mark.usefixtures("no_notebook")
def test_long_fetch_shows_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    shown = progress_of(capsys, latency_s=0.3, progress=True)
    assert "calls 100%" in shown
    assert "50 calls" in shown
    assert shown.endswith("\n")


@pytest.mark.usefixtures("no_notebook")
def test_short_fetch_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress_of(capsys, latency_s=0, progress=True) == ""


@pytest.mark.usefixtures("no_notebook")
@pytest.mark.parametrize("progress", [False, None])
def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str], progress: bool | None) -> None:
    assert progress_of(capsys, latency_s=0.25, progress=progress) == ""


# Functions, schedules, logs, responses, limits


def test_functions_become_a_frame(project: Project) -> None:
    functions = project.functions().set_index("function_id")
    assert functions.index.to_list() == [OLD, NEW, OTHER_TWIN, TWIN]
    assert list(functions.loc[NEW, ["function", "name", "owner", "cpu"]]) == ["ingest-sap", "Ingest SAP", "me", 0.5]
    created = functions["created_time"].to_list()
    assert created[0] == pd.Timestamp(NOW_MS - 60 * DAY_MS, unit="ms", tz="UTC")


def test_schedules_become_a_frame_with_the_newest_deployment_they_name(project: Project) -> None:
    schedules = project.schedules().set_index("schedule_id")
    assert schedules["function_id"].to_dict() == {71: OLD, 81: NEW, 91: TWIN}
    assert schedules["function"].to_dict() == {71: "ingest-sap", 81: "ingest-sap", 91: "twin (9)"}
    assert schedules["cron_expression"][91] == "0 0 * * *"


def test_log_keeps_the_order_of_the_service(project: Project) -> None:
    log = project.logs("ingest-sap", 1)
    assert log["message"].to_list() == ["b", "", "a"]
    assert log["timestamp"].isna().to_list() == [False, False, True]
    assert log["timestamp"][0] == pd.Timestamp(0, tz="UTC")


def test_call_that_printed_nothing_has_an_empty_log(project: Project) -> None:
    log = project.logs("ingest-sap", 2)
    assert log.empty
    assert [str(log[name].dtype) for name in log] == ["datetime64[ms, UTC]", "str"]


def test_response_is_what_the_call_returned(project: Project) -> None:
    assert project.response("ingest-sap", 1) == {"n": 1}
    assert project.response("ingest-sap", 2) is None


@pytest.mark.parametrize("method", ["logs", "response"])
def test_nothing_is_read_of_an_unknown_call(project: Project, method: str) -> None:
    with pytest.raises(NotFoundError, match="404"):
        getattr(project, method)("ingest-sap", 99)


def test_limits_have_the_names_of_this_house(project: Project) -> None:
    limits = project.limits()
    assert (limits["timeout_minutes"], limits["response_size_mb"]) == (10, 2)
    assert set(limits) == {"timeout_minutes", "cpu_cores", "memory_gb", "runtimes", "response_size_mb"}


@pytest.mark.parametrize("method", ["functions", "schedules"])
def test_listing_that_is_as_long_as_its_limit_may_lack_some(method: str) -> None:
    items = [{"id": number, "name": str(number)} for number in range(1, 10_001)]

    def answer(heard: ReceivedRequest) -> Reply:
        full = ("schedules" in heard.path) == (method == "schedules")
        return json_reply({"items": items if full else []})

    with (
        client_of(FakeServer(respond=answer)) as client,
        pytest.warns(IncompleteWarning, match=f"10000 {method}"),
    ):
        getattr(Project(client), method)()


def test_function_that_breaks_the_contract_is_left_out_and_told() -> None:
    with (
        serve_project(ProjectData.of(functions=[function_record(), {"name": "no id"}])) as made,
        pytest.warns(RecordWarning, match="1 functions violate the API's contract"),
    ):
        assert made.project.functions()["function_id"].to_list() == [7]


# The project itself


def test_project_is_shown_by_name_and_place(at: ServedProject) -> None:
    assert repr(at.project) == f"<Project 'demo' at {at.service.url}>"


def test_closing_a_project_ends_what_came_with_it() -> None:
    project = cf.demo(calls=100, functions=2)
    url = project.client.target.base_url
    project.close()
    with (
        cf.connect(base_url=url, project="demo", token=TOKEN, retry=cf.Retry(connect=0)) as again,
        pytest.raises(cf.errors.TransportError, match="No connection"),
    ):
        again.limits()


def test_three_lines_of_the_design_work() -> None:
    with cf.demo(calls=2_000, functions=5, seed=1) as project:
        calls = project.calls(start="30d")
    assert len(calls) == 2_000
    assert is_complete(calls)


def just_now() -> int:
    return int(pd.Timestamp.now("UTC").timestamp()) * 1000 - 5_000


def test_a_call_that_ends_while_two_statuses_are_read_is_not_missed() -> None:
    running = {
        "id": 1,
        "functionId": OTHER_TWIN,
        "status": "Running",
        "startTime": int(pd.Timestamp.now("UTC").timestamp()) * 1000 - 5_000,
    }
    world = ProjectData.of(
        functions=[{"id": OTHER_TWIN, "name": "a", "fileId": 1, "status": "Ready", "createdTime": 0}], calls=[running]
    )
    with Service(world) as service, cf.connect(base_url=service.url, project="demo", token=service.token) as project:
        calls = project.calls(start="1d", status=["Running", "Completed"])
        assert "status" not in str([asked.body for asked in service.requests if asked.path.endswith("/calls/list")])
    assert calls["call_id"].to_list() == [1]


def test_only_the_statuses_asked_for_arrive_when_they_are_sorted_out_here() -> None:
    records = [
        {
            "id": k,
            "functionId": OTHER_TWIN,
            "status": status,
            "startTime": int(pd.Timestamp.now("UTC").timestamp()) * 1000 - 5_000,
        }
        for k, status in enumerate(["Running", "Completed", "Failed"], 1)
    ]
    world = ProjectData.of(
        functions=[{"id": OTHER_TWIN, "name": "a", "fileId": 1, "status": "Ready", "createdTime": 0}], calls=records
    )
    with Service(world) as service, cf.connect(base_url=service.url, project="demo", token=service.token) as project:
        assert project.calls(start="1d", status=["Running", "Failed"])["call_id"].to_list() == [1, 3]


def test_a_bundle_of_certificates_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="does not exist"):
        cf.connect(base_url="https://x.cognitedata.com", project="p", token="t", verify=str(tmp_path / "none.pem"))
