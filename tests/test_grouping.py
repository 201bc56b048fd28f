"""Every function parses `by` alike, and returns groups in the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import DAY_MS, HOUR_MS, NOW_MS, call_frame, make_call
from hypothesis import given
from hypothesis import strategies as st

import callframe as cf
from callframe.analysis.grouping import concat, group, parse_by
from callframe.errors import ArgumentError
from callframe.timespan import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Callable


def some_calls() -> pd.DataFrame:
    """Build calls of two functions and two schedules, on two days; some failed and some overlap."""
    return call_frame(
        *(
            make_call(
                id=k,
                function_id=7 + k % 2,
                schedule_id=3 + k % 2,
                status="Failed" if k % 3 else "Completed",
                start_time=NOW_MS + k * DAY_MS // 4,
                end_time=NOW_MS + k * DAY_MS // 4 + 13 * HOUR_MS,
            )
            for k in range(6)
        )
    )


def rollup_summary(calls: pd.DataFrame, by: Any) -> pd.DataFrame:
    return cf.summarize_rollup(cf.rollup(calls), by)


# Parsing


def test_levels_have_the_width_of_their_bins() -> None:
    assert parse_by(["function", "1h"], durations=True, several=True) == {"function": 0, "start_time": HOUR_MS}


def test_optional_by_may_be_none() -> None:
    assert parse_by(None, optional=True) == {}


COLUMN, DURATION, LIST = "'function', 'schedule'", "a duration such as '1h'", "or a list of them."


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (cf.summarize, f"{COLUMN}, 'status', {DURATION} {LIST}"),
        (cf.survival, f"{COLUMN}, 'status', {DURATION} {LIST}"),
        (rollup_summary, f"'function', 'status', {DURATION} {LIST}"),
        (cf.failures, f"None, {COLUMN}, 'status' {LIST}"),
        (cf.failure_episodes, "'function' or 'schedule'."),
        (cf.concurrency, "None or 'function'."),
        (cf.concurrency_peaks, "None or 'function'."),
        (cf.overlapping_runs, "'schedule' or 'function'."),
    ],
)
@pytest.mark.parametrize("by", ["colour", "", "Function", "0h", "1M", "-1h", 5, ["function", "colour"], {"a": 1}])
def test_unknown_group_raises_with_what_is_expected(
    measure: Callable[[pd.DataFrame, Any], pd.DataFrame], expected: str, by: Any
) -> None:
    with pytest.raises(ArgumentError) as raised:
        measure(some_calls(), by)
    assert str(raised.value) == f"by={by!r}; expected {expected}"


@pytest.mark.parametrize("measure", [cf.summarize, cf.survival, rollup_summary])
@pytest.mark.parametrize("by", [[], ["1h", "1d"], ["status"] * 2, None])
def test_groups_must_be_given_once_each(measure: Callable[[pd.DataFrame, Any], pd.DataFrame], by: Any) -> None:
    with pytest.raises(ArgumentError, match="by="):
        measure(some_calls(), by)


# Where results have their groups


@pytest.mark.parametrize(
    ("measure", "by"),
    [
        (cf.summarize, ["function"]),
        (cf.summarize, ["schedule", "status"]),
        (rollup_summary, ["function", "status"]),
        (cf.concurrency_peaks, "function"),
        (lambda calls, _: cf.compare(calls, at=calls["start_time"].iloc[3]), "function"),
    ],
)
def test_table_of_one_row_per_group_has_the_groups_in_its_index(
    measure: Callable[[pd.DataFrame, Any], pd.DataFrame], by: Any
) -> None:
    table = measure(some_calls(), by)
    assert list(table.index.names) == ([by] if isinstance(by, str) else by)
    assert table.index.is_unique
    assert not set(table.index.names) & set(table.columns)


@pytest.mark.parametrize(
    ("measure", "by"),
    [
        (cf.survival, ["function"]),
        (cf.survival, ["schedule", "status"]),
        (lambda calls, _: cf.rollup(calls), ["function"]),
        (cf.failures, ["function"]),
        (cf.failures, ["schedule", "status"]),
        (cf.failure_episodes, "schedule"),
        (cf.concurrency, "function"),
    ],
)
def test_table_of_several_rows_per_group_has_the_groups_as_its_first_columns(
    measure: Callable[[pd.DataFrame, Any], pd.DataFrame], by: Any
) -> None:
    table = measure(some_calls(), by)
    names = [by] if isinstance(by, str) else by
    assert list(table.columns[: len(names)]) == names
    assert table.index.equals(pd.RangeIndex(len(table)))


# Groups


@pytest.mark.parametrize("by", ["7d", "1w", "14d"])
def test_weeks_start_on_mondays(by: str) -> None:
    [start] = group(call_frame(make_call()), parse_by(by, durations=True)).index
    assert (start.day_name(), start.hour) == ("Monday", 0)


def test_calls_without_a_schedule_are_the_last_group() -> None:
    calls = call_frame(make_call(), make_call(id=2, schedule_id=5), make_call(id=3, schedule_id=4))
    groups = group(calls, parse_by("schedule"))
    assert groups.codes.tolist() == [2, 1, 0]
    assert groups.index.isna().tolist() == [False, False, True]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=20))
def test_groups_are_those_of_pandas(keys: list[tuple[int, int]]) -> None:
    calls = call_frame(*(make_call(id=k, function_id=a, schedule_id=b) for k, (a, b) in enumerate(keys, start=1)))
    groups = group(calls, parse_by(["function", "schedule"], several=True))
    grouped = calls.groupby(["function", "schedule_id"], observed=True, sort=True)
    assert groups.codes.tolist() == grouped.ngroup().tolist()
    assert list(groups.index) == list(grouped.size().index)


def test_group_without_values_has_no_largest() -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=8))
    groups = group(calls, parse_by("function"))
    assert groups.max(calls["schedule_delay"].to_numpy().view("int64")).tolist() == [NO_TIME, NO_TIME]


# Concatenation


def test_different_categories_are_merged_in_their_usual_order() -> None:
    tables = [call_frame(make_call(function_id=k, status=status)) for k, status in ((9, "Paused"), (8, "Failed"))]
    merged = concat([table.drop(columns=["error_message", "error_trace"]) for table in tables])
    assert list(merged["function"].cat.categories) == ["8", "9"]
    assert list(merged["status"].cat.categories) == ["Running", "Completed", "Failed", "Timeout", "Paused"]
