"""The few numbers at the top of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.summary import summarize
from callframe.completeness import Coverage
from callframe.formatting import format_duration, format_percent
from callframe.reporting.tables import format_interval, format_lower_bound, format_time
from callframe.timespan import timestamp

if TYPE_CHECKING:
    from typing import Any

_NONE = "–"  # noqa: RUF001 - as tables have it


@dataclass(frozen=True)
class KeyFigure:
    """
    One number.

    Parameters
    ----------
    name
        What it is of.
    value
        The number, as text.
    asides
        What it takes to read it.
    tone
        A class of its looks.
    """

    name: str
    value: str
    asides: tuple[str, ...] = ()
    tone: str = ""


def key_figures(calls: pd.DataFrame, report: pd.DataFrame | None, tz: str) -> list[KeyFigure]:
    """
    Measure what stands at the top.

    Parameters
    ----------
    calls
        Call frame.
    report
        What `schedule_report` gave, None where the schedules are not known.
    tz
        Time zone of the times.

    Returns
    -------
    figures
        Always the same ones in the same order; what is not known says so.
    """
    return [
        KeyFigure("Calls", f"{len(calls):,}", _whose(calls, tz)),
        *_measured(calls),
        _missed(report),
        completeness(calls),
    ]


def _whose(calls: pd.DataFrame, tz: str) -> tuple[str, ...]:
    if calls.empty:
        return ("none in this frame",)
    functions, start = calls["function"].nunique(), calls["start_time"]
    many = f"of {functions:,} function{'' if functions == 1 else 's'} that were called"
    return many, f"{format_time(start.min(), tz)} to {format_time(start.max(), tz)} {tz}"


def _measured(calls: pd.DataFrame) -> list[KeyFigure]:
    """Summarize all calls together."""
    if calls.empty:
        return of_summary(None)
    one = pd.CategoricalDtype(pd.Series(["all calls"], dtype=frame.TEXT))
    together = calls.assign(function=pd.Categorical.from_codes(np.zeros(len(calls), dtype="int64"), dtype=one))
    return of_summary(summarize(together).to_dict("records")[0])


def of_summary(row: dict[Any, Any] | None) -> list[KeyFigure]:
    """
    Write the row of a summary of all calls together as figures.

    Parameters
    ----------
    row
        Of `summarize` or `summarize_rollup`, the latter with `scheduled` and `late_rate`; None for no calls.

    Returns
    -------
    figures
        Failure rate, median and p95 of durations, p95 of schedule delays.
    """
    names = ("Failure rate", "Duration, median", "Duration, p95", "Schedule delay, p95")
    if row is None:
        return [KeyFigure(name, "no data") for name in names]
    failures, finished = row["failed"] + row["timeout"], row["failed"] + row["timeout"] + row["completed"]
    return [
        KeyFigure(
            names[0],
            format_percent(row["failure_rate"]),
            (
                *_within(format_percent(row["failure_rate_low"]), format_percent(row["failure_rate_high"])),
                f"{failures:,} of {finished:,} finished",
                f"{row['running']:,} running",
            ),
        ),
        *(_duration(name, row, f"duration_{mark}") for name, mark in zip(names[1:3], ("p50", "p95"), strict=True)),
        _delay(names[3], row),
    ]


def _duration(name: str, row: dict[Any, Any], column: str) -> KeyFigure:
    value = format_lower_bound(row[column], row[f"{column}_above"])
    if value == _NONE:
        return KeyFigure(name, "no data")
    if value.startswith(">"):
        return KeyFigure(name, value, ("cut off or still running before it could be seen",))
    return KeyFigure(
        name,
        value,
        (
            *_within(*(format_duration(row.get(f"{column}_{end}", pd.NaT)) for end in ("low", "high"))),
            "of completed work",
        ),
    )


def _delay(name: str, row: dict[Any, Any]) -> KeyFigure:
    if not row["scheduled"]:
        return KeyFigure(name, "no data", ("no call was started by a schedule",))
    late = f"{format_percent(row['late_rate'])} later than 1 min"
    return KeyFigure(
        name, format_duration(row["schedule_delay_p95"]), (late, f"of {row['scheduled']:,} scheduled calls")
    )


def _missed(report: pd.DataFrame | None) -> KeyFigure:
    if report is None:
        return KeyFigure("Missed runs", "not known", ("schedules were not given",))
    counts = {name: int(report[name].sum()) for name in ("expected", "missed", "unconfirmed", "unknown")}
    slots = f"of {counts['expected']:,} slot{'' if counts['expected'] == 1 else 's'}"
    others = [f"{counts[name]:,} {name}" for name in ("unconfirmed", "unknown") if counts[name]]
    if not counts["expected"]:
        return KeyFigure("Missed runs", "no data", ("no slot of a schedule can be judged",))
    # With every slot unknown, 0 would say what nobody knows.
    known = counts["expected"] > counts["unknown"]
    value = f"{counts['missed']:,}" if known else "not known"
    return KeyFigure("Missed runs", value, (slots, *others), "bad" if counts["missed"] else "")


def completeness(table: pd.DataFrame) -> KeyFigure:
    """
    Say how completely the calls were read that a table is of.

    Parameters
    ----------
    table
        Call frame or rollup.

    Returns
    -------
    figure
        Of the coverage in its `attrs`.
    """
    if (known := Coverage.of(table)) is None:
        return KeyFigure("Coverage", "not known", ("the frame does not say how it was read",))
    count = len(known.functions)
    read = sum(function.complete for function in known.functions)
    aside: tuple[str, ...] = (f"{read:,} of {count:,} function{'' if count == 1 else 's'} read completely",)
    set_aside = known.set_aside
    aside += (f"{set_aside:,} records set aside",) if set_aside else ()
    complete = known.complete
    return KeyFigure("Coverage", "complete" if complete else "INCOMPLETE", aside, "" if complete else "bad")


def _within(low: str, high: str) -> tuple[str, ...]:
    words = format_interval(low, high)
    return (f"95 %: {words}",) if words else ()


def source(calls: pd.DataFrame, tz: str) -> list[tuple[str, str]]:
    """
    Say where the calls come from.

    Parameters
    ----------
    calls
        Call frame.
    tz
        Time zone of the times.

    Returns
    -------
    source
        Pairs of a name and what it is; none where the frame does not say.
    """
    known = Coverage.of(calls)
    if known is None:
        return []
    window = known.window
    times = f"{format_time(window.start, tz)} to {format_time(window.end, tz)} {tz}" if window else None
    rows = {
        "Project": known.project,
        "Window": times,
        "Fetched": f"{format_time(timestamp(known.fetched_ms), tz)} {tz}",
        "Only of status": ", ".join(known.statuses),
        "Only of schedules": ", ".join(map(str, known.schedule_ids)),
    }
    return [(name, value) for name, value in rows.items() if value]
