"""The page: what is measured and drawn for it, and how that becomes HTML."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from callframe import plot
from callframe.analysis.rollup import summarize_rollup
from callframe.analysis.schedules import missed_runs, schedule_report
from callframe.analysis.summary import summarize
from callframe.completeness import Coverage, is_complete
from callframe.reporting import html, rollup_page, tables
from callframe.reporting.failure_groups import groups
from callframe.reporting.images import render_plot
from callframe.reporting.key_figures import key_figures, source
from callframe.timespan import time_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from matplotlib.axes import Axes

    from callframe.reporting.images import PlotImage

    Draw = Callable[[Axes], Axes]


_HISTORY: dict[Any, str] = {
    "calls": "How many calls started, and how many of them failed.",
    "failures": "A high point is a bad day or week; the band is how far chance alone may reach.",
    "durations": "A line that rises is work that takes longer; a wide band is work that varies.",
    "delays": "A line that rises is work that starts later after its scheduled time.",
}

ROWS_MOST = 40
"""Functions that a picture of rows has; the table has them all."""


def render(calls: pd.DataFrame, *, schedules: pd.DataFrame | None, title: str | None, tz: str, traces: bool) -> bytes:
    """
    Make the page.

    Parameters
    ----------
    calls
        Call frame.
    schedules
        What `Project.schedules` gave, or None.
    title
        Heading, or None for one that names the project.
    tz
        Time zone of the times.
    traces
        Whether to show what failures said.

    Returns
    -------
    page
        HTML, UTF-8.
    """
    time_zone(tz)
    told = _measured(calls, schedules, tz) | {"groups": groups(calls, tz=tz, traces=traces)}
    return _rendered("page.html", calls, told, title, tz)


def render_history(rollup: pd.DataFrame, stretches: pd.DataFrame, *, title: str | None, tz: str) -> bytes:
    """
    Make the page of a history too long to look at call by call.

    Parameters
    ----------
    rollup
        What `Archive.rollup` gave.
    stretches
        What `Archive.coverage` gave of the same range.
    title
        Heading, or None for one that names the project.
    tz
        Time zone of the times.

    Returns
    -------
    page
        HTML, UTF-8.
    """
    time_zone(tz)
    told = {
        "figures": rollup_page.key_figures(rollup, tz),
        "functions": rollup_page.table(summarize_rollup(rollup), tz),
        "pictures": [_history(rollup, of, caption, tz) for of, caption in _HISTORY.items()],
        "stretches": rollup_page.stretches(stretches, tz),
        "why": (
            f"{rollup_page.count(rollup):,} calls are more than are looked at one by one ({rollup_page.CALLS_MOST:,}):"
            " this page is made of their rollup. Give a start and an end for failures, missed runs and concurrency."
        ),
    }
    return _rendered("history.html", rollup, told, title, tz)


def _history(rollup: pd.DataFrame, of: Any, caption: str, tz: str) -> PlotImage:
    return render_plot(lambda ax: plot.history(rollup, of, tz=tz, ax=ax), caption, height=3.6)


def _rendered(template: str, table: pd.DataFrame, told: dict[str, Any], title: str | None, tz: str) -> bytes:
    style = html.file("page.css")
    told = {
        "title": title or _title(table),
        "source": source(table, tz),
        "style": style,
        "style_hash": base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        "complete": is_complete(table),
        "tz": tz,
        "version": importlib.metadata.version("callframe"),
        **told,
    }
    return html.environment().get_template(template).render(told).encode("utf-8", errors="replace")


def _measured(calls: pd.DataFrame, schedules: pd.DataFrame | None, tz: str) -> dict[str, Any]:
    """Measure and draw everything but the kinds of failures."""
    report = None if schedules is None else schedule_report(calls, schedules)
    missed = None if schedules is None else missed_runs(calls, schedules)
    summary = summarize(calls)
    return {
        "figures": key_figures(calls, report, tz),
        "functions": tables.functions(summary, tz),
        "episodes": tables.episodes(calls, tz),
        "schedules": None if report is None else tables.schedules(report),
        "missed": None if missed is None else tables.missed(missed, tz),
        "oddities": tables.quality_checks(calls),
        "basis": tables.coverage_table(calls),
        "pictures": _pictures(calls, missed, list(summary.index[:ROWS_MOST]), tz) if len(calls) else {},
    }


def _pictures(calls: pd.DataFrame, missed: pd.DataFrame | None, worst: list[str], tz: str) -> dict[str, PlotImage]:
    """Draw what there is to see."""
    drawn = {name: render_plot(draw, caption) for name, draw, caption in _rows(calls, worst, tz)}
    drawn |= {name: render_plot(draw, caption, height=height) for name, draw, caption, height in _curves(calls, tz)}
    if missed is not None and len(missed):
        caption = "Missed: no call came. Unconfirmed: too new to say. Unknown: not all calls of that stretch are known."
        drawn["missed"] = render_plot(lambda ax: plot.missed_runs(missed, tz=tz, ax=ax), caption)
    return drawn


def _rows(calls: pd.DataFrame, worst: list[str], tz: str) -> Iterator[tuple[str, Draw, str]]:
    """List the pictures with a row a function, of which too many could not be read."""
    few, of, functions = calls, "each function", calls["function"].nunique()
    if functions > len(worst):
        few = calls[calls["function"].isin(worst)]
        of = f"the {len(worst)} functions with the most failures, of {functions:,},"
    yield "timeline", lambda ax: plot.timeline(few, tz=tz, ax=ax), f"When {of} ran on the last day."
    longer = "An arrow means: longer than anything that was seen to end."
    yield "durations", lambda ax: plot.durations(few, ax=ax), f"How long {of} took to complete. {longer}"


def _curves(calls: pd.DataFrame, tz: str) -> Iterator[tuple[str, Draw, str, float]]:
    """List the other pictures, with their heights in inches."""
    at_once = "How many calls ran at the same moment; the service starts no more than its quota."
    yield "concurrency", lambda ax: plot.concurrency(calls, tz=tz, ax=ax), at_once, 3.6
    week = "At which hours of the week calls failed; a cross is an hour without a call."
    yield "heatmap", lambda ax: plot.heatmap(calls, tz=tz, ax=ax), week, 3.4
    step = "A step at a dashed line came with a deploy."
    yield "durations_over_time", lambda ax: plot.durations(calls, over="time", tz=tz, ax=ax), step, 4.2
    outage = "Failed and Timeout by start time; a lone high bar is an outage."
    yield "failures", lambda ax: plot.failures(calls, over="time", tz=tz, ax=ax), outage, 3.4
    if calls["schedule_delay"].notna().any():
        punctual = "The steeper and the further left, the more punctual."
        yield "delays", lambda ax: plot.schedule_delays(calls, ax=ax), punctual, 4.2


def _title(calls: pd.DataFrame) -> str:
    known = Coverage.of(calls)
    project = known.project if known else None
    return f"Function calls of {project}" if project else "Function calls"
