"""Sample project data: exact numbers of calls, reproducible, with the irregularities of real projects."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from factories import DAY_MS, MINUTE_MS, NOW, NOW_MS, call_record

from callframe.errors import ArgumentError
from callframe.sample.project_data import Filter, ProjectData, Range


@cache
def project_data() -> ProjectData:
    return ProjectData.generate(end_time=NOW)


@cache
def small_data() -> ProjectData:
    return ProjectData.generate(calls=3_000, end_time=NOW)


@cache
def calls_of(external_id: str, nth: int = 0) -> list[Any]:
    return project_data().calls(ids_of(external_id)[nth])


@cache
def all_calls() -> list[Any]:
    data = project_data()
    return [call for function in [*data.functions, *data.apps] for call in data.calls(function["id"])]


def log_lines(function_id: int, call_id: int) -> list[dict[str, Any]]:
    lines = project_data().logs(function_id, call_id)
    assert lines is not None
    return lines


def ids_of(external_id: str) -> list[int]:
    return [record["id"] for record in project_data().functions if record.get("externalId") == external_id]


def schedules_of(function_id: int) -> list[dict[str, Any]]:
    return [record for record in project_data().schedules if record.get("functionId") == function_id]


def data_of(*calls: dict[str, object] | bytes) -> ProjectData:
    return ProjectData.from_records(functions=[{"id": 7, "name": "f"}], calls=calls)


@pytest.mark.parametrize(
    ("calls", "functions"),
    [(0, 1), (0, 20), (1, 1), (7, 20), (999, 3), (5_000, 100), (60_000, 20), (200_000, 1)],
)
def test_number_of_calls_and_functions_is_exact(calls: int, functions: int) -> None:
    data = ProjectData.generate(calls=calls, functions=functions, end_time=NOW)
    assert (data.call_count, len(data.functions) + len(data.apps)) == (calls, functions)


@pytest.mark.parametrize("days", [0.01, 1, 90])
def test_number_of_calls_is_exact_for_any_length_of_history(days: float) -> None:
    assert ProjectData.generate(calls=20_000, end_time=NOW, days=days).call_count == 20_000


def test_same_arguments_give_the_same_data() -> None:
    again = ProjectData.generate(calls=3_000, end_time=NOW)
    assert (again.functions, again.schedules) == (small_data().functions, small_data().schedules)
    for function in again.functions:
        assert again.calls(function["id"]) == small_data().calls(function["id"])


def test_another_seed_gives_other_data() -> None:
    other = ProjectData.generate(calls=3_000, end_time=NOW, seed=1)
    assert {function["id"] for function in other.functions}.isdisjoint(f["id"] for f in small_data().functions)


def test_logs_and_responses_are_reproducible() -> None:
    function_id = small_data().functions[0]["id"]
    call_id = small_data().calls(function_id)[5]["id"]
    again = ProjectData.generate(calls=3_000, end_time=NOW)
    assert again.logs(function_id, call_id) == small_data().logs(function_id, call_id)
    assert again.response(function_id, call_id) == small_data().response(function_id, call_id)


@pytest.mark.parametrize(
    "arguments",
    [{"calls": -1}, {"functions": 0}, {"functions": 101}, {"days": 0}, {"end_time": datetime(2026, 1, 1)}],  # noqa: DTZ001
)
def test_invalid_arguments_are_rejected(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        ProjectData.generate(**arguments)


def test_history_ends_now_by_default() -> None:
    data = ProjectData.generate(calls=1_000, functions=1)
    newest = data.calls(data.functions[0]["id"])[0]["startTime"]
    assert newest <= round(datetime.now(UTC).timestamp() * 1000)


def test_ids_are_unique_and_cover_the_whole_range() -> None:
    ids = [call["id"] for call in all_calls()]
    assert len(set(ids)) == 150_000
    assert 1 <= min(ids) < 2**45
    assert 2**52 < max(ids) < 2**53


def test_every_call_is_within_14_days() -> None:
    begin = NOW_MS - 14 * DAY_MS
    assert all(begin <= call["startTime"] <= NOW_MS for call in all_calls())
    assert all(call["startTime"] < call["endTime"] <= NOW_MS for call in all_calls() if "endTime" in call)


def test_calls_are_listed_newest_first() -> None:
    starts = [call["startTime"] for call in calls_of("forward-alarms")]
    assert all(later >= earlier for later, earlier in pairwise(starts))


def test_function_records_have_the_fields_of_the_api() -> None:
    required = {"id", "name", "fileId", "status", "createdTime", "runtime", "cpu", "memory", "metadata"}
    assert all(required <= function.keys() for function in project_data().functions)


def test_schedules_run_from_every_minute_to_daily() -> None:
    crons = {schedule["cronExpression"] for schedule in project_data().schedules}
    assert {"* * * * *", "*/5 * * * *"} <= crons
    assert any(cron.split()[1].isdecimal() for cron in crons)


def test_most_schedules_have_a_function_id_and_some_an_external_id() -> None:
    named = Counter("functionId" in schedule for schedule in project_data().schedules)
    assert named[True] > 10
    assert named[False] in {1, 2}


def test_minute_schedule_has_a_call_at_nearly_every_scheduled_time() -> None:
    times = {call["scheduledTime"] for call in calls_of("forward-alarms")}
    assert len(times) == pytest.approx(14 * 1440, rel=0.01)


def test_scheduled_time_is_a_whole_minute_and_starts_come_after() -> None:
    scheduled = [call for call in all_calls() if "scheduledTime" in call]
    assert all(call["scheduledTime"] % MINUTE_MS == 0 for call in scheduled)
    assert all(call["startTime"] > call["scheduledTime"] for call in scheduled)


def test_schedule_delays_are_seconds_with_a_long_tail() -> None:
    delays = sorted(call["startTime"] - call["scheduledTime"] for call in calls_of("forward-alarms"))
    assert 1_000 < median(delays) < 10_000
    assert delays[-1] > 120_000


def test_calls_without_schedule_have_neither_schedule_nor_scheduled_time() -> None:
    unscheduled = [call for call in all_calls() if "scheduleId" not in call]
    assert len(unscheduled) > 10_000
    assert not any("scheduledTime" in call for call in unscheduled)


def test_one_function_is_never_scheduled() -> None:
    assert not any("scheduleId" in call for call in calls_of("render-pid-diagrams"))


def test_one_function_has_no_calls() -> None:
    assert [f["name"] for f in project_data().functions if not project_data().calls(f["id"])] == [
        "Backfill historian (do not run)"
    ]


def test_one_function_has_no_external_id() -> None:
    assert sum("externalId" not in function for function in project_data().functions) == 1


def test_errors_of_one_function_are_plain_strings() -> None:
    errors = [call["error"] for call in calls_of("forward-alarms") if "error" in call]
    assert len(errors) > 50
    assert all(isinstance(error, str) for error in errors)


def test_other_errors_have_message_and_trace() -> None:
    errors = [call["error"] for call in calls_of("ingest-sap-orders") if call["status"] == "Failed"]
    assert all(set(error) == {"message", "trace"} for error in errors)
    assert all(error["trace"].startswith("Traceback (most recent call last):\n") for error in errors)
    assert all(error["message"] in error["trace"] for error in errors)
    assert any("The above exception was the direct cause" in error["trace"] for error in errors)


def test_messages_of_one_cause_differ() -> None:
    messages = {
        call["error"]["message"]
        for call in calls_of("monitor-compressor-vibration")
        if call["status"] == "Failed" and "X-Request-ID" in call["error"]["message"]
    }
    assert len(messages) > 50


def test_only_failed_calls_and_timeouts_have_an_error() -> None:
    assert all(("error" in call) == (call["status"] in {"Failed", "Timeout"}) for call in all_calls())


def test_slow_function_times_out_in_about_8_percent_of_its_calls() -> None:
    statuses = Counter(call["status"] for call in calls_of("train-anomaly-models"))
    assert 0.05 < statuses["Timeout"] / statuses.total() < 0.12


def test_timeouts_end_at_the_run_limit_and_no_call_runs_longer() -> None:
    durations = {
        call["endTime"] - call["startTime"]: call["status"] for call in all_calls() if call["status"] != "Running"
    }
    assert all(600_000 <= ms < 610_000 for ms, status in durations.items() if status == "Timeout")
    assert all(ms < 600_000 for ms, status in durations.items() if status != "Timeout")


def test_outage_of_two_hours_fails_most_calls_of_several_functions() -> None:
    failed = Counter(call["startTime"] // (30 * MINUTE_MS) for call in all_calls() if call["status"] == "Failed")
    worst = max(failed, key=lambda half_hour: failed[half_hour])
    assert failed[worst] > 10 * median(failed.values())
    in_outage = [call for call in all_calls() if call["startTime"] // (30 * MINUTE_MS) == worst]
    assert len({call["functionId"] for call in in_outage if call["status"] == "Failed"}) >= 5
    assert sum(count > failed[worst] / 2 for count in failed.values()) == pytest.approx(4, abs=1)


def test_calls_are_still_running_at_the_end() -> None:
    recent = [call for call in all_calls() if call["status"] == "Running" and call["startTime"] > NOW_MS - 600_000]
    assert len(recent) >= 3
    assert not any("endTime" in call for call in recent)


def test_two_calls_have_been_stuck_for_days() -> None:
    stuck = [call for call in all_calls() if call["status"] == "Running" and call["startTime"] < NOW_MS - 2 * DAY_MS]
    assert len(stuck) == 2


def test_some_scheduled_times_are_skipped() -> None:
    times = {call["scheduledTime"] for call in calls_of("calculate-pump-efficiency")}
    missed = set(range(min(times), max(times), MINUTE_MS)) - times
    assert 20 < len(missed) < 200


def test_exactly_one_scheduled_time_has_two_calls() -> None:
    times = Counter((call["scheduleId"], call["scheduledTime"]) for call in all_calls() if "scheduleId" in call)
    assert [count for count in times.values() if count > 1] == [2]


def test_first_call_after_a_pause_has_a_cold_start() -> None:
    delays = [call["startTime"] - call["scheduledTime"] for call in calls_of("archive-events")]
    assert median(delays) > 8_000


def test_redeployment_leaves_two_functions_with_one_name() -> None:
    new, old = [f for f in project_data().functions if f.get("externalId") == "ingest-sap-orders"]
    assert new["name"] == old["name"]
    assert old["createdTime"] < NOW_MS - 14 * DAY_MS < new["createdTime"]


def test_calls_of_the_old_deployment_end_when_those_of_the_new_one_start() -> None:
    new, old = calls_of("ingest-sap-orders", 0), calls_of("ingest-sap-orders", 1)
    deployed_ms = next(f for f in project_data().functions if f.get("externalId") == "ingest-sap-orders")["createdTime"]
    assert max(call["startTime"] for call in old) < deployed_ms <= min(call["startTime"] for call in new)


def test_redeployment_makes_durations_1_6_times_as_long() -> None:
    new, old = (
        median(c["endTime"] - c["startTime"] for c in calls_of("ingest-sap-orders", nth) if c["status"] == "Completed")
        for nth in (0, 1)
    )
    assert 1.45 < new / old < 1.75


def test_redeployment_creates_new_schedules() -> None:
    new_id, old_id = ids_of("ingest-sap-orders")
    new, old = (
        {call["scheduleId"] for call in calls_of("ingest-sap-orders", nth) if "scheduleId" in call} for nth in (0, 1)
    )
    assert new.isdisjoint(old)
    assert {schedule["id"] for schedule in schedules_of(new_id)} == new
    assert schedules_of(old_id) == []


@pytest.mark.parametrize("calls", [300, 3_000, 40_000, 400_000])
def test_most_scheduled_times_have_a_call_at_any_size(calls: int) -> None:
    data = ProjectData.generate(calls=calls, functions=4, end_time=NOW)
    for schedule in data.schedules:
        columns = data.store(schedule["functionId"]).columns
        rows = columns["schedule_id"] == schedule["id"]
        times = set(columns["scheduled"][rows].tolist())
        gaps = [later - earlier for earlier, later in pairwise(sorted(times))]
        if len(times) > 20:
            expected = (max(times) - min(times)) / median(gaps)
            assert len(times) > 0.95 * expected


def test_log_of_a_failed_call_contains_its_trace() -> None:
    function_id = ids_of("calculate-pump-efficiency")[0]
    call = next(call for call in calls_of("calculate-pump-efficiency") if call["status"] == "Failed")
    lines = [line["message"] for line in log_lines(function_id, call["id"])]
    assert lines[0].startswith("Starting 'Calculate pump efficiency'")
    assert lines[-1] == call["error"]["message"]


def test_log_lines_are_ordered_and_within_the_call() -> None:
    function_id = ids_of("forward-alarms")[0]
    call = next(call for call in calls_of("forward-alarms") if call["status"] == "Completed")
    times = [line["timestamp"] for line in log_lines(function_id, call["id"])]
    assert times == sorted(times)
    assert call["startTime"] <= times[0]
    assert times[-1] <= call["endTime"]


def test_only_completed_calls_have_a_response() -> None:
    function_id = ids_of("forward-alarms")[0]
    for status, kind in (("Completed", dict), ("Failed", type(None))):
        call = next(call for call in calls_of("forward-alarms") if call["status"] == status)
        assert isinstance(project_data().response(function_id, call["id"]), kind)


def test_unknown_call_has_no_log() -> None:
    assert project_data().logs(ids_of("forward-alarms")[0], 12) is None


def test_invalid_records_are_served_unchanged() -> None:
    records: list[dict[str, object]] = [
        call_record(id=None),
        call_record(id=1.5),
        call_record(error="text"),
        call_record(status="Odd"),
        {"functionId": 7},
    ]
    served = data_of(*records).calls(7)
    assert sorted(map(json.dumps, served)) == sorted(map(json.dumps, records))


def test_bytes_are_served_unchanged() -> None:
    text = rb'{"id": 3, "functionId":7,"status":"Failed","startTime":5,"error":{"message":"\ud83d"}}'
    assert data_of(text).page(7, Filter(), limit=10).records == [text]


def test_lone_surrogate_in_a_record_becomes_an_escape() -> None:
    assert b"\\ud83d" in data_of(call_record(error="\ud83d")).page(7, Filter(), limit=1).records[0]


def test_calls_can_be_given_by_function() -> None:
    data = ProjectData.from_records(
        functions=[{"id": 7}], calls={7: [{"id": 1, "startTime": 5}], 8: [{"id": 2, "startTime": 6}]}
    )
    assert (data.calls(7), data.calls(8)) == ([{"id": 1, "startTime": 5}], [{"id": 2, "startTime": 6}])


def test_record_without_a_function_id_is_rejected_with_advice() -> None:
    with pytest.raises(ArgumentError, match="by function id"):
        data_of({"id": 1})


@pytest.mark.parametrize("start", [None, -5, "soon", 1.5, 2**70])
def test_invalid_start_passes_every_time_filter(start: object) -> None:
    data = data_of(call_record(startTime=start))
    assert len(data.page(7, Filter(start=Range(10**12, None)), limit=10).records) == 1


def test_records_with_the_same_id_are_both_listed() -> None:
    data = data_of(call_record(status="Running"), call_record(status="Completed"))
    first = data.page(7, Filter(), limit=1)
    second = data.page(7, Filter(), limit=1, after=first.next_position)
    assert {json.loads(text)["status"] for text in first.records + second.records} == {"Running", "Completed"}


def test_added_call_is_listed_by_its_start() -> None:
    data = data_of(call_record(id=1, startTime=10), call_record(id=2, startTime=30))
    data.add_call(call_record(id=3, startTime=20))
    assert [call["id"] for call in data.calls(7)] == [2, 3, 1]


def test_replaced_call_is_listed_once() -> None:
    data = data_of(call_record(status="Running"))
    data.replace_call(call_record(status="Completed"))
    assert data.calls(7) == [call_record(status="Completed")]


def test_call_that_does_not_exist_cannot_be_replaced() -> None:
    with pytest.raises(ArgumentError, match="no call 9"):
        data_of(call_record()).replace_call(call_record(id=9))


def test_call_can_be_added_to_a_generated_function() -> None:
    data = ProjectData.generate(calls=100, functions=1, end_time=NOW)
    function_id = data.functions[0]["id"]
    data.add_call(call_record(functionId=function_id, startTime=NOW_MS + 1))
    assert data.calls(function_id)[0]["startTime"] == NOW_MS + 1
    assert len(data.calls(function_id)) == 101


def test_function_is_removed_with_its_calls_and_schedules() -> None:
    data = ProjectData.from_records(
        functions=[{"id": 7}], schedules=[{"id": 1, "functionId": 7}], calls=[call_record()]
    )
    data.remove_function(7)
    assert (data.functions, data.schedules, data.call_count) == ([], [], 0)
    with pytest.raises(ArgumentError):
        data.calls(7)


def test_time_filter_includes_both_ends() -> None:
    data = data_of(*(call_record(id=at, startTime=at) for at in range(1, 8)))
    page = data.page(7, Filter(start=Range(3, 5)), limit=10)
    assert [json.loads(text)["id"] for text in page.records] == [5, 4, 3]


def test_history_of_a_year_is_a_year_long() -> None:
    data = ProjectData.generate(calls=2_000, functions=1, end_time=NOW, days=365)
    oldest = data.calls(data.functions[0]["id"])[-1]["startTime"]
    assert timedelta(milliseconds=NOW_MS - oldest) > timedelta(days=140)


# The function app


def app_id() -> int:
    return int(project_data().apps[0]["id"])


def test_large_project_has_a_function_app() -> None:
    (app,) = project_data().apps
    assert (app["externalId"], app["functionType"]) == ("update-energy-dashboard", "app")
    assert app["id"] not in {function["id"] for function in project_data().functions}
    assert small_data().apps


def test_completed_calls_of_the_app_may_return_an_error_of_their_handler() -> None:
    completed = [call for call in project_data().calls(app_id()) if call["status"] == "Completed"]
    responses = [project_data().response(app_id(), call["id"]) for call in completed]
    errors = [response for response in responses if not response["success"]]
    assert 0.05 < len(errors) / len(responses) < 0.09
    assert {error["statusCode"] for error in errors} == {400, 404, 500}
    assert all({"errorType", "message"} <= set(error) for error in errors)
    assert len({(response["method"], response["path"]) for response in responses}) == 4


def test_log_of_the_app_shows_the_error_that_the_response_reports() -> None:
    for call in project_data().calls(app_id())[:200]:
        response = project_data().response(app_id(), call["id"])
        text = " ".join(line["message"] for line in log_lines(app_id(), call["id"]))
        assert response is None or response.get("message", "") in text
