"""Calls on the clock: a day as bars, and the hours of the week."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from callframe import frame
from callframe.analysis.activity import activity, week
from callframe.completeness import Coverage
from callframe.plot import style
from callframe.timespan import time_zone, timestamp

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS_MOST = 5_000
"""Calls that can be told apart as bars; more are drawn as shades."""

_BINS = 288
_DAY = pd.Timedelta(days=1)
_OF = {"calls": "calls", "failures": "calls that failed", "delays": "median schedule delay [s]"}


def timeline(
    calls: pd.DataFrame, *, start: str | pd.Timestamp | None = None, tz: str = "UTC", ax: Axes | None = None
) -> Axes:
    """
    Draw the calls of a day as bars, a row a function.

    Running calls are open-ended. More than 5,000 calls in the day are drawn as shades, a bin of five minutes each: the
    darker, the more calls; a mark above where any failed. The foot says so.

    Parameters
    ----------
    calls
        Call frame.
    start
        Start of the day; without a time zone it is in `tz`. The last 24 hours of the frame by default.
    tz
        Time zone of the axis.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with time and one row a function.
    """
    frame.check(calls)
    first = _first(calls, start, tz)
    last = first + _DAY
    inside = calls[(calls["start_time"] >= first) & (calls["start_time"] < last)]
    names = sorted(inside["function"].astype("object").unique(), reverse=True)
    ax = style.axes(ax, height=style.rows_height(len(names)))
    rows = {name: row for row, name in enumerate(names)}
    note = _bars(ax, inside, rows, last) if len(inside) <= BARS_MOST else _shades(ax, inside, rows, first, last)
    if inside.empty:
        style.annotate_empty(ax, "no calls in this day")
    style.row_labels(ax, names)
    ax.set_xlim(*style.to_matplotlib_dates(pd.Index([first, last])))
    style.time_axis(ax, tz)
    shown = f"{len(inside):,} of them from {first.tz_convert(tz):%Y-%m-%d %H:%M} {tz} on"
    style.label_axes(ax, style.footer(calls, shown, *note), title="A day of calls", x=f"time [{tz}]")
    return ax


def heatmap(
    calls: pd.DataFrame,
    of: Literal["calls", "failures", "delays"] = "failures",
    *,
    tz: str = "UTC",
    ax: Axes | None = None,
) -> Axes:
    """
    Draw calls, failures or schedule delays by hour of the day and day of the week.

    Parameters
    ----------
    calls
        Call frame.
    of
        `"calls"`, `"failures"` (Failed and Timeout) or `"delays"` (the median).
    tz
        Time zone of the hours.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes: hours across, Monday at the top. Hours without a call are white and crossed out.
    """
    time_zone(tz)
    table = week(calls, of, tz=tz)
    values = table.to_numpy()
    ax = style.axes(ax, height=3.4)
    high = np.nanmax(values, initial=0.0)
    image = ax.pcolormesh(
        np.arange(25), np.arange(8), np.ma.masked_invalid(values), cmap="OrRd" if of == "failures" else "Blues",
        vmin=0, vmax=max(high, 1.0), edgecolors="white", linewidth=0.8,
    )  # fmt: skip
    missing = np.argwhere(np.isnan(values))
    ax.scatter(missing[:, 1] + 0.5, missing[:, 0] + 0.5, marker="x", s=14, color="#bbbbbb", linewidth=0.8)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=24)
    bar.set_label(_OF[of])
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=of != "delays"))
    ax.set_ylim(7, 0)
    ax.set_yticks(np.arange(7) + 0.5, list(table.index))
    ax.set_xticks(np.arange(0, 25, 3), [f"{hour:02d}" for hour in range(0, 25, 3)])
    style.label_axes(ax, style.footer(calls), title=f"The week: {_OF[of]}", x=f"hour of the start time [{tz}]")
    ax.spines[:].set_visible(False)
    return ax


def _first(calls: pd.DataFrame, start: str | pd.Timestamp | None, tz: str) -> pd.Timestamp:
    if start is not None:
        stamp: pd.Timestamp = pd.Timestamp(start)
        return stamp.tz_localize(time_zone(tz)) if stamp.tzinfo is None else stamp
    time_zone(tz)
    if calls.empty:
        known = Coverage.of(calls)
        return timestamp(known.fetched_ms) - _DAY if known else timestamp(0)
    latest: pd.Timestamp = calls["start_time"].max()
    return latest - _DAY + pd.Timedelta(milliseconds=1)


def _bars(ax: Axes, inside: pd.DataFrame, rows: dict[str, int], last: pd.Timestamp) -> list[str]:
    """Draw a bar a call, at least a hair wide; Running ones reach to the right edge and end in an arrow."""
    row = inside["function"].astype("object").map(rows).to_numpy()
    begin = style.to_matplotlib_dates(inside["start_time"])
    running = (inside["status"] == "Running").to_numpy()
    edge = style.to_matplotlib_dates(pd.Index([last]))[0]
    end = np.where(running, edge, style.to_matplotlib_dates(inside["end_time"].where(~running, last)))
    end = np.where(np.isnan(end) | (inside["end_time"].isna().to_numpy() & ~running), begin, end)
    for status in inside["status"].cat.categories:
        here = (inside["status"] == status).to_numpy()
        if here.any():
            colour = style.COLOURS.get(status, style.OTHER)
            ax.barh(
                row[here], np.maximum(end - begin, 1 / 2880)[here], 0.7, begin[here], color=colour,
                hatch=style.HATCHES.get(status), edgecolor="white" if status != "Completed" else colour, linewidth=0.2,
                label=status,
            )  # fmt: skip
    ax.scatter(
        np.full(running.sum(), edge), row[running], marker=">", s=18, color=style.COLOURS["Running"], clip_on=False
    )
    if len(inside):
        style.legend(ax)
    return []


def _shades(ax: Axes, inside: pd.DataFrame, rows: dict[str, int], first: pd.Timestamp, last: pd.Timestamp) -> list[str]:
    counts = activity(inside, first, last, bins=_BINS)
    place = counts["function"].astype("object").map(rows).to_numpy(dtype="int64")
    grid = np.full((len(rows), _BINS), np.nan)
    grid[place, counts["bin"].to_numpy()] = counts["calls"].to_numpy()
    left, right = style.to_matplotlib_dates(pd.Index([first, last])).tolist()
    edges = np.linspace(left, right, _BINS + 1)
    norm = LogNorm(0.3, max(10.0, np.nanmax(grid)))
    ax.pcolormesh(edges, np.arange(len(rows) + 1) - 0.5, np.ma.masked_invalid(grid), cmap="Blues", norm=norm)
    failed = counts["failures"].to_numpy() > 0
    middle = (edges[:-1] + edges[1:]) / 2
    ax.scatter(
        middle[counts["bin"].to_numpy()[failed]], place[failed] + 0.33, marker="v", s=9, color=style.COLOURS["Failed"],
        linewidth=0,
    )  # fmt: skip
    shade, mark = (
        Patch(color="#4292c6", label="calls: the darker, the more"),
        Patch(color=style.COLOURS["Failed"], label="some failed"),
    )
    ax.hlines(np.arange(len(rows) + 1) - 0.5, edges[0], edges[-1], color="white", linewidth=3)
    style.legend(ax, handles=[shade, mark])
    return ["drawn in bins of 5 min"]
