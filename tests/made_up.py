"""Made-up call frames: columns in, a frame out, and strategies for frames that hold every trap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from callframe import frame

START_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FETCHED_MS = START_MS + 14 * DAY_MS

STATUSES = ["Running", "Completed", "Failed", "Timeout", "Paused"]


def call_frame(rows: list[dict[str, Any]], *, fetched_ms: int | None = FETCHED_MS) -> pd.DataFrame:
    """Make a call frame of rows with function, status, start, took and delay, the latter three in milliseconds."""
    given = pd.DataFrame(rows, columns=["function", "status", "start", "took", "delay"])
    return of_columns(
        function=given["function"].to_numpy(dtype="object"),
        status=given["status"].to_numpy(dtype="object"),
        start=given["start"].to_numpy(dtype="int64"),
        took=given["took"].to_numpy(dtype="float64"),
        delay=given["delay"].to_numpy(dtype="float64"),
        fetched_ms=fetched_ms,
    )


def of_columns(
    *,
    function: Any,
    status: Any,
    start: Any,
    took: Any,
    delay: Any = None,
    fetched_ms: int | None = FETCHED_MS,
    function_ids: Any = None,
) -> pd.DataFrame:
    """Make a call frame of columns; NaN is missing."""
    start = np.asarray(start, dtype="int64")
    n = len(start)
    delay = np.full(n, np.nan) if delay is None else delay
    took_ms, delay_ms = _integers(took), _integers(delay)
    nat = np.iinfo("int64").min
    functions = pd.Series(np.asarray(function, dtype="object"), dtype=frame.TEXT)
    statuses = pd.Series(np.asarray(status, dtype="object"), dtype=frame.TEXT)
    categories = pd.Series(sorted(set(functions)), dtype=frame.TEXT)
    known = pd.Series(frame.status_categories(list(statuses)), dtype=frame.TEXT)
    codes = pd.Index(categories).get_indexer(pd.Index(functions)) if n else np.empty(0, dtype="int64")
    calls = pd.DataFrame(
        {
            "call_id": np.arange(1, n + 1),
            "function_id": codes + 1 if function_ids is None else function_ids,
            "function": pd.Categorical(functions, dtype=pd.CategoricalDtype(categories)),
            "schedule_id": pd.array([pd.NA] * n, dtype="Int64"),
            "status": pd.Categorical(statuses, dtype=pd.CategoricalDtype(known)),
            "scheduled_time": _times(np.where(delay_ms == nat, nat, start - delay_ms)),
            "start_time": _times(start),
            "end_time": _times(np.where(took_ms == nat, nat, start + took_ms)),
            "schedule_delay": delay_ms.view("timedelta64[ms]"),
            "duration": np.where(statuses == "Running", nat, took_ms).view("timedelta64[ms]"),
            "error_message": pd.Series([None] * n, dtype=frame.TEXT),
            "error_trace": pd.Series([None] * n, dtype=frame.TEXT),
        }
    )
    calls["function_id"] = calls["function_id"].astype("int64")
    if fetched_ms is not None:
        calls.attrs["callframe"] = {"fetched_at": pd.Timestamp(fetched_ms, unit="ms", tz="UTC").isoformat()}
    frame.check(calls)
    return calls


def traps(most: int = 40, functions: str = "abc") -> st.SearchStrategy[list[dict[str, Any]]]:
    """Draw rows with what real histories hold: missing, negative and huge spans, new statuses, stuck calls, ties."""
    spans = st.one_of(
        st.none(), st.sampled_from([0, 1, 99, 100, 101, 600_000]), st.integers(-5_000, 5_000), st.integers(1, 2**40)
    )
    starts = st.one_of(
        st.just(0), st.integers(START_MS, FETCHED_MS), st.integers(FETCHED_MS - HOUR_MS, FETCHED_MS + 1000)
    )
    row = st.fixed_dictionaries(
        {
            "function": st.sampled_from(list(functions)),
            "status": st.sampled_from([*STATUSES, "Completed"]),
            "start": starts,
            "took": spans,
            "delay": spans,
        }
    )
    return st.lists(row, max_size=most)


def _integers(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype="float64")
    missing = np.isnan(values)
    return np.where(missing, np.iinfo("int64").min, np.where(missing, 0, values).round().astype("int64"))


def _times(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype("int64").view("datetime64[ms]")).tz_localize("UTC")
