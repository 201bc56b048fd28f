"""What a call frame is: its columns and dtypes, made from records, checked, empty."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - a table below is annotated with it
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


STATUSES = ("Running", "Completed", "Failed", "Timeout")
"""The states of a call that the API documents, in the order of the categories."""

FAILURES = ("Failed", "Timeout")
"""The statuses that count as failures."""
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

_KINDS = {
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


_CONCAT = " After pd.concat: calls.astype({'function': 'category', 'status': 'category'})."


def from_columns(
    tables: Sequence[pa.Table], labels: Mapping[int, str], *, statuses: Sequence[str] = ()
) -> pd.DataFrame:
    """
    Make a call frame of columns.

    A call that was read more than once, because it finished between two pages, say, is kept once, as it was in its most
    final state.

    Parameters
    ----------
    tables
        What `columns` returned, in the order it was read.
    labels
        Label by function id; an id without one is its own label, as text.
    statuses
        Keep only the calls that are in one of these in the end; none means all.

    Returns
    -------
    calls
        Call frame, sorted by `start_time`, `call_id`.
    """
    table = pa.concat_tables([RECORD_SCHEMA.empty_table(), *tables])
    rows = pa.array(_rows(table))
    if statuses:
        wanted = pc.is_in(table["status"].cast(pa.string()).take(rows), pa.array(statuses)).combine_chunks()
        rows = rows.filter(wanted)
    return _frame(table, rows, labels)


def empty() -> pd.DataFrame:
    """
    Make a call frame without rows.

    Returns
    -------
    calls
        All columns, with their dtypes.
    """
    return from_columns([], {})


def check(calls: pd.DataFrame) -> None:
    """
    Make sure that a frame is a call frame.

    Parameters
    ----------
    calls
        Any frame. Its index, its order and further columns do not matter.

    Raises
    ------
    FrameError
        A column is missing or of another dtype.
    """
    if type(calls).__module__.startswith("dask."):
        raise FrameError(
            "Expected a pandas frame, found a Dask DataFrame. Only summarize, failures, quality and rollup take those;"
            " for all else choose less of it, such as a week, and take that into memory with .compute()."
        )
    if not isinstance(calls, pd.DataFrame):
        raise FrameError(f"Expected a call frame, found {type(calls).__name__}. Fetch one with project.calls().")
    missing = [name for name in COLUMNS if name not in calls.columns]
    if missing:
        raise FrameError(
            f"This is no call frame: it lacks {', '.join(missing)}. Expected the columns {', '.join(COLUMNS)}, as"
            " project.calls(), read_csv and read_parquet give them."
        )
    for name, expected in _KINDS.items():
        found = str(calls.dtypes[name])
        if found != expected:
            hint = _CONCAT if expected == "category" else ""
            raise FrameError(f"This is no call frame: {name} is {found}, expected {expected}.{hint}")


def deduplicate(calls: pd.DataFrame) -> pd.DataFrame:
    """Drop repeated calls, which concatenated frames may hold; the last one stays."""
    if pd.Index(calls["call_id"]).is_unique:
        return calls
    return calls.drop_duplicates(["function_id", "call_id"], keep="last")


def _check_values(calls: pd.DataFrame) -> None:
    """Find what edits may have left and no file could give back."""
    for name in ("function", "status", "start_time"):
        if calls[name].isna().any():
            raise FrameError(f"This is no call frame: {name} is missing in {calls[name].isna().sum()} rows.")
    for name in ("function", "status"):
        if not all(isinstance(one, str) for one in calls[name].cat.categories):
            raise FrameError(f"This is no call frame: the categories of {name} are not text.")


def to_arrow(calls: pd.DataFrame) -> pa.Table:
    """
    Turn a call frame into an Arrow table.

    Parameters
    ----------
    calls
        Call frame.

    Returns
    -------
    table
        The same rows and columns, of the schema `ARROW`.

    Raises
    ------
    FrameError
        It is no call frame.
    """
    check(calls)
    _check_values(calls)
    return pa.Table.from_arrays([_to_arrow(calls[field.name], field.type) for field in ARROW], schema=ARROW)


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """
    Turn an Arrow table into a call frame.

    Parameters
    ----------
    table
        A table of the schema `ARROW`, or some of its columns; no nulls in those that have none in a call frame.

    Returns
    -------
    calls
        The same rows and columns in the same order.
    """
    return pd.DataFrame({name: _FROM_ARROW[name](table[name]) for name in table.column_names}, copy=False)


def status_categories(found: Sequence[str]) -> list[str]:
    """
    List the categories of a status column: the documented ones, then any others.

    Parameters
    ----------
    found
        The statuses that occur.

    Returns
    -------
    categories
        The others in alphabetical order.
    """
    return [*STATUSES, *sorted(set(found).difference(STATUSES))]


def text_column(values: Sequence[str | None]) -> pd.Series:
    """
    Make a text column, of the dtype that pandas 2.3 and 3 both call `str`.

    Parameters
    ----------
    values
        Text, None where there is none.

    Returns
    -------
    column
        Missing values as NaN.
    """
    return pd.Series(_text(pa.chunked_array([pa.array(values, pa.large_string())])))


def time_column(values: Sequence[int | None]) -> pd.Series:
    """
    Make a time column of epoch milliseconds.

    Parameters
    ----------
    values
        Milliseconds since 1970-01-01 UTC, None where there are none; 0 is a time like any other.

    Returns
    -------
    column
        `datetime64[ms, UTC]`.
    """
    return pd.Series(_times(pa.chunked_array([pa.array(values, pa.int64())])))


def _rows(table: pa.Table) -> np.ndarray:
    """Choose the rows of a frame, in its order: each call once."""
    start, call_id, function_id = (table[name].to_numpy() for name in ("start_time", "call_id", "function_id"))
    ordered = np.sort(call_id)
    if not (ordered[1:] == ordered[:-1]).any():
        return sort_order(start, call_id, function_id)
    kept = final_records(table)
    rows: np.ndarray = kept[sort_order(start[kept], call_id[kept], function_id[kept])]
    return rows


def finality(statuses: pa.ChunkedArray) -> np.ndarray:
    """Tell how final records are by their status: 0 for Running, 1 for one that is not known, 2 for a finished call."""
    status = statuses.cast(pa.string()).to_numpy()
    return np.select([status == "Running", np.isin(status, STATUSES)], [0, 2], default=1)


def final_records(table: pa.Table) -> np.ndarray:
    """
    Choose each call once: finished beats unknown beats Running, then the later end, then the later reading.

    Parameters
    ----------
    table
        Columns `function_id`, `call_id`, `status` and `end_time`, in the order they were read.

    Returns
    -------
    rows
        Places of the rows to keep, ascending.
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
    """Order by start, then id. Pages are runs in order, which a stable sort likes; only ties compare their ids."""
    rows = np.argsort(start, kind="stable")
    ordered = start[rows]
    tied = ordered[1:] == ordered[:-1]
    if tied.any():
        in_tie = np.zeros(len(rows), dtype=bool)
        in_tie[1:] |= tied
        in_tie[:-1] |= tied
        among = rows[in_tie]
        rows[in_tie] = among[np.lexsort((function_id[among], call_id[among], start[among]))]
    return rows


