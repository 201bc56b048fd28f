"""Concurrency: exact at every change, whatever the calls look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, START_MS, fetched_frame, frame_from_rows, make_call
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import callframe as cf
from callframe import frame
from callframe.api.schemas import Call

LIMIT = 15 * MINUTE_MS
START = NOW_MS - DAY_MS


def curve_of(*records: Call, **changes: Any) -> list[tuple[int, int]]:
    """Tell the steps, in milliseconds since the start of the window."""
    curve = cf.concurrency(fetched_frame(records, **changes))
    return [(time - START, n) for time, n in zip(curve["time"].astype("int64"), curve["running"], strict=True)]


def spell(call_id: int, start: int, end: int | None, **changes: Any) -> Call:
    return make_call(id=call_id, start_time=START + start, end_time=None if end is None else START + end, **changes)


def about(calls: pd.DataFrame, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = cf.concurrency(calls, **options).attrs["concurrency"]
    return found


# Against brute force


@st.composite
def traps(draw: st.DrawFn) -> list[Call]:
    """Make calls that meet at the same moments, with all that can be odd about their ends and statuses."""
    moments = st.integers(0, 30)
    records = []
    for number in range(draw(st.integers(0, 25))):
        end = draw(st.none() | moments)
        recent = draw(st.booleans())
        origin = NOW_MS - 40 if recent else START
        records.append(
            Call(
                id=number + 1,
                function_id=draw(st.integers(1, 3)),
                status=draw(st.sampled_from([*frame.STATUSES, "Paused"])),
                start_time=origin + draw(moments),
                end_time=None if end is None else origin + end,
            )
        )
    return records


def running_at(records: list[Call], moment: int) -> int:
    """Count one by one what ran at a moment."""
    count = 0
    for one in records:
        end = one.end_time
        if one.status == "Running":
            end = NOW_MS if NOW_MS - one.start_time <= LIMIT else one.start_time + LIMIT
        count += end is not None and one.start_time <= moment < end
    return count


def moments_of(records: list[Call]) -> set[int]:
    ends = {one.end_time for one in records if one.end_time is not None}
    starts = {one.start_time for one in records}
    return starts | ends | {start + LIMIT for start in starts} | {NOW_MS, START - 1, NOW_MS + 1}


def values(curve: pd.DataFrame, moments: set[int]) -> dict[int, int]:
    """Read a curve at some moments."""
    asked = sorted(moments)
    rows = np.searchsorted(curve["time"].astype("int64").to_numpy(), asked, side="right")
    return dict(zip(asked, np.append(0, curve["running"].to_numpy())[rows].tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(records=traps())
def test_curve_is_what_brute_force_counts_at_every_change(records: list[Call]) -> None:
    moments = moments_of(records)
    found = values(cf.concurrency(fetched_frame(records)), moments)
    assert found == {moment: running_at(records, moment) for moment in moments}


@settings(max_examples=30, deadline=None)
@given(records=traps())
def test_curves_of_functions_are_what_brute_force_counts(records: list[Call]) -> None:
    curve, moments = cf.concurrency(fetched_frame(records), by="function"), moments_of(records)
    for function_id in (1, 2, 3):
        own = [one for one in records if one.function_id == function_id]
        found = values(curve[curve["function"] == f"f{function_id}"], moments)
        assert found == {moment: running_at(own, moment) for moment in moments}


@settings(max_examples=30, deadline=None)
@given(records=traps(), quota=st.integers(1, 6))
def test_peak_and_time_above_are_what_brute_force_finds(records: list[Call], quota: int) -> None:
    peaks = cf.concurrency_peaks(fetched_frame(records), quota=quota, above=0.5)
    moments = sorted(moments_of(records))
    counts = [running_at(records, moment) for moment in moments]
    lengths = np.diff(moments)
    expected = sum(int(length) for n, length in zip(counts[:-1], lengths, strict=True) if n > 0.5 * quota)
    assert peaks["peak"].to_list() == ([max(counts)] if records else [])
    assert [one // pd.Timedelta(1, "ms") for one in peaks["time_above"]] == ([expected] if records else [])


@settings(max_examples=25, deadline=None)
@given(records=traps())
def test_every_row_is_a_change_and_the_last_is_zero(records: list[Call]) -> None:
    curve = cf.concurrency(fetched_frame(records))
    assert (curve["running"].diff().fillna(curve["running"]) != 0).all()
    assert curve["running"].iloc[-1:].to_list() in ([0], [])


# The rules, one by one


def test_call_that_ends_as_another_starts_does_not_overlap_it() -> None:
    assert curve_of(spell(1, 0, 50), spell(2, 50, 90)) == [(0, 1), (90, 0)]


def test_call_that_ends_as_it_starts_takes_no_time() -> None:
    assert curve_of(spell(1, 10, 10), spell(2, 0, 20)) == [(0, 1), (20, 0)]


def test_running_call_lasts_until_the_fetch_whatever_end_it_carries() -> None:
    assert curve_of(spell(1, DAY_MS - MINUTE_MS, DAY_MS - 1, status="Running")) == [
        (DAY_MS - MINUTE_MS, 1),
        (DAY_MS, 0),
    ]


def test_stuck_call_counts_up_to_the_run_limit() -> None:
    assert curve_of(spell(1, 0, None, status="Running")) == [(0, 1), (LIMIT, 0)]


def test_run_limit_is_what_is_requested() -> None:
    calls = fetched_frame([spell(1, 0, None, status="Running")])
    curve = cf.concurrency(calls, run_limit="9min")
    assert curve["time"].iloc[1] - curve["time"].iloc[0] == pd.Timedelta("9min")


def test_timeout_counts_like_any_other_end() -> None:
    assert curve_of(spell(1, 0, 600_000, status="Timeout")) == [(0, 1), (600_000, 0)]


def test_finished_call_without_end_is_left_out_and_counted() -> None:
    calls = fetched_frame([spell(1, 0, None, status="Failed"), spell(2, 5, 9)])
    assert len(cf.concurrency(calls)) == 2
    assert about(calls)["without_end"] == 1
    assert about(calls)["lower_bound"] is True


def test_call_that_ends_before_it_starts_is_left_out_and_counted() -> None:
    calls = fetched_frame([spell(1, 9, 5)])
    assert cf.concurrency(calls).empty
    assert about(calls)["backwards"] == 1


def test_stuck_and_running_calls_are_counted() -> None:
    calls = fetched_frame([spell(1, 0, None, status="Running"), spell(2, DAY_MS - 5, None, status="Running")])
    assert (about(calls)["running"], about(calls)["stuck"]) == (2, 1)


def test_running_call_without_coverage_lasts_until_the_last_known_moment() -> None:
    calls = fetched_frame([spell(1, 0, None, status="Running"), spell(2, 5, 9)])
    calls.attrs = {}
    assert cf.concurrency(calls)["time"].iloc[-1] == pd.Timestamp(START + 9, unit="ms", tz="UTC")


def test_call_that_is_in_a_frame_twice_counts_once() -> None:
    calls = fetched_frame([spell(1, 0, 9)])
    assert cf.concurrency(pd.concat([calls, calls]))["running"].to_list() == [1, 0]


def test_order_and_index_of_the_frame_do_not_matter() -> None:
    calls = fetched_frame([spell(k, 3 * k, 3 * k + 10) for k in range(1, 9)])
    assert_frame_equal(cf.concurrency(calls[::-1]), cf.concurrency(calls))


# What a curve rests on


def test_curve_is_exact_from_the_window_plus_the_run_limit() -> None:
    found = about(fetched_frame([], start_ms=NOW_MS - DAY_MS))
    assert found["exact_from"] == "2026-09-29T12:15:00.000Z"
    assert found["exact_until"] == "2026-09-30T12:00:00.000Z"
    assert found["lower_bound"] is False


def test_curve_of_functions_deployed_within_the_window_is_exact_from_its_start() -> None:
    calls = fetched_frame([], start_ms=NOW_MS - DAY_MS)
    calls.attrs["callframe"]["functions"][0]["created_ms"] = NOW_MS - DAY_MS
    assert about(calls)["exact_from"] == "2026-09-29T12:00:00.000Z"


def test_window_shorter_than_the_run_limit_is_exact_nowhere() -> None:
    assert about(fetched_frame([], start_ms=NOW_MS - MINUTE_MS))["exact_from"] is None


def incomplete(calls: pd.DataFrame) -> pd.DataFrame:
    calls.attrs["callframe"]["functions"][0] |= {"complete": False, "reason": "503"}
    return calls


def set_aside(calls: pd.DataFrame) -> pd.DataFrame:
    calls.attrs["callframe"]["functions"][0]["set_aside_reasons"] = {"no id": 1}
    return calls


def by_ids(calls: pd.DataFrame) -> pd.DataFrame:
    del calls.attrs["callframe"]["window"]
    return calls


def bare(calls: pd.DataFrame) -> pd.DataFrame:
    calls.attrs = {}
    return calls


@pytest.mark.parametrize("lacking", [incomplete, set_aside, by_ids, bare, lambda calls: calls[1:]])
def test_curve_of_a_frame_that_misses_calls_is_a_lower_bound(lacking: Any) -> None:
    found = about(lacking(fetched_frame([spell(1, 0, 9), spell(2, 5, 9)])))
    assert found["lower_bound"] is True
    assert len(found["reasons"]) == 1


@pytest.mark.parametrize("asked", [{"status": ["Failed"]}, {"schedule_ids": [7]}])
def test_curve_of_a_frame_fetched_in_part_is_a_lower_bound(asked: dict[str, Any]) -> None:
    assert about(fetched_frame([], **asked))["lower_bound"] is True


# Peaks


def test_share_says_who_made_the_peak() -> None:
    records = [spell(k, 0, 50, function_id=1 + (k > 3)) for k in range(1, 5)]
    peaks = cf.concurrency_peaks(fetched_frame([*records, spell(9, 90, 95, function_id=3)]), by="function")
    assert peaks["share"].to_dict() == {"f1": 0.75, "f2": 0.25, "f3": 0.0}
    assert peaks["peak"].to_dict() == {"f1": 3, "f2": 1, "f3": 1}


def test_peak_time_is_when_it_was_first_reached() -> None:
    peaks = cf.concurrency_peaks(fetched_frame([spell(1, 0, 9), spell(2, 4, 9), spell(3, 20, 30), spell(4, 25, 30)]))
    assert peaks["peak_time"].to_list() == [pd.Timestamp(START + 4, unit="ms", tz="UTC")]


def test_quotas_are_those_of_a_project_and_of_a_function() -> None:
    calls = fetched_frame([spell(1, 0, 9)])
    assert cf.concurrency_peaks(calls)["quota"].to_list() == [250]
    assert cf.concurrency_peaks(calls, by="function")["quota"].to_list() == [100]


def test_time_above_is_more_than_the_share_of_the_quota() -> None:
    crowd = [spell(k, 0, 1_000) for k in range(1, 81)]
    at, over = fetched_frame(crowd), fetched_frame([*crowd, spell(81, 0, 400)])
    assert cf.concurrency_peaks(at, by="function")["time_above"].to_list() == [pd.Timedelta(0)]
    assert cf.concurrency_peaks(over, by="function")["time_above"].to_list() == [pd.Timedelta(400, "ms")]


def test_function_whose_calls_took_no_time_has_no_peak() -> None:
    peaks = cf.concurrency_peaks(fetched_frame([spell(1, 5, 5)]), by="function")
    assert peaks["peak"].to_list() == [0]
    assert peaks["peak_time"].isna().all()


# Input


@pytest.mark.parametrize("by", [None, "function"])
def test_empty_frame_gives_empty_frames_of_the_same_dtypes(by: str | None) -> None:
    full = fetched_frame([spell(1, 0, 9)])
    for measure in (cf.concurrency, cf.concurrency_peaks):
        nothing = measure(frame.empty(), by=by)
        assert nothing.empty
        assert nothing.dtypes.astype(str).to_dict() == measure(full, by=by).dtypes.astype(str).to_dict()


def test_input_is_not_changed() -> None:
    calls = fetched_frame([spell(1, 0, 9), spell(2, 0, None, status="Running")])
    before = calls.copy()
    cf.concurrency_peaks(calls, by="function")
    assert_frame_equal(calls, before)
    assert calls.attrs.keys() == {"callframe"}


@pytest.mark.parametrize(
    "options",
    [{"by": "status"}, {"run_limit": "soon"}, {"run_limit": 0}, {"quota": 0}, {"above": 2.0}],
)
def test_argument_that_cannot_be_right_is_rejected_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(cf.errors.ArgumentError, match=next(iter(options))):
        cf.concurrency_peaks(frame.empty(), **options)


def test_frame_that_is_not_a_call_frame_is_rejected_by_column() -> None:
    with pytest.raises(cf.errors.FrameError, match="end_time"):
        cf.concurrency(frame.empty().drop(columns="end_time"))


# Overlaps


def scheduled_frame(calls: list[tuple[int, int | None, str]]) -> pd.DataFrame:
    """Build calls of one schedule from start, duration and status; times in milliseconds."""
    frame = frame_from_rows(
        [
            {"function": "a", "status": status, "start": START_MS + start, "duration": duration, "delay": 0}
            for start, duration, status in calls
        ]
    )
    return frame.assign(schedule_id=pd.array([7] * len(frame), dtype="Int64"))


def test_call_that_starts_before_the_last_one_ended_overlaps() -> None:
    calls = scheduled_frame([(0, 1000, "Completed"), (400, 100, "Completed"), (1000, 5, "Failed")])
    overlaps = cf.overlapping_runs(calls)
    assert overlaps[["call_id", "earlier_call_id"]].to_numpy().tolist() == [[2, 1]]
    assert overlaps["overlap"].tolist() == [pd.Timedelta(milliseconds=100)]


def test_running_call_overlaps_until_it_is_stuck() -> None:
    calls = scheduled_frame([(0, None, "Running"), (DAY_MS, 5, "Completed"), (60_000, 5, "Completed")])
    assert cf.overlapping_runs(calls)["call_id"].tolist() == [3]


def test_calls_without_a_schedule_overlap_by_function_only() -> None:
    calls = scheduled_frame([(0, 1000, "Completed"), (400, 100, "Completed")])
    calls["schedule_id"] = pd.array([pd.NA] * 2, dtype="Int64")
    assert (len(cf.overlapping_runs(calls)), len(cf.overlapping_runs(calls, "function"))) == (0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_are_those_of_a_loop_over_calls(seed: int) -> None:
    random = np.random.default_rng(seed)
    calls = scheduled_frame(
        [(int(random.integers(0, HOUR_MS)), int(random.integers(0, HOUR_MS // 8)), "Completed") for _ in range(60)]
    ).sort_values(["start_time", "call_id"], ignore_index=True)
    expected = [
        row.call_id
        for place, row in enumerate(calls.itertuples())
        if any(calls["end_time"][earlier] > row.start_time for earlier in range(place))
    ]
    assert cf.overlapping_runs(calls)["call_id"].tolist() == expected
