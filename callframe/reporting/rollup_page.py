"""A history too long to look at call by call, in the numbers and tables that its rollup gives."""

from __future__ import annotations

from typing import Any

import pandas as pd

from callframe import frame
from callframe.analysis.rollup import summarize_rollup
from callframe.formatting import format_duration, format_percent
from callframe.reporting.key_figures import KeyFigure, completeness, of_summary
from callframe.reporting.tables import Cell, Table, format_interval, format_lower_bound, format_time, truncate

CALLS_MOST = 1_000_000
"""Calls that are looked at one by one; of more, only what their rollup tells."""

LATE = pd.Timedelta(minutes=1)

_NONE = "–"  # noqa: RUF001 - as tables have it


def count(rollup: pd.DataFrame) -> int:
    """Count the calls of a rollup."""
    return int(rollup.loc[rollup["measure"] == "duration", "count"].sum())


def key_figures(rollup: pd.DataFrame, tz: str) -> list[KeyFigure]:
    """
    Measure what stands at the top, of a rollup.

    Parameters
    ----------
    rollup
        What `Archive.rollup` gave.
    tz
        Time zone of the times.

    Returns
    -------
    figures
        The same ones as of calls; quantiles within 1 %.
    """
    once = rollup[rollup["measure"] == "duration"]
    missed = KeyFigure("Missed runs", "not counted", ("over so long a range",))
    if once.empty:
        return [KeyFigure("Calls", "0", ("none in this range",)), *of_summary(None), missed, completeness(rollup)]
    functions, times = once["function"].nunique(), rollup["start_time"]
    many = f"of {functions:,} function{'' if functions == 1 else 's'} that were called"
    when = f"{_day(times.min(), tz)} to {_day(times.max(), tz)}"
    return [
        KeyFigure("Calls", f"{count(rollup):,}", (many, when)),
        *of_summary(_together(rollup)),
        missed,
        completeness(rollup),
    ]


def table(summary: pd.DataFrame, tz: str) -> Table:
    """
    Lay out the summary of a rollup.

    Parameters
    ----------
    summary
        What `summarize_rollup` gave, by one thing.
    tz
        Time zone of the times.

    Returns
    -------
    table
        A row a group.
    """
    by = "start time" if summary.index.name == "start_time" else str(summary.index.name)
    heads = [by, *(f"#{name}" for name in ("calls", "failed", "timeout", "running", "failure rate"))]
    heads += ["#p50", "#p95", "#longest", "#delay p50", "#delay p95"]
    rows = [
        [
            Cell(_day(name, tz)) if isinstance(name, pd.Timestamp) else truncate(name),
            *(
                Cell(f"{row[one]:,}", tone="" if row[one] else "faint")
                for one in ("calls", "failed", "timeout", "running")
            ),
            Cell(
                format_percent(row["failure_rate"]),
                format_interval(format_percent(row["failure_rate_low"]), format_percent(row["failure_rate_high"])),
            ),
            *(Cell(format_lower_bound(row[f"duration_{one}"], row[f"duration_{one}_above"])) for one in ("p50", "p95")),
            *(
                Cell(_NONE if pd.isna(row[one]) else format_duration(row[one]))
                for one in ("duration_max", "schedule_delay_p50", "schedule_delay_p95")
            ),
        ]
        for name, row in zip(summary.index, summary.to_dict("records"), strict=True)
    ]
    note = "p50 and p95 are durations of completed work, within 1 %; delay is from the scheduled time to the start."
    return Table(f"Calls by {by}", heads, rows, note)


def stretches(coverage: pd.DataFrame, tz: str) -> Table:
    """
    Lay out which stretches of time are known.

    Parameters
    ----------
    coverage
        What `Archive.coverage` gave.
    tz
        Time zone of the times.

    Returns
    -------
    table
        A row a stretch.
    """
    tones = {"complete": "", "partial": "bad", "missing": "bad"}
    rows = [
        [
            Cell(format_time(row["start_time"], tz)),
            Cell(format_time(row["end_time"], tz)),
            Cell(str(row["state"]), tone=tones.get(str(row["state"]), "")),
            Cell(f"{row['functions']:,}"),
            *(
                Cell("" if _lacks(row[name]) else truncate(row[name], 200).text)
                for name in ("missing_functions", "reason")
            ),
        ]
        for row in coverage.to_dict("records")
    ]
    heads = [f"from ({tz})", "until", "known", "#functions", "lacking", "why"]
    return Table("Which stretches of time are known", heads, rows)


def _lacks(value: Any) -> bool:
    return not isinstance(value, str) or not value


def _together(rollup: pd.DataFrame) -> dict[Any, Any]:
    """Summarize all calls together."""
    one = pd.CategoricalDtype(pd.Series(["all calls"], dtype=frame.TEXT))
    all_calls = pd.Categorical.from_codes([0] * len(rollup), dtype=one)
    row = summarize_rollup(rollup.assign(function=all_calls)).to_dict("records")[0]
    delays = rollup[rollup["measure"] == "schedule_delay"]
    scheduled = int(delays["count"].sum())
    late = int(delays.loc[delays["bucket"] > LATE, "count"].sum())
    return {**row, "scheduled": scheduled, "late_rate": late / scheduled if scheduled else float("nan")}


def _day(time: pd.Timestamp, tz: str) -> str:
    return format_time(time, tz)[:10]
