"""The tabs: each has plots, and tables or texts below them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from callframe.analysis.quality import quality
from callframe.dashboard import call_table
from callframe.dashboard.controls import Muted, shorten
from callframe.dashboard.plots import PLOTS, plot_spec
from callframe.dashboard.selection_analysis import RollupAnalysis
from callframe.errors import CallframeError, printable
from callframe.formatting import PAGE_COLUMNS, display_table, format_time, table_html, truncate
from callframe.reporting import tables
from callframe.reporting.failure_groups import headline
from callframe.reporting.rendering import render_part

if TYPE_CHECKING:
    from collections.abc import Callable

    from callframe.dashboard.selection_analysis import CallAnalysis
    from callframe.formatting import Table
    from callframe.reporting.rendering import Renderer

    Attempt = Callable[[Callable[[], object]], object]
    """Runs a function and shows its error, if there is one."""

MAX_SUMMARY_ROWS = 500
MAX_GROUPS, MAX_EXAMPLES = 200, 50
MAX_TEXT = 100_000
"""Characters of a trace or a log that are shown; a much larger page is slow."""

_NO_SCHEDULES = (
    "The schedules are not known, and so missed runs are not: use cf.explore(project), or"
    " cf.explore(calls, schedules=project.schedules())."
)


class Tab:
    """A tab; `changed` is called when a person chooses another plot."""

    def __init__(self, name: str, renderer: Renderer, changed: Callable[[], None], attempt: Attempt) -> None:
        self.name = name
        self.plots = widgets.ToggleButtons(options=list(PLOTS[name]), description="Plot")
        self.plots.style.button_width = "auto"
        self.plots.style.description_width = "initial"
        self.plots.observe(self._on_plot, names="value")
        self._renderer = renderer
        self._changed = changed
        self._attempt = attempt
        self._muted = Muted()
        self._plot = widgets.HTML()
        self._plot.add_class("callframe-picture")
        self._details = widgets.HTML()
        self.widget = widgets.VBox(self._children())
        self.widget.add_class("callframe-panel")

    @property
    def plot(self) -> str:
        """The name of the plot that is shown; empty for the first one."""
        first = next(iter(self.plots.options), "")
        return "" if self.plots.value in (None, first) else str(self.plots.value)

    def choose(self, plot: str) -> None:
        """Set which plot is shown; the first one if there is none of that name."""
        with self._muted():
            options = self.plots.options
            self.plots.value = plot if plot in options else next(iter(options), None)

    def draw(self, analysis: CallAnalysis | RollupAnalysis) -> None:
        """Draw the plot; the details below it follow."""
        is_rollup = isinstance(analysis, RollupAnalysis)
        self.widget.children = [self._plot, self._details] if is_rollup else self._children()
        if not self._details.value:
            self._details.value = paragraph("Working ...", role="status")
        spec = plot_spec(analysis)
        self._plot.value = render_part("plot", spec.render(self._renderer, analysis)) if spec else ""

    def show_details(self, analysis: CallAnalysis) -> None:
        """Show what is below the plot."""
        self._details.value = _DETAILS[self.name](analysis)

    def show_rollup(self, analysis: RollupAnalysis) -> None:
        """Show what is below the plot of a rollup."""
        table = display_table(analysis.summary, tz=analysis.selection.tz, max_rows=MAX_SUMMARY_ROWS)
        overview = _tables(table) if self.name == "Overview" else ""
        self._details.value = paragraph(analysis.explanation) + overview

    def _on_plot(self, _: Any) -> None:
        if not self._muted.on:
            self._changed()

    def _children(self) -> list[widgets.Widget]:
        choice = [self.plots] if len(self.plots.options) > 1 else []
        return [*choice, self._plot, self._details]


class CallsTab(Tab):
    """Single calls: searched and ordered among all that are selected, then in the table among those it holds."""

    def __init__(self, *arguments: Any) -> None:
        self._analysis: CallAnalysis | None = None
        self.order = widgets.Dropdown(options=list(call_table.ORDERS), description="Show first")
        self.search = widgets.Text(
            description="Search all",
            placeholder="part of a function, status, error or id; then Enter",
            continuous_update=False,
            layout={"width": "420px"},
        )
        for control in (self.order, self.search):
            control.observe(lambda _: self._attempt(self._show), names="value")
        super().__init__(*arguments)

    def show_details(self, analysis: CallAnalysis) -> None:
        """Show the calls."""
        self._analysis = analysis
        self._show()

    def _children(self) -> list[widgets.Widget]:
        return [widgets.Box([self.order, self.search], layout={"flex_flow": "row wrap"}), self._details]

    def _show(self) -> None:
        if self._analysis is None:
            return
        calls = call_table.search(self._analysis.calls, self.search.value)
        if calls.empty:
            self._details.value = paragraph("No selected call matches." if self.search.value else "No calls.")
            return
        rows = call_table.table_rows(calls, self.order.value, self._analysis.selection.tz)
        count = f"{len(calls):,} call{'' if len(calls) == 1 else 's'}"
        note = f"{count}." if len(calls) == len(rows) else f"{len(rows):,} of {count}: the export has all of them."
        try:
            table = call_table.interactive_html(rows)
        except CallframeError as error:
            note, table = str(error), ""
        self._details.value = paragraph(note, class_="note") + table


class FailuresTab(Tab):
    """Failure groups, examples of each, and their texts; `read_log` needs a project."""

    def __init__(self, *arguments: Any, read_log: Callable[[int, int], pd.DataFrame] | None) -> None:
        self._read_log = read_log
        self._analysis: CallAnalysis | None = None
        self.groups = widgets.Select(description="Failure groups, the most frequent first", rows=8)
        self.examples = widgets.Dropdown(description="Example call, the latest first")
        self.log_button = widgets.Button(description="Read the log", icon="file-text-o")
        self.text = widgets.HTML()
        self.log = widgets.HTML()
        for control in (self.groups, self.examples):
            control.add_class("callframe-stacked")
            control.layout.width = "auto"
        for output in (self.text, self.log):
            output.add_class("callframe-said")
        self.groups.observe(lambda _: self._attempt(self._show_group), names="value")
        self.examples.observe(lambda _: self._attempt(self._show_example), names="value")
        self.log_button.on_click(lambda _: self._attempt(self._show_log))
        super().__init__(*arguments)

    def show_details(self, analysis: CallAnalysis) -> None:
        """List the failure groups; the chosen one stays chosen."""
        self._analysis = analysis
        chosen = self.groups.value
        with self._muted():
            options = [
                (_group_line(row), row["group"]) for row in analysis.failures.head(MAX_GROUPS).to_dict("records")
            ]
            self.groups.options = options
            groups = [group for _, group in options]
            self.groups.value = chosen if chosen in groups else next(iter(groups), None)
        self._details.value = _tables(tables.episodes_table(analysis.calls, analysis.selection.tz))
        self._show_group()

    def _children(self) -> list[widgets.Widget]:
        buttons = [self.log_button] if self._read_log else []
        return [*super()._children()[:-1], self.groups, self.examples, self.text, *buttons, self.log, self._details]

    def _show_group(self) -> None:
        """List examples of the chosen group."""
        analysis, group = self._analysis, self.groups.value
        if analysis is None or self._muted.on:
            return
        rows = analysis.failed[analysis.failed["group"] == group] if group else analysis.failed.head(0)
        tz = analysis.selection.tz
        with self._muted():
            self.examples.options = [
                (f"{format_time(row['start_time'], tz)} {tz} \N{MIDDLE DOT} {shorten(row['function'])}", place)
                for place, row in rows.head(MAX_EXAMPLES)[["start_time", "function"]].to_dict("index").items()
            ]
            self.examples.value = self.examples.options[0][1] if len(rows) else None
        self._show_example()

    def _show_example(self) -> None:
        """Show the message and the trace of the chosen call."""
        if self._muted.on:
            return
        self.log.value = ""
        call = self._example()
        self.log_button.disabled = call is None
        if call is None:
            self.text.value = paragraph("No call failed.")
            return
        head = f"Call {call['call_id']} of {truncate(call['function'], 80).text}: {call['status']}"
        message, trace = (None if pd.isna(call[name]) else call[name] for name in ("error_message", "error_trace"))
        texts = _text("Message", message) if message and message.strip() not in (trace or "") else ""
        texts += _text("Trace", trace) if trace else ""
        self.text.value = paragraph(head, class_="callframe-head") + (
            texts or paragraph("It left no message and no trace.")
        )

    def _show_log(self) -> None:
        """Fetch the log of the chosen call."""
        call = self._example()
        if call is None or self._read_log is None:
            return
        self.log_button.disabled = True
        try:
            lines = self._read_log(int(call["function_id"]), int(call["call_id"]))
        except CallframeError as error:
            self.log.value = paragraph(f"The log could not be read. {error}", role="alert")
        else:
            self.log.value = _text("Log", _format_log(lines)) if len(lines) else paragraph("The log is empty.")
        finally:
            self.log_button.disabled = False

    def _example(self) -> pd.Series | None:
        if self._analysis is None or self.examples.value is None:
            return None
        call: pd.Series = self._analysis.calls.loc[self.examples.value]
        return call


def paragraph(text: str, **attributes: str) -> str:
    """Render a paragraph, escaped."""
    extra = "".join(f' {name.rstrip("_")}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<p{extra}>{html.escape(printable(text))}</p>"


def _tables(*shown: Table, classes: str = "wide") -> str:
    return "".join(table_html(table, classes) for table in shown if table.rows)


def _overview(analysis: CallAnalysis) -> str:
    return render_part("findings", analysis.findings) + _tables(
        display_table(analysis.summary, tz=analysis.selection.tz, columns=PAGE_COLUMNS, max_rows=MAX_SUMMARY_ROWS)
    )


def _durations(analysis: CallAnalysis) -> str:
    return _tables(tables.extremes_table(analysis.calls, "duration", "The longest calls", analysis.selection.tz))


def _delays(analysis: CallAnalysis) -> str:
    return _tables(tables.extremes_table(analysis.calls, "schedule_delay", "The latest starts", analysis.selection.tz))


def _schedules(analysis: CallAnalysis) -> str:
    tz = analysis.selection.tz
    late = tables.late_table(analysis.late, analysis.schedule_name)
    overlaps = tables.overlaps_table(analysis.overlaps, analysis.schedule_name, tz)
    if analysis.schedule_report is None or analysis.missed is None:
        return paragraph(_NO_SCHEDULES) + _tables(late, overlaps)
    report, missed = tables.schedules_table(analysis.schedule_report), tables.missed_table(analysis.missed, tz)
    no_problems = paragraph("Every schedule ran at every scheduled time, on time and without overlaps.")
    return _tables(report, missed, late, overlaps) or no_problems


def _concurrency(analysis: CallAnalysis) -> str:
    return _tables(tables.peaks_table(analysis.peaks, analysis.selection.tz))


def _quality(analysis: CallAnalysis) -> str:
    found = tables.quality_table(quality(analysis.calls))
    no_problems = "" if found.rows else paragraph(f"No problems were found: {found.note}")
    return no_problems + _tables(found, tables.coverage_table(analysis.calls), classes="text")


_DETAILS: dict[str, Callable[[CallAnalysis], str]] = {
    "Overview": _overview,
    "Durations": _durations,
    "Schedule delays": _delays,
    "Schedules": _schedules,
    "Concurrency": _concurrency,
    "Data quality": _quality,
}


def _group_line(row: dict[Any, Any]) -> str:
    return f"{row['count']:,} \N{MULTIPLICATION SIGN} {truncate(printable(headline(row)), 110).text}"


def _format_log(lines: pd.DataFrame) -> str:
    times = lines["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S").fillna("")
    return "\n".join(f"{time}  {text}" for time, text in zip(times, lines["message"].fillna(""), strict=True))


def _text(title: str, text: str) -> str:
    """Render untrusted text as it is, its end if it is too long."""
    omitted = len(text) - MAX_TEXT
    note = paragraph(f"The first {omitted:,} characters are left out.", class_="note") if omitted > 0 else ""
    end = html.escape(printable(text[-MAX_TEXT:]))
    return f'{paragraph(title, class_="note")}{note}<pre tabindex="0">{end}</pre>'
