"""
How calls are stored: the columns of the Delta table, from a call frame and back.

Delta Lake knows neither categories nor spans of time, and its times are microseconds: so labels and statuses are text,
spans are whole milliseconds in columns that say so, and times are converted exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

DAY = "start_date"
"""The column that partitions the table: the day of `start_time`, in UTC."""

STORED = pa.schema(
    [
        ("project", pa.string()),
        ("call_id", pa.int64()),
        ("function_id", pa.int64()),
        ("function", pa.string()),
        ("schedule_id", pa.int64()),
        ("status", pa.string()),
        ("scheduled_time", pa.timestamp("us", "UTC")),
        ("start_time", pa.timestamp("us", "UTC")),
        ("end_time", pa.timestamp("us", "UTC")),
        ("schedule_delay_ms", pa.int64()),
        ("duration_ms", pa.int64()),
        ("error_message", pa.large_string()),
        ("error_trace", pa.large_string()),
        ("finality", pa.int8()),
        (DAY, pa.date32()),
    ]
)
"""A row of the table. `finality` tells how final a record is: 0 Running, 1 a status new to callframe, 2 finished."""

WITH_STATISTICS = ("project", "call_id", "function_id", "start_time", "end_time", "finality")
"""Columns whose least and greatest values stand in the log, file by file: texts would only bloat it."""

FINISHED = 2

_STORED_AS = {"schedule_delay": "schedule_delay_ms", "duration": "duration_ms"}
_WORDS = ("function", "status")
_TO_MS, _TO_US = pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")


def stored_name(column: str) -> str:
    """Tell under which name a column of a call frame is stored."""
    return _STORED_AS.get(column, column)


def to_stored(calls: pd.DataFrame, project: str) -> pa.Table:
    """
    Turn a call frame into rows of the table.

    Parameters
    ----------
    calls
        Call frame.
    project
        Whose calls these are.

    Returns
    -------
    rows
        In the same order, of the schema `STORED`.
    """
    table = frame.to_arrow(calls)
    columns: dict[str, pa.Array] = {"project": pa.array([project] * table.num_rows, pa.string())}
    for name in table.column_names:
        column, kind = table[name], STORED.field(stored_name(name)).type
        if pa.types.is_timestamp(kind):
            column = column.cast(pa.int64()).cast(_TO_MS)  # which takes any offset of its chunks
        columns[stored_name(name)] = column.cast(kind)
    columns["finality"] = pa.array(frame.finality(columns["status"]), pa.int8())
    columns[DAY] = columns["start_time"].cast(pa.date32())
    return pa.table([columns[name] for name in STORED.names], schema=STORED)


def to_frame(
    rows: pa.Table, columns: Sequence[str] = frame.COLUMNS, *, words: dict[str, list[str]] | None = None
) -> pd.DataFrame:
    """
    Turn rows of the table into a call frame, or some columns of one.

    Parameters
    ----------
    rows
        Stored columns, those that are wanted at least.
    columns
        Which columns of a call frame to make, in order.
    words
        Categories of `function` and `status` by name; by default those that occur.

    Returns
    -------
    calls
        The same rows, in the same order.
    """
    made = {name: _to_arrow(name, rows[stored_name(name)], (words or {}).get(name)) for name in columns}
    return frame.from_arrow(pa.table(made))


def _to_arrow(name: str, column: pa.ChunkedArray, words: list[str] | None) -> pa.ChunkedArray:
    kind = frame.ARROW.field(name).type
    if name in _WORDS:
        order: Callable[[list[str]], Sequence[str]] = sorted if name == "function" else frame.status_categories
        return pa.chunked_array([_encoded(column, order, words)])
    if pa.types.is_timestamp(kind):
        return pc.cast(column, kind, safe=False)
    return column.cast(kind)


def _encoded(
    column: pa.ChunkedArray, order: Callable[[list[str]], Sequence[str]], words: list[str] | None
) -> pa.DictionaryArray:
    """Encode words by those that occur, in order, or by those that were given."""
    encoded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # an older Arrow gives one of a single chunk, or of none
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], encoded.type)
    known, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    if words is None:
        occurring = np.flatnonzero(np.bincount(codes, minlength=len(known)))
        words = list(order([known[place] for place in occurring.tolist()]))
    place = {word: number for number, word in enumerate(words)}
    codes = np.array([place.get(word, -1) for word in known] or [0], dtype="int32")[codes]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=codes < 0), pa.array(words, pa.string()))
