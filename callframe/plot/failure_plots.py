"""What failed, what was missed, and how much ran at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from callframe import frame
from callframe.analysis.concurrency import concurrency as curve_of
from callframe.analysis.failures import failures as groups_of
from callframe.analysis.summary import over_time
from callframe.errors import ArgumentError
from callframe.limits import FUNCTION_QUOTA, PROJECT_QUOTA
from callframe.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS_MOST = 15
STATES = {"missed": ("#D55E00", "X"), "unconfirmed": ("#E8B400", "^"), "unknown": ("#b0b0b0", "s")}

_SCHEDULES_MOST = 40
_TEXT = 98
_PIXELS = 1200


def failures(
    calls: pd.DataFrame, *, over: Literal["time"] | None = None, tz: str = "UTC", ax: Axes | None = None
) -> Axes:
    """
    Draw what failed: the groups of `callframe.failures`, the largest first, or counts over time by status.

    Parameters
    ----------
    calls
        Call frame.
    over
        `"time"`, or None for a bar a group, at most 15.
    tz
        Time zone of a time axis.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes.
    """
    frame.check(calls)
    if over == "time":
        return _failures_over_time(calls, tz, ax)
    if over is not None:
        raise ArgumentError(f"over={over!r}; expected 'time', or None.")
    groups = groups_of(calls)
    shown = groups.head(GROUPS_MOST).iloc[::-1]
    ax = style.axes(ax, height=1.5 + 0.44 * max(2, len(shown)))
    rows = np.arange(len(shown))
    is_timeout = (shown["exception"] == "Timeout").to_numpy()
    colours = np.where(is_timeout, style.COLOURS["Timeout"], style.COLOURS["Failed"])
    ax.barh(rows, shown["count"], 0.3, color=colours, align="center")
    for row, (_, group) in enumerate(shown.iterrows()):
        words = ": ".join(part for part in (group["exception"], group["template"]) if isinstance(part, str) and part)
        ax.annotate(
            _line(words),
            (0, row + 0.22),
            (3, 0),
            textcoords="offset points",
            fontsize=8.5,
            color=style.INK,
            va="bottom",
        )
        ax.text(group["count"], row, f" {group['count']:,}", fontsize=8.5, color=style.INK, va="center")
    ax.set_yticks([])
    ax.set_ylim(-0.4, max(len(shown), 1) - 0.2)
    ax.set_xlim(0, max(1, shown["count"].max() if len(shown) else 1) * 1.08)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if groups.empty:
        style.annotate_empty(ax, "no calls that failed")
    total = f"{groups['count'].sum():,} failures in {len(groups)} groups"
    more = f"the {len(shown)} largest shown" if len(groups) > len(shown) else ""
    style.label_axes(ax, style.footer(calls, total, *filter(None, [more])), title="What failed", x="calls", grid="x")
    return ax


def concurrency(
    calls: pd.DataFrame, *, by: Literal["function"] | None = None, tz: str = "UTC", ax: Axes | None = None
) -> Axes:
    """
    Draw how many calls ran at once, with the service's quota.

    Each pixel shows the most and the least within it, so no peak is lost.

    Parameters
    ----------
    calls
        Call frame.
    by
        `"function"` for a line a function, those with the highest peaks, at most six; None for all calls together.
    tz
        Time zone of the axis.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes: time, and calls running at once. The quota, and 80 % of it, are lines where they are near.
    """
    frame.check(calls)
    ax = style.axes(ax, height=3.8)
    curve = curve_of(calls, by=by)
    quota = PROJECT_QUOTA if by is None else FUNCTION_QUOTA
    peak = int(curve["running"].max()) if len(curve) else 0
    if by is None:
        parts = {"all calls": curve}
    else:
        peaks = curve.groupby("function", observed=True)["running"].max().sort_values(ascending=False, kind="stable")
        parts = {name: curve[curve["function"] == name] for name in peaks.index[:6]}
    for place, (name, part) in enumerate(parts.items()):
        x, low, high = _envelope(part)
        colour = style.SERIES[place]
        ax.fill_between(x, low, high, step="post", color=colour, alpha=0.35 if by is None else 0.25, linewidth=0)
        ax.step(x, high, where="post", color=colour, linewidth=1.0, label=style.truncate(name))
    if by is not None and len(curve):
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, borderaxespad=0.3)
    _quota(ax, quota, peak)
    if len(curve):
        style.limits(ax, curve["time"])
        style.time_axis(ax, tz)
    else:
        style.annotate_empty(ax, "no calls that ran")
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    whose = "a project" if by is None else "a function"
    notes = [f"peak {peak:,} of the {quota} that {whose} may run"]
    if any(len(part) > 2 * _PIXELS for part in parts.values()):
        notes.append("line: the most within a pixel, shade: from the least to it")
    style.label_axes(
        ax, style.footer(calls, *notes), title="Calls running at once", x=f"time [{tz}]", y="calls running", grid="y"
    )
    return ax


def missed_runs(missed: pd.DataFrame, *, tz: str = "UTC", ax: Axes | None = None) -> Axes:
    """
    Draw the runs that schedules missed, a row a schedule.

    Parameters
    ----------
    missed
        What `callframe.missed_runs` gave.
    tz
        Time zone of the axis.
    ax
        Where to draw; a new figure by default.

    Returns
    -------
    ax
        The axes: time, and one row a schedule, those with the most missed runs at the top, at most 40. Shape and colour
        tell missed, unconfirmed (too new to say) and unknown (that stretch was not read completely) apart.
    """
    for name in ("schedule_id", "function", "scheduled_time", "state"):
        if name not in missed.columns:
            raise ArgumentError(
                f"This is no frame of missed runs: it lacks {name}. Make one with callframe.missed_runs()."
            )
    names = missed["name"].astype("object").where(missed["name"].notna(), missed["function"].astype("object"))
    keys = missed["schedule_id"].astype("Int64")
    order = keys[missed["state"] == "missed"].value_counts()
    ids = sorted(keys.dropna().unique(), key=lambda one: (order.get(one, 0), -one))[-_SCHEDULES_MOST:]
    ax = style.axes(ax, height=style.rows_height(len(ids)))
    rows = {one: row for row, one in enumerate(ids)}
    inside = keys.isin(ids).to_numpy(dtype=bool)
    x, y = (
        style.to_matplotlib_dates(missed["scheduled_time"]),
        keys.map(rows).to_numpy(dtype="float64", na_value=np.nan),
    )
    for state, (colour, marker) in STATES.items():
        here = (missed["state"] == state).to_numpy() & inside
        if here.any():
            ax.scatter(
                x[here],
                y[here],
                marker=marker,
                s=26,
                color=colour,
                linewidth=0,
                label=f"{state} ({here.sum():,})",
                alpha=0.85,
            )
    if inside.any():
        style.legend(ax)
        style.time_axis(ax, tz)
    else:
        style.annotate_empty(ax, "no missed runs")
    first = (
        names.groupby(keys.to_numpy(dtype="float64", na_value=np.nan)).first()
        if len(names)
        else pd.Series(dtype="object")
    )
    style.row_labels(ax, [first.get(float(one), one) for one in ids])
    counted = f"{(missed['state'] == 'missed').sum():,} missed runs of {len(order[order > 0])} schedules"
    notes = [f"the {len(ids)} schedules with the most shown"] if keys.nunique() > len(ids) else []
    style.label_axes(
        ax,
        "; ".join([counted, *notes, style.basis(missed)]),
        title="Runs that schedules missed",
        x=f"scheduled time [{tz}]",
        grid="x",
    )
    return ax


def _failures_over_time(calls: pd.DataFrame, tz: str, ax: Axes | None) -> Axes:
    ax = style.axes(ax, height=3.6)
    counts = over_time(calls)
    bottom = np.zeros(len(counts))
    left = style.to_matplotlib_dates(counts.index)
    width = np.diff(left).min() if len(left) > 1 else 1 / 1440
    for status in frame.FAILURES:
        heights = counts[status].to_numpy()
        ax.bar(
            left, heights, width, bottom, align="edge", label=f"{status} ({heights.sum():,})",
            color=style.COLOURS[status], hatch=style.HATCHES.get(status), edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        bottom += heights
    if len(counts):
        ax.set_xlim(left[0], left[-1] + width)
        style.time_axis(ax, tz)
        style.legend(ax)
    else:
        style.annotate_empty(ax, "no calls")
    ax.set_ylim(0, max(1, bottom.max(initial=0) * 1.05))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    words = style.width_words(pd.Timedelta(days=width))
    style.label_axes(
        ax, style.footer(calls), title="Calls that failed", x=f"start time [{tz}]", y=f"calls in {words}", grid="y"
    )
    return ax


def _line(words: str) -> str:
    one = " ".join(words.split())
    return style.plain(one if len(one) <= _TEXT else f"{one[: _TEXT - 1]}…")


def _envelope(curve: pd.DataFrame, pixels: int = _PIXELS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the least and the most of a step curve within each pixel, the value it enters with among them."""
    x, y = style.to_matplotlib_dates(curve["time"]), curve["running"].to_numpy(dtype="float64")
    if len(x) <= 2 * pixels:
        return x, np.zeros(len(y)), y
    edges = np.linspace(x[0], x[-1], pixels + 1)
    first = np.searchsorted(x, edges[:-1], side="right") - 1
    most, least = np.maximum.reduceat(y, first), np.minimum.reduceat(y, first)
    return edges[:-1], least, most


def _quota(ax: Axes, quota: int, peak: int) -> None:
    """Draw the quota where the curve comes near; else leave room for the curve, and say how far it is."""
    near = peak > 0.4 * quota
    for share, line_style in ((0.8, ":"), (1.0, "-")):
        if near:
            ax.axhline(share * quota, color=style.FAINT, linestyle=line_style, linewidth=1)
            ax.text(
                1.0,
                share * quota,
                f" {share:.0%} of {quota}",
                transform=ax.get_yaxis_transform(),
                fontsize=8,
                color=style.FAINT,
                va="center",
            )
    ax.set_ylim(0, max(1.0, (1.08 * max(quota, peak)) if near else 1.15 * peak))
