"""Histories too long to look at call by call, from rollups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from callframe.analysis.rollup import check, summarize_rollup
from callframe.errors import ArgumentError
from callframe.plot import style
from callframe.plot.duration_plots import FLOOR_S, SERIES_MOST
from callframe.timespan import time_zone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Of = Literal["calls", "failures", "durations", "delays"]

_BINS_MOST = 130
_WIDTHS = (1, 7, 28, 91, 364)
_TITLES = {
    "calls": "Calls, and those that failed", "failures": "Share of calls that failed",
    "durations": "How long calls took", "delays": "When calls started",
}  # fmt: skip
_COLUMNS = {"durations": "duration", "delays": "schedule_delay"}


def history(rollup: pd.DataFrame, of: Of = "calls", *, tz: str = "UTC", ax: Axes | None = None) -> Axes:
    """
    Draw a long history from a rollup: calls, failures, durations or schedule delays by day, week or month.

    Parameters
    ----------
    rollup
        What `callframe.rollup` or `Archive.rollup` gave.
    of
        `"calls"`: how many, the failed ones on top. `"failures"`: the share of finished calls that failed, with its
        Wilson 95 % interval. `"durations"`, `"delays"`: the median, in a band up to p95, of the functions with the most
        calls; within 1 %, as the rollup tells them.
    tz
        Time zone of the axis; the bins are of UTC.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with time across. Bins are as wide as it takes for there to be no more than 130.

    Raises
    ------
    FrameError
        It is no rollup.
    ArgumentError
        `of` or `tz` is unknown.
    """
    if of not in get_args(Of):
        raise ArgumentError(f"of={of!r}; expected one of {', '.join(map(repr, get_args(Of)))}.")
    check(rollup)
    time_zone(tz)
    width = _width(rollup)
    ax = style.axes(ax, height=3.6)
    by = f"{width}D"
    if of in _COLUMNS:
        notes = _bands(ax, rollup, by, _COLUMNS[of])
        y = f"{_COLUMNS[of].replace('_', ' ')} [log scale]"
    else:
        table = summarize_rollup(rollup, by=by)
        notes = (_counts if of == "calls" else _rates)(ax, table, width)
        y = f"calls in {_words(width)}" if of == "calls" else "share that failed"
    if len(rollup):
        style.limits(ax, pd.Index([rollup["start_time"].min(), rollup["start_time"].max() + pd.Timedelta(days=1)]))
        style.time_axis(ax, tz)
    else:
        style.annotate_empty(ax, "no calls")
    style.label_axes(ax, _foot(rollup, *notes), title=_TITLES[of], x=f"start time [{tz}]", y=y, grid="y")
    return ax


def _width(rollup: pd.DataFrame) -> int:
    """Choose the width of the bins, in days."""
    times = rollup["start_time"]
    days = (times.max() - times.min()) / pd.Timedelta(days=1) if len(rollup) else 0
    return next((width for width in _WIDTHS if days / width <= _BINS_MOST), _WIDTHS[-1])


def _counts(ax: Axes, table: pd.DataFrame, width: int) -> list[str]:
    left = style.to_matplotlib_dates(table.index)
    failed = (table["failed"] + table["timeout"]).to_numpy()
    rest = table["calls"].to_numpy() - failed
    options: dict[str, Any] = {"width": width, "align": "edge", "linewidth": 0}
    ax.bar(left, rest, color=style.COLOURS["Completed"], label=f"did not fail ({rest.sum():,})", **options)
    ax.bar(left, failed, bottom=rest, color=style.COLOURS["Failed"], label=f"failed ({failed.sum():,})", **options)
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_ylim(0, max(1, table["calls"].max() * 1.05 if len(table) else 1))
    if len(table):
        style.legend(ax)
    return []


def _rates(ax: Axes, table: pd.DataFrame, width: int) -> list[str]:
    middle = style.to_matplotlib_dates(table.index + pd.Timedelta(days=width) / 2)
    colour = style.COLOURS["Failed"]
    ax.fill_between(
        middle, table["failure_rate_low"], table["failure_rate_high"], color=colour, alpha=0.25, linewidth=0
    )
    ax.plot(middle, table["failure_rate"], color=colour, linewidth=1.4)
    ax.set_ylim(0, max(0.01, np.nanmax(table["failure_rate"].to_numpy(), initial=0.0) * 1.3))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    return [f"line: share in {_words(width)}, band: 95 % interval"]


def _bands(ax: Axes, rollup: pd.DataFrame, by: str, column: str) -> list[str]:
    measured = rollup[rollup["measure"] == column]
    sizes = measured.groupby("function", observed=True)["count"].sum().sort_values(ascending=False, kind="stable")
    top = list(sizes.index[:SERIES_MOST])
    bands = summarize_rollup(rollup[rollup["function"].isin(top)], by=["function", by])
    half = pd.Timedelta(days=int(by[:-1])) / 2
    seen = [np.empty(0)]
    for place, name in enumerate(top):
        band = bands.loc[name]
        x = style.to_matplotlib_dates(band.index + half)
        middle, high = (
            band[f"{column}_{mark}"].dt.total_seconds().clip(lower=FLOOR_S).to_numpy() for mark in ("p50", "p95")
        )
        colour = style.SERIES[place]
        ax.plot(x, middle, color=colour, linestyle=style.DASHES[place], linewidth=1.6, label=style.truncate(name))
        ax.fill_between(x, middle, high, color=colour, alpha=0.12, linewidth=0)
        seen += [middle, high]
    known = np.concatenate(seen)
    known = known[~np.isnan(known)]
    low, high = (known.min(), known.max()) if len(known) else (1.0, 60.0)
    style.log_duration_axis(ax, "y", low / 1.5, high * 1.5)
    if top:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, borderaxespad=0.3)
    some = f"the {len(top)} functions with the most of {len(sizes)}; " if len(sizes) > len(top) else ""
    return [f"{some}line: median of {_words(int(by[:-1]))}, band: up to p95, within 1 %"]


def _words(days: int) -> str:
    return {1: "a day", 7: "a week"}.get(days, f"{days // 7} weeks")


def _foot(rollup: pd.DataFrame, *notes: str) -> str:
    """Say what the picture rests on."""
    once = rollup[rollup["measure"] == "duration"]
    counted = f"{int(once['count'].sum()):,} calls of {once['function'].nunique():,} functions"
    return "; ".join([counted, style.basis(rollup), *notes])
