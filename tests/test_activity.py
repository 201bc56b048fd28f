"""Calls are counted when they start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, call_frame, call_frames, few_examples, make_call
from hypothesis import given
from hypothesis import strategies as st

from callframe import frame
from callframe.analysis.activity import by_hour_of_week, function_counts, status_counts
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import MAX_TIME_MS, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

NOON = timestamp(NOW_MS)


def starting(*starts: int, **changes: Any) -> pd.DataFrame:
    return call_frame(*(make_call(id=k, start_time=start, **changes) for k, start in enumerate(starts, start=1)))


def counts_of_an_hour(calls: pd.DataFrame) -> pd.DataFrame:
    return function_counts(calls, NOON, NOON + pd.Timedelta("1h"), bins=4)


# By status


def test_bins_are_whole_minutes_and_include_empty_ones() -> None:
    calls = call_frame(make_call(), make_call(id=2, status="Failed", start_time=NOW_MS + 3 * MINUTE_MS + 7))
    counts = status_counts(calls, bins=60)
    assert counts.index.tolist() == [timestamp(NOW_MS + minutes * MINUTE_MS) for minutes in range(4)]
    assert counts[["Completed", "Failed"]].to_numpy().tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]


@few_examples
@given(st.lists(st.integers(NOW_MS, NOW_MS + 90 * DAY_MS), max_size=10), st.integers(1, 200))
def test_every_call_is_in_one_bin(starts: list[int], bins: int) -> None:
    counts = status_counts(starting(*starts), bins)
    assert counts.to_numpy().sum() == len(starts)
    assert len(counts) <= bins + 1 or bins < 2


@pytest.mark.parametrize("calls", [frame.empty(), starting(NOW_MS), starting(0, MAX_TIME_MS)])
def test_bins_are_in_milliseconds_up_to_the_year_9999(calls: pd.DataFrame) -> None:
    counts = status_counts(calls)
    assert (str(counts.index.dtype), counts.to_numpy().sum()) == ("datetime64[ms, UTC]", len(calls))


@pytest.mark.parametrize("calls", [frame.empty(), starting(NOW_MS)])
def test_every_status_has_a_column(calls: pd.DataFrame) -> None:
    assert list(status_counts(calls).columns) == ["Running", "Completed", "Failed", "Timeout"]


# By function


def test_calls_and_failures_are_counted_by_function_and_bin() -> None:
    calls = call_frame(
        make_call(),
        make_call(id=2, status="Timeout", start_time=NOW_MS + 14 * MINUTE_MS),
        make_call(id=3, function_id=8, start_time=NOW_MS + 59 * MINUTE_MS),
    )
    assert counts_of_an_hour(calls).to_numpy().tolist() == [["7", 0, 2, 1], ["8", 3, 1, 0]]


def test_call_at_the_end_is_not_counted() -> None:
    assert counts_of_an_hour(starting(NOW_MS - 1, NOW_MS + HOUR_MS)).empty


# By hour of the week


def test_hours_of_all_weeks_are_counted_together() -> None:
    table = by_hour_of_week(starting(NOW_MS, NOW_MS + 7 * DAY_MS, NOW_MS + HOUR_MS))
    assert (table.loc["Wed", 12], table.loc["Wed", 13], table.to_numpy()[0, 0] == 0) == (2, 1, False)
    assert table.notna().sum().sum() == 2


def test_hours_are_those_of_the_time_zone() -> None:
    assert by_hour_of_week(starting(NOW_MS), tz="Asia/Tokyo").loc["Wed", 21] == 1


def test_failures_and_median_delays_are_by_hour_too() -> None:
    calls = starting(NOW_MS, NOW_MS + 1000, NOW_MS + 3000, scheduled_time=NOW_MS, status="Failed")
    assert by_hour_of_week(calls, "failures").loc["Wed", 12] == 3
    assert by_hour_of_week(calls, "delays").loc["Wed", 12] == 1


def test_unknown_measure_raises() -> None:
    with pytest.raises(ArgumentError, match="of='errors'; expected 'calls', 'failures' or 'delays'"):
        by_hour_of_week(starting(NOW_MS), "errors")  # type: ignore[arg-type] # what the test is about


# All of them


@pytest.mark.parametrize("count", [status_counts, counts_of_an_hour, by_hour_of_week])
def test_other_frame_raises(count: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(FrameError):
        count(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("count", [status_counts, counts_of_an_hour, by_hour_of_week])
@few_examples
@given(call_frames())
def test_input_is_not_changed(count: Callable[[pd.DataFrame], pd.DataFrame], calls: pd.DataFrame) -> None:
    before = calls.copy(deep=True)
    count(calls)
    pd.testing.assert_frame_equal(calls, before, check_exact=True)
