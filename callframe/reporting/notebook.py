"""How notebooks show the tables of this package: in units, with intervals, what matters first."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from callframe.completeness import Coverage, completeness_text
from callframe.errors import FrameError
from callframe.formatting import SUMMARY_COLUMNS, display_table, format_summary, table_html
from callframe.timespan import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INLINE = {
    "table": "overflow-x:auto",
    "label": "text-align:left;white-space:nowrap",
    "number": "text-align:right;white-space:nowrap",
    "wrapped": "white-space:normal;min-width:12em",
    "heading": "white-space:normal",
    "remark": "opacity:0.85",
    "note": "font-size:smaller;opacity:0.75",
}
"""CSS by class, written into each element: notebooks drop style sheets."""

_COLOURS = {  # of a palette safe for colour-blind eyes; translucent, for text and dark themes to show through
    "bad": "213,94,0,0.50",
    "unreached": "240,228,66,0.30",
    **{f"shade{level}": f"213,94,0,{alpha}" for level, alpha in enumerate((0.06, 0.13, 0.24, 0.4, 0.55), start=1)},
    **{f"late{level}": f"86,180,233,{alpha}" for level, alpha in enumerate((0.06, 0.12, 0.2, 0.33, 0.46), start=1)},
}
_COLOURED = _INLINE | {name: f"background-color:rgba({rgba})" for name, rgba in _COLOURS.items()}

_FOLDED: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "what": lambda checks: checks["count"] == 0,
    "verdict": lambda report: report["verdict"].isin(["ran", "nothing due"]),
}
"""Rows without a problem, which are folded away, by a column of the table that has them."""


class Styled:
    """A summary in colours, for a notebook to show."""

    def __init__(self, summary: pd.DataFrame) -> None:
        self._summary = summary.copy()

    def _repr_html_(self) -> str:
        return _notebook_html(self._summary, _COLOURED)

    def __repr__(self) -> str:
        return format_summary(self._summary)


def style(summary: pd.DataFrame) -> Styled:
    """
    Show a summary in colours: the more failures and late starts, the stronger the colour.

    Failure rates are coloured by the lower end of their interval, so that few calls do not raise an alarm. Every colour
    stands beside the number that it stands for.

    Parameters
    ----------
    summary
        Table that `summarize` returned, or some of its rows.

    Returns
    -------
    styled
        An object that a notebook shows as a table, and a terminal as text. Names and other text are escaped.

    Raises
    ------
    FrameError
        `summary` is not a summary.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     styled = cf.style(cf.summarize(project.calls(start="14d")))
    """
    missing = [name for name in SUMMARY_COLUMNS if name not in getattr(summary, "columns", ())]
    if missing:
        raise FrameError(f"Not a summary: missing columns {', '.join(missing)}. Make one with summarize(calls).")
    return Styled(summary)


def show_in_notebooks() -> None:
    """Register with IPython, if it runs, how summaries are shown; all other frames stay as they are."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    registered = formatter.for_type(pd.DataFrame)
    if getattr(registered, "func", None) is not _frame_html:
        formatter.for_type(pd.DataFrame, functools.partial(_frame_html, registered))


def _frame_html(registered: Callable[[pd.DataFrame], str] | None, frame: pd.DataFrame) -> str | None:
    """Show a table of this package in units, and any other frame as it was shown before."""
    if pd.get_option("display.notebook_repr_html"):
        if _is_summary(frame):
            return _notebook_html(frame, _INLINE)
        if shown := _table_html(frame):
            return shown
    return registered(frame) if registered else frame._repr_html_()  # type: ignore[operator]


def _table_html(frame: pd.DataFrame) -> str:
    """Render a table of the analysis, the rows without a problem folded; empty if it is another frame."""
    from callframe.reporting import tables  # noqa: PLC0415 - the analysis is slow to import

    folded = pd.Series(data=False, index=frame.index)
    for column, is_folded in _FOLDED.items():
        if column in frame:
            folded = is_folded(frame)
    max_rows = pd.get_option("display.max_rows") or None
    shown, rest = (tables.lay_out(rows, max_rows=max_rows) for rows in (frame[~folded], frame[folded]))
    if shown is None or rest is None:
        return ""
    content = table_html(shown, inline=_INLINE) if shown.rows or not rest.rows else ""
    if rest.rows:
        table = table_html(rest, inline=_INLINE)
        content += f"<details><summary>{len(rest.rows)} without a problem</summary>{table}</details>"
    return content


def _is_summary(frame: pd.DataFrame) -> bool:
    """Check whether a frame is what `summarize` returned, or rows of it: neither columns nor dtypes differ."""
    return (
        "late_after_s" in frame.attrs
        and None not in frame.index.names
        and tuple(frame.columns) == SUMMARY_COLUMNS
        and all(dtype.kind == _kind(str(name)) for name, dtype in frame.dtypes.items())
    )


def _kind(name: str) -> str:
    """Find the kind of dtype that a column of a summary has."""
    if name.startswith(("duration", "schedule_delay")):
        return "m"
    return "f" if "rate" in name else "M" if name.endswith("_time") else "i"


def _notebook_html(summary: pd.DataFrame, inline: Mapping[str, str]) -> str:
    """Render a summary with what it covers below it; as many rows as pandas is set to show."""
    table = display_table(summary, max_rows=pd.get_option("display.max_rows") or None)
    known = Coverage.of(summary)
    fetched = f", fetched {timestamp(known.fetched_ms):%Y-%m-%d %H:%M} UTC" if known else ""
    calls = int(summary["calls"].sum())
    covered = f"{calls:,} call{'' if calls == 1 else 's'}{fetched}, {completeness_text(summary)}."
    return table_html(replace(table, caption="", note=f"{covered} {table.note}"), inline=inline)
