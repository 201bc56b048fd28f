"""When calls happen: by function over a day, and by hour of the week."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from callframe import frame
from callframe.errors import ArgumentError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def activity(calls: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp, *, bins: int = 288) -> pd.DataFrame:
    """
    Count the calls and the failures of each function that start in each bin of a stretch of time.

    Parameters
    ----------
    calls
        Call frame.
    start, end
        The stretch, its end excluded; with a time zone.
    bins
        Number of bins of equal width.

    Returns
    -------
    activity
        One row a function and bin that has calls: `function` str, `bin` int64 from 0, `calls` int64, `failures` int64.

    Raises
    ------
    FrameError
        It is no call frame.
    """
    frame.check(calls)
    inside = calls[(calls["start_time"] >= start) & (calls["start_time"] < end)]
    place = ((inside["start_time"] - start) / (end - start) * bins).astype("int64").clip(upper=bins - 1)
    counts = (
        pd.DataFrame(
            {
                "function": inside["function"].astype(frame.TEXT),
                "bin": place,
                "calls": 1,
                "failures": inside["status"].isin(frame.FAILURES).astype("int64"),
            }
        )
        .groupby(["function", "bin"])
        .sum()
        .reset_index()
    )
    return counts.astype({"function": frame.TEXT, "bin": "int64", "calls": "int64", "failures": "int64"})


def week(calls: pd.DataFrame, of: Literal["calls", "failures", "delays"] = "calls", *, tz: str = "UTC") -> pd.DataFrame:
    """
    Measure calls, failures or schedule delays by hour and weekday.

    Parameters
    ----------
    calls
        Call frame.
    of
        `"calls"` and `"failures"` (Failed and Timeout) are counts an hour of the clock, of all weeks together;
        `"delays"` is the median schedule delay in seconds.
    tz
        Time zone of the hours.

    Returns
    -------
    week
        Seven rows, Monday first, and 24 columns; float64, missing where no call is.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `of` is unknown.
    """
    frame.check(calls)
    if of not in {"calls", "failures", "delays"}:
        raise ArgumentError(f"of={of!r}; expected 'calls', 'failures' or 'delays'.")
    local = calls["start_time"].dt.tz_convert(tz)
    keys = [local.dt.day_of_week.rename("weekday"), local.dt.hour.rename("hour")]
    if of == "delays":
        table = calls["schedule_delay"].dt.total_seconds().groupby(keys).median()
    elif of == "failures":
        table = calls["status"].isin(frame.FAILURES).astype("float64").groupby(keys).sum()
    else:
        table = calls["call_id"].groupby(keys).size().astype("float64")
    full = table.reindex(pd.MultiIndex.from_product([range(7), range(24)], names=["weekday", "hour"]))
    return pd.DataFrame(
        full.to_numpy(dtype="float64", na_value=np.nan).reshape(7, 24), index=list(DAYS), columns=list(range(24))
    )
