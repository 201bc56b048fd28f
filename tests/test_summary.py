"""A summary agrees with a slow calculation in plain Python, and what is not known is missing."""

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
from callframe.analysis.statistics import Blocks
from callframe.analysis.summary import quantiles_by_function, summarize
from callframe.errors import ArgumentError, FrameError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callframe.api.schemas import Call

DURATION = "timedelta64[ms]"
DTYPES = {
    **dict.fromkeys(
        ["calls", "completed", "failed", "timeout", "error_response", "running", "stuck", "other"], "int64"
    ),
    **dict.fromkeys(["failure_rate", "failure_rate_low", "failure_rate_high"], "float64"),
    "effective_calls": "int64",
    **dict.fromkeys(["duration_p50", "duration_p50_low", "duration_p50_high", "duration_p50_above"], DURATION),
    **dict.fromkeys(["duration_p90", "duration_p90_above"], DURATION),
    **dict.fromkeys(["duration_p95", "duration_p95_low", "duration_p95_high", "duration_p95_above"], DURATION),
    **dict.fromkeys(["duration_p99", "duration_p99_above", "duration_max"], DURATION),
    **dict.fromkeys([f"schedule_delay_{name}" for name in ("p50", "p90", "p95", "p99", "max")], DURATION),
    "scheduled": "int64",
    "late_rate": "float64",
    "last_success_time": "datetime64[ms, UTC]",
    "longest_failure_streak": "int64",
}
WIDTHS_MS = {"1h": 60 * MINUTE_MS, "7d": 7 * DAY_MS}
BY = [["function"], ["schedule"], ["status"], ["function", "status"], ["schedule", "function"], ["status", "schedule"]]


def call_of(duration_s: float | None, status: str = "Completed", **changes: Any) -> Call:
    """Build a call that started now, with no end for a duration of None."""
    end_time = None if duration_s is None else NOW_MS + round(duration_s * SECOND_MS)
    return make_call(status=status, end_time=end_time, **changes)


def numbered(*calls: Call) -> pd.DataFrame:
    """Build a call frame whose ids count from 1."""
    for number, call in enumerate(calls, start=1):
        call.id = number
    return call_frame(*calls)


def with_durations(*durations_s: float, **changes: Any) -> pd.DataFrame:
    return numbered(*(call_of(duration_s, **changes) for duration_s in durations_s))


def seconds(duration: Any) -> float | None:
    millisecond = pd.Timedelta(milliseconds=1).as_unit("ms")  # of nanoseconds, pandas 2 could not divide long durations
    return None if pd.isna(duration) else pd.Timedelta(duration).as_unit("ms") // millisecond / SECOND_MS


def epoch_ms(time: Any) -> int | None:
    return None if pd.isna(time) else int(pd.Timestamp(time).asm8.astype("datetime64[ms]").astype("int64"))


# The same in plain Python


def quantile(values: Sequence[float], percent: int) -> float | None:
    """Find the smallest value that at least this share of the values does not exceed."""
    reached = (limit for limit in sorted(values) if 100 * sum(v <= limit for v in values) >= percent * len(values))
    return next(reached, None)


def kaplan_meier(observed: list[tuple[float, bool]]) -> dict[float, tuple[Fraction, float]]:
    """Compute survival, as a fraction, and the variance of its logarithm at each time at which something ended."""
    survival, variance, curve = Fraction(1), 0.0, {}
    for time in sorted({time for time, ended in observed if ended}):
        at_risk, ends = sum(other >= time for other, _ in observed), observed.count((time, True))
        survival *= Fraction(at_risk - ends, at_risk)
        variance += ends / (at_risk * (at_risk - ends)) if at_risk > ends else math.inf
        curve[time] = survival, variance
    return curve


