"""
Columns of the tables of an archive, and conversion of calls to rows and back.

Delta Lake has neither categories nor durations, and its times are in microseconds. So labels and statuses are stored as
text, durations as integer milliseconds, and times are converted exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

DAY = "start_date"
"""The column by which tables are partitioned."""

TEXT, TIME = pa.large_string(), pa.timestamp("us", "UTC")


def _fields(dtype: pa.DataType, *names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, dtype) for name in names]


CALLS = pa.schema(
    [
        *_fields(pa.string(), "project"),
        *_fields(pa.int64(), "call_id", "function_id"),
        *_fields(pa.string(), "function"),
        *_fields(pa.int64(), "schedule_id"),
        *_fields(pa.string(), "status"),
        *_fields(TIME, "scheduled_time", "start_time", "end_time"),
        *_fields(pa.int64(), "schedule_delay_ms", "duration_ms"),
        *_fields(TEXT, "error_message", "error_trace", *frame.RESPONSE_COLUMNS),
        *_fields(pa.int8(), "finality"),
        *_fields(pa.date32(), DAY),
    ]
)
"""`finality` is 0 for Running, 1 for an unknown status, 2 for a finished call, 3 for an error response; `start_date`
is the day of `start_time` in UTC."""

COVERAGE = pa.schema(
    [
        *_fields(pa.string(), "project"),
        *_fields(pa.int64(), "function_id"),
        *_fields(TIME, "start_time", "end_time"),
        *_fields(pa.bool_(), "complete"),
        *_fields(TEXT, "reason"),
        *_fields(TIME, "read_time"),
    ]
)
"""A time range that was read completely, or that could not be read, with the reason."""

FUNCTIONS = pa.schema(
    [
        *_fields(pa.string(), "project"),
        *_fields(pa.int64(), "function_id"),
        *_fields(TEXT, "function", "name", "external_id", "owner", "description", "status"),
        *_fields(TIME, "created_time", "last_called"),
        *_fields(pa.int64(), "file_id"),
        *_fields(TEXT, "runtime", "runtime_version"),
        *_fields(pa.float64(), "cpu", "memory"),
        *_fields(TEXT, "error_message", "metadata"),
        *_fields(TIME, "first_seen_time", "last_seen_time", "gone_time"),
    ]
)
"""A function as last listed by the service; `gone_time` is when it was first missing from the list."""

SCHEDULES = pa.schema(
    [
        *_fields(pa.string(), "project"),
        *_fields(pa.int64(), "schedule_id"),
        *_fields(TEXT, "name"),
        *_fields(pa.int64(), "function_id"),
        *_fields(TEXT, "function", "function_external_id", "cron_expression", "when"),
        *_fields(TIME, "created_time"),
        *_fields(pa.int64(), "session_id"),
        *_fields(TEXT, "description"),
        *_fields(TIME, "first_seen_time", "last_seen_time", "gone_time"),
    ]
)
"""A schedule as last listed by the service."""

ROLLUP = pa.schema(
    [
        *_fields(pa.string(), "project", "source", "function"),
        *_fields(TIME, "start_time"),
        *_fields(pa.string(), "status", "measure"),
        *_fields(pa.int64(), "bucket_ms", "count"),
        *_fields(pa.date32(), DAY),
    ]
)
"""A count of a day: `source` names the files it was counted from, `start_date` is the first day of its month, so that
each month is one file."""

CALL_STATISTICS = ("project", "call_id", "function_id", "start_time", "end_time", "finality")
"""Columns of calls with statistics in the log; those of text would only enlarge it."""

FINISHED = 2
SORTED_BY = ("start_time", "call_id", "function_id")

_STORED_NAMES = {"schedule_delay": "schedule_delay_ms", "duration": "duration_ms"}
_CATEGORICAL = ("function", "status")


def stored_name(column: str) -> str:
    """Return the name under which a column of a call frame is stored."""
    return _STORED_NAMES.get(column, column)


def to_rows(calls: pd.DataFrame, project: str) -> pa.Table:
    """Convert a call frame to rows of the schema `CALLS`."""
    table = frame.to_arrow(calls)
    columns: dict[str, pa.Array] = {"project": pa.array([project] * table.num_rows, pa.string())}
    for name in table.column_names:
        column, dtype = table[name], CALLS.field(stored_name(name)).type
        if pa.types.is_timestamp(dtype):
            column = column.cast(pa.int64()).cast(pa.timestamp("ms", "UTC"))  # works at any offset of the chunks
        columns[stored_name(name)] = column.cast(dtype)
    for name in frame.RESPONSE_COLUMNS:
        columns.setdefault(name, pa.nulls(table.num_rows, TEXT))
    columns["finality"] = pa.array(frame.finality(columns["status"]), pa.int8())
    columns[DAY] = columns["start_time"].cast(pa.date32())
    return pa.table([columns[name] for name in CALLS.names], schema=CALLS)


def to_frame(
    rows: pa.Table, columns: Sequence[str] = frame.COLUMNS, *, categories: Mapping[str, list[str]] | None = None
) -> pd.DataFrame:
    """Convert rows to columns of a call frame; by default `function` and `status` have the categories that occur."""
    arrays = {name: _to_arrow(name, rows[stored_name(name)], (categories or {}).get(name)) for name in columns}
    return frame.from_arrow(pa.table(arrays))


def sort_rows(rows: pa.Table) -> pa.Table:
    """Sort calls by start time and id, if they are not; files that other tools rewrote may be unsorted."""
    order = frame.sort_order(*(rows[name].cast(pa.int64()).to_numpy() for name in SORTED_BY))
    return rows if np.array_equal(order, np.arange(len(order))) else rows.take(pa.array(order))


def with_days(rows: pa.Table) -> pa.Table:
    """Add the day, which files do not contain, and decode text."""
    return rows.append_column(DAY, rows["start_time"].cast(pa.date32())).cast(CALLS)


def on_days(column: pa.ChunkedArray, days: Iterable[dt.date]) -> pa.ChunkedArray:
    """Return a mask of the dates that are among some days."""
    return pc.is_in(column, pa.array(sorted(days), pa.date32()))


def _to_arrow(name: str, column: pa.ChunkedArray, categories: list[str] | None) -> pa.ChunkedArray:
    dtype = frame.arrow_schema(frame.RESPONSE_COLUMNS).field(name).type
    if name in _CATEGORICAL:
        order: Callable[[list[str]], Sequence[str]] = sorted if name == "function" else frame.status_categories
        return pa.chunked_array([_encode(column, order, categories)])
    if pa.types.is_timestamp(dtype):
        return pc.cast(column, dtype, safe=False)
    return column.cast(dtype)


def _encode(
    column: pa.ChunkedArray, order: Callable[[list[str]], Sequence[str]], categories: list[str] | None
) -> pa.DictionaryArray:
    """Encode text by the given categories, or by the values that occur, in order."""
    encoded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # older versions of Arrow return one with one chunk or none
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], encoded.type)
    values, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    if categories is None:
        occurring = np.flatnonzero(np.bincount(codes, minlength=len(values)))
        categories = list(order([values[position] for position in occurring.tolist()]))
    code_of = {value: code for code, value in enumerate(categories)}
    codes = np.array([code_of.get(value, -1) for value in values] or [0], dtype="int32")[codes]
    indices = pa.array(codes, pa.int32(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(categories, pa.string()))
