"""A call frame has the promised columns and dtypes, whatever it is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from factories import (
    NOW_MS,
    PUBLISHED_RECORD,
    SECOND_MS,
    call_frame,
    call_frames,
    call_record,
    decoded_calls,
    few_examples,
    make_call,
    page_body,
)
from hypothesis import given
from hypothesis import strategies as st

from callframe import frame
from callframe.api import schemas
from callframe.api.schemas import Call, CallError, decode_page, decode_record
from callframe.errors import FrameError
from callframe.frame import MAX_ID
from callframe.timespan import MAX_TIME_MS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

DTYPES = {
    "call_id": "int64",
    "function_id": "int64",
    "function": "category",
    "schedule_id": "Int64",
    "status": "category",
    "scheduled_time": "datetime64[ms, UTC]",
    "start_time": "datetime64[ms, UTC]",
    "end_time": "datetime64[ms, UTC]",
    "schedule_delay": "timedelta64[ms]",
    "duration": "timedelta64[ms]",
    "error_message": "str",
    "error_trace": "str",
}
OTHERS = {
    "function": "object",
    "duration": "timedelta64[ns]",
    "start_time": "datetime64[ns, UTC]",
    "call_id": "float64",
}


def dtypes(calls: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in calls.dtypes.items()}


def only(calls: pd.DataFrame) -> dict[str, Any]:
    assert len(calls) == 1
    return {str(name): calls[name].iloc[0] for name in calls}


# Columns


@pytest.mark.parametrize(
    "made", [frame.empty, call_frame, lambda: call_frame(make_call()), lambda: call_frame(make_call(error="e"))]
)
def test_columns_and_dtypes_are_those_promised(made: Callable[[], pd.DataFrame]) -> None:
    assert list(dtypes(made()).items()) == list(DTYPES.items())


@few_examples
@given(call_frames())
def test_dtypes_are_those_promised_whatever_the_records_hold(calls: pd.DataFrame) -> None:
    assert dtypes(calls) == DTYPES


def test_columns_are_listed_in_order() -> None:
    assert list(frame.COLUMNS) == list(DTYPES)


@pytest.mark.parametrize("calls", [frame.empty(), call_frame(make_call(), make_call(id=2))])
def test_index_counts_the_rows(calls: pd.DataFrame) -> None:
    pd.testing.assert_index_equal(calls.index, pd.RangeIndex(len(calls)), exact=True)


@pytest.mark.parametrize("name", ["function", "status"])
@pytest.mark.parametrize("calls", [frame.empty(), call_frame(make_call())])
def test_categories_are_text(calls: pd.DataFrame, name: str) -> None:
    assert calls[name].cat.categories.dtype == "str"


@pytest.mark.parametrize("name", ["error_message", "error_trace"])
@pytest.mark.parametrize("calls", [frame.empty(), call_frame(make_call())])
def test_missing_text_is_nan(calls: pd.DataFrame, name: str) -> None:
    assert calls[name].dtype == pd.StringDtype("pyarrow", na_value=np.nan)


# Values


def test_published_example_is_one_row_with_every_field_right() -> None:
    row = only(
        call_frame(decode_record(json.dumps(PUBLISHED_RECORD).encode(), Call), labels={4503599627370496: "ingest"})
    )
    moment = pd.Timestamp("2024-10-29T12:19:06Z")
    assert row.pop("duration") is pd.NaT
    assert row == {
        "call_id": 4503599627370496,
        "function_id": 4503599627370496,
        "function": "ingest",
        "schedule_id": 4503599627370496,
        "status": "Running",
        "scheduled_time": moment,
        "start_time": moment,
        "end_time": moment,
        "schedule_delay": pd.Timedelta(0),
        "error_message": "Could not authenticate.",
        "error_trace": "Cannot assign foo to bar.",
    }


def test_running_call_has_no_duration() -> None:
    assert only(call_frame(make_call(status="Running")))["duration"] is pd.NaT


def test_running_call_keeps_the_end_it_came_with() -> None:
    assert only(call_frame(make_call(status="Running")))["end_time"] == pd.Timestamp(
        NOW_MS + SECOND_MS, unit="ms", tz="UTC"
    )


@pytest.mark.parametrize("status", ["Completed", "Failed", "Timeout", "Cancelled"])
def test_call_that_does_not_run_has_the_duration_of_its_times(status: str) -> None:
    assert only(call_frame(make_call(status=status)))["duration"] == pd.Timedelta(seconds=1)


@pytest.mark.parametrize("status", ["Completed", "Failed", "Timeout"])
def test_call_without_an_end_has_no_duration(status: str) -> None:
    assert only(call_frame(make_call(status=status, end_time=None)))["duration"] is pd.NaT


def test_call_without_a_scheduled_time_has_no_delay() -> None:
    assert only(call_frame(make_call()))["schedule_delay"] is pd.NaT


def test_call_that_started_late_has_its_delay() -> None:
    assert only(call_frame(make_call(scheduled_time=NOW_MS - 250)))["schedule_delay"] == pd.Timedelta(milliseconds=250)


def test_clock_that_runs_ahead_makes_spans_negative() -> None:
    row = only(call_frame(make_call(scheduled_time=NOW_MS + 5, end_time=NOW_MS - 7)))
    assert (row["schedule_delay"], row["duration"]) == (pd.Timedelta(milliseconds=-5), pd.Timedelta(milliseconds=-7))


def test_epoch_is_a_time_like_any_other() -> None:
    row = only(call_frame(make_call(scheduled_time=0, start_time=0, end_time=0)))
    assert {row[name] for name in ("scheduled_time", "start_time", "end_time")} == {pd.Timestamp(0, tz="UTC")}
    assert (row["schedule_delay"], row["duration"]) == (pd.Timedelta(0), pd.Timedelta(0))


def test_last_moment_of_the_year_9999_is_kept() -> None:
    calls = call_frame(make_call(start_time=0, end_time=MAX_TIME_MS))
    assert calls["end_time"].astype("int64").item() == calls["duration"].astype("int64").item() == MAX_TIME_MS


@pytest.mark.parametrize("value", [1, 2**31, 2**53 - 2, MAX_ID])
def test_ids_are_exact_beside_a_missing_one(value: int) -> None:
    calls = call_frame(
        make_call(id=value, function_id=value, schedule_id=value), make_call(id=3, start_time=NOW_MS + 1)
    )
    assert [calls[name].iloc[0] for name in ("call_id", "function_id", "schedule_id")] == [value] * 3
    assert calls["schedule_id"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("error", "message", "trace"),
    [
        (None, None, None),
        ("m", "m", None),
        ("", "", None),
        (CallError("m"), "m", None),
        (CallError("m", "t"), "m", "t"),
        (CallError("", ""), "", ""),
    ],
)
def test_error_is_a_message_and_a_trace(error: object, message: str | None, trace: str | None) -> None:
    row = only(call_frame(make_call(error=error)))
    assert [None if pd.isna(row[name]) else row[name] for name in ("error_message", "error_trace")] == [message, trace]


@few_examples
@given(decoded_calls)
def test_every_value_of_a_record_stands_in_its_row(call: Call) -> None:
    row = only(call_frame(call))
    times = [call.scheduled_time, call.start_time, call.end_time]
    assert (row["call_id"], row["function_id"], row["status"]) == (call.id, call.function_id, call.status)
    assert (None if pd.isna(row["schedule_id"]) else row["schedule_id"]) == call.schedule_id
    assert [milliseconds(row[name]) for name in ("scheduled_time", "start_time", "end_time")] == times


def milliseconds(moment: Any) -> int | None:
    return None if pd.isna(moment) else int(moment.as_unit("ms").asm8.astype("int64"))


# Categories


def test_documented_statuses_are_categories_though_none_occurs() -> None:
    assert list(call_frame(make_call())["status"].cat.categories) == ["Running", "Completed", "Failed", "Timeout"]


def test_unknown_statuses_are_further_categories_in_alphabetical_order() -> None:
    calls = call_frame(make_call(status="Zzz"), make_call(id=2, status="Aaa"), make_call(id=3))
    assert list(calls["status"].cat.categories) == ["Running", "Completed", "Failed", "Timeout", "Aaa", "Zzz"]
    assert calls["status"].tolist() == ["Zzz", "Aaa", "Completed"]


def test_function_is_labelled_as_asked() -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=9), labels={7: "b", 9: "a"})
    assert calls["function"].tolist() == ["b", "a"]
    assert list(calls["function"].cat.categories) == ["a", "b"]


def test_function_without_a_label_is_labelled_by_its_id() -> None:
    assert only(call_frame(make_call(function_id=MAX_ID)))["function"] == "9007199254740991"


def test_ids_of_one_label_are_one_category() -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=9), labels={7: "a", 9: "a"})
    assert list(calls["function"].cat.categories) == ["a"]


# Order and duplicates


def test_rows_are_sorted_by_start_then_id() -> None:
    calls = call_frame(make_call(id=3, start_time=5), make_call(id=2, start_time=5), make_call(id=4, start_time=1))
    assert calls["call_id"].tolist() == [4, 2, 3]


@few_examples
@given(st.lists(decoded_calls, max_size=10), st.randoms(use_true_random=False))
def test_order_of_reading_makes_no_difference(found: list[Call], chance: random.Random) -> None:
    unique = list({(call.function_id, call.id): call for call in found}.values())
    shuffled = chance.sample(unique, len(unique))
    pd.testing.assert_frame_equal(call_frame(*shuffled), call_frame(*unique), check_exact=True)


@few_examples
@given(st.lists(decoded_calls, max_size=10))
def test_rows_are_sorted_whatever_the_records_hold(found: list[Call]) -> None:
    calls = call_frame(*found)
    keys = list(zip(calls["start_time"], calls["call_id"], calls["function_id"], strict=True))
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"status": "Running"}, {"status": "Completed"}),
        ({"status": "Running"}, {"status": "Failed"}),
        ({"status": "Running"}, {"status": "Timeout"}),
        ({"status": "Running"}, {"status": "Cancelled"}),
        ({"status": "Cancelled"}, {"status": "Completed"}),
        ({"status": "Running", "end_time": NOW_MS + 9 * SECOND_MS}, {"status": "Completed", "end_time": None}),
        ({"end_time": None}, {"end_time": NOW_MS}),
        ({"end_time": NOW_MS}, {"end_time": NOW_MS + 1}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_more_final_record_of_a_call_wins(less: dict[str, Any], more: dict[str, Any], *, turned: bool) -> None:
    pair = [make_call(**less), make_call(**more)]
    calls = call_frame(*(pair[::-1] if turned else pair))
    expected = same_categories(call_frame(make_call(**more)), calls)
    pd.testing.assert_frame_equal(calls, expected, check_exact=True)


def same_categories(calls: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return calls.assign(status=calls["status"].astype(other["status"].dtype))


def test_later_reading_wins_among_equally_final_ones() -> None:
    assert only(call_frame(make_call(error="first"), make_call(error="second")))["error_message"] == "second"


def test_call_read_on_two_pages_appears_once() -> None:
    pages = [
        schemas.to_columns([make_call(id=1), make_call(id=2)]),
        schemas.to_columns([make_call(id=2), make_call(id=3)]),
    ]
    assert frame.from_columns(pages, {})["call_id"].tolist() == [1, 2, 3]


def test_calls_of_two_functions_with_one_id_are_two() -> None:
    assert len(call_frame(make_call(), make_call(function_id=3))) == 2


@few_examples
@given(st.lists(decoded_calls, max_size=10))
def test_every_call_is_kept_exactly_once(found: list[Call]) -> None:
    calls = call_frame(*found, *found[::-1])
    assert sorted(zip(calls["function_id"], calls["call_id"], strict=True)) == sorted(
        {(call.function_id, call.id) for call in found}
    )


def test_rest_of_a_page_with_a_bad_record_becomes_rows() -> None:
    found = decode_page(page_body(call_record(id=0), call_record(id=5), call_record(id=1.5)), Call)
    assert call_frame(*found.items)["call_id"].tolist() == [5]


# Checking


def test_call_frame_passes() -> None:
    frame.check(call_frame(make_call()))


def test_index_order_and_further_columns_do_not_matter() -> None:
    calls = call_frame(make_call(), make_call(id=2)).assign(more=1).iloc[::-1]
    frame.check(calls[sorted(calls.columns)])


@pytest.mark.parametrize("thing", [None, [], {}, "calls.csv", pd.Series([1])])
def test_what_is_no_frame_is_refused(thing: Any) -> None:
    with pytest.raises(FrameError, match=rf"Expected a call frame, found {type(thing).__name__}"):
        frame.check(thing)


def test_message_lists_the_columns_that_are_missing() -> None:
    with pytest.raises(FrameError, match=r"missing the columns status, duration. Expected call_id, "):
        frame.check(call_frame(make_call()).drop(columns=["duration", "status"]))


@pytest.mark.parametrize(("name", "dtype"), OTHERS.items())
def test_message_names_the_column_of_another_dtype(name: str, dtype: Any) -> None:
    calls = call_frame(make_call())
    with pytest.raises(FrameError, match=rf"{name} is .*, expected {DTYPES[name]}".replace("[", r"\[")):
        frame.check(calls.assign(**{name: calls[name].astype(dtype)}))


def test_error_about_a_frame_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Not a call frame"):
        frame.check(pd.DataFrame())


# Arrow


@few_examples
@given(call_frames())
def test_frame_survives_arrow(calls: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        frame.from_arrow(frame.to_arrow(calls)), calls.reset_index(drop=True), check_exact=True
    )


def test_arrow_table_has_the_promised_schema() -> None:
    assert frame.to_arrow(call_frame(make_call()).iloc[::-1]).schema == frame.ARROW


def test_what_is_no_call_frame_does_not_become_arrow() -> None:
    with pytest.raises(FrameError):
        frame.to_arrow(pd.DataFrame())


def test_text_kept_by_python_becomes_arrow_too() -> None:
    calls = call_frame(make_call(error="m"), make_call(id=2))
    python = calls.assign(error_message=calls["error_message"].astype(pd.StringDtype("python", na_value=np.nan)))
    assert frame.to_arrow(python).equals(frame.to_arrow(calls))


def test_frame_is_not_changed_by_turning_it_into_arrow() -> None:
    calls = call_frame(make_call(error="m"))
    before = calls.copy(deep=True)
    frame.to_arrow(calls)
    pd.testing.assert_frame_equal(calls, before, check_exact=True)


def test_values_of_a_frame_can_be_set() -> None:
    calls = call_frame(make_call(error="m"), make_call(id=2))
    calls.loc[0, "call_id"] = 9
    calls.loc[1, "error_message"] = "n"
    assert (calls["call_id"].tolist(), calls["error_message"].tolist()) == ([9, 2], ["m", "n"])


# Columns for other frames


@pytest.mark.parametrize("values", [[], [None], ["a", None, ""]])
def test_text_column_is_str_with_nan(values: list[str | None]) -> None:
    column = frame.text_column(values)
    assert (str(column.dtype), [None if pd.isna(one) else one for one in column]) == ("str", values)


@pytest.mark.parametrize("values", [[], [None], [0, None, NOW_MS]])
def test_time_column_keeps_the_epoch_and_what_is_missing(values: list[int | None]) -> None:
    column = frame.time_column(values)
    assert (str(column.dtype), [milliseconds(one) for one in column]) == ("datetime64[ms, UTC]", values)


def test_unknown_status_that_a_later_reading_replaced_is_no_category() -> None:
    pages = [
        schemas.to_columns([make_call(id=1, status="Queued")]),
        schemas.to_columns([make_call(id=1, status="Completed")]),
    ]
    assert frame.from_columns(pages, {})["status"].cat.categories.tolist() == list(frame.STATUSES)


@pytest.mark.parametrize("name", ["function", "status", "start_time"])
def test_frame_that_lacks_what_no_call_lacks_is_not_written(name: str) -> None:
    calls = call_frame(make_call())
    with pytest.raises(FrameError, match=f"{name} is missing in 1 rows"):
        frame.to_arrow(calls.assign(**{name: calls[name].where(np.array([False]))}))


def test_frame_whose_functions_are_no_text_is_not_written() -> None:
    calls = call_frame(make_call())
    with pytest.raises(FrameError, match="categories of function are not text"):
        frame.to_arrow(calls.assign(function=calls["function_id"].astype("category")))
