"""Factories of API records, decoded calls and call frames; they share one clock and one default function."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st

from callframe import frame
from callframe.api import schemas
from callframe.api.schemas import Call, CallError
from callframe.completeness import CallSet, Coverage, FunctionCoverage
from callframe.frame import MAX_ID
from callframe.timespan import MAX_TIME_MS, iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOW = dt.datetime(2026, 9, 30, 12, tzinfo=dt.UTC)  # a Wednesday
NOW_MS = 1_790_769_600_000
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
START_MS = NOW_MS - 14 * DAY_MS

PUBLISHED_RECORD = {
    "id": 4503599627370496,
    "functionId": 4503599627370496,
    "status": "Running",
    "startTime": 1730204346000,
    "endTime": 1730204346000,
    "scheduledTime": 1730204346000,
    "scheduleId": 4503599627370496,
    "error": {"message": "Could not authenticate.", "trace": "Cannot assign foo to bar."},
}
"""The example call in the API reference."""

few_examples = settings(max_examples=25, deadline=None, database=None, derandomize=True)

# Records as the API sends them


def call_record(**changes: Any) -> dict[str, Any]:
    """Build a completed call of function 7 that started a minute ago and took 30 seconds; `...` omits a field."""
    start_ms = changes.get("startTime", NOW_MS - MINUTE_MS)
    fields = {"id": 1, "functionId": 7, "status": "Completed", "startTime": start_ms, "endTime": NOW_MS - 30_000}
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def call_records(count: int, *, function_id: int = 7, step_ms: int = 1000) -> list[dict[str, Any]]:
    """Build completed calls at regular intervals, the last one step before now; ids of functions do not overlap."""
    first_ms = NOW_MS - count * step_ms
    return [
        call_record(id=function_id * 1_000_000 + k, functionId=function_id, startTime=first_ms + k * step_ms)
        for k in range(count)
    ]


def function_record(**changes: Any) -> dict[str, Any]:
    return {"id": 7, "name": "Seven", "externalId": "seven", "createdTime": NOW_MS - 30 * DAY_MS} | changes


def page_body(*items: object, **more: object) -> bytes:
    """Encode the body of a page."""
    return json.dumps({"items": items, **more}).encode()


# Decoded calls


def make_call(**changes: Any) -> Call:
    """Build a call of function 7 that started now and completed in a second."""
    start_ms = changes.get("start_time", NOW_MS)
    fields = {"id": 1, "function_id": 7, "status": "Completed", "start_time": start_ms, "end_time": start_ms + 1_000}
    return Call(**(fields | changes))


def scheduled_calls(times: Sequence[int], *, schedule_id: int = 7, delay_ms: int = 2_000, **changes: Any) -> list[Call]:
    """Build one call for each scheduled time."""
    return [
        make_call(
            id=schedule_id * 1_000_000 + k,
            start_time=time + delay_ms,
            scheduled_time=time,
            schedule_id=schedule_id,
            **changes,
        )
        for k, time in enumerate(times)
    ]


# Frames


def call_frame(*calls: Call, labels: Mapping[int, str] | None = None) -> pd.DataFrame:
    """Build a call frame without coverage; functions are labelled by their ids."""
    return frame.from_columns([schemas.to_columns(calls)], labels or {})


def fetched_frame(
    calls: Sequence[Call], *, start_ms: int = NOW_MS - DAY_MS, end_ms: int = NOW_MS, **request: Any
) -> pd.DataFrame:
    """Build the call frame of a complete fetch at `NOW_MS`; function 7 is labelled `f7`."""
    function_ids = sorted({call.function_id for call in calls} | {7})
    fetched = call_frame(*calls, labels={function_id: f"f{function_id}" for function_id in function_ids})
    counts = fetched["function_id"].value_counts()
    functions = [
        FunctionCoverage(function_id, f"f{function_id}", calls=int(counts.get(function_id, 0)), created_ms=0)
        for function_id in function_ids
    ]
    request = {"window": {"start": iso(start_ms), "end": iso(end_ms)}, "status": [], "schedule_ids": []} | request
    attach_coverage(fetched, functions, project="p", fetched_at=iso(NOW_MS), **request)
    return fetched


def attach_coverage(
    calls: pd.DataFrame, functions: Sequence[FunctionCoverage], *, project: str, fetched_at: str, **request: Any
) -> None:
    """Attach a coverage to a frame; `request` holds the window and the filters as JSON does."""
    content = {
        "project": project,
        "fetched_at": fetched_at,
        "functions": [function.to_json() for function in functions],
        **request,
    }
    coverage = Coverage.from_json(content)
    assert coverage is not None
    dataclasses.replace(coverage, described=CallSet.of(calls)).attach(calls)


def schedule_frame(*schedules: dict[str, Any]) -> pd.DataFrame:
    """Build a schedule frame; by default a schedule runs hourly."""
    defaults: dict[str, Any] = {
        "schedule_id": 7,
        "name": "s",
        "function_id": 7,
        "cron_expression": "0 * * * *",
        "created_ms": 0,
    }
    rows = [defaults | schedule for schedule in schedules]
    return pd.DataFrame(
        {
            "schedule_id": pd.Series([row["schedule_id"] for row in rows], dtype="int64"),
            "name": frame.text_column([row["name"] for row in rows]),
            "function_id": pd.Series([row["function_id"] for row in rows], dtype="Int64"),
            "function": frame.text_column([row.get("function", f"f{row['function_id']}") for row in rows]),
            "function_external_id": frame.text_column([row.get("function_external_id") for row in rows]),
            "cron_expression": frame.text_column([row["cron_expression"] for row in rows]),
            "created_time": frame.time_column([row["created_ms"] for row in rows]),
        }
    )


def frame_from_rows(rows: list[dict[str, Any]], *, fetched_ms: int | None = NOW_MS) -> pd.DataFrame:
    """Build a call frame of rows with `function`, `status`, and `start`, `duration` and `delay` in milliseconds."""
    columns = pd.DataFrame(rows, columns=["function", "status", "start", "duration", "delay"])
    return frame_from_columns(
        function=columns["function"].to_numpy(dtype="object"),
        status=columns["status"].to_numpy(dtype="object"),
        start=columns["start"].to_numpy(dtype="int64"),
        duration=columns["duration"].to_numpy(dtype="float64"),
        delay=columns["delay"].to_numpy(dtype="float64"),
        fetched_ms=fetched_ms,
    )


def frame_from_columns(
    *,
    function: Any,
    status: Any,
    start: Any,
    duration: Any,
    delay: Any = None,
    fetched_ms: int | None = NOW_MS,
    function_ids: Any = None,
) -> pd.DataFrame:
    """Build a call frame of columns, times in milliseconds; NaN is missing."""
    start = np.asarray(start, dtype="int64")
    n = len(start)
    delay = np.full(n, np.nan) if delay is None else delay
    duration_ms, delay_ms = _integers(duration), _integers(delay)
    nat = np.iinfo("int64").min
    functions = pd.Series(np.asarray(function, dtype="object"), dtype=frame.TEXT)
    statuses = pd.Series(np.asarray(status, dtype="object"), dtype=frame.TEXT)
    labels = pd.Series(sorted(set(functions)), dtype=frame.TEXT)
    status_labels = pd.Series(frame.status_categories(list(statuses)), dtype=frame.TEXT)
    codes = pd.Index(labels).get_indexer(pd.Index(functions)) if n else np.empty(0, dtype="int64")
    calls = pd.DataFrame(
        {
            "call_id": np.arange(1, n + 1),
            "function_id": codes + 1 if function_ids is None else function_ids,
            "function": pd.Categorical(functions, dtype=pd.CategoricalDtype(labels)),
            "schedule_id": pd.array([pd.NA] * n, dtype="Int64"),
            "status": pd.Categorical(statuses, dtype=pd.CategoricalDtype(status_labels)),
            "scheduled_time": _times(np.where(delay_ms == nat, nat, start - delay_ms)),
            "start_time": _times(start),
            "end_time": _times(np.where(duration_ms == nat, nat, start + duration_ms)),
            "schedule_delay": delay_ms.view("timedelta64[ms]"),
            "duration": np.where(statuses == "Running", nat, duration_ms).view("timedelta64[ms]"),
            "error_message": pd.Series([None] * n, dtype=frame.TEXT),
            "error_trace": pd.Series([None] * n, dtype=frame.TEXT),
        }
    )
    calls["function_id"] = calls["function_id"].astype("int64")
    if fetched_ms is not None:
        attach_coverage(calls, [], project="p", fetched_at=iso(fetched_ms))
    frame.check(calls)
    return calls


def _integers(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype="float64")
    missing = np.isnan(values)
    return np.where(missing, np.iinfo("int64").min, np.where(missing, 0, values).round().astype("int64"))


def _times(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype("int64").view("datetime64[ms]")).tz_localize("UTC")


# Hypothesis strategies

STATUSES = [*frame.KNOWN_STATUSES, "Paused"]

call_ids = st.integers(1, MAX_ID) | st.sampled_from([1, 2, 2**31, 2**53 - 2, MAX_ID])
epoch_times = st.integers(0, MAX_TIME_MS) | st.integers(NOW_MS, NOW_MS + DAY_MS) | st.sampled_from([0, MAX_TIME_MS])
# Text that a reader of CSV may mistake for something else: missing values, formulas, quotes, line ends.
_AMBIGUOUS = (
    "|NA|nan|null|None|#N/A| |0|1970-01-01|\ufeff|\ufffd|\u2028|\x85"
    "|=1+1|'=1+1|''=1+1|'|''|'text|+1|-1|@x|\tx|\rx|\nx|\uff1d1|\uff0b1|\uff0d1|\uff20|=\"1\""
    '|"|""|a"b|a,b|a;b|a\nb|a\r\nb|a\rb|\r|\n|\r\n|\0|a\0b|\U0001f600'
)
ambiguous_texts = st.sampled_from(_AMBIGUOUS.split("|"))
texts = ambiguous_texts | st.text(max_size=12) | st.builds(str.__add__, ambiguous_texts, ambiguous_texts)
decoded_calls = st.builds(
    Call,
    id=call_ids,
    function_id=st.sampled_from([1, 2, 3, MAX_ID]),
    status=st.sampled_from([*frame.STATUSES, *frame.KNOWN_STATUSES, "Cancelled", "=1+1", ""]),
    start_time=epoch_times,
    end_time=st.none() | epoch_times,
    scheduled_time=st.none() | epoch_times,
    schedule_id=st.none() | call_ids,
    error=st.none() | texts | st.builds(CallError, message=texts, trace=st.none() | texts),
)


@st.composite
def call_frames(draw: st.DrawFn) -> pd.DataFrame:
    """Draw call frames; some are filtered, with unused categories and gaps in the index."""
    labels = draw(st.dictionaries(st.sampled_from([1, 2, 3, MAX_ID]), texts, max_size=4))
    calls = call_frame(*draw(st.lists(decoded_calls, max_size=8)), labels=labels)
    if not draw(st.booleans()):
        return calls
    kept = draw(st.lists(st.booleans(), min_size=len(calls), max_size=len(calls)))
    return calls[np.array(kept, dtype=bool)]


def edge_case_rows(max_size: int = 40, functions: str = "abc") -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw rows for `frame_from_rows`: missing, negative and huge durations, new statuses, stuck calls, ties."""
    durations = st.one_of(
        st.none(), st.sampled_from([0, 1, 99, 100, 101, 600_000]), st.integers(-5_000, 5_000), st.integers(1, 2**40)
    )
    starts = st.one_of(st.just(0), st.integers(START_MS, NOW_MS), st.integers(NOW_MS - HOUR_MS, NOW_MS + 1000))
    row = st.fixed_dictionaries(
        {
            "function": st.sampled_from(list(functions)),
            "status": st.sampled_from([*STATUSES, "Completed"]),
            "start": starts,
            "duration": durations,
            "delay": durations,
        }
    )
    return st.lists(row, max_size=max_size)
