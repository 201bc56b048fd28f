"""A summary says what a slow calculation in plain Python says, and invents nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, MINUTE_MS, NOW_MS, SECOND_MS, call_frame, call_frames, few_examples, make_call
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from callframe import frame
from callframe.analysis.activity import status_counts as over_time
from callframe.analysis.summary import quantiles_by_function as spread
from callframe.analysis.summary import summarize
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import MAX_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callframe.api.schemas import Call

SPANS = "timedelta64[ms]"
DTYPES = {
    **dict.fromkeys(["calls", "completed", "failed", "timeout", "running", "stuck", "other"], "int64"),
    **dict.fromkeys(["failure_rate", "failure_rate_low", "failure_rate_high"], "float64"),
    **dict.fromkeys(["duration_p50", "duration_p50_low", "duration_p50_high", "duration_p50_above"], SPANS),
    **dict.fromkeys(["duration_p90", "duration_p90_above"], SPANS),
    **dict.fromkeys(["duration_p95", "duration_p95_low", "duration_p95_high", "duration_p95_above"], SPANS),
    **dict.fromkeys(["duration_p99", "duration_p99_above", "duration_max"], SPANS),
    **dict.fromkeys([f"schedule_delay_{name}" for name in ("p50", "p90", "p95", "p99", "max")], SPANS),
    "scheduled": "int64",
    "late_rate": "float64",
    "last_success_time": "datetime64[ms, UTC]",
    "longest_failure_streak": "int64",
}
WIDTHS = {"1h": 60 * MINUTE_MS, "7d": 7 * DAY_MS}
BYS = [["function"], ["schedule"], ["status"], ["function", "status"], ["schedule", "function"], ["status", "schedule"]]


def took(seconds: float | None, status: str = "Completed", **changes: Any) -> Call:
    """Make a call that took so long; its id is its place in a count that `calls_of` gives."""
    end = None if seconds is None else NOW_MS + round(seconds * SECOND_MS)
    return make_call(status=status, end_time=end, **changes)


def calls_of(*found: Call) -> pd.DataFrame:
    for number, call in enumerate(found, start=1):
        call.id = number
    return call_frame(*found)


def lasting(*lengths: float, **changes: Any) -> pd.DataFrame:
    return calls_of(*(took(length, **changes) for length in lengths))


def seconds(span: Any) -> float | None:
    return None if pd.isna(span) else int(pd.Timedelta(span).asm8.astype("timedelta64[ms]").astype("int64")) / SECOND_MS


# The slow way


def quantile(values: Sequence[float], percent: int) -> float | None:
    """Find the smallest value that at least this share of the values does not exceed."""
    return next((one for one in sorted(values) if 100 * sum(v <= one for v in values) >= percent * len(values)), None)


def kaplan_meier(observed: list[tuple[float, bool]]) -> dict[float, tuple[Fraction, float]]:
    """Find survival, exactly, and the variance of its logarithm after each time at which something ended."""
    left, variance, curve = Fraction(1), 0.0, {}
    for time in sorted({time for time, ended in observed if ended}):
        at_risk, ends = sum(one >= time for one, _ in observed), observed.count((time, True))
        left *= Fraction(at_risk - ends, at_risk)
        variance += ends / (at_risk * (at_risk - ends)) if at_risk > ends else math.inf
        curve[time] = left, variance
    return curve


def limits(curve: dict[float, tuple[Fraction, float]], percent: int) -> tuple[float | None, float | None]:
    """Find where the log-log band of a curve crosses a share, going along it."""
    rest, crossed = 1 - percent / 100, {}
    for sign in (1, -1):
        for time, (left, variance) in curve.items():
            if left == 0:
                inside = sign == 1
            else:
                error = 1.959963984540054 * math.sqrt(variance) / math.log(left)
                inside = float(left) ** math.exp(-sign * error) <= rest
            if inside:
                crossed[sign] = time
                break
    return crossed.get(1), crossed.get(-1)


def plain_rows(calls: pd.DataFrame) -> list[dict[str, Any]]:
    names = {"call_id": "call_id", "function": "function", "status": "status", "schedule_id": "schedule"}
    rows: list[dict[str, Any]] = []
    for number in range(len(calls)):
        row = {new: calls[old].iloc[number] for old, new in names.items()}
        row["schedule"] = None if pd.isna(row["schedule"]) else row["schedule"]
        row |= {name: seconds(calls[name].iloc[number]) for name in ("duration", "schedule_delay")}
        row |= {name: epoch(calls[name].iloc[number]) for name in ("scheduled_time", "start_time", "end_time")}
        rows.append(row)
    fetched = max(
        (row[name] for row in rows for name in ("start_time", "end_time") if row[name] is not None),
        default=0,
    )
    return [row | {"elapsed": (fetched - row["start_time"]) / SECOND_MS} for row in rows]


def epoch(moment: Any) -> int | None:
    """Count milliseconds since 1970."""
    return None if pd.isna(moment) else int(pd.Timestamp(moment).asm8.astype("datetime64[ms]").astype("int64"))


def slot(row: dict[str, Any], name: str) -> Any:
    """Find the group of a call; a week begins on a Monday, the fourth day after 1970 began."""
    if name not in WIDTHS:
        return row[name]
    origin = 4 * DAY_MS if name == "7d" else 0
    begin = (row["start_time"] - origin) // WIDTHS[name] * WIDTHS[name] + origin
    return pd.Timestamp(begin, unit="ms", tz="UTC")


def slow_summary(calls: pd.DataFrame, by: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in plain_rows(calls):
        groups[tuple(slot(row, name) for name in by)].append(row)
    return {key: slow_row(rows, by) for key, rows in groups.items()}


def worked(row: dict[str, Any]) -> float | None:
    """Find how long a call is known to have worked."""
    if row["status"] == "Running":
        return row["elapsed"] if row["elapsed"] <= 15 * 60 else None
    return 9 * 60 if row["status"] == "Timeout" and row["duration"] is None else row["duration"]


def longest_streak(rows: list[dict[str, Any]]) -> int:
    longest = streak = 0
    for row in sorted(rows, key=lambda row: (row["start_time"], row["call_id"])):
        if row["status"] in {"Completed", "Failed", "Timeout"}:
            streak = 0 if row["status"] == "Completed" else streak + 1
            longest = max(longest, streak)
    return longest


def slow_row(rows: list[dict[str, Any]], by: list[str]) -> dict[str, Any]:
    count = {status: sum(row["status"] == status for row in rows) for status in frame.STATUSES}
    failures, finished = count["Failed"] + count["Timeout"], len(rows)
    finished = failures + count["Completed"]
    interval = binomtest(failures, finished).proportion_ci(method="wilson") if finished else None
    delays = [row["schedule_delay"] for row in rows if row["schedule_delay"] is not None]
    told: dict[str, Any] = {status.lower(): count[status] for status in frame.STATUSES}
    told |= {"calls": len(rows), "other": len(rows) - sum(count.values())}
    told["stuck"] = sum(row["status"] == "Running" and row["elapsed"] > 15 * 60 for row in rows)
    told["failure_rate"] = failures / finished if finished else None
    told["failure_rate_low"] = interval.low if interval else None
    told["failure_rate_high"] = interval.high if interval else None
    told |= slow_durations(rows, by)
    for percent in (50, 90, 95, 99):
        told[f"schedule_delay_p{percent}"] = quantile(delays, percent)
    told["schedule_delay_max"] = max(delays, default=None)
    told["scheduled"] = len(delays)
    told["late_rate"] = sum(delay > 60 for delay in delays) / len(delays) if delays else None
    successes = [row["start_time"] for row in rows if row["status"] == "Completed"]
    told["last_success_time"] = max(successes, default=None)
    told["longest_failure_streak"] = longest_streak(rows)
    return told


def slow_durations(rows: list[dict[str, Any]], by: list[str]) -> dict[str, Any]:
    awaited = {row["status"] for row in rows} - {"Running"} if "status" in by else {"Completed"}
    found = [(time, row["status"] in awaited) for row in rows if (time := worked(row)) is not None]
    curve = kaplan_meier(found)
    told: dict[str, Any] = {
        "duration_max": max((row["duration"] for row in rows if row["duration"] is not None), default=None)
    }
    for percent in (50, 90, 95, 99):
        reached = next((time for time, (left, _) in curve.items() if left <= Fraction(100 - percent, 100)), None)
        told[f"duration_p{percent}"] = reached
        told[f"duration_p{percent}_above"] = max((one for one, _ in found), default=None) if reached is None else None
    for percent, fewest in ((50, 5), (95, 59)):
        low, high = limits(curve, percent) if sum(ended for _, ended in found) >= fewest else (None, None)
        told |= {f"duration_p{percent}_low": low, f"duration_p{percent}_high": high}
    return told


def if_known(value: Any) -> Any:
    return None if pd.isna(value) else value


def told_by(summary: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Any]]:
    told = {}
    keys: list[Any] = list(summary.index)
    for number, key in enumerate(keys):
        parts: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        row: dict[str, Any] = {str(name): column.iloc[number] for name, column in summary.items()}
        plain = {name: plainly(one, DTYPES[name]) for name, one in row.items()}
        told[tuple(map(if_known, parts))] = {name: if_known(one) for name, one in plain.items()}
    return told


def plainly(value: Any, dtype: str) -> Any:
    return epoch(value) if dtype.startswith("datetime") else seconds(value) if dtype == SPANS else value


def close(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-15)


def at_work(function_id: int, status: str, start: int, took: int | None, delay: int | None) -> Call:
    moment = NOW_MS + start * SECOND_MS
    end, scheduled = (None if one is None else one * SECOND_MS for one in (took, delay))
    return make_call(
        function_id=function_id,
        status=status,
        start_time=moment,
        end_time=None if end is None else moment + end,
        scheduled_time=None if scheduled is None else moment - scheduled,
    )


some = st.none() | st.integers(-2, 9) | st.integers(0, 1_000)
busy = st.lists(
    st.builds(
        at_work,
        st.integers(1, 2),
        st.sampled_from(["Completed"] * 4 + ["Failed", "Timeout", "Running", "Cancelled"]),
        st.integers(0, 900) | st.integers(0, 9_000),
        some,
        some,
    ),
    max_size=40,
).map(lambda found: calls_of(*found))
"""Call frames of few functions and short times, with ties and everything that can become of a call."""


@few_examples
@given(call_frames() | busy, st.sampled_from([*BYS, ["1h"], ["7d", "function"], ["status", "1h"]]))
def test_summary_is_what_the_slow_way_says(calls: pd.DataFrame, by: list[str]) -> None:
    fast, slow = told_by(summarize(calls, by)), slow_summary(calls, by)
    assert fast.keys() == slow.keys()
    assert [name for key in slow for name in slow[key] if not close(fast[key][name], slow[key][name])] == []


@few_examples
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
    row = summarize(calls_of(took(1), took(0.5, "Failed"), took(0.9, "Cancelled"), took(0.7, "Timeout"))).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95"])) == (1, 1)


def test_failed_call_would_have_taken_longer_than_it_had() -> None:
    row = summarize(calls_of(took(1), took(500, "Failed"))).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95_above"])) == (1, 500)


def test_running_call_is_known_to_take_longer_than_it_has_had_when_fetched() -> None:
    calls = calls_of(took(1), took(None, "Running"), took(None, "Running"))
    calls.attrs["callframe"] = {"fetched_at": "2026-09-30T12:01:40Z"}
    row = summarize(calls).iloc[0]
    assert (row["duration_p50"], seconds(row["duration_p50_above"])) == (pd.NaT, 100)


def test_frame_without_coverage_was_fetched_at_its_latest_time() -> None:
    calls = calls_of(took(None, "Running"), took(31, start_time=NOW_MS + 30 * SECOND_MS))
    row = summarize(calls[calls["status"] == "Running"]).iloc[0], summarize(calls, "status").loc["Running"]
    assert [seconds(one["duration_p50_above"]) for one in row] == [0, 31]


def test_unreadable_time_of_fetch_is_none() -> None:
    calls = calls_of(took(None, "Running"))
    calls.attrs["callframe"] = {"fetched_at": "yesterday", "functions": []}
    assert seconds(summarize(calls)["duration_p50_above"].iloc[0]) == 0


@pytest.mark.parametrize(("run_limit", "stuck"), [(None, 1), ("10min", 2), (pd.Timedelta(hours=1), 0)])
def test_running_call_beyond_the_run_limit_is_stuck(run_limit: Any, stuck: int) -> None:
    lengths = (0, 11, 16)
    calls = calls_of(*(make_call(status="Running", end_time=None, start_time=NOW_MS - k * MINUTE_MS) for k in lengths))
    row = summarize(calls, run_limit=run_limit).iloc[0]
    assert (row["running"], row["stuck"]) == (3, stuck)


def test_stuck_call_says_nothing_of_durations() -> None:
    calls = calls_of(took(1), make_call(status="Running", end_time=None, start_time=NOW_MS - DAY_MS))
    assert seconds(summarize(calls)["duration_p99"].iloc[0]) == 1


def test_durations_by_status_are_those_observed() -> None:
    summary = summarize(calls_of(took(3, "Failed"), took(5, "Failed"), took(540, "Timeout")), by="status")
    assert {status: seconds(one) for status, one in summary["duration_p50"].items()} == {"Failed": 3, "Timeout": 540}


def test_longest_duration_is_of_any_finished_call() -> None:
    assert seconds(summarize(calls_of(took(1), took(500, "Failed")))["duration_max"].iloc[0]) == 500


def test_quantile_among_the_timeouts_is_known_to_be_above_the_longest() -> None:
    row = summarize(calls_of(took(1), took(2), took(540, "Timeout"), took(539, "Timeout"))).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p50_above"])) == (2, None)
    assert (seconds(row["duration_p95"]), seconds(row["duration_p95_above"])) == (None, 540)


@pytest.mark.parametrize(("run_limit", "known"), [(None, 540), ("10min", 600)])
def test_timeout_without_an_end_had_the_run_limit(run_limit: str | None, known: int) -> None:
    row = summarize(calls_of(took(None, "Timeout")), run_limit=run_limit).iloc[0]
    assert (row["duration_p50"], seconds(row["duration_p50_above"]), row["duration_max"]) == (pd.NaT, known, pd.NaT)


@pytest.mark.parametrize(("completed", "known"), [(58, False), (59, True)])
def test_p95_has_an_interval_from_59_completed_calls(completed: int, known: bool) -> None:
    row = summarize(lasting(*range(1, completed + 1))).iloc[0]
    assert pd.notna(row["duration_p95_low"]) == known
    assert row["duration_p95_high"] is pd.NaT


def test_interval_of_p95_has_two_ends_from_99_calls() -> None:
    row = summarize(lasting(*range(1, 100))).iloc[0]
    assert [seconds(row[f"duration_p95{name}"]) for name in ("_low", "", "_high")] == [90, 95, 98]


@pytest.mark.parametrize(("completed", "known"), [(4, False), (5, True)])
def test_median_has_an_interval_from_5_completed_calls(completed: int, known: bool) -> None:
    assert pd.notna(summarize(lasting(*range(completed)))["duration_p50_low"].iloc[0]) == known


def test_quantile_is_a_duration_that_occurred() -> None:
    row = summarize(lasting(1, 2)).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95"])) == (1, 2)


def test_calls_that_no_schedule_started_have_no_delay() -> None:
    row = summarize(calls_of(took(1), took(1, scheduled_time=NOW_MS - 7 * SECOND_MS))).iloc[0]
    assert {seconds(row[f"schedule_delay_{name}"]) for name in ("p50", "p95", "max")} == {7}


def test_no_scheduled_call_is_no_delay() -> None:
    row = summarize(lasting(1)).iloc[0]
    assert row[["schedule_delay_p50", "schedule_delay_p95", "schedule_delay_max"]].isna().all()


def test_negative_delay_counts_as_it_is() -> None:
    row = summarize(calls_of(took(1, scheduled_time=NOW_MS + 3 * SECOND_MS))).iloc[0]
    assert seconds(row["schedule_delay_max"]) == -3


@pytest.mark.parametrize(
    ("late_after", "rate"),
    [("1min", 0.5), ("59s", 1.0), ("2min", 0.0), (pd.Timedelta(0), 1.0), (np.timedelta64(2, "m"), 0.0)],
)
def test_call_is_late_beyond_the_tolerance(late_after: Any, rate: float) -> None:
    calls = calls_of(*(took(1, scheduled_time=NOW_MS - MINUTE_MS - early_ms) for early_ms in (0, 1)), took(1))
    assert summarize(calls, late_after=late_after)["late_rate"].tolist() == [rate]


@pytest.mark.parametrize("name", ["late_after", "run_limit"])
@pytest.mark.parametrize("value", ["soon", "-1min", "1M", "", 5, pd.NaT, pd.Timedelta(-1), np.timedelta64(-1, "s")])
def test_span_that_cannot_be_read_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{name}=.* is not a duration"):
        summarize(lasting(1), **{name: value})


# Successes and streaks


def test_last_success_is_the_latest_start_of_a_completed_call() -> None:
    found = [took(9, start_time=NOW_MS), took(1, start_time=NOW_MS + 5), took(1, "Failed", start_time=NOW_MS + 7)]
    assert summarize(calls_of(*found))["last_success_time"].tolist() == [pd.Timestamp(NOW_MS + 5, unit="ms", tz="UTC")]


def test_no_success_has_no_time() -> None:
    assert summarize(lasting(1, status="Failed"))["last_success_time"].isna().all()


def test_success_at_epoch_0_is_one() -> None:
    last = summarize(calls_of(make_call(start_time=0, end_time=1)))["last_success_time"]
    assert last.tolist() == [pd.Timestamp(0, unit="ms", tz="UTC")]


@pytest.mark.parametrize(
    ("letters", "streak"),
    [("", 0), ("CC", 0), ("F", 1), ("FTF", 3), ("FFCFFFC", 3), ("FRF", 2), ("FXF", 2), ("FCF", 1)],
)
def test_streak_is_of_failures_in_a_row_among_finished_calls(letters: str, streak: int) -> None:
    status = {"C": "Completed", "F": "Failed", "T": "Timeout", "R": "Running", "X": "Cancelled"}
    found = [took(1, status[letter], start_time=NOW_MS + place) for place, letter in enumerate(letters)]
    assert summarize(calls_of(took(1, start_time=0), *found))["longest_failure_streak"].tolist() == [streak]


def test_streak_goes_by_start_time_whatever_the_order() -> None:
    found = [took(1, status, start_time=NOW_MS + k) for k, status in enumerate(["Failed", "Completed", "Failed"])]
    assert summarize(calls_of(*found).iloc[[0, 2, 1]])["longest_failure_streak"].tolist() == [1]


def test_streak_of_one_function_does_not_go_on_in_another() -> None:
    found = [took(1, "Failed", function_id=place % 2, start_time=NOW_MS + place) for place in range(6)]
    assert summarize(calls_of(*found))["longest_failure_streak"].tolist() == [3, 3]


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


@pytest.mark.parametrize(
    "by", ["colour", "", "Function", "0h", "1M", "-1h", [], ["function", "colour"], ["1h", "1d"], ["status"] * 2]
)
def test_unknown_grouping_is_refused(by: Any) -> None:
    with pytest.raises(
        ArgumentError, match="expected 'function', 'schedule', 'status', a duration such as '1h' or a list"
    ):
        summarize(lasting(1), by)


def test_frequency_groups_by_start_in_the_order_of_time() -> None:
    starts = (0, 59, 60, 200)
    summary = summarize(calls_of(*(took(1, "Failed", start_time=NOW_MS + one * MINUTE_MS) for one in starts)), by="1h")
    assert [f"{one:%H:%M}" for one in summary.index] == ["12:00", "13:00", "15:00"]
    assert (summary.index.name, summary["calls"].tolist()) == ("start_time", [2, 1, 1])


@pytest.mark.parametrize("by", ["7d", "1w", "14d"])
def test_weeks_begin_on_mondays(by: str) -> None:
    assert summarize(lasting(1), by).index[0].day_name() == "Monday"


def test_frequency_within_functions_keeps_their_order() -> None:
    found = [took(1, function_id=place % 2, start_time=NOW_MS + place * 30 * MINUTE_MS) for place in range(6)]
    summary = summarize(calls_of(*found), by=["function", "1h"])
    assert [name for name, _ in summary.index] == ["0"] * 3 + ["1"] * 3
    assert summary.index.names == ["function", "start_time"]


def test_as_many_groups_as_calls_are_as_right() -> None:
    starts = pd.to_datetime(NOW_MS + np.arange(70_000) * MINUTE_MS, unit="ms", utc=True).as_unit("ms")
    summary = summarize(lasting(1).take(np.zeros(70_000, dtype="int64")).assign(start_time=starts), by="1min")
    assert (len(summary), summary["calls"].max(), set(summary["longest_failure_streak"])) == (70_000, 1, {0})


COVERAGE: dict[str, Any] = {
    "fetched_at": "2026-10-01T00:00:00Z",
    "functions": [{"function_id": 1, "function": "1", "complete": False}],
}


def test_summary_carries_the_coverage() -> None:
    calls = lasting(1)
    calls.attrs["callframe"] = COVERAGE
    summary = summarize(calls)
    summary.attrs["callframe"]["functions"].clear()
    assert calls.attrs["callframe"] == COVERAGE


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
    calls = calls_of(took(1, scheduled_time=NOW_MS - SECOND_MS), took(1), took(1, function_id=7))
    assert spread(calls, "schedule_delay")["calls"].to_dict() == {"7": 1}


def test_spread_of_no_calls_is_empty() -> None:
    assert spread(frame.empty()).shape == (0, 6)


def test_spread_of_something_else_is_refused() -> None:
    with pytest.raises(ArgumentError, match="of='start_time'; expected 'duration' or 'schedule_delay'"):
        spread(lasting(1), "start_time")


def test_bins_are_whole_and_the_empty_ones_are_there() -> None:
    counts = over_time(calls_of(took(1), took(1, "Failed", start_time=NOW_MS + 3 * MINUTE_MS + 7)), bins=60)
    assert counts.index.tolist() == [pd.Timestamp(NOW_MS + one * MINUTE_MS, unit="ms", tz="UTC") for one in range(4)]
    assert counts[["Completed", "Failed"]].to_numpy().tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]


@few_examples
@given(st.lists(st.integers(NOW_MS, NOW_MS + 90 * DAY_MS), max_size=10), st.integers(1, 200))
def test_every_call_is_in_one_bin(starts: list[int], bins: int) -> None:
    calls = calls_of(*(took(1, start_time=one) for one in starts))
    counts = over_time(calls, bins)
    assert counts.to_numpy().sum() == len(starts)
    assert len(counts) <= bins + 1 or bins < 2


@pytest.mark.parametrize(
    "calls", [frame.empty(), lasting(1), calls_of(took(1, start_time=0), took(1, start_time=MAX_TIME_MS))]
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
@few_examples
@given(call_frames())
def test_calls_are_not_changed(measure: Callable[[pd.DataFrame], pd.DataFrame], calls: pd.DataFrame) -> None:
    before = calls.copy(deep=True)
    measure(calls)
    pd.testing.assert_frame_equal(calls, before, check_exact=True)
