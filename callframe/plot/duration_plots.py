"""How long calls took and how late they started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.activity import round_width
from callframe.analysis.kaplan_meier import survival as survival_curves
from callframe.analysis.summary import quantiles_by_function, summarize
from callframe.completeness import Coverage
from callframe.limits import DEFAULT_LATE_AFTER
from callframe.plot import marks, style
from callframe.plot.style import MAX_SERIES, MIN_DURATION_S
from callframe.timespan import DurationLike, parse_duration, timestamp

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 56
_MAX_STEPS = 2_000  # twice the pixels of a figure
_NEARLY_ALL = 0.995


def durations(
    calls: pd.DataFrame,
    *,
    over: Literal["time"] | None = None,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw how long calls took, by function or over time.

    By function, a dot is the median of completed work, the thick bar its middle half, the thin one the middle 90 %.
    Unfinished work counts as longer than observed: a bar whose end is not known ends in an arrow. Over time, a line is
    the median and the band reaches to p95, for the functions with the most calls; dashed lines are deploys.

    Parameters
    ----------
    calls
        Call frame.
    over
        `"time"` for durations over time; None for one row per function.
    tz
        Time zone of a time axis.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.hlines`, over time to `Axes.plot`.

    Returns
    -------
    ax
        The axes, with a logarithmic axis of durations.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `over` or `tz` is unknown.
    """
    frame.check(calls)
    style.check_over(over)
    title = title or "How long calls took"
    if over == "time":
        return _over_time(calls, "duration", tz=tz, title=title, footer=footer, ax=ax, **kwargs)
    return _by_function(calls, title=title, footer=footer, ax=ax, **kwargs)


