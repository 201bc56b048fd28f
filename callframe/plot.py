"""
One function a picture: frame in, Axes out.

A picture is drawn into `ax`, or into a new figure, which a notebook shows at the end of the cell and
`ax.figure.savefig(path)` writes. Each says at its foot what it rests on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import dates
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from callframe.coverage import is_complete
from callframe.measures.summary import over_time, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"Completed": "#56B4E9", "Running": "#999999", "Failed": "#D55E00", "Timeout": "#F0E442"}
"""One colour a status, of a palette safe for colour-blind eyes (Okabe and Ito, 2008); others are black."""

HATCHES = {"Timeout": "////"}
"""A second sign where a colour may not tell enough."""

_INK, _FAINT = "#222222", "#767676"
_LABEL = 34
_TICKS_S = {
    0.001: "1 ms", 0.01: "10 ms", 0.1: "100 ms", 0.3: "300 ms", 1: "1 s", 3: "3 s", 10: "10 s", 30: "30 s",
    60: "1 min", 180: "3 min", 600: "10 min", 1800: "30 min", 3600: "1 h", 10800: "3 h", 43200: "12 h", 86400: "1 d",
    259200: "3 d", 864000: "10 d",
}  # fmt: skip


def durations(calls: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """
    Draw how long calls took, by function.

    A dot is the median of completed work, the thick bar its middle half, the thin one the middle 90 %. Timeouts count
    as longer than anything: where a bar's end falls among them, it ends in an arrow.

    Parameters
    ----------
    calls
        Call frame.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with a logarithmic time axis and one row a function.
    """
    return _spread_chart(calls, "duration", "duration [log scale]", "How long calls took", ax)


def schedule_delays(calls: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """
    Draw how long after their scheduled time calls started, by function.

    Marks as in `durations`. Calls that no schedule started are not in it. Negative delays, from clocks that run ahead,
    are drawn at the left edge.

    Parameters
    ----------
    calls
        Call frame.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with a logarithmic time axis and one row a function.
    """
    return _spread_chart(
        calls, "schedule_delay", "delay after the scheduled time [log scale]", "When calls started", ax
    )


def failures(calls: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """
    Draw how many calls failed or ran into the run limit, over time.

    Parameters
    ----------
    calls
        Call frame.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes, with time in UTC and a stacked bar a bin.
    """
    ax = _axes(ax, height=3.6)
    counts = over_time(calls)
    bottom = np.zeros(len(counts))
    left = dates.date2num(pd.DatetimeIndex(counts.index).tz_localize(None).to_numpy())
    width = np.diff(left).min() if len(left) > 1 else 1 / 1440
    for status in ("Failed", "Timeout"):
        heights = counts[status].to_numpy()
        ax.bar(
            left, heights, width, bottom, align="edge", label=f"{status} ({heights.sum():,})",
            color=COLOURS[status], hatch=HATCHES.get(status), edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        bottom += heights
    if len(counts):
        locator = dates.AutoDateLocator(minticks=3, maxticks=8)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        ax.set_xlim(left[0], left[-1] + width)
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)
    ax.set_ylim(0, max(1, bottom.max(initial=0) * 1.05))
    ax.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(ax, calls, title="Calls that failed", x="start time [UTC]", y=f"calls a bin of {_width_words(counts)}")
    return ax


def _spread_chart(calls: pd.DataFrame, of: str, label: str, title: str, ax: Axes | None) -> Axes:
    table = spread(calls, of)
    ax = _axes(ax, height=1.5 + 0.26 * max(3, len(table)))
    rows = np.arange(len(table))
    seconds = pd.DataFrame({share: table[share].dt.total_seconds() for share in table.columns.drop("calls")})
    floor = 0.001
    low, quarter, middle, three_quarters, high = (seconds[share].to_numpy() for share in seconds.columns)
    edge = np.nanmax(seconds.to_numpy(), initial=1.0) * 1.6
    for begin, end, thickness in ((low, high, 1.2), (quarter, three_quarters, 5)):
        known = ~np.isnan(begin)
        ax.hlines(
            rows[known], np.maximum(begin, floor)[known], np.where(np.isnan(end), edge, np.maximum(end, floor))[known],
            color=COLOURS["Completed"], linewidth=thickness, zorder=2,
        )  # fmt: skip
    ax.scatter(np.maximum(middle, floor), rows, s=26, color=_INK, zorder=3)
    beyond = rows[np.isnan(high)]
    ax.scatter(np.full(len(beyond), edge), beyond, marker=">", s=40, color=COLOURS["Failed"], zorder=3)
    ax.set_xscale("log")
    _time_ticks(ax, np.maximum(low, floor), edge)
    ax.set_yticks(rows, [_cut(name) for name in table.index])
    ax.set_ylim(-0.7, max(len(table), 1) - 0.3)
    _dress(ax, calls, title=title, x=f"{label}; dot: median, bars: middle 50 % and 90 %", y="")
    ax.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    return ax


def _axes(ax: Axes | None, *, height: float) -> Axes:
    if ax is not None:
        return ax
    _, new = plt.subplots(figsize=(8, height), layout="constrained")
    return new


def _time_ticks(ax: Axes, low: np.ndarray, edge: float) -> None:
    """Put ticks where people count: seconds, minutes, hours."""
    start = np.nanmin(low, initial=edge / 10) / 1.6
    ax.set_xlim(start, edge * 1.15)
    inside = [tick for tick in _TICKS_S if start <= tick <= edge * 1.15]
    ax.xaxis.set_major_locator(FixedLocator(inside))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([_TICKS_S[tick] for tick in inside])


def _dress(ax: Axes, calls: pd.DataFrame, *, title: str, x: str, y: str) -> None:
    ax.set_title(title, loc="left", color=_INK)
    ax.set_ylabel(y)
    ax.set_xlabel(f"{x}\n")
    ax.annotate(
        _foot(calls), (0, 0), (0, 2), xycoords=("axes fraction", "figure points"), textcoords="offset points",
        fontsize=7.5, color=_FAINT, va="bottom", annotation_clip=False,
    ).set_in_layout(False)  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)


def _foot(calls: pd.DataFrame) -> str:
    """Say what a picture rests on."""
    if calls.empty:
        return "no calls"
    start, end = calls["start_time"].min(), calls["start_time"].max()
    complete = {True: "complete", False: "INCOMPLETE", None: "completeness not known"}[is_complete(calls)]
    functions = calls["function"].nunique()
    return (
        f"{len(calls):,} calls of {functions} function{'' if functions == 1 else 's'},"
        f" {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, {complete}"
    )


def _width_words(counts: pd.DataFrame) -> str:
    if len(counts) < 2:  # noqa: PLR2004
        return "1 min"
    minutes = int((counts.index[1] - counts.index[0]) / pd.Timedelta(minutes=1))
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if rest else f"{hours} h" if hours % 24 else f"{hours // 24} d"


def _cut(name: str) -> str:
    """Shorten a label in the middle, and keep matplotlib from reading mathematics into it."""
    short = name if len(name) <= _LABEL else f"{name[: _LABEL // 2 - 1]}…{name[-_LABEL // 2 :]}"
    return short.replace("$", r"\$")
