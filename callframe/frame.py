"""The call frame: its columns and dtypes, built from records, checked, converted to and from Arrow."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - a table below is annotated with it
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe.errors import FrameError
from callframe.timespan import NO_TIME, from_epoch_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


STATUSES = ("Running", "Completed", "Failed", "Timeout")
"""The states of a call that the API documents, in the order of the categories."""

ERROR_RESPONSE = "Error response"
"""The status of a call that the service calls Completed and whose response reports a failure."""

FAILURES = ("Failed", "Timeout", ERROR_RESPONSE)
"""The statuses that count as failures."""

KNOWN_STATUSES = (*STATUSES, ERROR_RESPONSE)
"""The statuses whose meaning is known."""

TEXT = pd.StringDtype("pyarrow", na_value=np.nan)
"""The dtype that pandas 2.3 and 3 both show as `str`, missing values as NaN."""

_TIME = pd.DatetimeTZDtype("ms", "UTC")

COLUMNS = (
    "call_id",
    "function_id",
    "function",
    "schedule_id",
    "status",
    "scheduled_time",
    "start_time",
    "end_time",
    "schedule_delay",
    "duration",
    "error_message",
    "error_trace",
)
"""The columns of a call frame, in order."""

RESPONSE_COLUMNS = ("response", "route")
"""Further columns, of calls whose responses were read: JSON text, and the route of a function app."""

MAX_ID = 2**53 - 1
"""The largest id that the API assigns: every JSON parser represents it exactly."""

RECORD_SCHEMA = pa.schema(
    [
        ("call_id", pa.int64()),
        ("function_id", pa.int64()),
        ("schedule_id", pa.int64()),
        ("status", pa.dictionary(pa.int32(), pa.string())),
        ("scheduled_time", pa.int64()),
        ("start_time", pa.int64()),
        ("end_time", pa.int64()),
        ("error_message", pa.large_string()),
        ("error_trace", pa.large_string()),
    ]
)
"""The columns of call records as Arrow holds them between a fetch and its frame: times in epoch milliseconds."""

ARROW = pa.schema(
    [
        ("call_id", pa.int64()),
        ("function_id", pa.int64()),
        ("function", pa.dictionary(pa.int32(), pa.string())),
        ("schedule_id", pa.int64()),
        ("status", pa.dictionary(pa.int32(), pa.string())),
        ("scheduled_time", pa.timestamp("ms", "UTC")),
        ("start_time", pa.timestamp("ms", "UTC")),
        ("end_time", pa.timestamp("ms", "UTC")),
        ("schedule_delay", pa.duration("ms")),
        ("duration", pa.duration("ms")),
        ("error_message", pa.large_string()),
        ("error_trace", pa.large_string()),
    ]
)
"""A call frame as an Arrow table, which is what files hold."""

_DTYPES = {
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


_FILES = " Read files with cf.read_csv and cf.read_parquet, not with pandas."
_CONCAT = " After pd.concat: calls.astype({'function': 'category', 'status': 'category'})."


def from_columns(
    tables: Sequence[pa.Table], labels: Mapping[int, str], *, statuses: Sequence[str] = ()
) -> pd.DataFrame:
    """
    Build a call frame from the columns of records, sorted by `start_time`, `call_id`.

    A call that was read more than once, because it finished between two pages for example, is kept once, in its most
    final state. Functions without a label are labelled by their id. `statuses` keeps only calls that end up in one of
    them; none means all.
    """
    table = pa.concat_tables([RECORD_SCHEMA.empty_table(), *tables])
    rows = pa.array(_rows(table))
    if statuses:
        selected = pc.is_in(table["status"].cast(pa.string()).take(rows), pa.array(statuses)).combine_chunks()
        rows = rows.filter(selected)
    return _frame(table, rows, labels)


def empty() -> pd.DataFrame:
    """Build a call frame without rows."""
    return from_columns([], {})


def check(calls: pd.DataFrame) -> None:
    """Raise a `FrameError` unless a frame has the columns and dtypes of a call frame; order and index do not matter."""
    if type(calls).__module__.startswith("dask."):
        raise FrameError(
            "Expected a pandas DataFrame, found a Dask DataFrame. Only summarize, failures, quality and rollup accept"
            " those; for everything else select a part, such as a week, and load it with .compute()."
        )
    if not isinstance(calls, pd.DataFrame):
        raise FrameError(f"Expected a call frame, found {type(calls).__name__}. Fetch one with project.calls().")
    missing = [name for name in COLUMNS if name not in calls.columns]
    if missing:
        raise FrameError(
            f"Not a call frame: missing the columns {', '.join(missing)}. Expected {', '.join(COLUMNS)}, as"
            " project.calls(), cf.read_csv and cf.read_parquet return them."
        )
    for name, expected in _DTYPES.items():
        found = str(calls.dtypes[name])
        if found != expected:
            hint = _CONCAT if expected == "category" else ""
            raise FrameError(f"Not a call frame: {name} is {found}, expected {expected}.{hint}{_FILES}")


def deduplicate(calls: pd.DataFrame) -> pd.DataFrame:
    """Drop repeated calls, which concatenated frames may hold; the last one stays."""
    if pd.Index(calls["call_id"]).is_unique:
        return calls
    return calls.drop_duplicates(["function_id", "call_id"], keep="last")


def _check_values(calls: pd.DataFrame) -> None:
    """Check for values that edits may have left and no file could restore."""
    for name in ("function", "status", "start_time"):
        if calls[name].isna().any():
            raise FrameError(f"Not a call frame: {name} is missing in {calls[name].isna().sum()} rows.")
    for name in [name for name in RESPONSE_COLUMNS if name in calls]:
        if str(calls.dtypes[name]) != "str":
            raise FrameError(f"Not a call frame: {name} is {calls.dtypes[name]}, expected str.")
    for name in ("function", "status"):
        if not all(isinstance(category, str) for category in calls[name].cat.categories):
            raise FrameError(f"Not a call frame: the categories of {name} are not text.")


def to_arrow(calls: pd.DataFrame) -> pa.Table:
    """Convert a call frame to an Arrow table of the schema `ARROW`; a `FrameError` says why it is not one."""
    check(calls)
    _check_values(calls)
    schema = arrow_schema([name for name in RESPONSE_COLUMNS if name in calls])
    return pa.Table.from_arrays([_to_arrow(calls[field.name], field.type) for field in schema], schema=schema)


def arrow_schema(names: Sequence[str]) -> pa.Schema:
    """Return the schema `ARROW`, with the columns of responses that are among some names."""
    return pa.schema([*ARROW, *((name, pa.large_string()) for name in RESPONSE_COLUMNS if name in names)])


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """Convert a table of an `arrow_schema`, or of some of its columns, to a frame of the same rows."""
    return pd.DataFrame({name: _FROM_ARROW[name](table[name]) for name in table.column_names}, copy=False)


def status_categories(statuses: Sequence[str]) -> list[str]:
    """List the categories of a status column: the documented ones, error responses, then others alphabetically."""
    known = [status for status in KNOWN_STATUSES if status in STATUSES or status in statuses]
    return [*known, *sorted(set(statuses).difference(known))]


def text_column(values: Sequence[str | None]) -> pd.Series:
    """Build a text column of the dtype that pandas 2.3 and 3 both call `str`; None becomes NaN."""
    return pd.Series(_text(pa.chunked_array([pa.array(values, pa.large_string())])))


def time_column(values: Sequence[int | None]) -> pd.Series:
    """Build a `datetime64[ms, UTC]` column from epoch milliseconds; None becomes NaT."""
    return pd.Series(_time_index(pa.chunked_array([pa.array(values, pa.int64())])))


def _rows(table: pa.Table) -> np.ndarray:
    """List the rows of a frame in its order, each call once."""
    start, call_id, function_id = (table[name].to_numpy() for name in ("start_time", "call_id", "function_id"))
    ordered = np.sort(call_id)
    if not (ordered[1:] == ordered[:-1]).any():
        return sort_order(start, call_id, function_id)
    kept = final_records(table)
    rows: np.ndarray = kept[sort_order(start[kept], call_id[kept], function_id[kept])]
    return rows


def finality(statuses: pa.ChunkedArray) -> np.ndarray:
    """Rank statuses: 0 for Running, 1 for an undocumented one, 2 for a finished call, 3 for an error response."""
    status = statuses.cast(pa.string()).to_numpy()
    return np.select([status == "Running", status == ERROR_RESPONSE, np.isin(status, STATUSES)], [0, 3, 2], default=1)


def final_records(table: pa.Table) -> np.ndarray:
    """
    List the rows to keep, each call once.

    An error response takes precedence over a finished call, that over an undocumented status, that over Running, then
    the later end, then the later read.
    """
    keys = pd.DataFrame(
        {
            "function_id": table["function_id"].to_numpy(),
            "call_id": table["call_id"].to_numpy(),
            "final": finality(table["status"]),
            "end_time": table["end_time"].cast(pa.int64()).fill_null(-1).to_numpy(),
        }
    )
    kept = keys.sort_values(["final", "end_time"], kind="stable").drop_duplicates(
        ["function_id", "call_id"], keep="last"
    )
    return np.sort(kept.index.to_numpy())


def sort_order(start: np.ndarray, call_id: np.ndarray, function_id: np.ndarray) -> np.ndarray:
    """Order rows by start, then ids. Pages are mostly sorted, which a stable sort exploits; only ties compare ids."""
    rows = np.argsort(start, kind="stable")
    ordered = start[rows]
    tied = ordered[1:] == ordered[:-1]
    if tied.any():
        in_tie = np.zeros(len(rows), dtype=bool)
        in_tie[1:] |= tied
        in_tie[:-1] |= tied
        ties = rows[in_tie]
        rows[in_tie] = ties[np.lexsort((function_id[ties], call_id[ties], start[ties]))]
    return rows


def _frame(table: pa.Table, rows: pa.Array, labels: Mapping[int, str]) -> pd.DataFrame:
    def column(name: str) -> pa.ChunkedArray:
        """Reorder one column at a time: all at once would hold the frame in memory twice."""
        return pa.chunked_array([table[name].unify_dictionaries().combine_chunks().take(rows)])

    start, end = _integers(column("start_time")), _epoch_ms(column("end_time"))
    scheduled = _epoch_ms(column("scheduled_time"))
    status = _statuses(column("status"))
    delay = np.where(scheduled == NO_TIME, NO_TIME, start - scheduled)
    running = status == "Running"
    duration = np.where((end == NO_TIME) | running, NO_TIME, end - start)
    return pd.DataFrame(
        {
            "call_id": _integers(column("call_id")),
            "function_id": _integers(column("function_id")),
            "function": _labels(column("function_id"), labels),
            "schedule_id": _nullable_integers(column("schedule_id")),
            "status": status,
            "scheduled_time": from_epoch_ms(scheduled),
            "start_time": from_epoch_ms(start),
            "end_time": from_epoch_ms(end),
            "schedule_delay": delay.view("timedelta64[ms]"),
            "duration": duration.view("timedelta64[ms]"),
            "error_message": _text(column("error_message")),
            "error_trace": _text(column("error_trace")),
        },
        copy=False,
    )


def _labels(function_ids: pa.ChunkedArray, labels: Mapping[int, str]) -> pd.Categorical:
    """Label functions; two ids with one label, before and after a redeploy, share a category."""
    encoded = function_ids.combine_chunks().dictionary_encode()
    by_function = [labels.get(function_id, str(function_id)) for function_id in encoded.dictionary.to_pylist()]
    categories = sorted(set(by_function))
    codes = np.array([categories.index(label) for label in by_function], dtype="int32")
    codes = codes[encoded.indices.to_numpy()]
    return _categorical(codes, categories)


def _statuses(statuses: pa.ChunkedArray) -> pd.Categorical:
    encoded = statuses.combine_chunks()
    names, indices = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    counts = np.bincount(indices, minlength=len(names)).tolist()
    categories = status_categories([name for name, count in zip(names, counts, strict=True) if count])
    position = {name: code for code, name in enumerate(categories)}
    codes = np.array([position.get(name, -1) for name in names], dtype="int32")[indices]
    return _categorical(codes, categories)


def _categorical(codes: np.ndarray, categories: Sequence[str]) -> pd.Categorical[Any]:
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Series(categories, dtype=TEXT)))


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_numpy(), dtype="int64")


def _epoch_ms(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.fill_null(NO_TIME).to_numpy(), dtype="int64")


def _time_index(column: pa.ChunkedArray) -> pd.DatetimeIndex:
    return from_epoch_ms(_epoch_ms(column))


def _timedeltas(column: pa.ChunkedArray) -> np.ndarray:
    return _epoch_ms(column).view("timedelta64[ms]")


def _nullable_integers(column: pa.ChunkedArray) -> pd.arrays.IntegerArray:
    missing = np.array(column.is_null().to_numpy(), dtype=bool)
    return pd.arrays.IntegerArray(_integers(column.fill_null(1)), missing)


def _text(column: pa.ChunkedArray) -> pd.api.extensions.ExtensionArray:
    array: pd.api.extensions.ExtensionArray = TEXT.__from_arrow__(column)  # type: ignore[attr-defined] # the stubs lack it
    return array


def _from_dictionary(
    column: pa.ChunkedArray, sort: Callable[[Sequence[str]], Sequence[str]] = tuple
) -> pd.Categorical[Any]:
    column = column.unify_dictionaries().combine_chunks()
    words = column.dictionary.to_pylist()
    categories = sort(words)
    codes = np.array([categories.index(word) for word in words], dtype="int32")
    return _categorical(codes[column.indices.to_numpy()], categories)


_FROM_ARROW: dict[str, Callable[[pa.ChunkedArray], Any]] = {
    "call_id": _integers,
    "function_id": _integers,
    "function": _from_dictionary,
    "schedule_id": _nullable_integers,
    "status": lambda column: _from_dictionary(column, status_categories),
    "scheduled_time": lambda column: _time_index(column.cast(pa.int64())),
    "start_time": lambda column: _time_index(column.cast(pa.int64())),
    "end_time": lambda column: _time_index(column.cast(pa.int64())),
    "schedule_delay": lambda column: _timedeltas(column.cast(pa.int64())),
    "duration": lambda column: _timedeltas(column.cast(pa.int64())),
    "error_message": _text,
    "error_trace": _text,
    **dict.fromkeys(RESPONSE_COLUMNS, _text),
}


def _to_arrow(column: pd.Series, kind: pa.DataType) -> pa.Array:
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = pa.array(column.cat.codes.to_numpy(), pa.int32(), mask=column.isna().to_numpy())
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.cat.categories.to_list(), pa.string()))
    array = pa.array(column, from_pandas=True)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array if array.type == kind else pc.cast(array, kind)