def schedule_delays(
    calls: pd.DataFrame,
    *,
    late_after: DurationLike = DEFAULT_LATE_AFTER,
    over: Literal["time"] | None = None,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw how long after their scheduled time calls started: the cumulative distribution, or over time.

    The thick line is all calls, a thin one each function. Of those with late calls, the three with the largest 95th
    percentile are coloured. Calls that no schedule started are left out. Negative delays, from clocks that run ahead,
    are drawn at the left edge. Over time, as in `durations`.

    Parameters
    ----------
    calls
        Call frame.
    late_after
        The delay up to which a call counts as on time; a vertical line.
    over
        `"time"` for delays over time; None for the distribution.
    tz
        Time zone of a time axis.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.step` for the line of all calls, over time to `Axes.plot`.

    Returns
    -------
    ax
        The axes, with a logarithmic axis of delays.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `late_after`, `over` or `tz` is invalid.
    """
    frame.check(calls)
    style.check_over(over)
    title = title or "When calls started"
    if over == "time":
        return _over_time(calls, "schedule_delay", tz=tz, title=title, footer=footer, ax=ax, **kwargs)
    late_after_s = parse_duration(late_after, name="late_after") / 1000
    return _distribution(calls, late_after_s, title=title, footer=footer, ax=ax, **kwargs)


def survival(
    calls: pd.DataFrame, *, title: str | None = None, footer: bool = True, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """
    Draw which share of the work was still unfinished after a time, by function (Kaplan-Meier curves).

    A curve that ends above zero ends where nothing more is known: what was left ran into the run limit or is running.
    At most six functions, those with the largest share left unfinished, then those with the most calls.

    Parameters
    ----------
    calls
        Call frame.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.step`.

    Returns
    -------
    ax
        The axes, with a logarithmic time axis and one step curve per function in its 95 % confidence band.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    """
    frame.check(calls)
    table = survival_curves(calls)
    ax = style.axes(ax, height=4.2)
    unfinished = table.groupby("function", observed=True)["survival"].min()
    counts = calls["function"].value_counts()
    names = sorted(unfinished.index, key=lambda name: (-round(unfinished[name], 3), -counts[name]))
    seconds = table["duration"].dt.total_seconds().to_numpy()
    for series, name in enumerate(names[:MAX_SERIES]):
        here = (table["function"] == name).to_numpy()
        x, curve = np.maximum(seconds[here], MIN_DURATION_S), table[here]
        options = _series_options(series, name, kwargs)
        ax.step(x, curve["survival"], where="post", **options)
        colour = options["color"]
        ax.fill_between(x, curve["low"], curve["high"], step="post", color=colour, alpha=0.15, linewidth=0)
        ax.plot(x[-1], curve["survival"].iloc[-1], marker="|", color=colour, markersize=9)
    ended = seconds[(seconds > MIN_DURATION_S) & (table["survival"] < _NEARLY_ALL).to_numpy()]
    style.log_duration_axis(ax, "x", (ended.min() if len(ended) else 1.0) / 1.3, seconds.max(initial=60.0) * 1.3)
    ax.set_ylim(0, 1.02)
    if names:
        style.side_legend(ax)
    else:
        style.annotate_empty(ax, "no calls that took time")
    shown = f"{MAX_SERIES} of {len(names)} functions shown" if len(names) > MAX_SERIES else ""
    style.label_axes(
        ax, style.describe_calls(calls, shown) if footer else None, title=title or "Unfinished work", grid="both",
        x="time since the start [log scale]", y="share unfinished",
    )  # fmt: skip
    return ax


def _series_options(series: int, name: object, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        "color": style.SERIES[series],
        "linestyle": style.DASHES[series],
        "linewidth": 1.6,
        "label": style.truncate(name),
    } | kwargs


def _by_function(calls: pd.DataFrame, *, title: str, footer: bool, ax: Axes | None, **kwargs: Any) -> Axes:
    table = quantiles_by_function(calls, "duration")
    ax = style.axes(ax, height=style.rows_height(len(table)))
    rows = np.arange(len(table))
    seconds = table.drop(columns="calls").apply(lambda column: column.dt.total_seconds())
    low, quarter, middle, three_quarters, high = (
        np.maximum(seconds[share].to_numpy(dtype="float64"), MIN_DURATION_S) for share in seconds.columns
    )
    edge = np.nanmax(np.r_[1.0, low, middle, high]) * 1.6
    for begin, end, thickness in ((low, high, 1.2), (quarter, three_quarters, 5)):
        known = ~np.isnan(begin)
        options = {"color": style.COLOURS["Completed"], "linewidth": thickness, "zorder": 2} | kwargs
        ax.hlines(rows[known], begin[known], np.where(np.isnan(end), edge, end)[known], **options)
    ax.scatter(middle, rows, s=26, color=style.TEXT, zorder=3)
    beyond = rows[np.isnan(high)]
    ax.scatter(np.full(len(beyond), edge), beyond, marker=">", s=40, color=style.COLOURS["Failed"], zorder=3)
    style.log_duration_axis(ax, "x", np.nanmin(np.r_[edge / 10, low]) / 1.6, edge * 1.15)
    style.label_rows(ax, list(table.index))
    names = [str(name) for name in table.index]
    marks.add_rows(ax, names, [{"functions": [name]} for name in names])
    if table.empty:
        style.annotate_empty(ax, "no calls with a duration")
    arrow = "arrow: longer than observed, for work that was cut off or still runs" if len(beyond) else ""
    description = style.describe_calls(calls, arrow) if footer else None
    x = "duration of completed work [log scale]; dot: median, bars: middle 50 % and 90 %"
    style.label_axes(ax, description, title=title, x=x, grid="x")
    return ax


def _distribution(
    calls: pd.DataFrame, late_after_s: float, *, title: str, footer: bool, ax: Axes | None, **kwargs: Any
) -> Axes:
    scheduled = calls[calls["schedule_delay"].notna()]
    seconds = scheduled["schedule_delay"].dt.total_seconds().clip(lower=MIN_DURATION_S)
    ax = style.axes(ax, height=4.2)
    is_late = (seconds > late_after_s).groupby(scheduled["function"], observed=True)
    rates = is_late.mean()
    delays = seconds.groupby(scheduled["function"], observed=True).quantile(0.95)
    coloured = delays[rates > 0].nlargest(3).index.to_list()
    for name, values in seconds.groupby(scheduled["function"], observed=True):
        if name not in coloured:
            _draw_steps(ax, values, color="#c2c2c2", linewidth=0.9)
    for series, name in enumerate(coloured):
        options = _series_options(series, name, {"label": f"{style.truncate(name)} ({rates[name]:.1%} late)"})
        _draw_steps(ax, seconds[scheduled["function"] == name], **options)
    if len(seconds):
        label = f"all calls ({(seconds > late_after_s).mean():.1%} late)"
        _draw_steps(ax, seconds, **({"color": style.TEXT, "linewidth": 2.4, "label": label} | kwargs))
        ax.axvline(late_after_s, color=style.MUTED, linestyle=":", linewidth=1.2)
        ax.text(late_after_s * 1.06, 0.03, "late", color=style.MUTED, fontsize=8.5)
        ax.legend(frameon=False, loc="upper left", fontsize=8.5)
    else:
        style.annotate_empty(ax, "no calls that a schedule started")
    low, high = (seconds.min(), max(seconds.max(), late_after_s)) if len(seconds) else (1.0, 60.0)
    style.log_duration_axis(ax, "x", low / 1.3, high * 1.3)
    ax.set_ylim(0, 1.02)
    notes = (f"{len(scheduled):,} scheduled", "grey: the other functions")
    style.label_axes(
        ax, style.describe_calls(calls, *notes) if footer else None, title=title, grid="both",
        x="delay after the scheduled time [log scale]", y="share started",
    )  # fmt: skip
    return ax


def _draw_steps(ax: Axes, seconds: pd.Series, **options: Any) -> None:
    """Draw an empirical distribution with no more steps than can be seen."""
    values = np.sort(seconds.to_numpy(dtype="float64"))
    shares = np.linspace(1 / max(len(values), 1), 1, len(values))
    if len(values) > _MAX_STEPS:
        last = len(values) - 1
        keep = np.unique(np.r_[np.linspace(0, last, _MAX_STEPS - 100).astype(int), np.arange(last - 99, last + 1)])
        values, shares = values[keep], shares[keep]
    if len(values):
        ax.step(np.r_[values[0], values], np.r_[0, shares], where="post", **options)


def _over_time(
    calls: pd.DataFrame, column: str, *, tz: str, title: str, footer: bool, ax: Axes | None, **kwargs: Any
) -> Axes:
    ax = style.axes(ax, height=4.2)
    counts = calls["function"][calls[column].notna()].value_counts()
    names = sorted(counts.index[counts > 0], key=lambda name: (not _deploys(calls, name), -counts[name]))
    shown = names[:MAX_SERIES]
    times = calls["start_time"]
    width = round_width((times.max() - times.min()) / _BINS) if len(calls) else pd.Timedelta("1h")
    selected = calls[calls["function"].isin(shown)]
    bands = summarize(selected, by=["function", f"{round(width / pd.Timedelta(minutes=1))}min"])
    seconds = [np.empty(0)]
    for series, name in enumerate(shown):
        options = _series_options(series, name, kwargs)
        seconds += draw_band(ax, bands.loc[name], column, width, options)
        for deployed in style.to_matplotlib_dates(pd.Series(_deploys(calls, name), dtype="datetime64[ms, UTC]")):
            ax.axvline(deployed, color=options["color"], linestyle="--", linewidth=1.1)
    limit_durations(ax, seconds)
    label = "duration of completed work" if column == "duration" else column.replace("_", " ")
    if shown:
        style.limit_times(ax, times)
        style.time_axis(ax, tz)
        style.side_legend(ax)
    else:
        style.annotate_empty(ax, f"no calls with a {label}")
    selection = f"the {len(shown)} of {len(names)} functions, deployed ones first, then those with the most calls"
    notes = [
        selection if len(names) > len(shown) else "",
        f"line: median of {style.format_bin_width(width)}, band: up to p95, dashed: deploy",
    ]
    description = style.describe_calls(calls, *notes) if footer else None
    style.label_axes(ax, description, title=title, x=f"start time [{tz}]", y=f"{label} [log scale]", grid="y")
    return ax


def draw_band(
    ax: Axes, band: pd.DataFrame, column: str, width: pd.Timedelta, options: dict[str, Any]
) -> list[np.ndarray]:
    """Draw the median of each bin as a line with a band up to p95; return both in seconds."""
    x = style.to_matplotlib_dates(band.index + width / 2)
    middle, high = (
        band[f"{column}_{name}"].dt.total_seconds().clip(lower=MIN_DURATION_S).to_numpy() for name in ("p50", "p95")
    )
    ax.plot(x, middle, **options)
    ax.fill_between(x, middle, high, color=options["color"], alpha=0.12, linewidth=0)
    return [middle, high]


def limit_durations(ax: Axes, seconds: list[np.ndarray]) -> None:
    """Limit a logarithmic y axis to the durations that were drawn."""
    values = np.concatenate(seconds)
    values = values[~np.isnan(values)]
    low, high = (values.min(), values.max()) if len(values) else (1.0, 60.0)
    style.log_duration_axis(ax, "y", low / 1.5, high * 1.5)


def _deploys(calls: pd.DataFrame, name: str) -> list[pd.Timestamp]:
    """List when a function was deployed, within the times of the calls."""
    known = Coverage.of(calls)
    created = [function.created_ms for function in known.functions if function.function == name] if known else []
    times = [timestamp(time_ms) for time_ms in created if time_ms is not None]
    first, last = calls["start_time"].min(), calls["start_time"].max()
    return [time for time in times if first < time < last]
