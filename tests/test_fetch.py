"""Parallel paging: every call once, with any page size, faults and interrupts."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import DAY_MS, NOW, NOW_MS, call_record, call_records, function_record
from hypothesis import given, settings
from hypothesis import strategies as st
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

from callframe import frame
from callframe.api import fetch, listing
from callframe.auth.tokens import TokenFunction
from callframe.completeness import coverage, is_complete
from callframe.errors import IncompleteWarning, RecordWarning
from callframe.frame import STATUSES
from callframe.project import Project
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults
from callframe.timespan import TimeRange, timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callframe.api.client import Client
    from callframe.api.fetch import FetchProgress, FunctionResult

FUNCTIONS = [function_record(id=number, name=f"f{number}", externalId=f"f{number}") for number in (7, 8, 9)]


def call_ids(calls: pd.DataFrame) -> list[int]:
    return [int(call_id) for call_id in calls["call_id"]]


def project_data(calls: Sequence[dict[str, Any]]) -> ProjectData:
    """Return project data with function 7."""
    return ProjectData.from_records(functions=[function_record()], calls=calls)


def calls_of_functions(count: int) -> list[dict[str, Any]]:
    return [call for function in FUNCTIONS for call in call_records(count, function_id=function["id"])]


def fetch_window(served: ServedProject, start_ms: int, end_ms: int) -> pd.DataFrame:
    return served.project.calls(start=timestamp(start_ms), end=timestamp(end_ms))


def run_queries(client: Client, function_ids: Sequence[int] = (7,), **arguments: Any) -> dict[int, FunctionResult]:
    """Read the last day of functions."""
    window = TimeRange(NOW_MS - DAY_MS, NOW_MS)
    return fetch.run_queries(client, listing.plan_queries(function_ids, window, workers=1), **arguments)


def requested_windows(served: ServedProject) -> list[tuple[int, int]]:
    """List the requested windows without duplicates, ends included."""
    ranges = [body["filter"]["startTime"] for body in served.request_bodies("/calls/list")]
    return sorted({(start_time["min"], start_time["max"]) for start_time in ranges})


# Windows


@pytest.mark.parametrize("workers", [1, 2, 5, 10])
def test_calls_at_the_edges_of_windows_appear_once(workers: int) -> None:
    starts = [NOW_MS - 100_000 + 10_000 * k + d for k in range(11) for d in (-1, 0, 1)]
    calls = [call_record(id=number, startTime=start) for number, start in enumerate(starts, 1)]
    with serve_project(project_data(calls), workers=workers) as served:
        fetched = fetch_window(served, NOW_MS - 100_000, NOW_MS)
        windows = requested_windows(served)
    assert call_ids(fetched) == [number for number, start in enumerate(starts, 1) if NOW_MS - 100_000 <= start < NOW_MS]
    assert len(windows) == workers


@pytest.mark.parametrize("length_ms", [1, 2, 3, 7])
def test_window_of_a_few_milliseconds_is_exact(length_ms: int) -> None:
    calls = [call_record(id=number, startTime=NOW_MS - 100 + number) for number in range(1, 50)]
    with serve_project(project_data(calls), page_cap=1) as served:
        fetched = fetch_window(served, NOW_MS - 80, NOW_MS - 80 + length_ms)
    assert call_ids(fetched) == list(range(20, 20 + length_ms))


def test_windows_are_consecutive_and_overlap_by_a_millisecond() -> None:
    with serve_project(project_data(call_records(300)), workers=10, page_cap=7) as served:
        fetched = fetch_window(served, NOW_MS - 10 * DAY_MS, NOW_MS)
        windows = requested_windows(served)
    smallest = [
        window
        for window in windows
        if not any(window != other and window[0] <= other[0] <= other[1] <= window[1] for other in windows)
    ]
    assert len(fetched) == 300
    assert (smallest[0][0], smallest[-1][1]) == (NOW_MS - 10 * DAY_MS - 1, NOW_MS)
    assert all(left[1] - 1 == right[0] for left, right in itertools.pairwise(smallest))


def test_long_query_is_split_for_idle_workers() -> None:
    with serve_project(project_data(call_records(300)), workers=5, page_cap=10) as served:
        fetched = fetch_window(served, NOW_MS - 10 * DAY_MS, NOW_MS)  # four of the five windows are empty
        windows = requested_windows(served)
    assert fetched["call_id"].is_unique
    assert len(fetched) == 300
    assert len(windows) > 5


def test_call_at_epoch_zero_is_in_the_window() -> None:
    with serve_project(
        ProjectData.from_records(
            functions=[function_record(createdTime=0)], calls=[call_record(startTime=0, endTime=0)]
        )
    ) as served:
        fetched = fetch_window(served, 0, 1)
    assert fetched["start_time"].to_list() == [pd.Timestamp(0, tz="UTC")]


def test_several_functions_are_fetched_together() -> None:
    calls = calls_of_functions(20)
    with serve_project(ProjectData.from_records(functions=FUNCTIONS, calls=calls), page_cap=7) as served:
        fetched = served.project.calls()
    assert fetched["function_id"].value_counts().to_dict() == {7: 20, 8: 20, 9: 20}
    assert fetched["function"].cat.categories.to_list() == ["f7", "f8", "f9"]


def test_concurrent_requests_are_limited_to_the_workers() -> None:
    calls = calls_of_functions(100)
    with serve_project(
        ProjectData.from_records(functions=FUNCTIONS, calls=calls), workers=3, page_cap=10, latency_s=0.01
    ) as served:
        served.project.calls()
        assert served.service.max_concurrent_requests == 3


# Pages


@pytest.mark.parametrize(("page_cap", "short_pages"), [(1, False), (7, False), (100, False), (2, True), (7, True)])
def test_all_calls_are_fetched_with_any_page_size(page_cap: int, short_pages: bool) -> None:
    faults = Faults(short_pages=short_pages, seed=3)
    with serve_project(
        project_data(call_records(40)),
        workers=2,
        page_cap=page_cap,
        faults=faults,
    ) as served:
        fetched = served.project.calls()
    assert call_ids(fetched) == [call["id"] for call in call_records(40)]
    assert is_complete(fetched)


def test_empty_page_with_a_cursor_is_not_the_last() -> None:
    replies = [
        json_reply({"items": [], "nextCursor": "a"}),
        json_reply({"items": [], "nextCursor": "b"}),
        json_reply({"items": [call_record()]}),
    ]
    with client_of(FakeServer(*replies), workers=1) as client:
        result = run_queries(client)[7]
    assert result.problems == []
    assert sum(table.num_rows for table in result.tables) == 1


@pytest.mark.parametrize("workers", [1, 5])
def test_repeated_cursor_ends_the_query_with_a_warning(workers: int) -> None:
    data = project_data(call_records(50))
    with serve_project(data, workers=workers, page_cap=7, faults=Faults(repeat_cursor=True)) as served:
        with pytest.warns(IncompleteWarning, match="same cursor twice, so the listing would never end"):
            fetched = fetch_window(served, NOW_MS - 60_000, NOW_MS)
        requests = len(served.request_bodies("/calls/list"))
    assert 0 < len(fetched) <= 50
    assert fetched["call_id"].is_unique
    assert requests < 100


def test_cursor_of_an_earlier_page_ends_the_query() -> None:
    pages = [json_reply({"items": [call_record(id=n)], "nextCursor": cursor}) for n, cursor in enumerate("abca", 1)]
    server = FakeServer(*pages)
    with client_of(server, workers=1) as client:
        result = run_queries(client)[7]
    assert "same cursor twice" in result.problems[0]
    assert len(server.requests) == 4


def test_window_whose_cursor_expired_is_read_in_parts() -> None:
    calls = calls_of_functions(20)
    with serve_project(
        ProjectData.from_records(functions=FUNCTIONS, calls=calls),
        workers=1,
        page_cap=7,
        faults=Faults(expire_cursors_after=2),
    ) as served:
        fetched = served.project.calls()
        statuses = {request.status for request in served.service.requests}
    assert sorted(call_ids(fetched)) == [call["id"] for call in calls]
    assert is_complete(fetched)
    assert 400 in statuses


def test_cursor_that_always_expires_is_a_problem_after_some_restarts() -> None:
    def respond(request: ReceivedRequest) -> Reply:
        if "cursor" in json.loads(request.body):
            return error_reply(400, "cursor expired")
        return json_reply({"items": [call_record()], "nextCursor": str(len(server.requests))})

    server = FakeServer(respond=respond)
    with client_of(server, workers=1) as client:
        result = run_queries(client)[7]
    assert "cursor expired" in result.problems[0]
    assert len(server.requests) <= 12  # cut once, then listed whole and started again three times
    assert frame.from_columns(result.tables, {})["call_id"].to_list() == [1]


def test_bad_request_on_the_first_page_is_not_an_expired_cursor() -> None:
    server = FakeServer(error_reply(400, "no such filter"))
    with client_of(server) as client:
        result = run_queries(client)[7]
    assert len(server.requests) == 1
    assert "no such filter" in result.problems[0]


def test_parameters_are_the_same_for_all_pages() -> None:
    with serve_project(project_data(call_records(30)), workers=1, page_cap=7) as served:
        served.project.calls(status="Completed")
        bodies = served.request_bodies("/calls/list")
    assert len(bodies) == 5
    assert len({json.dumps({**body, "cursor": None}, sort_keys=True) for body in bodies}) == 1


# Changes during the fetch


@pytest.mark.parametrize("page_cap", [1, 100])
@pytest.mark.parametrize("final_first", [True, False])
def test_call_that_ends_between_two_pages_is_completed(page_cap: int, final_first: bool) -> None:
    running = {"id": 1, "functionId": 7, "status": "Running", "startTime": NOW_MS - 60_000}
    states = [call_record(), running] if final_first else [running, call_record()]
    with serve_project(project_data(states), workers=1, page_cap=page_cap) as served:
        fetched = served.project.calls()
    assert fetched["status"].to_list() == ["Completed"]
    assert fetched["duration"].to_list() == [pd.Timedelta(seconds=30)]


def test_calls_that_start_during_the_fetch_are_not_in_it() -> None:
    data = project_data(call_records(50))
    with serve_project(data, page_cap=7, workers=2) as served:
        newer = itertools.count(NOW_MS)

        def report(_: FetchProgress) -> None:
            data.add_call(call_record(id=next(newer), startTime=next(newer)))

        window = TimeRange(NOW_MS - DAY_MS, NOW_MS)
        results = fetch.run_queries(served.client, listing.plan_queries([7], window, workers=2), report=report)
        fetched = frame.from_columns(results[7].tables, {})
    assert call_ids(fetched) == [call["id"] for call in call_records(50)]
    assert data.call_count > 50


def test_end_of_the_window_is_the_time_before_the_first_page() -> None:
    calls = [
        call_record(id=1, startTime=NOW_MS - 1),
        call_record(id=2, startTime=NOW_MS),
        call_record(id=3, startTime=NOW_MS + 1),
    ]
    with serve_project(project_data(calls), page_cap=1) as served:
        fetched = served.project.calls()
        bounds = {body["filter"]["startTime"]["max"] for body in served.request_bodies("/calls/list")}
    assert call_ids(fetched) == [1]
    assert max(bounds) == NOW_MS


def test_function_deleted_during_the_fetch_is_a_problem() -> None:
    data = project_data(call_records(50))

    def report(_: FetchProgress) -> None:
        if data.has_function(7):
            data.remove_function(7)

    with serve_project(data, page_cap=7, workers=1) as served:
        result = run_queries(served.client, report=report)[7]
    assert "404" in result.problems[0]
    assert sum(table.num_rows for table in result.tables) in {7, 14}


# All combinations


@st.composite
def drawn_calls(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw calls of three functions within forty milliseconds."""
    calls = []
    for number in range(draw(st.integers(0, 40))):
        call = {
            "id": number + 1,
            "functionId": draw(st.sampled_from([7, 8, 9])),
            "status": draw(st.sampled_from(STATUSES)),
        }
        call["startTime"] = NOW_MS - draw(st.integers(1, 40))
        if schedule := draw(st.sampled_from([None, 71, 72])):
            call |= {"scheduleId": schedule, "scheduledTime": call["startTime"]}
        calls.append(call)
    return calls


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    calls=drawn_calls(),
    edges=st.lists(st.integers(0, 45), min_size=2, max_size=2, unique=True).map(sorted),
    functions=st.sets(st.sampled_from([7, 8, 9]), min_size=1),
    statuses=st.sets(st.sampled_from(STATUSES)),
    schedule=st.sampled_from([None, 71, 72]),
    page_cap=st.sampled_from([1, 2, 7, 100]),
    workers=st.integers(1, 10),
    short_pages=st.booleans(),
)
def test_fetched_calls_are_those_that_match_the_query(  # noqa: PLR0917 - Hypothesis passes them by name
    calls: list[dict[str, Any]],
    edges: list[int],
    functions: set[int],
    statuses: set[str],
    schedule: int | None,
    page_cap: int,
    workers: int,
    short_pages: bool,
) -> None:
    start_ms, end_ms = NOW_MS - 42 + edges[0], NOW_MS - 42 + edges[1]
    data, faults = ProjectData.from_records(functions=FUNCTIONS, calls=calls), Faults(short_pages=short_pages)
    with serve_project(data, page_cap=page_cap, workers=workers, faults=faults) as served:
        window = TimeRange(start_ms, end_ms)
        schedules = [] if schedule is None else [(schedule, None)]
        queries = listing.plan_queries(
            sorted(functions), window, statuses=sorted(statuses), schedules=schedules, workers=workers
        )
        results = fetch.run_queries(served.client, queries)
    fetched = frame.from_columns([table for result in results.values() for table in result.tables], {})
    expected = [
        (call["startTime"], call["id"])
        for call in calls
        if start_ms <= call["startTime"] < end_ms and call["functionId"] in functions
        if not statuses or call["status"] in statuses
        if schedule is None or call.get("scheduleId") == schedule
    ]
    assert call_ids(fetched) == [number for _, number in sorted(expected)]
    assert all(not result.problems for result in results.values())