def interval(curve: dict[float, tuple[Fraction, float]], percent: int) -> tuple[float | None, float | None]:
    """Find where the ends of the log-log band of a curve first reach 1 - percent."""
    target, reached = 1 - percent / 100, {}
    for sign in (1, -1):
        for time, (survival, variance) in curve.items():
            if survival == 0:
                inside = sign == 1
            else:
                error = 1.959963984540054 * math.sqrt(variance) / math.log(survival)
                inside = float(survival) ** math.exp(-sign * error) <= target
            if inside:
                reached[sign] = time
                break
    return reached.get(1), reached.get(-1)


def plain_rows(calls: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(len(calls)):
        call = calls.iloc[number]
        row = {"call_id": call["call_id"], "function": call["function"], "status": call["status"]}
        row["schedule"] = None if pd.isna(call["schedule_id"]) else call["schedule_id"]
        row |= {name: seconds(call[name]) for name in ("duration", "schedule_delay")}
        row |= {name: epoch_ms(call[name]) for name in ("start_time", "end_time")}
        rows.append(row)
    times = [row[name] for row in rows for name in ("start_time", "end_time") if row[name] is not None]
    return [row | {"age": (max(times) - row["start_time"]) / SECOND_MS} for row in rows]


def group_label(row: dict[str, Any], name: str) -> Any:
    """Find the group of a call; weeks start on Mondays, and 1970 on a Thursday."""
    if name not in WIDTHS_MS:
        return row[name]
    origin = 4 * DAY_MS if name == "7d" else 0
    start = (row["start_time"] - origin) // WIDTHS_MS[name] * WIDTHS_MS[name] + origin
    return pd.Timestamp(start, unit="ms", tz="UTC")


def slow_summary(calls: pd.DataFrame, by: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in plain_rows(calls):
        groups[tuple(group_label(row, name) for name in by)].append(row)
    return {key: slow_counts(rows) | slow_durations(rows, by) | slow_delays(rows) for key, rows in groups.items()}


def slow_counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    count = {status: sum(row["status"] == status for row in rows) for status in frame.KNOWN_STATUSES}
    failures = count["Failed"] + count["Timeout"] + count["Error response"]
    finished = failures + count["Completed"]
    rate = binomtest(failures, finished).proportion_ci(method="wilson") if finished else None
    return {
        **{status.lower().replace(" ", "_"): count[status] for status in frame.KNOWN_STATUSES},
        "calls": len(rows),
        "other": len(rows) - sum(count.values()),
        "stuck": sum(row["status"] == "Running" and row["age"] > 15 * 60 for row in rows),
        "failure_rate": failures / finished if finished else None,
        "failure_rate_low": rate.low if rate else None,
        "failure_rate_high": rate.high if rate else None,
        "last_success_time": max((row["start_time"] for row in rows if row["status"] == "Completed"), default=None),
        "longest_failure_streak": longest_run(rows),
    }


def longest_run(rows: list[dict[str, Any]]) -> int:
    longest = length = 0
    for row in sorted(rows, key=lambda row: (row["start_time"], row["call_id"])):
        if row["status"] in {"Completed", "Failed", "Timeout", "Error response"}:
            length = 0 if row["status"] == "Completed" else length + 1
            longest = max(longest, length)
    return longest


def slow_durations(rows: list[dict[str, Any]], by: list[str]) -> dict[str, Any]:
    events = {row["status"] for row in rows} - {"Running"} if "status" in by else {"Completed"}
    observed = [(time, row["status"] in events) for row in rows if (time := observed_time(row, by)) is not None]
    curve, longest = kaplan_meier(observed), max((time for time, _ in observed), default=None)
    durations = [row["duration"] for row in rows if row["duration"] is not None]
    summary: dict[str, Any] = {"duration_max": max(durations, default=None)}
    for percent in (50, 90, 95, 99):
        target = Fraction(100 - percent, 100)
        reached = next((time for time, (survival, _) in curve.items() if survival <= target), None)
        summary[f"duration_p{percent}"] = reached
        summary[f"duration_p{percent}_above"] = longest if reached is None else None
    for percent, min_events in ((50, 5), (95, 59)):
        enough = sum(ended for _, ended in observed) >= min_events
        low, high = interval(curve, percent) if enough else (None, None)
        summary |= {f"duration_p{percent}_low": low, f"duration_p{percent}_high": high}
    return summary


def observed_time(row: dict[str, Any], by: list[str]) -> float | None:
    if "status" not in by and row["status"] not in {"Completed", "Timeout", "Running"}:
        return None
    if row["status"] == "Running":
        return row["age"] if row["age"] <= 15 * 60 else None
    return 9 * 60 if row["status"] == "Timeout" and row["duration"] is None else row["duration"]


def slow_delays(rows: list[dict[str, Any]]) -> dict[str, Any]:
    delays = [row["schedule_delay"] for row in rows if row["schedule_delay"] is not None]
    return {
        **{f"schedule_delay_p{percent}": quantile(delays, percent) for percent in (50, 90, 95, 99)},
        "schedule_delay_max": max(delays, default=None),
        "scheduled": len(delays),
        "late_rate": sum(delay > 60 for delay in delays) / len(delays) if delays else None,
    }


def plain_summary(summary: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Convert a summary to plain values by group, None where missing."""
    rows = {}
    for number, key in enumerate(list(summary.index)):
        labels: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        values = {str(name): plain(column.iloc[number], DTYPES[str(name)]) for name, column in summary.items()}
        rows[tuple(None if pd.isna(label) else label for label in labels)] = values
    return rows


def plain(value: Any, dtype: str) -> Any:
    if pd.isna(value):
        return None
    return epoch_ms(value) if dtype.startswith("datetime") else seconds(value) if dtype == DURATION else value


def close(value: float | None, other: float | None) -> bool:
    if value is None or other is None:
        return value is other
    return math.isclose(value, other, rel_tol=1e-12, abs_tol=1e-15)


def drawn_call(function_id: int, status: str, start_s: int, duration_s: int | None, delay_s: int | None) -> Call:
    start_time = NOW_MS + start_s * SECOND_MS
    return make_call(
        function_id=function_id,
        status=status,
        start_time=start_time,
        end_time=None if duration_s is None else start_time + duration_s * SECOND_MS,
        scheduled_time=None if delay_s is None else start_time - delay_s * SECOND_MS,
    )


some_seconds = st.none() | st.integers(-2, 9) | st.integers(0, 1_000)
dense_frames = st.lists(
    st.builds(
        drawn_call,
        st.integers(1, 2),
        st.sampled_from(["Completed"] * 4 + ["Failed", "Timeout", "Error response", "Running", "Cancelled"]),
        st.integers(0, 900) | st.integers(0, 9_000),
        some_seconds,
        some_seconds,
    ),
    max_size=40,
).map(lambda calls: numbered(*calls))
"""Call frames of few functions and short durations, with ties and every status."""


@few_examples
@given(call_frames() | dense_frames, st.sampled_from([*BY, ["1h"], ["7d", "function"], ["status", "1h"]]))
def test_summary_agrees_with_plain_python(calls: pd.DataFrame, by: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Blocks, "effects", lambda blocks, *_: np.ones(blocks.size))
        fast = plain_summary(summarize(calls, by))
    slow = slow_summary(calls, by)
    assert fast.keys() == slow.keys()
    assert [name for key in slow for name in slow[key] if not close(fast[key][name], slow[key][name])] == []


@few_examples
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 30))
def test_quantiles_among_ties_agree_with_plain_python(durations_s: list[int], timeouts: int) -> None:
    calls = numbered(*map(call_of, durations_s), *(call_of(600, "Timeout") for _ in range(timeouts)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Blocks, "effects", lambda blocks, *_: np.ones(blocks.size))
        (fast,) = plain_summary(summarize(calls)).values()
    (slow,) = slow_summary(calls, ["function"]).values()
    assert [name for name in slow if not close(fast[name], slow[name])] == []


# Rates


@pytest.mark.parametrize("status", ["Timeout", "Error response"])
def test_timeout_and_error_response_are_failures(status: str) -> None:
    assert summarize(numbered(call_of(1), call_of(1, status)))["failure_rate"].tolist() == [0.5]


def test_error_responses_are_counted_separately() -> None:
    row = summarize(numbered(call_of(1, "Error response"), call_of(1, "Failed"))).iloc[0]
    assert (row["calls"], row["error_response"], row["failed"], row["other"]) == (2, 1, 1, 0)


def test_durations_of_error_responses_count_as_those_of_failed_calls() -> None:
    durations = [1, 2, 3, 4, 5, 6]
    failed, error = (
        summarize(numbered(*map(call_of, durations), *(call_of(2.5, status) for _ in range(4))))
        for status in ("Failed", "Error response")
    )
    names = [name for name in failed.columns if name.startswith("duration")]
    pd.testing.assert_frame_equal(failed[names], error[names])


def test_running_call_is_counted_but_in_no_rate() -> None:
    row = summarize(numbered(call_of(None, "Running"), call_of(1, "Failed"))).iloc[0]
    assert (row["calls"], row["running"], row["failure_rate"]) == (2, 1, 1.0)


def test_unknown_status_is_counted_separately() -> None:
    row = summarize(numbered(call_of(1, "Cancelled"), call_of(1))).iloc[0]
    assert (row["other"], row["failure_rate"]) == (1, 0.0)


@pytest.mark.parametrize("status", ["Running", "Cancelled"])
def test_rate_is_missing_without_finished_calls(status: str) -> None:
    rates = summarize(with_durations(1, status=status))[["failure_rate", "failure_rate_low", "failure_rate_high"]]
    assert rates.isna().to_numpy().all()


# Durations


def test_durations_are_of_completed_work() -> None:
    calls = numbered(call_of(1), call_of(0.5, "Failed"), call_of(0.9, "Cancelled"), call_of(0.7, "Timeout"))
    row = summarize(calls).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95"])) == (1, 1)


@pytest.mark.parametrize("status", ["Failed", "Error response", "Paused"])
def test_failed_call_is_left_out_of_durations(status: str) -> None:
    row = summarize(numbered(call_of(1), call_of(500, status))).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95"])) == (1, 1)


def test_failed_call_is_censored_on_request() -> None:
    row = summarize(numbered(call_of(1), call_of(500, "Failed")), failed="censor").iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95_above"])) == (1, 500)


def test_running_call_is_censored_at_its_age_when_fetched() -> None:
    calls = numbered(call_of(1), call_of(None, "Running"), call_of(None, "Running"))
    calls.attrs["callframe"] = {"fetched_at": "2026-09-30T12:01:40Z"}
    row = summarize(calls).iloc[0]
    assert (row["duration_p50"], seconds(row["duration_p50_above"])) == (pd.NaT, 100)


def test_frame_without_coverage_was_fetched_at_its_latest_time() -> None:
    calls = numbered(call_of(None, "Running"), call_of(31, start_time=NOW_MS + 30 * SECOND_MS))
    alone, together = summarize(calls[calls["status"] == "Running"]).iloc[0], summarize(calls, "status").loc["Running"]
    assert [seconds(row["duration_p50_above"]) for row in (alone, together)] == [0, 31]


def test_invalid_coverage_counts_as_none() -> None:
    calls = numbered(call_of(None, "Running"))
    calls.attrs["callframe"] = {"fetched_at": "yesterday", "functions": []}
    assert seconds(summarize(calls)["duration_p50_above"].iloc[0]) == 0


@pytest.mark.parametrize(("run_limit", "stuck"), [(None, 1), ("10min", 2), (pd.Timedelta(hours=1), 0)])
def test_running_call_beyond_the_run_limit_is_stuck(run_limit: Any, stuck: int) -> None:
    starts = [NOW_MS - age_min * MINUTE_MS for age_min in (0, 11, 16)]
    calls = numbered(*(make_call(status="Running", end_time=None, start_time=start) for start in starts))
    row = summarize(calls, run_limit=run_limit).iloc[0]
    assert (row["running"], row["stuck"]) == (3, stuck)


def test_stuck_call_is_left_out_of_durations() -> None:
    calls = numbered(call_of(1), make_call(status="Running", end_time=None, start_time=NOW_MS - DAY_MS))
    assert seconds(summarize(calls)["duration_p99"].iloc[0]) == 1


def test_durations_by_status_are_those_observed() -> None:
    summary = summarize(numbered(call_of(3, "Failed"), call_of(5, "Failed"), call_of(540, "Timeout")), by="status")
    medians = {status: seconds(median) for status, median in summary["duration_p50"].items()}
    assert medians == {"Failed": 3, "Timeout": 540}


def test_longest_duration_is_of_any_finished_call() -> None:
    assert seconds(summarize(numbered(call_of(1), call_of(500, "Failed")))["duration_max"].iloc[0]) == 500


def test_quantile_among_the_timeouts_is_above_the_longest_time() -> None:
    row = summarize(numbered(call_of(1), call_of(2), call_of(540, "Timeout"), call_of(539, "Timeout"))).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p50_above"])) == (2, None)
    assert (seconds(row["duration_p95"]), seconds(row["duration_p95_above"])) == (None, 540)


@pytest.mark.parametrize(("run_limit", "above"), [(None, 540), ("10min", 600)])
def test_timeout_without_an_end_had_the_run_limit(run_limit: str | None, above: int) -> None:
    row = summarize(numbered(call_of(None, "Timeout")), run_limit=run_limit).iloc[0]
    assert (row["duration_p50"], seconds(row["duration_p50_above"]), row["duration_max"]) == (pd.NaT, above, pd.NaT)


@pytest.mark.parametrize(("completed", "has_interval"), [(58, False), (59, True)])
def test_p95_has_an_interval_from_59_completed_calls(completed: int, has_interval: bool) -> None:
    row = summarize(with_durations(*range(1, completed + 1))).iloc[0]
    assert pd.notna(row["duration_p95_low"]) == has_interval
    assert row["duration_p95_high"] is pd.NaT


def test_interval_of_p95_has_two_ends_from_99_calls() -> None:
    row = summarize(with_durations(*range(1, 100))).iloc[0]
    assert [seconds(row[f"duration_p95{end}"]) for end in ("_low", "", "_high")] == [90, 95, 98]


@pytest.mark.parametrize(("completed", "has_interval"), [(4, False), (5, True)])
def test_median_has_an_interval_from_5_completed_calls(completed: int, has_interval: bool) -> None:
    assert pd.notna(summarize(with_durations(*range(completed)))["duration_p50_low"].iloc[0]) == has_interval


def test_quantile_is_a_duration_that_occurred() -> None:
    row = summarize(with_durations(1, 2)).iloc[0]
    assert (seconds(row["duration_p50"]), seconds(row["duration_p95"])) == (1, 2)


# Schedule delays


def test_call_without_a_schedule_has_no_delay() -> None:
    row = summarize(numbered(call_of(1), call_of(1, scheduled_time=NOW_MS - 7 * SECOND_MS))).iloc[0]
    assert {seconds(row[f"schedule_delay_{name}"]) for name in ("p50", "p95", "max")} == {7}


def test_delays_are_missing_without_scheduled_calls() -> None:
    row = summarize(with_durations(1)).iloc[0]
    assert row[["schedule_delay_p50", "schedule_delay_p95", "schedule_delay_max", "late_rate"]].isna().all()


def test_negative_delay_is_kept() -> None:
    row = summarize(numbered(call_of(1, scheduled_time=NOW_MS + 3 * SECOND_MS))).iloc[0]
    assert seconds(row["schedule_delay_max"]) == -3


@pytest.mark.parametrize(
    ("late_after", "rate"),
    [("1min", 0.5), ("59s", 1.0), ("2min", 0.0), (pd.Timedelta(0), 1.0), (np.timedelta64(2, "m"), 0.0)],
)
def test_call_is_late_beyond_late_after(late_after: Any, rate: float) -> None:
    calls = numbered(*(call_of(1, scheduled_time=NOW_MS - MINUTE_MS - ms) for ms in (0, 1)), call_of(1))
    assert summarize(calls, late_after=late_after)["late_rate"].tolist() == [rate]


@pytest.mark.parametrize("name", ["late_after", "run_limit"])
@pytest.mark.parametrize("value", ["soon", "-1min", "1M", "", 5, pd.NaT, pd.Timedelta(-1), np.timedelta64(-1, "s")])
def test_invalid_duration_raises(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{name}=.* is not a duration"):
        summarize(with_durations(1), **{name: value})


# Successes, and runs of failures


def test_last_success_is_the_latest_start_of_a_completed_call() -> None:
    calls = [call_of(9), call_of(1, start_time=NOW_MS + 5), call_of(1, "Failed", start_time=NOW_MS + 7)]
    assert summarize(numbered(*calls))["last_success_time"].tolist() == [pd.Timestamp(NOW_MS + 5, unit="ms", tz="UTC")]


def test_last_success_is_missing_without_completed_calls() -> None:
    assert summarize(with_durations(1, status="Failed"))["last_success_time"].isna().all()


def test_success_at_epoch_0_counts() -> None:
    last = summarize(numbered(make_call(start_time=0, end_time=1)))["last_success_time"]
    assert last.tolist() == [pd.Timestamp(0, unit="ms", tz="UTC")]


@pytest.mark.parametrize(
    ("letters", "length"),
    [("", 0), ("CC", 0), ("F", 1), ("FTF", 3), ("FFCFFFC", 3), ("FRF", 2), ("FXF", 2), ("FCF", 1)],
)
def test_run_of_failures_is_among_finished_calls(letters: str, length: int) -> None:
    status = {"C": "Completed", "F": "Failed", "T": "Timeout", "R": "Running", "X": "Cancelled"}
    calls = [call_of(1, status[letter], start_time=NOW_MS + k) for k, letter in enumerate(letters)]
    summary = summarize(numbered(call_of(1, start_time=0), *calls))
    assert summary["longest_failure_streak"].tolist() == [length]


def test_run_of_failures_is_by_start_time_in_any_order() -> None:
    calls = [call_of(1, status, start_time=NOW_MS + k) for k, status in enumerate(["Failed", "Completed", "Failed"])]
    assert summarize(numbered(*calls).iloc[[0, 2, 1]])["longest_failure_streak"].tolist() == [1]


def test_run_of_failures_ends_with_its_function() -> None:
    calls = [call_of(1, "Failed", function_id=k % 2, start_time=NOW_MS + k) for k in range(6)]
    assert summarize(numbered(*calls))["longest_failure_streak"].tolist() == [3, 3]


# Groups


def test_function_with_the_most_failures_comes_first() -> None:
    calls = [call_of(1, function_id=1), call_of(1, function_id=1), call_of(1, "Failed", function_id=2)]
    assert list(summarize(numbered(*calls, call_of(1, function_id=3))).index) == ["2", "1", "3"]


def test_function_without_calls_has_no_row() -> None:
    calls = numbered(call_of(1, function_id=2), call_of(1))
    assert list(summarize(calls[calls["function_id"] == 7]).index) == ["7"]


def test_calls_without_a_schedule_are_a_group() -> None:
    summary = summarize(numbered(call_of(1), call_of(1, schedule_id=5), call_of(1)), by="schedule")
    assert (summary["calls"].tolist(), summary.index.isna().tolist()) == ([2, 1], [True, False])


def test_schedule_ids_are_exact() -> None:
    calls = numbered(call_of(1, schedule_id=2**53 - 1), call_of(1, schedule_id=2**53 - 2))
    assert sorted(summarize(calls, by="schedule").index) == [2**53 - 2, 2**53 - 1]


@pytest.mark.parametrize("calls", [frame.empty(), with_durations(1), with_durations(1, status="Running")])
@pytest.mark.parametrize("by", BY)
def test_columns_are_always_the_same(calls: pd.DataFrame, by: list[str]) -> None:
    summary = summarize(calls, by)
    assert [(str(name), str(dtype)) for name, dtype in summary.dtypes.items()] == list(DTYPES.items())
    assert (list(summary.index.names), len(summary)) == (by, min(len(calls), 1))


def test_duration_groups_by_start_in_order() -> None:
    starts = [NOW_MS + minutes * MINUTE_MS for minutes in (0, 59, 60, 200)]
    summary = summarize(numbered(*(call_of(1, "Failed", start_time=start) for start in starts)), by="1h")
    assert [f"{time:%H:%M}" for time in summary.index] == ["12:00", "13:00", "15:00"]
    assert (summary.index.name, summary["calls"].tolist()) == ("start_time", [2, 1, 1])


def test_duration_within_functions_keeps_the_order_of_functions() -> None:
    calls = [call_of(1, function_id=k % 2, start_time=NOW_MS + k * 30 * MINUTE_MS) for k in range(6)]
    summary = summarize(numbered(*calls), by=["function", "1h"])
    assert [name for name, _ in summary.index] == ["0"] * 3 + ["1"] * 3
    assert summary.index.names == ["function", "start_time"]


def test_there_may_be_as_many_groups_as_calls() -> None:
    starts = pd.to_datetime(NOW_MS + np.arange(70_000) * MINUTE_MS, unit="ms", utc=True).as_unit("ms")
    calls = with_durations(1).take(np.zeros(70_000, dtype="int64")).assign(start_time=starts, call_id=np.arange(70_000))
    summary = summarize(calls, by="1min")
    assert (len(summary), summary["calls"].max(), set(summary["longest_failure_streak"])) == (70_000, 1, {0})


def test_summary_has_its_own_copy_of_the_coverage() -> None:
    function = {"function_id": 1, "function": "1", "complete": False}
    coverage: dict[str, Any] = {"fetched_at": "2026-10-01T00:00:00Z", "functions": [function]}
    calls = with_durations(1)
    calls.attrs["callframe"] = coverage
    summary = summarize(calls)
    summary.attrs["callframe"]["functions"].clear()
    assert calls.attrs["callframe"]["functions"] == [function]


# Quantiles by function


def test_function_with_the_largest_median_comes_last() -> None:
    calls = numbered(call_of(9, function_id=1), *(call_of(duration_s, function_id=2) for duration_s in (1, 2, 3)))
    table = quantiles_by_function(calls, shares=[0, 0.5, 1])
    assert [[seconds(value) for value in row] for row in table[[0, 0.5, 1]].to_numpy()] == [[1, 2, 3], [9, 9, 9]]
    assert table["calls"].to_dict() == {"2": 3, "1": 1}


def test_median_among_the_timeouts_is_missing_and_last() -> None:
    calls = numbered(call_of(1, "Timeout", function_id=1), call_of(5, function_id=2))
    medians = quantiles_by_function(calls, shares=[0.5])[0.5]
    assert [(name, seconds(median)) for name, median in medians.items()] == [("2", 5), ("1", None)]


def test_quantiles_of_delays_are_of_scheduled_calls() -> None:
    calls = numbered(call_of(1, scheduled_time=NOW_MS - SECOND_MS), call_of(1), call_of(1, function_id=2))
    assert quantiles_by_function(calls, "schedule_delay")["calls"].to_dict() == {"7": 1}


def test_quantiles_of_no_calls_are_an_empty_table() -> None:
    assert quantiles_by_function(frame.empty()).shape == (0, 6)


def test_quantiles_of_another_column_raise() -> None:
    with pytest.raises(ArgumentError, match="of='start_time'; expected 'duration' or 'schedule_delay'"):
        quantiles_by_function(with_durations(1), "start_time")


@pytest.mark.parametrize("measure", [summarize, quantiles_by_function])
def test_other_frame_raises(measure: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(FrameError):
        measure(pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("measure", [summarize, quantiles_by_function])
@few_examples
@given(call_frames())
def test_input_is_not_changed(measure: Callable[[pd.DataFrame], pd.DataFrame], calls: pd.DataFrame) -> None:
    before = calls.copy(deep=True)
    measure(calls)
    pd.testing.assert_frame_equal(calls, before, check_exact=True)
