"""Findings, incidents, changes and contrasts: what stands out, with its interval."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Patch

from callframe.analysis.changes import changes as find_changes
from callframe.analysis.contrast import contrast as find_contrast
from callframe.analysis.findings import findings as find_findings
from callframe.analysis.incidents import incidents as find_incidents
from callframe.plot import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MAX_ROWS = 20
_SENTENCE_WIDTH = 105
_MEASURES = {"duration": "duration", "schedule_delay": "delay", "failure_rate": "failures"}
_LEAST = 0.05


def incidents(
    calls: pd.DataFrame,
    *,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw the incidents of `callframe.incidents`, the largest at the top: a bar from the first to the last failure.

    Parameters
    ----------
    calls
        Call frame.
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
        The axes: time, and one row per incident, at most 20; an arrow has not recovered.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `tz` is not a time zone.
    """
    table = find_incidents(calls)
    shown = table.sort_values("failures", kind="stable").tail(_MAX_ROWS)
    ax = style.axes(ax, height=style.rows_height(2 * len(shown)))
    rows = np.arange(len(shown))
    start, end = (style.to_matplotlib_dates(shown[name]) for name in ("start_time", "end_time"))
    if len(shown):
        style.limit_times(ax, calls["start_time"])
        style.time_axis(ax, tz)
    else:
        ax.set_xticks([])
    low, high = ax.get_xlim()
    options: dict[str, Any] = {"color": style.COLOURS["Failed"], "height": 0.3} | kwargs
    ax.barh(rows, np.maximum(end - start, (high - low) / 300), left=start, **options)
    open_rows = rows[~shown["recovered"].to_numpy(dtype=bool)]
    ax.scatter(end[open_rows], open_rows, marker=">", s=36, color=style.COLOURS["Failed"], clip_on=False)
    for row, incident in enumerate(shown.to_dict("records")):
        names = incident["functions"].split(", ")
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        text = f"{style.truncate(names[0])}{more}: {incident['failures']:,} of {incident['finished']:,} calls lost"
        is_right = start[row] > (low + high) / 2
        place, side = (end[row], "right") if is_right else (start[row], "left")
        ax.annotate(
            f"{text} ({incident['share']:.0%})",
            (place, row + 0.2),
            fontsize=8.5,
            color=style.TEXT,
            ha=side,
            va="bottom",
        )
    ax.set_yticks([])
    ax.set_ylim(-0.5, max(len(shown), 1) - 0.2)
    if table.empty:
        style.annotate_empty(ax, "no incidents")
    more = f"incidents: {len(table):,}" + (f", the {len(shown)} largest shown" if len(table) > len(shown) else "")
    description = style.describe_calls(calls, more, "arrow: not recovered") if footer else None
    style.label_axes(ax, description, title=title or "Incidents", x=f"start time [{tz}]", grid="x")
    return ax