# Faults


def fetch_all(data: ProjectData, **options: Any) -> pd.DataFrame:
    with serve_project(data, now_ms=NOW_MS, page_cap=1000, **options) as served:
        return served.project.calls(start="15d")


def test_frame_is_identical_despite_transient_faults() -> None:
    data = ProjectData.generate(calls=100_000, end_time=NOW)
    faults = Faults(throttled=0.10, unavailable=0.05, reset=0.03, truncated=0.02, retry_after_s=0.01)
    expected, actual = fetch_all(data), fetch_all(data, faults=faults)
    assert len(expected) == 100_000
    assert is_complete(actual)
    assert frame.to_arrow(actual).equals(frame.to_arrow(expected))  # 50 times as fast as pandas
    pd.testing.assert_frame_equal(actual.iloc[::100], expected.iloc[::100])


def test_permanent_fault_is_a_warning_for_its_function_only() -> None:
    data = ProjectData.from_records(functions=FUNCTIONS, calls=call_records(30))
    faults, message = Faults(forbidden=frozenset({8})), "f8: 403 from .*functionsAcl:READ"
    with serve_project(data, faults=faults) as served, pytest.warns(IncompleteWarning, match=message):
        fetched = served.project.calls()
    assert len(fetched) == 30
    assert coverage(fetched).set_index("function")["complete"].to_dict() == {"f7": True, "f8": False, "f9": True}


