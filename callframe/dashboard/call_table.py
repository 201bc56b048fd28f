"""Single calls as a table to sort and search, in a frame of its own that cannot reach the notebook."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from callframe.errors import ArgumentError
from callframe.formatting import printable

if TYPE_CHECKING:
    from callframe.dashboard.call_analysis import CallAnalysis

ROWS_MOST = 1_000
"""Calls that the table holds; more would make the page slow."""

ORDERS = {
    "Latest start": ("start_time", False),
    "Earliest start": ("start_time", True),
    "Longest duration": ("duration", False),
    "Longest schedule delay": ("schedule_delay", False),
}

NUMBERS = ("duration [s]", "delay [s]")
"""The columns that sort as numbers."""

HEIGHT = 560

_TEXT = 300
_STYLE = (
    "body{margin:6px;font:13px system-ui,sans-serif;background:#fff;color:#222}"
    "table.dataTable td{vertical-align:top;white-space:nowrap}"
    "table.dataTable td:last-child{white-space:normal;overflow-wrap:anywhere;min-width:240px}"
)
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; style-src 'unsafe-inline'; img-src data:;"
    " font-src data:"
)
_LACKING = "The table needs the package itables: pip install 'callframe[notebook]'."


def matching(calls: pd.DataFrame, words: str) -> pd.DataFrame:
    """
    Search calls.

    Parameters
    ----------
    calls
        Call frame.
    words
        A call id, or a part of the function, the status or the error message, in any case; empty finds all.

    Returns
    -------
    calls
        Those that hold it.
    """
    sought = words.strip().casefold()
    if not sought:
        return calls
    said = calls["error_message"].str.contains(words.strip(), case=False, regex=False, na=False)
    found = said.to_numpy(dtype=bool, copy=True)
    for name in ("function", "status"):
        hits = [one for one in calls[name].cat.categories if sought in one.casefold()]
        found |= calls[name].isin(hits).to_numpy()
    if sought.isdecimal():
        found |= calls["call_id"].astype("str").str.contains(sought, regex=False).to_numpy(dtype=bool)
    return calls[found]


def shown(look: CallAnalysis, order: str, words: str) -> tuple[pd.DataFrame, int]:
    """
    Choose and write the rows of the table.

    Parameters
    ----------
    look
        What is looked at.
    order
        One of `ORDERS`.
    words
        What is searched for.

    Returns
    -------
    rows, found
        At most 1,000 rows as text and numbers, and how many calls were found.
    """
    column, ascending = ORDERS[order]
    found = matching(look.calls, words)
    order_of = found[column].sort_values(ascending=ascending, kind="stable").index[:ROWS_MOST]
    calls = found.loc[order_of]
    moments = {name: calls[name].dt.tz_convert(look.selection.tz) for name in ("start_time", "scheduled_time")}
    table = pd.DataFrame(
        {
            f"start [{look.selection.tz}]": moments["start_time"].dt.strftime("%Y-%m-%d %H:%M:%S"),
            "function": calls["function"].astype("object").map(_short, na_action="ignore"),
            "status": calls["status"].astype("object"),
            NUMBERS[0]: _seconds(calls["duration"]),
            NUMBERS[1]: _seconds(calls["schedule_delay"]),
            "scheduled": moments["scheduled_time"].dt.strftime("%Y-%m-%d %H:%M:%S"),
            "call id": calls["call_id"].astype("str"),
            "error": calls["error_message"].map(_short, na_action="ignore"),
        }
    )
    return table.astype("object").where(table.notna(), "").reset_index(drop=True), len(found)


def table_html(rows: pd.DataFrame) -> str:
    """
    Write rows as a table to sort and search.

    Parameters
    ----------
    rows
        At most as many as a page can hold.

    Returns
    -------
    html
        A frame in which scripts run that can reach nothing outside it, nor the network.

    Raises
    ------
    ArgumentError
        itables is not installed.
    """
    try:
        from itables import options  # noqa: PLC0415 - an extra
        from itables.javascript import generate_init_offline_itables_html, to_html_datatable  # noqa: PLC0415
    except ImportError:
        raise ArgumentError(_LACKING) from None
    numbers = [rows.columns.get_loc(name) for name in NUMBERS]
    table = to_html_datatable(
        rows, connected=False, showIndex=False, maxBytes=0, classes="display compact", paging=True, pageLength=15,
        lengthMenu=[15, 50, 200], allow_html=False, order=[], text_in_header_can_be_selected=False,
        columnDefs=[{"targets": numbers, "type": "num", "className": "dt-right"}],
    )  # fmt: skip
    page = (
        "<!DOCTYPE html><html lang=en data-theme=light><head><meta charset=utf-8><title>Calls</title>"
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        f"<style>{_STYLE}</style></head><body>{generate_init_offline_itables_html(Path(options.dt_bundle))}{table}"
        "</body></html>"
    )
    return (
        f'<iframe title="Table of calls" sandbox="allow-scripts" referrerpolicy="no-referrer" width="100%"'
        f' height="{HEIGHT}" style="border:1px solid #ccc;background:#fff" srcdoc="{html.escape(page)}"></iframe>'
    )


def _seconds(spans: pd.Series) -> pd.Series:
    """Write spans as numbers, and nothing where there is none."""
    written: pd.Series = spans.dt.total_seconds().map(lambda seconds: f"{seconds:.3f}", na_action="ignore")
    return written.astype("object")


def _short(words: str) -> str:
    line = " ".join(printable(words[: 2 * _TEXT]).split())
    return line if len(line) <= _TEXT else f"{line[:_TEXT]}…"
