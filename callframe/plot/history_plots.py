"""Histories too long to draw call by call, from rollups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from callframe.analysis.aggregates import FAILURES
from callframe.analysis.rollup import check, summarize_rollup
from callframe.errors import ArgumentError
from callframe.plot import style
from callframe.plot.duration_plots import draw_band, limit_durations
from callframe.timespan import time_zone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Quantity = Literal["calls", "failures", "durations", "delays"]

_MAX_BINS = 130
_WIDTHS_DAYS = (1, 7, 28, 91, 364)
_TITLES = {
    "calls": "Calls and failures", "failures": "Share of calls that failed",
    "durations": "How long calls took", "delays": "When calls started",
}  # fmt: skip
_COLUMNS = {"durations": "duration", "delays": "schedule_delay"}
_DAY = pd.Timedelta(days=1)


def history(
    rollup: pd.DataFrame,
    of: Quantity = "calls",
    *,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw a long history from a rollup: calls, failures, durations or schedule delays by day, week or month.

    Parameters
    ----------
    rollup
        Table that `callframe.rollup` or `Archive.rollup` returned.
    of
        `"calls"`: how many, the failed ones on top. `"failures"`: the share of finished calls that failed, with its
        Wilson 95 % interval. `"durations"`, `"delays"`: the median, in a band up to p95, of the functions with the most
        calls; within 1 %, as rollups hold them.
    tz
        Time zone of the axis; the bins are in UTC.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.bar` for calls, else to `Axes.plot`.

    Returns
    -------
    ax
        The axes, with time across. Bins are wide enough for there to be at most 130.

    Raises
    ------
    FrameError
        `rollup` is not a rollup.
    ArgumentError
        `of` or `tz` is unknown.
    """
    if of not in get_args(Quantity):
        raise ArgumentError(f"of={of!r}; expected one of {', '.join(map(repr, get_args(Quantity)))}.")
    check(rollup)
    time_zone(tz)
    days = _bin_days(rollup)
    ax = style.axes(ax, height=3.6)
    if of in _COLUMNS:
        note = _draw_bands(ax, rollup, days, _COLUMNS[of], kwargs)
        y = f"{_COLUMNS[of].replace('_', ' ')} [log scale]"
    elif of == "calls":
        note = _draw_counts(ax, summarize_rollup(rollup, by=f"{days}d"), days, kwargs)
        y = f"calls in {_bin_name(days)}"
    else:
        note = _draw_rates(ax, summarize_rollup(rollup, by=f"{days}d"), days, kwargs)
        y = "share failed"
    if len(rollup):
        style.limit_times(ax, pd.Index([rollup["start_time"].min(), rollup["start_time"].max() + _DAY]))
        style.time_axis(ax, tz)
    else:
        style.annotate_empty(ax, "no calls")
    description = _describe(rollup, note) if footer else None
    style.label_axes(ax, description, title=title or _TITLES[of], x=f"start time [{tz}]", y=y, grid="y")
    return ax


def _bin_days(rollup: pd.DataFrame) -> int:
    times = rollup["start_time"]
    days = (times.max() - times.min()) / _DAY if len(rollup) else 0
    return next((width for width in _WIDTHS_DAYS if days / width <= _MAX_BINS), _WIDTHS_DAYS[-1])


def _draw_counts(ax: Axes, table: pd.DataFrame, days: int, kwargs: dict[str, Any]) -> str:
    left = style.to_matplotlib_dates(table.index)
    failed = table[list(FAILURES)].sum(axis=1).to_numpy()
    others = table["calls"].to_numpy() - failed
    options: dict[str, Any] = {"width": days, "align": "edge", "linewidth": 0} | kwargs
    ax.bar(
        left, others, **({"color": style.COLOURS["Completed"], "label": f"did not fail ({others.sum():,})"} | options)
    )
    failures = {"color": style.COLOURS["Failed"], "label": f"failed ({failed.sum():,})"}
    ax.bar(left, failed, bottom=others, **(failures | options))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_ylim(0, max(1, table["calls"].max() * 1.05 if len(table) else 1))
    if len(table):
        style.legend(ax)
    return ""


def _draw_rates(ax: Axes, table: pd.DataFrame, days: int, kwargs: dict[str, Any]) -> str:
    middle = style.to_matplotlib_dates(table.index + days * _DAY / 2)
    options: dict[str, Any] = {"color": style.COLOURS["Failed"], "linewidth": 1.4} | kwargs
    low, high = table["failure_rate_low"], table["failure_rate_high"]
    ax.fill_between(middle, low, high, color=options["color"], alpha=0.25, linewidth=0)
    ax.plot(middle, table["failure_rate"], **options)
    ax.set_ylim(0, max(0.01, np.nanmax(table["failure_rate"].to_numpy(), initial=0.0) * 1.3))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    return f"line: share in {_bin_name(days)}, band: 95 % interval"


def _draw_bands(ax: Axes, rollup: pd.DataFrame, days: int, column: str, kwargs: dict[str, Any]) -> str:
    measured = rollup[rollup["measure"] == column]
    counts = measured.groupby("function", observed=True)["count"].sum().sort_values(ascending=False, kind="stable")
    shown = list(counts.index[: style.MAX_SERIES])
    bands = summarize_rollup(rollup[rollup["function"].isin(shown)], by=["function", f"{days}d"])
    seconds = [np.empty(0)]
    for series, name in enumerate(shown):
        line = {"color": style.SERIES[series], "linestyle": style.DASHES[series], "linewidth": 1.6}
        options = line | {"label": style.truncate(name)} | kwargs
        seconds += draw_band(ax, bands.loc[name], column, days * _DAY, options)
    limit_durations(ax, seconds)
    if shown:
        style.side_legend(ax)
    selection = f"the {len(shown)} functions with the most of {len(counts)}; " if len(counts) > len(shown) else ""
    return f"{selection}line: median of {_bin_name(days)}, band: up to p95, within 1 %"


def _bin_name(days: int) -> str:
    return {1: "a day", 7: "a week"}.get(days, f"{days // 7} weeks")


def _describe(rollup: pd.DataFrame, note: str) -> str:
    calls = rollup[rollup["measure"] == "duration"]
    counts = f"{int(calls['count'].sum()):,} calls of {calls['function'].nunique():,} functions"
    return "; ".join(part for part in (counts, style.describe_table(rollup), note) if part)