def test_pages_before_a_permanent_error_are_kept() -> None:
    server = FakeServer(json_reply({"items": [call_record()], "nextCursor": "a"}), error_reply(500, "oops"))
    with client_of(server, workers=1) as client:
        result = run_queries(client)[7]
    assert sum(table.num_rows for table in result.tables) == 1
    assert "500" in result.problems[0]


class NotAnException(BaseException):
    """Error that `except Exception` does not catch."""


@pytest.mark.parametrize("error", [ValueError, SystemExit, NotAnException])
def test_unexpected_error_in_a_worker_does_not_block_the_fetch(error: type[BaseException]) -> None:
    def token() -> str:
        if threading.current_thread() is not threading.main_thread():
            raise error
        return "abc"

    with client_of(FakeServer(json_reply({"items": []})), credentials=TokenFunction(token)) as client:
        result = run_queries(client)[7]
    assert len(result.problems) == 1
    assert error.__name__ in result.problems[0]


# Ctrl-C


def interrupted_fetch(replies: Sequence[Reply]) -> tuple[pd.DataFrame, float]:
    """Press Ctrl-C when a server has stopped responding after some replies; returns the calls and the time to stop."""
    done = threading.Event()
    interrupt_times: list[float] = []

    def respond(request: ReceivedRequest) -> Reply:
        if request.path.endswith("/functions/list"):
            return json_reply({"items": [function_record()]})
        if len(server.requests) <= len(replies) + 1:
            return replies[len(server.requests) - 2]
        if not interrupt_times:
            interrupt_times.append(time.monotonic())
            signal.raise_signal(signal.SIGINT)
        return Reply(wait_for=done)

    server = FakeServer(respond=respond)
    with client_of(server, workers=1) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        try:
            fetched = Project(client, clock=lambda: NOW_MS / 1000).calls()
        except KeyboardInterrupt:
            pytest.fail("KeyboardInterrupt was raised.")
        finally:
            done.set()
        return fetched, time.monotonic() - interrupt_times[0]


