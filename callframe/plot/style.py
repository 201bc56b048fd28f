"""What all pictures share: axes, colours, time axes, and the foot that says what a picture rests on."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import dates
from matplotlib.ticker import FixedLocator, NullLocator

from callframe.completeness import Coverage, is_complete
from callframe.timespan import time_zone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLOURS = {"Completed": "#56B4E9", "Running": "#999999", "Failed": "#D55E00", "Timeout": "#E8B400"}
"""One colour a status, of a palette safe for colour-blind eyes (Okabe and Ito, 2008); others are `OTHER`."""

OTHER = "#CC79A7"
HATCHES = {"Timeout": "////", "Running": "...."}
"""A second sign where a colour may not tell enough."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
INK, FAINT, GRID = "#222222", "#6b6b6b", "#e5e5e5"

WIDTH = 8.0
LABEL, FOOT = 34, 100

_TICKS_S = {
    0.001: "1 ms", 0.01: "10 ms", 0.1: "100 ms", 0.3: "300 ms", 1: "1 s", 3: "3 s", 10: "10 s", 30: "30 s",
    60: "1 min", 180: "3 min", 600: "10 min", 1800: "30 min", 3600: "1 h", 10800: "3 h", 43200: "12 h", 86400: "1 d",
    259200: "3 d", 864000: "10 d",
}  # fmt: skip
_TICKS_MOST = 9
_DAY_MS = 86_400_000
_DECADE = 10.0
_COMPLETE = {True: "complete", False: "INCOMPLETE", None: "completeness not known"}


def axes(ax: Axes | None, *, height: float) -> Axes:
    """Take the axes that were given, or make new ones with room for their labels."""
    if ax is not None:
        return ax
    _, new = plt.subplots(figsize=(WIDTH, height), layout="constrained")
    return new


def rows_height(count: int) -> float:
    """Say how high a picture of so many rows should be, in inches."""
    return 1.5 + 0.26 * max(3, count)


def label_axes(
    ax: Axes, foot: str, *, title: str, x: str, y: str = "", grid: Literal["x", "y", "both"] | None = None
) -> None:
    """Put title, labels and foot on axes."""
    # The foot may be wider than the axes, so the layout does not count it; empty lines under the label keep its place.
    lines = textwrap.wrap(foot, FOOT)
    ax.set_title(title, loc="left", color=INK, pad=24 if ax.get_legend() else 6)
    ax.set_xlabel(x + "\n" * len(lines))
    ax.set_ylabel(y)
    ax.annotate(
        "\n".join(lines), (0, 0), (0, 0), xycoords=("axes fraction", ax.xaxis.label), textcoords="offset points",
        fontsize=7.5, color=FAINT, va="bottom", linespacing=1.3, annotation_clip=False,
    ).set_in_layout(False)  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)


def footer(calls: pd.DataFrame, *notes: str) -> str:
    """Say what a picture of calls rests on: how many, of how many functions, from when to when, complete or not."""
    complete = _COMPLETE[is_complete(calls)]
    if calls.empty:
        return "; ".join(part for part in ("no calls", _window(calls), complete, *notes) if part)
    functions = calls["function"].nunique()
    start, end = calls["start_time"].min(), calls["start_time"].max()
    window = _window(calls) or f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    counted = f"{_count(len(calls), 'call')} of {_count(functions, 'function')}"
    return "; ".join([f"{counted}, {window}, {complete}", *notes])


def legend(ax: Axes, **options: Any) -> None:
    """Put the legend in a line between title and axes, where it hides nothing."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "borderaxespad": 0.2, "handlelength": 1.4}
    ax.legend(frameon=False, ncols=6, fontsize=8.5, columnspacing=1.2, **place, **options)


def annotate_empty(ax: Axes, words: str) -> None:
    """Say in empty axes why they are empty."""
    if ax.get_xscale() == "linear":
        ax.set_xticks([])
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color=FAINT)


def log_duration_axis(ax: Axes, which: str, low: float, high: float) -> None:
    """Make an axis of seconds logarithmic, with ticks where people count: seconds, minutes, hours."""
    axis: Axis = ax.xaxis if which == "x" else ax.yaxis
    if high < _DECADE * low:
        middle = (low * high) ** 0.5
        low, high = middle / _DECADE**0.5, middle * _DECADE**0.5
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    (ax.set_xlim if which == "x" else ax.set_ylim)(low, high)
    inside = [tick for tick in _TICKS_S if low <= tick <= high]
    step = max(1, -(-len(inside) // _TICKS_MOST))
    axis.set_major_locator(FixedLocator(inside[::step] or [1]))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels([_TICKS_S[tick] for tick in inside[::step]] or ["1 s"])


def time_axis(ax: Axes, tz: str) -> None:
    """Write times on the x axis shortly, in a time zone."""
    locator = dates.AutoDateLocator(tz=time_zone(tz), minticks=3, maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=time_zone(tz)))


def to_matplotlib_dates(times: pd.Series | pd.Index) -> np.ndarray:
    """Turn times into what matplotlib counts: days since 1970, in UTC."""
    naive = pd.Series(times).dt.tz_convert("UTC").dt.tz_localize(None)
    days = naive.to_numpy().astype("datetime64[ms]").astype("int64") / _DAY_MS
    return np.where(naive.isna(), np.nan, days)


def limits(ax: Axes, times: pd.Series | pd.Index) -> None:
    """Let the x axis reach from the first to the last of some times, a minute at least."""
    days = to_matplotlib_dates(times)
    low, high = np.nanmin(days), np.nanmax(days)
    ax.set_xlim(low, max(high, low + 1 / 1440))


def truncate(name: object) -> str:
    """Shorten a label in the middle, to one line."""
    words = plain(str(name))
    return words if len(words) <= LABEL else f"{words[: LABEL // 2 - 1]}…{words[-LABEL // 2 :]}"


def plain(words: str) -> str:
    """Take control characters out of text, and keep matplotlib from reading mathematics into it."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in words).replace("$", r"\$")


def width_words(width: pd.Timedelta) -> str:
    """Write the width of a bin."""
    minutes = round(width / pd.Timedelta(minutes=1))
    return f"{minutes} min" if minutes % 60 else f"{minutes // 60} h" if minutes % 1440 else f"{minutes // 1440} d"


def row_labels(ax: Axes, names: Sequence[object]) -> None:
    """Name the rows of a picture, the first at the bottom."""
    ax.set_yticks(range(len(names)), [truncate(name) for name in names])
    ax.set_ylim(-0.7, max(len(names), 1) - 0.3)


def basis(table: pd.DataFrame) -> str:
    """Say which window a table of measures rests on, and whether that was read completely."""
    return "; ".join(part for part in (_window(table), _COMPLETE[is_complete(table)]) if part)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _window(calls: pd.DataFrame) -> str:
    known = Coverage.of(calls)
    if known is None or known.window is None:
        return ""
    return f"{known.window.start:%Y-%m-%d %H:%M} to {known.window.end:%Y-%m-%d %H:%M} UTC"
