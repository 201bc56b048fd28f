"""The page of a report: what is computed and drawn for it."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from callframe import plot, reporting
from callframe.analysis.findings import findings
from callframe.analysis.quality import quality
from callframe.analysis.rollup import summarize_rollup
from callframe.analysis.schedules import missed_runs, schedule_report
from callframe.analysis.summary import summarize
from callframe.completeness import Coverage, completeness_text, is_complete
from callframe.formatting import PAGE_COLUMNS, display_table
from callframe.reporting import tables
from callframe.reporting.failure_groups import failure_groups
from callframe.reporting.key_figures import count_calls, key_figures, rollup_key_figures, source
from callframe.reporting.rendering import Renderer, environment, read_text
from callframe.timespan import time_zone

if TYPE_CHECKING:
    import pandas as pd

    from callframe.reporting.rendering import PlotImage

MAX_ROWS = 40
"""Functions in a plot with a row per function; the table has all of them."""

_HISTORY_CAPTIONS = {
    "calls": "How many calls started, and how many of them failed.",
    "failures": "A high point is a bad day or week; the band shows how much chance alone may explain.",
    "durations": "A rising line is work that takes longer; a wide band is work that varies.",
    "delays": "A rising line is work that starts later after its scheduled time.",
}


def render(calls: pd.DataFrame, *, schedules: pd.DataFrame | None, title: str | None, tz: str, traces: bool) -> bytes:
    """Render the page about a call frame."""
    time_zone(tz)
    report = None if schedules is None else schedule_report(calls, schedules)
    missed = None if schedules is None else missed_runs(calls, schedules)
    summary = summarize(calls)
    content = {
        "figures": key_figures(calls, report, tz),
        "findings": findings(calls, schedules).to_dict("records"),
        "functions": display_table(summary, tz=tz, columns=PAGE_COLUMNS),
        "episodes": tables.episodes_table(calls, tz),
        "schedules": None if report is None else tables.schedules_table(report),
        "missed": None if missed is None else tables.missed_table(missed, tz),
        "quality": tables.quality_table(quality(calls)),
        "coverage": tables.coverage_table(calls),
        "groups": failure_groups(calls, tz=tz, traces=traces),
        "plots": _draw_plots(calls, missed, list(summary.index[:MAX_ROWS]), tz) if len(calls) else {},
    }
    return _render("page.html", calls, content, title, tz)


def render_history(rollup: pd.DataFrame, coverage: pd.DataFrame, *, title: str | None, tz: str) -> bytes:
    """Render the page about a rollup of too many calls to read; `coverage` is that of the archive."""
    time_zone(tz)
    renderer = Renderer()
    content = {
        "figures": rollup_key_figures(rollup, tz),
        "functions": display_table(summarize_rollup(rollup), tz=tz),
        "plots": [
            renderer.draw(plot.history, rollup, of=quantity, tz=tz, caption=caption, height=3.6)
            for quantity, caption in _HISTORY_CAPTIONS.items()
        ],
        "coverage": tables.archive_coverage_table(coverage, tz),
        "reason": (
            f"{count_calls(rollup):,} calls are too many to read one by one (at most {reporting.MAX_CALLS:,}): this"
            " page describes their rollup, with quantiles within 1 %. For failures, missed runs and concurrency choose"
            " a shorter range with start= and end=."
        ),
    }
    return _render("history.html", rollup, content, title, tz)


def _render(template: str, table: pd.DataFrame, content: dict[str, Any], title: str | None, tz: str) -> bytes:
    known = Coverage.of(table)
    stylesheet = read_text("page.css")
    page = (
        environment()
        .get_template(template)
        .render(
            title=title or (f"Function calls of {known.project}" if known and known.project else "Function calls"),
            source=source(table, tz),
            style=stylesheet,
            style_hash=base64.b64encode(hashlib.sha256(stylesheet.encode()).digest()).decode(),
            complete=is_complete(table),
            completeness=completeness_text(table),
            tz=tz,
            version=importlib.metadata.version("callframe"),
            **content,
        )
    )
    return page.encode("utf-8", errors="replace")


def _draw_plots(calls: pd.DataFrame, missed: pd.DataFrame | None, worst: list[str], tz: str) -> dict[str, PlotImage]:
    """Draw the plots; those with a row per function show the functions with the most failures."""
    renderer = Renderer()
    few, which, functions = calls, "each function", calls["function"].nunique()
    if functions > len(worst):
        few = calls[calls["function"].isin(worst)]
        which = f"the {len(worst)} functions with the most failures, of {functions:,},"
    plots = {
        "timeline": renderer.draw(plot.timeline, few, tz=tz, caption=f"When {which} ran on the last day."),
        "durations": renderer.draw(
            plot.durations, few,
            caption=f"How long {which} took to complete. An arrow means: longer than every call that has ended.",
        ),
        "concurrency": renderer.draw(
            plot.concurrency, calls, tz=tz, height=3.6,
            caption="How many calls ran at the same time; the service starts no more than its quota.",
        ),
        "heatmap": renderer.draw(
            plot.heatmap, calls, tz=tz, height=3.4,
            caption="At which hours of the week calls failed; a cross is an hour without a call.",
        ),
        "durations_over_time": renderer.draw(
            plot.durations, calls, over="time", tz=tz, height=4.2,
            caption="A step at a dashed line came with a deployment.",
        ),
        "failures": renderer.draw(
            plot.failures, calls, over="time", tz=tz, height=3.4,
            caption="Calls that failed by start time; a single high bar is an outage.",
        ),
    }  # fmt: skip
    if calls["schedule_delay"].notna().any():
        caption = "The steeper and the further left, the more punctual."
        plots["delays"] = renderer.draw(plot.schedule_delays, calls, height=4.2, caption=caption)
    if missed is not None and len(missed):
        caption = "Missed: no call appeared. Unconfirmed: too recent to tell. Unknown: calls of that time are missing."
        plots["missed"] = renderer.draw(plot.missed_runs, missed, tz=tz, caption=caption)
    return plots
