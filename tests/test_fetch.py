"""Fetching: all calls of a window, each once, whatever the pages, the faults and the user's fingers do."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import signal
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import FakeServer, ReceivedRequest, Reply, ServedProject, client_of, error_reply, json_reply, serve_project

from callframe import frame
from callframe.api import fetch
from callframe.auth.credentials import TokenFunction
from callframe.completeness import coverage, is_complete
from callframe.errors import IncompleteWarning, RecordWarning
from callframe.frame import STATUSES
from callframe.project import Project
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults
from callframe.timespan import TimeRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callframe.api.client import Client
    from callframe.api.fetch import FetchProgress, FunctionResult

FUNCTIONS = [function_record(id=number, name=f"f{number}", externalId=f"f{number}") for number in (7, 8, 9)]


def ids(calls: pd.DataFrame) -> list[int]:
    numbers: list[int] = calls["call_id"].to_list()
    return numbers


def stamp(time_ms: int) -> pd.Timestamp:
    return pd.Timestamp(time_ms, unit="ms", tz="UTC")


def between(at: ServedProject, start_ms: int, end_ms: int, **arguments: Any) -> pd.DataFrame:
    return at.project.calls(start=stamp(start_ms), end=stamp(end_ms), **arguments)


def windows(at: ServedProject) -> list[tuple[int, int]]:
    """List the windows that were asked for, ends included, each once."""
    ranges = [body["filter"]["startTime"] for body in at.request_bodies("/calls/list")]
    return sorted({(one["min"], one["max"]) for one in ranges})


# Windows


@pytest.mark.parametrize("workers", [1, 2, 5, 10])
def test_calls_at_the_edges_of_windows_appear_once(workers: int) -> None:
    starts = [NOW_MS - 100_000 + 10_000 * k + d for k in range(11) for d in (-1, 0, 1)]
    calls = [call_record(id=number, startTime=start) for number, start in enumerate(starts, 1)]
    with serve_project(ProjectData.of(functions=[function_record()], calls=calls), workers=workers) as at:
        found = between(at, NOW_MS - 100_000, NOW_MS)
        asked = windows(at)
    assert ids(found) == [number for number, start in enumerate(starts, 1) if NOW_MS - 100_000 <= start < NOW_MS]
    assert len(asked) == workers


@pytest.mark.parametrize("length_ms", [1, 2, 3, 7])
def test_window_of_a_few_milliseconds_is_read_exactly(length_ms: int) -> None:
    calls = [call_record(id=number, startTime=NOW_MS - 100 + number) for number in range(1, 50)]
    with serve_project(ProjectData.of(functions=[function_record()], calls=calls), page_cap=1) as at:
        found = between(at, NOW_MS - 80, NOW_MS - 80 + length_ms)
    assert ids(found) == list(range(20, 20 + length_ms))


def test_windows_touch_and_do_not_overlap() -> None:
    with serve_project(
        ProjectData.of(functions=[function_record()], calls=call_records(300)), workers=10, page_cap=7
    ) as at:
        found = between(at, NOW_MS - 10 * DAY_MS, NOW_MS)
        asked = windows(at)
    shortest = [
        one for one in asked if not any(one != other and one[0] <= other[0] <= other[1] <= one[1] for other in asked)
    ]
    assert len(found) == 300
    assert (shortest[0][0], shortest[-1][1]) == (NOW_MS - 10 * DAY_MS, NOW_MS - 1)
    assert all(left[1] + 1 == right[0] for left, right in itertools.pairwise(shortest))


def test_long_listing_is_cut_for_idle_workers() -> None:
    with serve_project(
        ProjectData.of(functions=[function_record()], calls=call_records(300)), workers=5, page_cap=10
    ) as at:
        found = between(at, NOW_MS - 10 * DAY_MS, NOW_MS)  # four of the five windows hold nothing
        asked = windows(at)
    assert found["call_id"].is_unique
    assert len(found) == 300
    assert len(asked) > 5


def test_call_of_epoch_zero_is_in_the_window() -> None:
    with serve_project(
        ProjectData.of(functions=[function_record(createdTime=0)], calls=[call_record(startTime=0, endTime=0)])
    ) as at:
        found = between(at, 0, 1)
    assert found["start_time"].to_list() == [pd.Timestamp(0, tz="UTC")]


def test_many_functions_are_read_together() -> None:
    calls = [call for one in FUNCTIONS for call in call_records(20, function_id=one["id"])]
    with serve_project(ProjectData.of(functions=FUNCTIONS, calls=calls), page_cap=7) as at:
        found = at.project.calls()
    assert found["function_id"].value_counts().to_dict() == {7: 20, 8: 20, 9: 20}
    assert found["function"].cat.categories.to_list() == ["f7", "f8", "f9"]


def test_no_more_requests_at_once_than_workers() -> None:
    calls = [call for one in FUNCTIONS for call in call_records(100, function_id=one["id"])]
    with serve_project(ProjectData.of(functions=FUNCTIONS, calls=calls), workers=3, page_cap=10, latency_s=0.01) as at:
        at.project.calls()
        assert at.service.most_at_once == 3


# Pages


@pytest.mark.parametrize(("page_cap", "short_pages"), [(1, False), (7, False), (100, False), (2, True), (7, True)])
def test_pages_of_every_size_add_up(page_cap: int, short_pages: bool) -> None:
    faults = Faults(short_pages=short_pages, seed=3)
    with serve_project(
        ProjectData.of(functions=[function_record()], calls=call_records(40)),
        workers=2,
        page_cap=page_cap,
        faults=faults,
    ) as at:
        found = at.project.calls()
    assert ids(found) == [call["id"] for call in call_records(40)]
    assert is_complete(found)


def test_page_without_calls_that_goes_on_is_not_the_end() -> None:
    replies = [
        json_reply({"items": [], "nextCursor": "a"}),
        json_reply({"items": [], "nextCursor": "b"}),
        json_reply({"items": [call_record()]}),
    ]
    with client_of(FakeServer(*replies), workers=1) as client:
        reading = read(client)
    assert reading.problems == []
    assert sum(table.num_rows for table in reading.tables) == 1


def read(client: Client, **arguments: Any) -> FunctionResult:
    """Read the last day of function 7."""
    window = TimeRange(NOW_MS - DAY_MS, NOW_MS)
    return fetch.run_queries(client, fetch.plan_queries([7], window, workers=1), **arguments)[7]


@pytest.mark.parametrize("workers", [1, 5])
def test_same_cursor_twice_ends_the_listing_and_is_told(workers: int) -> None:
    world = ProjectData.of(functions=[function_record()], calls=call_records(50))
    with serve_project(world, workers=workers, page_cap=7, faults=Faults(repeat_cursor=True)) as at:
        with pytest.warns(IncompleteWarning, match="same cursor twice, so the listing would never end"):
            found = between(at, NOW_MS - 60_000, NOW_MS)
        requests = len(at.request_bodies("/calls/list"))
    assert 0 < len(found) <= 50
    assert found["call_id"].is_unique
    assert requests < 100


def test_cursor_that_came_some_pages_ago_is_noticed_too() -> None:
    pages = [json_reply({"items": [call_record(id=n)], "nextCursor": cursor}) for n, cursor in enumerate("abca", 1)]
    raw = FakeServer(*pages)
    with client_of(raw, workers=1) as client:
        reading = read(client)
    assert "same cursor twice" in reading.problems[0]
    assert len(raw.requests) == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_expired_cursor_restarts_its_window(workers: int) -> None:
    calls = [call for one in FUNCTIONS for call in call_records(20, function_id=one["id"])]
    with serve_project(
        ProjectData.of(functions=FUNCTIONS, calls=calls),
        workers=workers,
        page_cap=7,
        faults=Faults(expire_cursors_after=2),
    ) as at:
        found = at.project.calls()
        statuses = {asked.status for asked in at.service.requests}
    assert sorted(ids(found)) == [call["id"] for call in calls]
    assert is_complete(found)
    assert 400 in statuses


def test_cursors_that_always_expire_are_given_up_and_told() -> None:
    def answer(heard: ReceivedRequest) -> Reply:
        if "cursor" in json.loads(heard.body):
            return error_reply(400, "cursor expired")
        return json_reply({"items": [call_record()], "nextCursor": str(len(raw.requests))})

    raw = FakeServer(respond=answer)
    with client_of(raw, workers=1) as client:
        reading = read(client)
    assert "cursor expired" in reading.problems[0]
    assert len(raw.requests) == 8  # the window is begun four times, and each time the second page fails
    assert frame.from_columns(reading.tables, {})["call_id"].to_list() == [1]


def test_bad_request_on_the_first_page_is_no_expired_cursor() -> None:
    raw = FakeServer(error_reply(400, "no such filter"))
    with client_of(raw) as client:
        reading = read(client)
    assert len(raw.requests) == 1
    assert "no such filter" in reading.problems[0]


def test_parameters_stay_the_same_while_a_cursor_is_followed() -> None:
    with serve_project(
        ProjectData.of(functions=[function_record()], calls=call_records(30)), workers=1, page_cap=7
    ) as at:
        at.project.calls(status="Completed")
        bodies = at.request_bodies("/calls/list")
    assert len(bodies) == 5
    assert len({json.dumps({**body, "cursor": None}, sort_keys=True) for body in bodies}) == 1


# Calls that change meanwhile


@pytest.mark.parametrize("page_cap", [1, 100])
@pytest.mark.parametrize("final_first", [True, False])
def test_call_that_finishes_between_two_pages_is_kept_as_finished(page_cap: int, final_first: bool) -> None:
    running = {"id": 1, "functionId": 7, "status": "Running", "startTime": NOW_MS - 60_000}
    states = [call_record(), running] if final_first else [running, call_record()]
    with serve_project(ProjectData.of(functions=[function_record()], calls=states), workers=1, page_cap=page_cap) as at:
        found = at.project.calls()
    assert found["status"].to_list() == ["Completed"]
    assert found["duration"].to_list() == [pd.Timedelta(seconds=30)]


def test_calls_that_arrive_after_the_fetch_began_are_not_in_it() -> None:
    world = ProjectData.of(functions=[function_record()], calls=call_records(50))
    with serve_project(world, page_cap=7, workers=2) as at:
        newer = itertools.count(NOW_MS)

        def report(_: FetchProgress) -> None:
            world.add_call(call_record(id=next(newer), startTime=next(newer)))

        window = TimeRange(NOW_MS - DAY_MS, NOW_MS)
        readings = fetch.run_queries(at.client, fetch.plan_queries([7], window, workers=2), report=report)
        found = frame.from_columns(readings[7].tables, {})
    assert ids(found) == [call["id"] for call in call_records(50)]
    assert world.call_count > 50


def test_upper_bound_is_pinned_before_the_first_page() -> None:
    calls = [
        call_record(id=1, startTime=NOW_MS - 1),
        call_record(id=2, startTime=NOW_MS),
        call_record(id=3, startTime=NOW_MS + 1),
    ]
    with serve_project(ProjectData.of(functions=[function_record()], calls=calls), page_cap=1) as at:
        found = at.project.calls()
        bounds = {body["filter"]["startTime"]["max"] for body in at.request_bodies("/calls/list")}
    assert ids(found) == [1]
    assert max(bounds) == NOW_MS - 1


def test_function_deleted_during_the_fetch_is_told() -> None:
    world = ProjectData.of(functions=[function_record()], calls=call_records(50))

    def report(_: FetchProgress) -> None:
        if world.has_function(7):
            world.remove_function(7)

    with serve_project(world, page_cap=7, workers=1) as at:
        reading = read(at.client, report=report)
    assert "404" in reading.problems[0]
    assert sum(table.num_rows for table in reading.tables) in {7, 14}


# Any world


@st.composite
def calls_of_worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw calls of three functions that crowd into forty milliseconds."""
    made = []
    for number in range(draw(st.integers(0, 40))):
        call = {
            "id": number + 1,
            "functionId": draw(st.sampled_from([7, 8, 9])),
            "status": draw(st.sampled_from(STATUSES)),
        }
        call["startTime"] = NOW_MS - draw(st.integers(1, 40))
        if schedule := draw(st.sampled_from([None, 71, 72])):
            call |= {"scheduleId": schedule, "scheduledTime": call["startTime"]}
        made.append(call)
    return made


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    calls=calls_of_worlds(),
    edges=st.lists(st.integers(0, 45), min_size=2, max_size=2, unique=True).map(sorted),
    functions=st.sets(st.sampled_from([7, 8, 9]), min_size=1),
    statuses=st.sets(st.sampled_from(STATUSES)),
    schedule=st.sampled_from([None, 71, 72]),
    page_cap=st.sampled_from([1, 2, 7, 100]),
    workers=st.integers(1, 10),
    short_pages=st.booleans(),
)
def test_fetch_is_what_the_world_holds(  # noqa: PLR0917 - Hypothesis names them all
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
    world, faults = ProjectData.of(functions=FUNCTIONS, calls=calls), Faults(short_pages=short_pages)
    with serve_project(world, page_cap=page_cap, workers=workers, faults=faults) as at:
        window = TimeRange(start_ms, end_ms)
        schedules = [] if schedule is None else [(schedule, None)]
        wanted = fetch.plan_queries(
            sorted(functions), window, statuses=sorted(statuses), schedules=schedules, workers=workers
        )
        readings = fetch.run_queries(at.client, wanted)
    found = frame.from_columns([table for reading in readings.values() for table in reading.tables], {})
    expected = [
        (call["startTime"], call["id"])
        for call in calls
        if start_ms <= call["startTime"] < end_ms and call["functionId"] in functions
        if not statuses or call["status"] in statuses
        if schedule is None or call.get("scheduleId") == schedule
    ]
    assert ids(found) == [number for _, number in sorted(expected)]
    assert all(not reading.problems and reading.unread == 0 for reading in readings.values())


# Faults


END = dt.datetime(2026, 6, 15, 12, 34, 56, tzinfo=dt.UTC)


def all_calls(world: ProjectData, **options: Any) -> pd.DataFrame:
    with serve_project(world, now_ms=int(END.timestamp() * 1000), page_cap=1000, **options) as at:
        return at.project.calls(start="15d")


def test_hundred_thousand_calls_through_faults_give_the_identical_frame() -> None:
    world = ProjectData.generate(calls=100_000, end_time=END)
    faults = Faults(too_many=0.10, unavailable=0.05, reset=0.03, cut=0.02, retry_after_s=0.01)
    whole, through = all_calls(world), all_calls(world, faults=faults)
    assert len(whole) == 100_000
    assert is_complete(through)
    assert frame.to_arrow(through).equals(frame.to_arrow(whole))  # all of it, 50 times as fast as pandas' own
    pd.testing.assert_frame_equal(through.iloc[::100], whole.iloc[::100])


def test_faults_beyond_the_budget_are_told_for_what_they_hit() -> None:
    world = ProjectData.of(functions=FUNCTIONS, calls=call_records(30))
    faults, words = Faults(forbidden=frozenset({8})), "f8: 403 from .*functionsAcl:READ"
    with serve_project(world, faults=faults) as at, pytest.warns(IncompleteWarning, match=words):
        found = at.project.calls()
    assert len(found) == 30
    assert coverage(found).set_index("function")["complete"].to_dict() == {"f7": True, "f8": False, "f9": True}


def test_page_that_fails_for_good_leaves_those_before_it() -> None:
    raw = FakeServer(json_reply({"items": [call_record()], "nextCursor": "a"}), error_reply(500, "oops"))
    with client_of(raw, workers=1) as client:
        reading = read(client)
    assert sum(table.num_rows for table in reading.tables) == 1
    assert "500" in reading.problems[0]


class Stop(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize("error", [ValueError, SystemExit, Stop])
def test_worker_that_breaks_does_not_keep_the_fetch_waiting(error: type[BaseException]) -> None:
    def token() -> str:
        if threading.current_thread() is not threading.main_thread():
            raise error
        return "abc"

    with client_of(FakeServer(json_reply({"items": []})), credentials=TokenFunction(token)) as client:
        reading = read(client)
    assert len(reading.problems) == 1
    assert error.__name__ in reading.problems[0]


# Ctrl-C


def interrupted(replies: Sequence[Reply], *, workers: int = 1) -> tuple[pd.DataFrame, float]:
    """Fetch until the last reply is asked for, which never comes; then Ctrl-C. Gives the frame and how long it took."""
    never = threading.Event()
    pressed: list[float] = []

    def answer(heard: ReceivedRequest) -> Reply:
        if heard.path.endswith("/functions/list"):
            return json_reply({"items": [function_record()]})
        if len(raw.requests) <= len(replies) + 1:
            return replies[len(raw.requests) - 2]
        if not pressed:
            pressed.append(time.monotonic())
            signal.raise_signal(signal.SIGINT)
        return Reply(wait_for=never)

    raw = FakeServer(respond=answer)
    with client_of(raw, workers=workers) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteWarning)
        try:
            found = Project(client, clock=lambda: NOW_MS / 1000).calls()
        except KeyboardInterrupt:
            pytest.fail("The interrupt was not kept in.")
        finally:
            never.set()
        return found, time.monotonic() - pressed[0]


def test_ctrl_c_ends_a_slow_fetch_at_once_and_keeps_what_was_read() -> None:
    found, seconds = interrupted([json_reply({"items": call_records(5), "nextCursor": "a"})])
    assert seconds < 1.5
    assert ids(found) == [call["id"] for call in call_records(5)]


def test_interrupted_fetch_is_marked_as_such() -> None:
    found, _ = interrupted([json_reply({"items": call_records(5), "nextCursor": "a"})])
    assert is_complete(found) is False
    assert coverage(found)["reason"].to_list() == [fetch.INTERRUPTED]


def test_ctrl_c_before_the_first_page_gives_an_empty_frame() -> None:
    found, seconds = interrupted([])
    assert seconds < 1.5
    assert found.empty
    assert is_complete(found) is False


def test_interrupted_function_that_was_read_to_its_end_is_complete() -> None:
    calls = [call for one in FUNCTIONS for call in call_records(20, function_id=one["id"])]
    with serve_project(ProjectData.of(functions=FUNCTIONS, calls=calls), workers=1, page_cap=1000) as at:

        def report(so_far: FetchProgress) -> None:
            if so_far.fraction > 0.3:
                signal.raise_signal(signal.SIGINT)

        window = TimeRange(NOW_MS - DAY_MS, NOW_MS)
        readings = fetch.run_queries(at.client, fetch.plan_queries([7, 8, 9], window, workers=1), report=report)
    assert readings[7].problems == []
    assert readings[9].problems == [fetch.INTERRUPTED]


def test_event_set_by_another_thread_ends_a_fetch_and_keeps_what_was_read() -> None:
    never, stop = threading.Event(), threading.Event()

    def answer(heard: ReceivedRequest) -> Reply:
        if heard.path.endswith("/functions/list"):
            return json_reply({"items": [function_record()]})
        if len(raw.requests) == 2:
            return json_reply({"items": call_records(5), "nextCursor": "a"})
        stop.set()
        return Reply(wait_for=never)

    raw = FakeServer(respond=answer)
    with client_of(raw, workers=1) as client, pytest.warns(IncompleteWarning, match=fetch.INTERRUPTED):
        found = Project(client, clock=lambda: NOW_MS / 1000).calls(stop=stop)
    never.set()
    assert ids(found) == [call["id"] for call in call_records(5)]


def test_workers_end_with_the_fetch() -> None:
    with serve_project(ProjectData.of(functions=[function_record()], calls=call_records(20))) as at:
        at.project.calls()
        workers = [thread for thread in threading.enumerate() if thread.name.startswith("callframe-")]
        for worker in workers:
            if worker.name != "callframe-demo":
                worker.join(5)
        alive = {thread.name for thread in workers if thread.is_alive()}
    assert alive <= {"callframe-demo"}


# Progress


def test_progress_grows_to_the_whole() -> None:
    shares, rows = [], []

    def report(so_far: FetchProgress) -> None:
        shares.append(so_far.fraction)
        rows.append(so_far.rows)

    with serve_project(ProjectData.of(functions=[function_record()], calls=call_records(100)), page_cap=7) as at:
        window = TimeRange(NOW_MS - 100_000, NOW_MS)
        fetch.run_queries(at.client, fetch.plan_queries([7], window, workers=5), report=report)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert rows[-1] == 100


# By ids


def test_ids_are_asked_for_in_requests_of_ten_thousand() -> None:
    wanted = fetch.plan_queries_by_ids([7, 8], list(range(1, 25_001)))
    assert [(one.function_id, len(one.call_ids)) for one in wanted] == [
        (7, 10_000), (7, 10_000), (7, 5_000), (8, 10_000), (8, 10_000), (8, 5_000)
    ]  # fmt: skip


def test_broken_record_is_counted_once_though_every_window_shows_it() -> None:
    broken = {"id": 5, "functionId": 7, "status": "Completed", "startTime": -1}
    world = ProjectData.of(functions=[function_record()], calls=[broken, call_record()])
    with serve_project(world) as at, pytest.warns(RecordWarning, match="1 records violate"):
        found = at.project.calls()
    assert coverage(found)["set_aside"].to_list() == [1]
