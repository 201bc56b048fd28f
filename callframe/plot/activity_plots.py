"""When calls ran: a day as bars, the hours of the week, and how many ran at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, LogNorm, PowerNorm
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from callframe import frame
from callframe.analysis.activity import GridCounts, by_hour_of_week, count_cells, function_counts, round_width
from callframe.analysis.concurrency import concurrency as concurrency_curve
from callframe.completeness import Coverage
from callframe.limits import FUNCTION_QUOTA, PROJECT_QUOTA
from callframe.plot import marks, style
from callframe.timespan import from_epoch_ms, time_zone, timestamp, to_milliseconds

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_BARS = 5_000
"""How many calls can be told apart as bars; more are counted in bins."""

_BINS = 288
_PIXELS = 1200
_CELLS = 240
_GRID_CELLS = 96
_DAY_MS = 86_400_000
_MAX_ROWS = 15
_DAY = pd.Timedelta(days=1)
_QUANTITIES = {"calls": "calls", "failures": "calls that failed", "delays": "median schedule delay [s]"}


def timeline(
    calls: pd.DataFrame,
    *,
    start: str | pd.Timestamp | None = None,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw the calls of one day as bars, one row per function.

    Running calls are open-ended, and a mark is above each failure.

    More than 5,000 calls are counted in bins of five minutes, darker for more calls, with
    a mark above each bin with a failure; the footer says so.

    Parameters
    ----------
    calls
        Call frame.
    start
        Start of the day; without a time zone it is in `tz`. By default the last 24 hours of the frame.
    tz
        Time zone of the axis.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.barh`.

    Returns
    -------
    ax
        The axes: time, and one row per function.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `tz` is not a time zone.
    """
    frame.check(calls)
    first = _first_time(calls, start, tz)
    last = first + _DAY
    inside = calls[(calls["start_time"] >= first) & (calls["start_time"] < last)]
    names = sorted(inside["function"].astype("object").unique(), reverse=True)
    ax = style.axes(ax, height=style.rows_height(len(names)))
    rows = {name: row for row, name in enumerate(names)}
    note = ""
    if len(inside) <= MAX_BARS:
        _draw_bars(ax, inside, rows, last, **kwargs)
    else:
        _draw_bins(ax, inside, rows, first, last)
        note = "counted in bins of 5 min"
    if inside.empty:
        style.annotate_empty(ax, "no calls in this day")
    style.label_rows(ax, names)
    marks.add_rows(ax, names, [{"functions": [name]} for name in names])
    ax.set_xlim(*style.to_matplotlib_dates(pd.Index([first, last])))
    style.time_axis(ax, tz)
    shown = f"{len(inside):,} of them from {first.tz_convert(tz):%Y-%m-%d %H:%M} {tz} on"
    description = style.describe_calls(calls, shown, note) if footer else None
    style.label_axes(ax, description, title=title or "A day of calls", x=f"time [{tz}]")
    return ax