def changes(
    calls: pd.DataFrame,
    *,
    tz: str = "UTC",
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw the changes of `callframe.changes`: when, as a dot in its 95 % interval, and how large.

    Parameters
    ----------
    calls
        Call frame.
    tz
        Time zone of the axis.
    title
        Title in place of the default one.
    footer
        Whether to state below the axes what the plot covers.
    ax
        Axes to draw into; by default of a new figure.
    **kwargs
        Passed to `Axes.hlines`.

    Returns
    -------
    ax
        The axes: time, and one row per change, at most 20, the strongest evidence at the top. Worse is red, better
        blue; a triangle is a deploy; a drift has no dot.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `tz` is not a time zone.
    """
    table = find_changes(calls)
    shown = table.head(_MAX_ROWS).iloc[::-1]
    ax = style.axes(ax, height=style.rows_height(2 * len(shown)))
    rows = np.arange(len(shown))
    worse = (shown["change"] > np.where(shown["measure"] == "failure_rate", 0, 1)).to_numpy()
    colours = np.where(worse, style.COLOURS["Failed"], style.SERIES[0])
    time, low, high = (style.to_matplotlib_dates(shown[name]) for name in ("time", "time_low", "time_high"))
    options: dict[str, Any] = {"colors": colours, "linewidth": 4} | kwargs
    ax.hlines(rows, low, high, **options)
    jumps = (shown["kind"] == "jump").to_numpy()
    ax.scatter(time[jumps], rows[jumps], s=48, color=colours[jumps], zorder=3)
    deploys = style.to_matplotlib_dates(shown["deploy_time"])
    ax.scatter(deploys, rows - 0.22, marker="^", s=30, color=style.TEXT, zorder=3)
    if len(shown):
        style.limit_times(ax, calls["start_time"])
        style.time_axis(ax, tz)
    else:
        ax.set_xticks([])
    left, right = ax.get_xlim()
    for row, change in enumerate(shown.to_dict("records")):
        place, side = (high[row], "right") if time[row] > (left + right) / 2 else (low[row], "left")
        text = f"{style.truncate(change['function'])}, {_MEASURES[change['measure']]} {_size(change)}"
        ax.annotate(text, (place, row + 0.17), fontsize=8.5, color=style.TEXT, ha=side, va="bottom")
    ax.set_yticks([])
    ax.set_ylim(-0.6, max(len(shown), 1) - 0.2)
    if table.empty:
        style.annotate_empty(ax, "no changes")
    notes = [f"changes: {len(table):,}; red: worse; bar: 95 % interval, or the time of a drift; triangle: deploy"]
    description = style.describe_calls(calls, *notes) if footer else None
    style.label_axes(ax, description, title=title or "Changes", x=f"start time [{tz}]", grid="x")
    return ax


def contrast(
    calls: pd.DataFrame,
    selected: pd.Series | np.ndarray | pd.DataFrame,
    *,
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw what is different about selected calls: of every attribute the share among them, and among the rest.

    Parameters
    ----------
    calls
        Call frame.
    selected
        One bool per call of `calls`, or some rows of it.
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
        The axes: shares, and two bars per attribute, the largest difference at the top; paler where it may be chance.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `selected` does not fit `calls`, or selects none or all of it.
    """
    table = find_contrast(calls, selected).iloc[::-1]
    ax = style.axes(ax, height=1.6 + 0.5 * max(3, len(table)))
    rows = np.arange(len(table))
    alphas = np.where(table["p_value_corrected"] <= _LEAST, 1.0, 0.35)
    handles = list[Patch]()
    for column, offset, colour, label in (
        ("selected_share", 0.04, style.COLOURS["Failed"], "selected"),
        ("rest_share", -0.16, "#9a9a9a", "the rest"),
    ):
        options: dict[str, Any] = {"height": 0.19, "color": colour} | kwargs
        bars = ax.barh(rows + offset, table[column], **options)
        handles.append(Patch(color=options["color"], label=label))
        for bar, alpha in zip(bars, alphas.tolist(), strict=True):
            bar.set_alpha(alpha)
    middle, low, high = (table["rest_share"] + table[f"difference{end}"] for end in ("", "_low", "_high"))
    errors = np.abs(np.array([middle - low, high - middle]))
    ax.errorbar(middle, rows + 0.04, xerr=errors, fmt="none", ecolor=style.TEXT, elinewidth=1, capsize=2)
    for row, (name, value) in enumerate(zip(table["attribute"], table["value"], strict=True)):
        text = f"{name}: {style.escape(str(value))[:80]}"
        ax.annotate(text, (0, row + 0.16), (3, 0), textcoords="offset points", fontsize=8.5, va="bottom")
    ax.set_yticks([])
    ax.set_ylim(-0.5, max(len(table), 1) - 0.2)
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter("{x:.0%}")
    if len(table):
        style.legend(ax, handles=handles)
    else:
        style.annotate_empty(ax, "nothing differs")
    notes = "line: 95 % interval of the difference; pale: may be chance"
    description = style.describe_calls(calls, notes) if footer else None
    style.label_axes(ax, description, title=title or "What is different", x="share of calls", grid="x")
    return ax


def findings(
    calls: pd.DataFrame,
    schedules: pd.DataFrame | None = None,
    *,
    title: str | None = None,
    footer: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """
    Draw the sentences of `callframe.findings`, each with a bar of the calls that it cost.

    Parameters
    ----------
    calls
        Call frame.
    schedules
        Table that `Project.schedules` returned, to count missed runs.
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
        The axes: about how many calls were lost or slowed down, the most harmful finding at the top.

    Raises
    ------
    FrameError
        `calls` is not a call frame, or `schedules` misses a column.
    """
    table = find_findings(calls, schedules).iloc[::-1]
    ax = style.axes(ax, height=1.4 + 0.62 * max(2, len(table)))
    rows, harm = np.arange(len(table)), table["harm"].fillna(0)
    options: dict[str, Any] = {"height": 0.18, "color": style.COLOURS["Failed"]} | kwargs
    ax.barh(rows - 0.2, harm, **options)
    for row, sentence in enumerate(table["sentence"]):
        lines = textwrap.fill(style.escape(sentence), _SENTENCE_WIDTH)
        ax.annotate(lines, (0, row - 0.08), (3, 0), textcoords="offset points", fontsize=8.5, va="bottom")
    ax.set_yticks([])
    ax.set_ylim(-0.4, len(table) - 0.2)
    ax.set_xlim(0, max(1, harm.max()) * 1.05)
    description = style.describe_calls(calls) if footer else None
    style.label_axes(ax, description, title=title or "What is wrong", x="calls lost or slowed down", grid="x")
    return ax


def _size(change: dict[Any, Any]) -> str:
    if change["measure"] == "failure_rate":
        return f"{change['change']:+.1%} ({change['change_low']:+.1%} to {change['change_high']:+.1%})"
    return f"x {change['change']:.2f} ({change['change_low']:.2f} to {change['change_high']:.2f})"