def test_ctrl_c_ends_a_slow_fetch_and_keeps_what_was_read() -> None:
    fetched, elapsed_s = interrupted_fetch([json_reply({"items": call_records(5), "nextCursor": "a"})])
    assert elapsed_s < 1.5
    assert call_ids(fetched) == [call["id"] for call in call_records(5)]


def test_interrupted_fetch_is_incomplete() -> None:
    fetched, _ = interrupted_fetch([json_reply({"items": call_records(5), "nextCursor": "a"})])
    assert is_complete(fetched) is False
    assert coverage(fetched)["reason"].to_list() == [fetch.INTERRUPTED]


def test_ctrl_c_before_the_first_page_returns_an_empty_frame() -> None:
    fetched, elapsed_s = interrupted_fetch([])
    assert elapsed_s < 1.5
    assert fetched.empty
    assert is_complete(fetched) is False


def test_function_that_was_finished_before_the_interrupt_is_complete() -> None:
    calls = calls_of_functions(20)
    with serve_project(ProjectData.from_records(functions=FUNCTIONS, calls=calls), workers=1, page_cap=1000) as served:

        def report(progress: FetchProgress) -> None:
            if progress.fraction > 0.3:
                signal.raise_signal(signal.SIGINT)

        results = run_queries(served.client, [7, 8, 9], report=report)
    assert results[7].problems == []
    assert results[9].problems == [fetch.INTERRUPTED]