def run_grid(
    calls: pd.DataFrame,
    *,
    missed: pd.DataFrame | None = None,
    start: str | pd.Timestamp | None = None,
    end: str | pd.Timestamp | None = None,
    tz: str = "UTC",
    max_rows: int = 100,
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw functions by time, each cell in the colour of the worst status of its calls, paler if few of many failed.

    The functions with the most failures and missed runs are at the top, each with the number of its failures.

    Parameters
    ----------
    calls
        Call frame.
    missed
        Table that `missed_runs` returned: a triangle marks each cell with a missed run.
    start, end
        The range of start times; without a time zone they are in `tz`. By default that of the calls.
    tz
        Time zone of the axis.
    max_rows
        The largest number of functions.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.pcolormesh`.

    Returns
    -------
    ax
        The axes: time, and one row per function.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `tz` is not a time zone.
    """
    frame.check(calls)
    zone = time_zone(tz)
    known = Coverage.of(calls)
    window = known.window if known else None
    times_ms = to_milliseconds(calls["start_time"])
    edges_ms = [times_ms.min(), times_ms.max() + 1] if len(calls) else []
    edges_ms += [window.start_ms, window.end_ms] if window else [] if edges_ms else [0]
    start_ms = min(edges_ms) if start is None else int(_in_zone(start, zone).timestamp() * 1000)
    end_ms = max(edges_ms) if end is None else int(_in_zone(end, zone).timestamp() * 1000)
    end_ms = max(end_ms, start_ms + 60_000)
    width_ms = int(round_width(pd.Timedelta((end_ms - start_ms) / _GRID_CELLS, "ms")) / pd.Timedelta(1, "ms"))
    cells_ms = np.arange(start_ms // width_ms * width_ms, end_ms + width_ms, width_ms)
    grid = count_cells(calls, missed, cells_ms, max_rows)
    rows = len(grid.functions)
    ax = style.axes(ax, height=style.grid_height(rows))
    edges = cells_ms / _DAY_MS
    statuses = [str(status) for status in calls["status"].cat.categories]
    colours = ListedColormap([style.COLOURS.get(status, style.OTHER) for status in statuses] or ["white"])
    worst = np.ma.masked_less(grid.worst, 0)
    share = grid.failed / np.maximum(grid.counts, 1)
    strength = np.where(grid.failed > 0, 0.35 + 0.65 * np.sqrt(share), 0.5)  # few of many failures are paler
    options = {"alpha": strength, "cmap": colours, "vmin": -0.5, "vmax": max(1, len(statuses)) - 0.5, **kwargs}
    if rows:
        ax.pcolormesh(edges, np.arange(rows + 1) - 0.5, worst, edgecolor="white", linewidth=0.4, **options)
    row, cell = np.nonzero(grid.missed)
    middles = (edges[1:] + edges[:-1]) / 2
    ax.plot(middles[cell], row, "v", color=style.TEXT, markersize=3.5, markerfacecolor="white", markeredgewidth=0.8)
    size = style.rows_font_size(rows)
    ax.set_yticks(range(rows), [style.truncate(name) for name in grid.functions], fontsize=size)
    ax.set_ylim(max(rows, 1) - 0.5, -0.5)
    ax.set_xlim(start_ms / _DAY_MS, end_ms / _DAY_MS)
    if not rows:
        style.annotate_empty(ax, "no calls in this range")
    style.time_axis(ax, tz)
    for place, failures in enumerate(grid.failed.sum(axis=1)):
        if failures:
            ax.annotate(
                f" {failures:,}", (1, place), xycoords=("axes fraction", "data"), va="center", fontsize=size,
                color=style.COLOURS["Failed"],
            )  # fmt: skip
    shown = [status for place, status in enumerate(statuses) if (grid.worst == place).any()]
    labels = [*shown, "missed run"]
    handles: list[Artist] = [Patch(color=style.COLOURS.get(status, style.OTHER), label=status) for status in shown]
    if grid.missed.any():
        handles.append(
            Line2D([], [], marker="v", color=style.TEXT, markerfacecolor="white", linestyle="", label="missed run")
        )
    if handles:
        style.legend(ax, handles=handles, labels=labels[: len(handles)])
    _mark_cells(ax, grid, edges, zone)
    description = style.describe_calls(calls, "right: number of failures") if footer else None
    style.label_axes(ax, description, title=title or "Runs by their worst status", x=f"start time [{tz}]")
    return ax


def _in_zone(value: str | pd.Timestamp, zone: Any) -> pd.Timestamp:
    """Read a time, in a time zone if it names none."""
    time: pd.Timestamp = pd.Timestamp(value)
    return time.tz_localize(zone) if time.tzinfo is None else time


def _mark_cells(ax: Axes, grid: GridCounts, edges: np.ndarray, zone: Any) -> None:
    """Make the cells and the names of a grid into marks."""
    row, cell = np.nonzero((grid.counts > 0) | (grid.missed > 0))
    times = from_epoch_ms(np.round(edges * _DAY_MS).astype("int64"))
    iso = times.strftime("%Y-%m-%dT%H:%M:%SZ").tolist()
    local = times.tz_convert(zone).strftime("%m-%d %H:%M").tolist()
    names = grid.functions
    numbers = zip(
        row.tolist(), cell.tolist(), grid.counts[row, cell].tolist(), grid.failed[row, cell].tolist(),
        grid.missed[row, cell].tolist(), strict=True,
    )  # fmt: skip
    texts, filters = [], []
    for place, at, count, failed, missed in numbers:
        extra = "".join(f", {number} {word}" for number, word in ((failed, "failed"), (missed, "missed")) if number)
        texts.append(f"{names[place]}\n{local[at]} to {local[at + 1]}: {count} calls{extra}")
        filters.append({"functions": [names[place]], "start": iso[at], "end": iso[at + 1]})
    marks.add(ax, edges[cell], edges[cell + 1], row - 0.5, row + 0.5, texts, filters)
    rows = np.arange(len(names))
    totals = [
        f"{name}: {int(count):,} calls, {int(failed):,} failed"
        for name, count, failed in zip(names, grid.counts.sum(axis=1), grid.failed.sum(axis=1), strict=True)
    ]
    whole: list[dict[str, Any]] = [{"functions": [name]} for name in names]
    first, last = ax.get_xlim()
    marks.add(ax, first - 10 * (last - first), first, rows - 0.5, rows + 0.5, totals, whole)


def heatmap(
    calls: pd.DataFrame,
    of: Literal["calls", "failures", "delays"] = "failures",
    *,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw calls, failures or schedule delays by hour of the day and day of the week.

    Parameters
    ----------
    calls
        Call frame.
    of
        `"calls"`, `"failures"` or `"delays"` (the median).
    tz
        Time zone of the hours.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.pcolormesh`.

    Returns
    -------
    ax
        The axes: hours across, Monday at the top. Hours without a call are white and crossed out.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `of` or `tz` is unknown.
    """
    time_zone(tz)
    table = by_hour_of_week(calls, of, tz=tz)
    values = table.to_numpy()
    ax = style.axes(ax, height=3.4)
    options: dict[str, Any] = {
        "cmap": "OrRd" if of == "failures" else "Blues", "vmin": 0, "vmax": max(np.nanmax(values, initial=0.0), 1.0),
        "edgecolors": "white", "linewidth": 0.8,
    }  # fmt: skip
    if of == "delays" and np.nanmax(values, initial=0.0) > 0:
        del options["vmin"], options["vmax"]  # delays of seconds and of hours are all to be seen
        middle = max(np.nanmedian(values), 0.1)
        low, high = max(min(np.nanmin(values), middle / 3), 0.03), max(np.nanmax(values), middle * 3)
        options["norm"] = LogNorm(low, high)
    image = ax.pcolormesh(np.arange(25), np.arange(8), np.ma.masked_invalid(values), **(options | kwargs))
    missing = np.argwhere(np.isnan(values))
    ax.scatter(missing[:, 1] + 0.5, missing[:, 0] + 0.5, marker="x", s=14, color="#bbbbbb", linewidth=0.8)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=24)
    bar.set_label(_QUANTITIES[of])
    bar.outline.set_visible(False)
    if "norm" in options:
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=of != "delays"))
    ax.set_ylim(7, 0)
    ax.set_yticks(np.arange(7) + 0.5, list(table.index))
    day, hour = np.divmod(np.arange(7 * 24), 24)
    texts = [
        f"{table.index[one]} {at:02d}:00 {tz}: {'no calls' if np.isnan(value) else f'{value:,.0f}'} {_QUANTITIES[of]}"
        for one, at, value in zip(day, hour, np.ravel(values), strict=True)
    ]
    chosen = [{"weekdays": [one], "hours": [at]} for one, at in zip(day.tolist(), hour.tolist(), strict=True)]
    marks.add(ax, hour, hour + 1, day, day + 1, texts, chosen)
    ax.set_xticks(np.arange(0, 25, 3), [f"{hour:02d}" for hour in range(0, 25, 3)])
    description = style.describe_calls(calls) if footer else None
    title = title or f"By hour of the week: {_QUANTITIES[of]}"
    style.label_axes(ax, description, title=title, x=f"hour of the start time [{tz}]")
    ax.spines[:].set_visible(False)
    return ax


def concurrency(
    calls: pd.DataFrame,
    *,
    by: Literal["function"] | None = None,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw how many calls ran at the same time, with the service's quota.

    Each pixel shows the maximum and the minimum within it, so no peak is lost.

    Parameters
    ----------
    calls
        Call frame.
    by
        `"function"` for one row per function, at most 15 with the highest peaks; None for all calls together.
    tz
        Time zone of the axis.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.step`, by function to `Axes.pcolormesh`.

    Returns
    -------
    ax
        The axes: time, and running calls. The quota, and 80 % of it, are drawn if the curve comes near. By function the
        colour is the maximum within a cell, and the number at the right the peak of the row.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by` or `tz` is unknown.
    """
    frame.check(calls)
    curve = concurrency_curve(calls, by=by)
    peak = int(curve["running"].max()) if len(curve) else 0
    title, x = title or "Calls running at the same time", f"time [{tz}]"
    if by is not None:
        ax = _concurrency_by_function(curve, tz, ax, **kwargs)
        note = f"peak {peak:,} of the {FUNCTION_QUOTA} that a function may run"
        dense = "colour: maximum within a cell; number: peak"
        style.label_axes(ax, style.describe_calls(calls, note, dense) if footer else None, title=title, x=x)
        return ax
    ax = style.axes(ax, height=3.8)
    options: dict[str, Any] = {"color": style.SERIES[0], "linewidth": 1.0, "label": "all calls"} | kwargs
    times, low, high = _envelope(curve)
    ax.fill_between(times, low, high, step="post", color=options["color"], alpha=0.35, linewidth=0)
    ax.step(times, high, where="post", **options)
    _draw_quota(ax, PROJECT_QUOTA, peak)
    _limit_times(ax, curve, tz)
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    note = f"peak {peak:,} of the {PROJECT_QUOTA} that a project may run"
    dense = "line: maximum within a pixel, shade: from the minimum to it" if len(curve) > 2 * _PIXELS else ""
    description = style.describe_calls(calls, note, dense) if footer else None
    style.label_axes(ax, description, title=title, x=x, y="running calls", grid="y")
    return ax


def _concurrency_by_function(curve: pd.DataFrame, tz: str, ax: Axes | None, **kwargs: Any) -> Axes:
    """Draw a row of coloured cells per function, the highest peak at the top."""
    peaks = curve.groupby("function", observed=True)["running"].max().sort_values(kind="stable").tail(_MAX_ROWS)
    ax = style.axes(ax, height=style.rows_height(len(peaks)))
    names = peaks.index.astype("str").to_list()
    style.label_rows(ax, names)
    marks.add_rows(ax, names, [{"functions": [name]} for name in names])
    _limit_times(ax, curve, tz)
    if peaks.empty:
        return ax
    first, last = style.to_matplotlib_dates(curve["time"].agg(["min", "max"]))
    edges = np.linspace(first, last, _CELLS + 1)
    cells = np.zeros((len(peaks), _CELLS))
    for row, name in enumerate(peaks.index):
        part = curve[curve["function"] == name]
        times, running = style.to_matplotlib_dates(part["time"]), part["running"].to_numpy()
        cells[row] = np.append(0, running)[np.searchsorted(times, edges[:-1], side="right")]
        np.maximum.at(cells[row], np.clip(np.searchsorted(edges, times, side="right") - 1, 0, _CELLS - 1), running)
        ax.text(edges[-1], row, f" {peaks[name]:,}", va="center", fontsize=8.5, color=style.TEXT)
    options: dict[str, Any] = {"cmap": "Blues", "norm": PowerNorm(0.4, vmin=0)} | kwargs
    ax.pcolormesh(edges, np.arange(len(peaks) + 1) - 0.5, np.ma.masked_equal(cells, 0), **options)
    return ax


def _limit_times(ax: Axes, curve: pd.DataFrame, tz: str) -> None:
    if curve.empty:
        style.annotate_empty(ax, "no calls that ran")
        return
    style.limit_times(ax, curve["time"])
    style.time_axis(ax, tz)


def _first_time(calls: pd.DataFrame, start: str | pd.Timestamp | None, tz: str) -> pd.Timestamp:
    zone = time_zone(tz)
    if start is not None:
        return _in_zone(start, zone)
    if calls.empty:
        known = Coverage.of(calls)
        return timestamp(known.fetched_ms) - _DAY if known else timestamp(0)
    latest: pd.Timestamp = calls["start_time"].max()
    return latest - _DAY + pd.Timedelta(milliseconds=1)


def _draw_bars(ax: Axes, inside: pd.DataFrame, rows: dict[str, int], last: pd.Timestamp, **kwargs: Any) -> None:
    """Draw one bar per call, wide enough to be seen; Running ones reach to the right edge and end in an arrow."""
    row = inside["function"].astype("object").map(rows).to_numpy()
    begin = style.to_matplotlib_dates(inside["start_time"])
    running = (inside["status"] == "Running").to_numpy()
    edge = style.to_matplotlib_dates(pd.Index([last]))[0]
    end = np.where(running, edge, style.to_matplotlib_dates(inside["end_time"]))
    end = np.where(np.isnan(end), begin, end)
    for status in inside["status"].cat.categories:
        here = (inside["status"] == status).to_numpy()
        if here.any():
            colour = style.COLOURS.get(status, style.OTHER)
            options: dict[str, Any] = {
                "color": colour, "hatch": style.HATCHES.get(status), "linewidth": 0.2, "label": status,
                "edgecolor": colour if status == "Completed" else "white",
            }  # fmt: skip
            ax.barh(row[here], np.maximum(end - begin, 1 / 2880)[here], 0.7, begin[here], **(options | kwargs))
    failed = inside["status"].isin(frame.FAILURES).to_numpy()
    colours = [style.COLOURS.get(status, style.OTHER) for status in inside["status"][failed]]
    ax.scatter(begin[failed], row[failed] + 0.42, marker="v", s=22, color=colours, linewidth=0, zorder=4)
    edges = np.full(running.sum(), edge)
    ax.scatter(edges, row[running], marker=">", s=18, color=style.COLOURS["Running"], clip_on=False)
    if len(inside):
        style.legend(ax)


def _draw_bins(ax: Axes, inside: pd.DataFrame, rows: dict[str, int], first: pd.Timestamp, last: pd.Timestamp) -> None:
    counts = function_counts(inside, first, last, bins=_BINS)
    row = counts["function"].astype("object").map(rows).to_numpy(dtype="int64")
    grid = np.full((len(rows), _BINS), np.nan)
    grid[row, counts["bin"].to_numpy()] = counts["calls"].to_numpy()
    left, right = style.to_matplotlib_dates(pd.Index([first, last])).tolist()
    edges = np.linspace(left, right, _BINS + 1)
    norm = LogNorm(0.3, max(10.0, np.nanmax(grid)))
    ax.pcolormesh(edges, np.arange(len(rows) + 1) - 0.5, np.ma.masked_invalid(grid), cmap="Blues", norm=norm)
    failed = counts["failures"].to_numpy() > 0
    middle = ((edges[:-1] + edges[1:]) / 2)[counts["bin"].to_numpy()[failed]]
    colour = style.COLOURS["Failed"]
    ax.scatter(middle, row[failed] + 0.33, marker="v", s=9, color=colour, linewidth=0)
    ax.hlines(np.arange(len(rows) + 1) - 0.5, edges[0], edges[-1], color="white", linewidth=3)
    handles = [Patch(color="#4292c6", label="calls: darker for more"), Patch(color=colour, label="some failed")]
    style.legend(ax, handles=handles)


def _envelope(curve: pd.DataFrame, pixels: int = _PIXELS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reduce a step curve to its minimum and maximum within each pixel, including the value it enters with."""
    x, y = style.to_matplotlib_dates(curve["time"]), curve["running"].to_numpy(dtype="float64")
    if len(x) <= 2 * pixels:
        return x, np.zeros(len(y)), y
    edges = np.linspace(x[0], x[-1], pixels + 1)
    first = np.searchsorted(x, edges[:-1], side="right") - 1
    return edges[:-1], np.minimum.reduceat(y, first), np.maximum.reduceat(y, first)


def _draw_quota(ax: Axes, quota: int, peak: int) -> None:
    """Draw the quota if the curve comes near it; else leave the room to the curve."""
    is_near = peak > 0.4 * quota
    for share, line_style in ((0.8, ":"), (1.0, "-")) if is_near else ():
        ax.axhline(share * quota, color=style.MUTED, linestyle=line_style, linewidth=1)
        ax.text(
            1.0, share * quota, f" {share:.0%} of {quota}", transform=ax.get_yaxis_transform(), fontsize=8,
            color=style.MUTED, va="center",
        )  # fmt: skip
    ax.set_ylim(0, max(1.0, (1.08 * max(quota, peak)) if is_near else 1.15 * peak))
