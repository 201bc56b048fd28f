"""What failed, and which scheduled runs were missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from callframe import frame
from callframe.analysis.activity import status_counts
from callframe.analysis.failures import failure_groups
from callframe.analysis.failures import failures as group_failures
from callframe.errors import ArgumentError
from callframe.plot import marks, style
from callframe.timespan import to_milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_GROUPS = 15
"""How many failure groups are drawn."""
STATES = {
    "missed": (style.COLOURS["Failed"], "X"),
    "unconfirmed": (style.COLOURS["Timeout"], "^"),
    "unknown": ("#b0b0b0", "s"),
}
"""Colour and marker of each state of a scheduled time without a call."""

_MAX_SCHEDULES = 40
_SPARKLINE_BINS = 48


def failures(
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
    Draw the failure groups of `callframe.failures`, the largest first, or failures over time by status.

    Parameters
    ----------
    calls
        Call frame.
    over
        `"time"` for counts over time; None for one bar per group, at most 15.
    tz
        Time zone of a time axis.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.barh`, over time to `Axes.bar`.

    Returns
    -------
    ax
        The axes.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `over` or `tz` is unknown.
    """
    frame.check(calls)
    style.check_over(over)
    if over == "time":
        return _failures_over_time(calls, tz, title=title, footer=footer, ax=ax, **kwargs)
    groups = group_failures(calls)
    shown = groups.head(MAX_GROUPS).iloc[::-1]
    ax = style.axes(ax, height=1.5 + 0.44 * max(2, len(shown)))
    rows = np.arange(len(shown))
    colours = shown["status"].map(style.COLOURS)
    options: dict[str, Any] = {"height": 0.3, "color": colours.to_list(), "align": "center"}
    ax.barh(rows, shown["count"], **(options | kwargs))
    for row, (_, group) in enumerate(shown.iterrows()):
        ax.annotate(
            style.escape(group["label"]), (0, row + 0.22), (3, 0), textcoords="offset points", fontsize=8.5,
            color=style.TEXT, va="bottom",
        )  # fmt: skip
        seen = f"{group['first_seen']:%m-%d %H:%M} to {group['last_seen']:%m-%d %H:%M}{', new' if group['new'] else ''}"
        ax.text(group["count"], row, f" {group['count']:,}, {seen}", fontsize=8.5, color=style.TEXT, va="center")
    _draw_sparklines(ax, calls, shown["group"], colours)
    marks.add_rows(ax, shown["label"].tolist(), [{"groups": [group]} for group in shown["group"]])
    ax.set_yticks([])
    ax.set_ylim(-0.4, max(len(shown), 1) - 0.2)
    largest = max(1, shown["count"].max()) if len(shown) else 1
    ax.set_xticks([tick for tick in MaxNLocator(4, integer=True).tick_values(0, largest) if tick <= largest])
    ax.set_xlim(0, largest * 2.4)  # room for when a group was seen
    if groups.empty:
        style.annotate_empty(ax, "no calls that failed")
    total = f"{groups['count'].sum():,} failures in {len(groups)} groups"
    more = f"the {len(shown)} largest shown" if len(groups) > len(shown) else ""
    description = style.describe_calls(calls, total, more) if footer else None
    style.label_axes(ax, description, title=title or "What failed", x="calls", grid="x")
    return ax


