"""Numbers, durations, times and tables as people read them: in notebooks, in the terminal, on pages."""

from __future__ import annotations

import functools
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

MISSING = "-"
PAGE_COLUMNS = (
    "calls", "failed", "timeout", "error response", "running", "stuck", "other", "failure rate", "effective calls",
    "duration p50", "duration p95", "duration max", "delay p95", "late", "last success", "failures in a row",
)  # fmt: skip
"""The columns of a summary for which a page has space."""

_TERMINAL_COLUMNS = (
    "calls", "failed", "timeout", "error response", "running", "stuck", "other", "failure rate", "effective calls",
    "duration p50", "duration p95", "delay p50", "delay p95", "late",
)  # fmt: skip
_DROPPED_FIRST = ("effective calls", "delay p50", "delay p95", "late", "running", "timeout", "error response", "failed")
"""Columns that a narrow terminal leaves out, in this order."""

SUMMARY_COLUMNS = (
    "calls", "completed", "failed", "timeout", "error_response", "running", "stuck", "other", "failure_rate",
    "failure_rate_low", "failure_rate_high", "effective_calls", "duration_p50", "duration_p50_low", "duration_p50_high",
    "duration_p50_above", "duration_p90", "duration_p90_above", "duration_p95", "duration_p95_low", "duration_p95_high",
    "duration_p95_above", "duration_p99", "duration_p99_above", "duration_max", "schedule_delay_p50",
    "schedule_delay_p90", "schedule_delay_p95", "schedule_delay_p99", "schedule_delay_max", "scheduled", "late_rate",
    "last_success_time", "longest_failure_streak",
)  # fmt: skip
"""The columns of a summary."""

_LABEL_LENGTH = 40
_TITLE_LENGTH = 500
_LEVELS = (0.001, 0.01, 0.05, 0.2, 0.5)
"""The shares from which a cell is coloured, and coloured more strongly."""

_NOTE = (
    "Durations are of completed work; delay is from the scheduled time to the start; intervals are 95 %."
    " Effective calls: how many independent calls the finished ones, which come in bursts, are worth."
)


@dataclass(frozen=True)
class Cell:
    """A cell: its text, a smaller remark beside it, the full text if it was cut, and CSS classes."""

    text: str
    remark: str = ""
    title: str = ""
    classes: str = ""


@dataclass(frozen=True)
class Column:
    """A column: its heading, and how to make a cell from a row."""

    heading: str
    cell: Callable[[dict[Any, Any]], Cell | str]
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table to show: the first `labels` cells of each row are its name."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    labels: int = 1


def display_table(
    summary: pd.DataFrame, *, tz: str = "UTC", columns: Collection[str] | None = None, max_rows: int | None = None
) -> Table:
    """Lay out the table that `summarize` or `summarize_rollup` returned, or of its columns those that are named."""
    available = _summary_columns(summary, tz)
    chosen = [column for name, column in available.items() if columns is None or name in columns]
    shown = summary.iloc[:max_rows]
    labels = [_format_labels(shown.index.get_level_values(level), tz) for level in range(shown.index.nlevels)]
    names = [str(name).replace("start_time", "start time") for name in summary.index.names]
    rows = [
        [*(cells[place] for cells in labels), *_make_row(chosen, row)]
        for place, row in enumerate(shown.to_dict("records"))
    ]
    order = "" if "start time" in names else ", most failures first"
    more = len(summary) - len(shown)
    return Table(
        f"Calls by {' and '.join(names)}{order}",
        [*(Column(name, str) for name in names), *chosen],
        rows,
        f"{_NOTE} {more:,} more rows are not shown." if more else _NOTE,
        labels=len(names),
    )


def make_table(caption: str, columns: Sequence[Column], rows: pd.DataFrame, note: str = "") -> Table:
    """Make a table of the rows of a frame."""
    return Table(caption, columns, [_make_row(columns, row) for row in rows.to_dict("records")], note)