def _frame(table: pa.Table, rows: pa.Array, labels: Mapping[int, str]) -> pd.DataFrame:
    def column(name: str) -> pa.ChunkedArray:
        """Put one column in order; all at once, they would be in memory twice."""
        return pa.chunked_array([table[name].unify_dictionaries().combine_chunks().take(rows)])

    start, end = _integers(column("start_time")), _stamps(column("end_time"))
    scheduled = _stamps(column("scheduled_time"))
    status = _statuses(column("status"))
    nat = np.iinfo("int64").min
    delay = np.where(scheduled == nat, nat, start - scheduled)
    running = status == "Running"
    duration = np.where((end == nat) | running, nat, end - start)
    return pd.DataFrame(
        {
            "call_id": _integers(column("call_id")),
            "function_id": _integers(column("function_id")),
            "function": _labels(column("function_id"), labels),
            "schedule_id": _maybe_integers(column("schedule_id")),
            "status": status,
            "scheduled_time": _moments(scheduled),
            "start_time": _moments(start),
            "end_time": _moments(end),
            "schedule_delay": delay.view("timedelta64[ms]"),
            "duration": duration.view("timedelta64[ms]"),
            "error_message": _text(column("error_message")),
            "error_trace": _text(column("error_trace")),
        },
        copy=False,
    )


