"""Single calls as a table: sorted and searched among all that are selected, and shown page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from callframe import frame
from callframe.dashboard.selection import contains
from callframe.dashboard.toolbar import Clickable
from callframe.errors import printable
from callframe.formatting import MISSING, Cell, Column, format_duration, make_table, table_html, truncate
from callframe.reporting.rendering import render_part

if TYPE_CHECKING:
    from callframe.dashboard.toolbar import Act

PAGE = 100
"""Calls on a page."""

_COLUMNS = ("start_time", "function", "status", "duration", "schedule_delay", "call_id", "error_message")
_ASCENDING = ("function", "status", "error_message")
_MAX_ERROR = 300


class CallTable(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The table: a heading sorts all selected calls, the search looks through all, an id opens its call by `act`."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._calls, self._tz = frame.empty(), "UTC"
        self._order, self._ascending, self._page = "start_time", False, 0
        self.search = widgets.Text(
            description="Search all",
            placeholder="part of a function, status, error or id; then Enter",
            continuous_update=False,
            layout={"width": "420px"},
        )
        self.search.observe(lambda _: self._turn_to(0), names="value")
        self.table = Clickable("calls", self._on_action)
        super().__init__([self.search, self.table])

    def show(self, calls: pd.DataFrame, tz: str) -> None:
        """Show the first page of calls."""
        self._calls, self._tz = calls, tz
        self._turn_to(0)

    def _on_action(self, action: dict[str, Any], **how: Any) -> None:
        if "sort" in action:
            column = _COLUMNS[action["sort"]]
            self._ascending = not self._ascending if column == self._order else column in _ASCENDING
            self._order = column
            self._turn_to(0)
        elif "page" in action:
            self._turn_to(action["page"])
        else:
            self._act(action, **how)

    def _turn_to(self, page: int) -> None:
        """Show a page of the calls that match the search, in order."""
        sought = self.search.value.strip()
        calls = self._calls[contains(self._calls, sought)] if sought else self._calls
        self._page = min(max(page, 0), max(0, len(calls) - 1) // PAGE)
        first = self._page * PAGE
        rows = calls.loc[_sorted(calls, self._order, self._ascending)[first : first + PAGE]]
        count = f"{len(calls):,} call{'' if len(calls) == 1 else 's'}"
        note = f"{count}: {first + 1:,} to {first + len(rows):,}" if len(calls) > PAGE else count
        pages = render_part("pages", note, self._page, first + PAGE < len(calls))
        self.table.html = pages + table_html(make_table("", _columns(self._tz), rows), "sort-all wide")


def _sorted(calls: pd.DataFrame, column: str, ascending: bool) -> pd.Index:
    """Sort calls by a column, missing values last; they come sorted by start time."""
    if column == "start_time":
        return calls.index if ascending else calls.index[::-1]
    values = calls[column]
    if isinstance(values.dtype, pd.CategoricalDtype):
        rank = np.argsort(np.argsort(values.cat.categories.astype("str")))
        values = pd.Series(np.append(rank, len(rank))[values.cat.codes.to_numpy()], index=calls.index)
    return values.sort_values(ascending=ascending, kind="stable").index


def _columns(tz: str) -> list[Column]:
    return [
        Column(f"start ({tz})", lambda row: _time(row["start_time"], tz)),
        Column("function", lambda row: truncate(row["function"], 40) if isinstance(row["function"], str) else MISSING),
        Column(
            "status", lambda row: Cell(str(row["status"]), classes="bad" if row["status"] in frame.FAILURES else "")
        ),
        Column("duration", lambda row: format_duration(row["duration"]), numeric=True),
        Column("delay", lambda row: format_duration(row["schedule_delay"]), numeric=True),
        Column("call id", lambda row: Cell(str(row["call_id"]), classes="ids"), numeric=True),
        Column("error", lambda row: Cell(_one_line(row["error_message"]), classes="wrapped")),
    ]


def _status(row: dict[Any, Any]) -> Cell:
    return Cell(str(row["status"]), classes="bad" if row["status"] in frame.FAILURES else "")


def _time(time: Any, tz: str) -> str:
    return MISSING if pd.isna(time) else f"{time.tz_convert(tz):%Y-%m-%d %H:%M:%S}"


def _one_line(text: Any) -> str:
    if pd.isna(text):
        return ""
    line = " ".join(printable(text[: 2 * _MAX_ERROR]).split())
    return line if len(line) <= _MAX_ERROR else f"{line[:_MAX_ERROR]}…"