def missed_runs(
    missed: pd.DataFrame,
    *,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw the scheduled times without a call, one row per schedule.

    Parameters
    ----------
    missed
        Table that `callframe.missed_runs` returned.
    tz
        Time zone of the axis.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.scatter`.

    Returns
    -------
    ax
        The axes: time, and one row per schedule, at most 40, those with the most missed runs at the top. Marker and
        colour distinguish missed, unconfirmed (too recent to say) and unknown (that time was not read completely).

    Raises
    ------
    ArgumentError
        `missed` is not such a table, or `tz` is not a time zone.
    """
    for name in ("schedule_id", "function", "scheduled_time", "state"):
        if name not in missed.columns:
            raise ArgumentError(f"Not a table of missed runs: missing the column {name}. Use callframe.missed_runs().")
    schedule_ids = missed["schedule_id"].astype("Int64")
    counts = schedule_ids[missed["state"] == "missed"].value_counts()
    shown = sorted(schedule_ids.dropna().unique(), key=lambda key: (counts.get(key, 0), -key))[-_MAX_SCHEDULES:]
    ax = style.axes(ax, height=style.rows_height(len(shown)))
    inside = schedule_ids.isin(shown).to_numpy(dtype=bool)
    x = style.to_matplotlib_dates(missed["scheduled_time"])
    y = schedule_ids.map({key: row for row, key in enumerate(shown)}).to_numpy(dtype="float64", na_value=np.nan)
    for state, (colour, marker) in STATES.items():
        here = (missed["state"] == state).to_numpy() & inside
        label = f"{state} ({here.sum():,})"
        options: dict[str, Any] = {
            "marker": marker,
            "s": 26,
            "color": colour,
            "linewidth": 0,
            "label": label,
            "alpha": 0.85,
        }
        if here.any():
            ax.scatter(x[here], y[here], **(options | kwargs))
    if inside.any():
        style.legend(ax)
        style.time_axis(ax, tz)
    else:
        style.annotate_empty(ax, "no missed runs")
    names = missed["name"].astype("object").where(missed["name"].notna(), missed["function"].astype("object"))
    by_id = dict(zip(schedule_ids[::-1], names[::-1], strict=True))
    labels = [str(by_id.get(key, key)) for key in shown]
    style.label_rows(ax, labels)
    marks.add_rows(
        ax, labels, [{"schedules": [int(key)]} if isinstance(key, int | np.integer) else {} for key in shown]
    )
    total = f"{(missed['state'] == 'missed').sum():,} missed runs of {len(counts[counts > 0])} schedules"
    more = [f"the {len(shown)} schedules with the most shown"] if schedule_ids.nunique() > len(shown) else []
    description = "; ".join([total, *more, style.describe_table(missed)]) if footer else None
    style.label_axes(ax, description, title=title or "Missed runs", x=f"scheduled time [{tz}]", grid="x")
    return ax


def _draw_sparklines(ax: Axes, calls: pd.DataFrame, groups: pd.Series, colours: pd.Series) -> None:
    """Draw at the right of each group how many of its calls failed in each part of the time of all calls."""
    time_ms, group_of = to_milliseconds(calls["start_time"]), failure_groups(calls).to_numpy()
    x = np.linspace(0.83, 1, _SPARKLINE_BINS)
    place = blended_transform_factory(ax.transAxes, ax.transData)
    for row, (group, colour) in enumerate(zip(groups, colours, strict=True)):
        counts, _ = np.histogram(time_ms[group_of == group], _SPARKLINE_BINS, (time_ms.min(), time_ms.max() + 1))
        heights = 0.6 * counts / counts.max()
        bars = [[(at, row - 0.2), (at, row - 0.2 + height)] for at, height in zip(x, heights, strict=True) if height]
        base = [[(x[0], row - 0.2), (1, row - 0.2)]]
        ax.add_collection(LineCollection(base, colors=style.MUTED, linewidths=0.6, transform=place), autolim=False)
        ax.add_collection(LineCollection(bars, colors=colour, linewidths=2.2, transform=place), autolim=False)


def _failures_over_time(
    calls: pd.DataFrame, tz: str, *, title: str | None, footer: bool, ax: Axes | None, **kwargs: Any
) -> Axes:
    ax = style.axes(ax, height=3.6)
    counts = status_counts(calls)
    bottom = np.zeros(len(counts))
    left = style.to_matplotlib_dates(counts.index)
    width = np.diff(left).min() if len(left) > 1 else 1 / 1440
    for status in [status for status in frame.FAILURES if status in counts]:
        heights = counts[status].to_numpy()
        options: dict[str, Any] = {
            "align": "edge", "label": f"{status} ({heights.sum():,})", "color": style.COLOURS[status],
            "hatch": style.HATCHES.get(status), "edgecolor": "white", "linewidth": 0.3,
        }  # fmt: skip
        ax.bar(left, heights, width, bottom, **(options | kwargs))
        _mark_bars(ax, counts[status], left, width)
        bottom += heights
    if len(counts):
        ax.set_xlim(left[0], left[-1] + width)
        style.time_axis(ax, tz)
        style.legend(ax)
    else:
        style.annotate_empty(ax, "no calls")
    ax.set_ylim(0, max(1, bottom.max(initial=0) * 1.05))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    description = style.describe_calls(calls) if footer else None
    y = f"calls in {style.format_bin_width(pd.Timedelta(days=width))}"
    style.label_axes(ax, description, title=title or "Calls that failed", x=f"start time [{tz}]", y=y, grid="y")
    return ax


def _mark_bars(ax: Axes, counts: pd.Series, left: np.ndarray, width: float) -> None:
    """Make the bars of a status into marks, each as high as the axes: a small bar is hard to hit."""
    times, heights, status = pd.DatetimeIndex(counts.index), counts.to_numpy(), str(counts.name)
    begins = times.strftime("%Y-%m-%dT%H:%M:%SZ").tolist()
    ends = (times + pd.Timedelta(days=width)).strftime("%Y-%m-%dT%H:%M:%SZ").tolist()
    kept = np.flatnonzero(heights)
    texts = [f"{begins[at][:16].replace('T', ' ')} UTC: {heights[at]:,} {status}" for at in kept]
    chosen = [{"statuses": [status], "start": begins[at], "end": ends[at]} for at in kept]
    top = ax.dataLim.y1
    marks.add(ax, left[kept], left[kept] + width, 0, top, texts, chosen)