def test_stop_event_ends_the_fetch_and_keeps_what_was_read() -> None:
    done, stop = threading.Event(), threading.Event()

    def respond(request: ReceivedRequest) -> Reply:
        if request.path.endswith("/functions/list"):
            return json_reply({"items": [function_record()]})
        if len(server.requests) == 2:
            return json_reply({"items": call_records(5), "nextCursor": "a"})
        stop.set()
        return Reply(wait_for=done)

    server = FakeServer(respond=respond)
    with client_of(server, workers=1) as client, pytest.warns(IncompleteWarning, match=fetch.INTERRUPTED):
        fetched = Project(client, clock=lambda: NOW_MS / 1000).calls(stop=stop)
    done.set()
    assert call_ids(fetched) == [call["id"] for call in call_records(5)]


def test_worker_threads_end_with_the_fetch() -> None:
    with serve_project(project_data(call_records(20))) as served:
        served.project.calls()
        workers = [thread for thread in threading.enumerate() if thread.name.startswith("callframe-")]
        for worker in workers:
            if worker.name != "callframe-demo":
                worker.join(5)
        alive = {thread.name for thread in workers if thread.is_alive()}
    assert alive <= {"callframe-demo"}


# Progress


def test_progress_increases_to_one() -> None:
    fractions, rows = [], []

    def report(progress: FetchProgress) -> None:
        fractions.append(progress.fraction)
        rows.append(progress.rows)

    with serve_project(project_data(call_records(100)), page_cap=7) as served:
        window = TimeRange(NOW_MS - 100_000, NOW_MS)
        fetch.run_queries(served.client, listing.plan_queries([7], window, workers=5), report=report)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert rows[-1] == 100


# By ids


def test_ids_are_requested_in_chunks_of_ten_thousand() -> None:
    queries = listing.plan_queries_by_ids([7, 8], list(range(1, 25_001)))
    assert [(query.function_id, len(query.call_ids)) for query in queries] == [
        (7, 10_000), (7, 10_000), (7, 5_000), (8, 10_000), (8, 10_000), (8, 5_000)
    ]  # fmt: skip


def test_invalid_record_in_several_windows_is_counted_once() -> None:
    invalid = {"id": 5, "functionId": 7, "status": "Completed", "startTime": -1}
    data = project_data([invalid, call_record()])
    with serve_project(data) as served, pytest.warns(RecordWarning, match="1 records violate"):
        fetched = served.project.calls()
    assert coverage(fetched)["set_aside"].to_list() == [1]


def test_progress_says_what_is_waited_for() -> None:
    told: set[str] = set()
    busy, page = error_reply(503, headers={"Retry-After": "0.3"}), json_reply({"items": call_records(5)})

    def respond(_: ReceivedRequest) -> Reply:
        return busy if len(server.requests) == 1 else page

    server = FakeServer(respond=respond)
    with client_of(server) as client:
        query = listing.Query(7, TimeRange(NOW_MS - DAY_MS, NOW_MS))
        fetch.run_queries(client, [query], report=lambda progress: told.add(progress.text))
    assert {"0 calls, waiting, 503", "5 calls"} <= told
