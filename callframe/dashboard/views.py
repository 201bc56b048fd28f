"""The views of a dashboard: a plot of each, what is below it, and a drawer with a single call."""

from __future__ import annotations

import html
import threading
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.quality import quality
from callframe.dashboard.call_table import CallTable
from callframe.dashboard.plots import plot_names, plot_spec
from callframe.dashboard.selection_analysis import RollupAnalysis
from callframe.dashboard.toolbar import Clickable
from callframe.errors import ArgumentError, CallframeError, printable
from callframe.formatting import (
    MISSING,
    PAGE_COLUMNS,
    display_table,
    format_duration,
    format_percent,
    format_time,
    table_html,
    truncate,
)
from callframe.limits import PROJECT_QUOTA
from callframe.reporting import tables
from callframe.reporting.rendering import render_part
from callframe.timespan import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from callframe.dashboard.picture import Picture
    from callframe.dashboard.selection_analysis import CallAnalysis
    from callframe.dashboard.toolbar import Act
    from callframe.formatting import Table
    from callframe.project import Project
    from callframe.reporting.rendering import PlotImage, Renderer

MAX_SUMMARY_ROWS, MAX_MISSED = 500, 2_000
MAX_CARDS, SPARK_BINS = 30, 48
MAX_TEXT = 100_000
"""Characters of a trace or a log that are shown; a much larger page is slow."""

_NOT_KNOWN = (
    "The schedules are not known, and so missed runs are not: use cf.explore(project), or"
    " cf.explore(calls, schedules=project.schedules())."
)
_NO_SCHEDULES = "There are no schedules."
_ALL_RAN = "Every schedule ran at every scheduled time, on time and without overlaps."
_NO_CHANGES = "No function was deployed within the range, and nothing changed beyond chance."
_NO_CONTRAST = (
    "Choose some calls first, such as a status, a range or a failure group: here is how they differ from the rest."
)


class View:
    """The open view: a choice of plots, the plot, and the details below it; `act` gets what is pressed."""

    def __init__(self, renderer: Renderer, act: Act, picture: Picture) -> None:
        self._renderer = renderer
        self._picture = picture
        self.choice = Clickable("choice", act)
        self._details = Clickable("details", act)
        self.image: PlotImage | None = None
        self._table = CallTable(act)
        self.widget = widgets.VBox([self._picture, self._details])
        self.widget.add_class("callframe-panel")

    def draw(self, analysis: CallAnalysis | RollupAnalysis) -> None:
        """Draw the plot; the details below it follow."""
        spec = plot_spec(analysis)
        names = plot_names(analysis)
        self.choice.html = render_part("plot_choice", names, analysis.selection.plot or next(iter(names), ""))
        if spec:
            self.image = spec.render(self._renderer, analysis, self._picture)
            self._picture.show(self.image)
        is_table = analysis.selection.tab == "Calls" and not isinstance(analysis, RollupAnalysis)
        shown = [*([self._picture] if spec else []), *([self._table] if is_table else [self._details])]
        if list(self.widget.children) != shown:
            self.widget.children = shown

    def show_details(self, analysis: CallAnalysis | RollupAnalysis) -> None:
        """Show what is below the plot."""
        if isinstance(analysis, RollupAnalysis):
            table = display_table(analysis.summary, tz=analysis.selection.tz, max_rows=MAX_SUMMARY_ROWS)
            overview = _tables(table) if analysis.selection.tab == "Overview" else ""
            self._details.html = paragraph(analysis.explanation) + overview
        elif analysis.selection.tab == "Calls":
            self._table.show(analysis.calls, analysis.selection.tz)
        else:
            self._details.html = _DETAILS[analysis.selection.tab](analysis)


