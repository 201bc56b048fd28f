"""The key figures at the top of reports and dashboards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.aggregates import FAILURES
from callframe.analysis.rollup import summarize_rollup
from callframe.analysis.summary import summarize
from callframe.completeness import NO_COVERAGE, Coverage, count_repeated, format_repeated
from callframe.formatting import (
    MISSING,
    format_duration,
    format_interval,
    format_lower_bound,
    format_percent,
    format_time,
)
from callframe.limits import DEFAULT_LATE_AFTER
from callframe.timespan import parse_duration, timestamp

LATE_AFTER = pd.Timedelta(parse_duration(DEFAULT_LATE_AFTER, name="late_after"), "ms")
"""The schedule delay beyond which a call counts as late."""

_NAMES = ("Failure rate", "Duration, median", "Duration, p95", "Schedule delay, p95")


@dataclass(frozen=True)
class KeyFigure:
    """A number as text, with remarks and a CSS class."""

    name: str
    value: str
    remarks: tuple[str, ...] = ()
    css_class: str = ""


def key_figures(calls: pd.DataFrame, schedule_report: pd.DataFrame | None, tz: str) -> list[KeyFigure]:
    """Compute the key figures of calls: always the same ones; without schedules missed runs are not known."""
    return [
        _calls(len(calls), calls, tz),
        *_measures(None if calls.empty else summarize(_as_one_function(calls)).to_dict("records")[0]),
        _missed_runs(schedule_report),
        _coverage(calls),
    ]


def rollup_key_figures(rollup: pd.DataFrame, tz: str) -> list[KeyFigure]:
    """Compute the same key figures of a rollup, quantiles within 1 %."""
    count = count_calls(rollup)
    return [
        _calls(count, rollup, tz, days=True),
        *_measures(_summarize_rollup(rollup) if count else None),
        KeyFigure("Missed runs", "not counted", ("over so long a range",)),
        _coverage(rollup),
    ]


def count_figure(calls: pd.DataFrame, tz: str) -> KeyFigure:
    """Count calls."""
    return _calls(len(calls), calls, tz)


def count_calls(rollup: pd.DataFrame) -> int:
    """Count the calls of a rollup."""
    return int(rollup.loc[rollup["measure"] == "duration", "count"].sum())


def source(table: pd.DataFrame, tz: str) -> list[tuple[str, str]]:
    """Describe where the calls of a frame or rollup come from, as pairs of name and value."""
    known = Coverage.of(table)
    if known is None:
        return []
    window = known.window
    rows = {
        "Project": known.project,
        "Window": f"{format_time(window.start, tz)} to {format_time(window.end, tz)} {tz}" if window else None,
        "Fetched": f"{format_time(timestamp(known.fetched_ms), tz)} {tz}",
        "Only of status": ", ".join(known.statuses),
        "Only of schedules": ", ".join(map(str, known.schedule_ids)),
    }
    return [(name, value) for name, value in rows.items() if value]


def _calls(count: int, table: pd.DataFrame, tz: str, *, days: bool = False) -> KeyFigure:
    if not count:
        return KeyFigure("Calls", "0", ("none in this range",))
    functions = table["function"].nunique()
    first, last = (format_time(time, tz) for time in (table["start_time"].min(), table["start_time"].max()))
    when = f"{first[:10]} to {last[:10]}" if days else f"{first} to {last} {tz}"
    return KeyFigure("Calls", f"{count:,}", (f"of {functions:,} function{'' if functions == 1 else 's'}", when))


def _as_one_function(table: pd.DataFrame) -> pd.DataFrame:
    """Relabel all rows as one function, to summarize them together."""
    label = pd.CategoricalDtype(pd.Series(["all calls"], dtype=frame.TEXT))
    return table.assign(function=pd.Categorical.from_codes(np.zeros(len(table), dtype="int64"), dtype=label))


def _summarize_rollup(rollup: pd.DataFrame) -> dict[Any, Any]:
    """Summarize all calls of a rollup together, with the late ones."""
    delays = rollup[rollup["measure"] == "schedule_delay"]
    scheduled = int(delays["count"].sum())
    late = int(delays.loc[delays["bucket"] > LATE_AFTER, "count"].sum())
    [row] = summarize_rollup(_as_one_function(rollup)).to_dict("records")
    return {**row, "scheduled": scheduled, "late_rate": late / scheduled if scheduled else float("nan")}


def _measures(row: dict[Any, Any] | None) -> list[KeyFigure]:
    """Format the summary of all calls; None if there are no calls."""
    if row is None:
        return [KeyFigure(name, "no data") for name in _NAMES]
    failures = sum(row[name] for name in FAILURES)
    interval = format_interval(format_percent(row["failure_rate_low"]), format_percent(row["failure_rate_high"]))
    finished = f"{failures:,} of {failures + row['completed']:,} finished"
    return [
        KeyFigure(
            _NAMES[0],
            format_percent(row["failure_rate"]),
            (*_interval(interval), finished, f"{row['running']:,} running"),
        ),
        _duration(_NAMES[1], row, "duration_p50"),
        _duration(_NAMES[2], row, "duration_p95"),
        _delay(row),
    ]


def _duration(name: str, row: dict[Any, Any], column: str) -> KeyFigure:
    value = format_lower_bound(row[column], row[f"{column}_above"])
    if value == MISSING:
        return KeyFigure(name, "no data")
    if value.startswith(">"):
        return KeyFigure(name, value, ("cut off, or still running",))
    interval = format_interval(*(format_duration(row.get(f"{column}_{end}", pd.NaT)) for end in ("low", "high")))
    return KeyFigure(name, value, (*_interval(interval), "of completed work"))


def _delay(row: dict[Any, Any]) -> KeyFigure:
    if not row["scheduled"]:
        return KeyFigure(_NAMES[3], "no data", ("no call was started by a schedule",))
    late = f"{format_percent(row['late_rate'])} more than {format_duration(LATE_AFTER)} late"
    value = format_duration(row["schedule_delay_p95"])
    return KeyFigure(_NAMES[3], value, (late, f"of {row['scheduled']:,} scheduled calls"))


def _missed_runs(report: pd.DataFrame | None) -> KeyFigure:
    if report is None:
        return KeyFigure("Missed runs", "not known", ("schedules were not given",))
    expected, missed, unconfirmed, unknown = (
        int(report[name].sum()) for name in ("expected", "missed", "unconfirmed", "unknown")
    )
    if not expected:
        return KeyFigure("Missed runs", "no data", ("no scheduled time can be checked",))
    remarks = [f"of {expected:,} scheduled time{'' if expected == 1 else 's'}"]
    remarks += [f"{count:,} {name}" for name, count in (("unconfirmed", unconfirmed), ("unknown", unknown)) if count]
    value = f"{missed:,}" if expected > unknown else "not known"
    return KeyFigure("Missed runs", value, tuple(remarks), "bad" if missed else "")


def _coverage(table: pd.DataFrame) -> KeyFigure:
    if (known := Coverage.of(table)) is None:
        rows = count_repeated(table) if "call_id" in table else 0
        repeated = [format_repeated(rows)] if rows else []
        return KeyFigure("Coverage", "not known", (NO_COVERAGE, *repeated))
    count = len(known.functions)
    read = sum(function.complete for function in known.functions)
    set_aside = sum(sum(function.set_aside.values()) for function in known.functions)
    remarks = [f"{read:,} of {count:,} function{'' if count == 1 else 's'} read completely"]
    remarks += [f"{set_aside:,} records set aside"] if set_aside else []
    return KeyFigure(
        "Coverage",
        {True: "complete", False: "INCOMPLETE", None: "not known"}[known.complete],
        tuple(filter(None, [known.selection, *remarks])),
        "bad" if known.complete is False else "",
    )


def _interval(interval: str) -> tuple[str, ...]:
    return (f"95 %: {interval}",) if interval else ()
