"""A summary says what a slow calculation in plain Python says, and invents nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from builders import DAY, MINUTE, NOON, SECOND, frame_of, frames, record, steady
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from callframe import frame
from callframe.errors import ArgumentError, FrameError
from callframe.measures.summary import over_time, spread, summarize
from callframe.records import TIME_MAX_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callframe.records import Call

NEVER = math.inf
DTYPES = {
    **dict.fromkeys(["calls", "completed", "failed", "timeout", "running", "other"], "int64"),
    **dict.fromkeys(["failure_rate", "failure_rate_low", "failure_rate_high"], "float64"),
    **dict.fromkeys(["duration_p50", "duration_p95", "duration_p50_above", "duration_p95_above"], "timedelta64[ms]"),
    **dict.fromkeys(["duration_max", "schedule_delay_p50", "schedule_delay_p95"], "timedelta64[ms]"),
    "schedule_delay_max": "timedelta64[ms]",
}
BYS = [["function"], ["schedule"], ["status"], ["function", "status"], ["schedule", "function"], ["status", "schedule"]]


def took(seconds: float | None, status: str = "Completed", **changes: Any) -> Call:
    """Make a call that took so long; its id is its place in a count that `calls_of` gives."""
    end = None if seconds is None else NOON + round(seconds * SECOND)
    return record(status=status, end_time=end, **changes)


def calls_of(*found: Call) -> pd.DataFrame:
    for number, call in enumerate(found, start=1):
        call.id = number
    return frame_of(*found)


def lasting(*lengths: float, **changes: Any) -> pd.DataFrame:
    return calls_of(*(took(length, **changes) for length in lengths))


def seconds(span: Any) -> float | None:
    return None if pd.isna(span) else int(pd.Timedelta(span).asm8.astype("timedelta64[ms]").astype("int64")) / SECOND


# The slow way


def quantile(values: Sequence[float], percent: int) -> float | None:
    """Find the smallest value that at least this share of the values does not exceed."""
    return next((one for one in sorted(values) if 100 * sum(v <= one for v in values) >= percent * len(values)), None)


def plain_rows(calls: pd.DataFrame) -> list[dict[str, Any]]:
    names = {"call_id": "call_id", "function": "function", "status": "status", "schedule_id": "schedule"}
    rows: list[dict[str, Any]] = []
    for number in range(len(calls)):
        row = {new: calls[old].iloc[number] for old, new in names.items()}
        row["schedule"] = None if pd.isna(row["schedule"]) else row["schedule"]
        rows.append(row | {name: seconds(calls[name].iloc[number]) for name in ("duration", "schedule_delay")})
    return rows


def slow_summary(calls: pd.DataFrame, by: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in plain_rows(calls):
        groups[tuple(row[name] for name in by)].append(row)
    return {key: slow_row(rows) for key, rows in groups.items()}


def slow_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    count = {status: sum(row["status"] == status for row in rows) for status in frame.STATUSES}
    failures, finished = count["Failed"] + count["Timeout"], len(rows)
    finished = failures + count["Completed"]
    interval = binomtest(failures, finished).proportion_ci(method="wilson") if finished else None
    completed = [row["duration"] for row in rows if row["status"] == "Completed" and row["duration"] is not None]
    work = completed + [NEVER] * count["Timeout"]
    known = completed + [row["duration"] for row in rows if row["status"] == "Timeout" and row["duration"] is not None]
    delays = [row["schedule_delay"] for row in rows if row["schedule_delay"] is not None]
    told: dict[str, Any] = {status.lower(): count[status] for status in frame.STATUSES}
    told |= {"calls": len(rows), "other": len(rows) - sum(count.values())}
    told["failure_rate"] = failures / finished if finished else None
    told["failure_rate_low"] = interval.low if interval else None
    told["failure_rate_high"] = interval.high if interval else None
    for percent in (50, 95):
        found = quantile(work, percent)
        told[f"duration_p{percent}"] = None if found == NEVER else found
        told[f"duration_p{percent}_above"] = max(known, default=None) if found == NEVER else None
        told[f"schedule_delay_p{percent}"] = quantile(delays, percent)
    told["duration_max"] = max((row["duration"] for row in rows if row["duration"] is not None), default=None)
    told["schedule_delay_max"] = max(delays, default=None)
    return told


def known(value: Any) -> Any:
    return None if pd.isna(value) else value


def told_by(summary: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Any]]:
    told = {}
    keys: list[Any] = list(summary.index)
    for number, key in enumerate(keys):
        parts: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        row: dict[str, Any] = {str(name): column.iloc[number] for name, column in summary.items()}
        plain = {name: seconds(one) if DTYPES[name].startswith("time") else one for name, one in row.items()}
        told[tuple(map(known, parts))] = {name: known(one) for name, one in plain.items()}
    return told


def close(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-15)


@steady
@given(frames(), st.sampled_from(BYS))
def test_summary_is_what_the_slow_way_says(calls: pd.DataFrame, by: list[str]) -> None:
    fast, slow = told_by(summarize(calls, by)), slow_summary(calls, by)
    assert fast.keys() == slow.keys()
    assert [name for key in slow for name in slow[key] if not close(fast[key][name], slow[key][name])] == []


@steady
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 30))
def test_quantiles_are_those_of_the_slow_way(lengths: list[int], timeouts: int) -> None:
    calls = calls_of(*(took(one) for one in lengths), *(took(600, "Timeout") for _ in range(timeouts)))
    (fast,), (slow,) = told_by(summarize(calls)).values(), slow_summary(calls, ["function"]).values()
    assert [name for name in slow if not close(fast[name], slow[name])] == []


@pytest.mark.parametrize(("failures", "finished"), [(0, 1), (1, 1), (0, 30), (30, 30), (1, 30), (7, 200), (199, 200)])
def test_interval_is_that_of_scipy(failures: int, finished: int) -> None:
    calls = calls_of(*(took(1, "Failed" if one < failures else "Completed") for one in range(finished)))
    interval = binomtest(failures, finished).proportion_ci(method="wilson")
    row = summarize(calls).iloc[0]
    assert (row["failure_rate_low"], row["failure_rate_high"]) == pytest.approx(
        (interval.low, interval.high), abs=1e-12
    )


# Rates


def test_timeout_is_a_failure() -> None:
    assert summarize(calls_of(took(1), took(1, "Timeout")))["failure_rate"].tolist() == [0.5]


def test_running_calls_are_counted_and_in_no_rate() -> None:
    row = summarize(calls_of(took(None, "Running"), took(1, "Failed"))).iloc[0]
    assert (row["calls"], row["running"], row["failure_rate"]) == (2, 1, 1.0)


def test_unknown_statuses_are_counted_apart() -> None:
    row = summarize(calls_of(took(1, "Cancelled"), took(1))).iloc[0]
    assert (row["other"], row["failure_rate"]) == (1, 0.0)


@pytest.mark.parametrize("status", ["Running", "Cancelled"])
def test_no_finished_call_is_no_rate(status: str) -> None:
    rates = summarize(lasting(1, status=status))[["failure_rate", "failure_rate_low", "failure_rate_high"]]
    assert rates.isna().to_numpy().all()


# Spans


def test_durations_are_of_completed_work() -> None:
    row = summarize(calls_of(took(1), took(500, "Failed"), took(700, "Running"), took(900, "Cancelled"))).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95"])) == (1, 1)


def test_longest_duration_is_of_any_finished_call() -> None:
    assert seconds(summarize(calls_of(took(1), took(500, "Failed")))["duration_max"].iloc[0]) == 500


def test_quantile_among_the_timeouts_is_known_to_be_above_the_longest() -> None:
    row = summarize(calls_of(took(1), took(2), took(540, "Timeout"), took(539, "Timeout"))).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p50_above"])) == (2, None)
    assert (seconds(row["duration_p95"]), seconds(row["duration_p95_above"])) == (None, 540)


def test_timeouts_without_an_end_say_nothing_of_their_length() -> None:
    row = summarize(calls_of(took(None, "Timeout"))).iloc[0]
    assert row[["duration_p50", "duration_p50_above", "duration_max"]].isna().all()


def test_quantile_is_a_duration_that_occurred() -> None:
    row = summarize(lasting(1, 2)).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95"])) == (1, 2)


def test_calls_that_no_schedule_started_have_no_delay() -> None:
    row = summarize(calls_of(took(1), took(1, scheduled_time=NOON - 7 * SECOND))).iloc[0]
    assert {seconds(row[f"schedule_delay_{name}"]) for name in ("p50", "p95", "max")} == {7}


def test_no_scheduled_call_is_no_delay() -> None:
    row = summarize(lasting(1)).iloc[0]
    assert row[["schedule_delay_p50", "schedule_delay_p95", "schedule_delay_max"]].isna().all()


def test_negative_delay_counts_as_it_is() -> None:
    row = summarize(calls_of(took(1, scheduled_time=NOON + 3 * SECOND))).iloc[0]
    assert seconds(row["schedule_delay_max"]) == -3


# Groups


def test_function_with_the_most_failures_comes_first() -> None:
    found = [took(1, function_id=1), took(1, function_id=1), took(1, "Failed", function_id=2), took(1, function_id=3)]
    assert list(summarize(calls_of(*found)).index) == ["2", "1", "3"]


def test_functions_without_calls_have_no_row() -> None:
    calls = calls_of(took(1), took(1, function_id=7))
    assert list(summarize(calls[calls["function_id"] == 7]).index) == ["7"]


def test_calls_without_a_schedule_are_a_group() -> None:
    summary = summarize(calls_of(took(1), took(1, schedule_id=5), took(1)), by="schedule")
    assert (summary["calls"].tolist(), summary.index.isna().tolist()) == ([2, 1], [True, False])


def test_schedules_are_exact() -> None:
    calls = calls_of(took(1, schedule_id=2**53 - 1), took(1, schedule_id=2**53 - 2))
    assert sorted(summarize(calls, by="schedule").index) == [2**53 - 2, 2**53 - 1]


@pytest.mark.parametrize("by", BYS)
def test_groups_are_the_index(by: list[str]) -> None:
    assert list(summarize(lasting(1), by).index.names) == by


@pytest.mark.parametrize("calls", [frame.empty(), lasting(1), lasting(1, status="Running")])
@pytest.mark.parametrize("by", BYS)
def test_columns_are_always_the_same(calls: pd.DataFrame, by: list[str]) -> None:
    summary = summarize(calls, by)
    assert [(str(name), str(dtype)) for name, dtype in summary.dtypes.items()] == list(DTYPES.items())


@pytest.mark.parametrize("by", BYS)
def test_no_calls_are_no_groups(by: list[str]) -> None:
    assert len(summarize(frame.empty(), by)) == 0


@pytest.mark.parametrize("by", ["day", "", "Function", [], ["function", "day"]])
def test_unknown_grouping_is_refused(by: Any) -> None:
    with pytest.raises(ArgumentError, match="expected 'function', 'schedule', 'status', or several of them"):
        summarize(lasting(1), by)


# How values are spread, and calls over time


def test_spread_is_by_function_the_largest_median_last() -> None:
    calls = calls_of(took(9, function_id=1), took(1, function_id=2), took(2, function_id=2), took(3, function_id=2))
    found = spread(calls, shares=[0, 0.5, 1])
    assert [[seconds(one) for one in row] for row in found[[0, 0.5, 1]].to_numpy()] == [[1, 2, 3], [9, 9, 9]]
    assert found["calls"].to_dict() == {"2": 3, "1": 1}


def test_spread_among_the_timeouts_is_missing_and_last() -> None:
    found = spread(calls_of(took(1, "Timeout", function_id=1), took(5, function_id=2)), shares=[0.5])
    assert {name: seconds(one) for name, one in found[0.5].items()} == {"2": 5, "1": None}
    assert list(found.index) == ["2", "1"]


def test_spread_of_delays_leaves_out_calls_without_one() -> None:
    calls = calls_of(took(1, scheduled_time=NOON - SECOND), took(1), took(1, function_id=7))
    assert spread(calls, "schedule_delay")["calls"].to_dict() == {"2": 1}


def test_spread_of_no_calls_is_empty() -> None:
    assert spread(frame.empty()).shape == (0, 6)


def test_spread_of_something_else_is_refused() -> None:
    with pytest.raises(ArgumentError, match="of='start_time'; expected 'duration' or 'schedule_delay'"):
        spread(lasting(1), "start_time")


def test_bins_are_whole_and_the_empty_ones_are_there() -> None:
    counts = over_time(calls_of(took(1), took(1, "Failed", start_time=NOON + 3 * MINUTE + 7)), bins=60)
    assert counts.index.tolist() == [pd.Timestamp(NOON + one * MINUTE, unit="ms", tz="UTC") for one in range(4)]
    assert counts[["Completed", "Failed"]].to_numpy().tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]


@steady
@given(st.lists(st.integers(NOON, NOON + 90 * DAY), max_size=10), st.integers(1, 200))
def test_every_call_is_in_one_bin(starts: list[int], bins: int) -> None:
    calls = calls_of(*(took(1, start_time=one) for one in starts))
    counts = over_time(calls, bins)
    assert counts.to_numpy().sum() == len(starts)
    assert len(counts) <= bins + 1 or bins < 2


@pytest.mark.parametrize(
    "calls", [frame.empty(), lasting(1), calls_of(took(1, start_time=0), took(1, start_time=TIME_MAX_MS))]
)
def test_bins_count_in_milliseconds_up_to_the_year_9999(calls: pd.DataFrame) -> None:
    counts = over_time(calls)
    assert (str(counts.index.dtype), counts.to_numpy().sum()) == ("datetime64[ms, UTC]", len(calls))


def test_every_status_has_a_column() -> None:
    expected = ["Running", "Completed", "Failed", "Timeout"]
    assert [list(over_time(calls).columns) for calls in (frame.empty(), lasting(1))] == [expected, expected]


# All of them


@pytest.mark.parametrize("measure", [summarize, spread, over_time])
def test_what_is_no_call_frame_is_refused(measure: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(FrameError):
        measure(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("measure", [summarize, spread, over_time])
@steady
@given(frames())
def test_calls_are_not_changed(measure: Callable[[pd.DataFrame], pd.DataFrame], calls: pd.DataFrame) -> None:
    before = calls.copy(deep=True)
    measure(calls)
    pd.testing.assert_frame_equal(calls, before, check_exact=True)