def table_html(table: Table, classes: str = "", *, inline: Mapping[str, str] | None = None) -> str:
    """Render a table as HTML, all text escaped; `inline` holds the CSS of classes, for where style sheets are lost."""
    element = functools.partial(_element, inline=inline)

    def cell_html(cell: Cell, column: Column, *, label: bool) -> str:
        remark = f" {element('small', _escape(cell.remark), 'remark')}" if cell.remark else ""
        tag, scope = ("th", ' scope="row"') if label else ("td", "")
        title = f' title="{_escape(cell.title)}"' if cell.title else ""
        names = f"{'number' if column.numeric else 'label'} {cell.classes}"
        return element(tag, _escape(cell.text) + remark, names, scope + title)

    head = "".join(
        element(
            "th",
            _escape(column.heading).replace("&gt; ", "&gt;&nbsp;"),
            f"{'number' if column.numeric else 'label'} heading",
            ' scope="col"',
        )
        for column in table.columns
    )
    body = ""
    for row in table.rows:
        cells = enumerate(zip(row, table.columns, strict=True))
        body += f"<tr>{''.join(cell_html(*pair, label=place < table.labels) for place, pair in cells)}</tr>\n"
    caption = f"<caption>{_escape(table.caption)}</caption>" if table.caption else ""
    note = element("p", _escape(table.note), "note") if table.note else ""
    attributes = ' class="dataframe" border="0"' if inline else ""
    content = f"<table{attributes}>{caption}<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>{note}"
    return element("div", content, f"table {classes}")


def format_summary(summary: pd.DataFrame, *, width: int | None = None) -> str:
    """Format a summary for a terminal: one line per group, and if `width` is given without the columns beyond it."""
    table = display_table(summary, columns=_TERMINAL_COLUMNS)
    columns = {}
    for place, column in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        name = column.heading.split(" > ")[0]
        texts = [
            f"{cell.text} {cell.remark}".strip() if name == "failure rate" else cell.title or cell.text
            for cell in cells
        ]
        lines = [" ".join(printable(text).split("\n")) for text in (column.heading.removeprefix("duration "), *texts)]
        longest = max(map(len, lines))
        columns[name] = [line.rjust(longest) if column.numeric else line.ljust(longest) for line in lines]
    dropped: list[str] = []
    for name in _DROPPED_FIRST:
        if name in columns and width and sum(len(lines[0]) + 2 for lines in columns.values()) - 2 > width:
            dropped += [columns.pop(name)[0].strip()]
    note = [f"Left out for lack of space: {', '.join(dropped)}."] if dropped else []
    return "\n".join([*("  ".join(line).rstrip() for line in zip(*columns.values(), strict=True)), *note])


def truncate(value: Any, length: int = _LABEL_LENGTH) -> Cell:
    """Shorten text to one line, in the middle, where similar names are most alike."""
    line = " ".join(str(value).split())
    if len(line) <= length:
        return Cell(line or "(no name)")
    title = line if len(line) <= _TITLE_LENGTH else f"{line[:_TITLE_LENGTH]}… ({len(line):,} characters)"
    return Cell(f"{line[: length // 2]}…{line[-(length // 2 - 1) :]}", title=title)


def count_cell(number: int, *, nonzero: str = "") -> Cell:
    """Format a count, faint if it is zero, else with a CSS class."""
    return Cell(f"{number:,}", classes=nonzero if number else "faint")


def format_duration(duration: Any) -> str:
    """Format a duration in its largest sensible unit, such as `850 ms`, `12.3 s` or `3.2 h`."""
    if pd.isna(duration):
        return MISSING
    seconds = duration.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if abs(seconds) >= size * (1 if unit in {"s", "min"} else 2):
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def format_lower_bound(duration: Any, above: Any) -> str:
    """Format a duration of which it may only be known that it exceeds `above`."""
    return format_duration(duration) if pd.isna(above) else f"> {format_duration(above)}"


def format_percent(share: Any) -> str:
    """Format a share from 0 to 1; it is never rounded to nothing or to all."""
    if pd.isna(share):
        return "no data"
    if 0 < share < 0.001:  # noqa: PLR2004
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"  # noqa: PLR2004


def format_interval(low: str, high: str) -> str:
    """Format an interval of which an end may be missing; empty if both are."""
    if {low, high} <= {MISSING, "no data"}:
        return ""
    if high == MISSING:
        return f"from {low}"
    unit = high.lstrip("<>-0123456789.,")
    return f"{low.removesuffix(unit)} to {high}" if low.endswith(unit) else f"{low} to {high}"


def format_time(time: Any, tz: str) -> str:
    """Format a time to the minute."""
    return MISSING if pd.isna(time) else f"{time.tz_convert(tz):%Y-%m-%d %H:%M}"


