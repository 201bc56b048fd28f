"""How long calls took and how late they started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.summary import round_width, spread, summarize
from callframe.analysis.survival import survival as curves
from callframe.completeness import Coverage
from callframe.errors import ArgumentError
from callframe.limits import DEFAULT_LATE_AFTER
from callframe.plot import style
from callframe.timespan import DurationLike, parse_duration, timestamp

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOOR_S = 0.001
"""The least span that a logarithmic axis shows: shorter ones, and negative ones, are drawn there."""

SERIES_MOST = 6
"""Functions that can be told apart as lines."""

_BINS = 56
_NEARLY_ALL = 0.995
_MARKS = "dot: median, bars: middle 50 % and 90 %"


def durations(
    calls: pd.DataFrame, *, over: Literal["time"] | None = None, tz: str = "UTC", ax: Axes | None = None
) -> Axes:
    """
    Draw how long calls took, by function or over time.

    By function, a dot is the median of completed work, the thick bar its middle half, the thin one the middle 90 %.
    Unfinished work counts as longer than it has been seen to run: where a bar's end is beyond what is known, it ends in
    an arrow. Over time, a line is the median and the band reaches to p95, for the functions with the most calls;
    dashed lines are deploys.

    Parameters
    ----------
    calls
        Call frame.
    over
        `"time"`, or None for a row a function.
    tz
        Time zone of a time axis.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with a logarithmic axis of durations.
    """
    frame.check(calls)
    if over == "time":
        return _over_time(calls, "duration", "duration", title="How long calls took", tz=tz, ax=ax)
    _check_over(over)
    return _rows(calls, "duration", f"duration [log scale]; {_MARKS}", "How long calls took", ax)


def schedule_delays(
    calls: pd.DataFrame,
    *,
    late_after: DurationLike = DEFAULT_LATE_AFTER,
    over: Literal["time"] | None = None,
    tz: str = "UTC",
    ax: Axes | None = None,
) -> Axes:
    """
    Draw how long after their scheduled time calls started: what share had started by when, or over time.

    The thick line is all calls, a thin one each function; the three with the most late calls are coloured. Calls that
    no schedule started are left out. Negative delays, from clocks that run ahead, are drawn at the left edge. Over
    time, as in `durations`.

    Parameters
    ----------
    calls
        Call frame.
    late_after
        The delay up to which a call counts as on time; a vertical line.
    over
        `"time"`, or None for the distribution.
    tz
        Time zone of a time axis.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with a logarithmic axis of delays.
    """
    frame.check(calls)
    if over == "time":
        return _over_time(calls, "schedule_delay", "schedule delay", title="When calls started", tz=tz, ax=ax)
    _check_over(over)
    return _distribution(calls, pd.Timedelta(parse_duration(late_after, name="late_after"), "ms"), ax)


def survival(calls: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """
    Draw which share of the work was still unfinished after a time, by function (Kaplan and Meier).

    A curve that ends above zero ends where nothing more is known: what was left ran into the run limit or is running.
    At most six functions, those whose work is left unfinished most, then those with the most calls.

    Parameters
    ----------
    calls
        Call frame.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with a logarithmic time axis and a step curve a function in its band of 95 % confidence.
    """
    frame.check(calls)
    table = curves(calls)
    ax = style.axes(ax, height=4.2)
    left = table.groupby("function", observed=True)["survival"].min()
    sizes = calls["function"].value_counts()
    order = sorted(left.index, key=lambda name: (-round(left[name], 3), -sizes[name]))
    seconds = table["duration"].dt.total_seconds().to_numpy()
    for place, name in enumerate(order[:SERIES_MOST]):
        here = (table["function"] == name).to_numpy()
        x = np.maximum(seconds[here], FLOOR_S)
        colour = style.SERIES[place]
        ax.step(
            x,
            table["survival"][here],
            where="post",
            color=colour,
            linestyle=style.DASHES[place],
            label=style.truncate(name),
        )
        ax.fill_between(x, table["low"][here], table["high"][here], step="post", color=colour, alpha=0.15, linewidth=0)
        ax.plot(x[-1], table["survival"][here].iloc[-1], marker="|", color=colour, markersize=9)
    ended = seconds[(seconds > FLOOR_S) & (table["survival"] < _NEARLY_ALL).to_numpy()]
    style.log_duration_axis(ax, "x", (ended.min() if len(ended) else 1.0) / 1.3, seconds.max(initial=60.0) * 1.3)
    ax.set_ylim(0, 1.02)
    _finish_series(ax, len(order))
    if not order:
        style.annotate_empty(ax, "no calls that took time")
    shown = f"{min(len(order), SERIES_MOST)} of {len(order)} functions shown" if len(order) > SERIES_MOST else ""
    style.label_axes(
        ax, style.footer(calls, *filter(None, [shown])), title="Work still unfinished", grid="both",
        x="time since the start [log scale]", y="share unfinished",
    )  # fmt: skip
    return ax


def _check_over(over: object) -> None:
    if over is not None:
        raise ArgumentError(f"over={over!r}; expected 'time', or None.")


def _rows(calls: pd.DataFrame, of: str, label: str, title: str, ax: Axes | None) -> Axes:
    table = spread(calls, of)
    ax = style.axes(ax, height=style.rows_height(len(table)))
    rows = np.arange(len(table))
    seconds = table.drop(columns="calls").apply(lambda column: column.dt.total_seconds())
    low, quarter, middle, three_quarters, high = (
        np.maximum(seconds[share].to_numpy(dtype="float64"), FLOOR_S) for share in seconds.columns
    )
    edge = np.nanmax(np.r_[1.0, low, middle, high]) * 1.6
    for begin, end, thickness in ((low, high, 1.2), (quarter, three_quarters, 5)):
        known = ~np.isnan(begin)
        ax.hlines(
            rows[known], begin[known], np.where(np.isnan(end), edge, end)[known], color=style.COLOURS["Completed"],
            linewidth=thickness, zorder=2,
        )  # fmt: skip
    ax.scatter(middle, rows, s=26, color=style.INK, zorder=3)
    beyond = rows[np.isnan(high)]
    ax.scatter(np.full(len(beyond), edge), beyond, marker=">", s=40, color=style.COLOURS["Failed"], zorder=3)
    style.log_duration_axis(ax, "x", np.nanmin(np.r_[edge / 10, low]) / 1.6, edge * 1.15)
    style.row_labels(ax, list(table.index))
    if table.empty:
        style.annotate_empty(ax, "no calls with a " + of.replace("_", " "))
    arrows = ["arrow: longer than can be known, for work that was cut off or still runs"] if len(beyond) else []
    style.label_axes(ax, style.footer(calls, *arrows), title=title, x=label, grid="x")
    return ax


def _distribution(calls: pd.DataFrame, late_after: pd.Timedelta, ax: Axes | None) -> Axes:
    scheduled = calls[calls["schedule_delay"].notna()]
    seconds = scheduled["schedule_delay"].dt.total_seconds().clip(lower=FLOOR_S)
    ax = style.axes(ax, height=4.2)
    beyond = (seconds > late_after.total_seconds()).groupby(scheduled["function"], observed=True)
    late, counts = beyond.mean(), beyond.sum().sort_values(ascending=False, kind="stable")
    coloured = [name for name in counts.index[:3] if counts[name] > 0]
    for name, values in seconds.groupby(scheduled["function"], observed=True):
        if name not in coloured:
            _steps(ax, values, color="#c2c2c2", linewidth=0.9)
    for place, name in enumerate(coloured):
        label = f"{style.truncate(name)} ({late[name]:.1%} late)"
        values = seconds[scheduled["function"] == name]
        _steps(ax, values, color=style.SERIES[place], linestyle=style.DASHES[place], linewidth=1.6, label=label)
    if len(seconds):
        share = (seconds > late_after.total_seconds()).mean()
        _steps(ax, seconds, color=style.INK, linewidth=2.4, label=f"all calls ({share:.1%} late)")
        ax.axvline(late_after.total_seconds(), color=style.FAINT, linestyle=":", linewidth=1.2)
        ax.text(late_after.total_seconds() * 1.06, 0.03, "late", color=style.FAINT, fontsize=8.5)
        ax.legend(frameon=False, loc="upper left", fontsize=8.5)
    else:
        style.annotate_empty(ax, "no calls that a schedule started")
    low, high = (seconds.min(), max(seconds.max(), late_after.total_seconds())) if len(seconds) else (1.0, 60.0)
    style.log_duration_axis(ax, "x", low / 1.3, high * 1.3)
    ax.set_ylim(0, 1.02)
    style.label_axes(
        ax, style.footer(calls, f"{len(scheduled):,} scheduled", "grey: the other functions"), grid="both",
        title="When calls started", x="delay after the scheduled time [log scale]", y="share that had started",
    )  # fmt: skip
    return ax


def _steps(ax: Axes, seconds: pd.Series, **style: Any) -> None:
    """Draw an empirical distribution with at most as many steps as can be seen."""
    values = np.sort(seconds.to_numpy(dtype="float64"))
    shares = np.linspace(1 / max(len(values), 1), 1, len(values))
    if len(values) > 2000:  # noqa: PLR2004 - twice the pixels of a figure
        keep = np.unique(
            np.r_[np.linspace(0, len(values) - 1, 1900).astype(int), np.arange(len(values) - 100, len(values))]
        )
        values, shares = values[keep], shares[keep]
    if len(values):
        ax.step(np.r_[values[0], values], np.r_[0, shares], where="post", **style)


def _over_time(calls: pd.DataFrame, of: str, label: str, *, title: str, tz: str, ax: Axes | None) -> Axes:
    ax = style.axes(ax, height=4.2)
    known = calls[calls[of].notna()]
    counts = known["function"].value_counts()
    names = sorted(counts.index[counts > 0], key=lambda name: (not _deploys(calls, name), -counts[name]))
    top = names[:SERIES_MOST]
    width = (
        round_width((calls["start_time"].max() - calls["start_time"].min()) / _BINS)
        if len(calls)
        else pd.Timedelta("1h")
    )
    few = calls[calls["function"].isin(top)]
    bands = summarize(few, by=["function", f"{round(width / pd.Timedelta(minutes=1))}min"])
    lows, highs = [], []
    for place, name in enumerate(top):
        band = bands.loc[name]
        x = style.to_matplotlib_dates(band.index + width / 2)
        middle, high = (
            band[f"{of}_{mark}"].dt.total_seconds().clip(lower=FLOOR_S).to_numpy() for mark in ("p50", "p95")
        )
        colour = style.SERIES[place]
        ax.plot(x, middle, color=colour, linestyle=style.DASHES[place], linewidth=1.6, label=style.truncate(name))
        ax.fill_between(x, middle, high, color=colour, alpha=0.12, linewidth=0)
        lows.append(np.nanmin(middle, initial=np.inf))
        highs.append(np.nanmax(np.r_[middle, high], initial=0))
        for deployed in _deploys(calls, name):
            ax.axvline(style.to_matplotlib_dates(pd.Index([deployed]))[0], color=colour, linestyle="--", linewidth=1.1)
    style.log_duration_axis(
        ax,
        "y",
        min([one for one in lows if np.isfinite(one)], default=1.0) / 1.5,
        max(highs, default=60.0) * 1.5 or 60.0,
    )
    if top:
        style.limits(ax, calls["start_time"])
        style.time_axis(ax, tz)
    else:
        style.annotate_empty(ax, f"no calls with a {label}")
    _finish_series(ax, len(top))
    shown = (
        [f"the {len(top)} of {len(names)} functions, deployed ones first, then those with the most calls"]
        if len(names) > len(top)
        else []
    )
    wide = f"line: median of {style.width_words(width)}, band: up to p95, dashed: deploy"
    style.label_axes(
        ax, style.footer(calls, *shown, wide), title=title, x=f"start time [{tz}]", y=f"{label} [log scale]", grid="y"
    )
    return ax


def _deploys(calls: pd.DataFrame, name: str) -> list[pd.Timestamp]:
    """List when a function was deployed, within the time the calls span."""
    known = Coverage.of(calls)
    created = [one.created_ms for one in known.functions if one.function == name] if known else []
    times = [timestamp(time_ms) for time_ms in created if time_ms is not None]
    return [one for one in times if calls["start_time"].min() < one < calls["start_time"].max()]


def _finish_series(ax: Axes, count: int) -> None:
    """Put the legend beside the axes, where it hides no line."""
    if count:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, borderaxespad=0.3)
