"""A call frame tells what it rests on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd
import pytest
from factories import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    attach_coverage,
    call_frame,
    fetched_frame,
    make_call,
    schedule_frame,
    scheduled_calls,
)

import callframe as cf
from callframe import frame
from callframe.completeness import (
    KEY,
    FunctionCoverage,
    completeness_text,
    coverage,
    is_complete,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

DTYPES = {
    "function_id": "int64",
    "function": "str",
    "complete": "boolean",
    "reason": "str",
    "calls": "int64",
    "set_aside": "int64",
    "set_aside_reason": "str",
}
WINDOW = {"start": "2026-09-23T12:00:00.000Z", "end": "2026-09-30T12:00:00.000Z"}


def covered(*functions: FunctionCoverage) -> pd.DataFrame:
    calls = call_frame(make_call(), make_call(id=2, start_time=NOW_MS + 1))
    attach_coverage(calls, functions, project="plant", fetched_at="2026-09-30T12:00:00.000Z", window=WINDOW)
    return calls


def whole(function_id: int = 7, calls: int = 2) -> FunctionCoverage:
    return FunctionCoverage(function_id, "fn", calls=calls)


def broken() -> FunctionCoverage:
    return FunctionCoverage(3, "other", ("403 on page 1", "429 on page 2"), set_aside={"no id": 2, "negative time": 1})


def plain(shown: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return shown.astype(object).where(shown.notna(), None).to_dict("records")


def test_function_that_was_read_completely_has_no_reason() -> None:
    assert plain(coverage(covered(whole()))) == [
        {
            "function_id": 7,
            "function": "fn",
            "complete": True,
            "reason": None,
            "calls": 2,
            "set_aside": 0,
            "set_aside_reason": None,
        }
    ]


def test_function_that_was_not_read_completely_says_why() -> None:
    assert plain(coverage(covered(broken()))) == [
        {
            "function_id": 3,
            "function": "other",
            "complete": False,
            "reason": "403 on page 1; 429 on page 2",
            "calls": 0,
            "set_aside": 3,
            "set_aside_reason": "2 x no id; 1 x negative time",
        }
    ]


def test_functions_keep_their_order() -> None:
    assert coverage(covered(broken(), whole()))["function_id"].tolist() == [3, 7]


def test_project_time_and_window_are_told() -> None:
    told = {"version": 1, "project": "plant", "fetched_at": "2026-09-30T12:00:00.000Z", "window": WINDOW}
    told |= {"status": [], "schedule_ids": [], "clock_skew_ms": None}
    assert coverage(covered(whole())).attrs == told


def test_coverage_is_json() -> None:
    held = covered(whole(), broken()).attrs[KEY]
    assert json.loads(json.dumps(held)) == held


@pytest.mark.parametrize("calls", [frame.empty(), call_frame(make_call()), covered(), covered(whole(), broken())])
def test_dtypes_are_always_the_same(calls: pd.DataFrame) -> None:
    assert {name: str(dtype) for name, dtype in coverage(calls).dtypes.items()} == DTYPES


def test_frame_without_coverage_says_that_nothing_is_known() -> None:
    calls = call_frame(make_call(), make_call(id=2), make_call(id=3, function_id=8), labels={7: "fn"})
    shown = coverage(calls)
    assert shown[["function_id", "function", "calls"]].to_numpy().tolist() == [[7, "fn", 2], [8, "8", 1]]
    assert shown["complete"].isna().all()
    assert set(shown["reason"]) == {"the frame carries no coverage"}


def test_functions_of_one_label_have_a_row_each() -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=8), labels={7: "fn", 8: "fn"})
    assert coverage(calls)["function_id"].tolist() == [7, 8]


def test_function_without_rows_left_has_no_row() -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=8))
    assert coverage(calls[calls["function_id"] == 7])["function_id"].tolist() == [7]


def test_function_of_which_rows_were_removed_is_neither_complete_nor_incomplete() -> None:
    calls = covered(whole(), broken())
    shown = coverage(calls[calls["call_id"] == 1])
    assert shown["complete"].tolist() == [pd.NA, False]
    assert shown["reason"][0] == "the frame has only 1 of the 2 calls of its function"


def test_function_that_kept_all_its_calls_stays_complete() -> None:
    calls = fetched_frame([make_call(id=1), make_call(id=2, function_id=8)])
    assert coverage(calls[calls["function_id"] == 8])["complete"].tolist() == [pd.NA, True]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [(call_frame(), None), (covered(), True), (covered(whole()), True), (covered(whole(), broken()), False)],
)
def test_completeness_is_yes_no_or_not_known(calls: pd.DataFrame, *, expected: bool | None) -> None:
    assert is_complete(calls) is expected


def part_of(calls: pd.DataFrame) -> pd.DataFrame:
    return calls.head(5)


def replaced(calls: pd.DataFrame) -> pd.DataFrame:
    return calls.assign(call_id=calls["call_id"] + 1)


def with_repeats(calls: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([calls[:6], calls[2:]])


OTHER_ROWS = {
    part_of: "selected from 8 calls",
    replaced: "not the 8 calls that were read",
    with_repeats: "4 rows repeat a call",
    lambda calls: with_repeats(calls)[:7]: "selected from 8 calls, 1 row repeats a call",
    lambda calls: pd.concat([calls, replaced(calls)[-1:]]): "not the 8 calls that were read",
    lambda calls: calls[:0]: "selected from 8 calls",
}
Change: TypeAlias = "Callable[[pd.DataFrame], pd.DataFrame]"


@pytest.mark.parametrize(("change", "text"), OTHER_ROWS.items())
def test_rows_that_are_not_those_of_the_fetch_are_not_called_complete(change: Change, text: str) -> None:
    calls = change(fetched_frame(scheduled_calls(range(8))))
    assert (is_complete(calls), completeness_text(calls)) == (None, text)


@pytest.mark.parametrize(
    "change",
    [
        lambda calls: calls,
        lambda calls: calls.sort_values("call_id", ascending=False),
        lambda calls: calls.assign(team="x"),
        lambda calls: pd.concat([calls[:3], calls[3:]]),
        lambda calls: with_repeats(calls).drop_duplicates("call_id"),
    ],
)
def test_rows_of_the_fetch_in_any_order_are_complete(change: Change) -> None:
    calls = change(fetched_frame(scheduled_calls(range(8))))
    assert (is_complete(calls), completeness_text(calls)) == (True, "complete")


def test_coverage_that_merge_dropped_can_be_copied_back() -> None:
    calls = fetched_frame(scheduled_calls(range(8)))
    merged = calls.merge(pd.DataFrame({"function_id": [7], "team": ["x"]}))
    assert is_complete(merged) is None
    merged.attrs = calls.attrs
    assert is_complete(merged) is True


@pytest.mark.parametrize("measure", [cf.summarize, cf.rollup, cf.concurrency, cf.concurrency_peaks])
def test_measures_of_some_of_the_calls_are_not_called_complete(measure: Change) -> None:
    calls = fetched_frame(scheduled_calls(range(8)))
    assert completeness_text(measure(calls)) == "complete"
    assert completeness_text(measure(calls.head(5))) == "selected from 8 calls"


def test_rollups_of_all_parts_of_a_frame_are_complete() -> None:
    calls = fetched_frame(scheduled_calls(range(8)))
    parts = [cf.rollup(calls[:3]), cf.rollup(calls[3:])]
    assert completeness_text(cf.merge_rollups(parts)) == "complete"
    assert completeness_text(cf.merge_rollups([parts[0], parts[0]])) == "selected from 8 calls"


def test_incomplete_frame_stays_incomplete_after_a_filter() -> None:
    calls = covered(whole(), broken()).head(1)
    assert (is_complete(calls), completeness_text(calls)) == (False, "selected from 2 calls, INCOMPLETE")


def test_coverage_that_does_not_say_which_calls_it_describes_proves_nothing() -> None:
    calls = fetched_frame([make_call()])
    del calls.attrs[KEY]["describes"]
    assert (is_complete(calls), completeness_text(calls)) == (None, "completeness not known")


@pytest.mark.parametrize("describes", [3, "x", [1], [1, "?", 0], [1, 2, 0], {"calls": 1}])
def test_invalid_description_of_calls_proves_nothing(describes: object) -> None:
    calls = fetched_frame([make_call()])
    calls.attrs[KEY]["describes"] = describes
    assert is_complete(calls) is None


def test_repeated_calls_are_told_without_coverage_too() -> None:
    calls = call_frame(make_call(), make_call(id=2))
    assert completeness_text(calls) == "completeness not known"
    assert completeness_text(pd.concat([calls, calls])) == "completeness not known, 2 rows repeat a call"


@pytest.mark.parametrize("measure", [cf.summarize, cf.failures, cf.rollup])
@pytest.mark.parametrize("attrs", [True, False])
def test_measures_that_count_a_call_twice_say_so(measure: Change, *, attrs: bool) -> None:
    calls = with_repeats(fetched_frame(scheduled_calls(range(8))))
    calls.attrs = calls.attrs if attrs else {}
    with pytest.warns(UserWarning, match="4 rows repeat a call, of 12, and each row counts"):
        measure(calls)


def test_missed_runs_of_a_filtered_frame_say_that_they_are_unknown() -> None:
    calls = fetched_frame(scheduled_calls(range(NOW_MS - DAY_MS, NOW_MS, HOUR_MS)))
    with pytest.warns(UserWarning, match=r"Missed runs of 1 of 1 functions are unknown. f7: .* only 5 of the 24 calls"):
        cf.missed_runs(calls.head(5), schedule_frame({}))


def test_missed_runs_of_a_merged_frame_say_how_to_get_the_coverage_back() -> None:
    calls = fetched_frame(scheduled_calls(range(NOW_MS - DAY_MS, NOW_MS - 2 * HOUR_MS, HOUR_MS)))
    merged = calls[calls["start_time"].dt.hour != 3].merge(pd.DataFrame({"function_id": [7], "team": ["x"]}))
    with pytest.warns(UserWarning, match=r"carries no coverage.*merged\.attrs = calls\.attrs"):
        cf.missed_runs(merged, schedule_frame({}))


def test_showing_changes_nothing() -> None:
    calls = covered(whole(), broken())
    before = json.dumps(calls.attrs)
    coverage(calls).attrs["project"] = "other"
    assert json.dumps(calls.attrs) == before
