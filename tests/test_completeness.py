"""A call frame tells what it rests on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import NOW_MS, attach_coverage, call_frame, make_call

from callframe import frame
from callframe.completeness import KEY, FunctionCoverage, coverage, is_complete

if TYPE_CHECKING:
    from collections.abc import Hashable

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
    told |= {"status": [], "schedule_ids": []}
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
    assert set(shown["reason"]) == {"not known: the frame carries no coverage"}


def test_functions_of_one_label_have_a_row_each() -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=8), labels={7: "fn", 8: "fn"})
    assert coverage(calls)["function_id"].tolist() == [7, 8]


def test_function_without_rows_left_has_no_row() -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=8))
    assert coverage(calls[calls["function_id"] == 7])["function_id"].tolist() == [7]


def test_filtered_frame_keeps_what_it_rests_on() -> None:
    calls = covered(whole(), broken())
    pd.testing.assert_frame_equal(coverage(calls[calls["call_id"] > 99]), coverage(calls))


@pytest.mark.parametrize(
    ("calls", "expected"),
    [(call_frame(), None), (covered(), True), (covered(whole()), True), (covered(whole(), broken()), False)],
)
def test_completeness_is_yes_no_or_not_known(calls: pd.DataFrame, *, expected: bool | None) -> None:
    assert is_complete(calls) is expected


def test_showing_changes_nothing() -> None:
    calls = covered(whole(), broken())
    before = json.dumps(calls.attrs)
    coverage(calls).attrs["project"] = "other"
    assert json.dumps(calls.attrs) == before