def _labels(function_ids: pa.ChunkedArray, labels: Mapping[int, str]) -> pd.Categorical:
    """Label by function; two ids of one label, before and after a redeploy, are one category."""
    encoded = function_ids.combine_chunks().dictionary_encode()
    found = [labels.get(function_id, str(function_id)) for function_id in encoded.dictionary.to_pylist()]
    categories = sorted(set(found))
    place = {label: position for position, label in enumerate(categories)}
    codes = np.array([place[label] for label in found], dtype="int32")[encoded.indices.to_numpy()]
    return _categorical(codes, categories)


def _statuses(statuses: pa.ChunkedArray) -> pd.Categorical:
    encoded = statuses.combine_chunks()
    found, indices = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    counts = np.bincount(indices, minlength=len(found)).tolist()
    categories = status_categories([status for status, count in zip(found, counts, strict=True) if count])
    place = {status: position for position, status in enumerate(categories)}
    codes = np.array([place.get(status, -1) for status in found], dtype="int32")[indices]
    return _categorical(codes, categories)


def _categorical(codes: np.ndarray, categories: Sequence[str]) -> pd.Categorical[Any]:
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Series(categories, dtype=TEXT)))


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_numpy(), dtype="int64")


def _stamps(column: pa.ChunkedArray) -> np.ndarray:
    """Integers with the one that stands for no time where there is none."""
    return np.array(column.fill_null(int(np.iinfo("int64").min)).to_numpy(), dtype="int64")


def _moments(stamps: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(stamps.view("datetime64[ms]")).tz_localize("UTC")


def _times(column: pa.ChunkedArray) -> pd.DatetimeIndex:
    return _moments(_stamps(column))


def _spans(column: pa.ChunkedArray) -> np.ndarray:
    return _stamps(column).view("timedelta64[ms]")


def _maybe_integers(column: pa.ChunkedArray) -> pd.arrays.IntegerArray:
    missing = np.array(column.is_null().to_numpy(), dtype=bool)
    return pd.arrays.IntegerArray(_integers(column.fill_null(1)), missing)


def _text(column: pa.ChunkedArray) -> pd.api.extensions.ExtensionArray:
    array: pd.api.extensions.ExtensionArray = TEXT.__from_arrow__(column)  # type: ignore[attr-defined] # the stubs lack it
    return array


def _from_dictionary(
    column: pa.ChunkedArray, in_order: Callable[[Sequence[str]], Sequence[str]] = tuple
) -> pd.Categorical[Any]:
    column = column.unify_dictionaries().combine_chunks()
    found = column.dictionary.to_pylist()
    categories = in_order(found)
    place = np.array([categories.index(one) for one in found], dtype="int32")
    return _categorical(place[column.indices.to_numpy()], categories)


_FROM_ARROW: dict[str, Callable[[pa.ChunkedArray], Any]] = {
    "call_id": _integers,
    "function_id": _integers,
    "function": _from_dictionary,
    "schedule_id": _maybe_integers,
    "status": lambda column: _from_dictionary(column, status_categories),
    "scheduled_time": lambda column: _times(column.cast(pa.int64())),
    "start_time": lambda column: _times(column.cast(pa.int64())),
    "end_time": lambda column: _times(column.cast(pa.int64())),
    "schedule_delay": lambda column: _spans(column.cast(pa.int64())),
    "duration": lambda column: _spans(column.cast(pa.int64())),
    "error_message": _text,
    "error_trace": _text,
}


def _to_arrow(column: pd.Series, kind: pa.DataType) -> pa.Array:
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = pa.array(column.cat.codes.to_numpy(), pa.int32(), mask=column.isna().to_numpy())
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.cat.categories.to_list(), pa.string()))
    array = pa.array(column, from_pandas=True)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array if array.type == kind else pc.cast(array, kind)