class Drawer:
    """A single call; its log and its response are read from the project, if there is one, while the rest is shown."""

    def __init__(self, act: Act, project: Project | None) -> None:
        self._project = project
        self._open: tuple[int, int] | None = None
        self.widget = Clickable("drawer-place", act)
        self.reading: threading.Thread | None = None

    def show(self, analysis: CallAnalysis | RollupAnalysis) -> None:
        """Show the call that the selection opens; none closes the drawer."""
        opened = analysis.selection.call
        if opened is None or isinstance(analysis, RollupAnalysis):
            self._open, self.widget.html = None, ""
            return
        row = find_call(analysis.all_calls, *opened)
        if row is None:
            self._open, self.widget.html = None, paragraph(f"Call {opened[1]} is not among the calls.", role="alert")
            return
        content = _describe_call(row, analysis)
        texts = content["texts"]
        if self._open != opened and self._project is not None:
            self._open = opened
            self.reading = threading.Thread(target=self._read, args=(row, content, analysis.selection.tz), daemon=True)
            content["texts"] = [*texts, ("Log", "", "Reading the log ...")]
            self.widget.html = render_part("call_drawer", content)
            content["texts"] = texts
            self.reading.start()
        elif self._open != opened:
            self._open = opened
            content["texts"] = [*texts, ("Log", "", "Logs and responses are read from a project: cf.explore(project).")]
            self.widget.html = render_part("call_drawer", content)

    def _read(self, row: dict[str, Any], content: dict[str, Any], tz: str) -> None:
        """Read the log and the response, and show them if the call is still open."""
        call = (int(row["function_id"]), int(row["call_id"]))
        readers: dict[str, Callable[[Project], str]] = {
            "Log": lambda project: _format_log(project.logs(*call), tz),
            "Response": lambda project: str(project.response(*call)),
        }
        texts = content["texts"]
        for title, read in readers.items():
            try:
                text = read(self._project) if self._project else ""
                texts.append((title, *(_cut(text) if text else ("", f"The {title.lower()} is empty."))))
            except CallframeError as error:
                texts.append((title, "", f"The {title.lower()} could not be read. {error}"))
        if self._open == call:
            self.widget.html = render_part("call_drawer", content)


def find_call(calls: pd.DataFrame, function_id: int, call_id: int) -> dict[Any, Any] | None:
    """Find a call by its id and that of its function."""
    found = calls["call_id"].to_numpy() == call_id
    places = np.flatnonzero(found & (calls["function_id"].to_numpy() == function_id))
    if not len(places):
        return None
    row: dict[Any, Any] = calls.iloc[places[:1]].assign(place=places[0]).to_dict("records")[0]
    return row


def _describe_call(row: dict[str, Any], analysis: CallAnalysis) -> dict[str, Any]:
    """Describe a call for the drawer."""
    tz = analysis.selection.tz
    times = {"Scheduled": row["scheduled_time"], "Started": row["start_time"], "Ended": row["end_time"]}
    facts = [(name, f"{format_time(time, tz)} {tz}") for name, time in times.items() if not pd.isna(time)]
    facts += [
        (name, format_duration(row[key]))
        for name, key in (("Delay", "schedule_delay"), ("Duration", "duration"))
        if not pd.isna(row[key])
    ]
    if not pd.isna(row["schedule_id"]):
        facts.append(("Schedule", analysis.schedule_name(row["schedule_id"])))
    message, trace = ("" if pd.isna(row[name]) else row[name] for name in ("error_message", "error_trace"))
    texts = [("Message", *_cut(message))] if message and message.strip() not in trace else []
    texts += [("Trace", *_cut(trace))] if trace else []
    arguments = f"{row['function']!r}, {row['call_id']}"
    return {
        "call_id": str(row["call_id"]),
        "function": row["function"],
        "status": row["status"],
        "failed": row["status"] in frame.FAILURES,
        "bars": _timing(row),
        "facts": facts,
        "neighbours": _neighbours(row, analysis),
        "texts": texts,
        "code": f"project.call({arguments})\nproject.logs({arguments})\nproject.response({arguments})",
    }


