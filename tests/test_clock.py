"""The service's clock, measured by the dates of its responses."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import HOUR_MS, NOW_MS
from services import FakeServer, ServedProject, client_of, json_reply, serve_project

import callframe as cf
from callframe.http.clock import ServiceClock, parse_date
from callframe.sample.project_data import ProjectData

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

NOW = pd.Timestamp(NOW_MS, unit="ms", tz="UTC")
NOW_S = 1_790_769_600.4
HOUR_S = 3600


def clock_after(*responses: tuple[float, float]) -> ServiceClock:
    """Return a clock whose local time is `NOW_S`, after responses of given times of the service and round trips."""
    clock = ServiceClock(lambda: NOW_S)
    for time_s, round_trip_s in responses:
        clock.observe(formatdate(time_s, usegmt=True), round_trip_s)
    return clock


def test_local_clock_is_used_where_responses_have_no_date() -> None:
    clock = ServiceClock(lambda: NOW_S)
    assert clock.needs_response
    clock.observe(None, 0.1)
    assert (clock.needs_response, clock.skew_ms, clock.now_ms()) == (False, None, int(NOW_S * 1000))


@pytest.mark.parametrize("ahead_s", [0.0, 0.3, -0.35])
def test_local_clock_is_right_as_far_as_whole_seconds_tell(ahead_s: float) -> None:
    clock = clock_after((NOW_S - ahead_s, 0.01))
    assert (clock.skew_ms, clock.now_ms()) == (0, int(NOW_S * 1000))


@pytest.mark.parametrize("ahead_s", [3 * HOUR_S, -3 * HOUR_S, 2.0, -2.0])
def test_wrong_local_clock_is_corrected_by_two_responses(ahead_s: float) -> None:
    service_s = NOW_S - ahead_s
    clock = clock_after((service_s, 0.01))
    assert clock.needs_response
    clock = clock_after((service_s, 0.01), (service_s, 0.01))
    assert not clock.needs_response
    assert service_s - 1 <= clock.now_ms() / 1000 <= service_s
    assert clock.skew_ms == pytest.approx(ahead_s * 1000, abs=1000)


def test_time_is_never_after_that_of_the_service_although_the_response_was_slow() -> None:
    service_s, round_trip_s = NOW_S - HOUR_S, 5.0
    clock = clock_after(*[(service_s - round_trip_s / 2, round_trip_s)] * 2)
    assert service_s - round_trip_s - 1 <= clock.now_ms() / 1000 <= service_s


def test_several_responses_measure_more_exactly_than_one() -> None:
    local_s = [0.0]
    clock = ServiceClock(lambda: local_s[0] + HOUR_S)
    for number in range(40):
        local_s[0] = NOW_S + number * 0.73
        clock.observe(formatdate(local_s[0], usegmt=True), 0.01)
    assert clock.skew_ms == pytest.approx(HOUR_S * 1000, abs=50)


def test_single_wrong_date_changes_nothing() -> None:
    for responses in ([NOW_S, NOW_S - HOUR_S, NOW_S], [NOW_S - HOUR_S, NOW_S]):
        clock = clock_after(*[(time_s, 0.01) for time_s in responses])
        assert (clock.needs_response, clock.skew_ms, clock.now_ms()) == (False, 0, int(NOW_S * 1000))


@pytest.mark.parametrize("time_s", [0, 253_402_300_799])
def test_date_more_than_a_year_away_is_never_believed(time_s: float) -> None:
    clock = clock_after(*[(time_s, 0.01)] * 5)
    assert (clock.needs_response, clock.skew_ms) == (False, None)


def test_clock_that_was_set_is_measured_again() -> None:
    local_s = [NOW_S]
    clock = ServiceClock(lambda: local_s[0])
    for ahead_s in (HOUR_S, -HOUR_S, 0):
        local_s[0] = NOW_S + ahead_s
        for _ in range(2):
            clock.observe(formatdate(NOW_S, usegmt=True), 0.01)
        assert clock.now_ms() / 1000 == pytest.approx(NOW_S, abs=1)


@pytest.mark.parametrize(
    "value", [None, "", "soon", "Thu, 01 Jan 99999 00:00:00 GMT", f"Thu, 1 Jan {'9' * 40} 0:0:0 GMT"]
)
def test_text_that_is_not_a_date_is_none(value: str | None) -> None:
    assert parse_date(value) is None


# Projects


def serve_with_skew(skew_ms: int, **options: Any) -> AbstractContextManager[ServedProject]:
    """Serve the sample project to a computer whose clock is wrong."""
    data = ProjectData.generate(calls=2_000, functions=4, end_time=NOW.to_pydatetime())
    return serve_project(data, local_clock=lambda: (NOW_MS + skew_ms) / 1000, **options)


@pytest.mark.parametrize("skew_ms", [3 * HOUR_MS, -3 * HOUR_MS])
def test_wrong_local_clock_loses_no_call_and_gives_no_false_missed_run(skew_ms: int) -> None:
    with serve_with_skew(0) as served:
        expected = served.project.calls(start="10d")
        missed = cf.missed_runs(expected, served.project.schedules())
    with serve_with_skew(skew_ms) as served:
        with pytest.warns(cf.ClockWarning, match=r"3\.0 h (ahead of|behind) that"):
            calls = served.project.calls(start="10d")
        assert len(cf.missed_runs(calls, served.project.schedules())) == len(missed)
    newest = expected[expected["start_time"] >= NOW - pd.Timedelta("1s")]
    assert set(expected["call_id"]) - set(calls["call_id"]) <= set(newest["call_id"])


@pytest.mark.parametrize("skew_ms", [3 * HOUR_MS, -3 * HOUR_MS])
def test_window_ends_at_the_now_of_the_service_and_the_skew_is_recorded(skew_ms: int) -> None:
    with serve_with_skew(skew_ms) as served, pytest.warns(cf.ClockWarning):
        known = served.project.calls(start="1d").attrs["callframe"]
    assert NOW - pd.Timedelta("1s") <= pd.Timestamp(known["fetched_at"]) <= NOW
    assert known["window"]["end"] == known["fetched_at"]
    assert known["clock_skew_ms"] == pytest.approx(skew_ms, abs=1000)


def test_wrong_local_clock_is_warned_of_once() -> None:
    with serve_with_skew(HOUR_MS) as served, pytest.warns(cf.ClockWarning) as warned:
        _ = [served.project.calls(start="1d") for _ in range(3)]
    assert len(warned) == 1


def test_coverage_says_that_the_service_sends_no_dates() -> None:
    with serve_with_skew(HOUR_MS, sends_date=False) as served:
        known = served.project.calls(start="1d").attrs["callframe"]
    assert (known["clock_skew_ms"], known["fetched_at"]) == (None, "2026-09-30T13:00:00.000Z")


def test_date_of_a_cached_response_is_not_used() -> None:
    date = formatdate(NOW_MS / 1000 - HOUR_MS / 1000, usegmt=True)
    server = FakeServer(json_reply({"items": []}, Date=date, Age="3600"))
    with client_of(server) as client:
        project = cf.Project(client, clock=lambda: NOW_MS / 1000)
        assert project.now_ms() == NOW_MS
    assert len(server.requests) == 1


def test_time_is_measured_by_a_request_if_none_was_sent() -> None:
    with serve_with_skew(HOUR_MS) as served, pytest.warns(cf.ClockWarning):
        assert NOW_MS - 1000 <= served.project.now_ms() <= NOW_MS
