"""Shared by all plots: colours, axes, time axes, and the footer that states what a plot covers."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import dates
from matplotlib.ticker import FixedLocator, NullLocator

from callframe.completeness import Coverage, completeness_text
from callframe.errors import ArgumentError
from callframe.timespan import DAY_MS, NO_TIME, time_zone, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLOURS = {
    "Completed": "#56B4E9", "Running": "#999999", "Failed": "#D55E00", "Timeout": "#E8B400", "Error response": "#5D3A9B"
}  # fmt: skip
"""One colour per status, safe for colour-blind eyes: that of Error response is far from the others, which are of the
palette of Okabe and Ito (2008), with every kind of colour vision. Other statuses are `OTHER`."""

OTHER = "#CC79A7"
HATCHES = {"Timeout": "////", "Running": "....", "Error response": "xxxx"}
"""A second sign where colour alone may not be enough."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
TEXT, MUTED, GRID = "#222222", "#6b6b6b", "#e5e5e5"

MAX_SERIES = len(SERIES)
"""How many functions can be told apart as lines."""
MIN_DURATION_S = 0.001
"""The left end of a logarithmic duration axis: shorter durations, and negative ones, are drawn there."""
WIDTH = 8.0

_ROOMY_ROWS, _ROOMY_ROW, _CLOSE_ROW = 20, 0.2, 0.105

_LABEL_LENGTH, _FOOTER_LENGTH = 34, 100
_TICKS_S = {
    0.001: "1 ms", 0.01: "10 ms", 0.1: "100 ms", 0.3: "300 ms", 1: "1 s", 3: "3 s", 10: "10 s", 30: "30 s",
    60: "1 min", 180: "3 min", 600: "10 min", 1800: "30 min", 3600: "1 h", 10800: "3 h", 43200: "12 h", 86400: "1 d",
    259200: "3 d", 864000: "10 d",
}  # fmt: skip
_MAX_TICKS = 9
_DECADE = 10.0


def check_over(over: object) -> None:
    """Check the option `over` of plots that can be drawn over time."""
    if over not in (None, "time"):
        raise ArgumentError(f"over={over!r}; expected 'time' or None.")


def axes(ax: Axes | None, *, height: float) -> Axes:
    """Return the given axes, or create a figure with room for labels."""
    if ax is not None:
        return ax
    _, new = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    return new


def rows_height(count: int) -> float:
    """Choose the height in inches of a plot with a number of rows."""
    return 1.5 + 0.26 * max(3, count)


def grid_height(count: int) -> float:
    """Choose the height in inches of a grid: up to 40 rows fit on a screen, more are as close as 40."""
    return 1.1 + max(_ROOMY_ROW * max(3, min(count, _ROOMY_ROWS)), _CLOSE_ROW * count)


def rows_font_size(count: int) -> float:
    """Choose the size of the letters of a row's name."""
    return 9.0 if count <= _ROOMY_ROWS + 2 else 6.5


def label_axes(
    ax: Axes, footer: str | None, *, title: str, x: str, y: str = "", grid: Literal["x", "y", "both"] | None = None
) -> None:
    """Add title, axis labels and footer."""
    # The footer may be wider than the axes, so the layout ignores it; empty lines below the label reserve its space.
    lines = textwrap.wrap(footer or "", _FOOTER_LENGTH)
    ax.set_title(title, loc="left", color=TEXT, pad=24 if ax.get_legend() else 6)
    ax.set_xlabel(x + "\n" * len(lines))
    ax.set_ylabel(y)
    if lines:
        ax.annotate(
            "\n".join(lines), (0, 0), (0, 0), xycoords=("axes fraction", ax.xaxis.label), textcoords="offset points",
            fontsize=7.5, color=MUTED, va="bottom", linespacing=1.3, annotation_clip=False,
        ).set_in_layout(False)  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)