def _summary_columns(summary: pd.DataFrame, tz: str) -> dict[str, Column]:
    """List the columns of a summary by name; those of rare kinds of calls only if there are any."""
    late_after_s = summary.attrs.get("late_after_s")
    late = "late"
    if isinstance(late_after_s, int | float):
        late = f"late > {format_duration(pd.Timedelta(seconds=late_after_s))}"
    measures: dict[str, tuple[str, Callable[..., Cell | str]]] = {
        **{name: (name, _count) for name in ("calls", "completed", "failed", "timeout", "running")},
        "error response": ("error_response", _count),
        "stuck": ("stuck", _stuck),
        "other": ("other", _count),
        "failure rate": ("failure_rate", _failure_rate),
        "effective calls": ("effective_calls", _count),
        **{f"duration {name}": (f"duration_{name}", _duration) for name in ("p50", "p95", "p99", "max")},
        **{f"delay {name}": (f"schedule_delay_{name}", _duration) for name in ("p50", "p95", "max")},
        "late": ("late_rate", _late_rate),
        "last success": ("last_success_time", functools.partial(_last_success, tz=tz)),
        "failures in a row": ("longest_failure_streak", _count),
    }
    work = "completed, failed censored" if summary.attrs.get("failed") == "censor" else "completed"
    work = "observed" if "status" in summary.index.names else work
    headings = {f"duration {name}": f"duration {name} ({work})" for name in ("p50", "p95", "p99")}
    headings |= {"late": late, "last success": f"last success ({tz})"}
    return {
        name: Column(headings.get(name, name), functools.partial(cell, source=source), numeric=name != "last success")
        for name, (source, cell) in measures.items()
        if source in summary and (name not in {"error response", "stuck", "other"} or summary[source].any())
    }


def _count(row: dict[Any, Any], source: str) -> Cell:
    return count_cell(row[source])


def _stuck(row: dict[Any, Any], source: str) -> Cell:
    return count_cell(row[source], nonzero="bad")


def _failure_rate(row: dict[Any, Any], source: str) -> Cell:
    low, high = row[f"{source}_low"], row[f"{source}_high"]
    interval = format_interval(format_percent(low), format_percent(high))
    return Cell(format_percent(row[source]), f"({interval})" if interval else "", classes=_level("shade", low))


def _duration(row: dict[Any, Any], source: str) -> Cell:
    above = row.get(f"{source}_above", pd.NaT)
    interval = ""
    if source == "duration_p95":
        interval = format_interval(*(format_duration(row.get(f"{source}_{end}", pd.NaT)) for end in ("low", "high")))
    text = format_lower_bound(row[source], above)
    return Cell(text, f"({interval})" if interval else "", classes="" if pd.isna(above) else "unreached")


def _late_rate(row: dict[Any, Any], source: str) -> Cell:
    share = row[source]
    return Cell(MISSING if pd.isna(share) else format_percent(share), classes=_level("late", share))


def _last_success(row: dict[Any, Any], source: str, tz: str) -> str:
    return "none" if pd.isna(row[source]) else format_time(row[source], tz)


def _level(name: str, share: float) -> str:
    """Choose the CSS class of a share; none if it is small or missing."""
    level = sum(share >= edge for edge in _LEVELS)
    return f"{name}{level}" if level else ""


def _format_labels(labels: pd.Index, tz: str) -> list[Cell]:
    missing = "no schedule" if labels.name == "schedule" else "none"
    return [truncate(missing if pd.isna(label) else _format_label(label, tz)) for label in labels]


def _format_label(label: Any, tz: str) -> str:
    if not isinstance(label, pd.Timestamp):
        return str(label)
    return f"{label.tz_convert(tz):%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def _make_row(columns: Sequence[Column], row: dict[Any, Any]) -> list[Cell]:
    cells = (column.cell(row) for column in columns)
    return [Cell(cell) if isinstance(cell, str) else cell for cell in cells]


def _element(
    tag: str, content: str, names: str, attributes: str = "", *, inline: Mapping[str, str] | None = None
) -> str:
    """Render an HTML element with its classes, or with the CSS of these."""
    css = names.strip() if inline is None else ";".join(inline[name] for name in names.split() if name in inline)
    if css:
        attributes += f' {"class" if inline is None else "style"}="{css}"'
    return f"<{tag}{attributes}>{content}</{tag}>"


def _escape(text: str) -> str:
    return html.escape(printable(text))
