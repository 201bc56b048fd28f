"""The few numbers at the top of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe import frame
from callframe.coverage import KEY, is_complete
from callframe.display import percent, span
from callframe.measures.summary import summarize
from callframe.report.tables import at_least, interval, moment

if TYPE_CHECKING:
    from typing import Any

_NONE = "–"  # noqa: RUF001 - as tables have it


@dataclass(frozen=True)
class Figure:
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


def figures(calls: pd.DataFrame, report: pd.DataFrame | None, tz: str) -> list[Figure]:
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
        Figure("Calls", f"{len(calls):,}", _whose(calls, tz)),
        *_measured(calls),
        _missed(report),
        completeness(calls),
    ]


def _whose(calls: pd.DataFrame, tz: str) -> tuple[str, ...]:
    if calls.empty:
        return ("none in this frame",)
    functions, start = calls["function"].nunique(), calls["start_time"]
    many = f"of {functions:,} function{'' if functions == 1 else 's'} that were called"
    return many, f"{moment(start.min(), tz)} to {moment(start.max(), tz)} {tz}"


def _measured(calls: pd.DataFrame) -> list[Figure]:
    """Summarize all calls together."""
    if calls.empty:
        return of_summary(None)
    one = pd.CategoricalDtype(pd.Series(["all calls"], dtype=frame.TEXT))
    together = calls.assign(function=pd.Categorical.from_codes(np.zeros(len(calls), dtype="int64"), dtype=one))
    return of_summary(summarize(together).to_dict("records")[0])


def of_summary(row: dict[Any, Any] | None) -> list[Figure]:
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
        return [Figure(name, "no data") for name in names]
    failures, finished = row["failed"] + row["timeout"], row["failed"] + row["timeout"] + row["completed"]
    return [
        Figure(
            names[0],
            percent(row["failure_rate"]),
            (
                *_within(percent(row["failure_rate_low"]), percent(row["failure_rate_high"])),
                f"{failures:,} of {finished:,} finished",
                f"{row['running']:,} running",
            ),
        ),
        *(_duration(name, row, f"duration_{mark}") for name, mark in zip(names[1:3], ("p50", "p95"), strict=True)),
        _delay(names[3], row),
    ]


def _duration(name: str, row: dict[Any, Any], column: str) -> Figure:
    value = at_least(row[column], row[f"{column}_above"])
    if value == _NONE:
        return Figure(name, "no data")
    if value.startswith(">"):
        return Figure(name, value, ("cut off or still running before it could be seen",))
    return Figure(
        name,
        value,
        (*_within(*(span(row.get(f"{column}_{end}", pd.NaT)) for end in ("low", "high"))), "of completed work"),
    )


def _delay(name: str, row: dict[Any, Any]) -> Figure:
    if not row["scheduled"]:
        return Figure(name, "no data", ("no call was started by a schedule",))
    late = f"{percent(row['late_rate'])} later than 1 min"
    return Figure(name, span(row["schedule_delay_p95"]), (late, f"of {row['scheduled']:,} scheduled calls"))


def _missed(report: pd.DataFrame | None) -> Figure:
    if report is None:
        return Figure("Missed runs", "not known", ("schedules were not given",))
    counts = {name: int(report[name].sum()) for name in ("expected", "missed", "unconfirmed", "unknown")}
    slots = f"of {counts['expected']:,} slot{'' if counts['expected'] == 1 else 's'}"
    others = [f"{counts[name]:,} {name}" for name in ("unconfirmed", "unknown") if counts[name]]
    if not counts["expected"]:
        return Figure("Missed runs", "no data", ("no slot of a schedule can be judged",))
    # With every slot unknown, 0 would say what nobody knows.
    known = counts["expected"] > counts["unknown"]
    value = f"{counts['missed']:,}" if known else "not known"
    return Figure("Missed runs", value, (slots, *others), "bad" if counts["missed"] else "")


def completeness(table: pd.DataFrame) -> Figure:
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
    if (complete := is_complete(table)) is None:
        return Figure("Coverage", "not known", ("the frame does not say how it was read",))
    rows = table.attrs[KEY]["functions"]
    read = sum(bool(row["complete"]) for row in rows)
    aside: tuple[str, ...] = (f"{read:,} of {len(rows):,} function{'' if len(rows) == 1 else 's'} read completely",)
    set_aside = sum(row["set_aside"] for row in rows)
    aside += (f"{set_aside:,} records set aside",) if set_aside else ()
    return Figure("Coverage", "complete" if complete else "INCOMPLETE", aside, "" if complete else "bad")


def _within(low: str, high: str) -> tuple[str, ...]:
    words = interval(low, high)
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
    held = calls.attrs.get(KEY) or {}
    asked = held.get("window") or {}
    found = {
        "Project": held.get("project"),
        "Window": f"{_time(asked['start'], tz)} to {_time(asked['end'], tz)} {tz}" if asked else None,
        "Fetched": f"{_time(held['fetched_at'], tz)} {tz}" if held.get("fetched_at") else None,
        "Only of status": ", ".join(held.get("status") or ()),
        "Only of schedules": ", ".join(map(str, held.get("schedule_ids") or ())),
    }
    return [(name, str(value)) for name, value in found.items() if value]


def _time(text: str, tz: str) -> str:
    return moment(pd.to_datetime(text, utc=True, errors="coerce"), tz)