def describe_calls(calls: pd.DataFrame, *notes: str) -> str:
    """State what a plot of calls covers: how many, of how many functions, from when to when, complete or not."""
    complete = completeness_text(calls)
    if calls.empty:
        return "; ".join(part for part in ("no calls", _window(calls), complete, *notes) if part)
    start, end = calls["start_time"].min(), calls["start_time"].max()
    window = _window(calls) or f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    counts = f"{_count(len(calls), 'call')} of {_count(calls['function'].nunique(), 'function')}"
    return "; ".join([f"{counts}, {window}, {complete}", *(note for note in notes if note)])


def describe_table(table: pd.DataFrame) -> str:
    """State which window a table of measures covers, and whether that was read completely."""
    return "; ".join(part for part in (_window(table), completeness_text(table)) if part)


def legend(ax: Axes, **options: Any) -> None:
    """Put the legend in one line between title and axes, where it hides nothing."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2, "handlelength": 1.4}
    ax.legend(frameon=False, ncols=6, fontsize=8.5, columnspacing=1.2, **place, **options)


def side_legend(ax: Axes) -> None:
    """Put the legend beside the axes, where it hides no line."""
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, borderaxespad=0.3)


def annotate_empty(ax: Axes, reason: str) -> None:
    """State in empty axes why they are empty."""
    if ax.get_xscale() == "linear":
        ax.set_xticks([])
    ax.text(0.5, 0.5, reason, transform=ax.transAxes, ha="center", va="center", color=MUTED)


def log_duration_axis(ax: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis of seconds logarithmic, with ticks at usual durations."""
    axis: Axis = ax.xaxis if which == "x" else ax.yaxis
    if high < _DECADE * low:
        middle = (low * high) ** 0.5
        low, high = middle / _DECADE**0.5, middle * _DECADE**0.5
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    (ax.set_xlim if which == "x" else ax.set_ylim)(low, high)
    ticks = [tick for tick in _TICKS_S if low <= tick <= high]
    ticks = ticks[:: max(1, -(-len(ticks) // _MAX_TICKS))] or [1]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels([_TICKS_S[tick] for tick in ticks])


def time_axis(ax: Axes, tz: str) -> None:
    """Format the x axis as times in a time zone."""
    locator = dates.AutoDateLocator(tz=time_zone(tz), minticks=3, maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=time_zone(tz)))


def to_matplotlib_dates(times: pd.Series | pd.Index) -> np.ndarray:
    """Convert times to matplotlib's dates: days since 1970 in UTC."""
    time_ms = to_milliseconds(pd.Series(times))
    return np.where(time_ms == NO_TIME, np.nan, time_ms / DAY_MS)


def limit_times(ax: Axes, times: pd.Series | pd.Index) -> None:
    """Limit the x axis to a range of times, at least a minute."""
    days = to_matplotlib_dates(times)
    low, high = np.nanmin(days), np.nanmax(days)
    ax.set_xlim(low, max(high, low + 1 / 1440))


def truncate(name: object) -> str:
    """Shorten a label in the middle, to one line."""
    label = escape(str(name))
    half = _LABEL_LENGTH // 2
    return label if len(label) <= _LABEL_LENGTH else f"{label[: half - 1]}…{label[-half:]}"


def escape(text: str) -> str:
    """Replace control characters, and keep matplotlib from reading mathematics into text."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text).replace("$", r"\$")


def format_bin_width(width: pd.Timedelta) -> str:
    """Format the width of a bin."""
    minutes = round(width / pd.Timedelta(minutes=1))
    return f"{minutes} min" if minutes % 60 else f"{minutes // 60} h" if minutes % 1440 else f"{minutes // 1440} d"


def label_rows(ax: Axes, names: Sequence[object]) -> None:
    """Label the rows of a plot, the first at the bottom."""
    ax.set_yticks(range(len(names)), [truncate(name) for name in names])
    ax.set_ylim(-0.7, max(len(names), 1) - 0.3)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _window(calls: pd.DataFrame) -> str:
    known = Coverage.of(calls)
    if known is None or known.window is None:
        return ""
    return f"{known.window.start:%Y-%m-%d %H:%M} to {known.window.end:%Y-%m-%d %H:%M} UTC"