def _timing(row: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Place the delay and the duration on a line, in percent of their sum."""
    spans = [("delay", row["schedule_delay"]), ("run", row["duration"])]
    seconds = [(name, max(0.0, span.total_seconds())) for name, span in spans if not pd.isna(span)]
    total = sum(length for _, length in seconds) or 1.0
    bars, start = [], 0.0
    for name, length in seconds:
        bars.append((name, round(100 * start / total, 2), max(0.5, round(100 * length / total, 2))))
        start += length
    return bars


def _neighbours(row: dict[str, Any], analysis: CallAnalysis) -> list[tuple[str, tuple[str, str], str]]:
    """Find the calls of the same function before and after a call."""
    calls, place = analysis.all_calls, row["place"]
    same = np.flatnonzero((calls["function"] == row["function"]).to_numpy())
    at = int(np.searchsorted(same, place))
    near = {"Before": at - 1, "After": at + 1}
    rows = {name: calls.iloc[same[position]] for name, position in near.items() if 0 <= position < len(same)}
    return [
        (f"{name}, {format_time(call['start_time'], analysis.selection.tz)}", _id_of(call), str(call["status"]))
        for name, call in rows.items()
    ]


def _id_of(call: pd.Series | dict[str, Any]) -> tuple[str, str]:
    """Identify a call for the browser, which rounds long numbers."""
    return str(call["function_id"]), str(call["call_id"])


def paragraph(text: str, **attributes: str) -> str:
    """Render a paragraph, escaped."""
    extra = "".join(f' {name.rstrip("_")}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<p{extra}>{html.escape(printable(text))}</p>"


def _tables(*shown: Table | None, classes: str = "wide") -> str:
    return "".join(table_html(table, classes) for table in shown if table is not None and table.rows)


def _overview(analysis: CallAnalysis) -> str:
    table = display_table(analysis.summary, tz=analysis.selection.tz, columns=PAGE_COLUMNS, max_rows=MAX_SUMMARY_ROWS)
    picks = {"function": "pick-functions", "status": "pick-statuses"}.get(analysis.selection.by, "")
    return _tables(table, classes=f"wide {picks}")


def _durations(analysis: CallAnalysis) -> str:
    return _tables(tables.extremes_table(analysis.calls, "duration", "The longest calls", analysis.selection.tz))


def _delays(analysis: CallAnalysis) -> str:
    return _tables(tables.extremes_table(analysis.calls, "schedule_delay", "The latest starts", analysis.selection.tz))


def _failures(analysis: CallAnalysis) -> str:
    groups = analysis.failures
    if groups.empty:
        return paragraph("No call failed.")
    shown = groups.head(MAX_CARDS).to_dict("records")
    more = f"{len(groups) - MAX_CARDS:,} more groups: cf.failures(calls)" if len(groups) > MAX_CARDS else ""
    return render_part("failure_cards", [_card(row, analysis) for row in shown], more) + _tables(
        tables.episodes_table(analysis.population, analysis.selection.tz)
    )


def _card(row: dict[Any, Any], analysis: CallAnalysis) -> dict[str, Any]:
    """Describe a failure group for its card."""
    tz = analysis.selection.tz
    calls = analysis.failed[analysis.failed["group"] == row["group"]]
    example = calls[calls["call_id"] == row["call_id"]].iloc[0]
    start = to_milliseconds(analysis.failed["start_time"])
    counts, _ = np.histogram(to_milliseconds(calls["start_time"]), SPARK_BINS, (start.min(), start.max() + 1))
    text = example["error_trace"] if not pd.isna(example["error_trace"]) else example["error_message"]
    last = "" if pd.isna(text) else "\n".join(text.strip().splitlines()[-3:])
    return {
        "group": row["group"],
        "count": f"{row['count']:,}",
        "share": format_percent(row["share"]),
        "label": truncate(row["label"], 160),
        "new": bool(row["new"]),
        "counts": counts.tolist(),
        "seen": f"First {format_time(row['first_seen'], tz)}, last {format_time(row['last_seen'], tz)} {tz}",
        "functions": truncate(row["functions"], 160),
        "frames": "" if pd.isna(row["frames"]) else truncate(row["frames"], 120).text,
        "call": _id_of(example),
        "excerpt": last[-600:],
    }


def _schedules(analysis: CallAnalysis) -> str:
    tz = analysis.selection.tz
    late = tables.late_table(analysis.late, analysis.schedule_name)
    overlaps = tables.overlaps_table(analysis.overlaps, analysis.schedule_name, tz)
    if analysis.schedules is None or analysis.schedule_report is None or analysis.missed is None:
        return paragraph(_NOT_KNOWN) + _tables(late, overlaps)
    if analysis.schedules.empty:
        return paragraph(_NO_SCHEDULES) + _tables(late, overlaps)
    certain = analysis.missed[analysis.missed["state"] == "missed"].iloc[::-1]
    caption = f"{len(certain):,} scheduled times without a call"
    missed = tables.lay_out(certain, tz=tz, caption=caption, max_rows=MAX_MISSED)
    button = render_part("missed_export") if len(certain) else ""
    rest = _tables(tables.schedules_table(analysis.schedule_report), late, overlaps)
    return _tables(missed, classes="wide sortable") + button + rest or paragraph(_ALL_RAN)


def _concurrency(analysis: CallAnalysis) -> str:
    hours = analysis.hourly_peaks
    top = max(1, hours["peak"].max())
    rows = [(f"{hour:02d}", row["peak"], 100 * row["peak"] / top, row["when"]) for hour, row in hours.iterrows()]
    by_hour = render_part("hours", rows, PROJECT_QUOTA, analysis.selection.tz) if rows else ""
    return by_hour + _tables(tables.peaks_table(analysis.peaks, analysis.selection.tz))


def _changes(analysis: CallAnalysis) -> str:
    tz, note = analysis.selection.tz, ""
    try:
        deploys = tables.lay_out(analysis.compared, tz=tz, caption="Before and after each function's last deploy")
    except ArgumentError as error:
        deploys, note = None, paragraph(str(error), class_="note")
    found = tables.lay_out(analysis.changes, tz=tz, caption="When something changed")
    incidents = tables.lay_out(analysis.incidents, tz=tz, caption="Incidents")
    return note + (_tables(deploys, found, incidents) or paragraph(_NO_CHANGES))


def _contrast(analysis: CallAnalysis) -> str:
    if analysis.contrast is None:
        return paragraph(_NO_CONTRAST)
    caption = f"What differs between the {len(analysis.calls):,} selected calls and the rest"
    table = tables.lay_out(analysis.contrast, tz=analysis.selection.tz, caption=caption)
    return _tables(table) or paragraph("They do not differ in anything beyond chance.")


def _quality(analysis: CallAnalysis) -> str:
    found = tables.quality_table(quality(analysis.calls))
    no_problems = "" if found.rows else paragraph(f"No problems were found: {found.note}")
    return no_problems + _tables(found, tables.coverage_table(analysis.calls), classes="text")


_DETAILS: dict[str, Callable[[CallAnalysis], str]] = {
    "Overview": _overview,
    "Durations": _durations,
    "Delays": _delays,
    "Failures": _failures,
    "Schedules": _schedules,
    "Concurrency": _concurrency,
    "Changes": _changes,
    "What differs": _contrast,
    "Data quality": _quality,
}


def _format_log(lines: pd.DataFrame, tz: str) -> str:
    times = lines["timestamp"].dt.tz_convert(tz).dt.strftime("%Y-%m-%d %H:%M:%S").fillna(MISSING)
    return "\n".join(f"{time}  {text}" for time, text in zip(times, lines["message"].fillna(""), strict=True))


def _cut(text: str) -> tuple[str, str]:
    """Cut a long text to its end, and say so."""
    omitted = len(text) - MAX_TEXT
    return text[-MAX_TEXT:], f"The first {omitted:,} characters are left out." if omitted > 0 else ""
