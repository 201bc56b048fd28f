"""What the tables of the tabs say, beside those of the report: every cell as text, none of it escaped yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.formatting import format_duration, format_percent
from callframe.reporting.tables import Cell, Table, format_time, functions, truncate

if TYPE_CHECKING:
    from callframe.dashboard.call_analysis import CallAnalysis

ROWS_MOST = 12
SUMMARY_MOST = 500

_NONE = "–"  # noqa: RUF001 - as tables have it


def summary(look: CallAnalysis) -> Table:
    """Lay out the summary; schedules by their names."""
    found, tz = look.summary, look.selection.tz
    if found.index.name == "schedule":
        found = found.set_axis(pd.Index([look.schedule_name(one) for one in found.index], name="schedule"))
    table = functions(found.head(SUMMARY_MOST), tz)
    more = len(found) - SUMMARY_MOST
    note = f" {more:,} more rows are not shown; cf.summarize(calls, by=...) has them." if more > 0 else ""
    return Table(table.caption, table.heads, table.rows, table.note + note)


def extremes(look: CallAnalysis, column: str, caption: str) -> Table:
    """Lay out the calls with the largest values of a column of spans."""
    calls, tz = look.calls, look.selection.tz
    values = calls[column].dropna()
    if len(values) > 10_000:  # noqa: PLR2004 - a partial sort of what is worth it
        values = values[values >= values.quantile(1 - 1_000 / len(values))]
    largest = values.sort_values(ascending=False, kind="stable").head(ROWS_MOST).index
    rows = [
        [
            truncate(row["function"]),
            Cell(str(row["call_id"]), tone="ids"),
            Cell(str(row["status"])),
            Cell(format_time(row["start_time"], tz)),
            Cell(format_duration(row[column])),
        ]
        for row in calls.loc[largest].to_dict("records")
    ]
    heads = ["function", "#call id", "status", f"start time ({tz})", f"#{column.replace('_', ' ')}"]
    return Table(caption, heads, rows)


def late(look: CallAnalysis) -> Table:
    """Lay out the schedules whose calls started late."""
    found = look.late
    found = found[found["late"] > 0]
    rows = [
        [
            truncate(look.schedule_name(schedule)),
            truncate(function),
            _count(row["scheduled"]),
            Cell(f"{row['late']:,.0f}", format_percent(row["late_rate"])),
            Cell(format_duration(row["schedule_delay_p50"])),
            Cell(format_duration(row["schedule_delay_p95"])),
            Cell(format_duration(row["schedule_delay_max"])),
        ]
        for (schedule, function), row in zip(
            found.index[:ROWS_MOST], found.head(ROWS_MOST).to_dict("records"), strict=True
        )
    ]
    heads = ["schedule", "function", "#calls", "#late", "#delay p50", "#delay p95", "#longest"]
    note = "Late is more than 1 min after the scheduled time."
    return Table("Schedules that start late", heads, rows, note + _more(len(found)))


def overlaps(look: CallAnalysis) -> Table:
    """Lay out the schedules whose calls ran into each other."""
    found = look.overlaps
    grouped = found.groupby(["schedule_id", "function"], observed=True).agg(
        count=("call_id", "size"), longest=("overlap", "max"), latest=("start_time", "max")
    )
    grouped = grouped.sort_values("count", ascending=False, kind="stable")
    rows = [
        [
            truncate(look.schedule_name(schedule)),
            truncate(function),
            _count(row["count"]),
            Cell(format_duration(row["longest"])),
            Cell(format_time(row["latest"], look.selection.tz)),
        ]
        for (schedule, function), row in zip(
            grouped.index[:ROWS_MOST], grouped.head(ROWS_MOST).to_dict("records"), strict=True
        )
    ]
    heads = ["schedule", "function", "#started too early", "#longest overlap", f"latest ({look.selection.tz})"]
    note = "Calls that started while an earlier call of the same schedule still ran."
    return Table("Schedules whose calls overlap", heads, rows, note + _more(len(grouped)))


def peaks(look: CallAnalysis) -> Table:
    """Lay out how near each function came to its quota, and what it had running at the peak of all."""
    rows = [
        [
            truncate(name),
            _count(row["peak"]),
            Cell(format_time(row["peak_time"], look.selection.tz)),
            Cell(_NONE if pd.isna(row["time_above"]) else format_duration(row["time_above"])),
            Cell(f"{row['at_peak']:,}", "" if pd.isna(row["share"]) else format_percent(row["share"])),
        ]
        for name, row in zip(look.peaks.index, look.peaks.to_dict("records"), strict=True)
    ]
    heads = ["function", "#most at once", f"when ({look.selection.tz})", "#above 80 of 100", "#at the peak of all"]
    return Table("Calls at once, by function", heads, rows, "A function may run 100 calls at once, a project 250.")


def _count(number: Any) -> Cell:
    return Cell(f"{number:,}", tone="" if number else "faint")


def _more(count: int) -> str:
    return f" {count - ROWS_MOST:,} more are not shown." if count > ROWS_MOST else ""
