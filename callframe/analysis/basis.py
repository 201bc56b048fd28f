"""What a call frame can tell, and how times of it become numbers: shared by the measures of when calls ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe.completeness import FORGOTTEN, KEY
from callframe.errors import ArgumentError
from callframe.timespan import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

RETENTION_MS = 90 * 24 * 60 * 60_000
"""How long the service keeps calls."""

NO_TIME = int(np.iinfo("int64").min)
"""The integer that stands for no time."""


def deduplicate_calls(calls: pd.DataFrame) -> pd.DataFrame:
    """
    Take each call once; frames that were put together may hold some twice.

    Parameters
    ----------
    calls
        Call frame.

    Returns
    -------
    calls
        The same frame where no call is repeated.
    """
    if pd.Index(calls["call_id"]).is_unique:
        return calls
    return calls.drop_duplicates(["function_id", "call_id"], keep="last")


def fetched_ms(calls: pd.DataFrame) -> int | None:
    """Tell when a frame was fetched, None where it carries no coverage."""
    held = calls.attrs.get(KEY)
    return parse_time(held["fetched_at"], name="fetched_at", now_ms=0) if held else None


def covered_range(calls: pd.DataFrame) -> tuple[int, int] | None:
    """
    Tell of which start times a frame holds the calls.

    Parameters
    ----------
    calls
        Call frame.

    Returns
    -------
    stretch
        Its ends in milliseconds since 1970: the window, as far as it had come and the service, or an archive, kept the
        calls. None where the frame carries no coverage, or the calls were asked for by ids.
    """
    now_ms = fetched_ms(calls)
    if now_ms is None or not (asked := calls.attrs[KEY].get("window")):
        return None
    start_ms = parse_time(asked["start"], name="start", now_ms=0)
    if "archive" not in calls.attrs[KEY]:
        start_ms = max(start_ms, now_ms - RETENTION_MS)
    return start_ms, max(start_ms, min(parse_time(asked["end"], name="end", now_ms=0), now_ms))


def incomplete_reason(calls: pd.DataFrame) -> str | None:
    """Say why calls of every function may be lacking from a frame, None where nothing says so."""
    held = calls.attrs.get(KEY)
    if not held:
        return "the frame carries no coverage"
    if not held.get("window"):
        return "the calls were asked for by ids"
    if held.get("status"):
        return f"only calls of the status {', '.join(held['status'])} were asked for"
    return None


def functions(calls: pd.DataFrame) -> dict[int, Mapping[str, Any]]:
    """Take the rows of the coverage by function id."""
    held = calls.attrs.get(KEY) or {}
    return {row["function_id"]: row for row in held.get("functions", ())}


def incomplete_functions(calls: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """
    Say of which functions a frame lacks calls.

    What the service has forgotten is not counted: nobody can have it.

    Parameters
    ----------
    calls
        Call frame, each call once.

    Yields
    ------
    lacking
        Function id and reason: it was not read completely, or some of what was read is in the frame no more.
    """
    counts = calls["function_id"].value_counts()
    for function_id, row in functions(calls).items():
        there, read = int(counts.get(function_id, 0)), row["calls"]
        reasons = (row["reason"] or "").split("; ")
        if not row["complete"] and not all(reason.startswith(FORGOTTEN) for reason in reasons):
            yield function_id, f"its function was not read completely: {row['reason']}"
        elif there < read:
            yield function_id, f"{there:,} of the {read:,} calls that were read of its function are left in the frame"


def to_epoch_ms(times: pd.Series) -> NDArray[np.int64]:
    """Take milliseconds since 1970 of times in UTC; `NO_TIME` where there is none."""
    return np.asarray(times.dt.tz_localize(None), dtype="datetime64[ms]").astype("int64")


def from_epoch_ms(time_ms: NDArray[np.int64]) -> pd.DatetimeIndex:
    """Make times in UTC of milliseconds since 1970."""
    return pd.DatetimeIndex(time_ms.astype("datetime64[ms]")).tz_localize("UTC")


def duration_ms(value: Any, name: str) -> int:
    """
    Read a span of time.

    Parameters
    ----------
    value
        Text such as "10min", or a timedelta.
    name
        What the argument is called, for the message.

    Returns
    -------
    span_ms
        Milliseconds, 0 or more.

    Raises
    ------
    ArgumentError
        It cannot be read, or is negative.
    """
    try:
        span = pd.Timedelta(value)
        readable = span >= pd.Timedelta(0)
    except (ValueError, TypeError):
        readable = False
    if not readable:
        raise ArgumentError(f'{name}={value!r} cannot be read; expected a span of time such as "10min", not negative.')
    return int(span / pd.Timedelta(1, "ms"))
