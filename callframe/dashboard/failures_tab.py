"""The tab of failures: kinds of failures, examples of each, and what these said."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from callframe.dashboard.filter_options import label
from callframe.dashboard.tabs import Tab, paragraph
from callframe.errors import CallframeError
from callframe.formatting import printable
from callframe.reporting import tables as report_tables
from callframe.reporting.html import render_part
from callframe.reporting.tables import format_time, truncate

if TYPE_CHECKING:
    from collections.abc import Callable

    from callframe.dashboard.call_analysis import CallAnalysis

KINDS_MOST, EXAMPLES_MOST = 200, 50
TEXT_MOST = 100_000
"""Characters of a trace or a log that are shown; a page much larger is slow."""

_LINE = 110


class FailuresTab(Tab):
    """
    What failed.

    Parameters
    ----------
    *given
        As for a panel.
    logs
        Reads the log of a call, given its function's id and its own; None where no project is at hand.
    """

    def __init__(self, *given: Any, logs: Callable[[int, int], pd.DataFrame] | None) -> None:
        self._logs = logs
        self._look: CallAnalysis | None = None
        self._filling = False
        self.kinds = widgets.Select(description="Kinds of failures, the most frequent first", rows=8)
        self.examples = widgets.Dropdown(description="Example call, the latest first")
        self.read_log = widgets.Button(description="Read its log", icon="file-text-o")
        self.said = widgets.HTML()
        self.log = widgets.HTML()
        for one in (self.kinds, self.examples):
            one.add_class("callframe-stacked")
            one.layout.width = "auto"
        for one in (self.said, self.log):
            one.add_class("callframe-said")
        self.kinds.observe(lambda _: self._guard(self._show_kind), names="value")
        self.examples.observe(lambda _: self._guard(self._show_example), names="value")
        self.read_log.on_click(lambda _: self._guard(self._show_log))
        super().__init__(*given)

    def tell(self, look: CallAnalysis) -> None:
        """Offer the kinds of failures; the one that was chosen stays so."""
        self._look = look
        found = look.failures
        before = self.kinds.value
        self._filling = True
        try:
            options = [(_line(row), row["group"]) for row in found.head(KINDS_MOST).to_dict("records")]
            self.kinds.options = options
            groups = [group for _, group in options]
            self.kinds.value = before if before in groups else next(iter(groups), None)
        finally:
            self._filling = False
        self._below.value = "".join(
            render_part("table", one, "wide")
            for one in [report_tables.episodes(look.calls, look.selection.tz)]
            if one.rows
        )
        self._show_kind()

    def _parts(self) -> list[widgets.Widget]:
        buttons = [self.read_log] if self._logs else []
        return [*super()._parts()[:-1], self.kinds, self.examples, self.said, *buttons, self.log, self._below]

    def _show_kind(self) -> None:
        """Offer examples of the kind that is chosen."""
        look, group = self._look, self.kinds.value
        if look is None or self._filling:
            return
        rows = look.failed[look.failed["group"] == group] if group else look.failed.head(0)
        zone = look.selection.tz
        self._filling = True
        try:
            self.examples.options = [
                (f"{format_time(row['start_time'], zone)} {zone} \N{MIDDLE DOT} {label(row['function'])}", place)
                for place, row in rows.head(EXAMPLES_MOST)[["start_time", "function"]].to_dict("index").items()
            ]
            self.examples.value = self.examples.options[0][1] if len(rows) else None
        finally:
            self._filling = False
        self._show_example()

    def _show_example(self) -> None:
        """Show what the call that is chosen said."""
        if self._filling:
            return
        self.log.value = ""
        look, place = self._look, self.examples.value
        if look is None or place is None:
            self.said.value = paragraph("No call failed.")
            self.read_log.disabled = True
            return
        self.read_log.disabled = False
        row = look.calls.loc[place]
        head = f"Call {row['call_id']} of {truncate(row['function'], 80).text}: {row['status']}"
        message, trace = (None if pd.isna(row[name]) else row[name] for name in ("error_message", "error_trace"))
        parts = [paragraph(head, class_="callframe-head")]
        parts += [_pre(message, "Message")] if message and message.strip() not in (trace or "") else []
        parts += [_pre(trace, "Trace")] if trace else []
        self.said.value = "".join(parts if len(parts) > 1 else [*parts, paragraph("It left no message and no trace.")])

    def _show_log(self) -> None:
        """Fetch the log of the call that is chosen."""
        look, place = self._look, self.examples.value
        if look is None or place is None or self._logs is None:
            return
        row = look.calls.loc[place]
        self.read_log.disabled = True
        try:
            lines = self._logs(int(row["function_id"]), int(row["call_id"]))
        except CallframeError as error:
            self.log.value = paragraph(f"The log could not be read. {error}", role="alert")
        else:
            self.log.value = _pre(_written(lines), "Log") if len(lines) else paragraph("The log is empty.")
        finally:
            self.read_log.disabled = False


def _line(row: dict[Any, Any]) -> str:
    words = ": ".join(str(row[name]) for name in ("exception", "template") if not pd.isna(row[name]) and row[name])
    return f"{row['count']:,} \N{MULTIPLICATION SIGN} {truncate(printable(words), _LINE).text}"


def _written(lines: pd.DataFrame) -> str:
    times = lines["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S").fillna("")
    return "\n".join(f"{time}  {words}" for time, words in zip(times, lines["message"].fillna(""), strict=True))


def _pre(words: str, title: str) -> str:
    """Write untrusted text as it is, within bounds."""
    kept = printable(words[-TEXT_MOST:])
    cut_off = len(words) - TEXT_MOST
    note = paragraph(f"The first {cut_off:,} characters are left out.", class_="note") if cut_off > 0 else ""
    return f'{paragraph(title, class_="note")}{note}<pre tabindex="0">{html.escape(kept)}</pre>'
