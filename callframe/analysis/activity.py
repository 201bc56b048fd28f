"""When calls start: over time by status, over a day by function, and by hour of the week. Data for plots."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from callframe import frame
from callframe.errors import ArgumentError
from callframe.timespan import to_milliseconds

_RANKS = {"Completed": 0, "Running": 1, "Timeout": 3, "Error response": 4, "Failed": 5}
_OTHER_RANK = 2
"""How bad a status is."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def status_counts(calls: pd.DataFrame, bins: int = 60) -> pd.DataFrame:
    """
    Count calls by start time and status.

    One row per bin, also without calls, with its start (UTC) as the index, and a column per status. The width of the
    about `bins` bins is a whole number of minutes, hours or days.
    """
    frame.check(calls)
    categories, start = list(calls["status"].cat.categories), calls["start_time"]
    if calls.empty:
        return pd.DataFrame(0, index=pd.DatetimeIndex(start), columns=categories)
    width = round_width((start.max() - start.min()) / bins)
    floor = start.dt.floor(width)
    counts = pd.crosstab(floor, calls["status"].astype("object")).reindex(columns=categories, fill_value=0)
    edges = pd.date_range(floor.min(), floor.max(), freq=width, name="start_time", unit="ms")
    return counts.reindex(edges, fill_value=0).rename_axis(columns=None)


def round_width(width: pd.Timedelta) -> pd.Timedelta:
    """Round the width of a bin up to a usual number of minutes or hours, or to whole days."""
    widths = [pd.Timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)]
    return next((usual for usual in widths if usual >= width), pd.Timedelta(days=width // pd.Timedelta(days=1) + 1))


def function_counts(calls: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp, *, bins: int = 288) -> pd.DataFrame:
    """
    Count the calls and the failures of each function in bins of equal width between two times, the end excluded.

    One row per function and bin that has calls: `function` str, `bin` from 0, `calls` and `failures` int64.
    """
    frame.check(calls)
    inside = calls[(calls["start_time"] >= start) & (calls["start_time"] < end)]
    position = ((inside["start_time"] - start) / (end - start) * bins).astype("int64").clip(upper=bins - 1)
    rows = pd.DataFrame(
        {
            "function": inside["function"].astype(frame.TEXT),
            "bin": position,
            "calls": 1,
            "failures": inside["status"].isin(frame.FAILURES).astype("int64"),
        }
    )
    counts = rows.groupby(["function", "bin"]).sum().reset_index()
    return counts.astype({"function": frame.TEXT, "bin": "int64", "calls": "int64", "failures": "int64"})


class GridCounts(NamedTuple):
    """The calls of functions in cells of time, as arrays of functions by cells; `worst` is the code of a status."""

    functions: list[str]
    worst: np.ndarray
    counts: np.ndarray
    failed: np.ndarray
    missed: np.ndarray


def count_cells(calls: pd.DataFrame, missed: pd.DataFrame | None, edges: np.ndarray, max_rows: int) -> GridCounts:
    """Count calls, failures and missed runs by function in cells between edges (ms), the most harmed one first."""
    names, statuses = calls["function"].cat.categories, calls["status"].cat.categories
    shape = (len(names), len(edges) - 1, len(statuses))
    cell = _cells(calls["start_time"], edges)
    codes = calls["function"].cat.codes.to_numpy().astype("int64")
    inside = (cell >= 0) & (codes >= 0)
    place = (codes * shape[1] + cell) * shape[2] + calls["status"].cat.codes.to_numpy()
    flat = place[inside]
    by_status = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    rank = [_RANKS.get(str(status), _OTHER_RANK) for status in statuses]
    worst = np.full(shape[:2], -1)
    for code in np.argsort(rank, kind="stable"):
        worst[by_status[:, :, code] > 0] = code
    failed = by_status[:, :, statuses.isin(frame.FAILURES)].sum(axis=2)
    lacking = np.zeros(shape[:2], dtype="int64")
    if missed is not None and len(missed):
        certain = missed[missed["state"] == "missed"]
        row = names.get_indexer(pd.Index(certain["function"].astype("object")))
        at = _cells(certain["scheduled_time"], edges)
        known = (row >= 0) & (at >= 0)
        np.add.at(lacking, (row[known], at[known]), 1)
    counts = by_status.sum(axis=2)
    harm, total = (failed + lacking).sum(axis=1), counts.sum(axis=1)
    order = np.lexsort((-total, -harm))
    order = order[(harm + total)[order] > 0][:max_rows]
    return GridCounts([str(names[one]) for one in order], worst[order], counts[order], failed[order], lacking[order])


def _cells(times: pd.Series, edges: np.ndarray) -> np.ndarray:
    """Find the cell of each time, -1 outside the equally wide cells."""
    cell = (to_milliseconds(times) - edges[0]) // (edges[1] - edges[0])
    return np.where((cell >= 0) & (cell < len(edges) - 1), cell, -1)


def by_hour_of_week(
    calls: pd.DataFrame, of: Literal["calls", "failures", "delays"] = "calls", *, tz: str = "UTC"
) -> pd.DataFrame:
    """
    Count calls or failures of all weeks by weekday and hour, or take the median schedule delay in seconds.

    Seven rows, Monday first, and 24 columns float64; missing where there are no calls. `tz` is the time zone of hours.
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
    values = full.to_numpy(dtype="float64", na_value=np.nan).reshape(7, 24)
    return pd.DataFrame(values, index=list(WEEKDAYS), columns=list(range(24)))
