"""Single calls as a table to sort and search, in a frame that cannot reach the notebook."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets
import pandas as pd

from callframe import frame
from callframe.dashboard.selection import contains
from callframe.errors import ArgumentError, printable

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ROWS = 1_000
"""Calls in the table; more would make the page slow."""

ORDERS = {
    "Latest start": ("start_time", False),
    "Earliest start": ("start_time", True),
    "Longest duration": ("duration", False),
    "Longest schedule delay": ("schedule_delay", False),
}

NUMERIC = ("duration [s]", "delay [s]")
"""The columns that are sorted as numbers."""

_HEIGHT = 560
_MAX_TEXT = 300
_STYLE = (
    "body{margin:6px;font:13px system-ui,sans-serif;background:#fff;color:#222}"
    "table.dataTable td{vertical-align:top;white-space:nowrap}"
    "table.dataTable td:last-child{white-space:normal;overflow-wrap:anywhere;min-width:240px}"
)
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; img-src data:;"
    " font-src data:"
)


def table_rows(calls: pd.DataFrame, order: str, tz: str) -> pd.DataFrame:
    """Write the first calls in one of the `ORDERS` as text and numbers."""
    column, ascending = ORDERS[order]
    first = calls.loc[calls[column].sort_values(ascending=ascending, kind="stable").index[:MAX_ROWS]]
    times = {
        name: first[name].dt.tz_convert(tz).dt.strftime("%Y-%m-%d %H:%M:%S")
        for name in ("start_time", "scheduled_time")
    }
    table = pd.DataFrame(
        {
            f"start [{tz}]": times["start_time"],
            "function": first["function"].astype("object").map(_shorten, na_action="ignore"),
            "status": first["status"].astype("object"),
            NUMERIC[0]: _seconds(first["duration"]),
            NUMERIC[1]: _seconds(first["schedule_delay"]),
            "scheduled": times["scheduled_time"],
            "call id": first["call_id"].astype("str"),
            "error": first["error_message"].map(_shorten, na_action="ignore"),
        }
    )
    return table.astype("object").where(table.notna(), "").reset_index(drop=True)


def interactive_html(rows: pd.DataFrame) -> str:
    """Render rows as a table to sort and search, in a frame whose scripts reach neither the page nor the network."""
    try:
        from itables import options  # noqa: PLC0415 - an extra
        from itables.javascript import generate_init_offline_itables_html, to_html_datatable  # noqa: PLC0415
    except ImportError:
        raise ArgumentError("The table needs the package itables: pip install 'callframe[notebook]'.") from None
    targets = [rows.columns.get_loc(name) for name in NUMERIC]
    table = to_html_datatable(
        rows, connected=False, showIndex=False, maxBytes=0, classes="display compact", paging=True, pageLength=15,
        lengthMenu=[15, 50, 200], allow_html=False, order=[], text_in_header_can_be_selected=False,
        columnDefs=[{"targets": targets, "type": "num", "className": "dt-right"}],
    )  # fmt: skip
    page = (
        "<!DOCTYPE html><html lang=en data-theme=light><head><meta charset=utf-8><title>Calls</title>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        f"<style>{_STYLE}</style></head><body>{generate_init_offline_itables_html(Path(options.dt_bundle))}{table}"
        "</body></html>"
    )
    return (
        f'<iframe title="Table of calls" sandbox="allow-scripts" referrerpolicy="no-referrer" width="100%"'
        f' height="{_HEIGHT}" style="border:1px solid #ccc;background:#fff" srcdoc="{html.escape(page)}"></iframe>'
    )


def _seconds(durations: pd.Series) -> pd.Series:
    texts: pd.Series = durations.dt.total_seconds().map(lambda seconds: f"{seconds:.3f}", na_action="ignore")
    return texts.astype("object")


def _shorten(text: str) -> str:
    line = " ".join(printable(text[: 2 * _MAX_TEXT]).split())
    return line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]}…"


class CallTable(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Single calls: searched and ordered among all that are selected, then in the table among those it holds."""

    def __init__(self, on_open: Callable[[int, int], object]) -> None:
        self._on_open = on_open
        self._calls, self._tz = frame.empty(), "UTC"
        self.order = widgets.Dropdown(options=list(ORDERS), description="Show first")
        self.search = widgets.Text(
            description="Search all",
            placeholder="part of a function, status, error or id; then Enter",
            continuous_update=False,
            layout={"width": "420px"},
        )
        self.table = widgets.HTML()
        for control in (self.order, self.search):
            control.observe(lambda _: self._show(), names="value")
        super().__init__([widgets.Box([self.order, self.search], layout={"flex_flow": "row wrap"}), self.table])

    def show(self, calls: pd.DataFrame, tz: str) -> None:
        """Show calls."""
        self._calls, self._tz = calls, tz
        self._show()

    def _show(self) -> None:
        sought = self.search.value.strip()
        calls = self._calls[contains(self._calls, sought)] if sought else self._calls
        rows = table_rows(calls, self.order.value, self._tz)
        count = f"{len(calls):,} call{'' if len(calls) == 1 else 's'}"
        note = f"{count}." if len(calls) == len(rows) else f"{len(rows):,} of {count}: the export has all of them."
        try:
            table = interactive_html(rows) if len(rows) else ""
        except ArgumentError as error:
            note, table = str(error), ""
        self.table.value = f'<p class="note">{html.escape(note)}</p>{table}'
