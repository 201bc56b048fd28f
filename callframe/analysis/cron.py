"""The times at which a schedule is due: from its cron expression, or inferred from the calls it started."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Minutes = NDArray[np.int64]

DAY_MINUTES = 24 * 60

MAX_MISSING_SHARE = 0.2
"""Share of due times without a call beyond which an inferred cadence is rejected."""

_FIELDS = 5
_MIN_GAPS = 3
_NICKNAMES = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip


class CronError(ValueError):
    """A cron expression that cannot be parsed, or calls that show no cadence."""


def cron_times(expression: str | None, start: int, end: int) -> Minutes:
    """
    List the times of a cron expression in UTC, as minutes since 1970 from `start` to before `end`.

    Where day of month and day of week are both restricted, either is enough, as in Debian's cron.
    """
    if expression is None or not expression.strip():
        raise CronError("it has no cron expression")
    minute, hour, *day = _five_fields(expression)
    try:
        days = _days(" ".join(day), start // DAY_MINUTES, -(-end // DAY_MINUTES))
        times = _times_of_day(minute, hour)
    except (CronSimError, ValueError) as error:
        raise CronError(f"{expression!r} cannot be parsed: {error}") from None
    minutes = (days[:, None] * DAY_MINUTES + times).ravel()
    return minutes[(minutes >= start) & (minutes < end)]


def cadence_times(called: Minutes) -> tuple[Minutes, int]:
    """
    Infer when a schedule was due from the scheduled times of its calls, in ascending minutes since 1970.

    The most frequent gap is the cadence, returned in minutes; minutes, hours and weekdays that the schedule always left
    out are not due.
    """
    gaps, counts = np.unique(np.diff(called), return_counts=True)
    if counts.sum() < _MIN_GAPS:
        raise CronError("has too few calls to infer when it ran")
    gap = int(gaps[np.argmax(counts)])
    phases, counts = np.unique(called % gap, return_counts=True)
    first = called[called % gap == phases[np.argmax(counts)]][0]
    due = np.arange(first - (first - called[0]) // gap * gap, called[-1] + 1, gap)
    for size, count in ((1, 60), (60, 24), (DAY_MINUTES, 7)):  # minutes of the hour, hours of the day, weekdays
        due = due[~_never_called(due, called, size, count)]
    missing = np.count_nonzero(~np.isin(due, called, assume_unique=True))
    if missing > MAX_MISSING_SHARE * len(due):
        raise CronError("its calls are too irregular to infer when it ran")
    return due, gap


def _five_fields(expression: str) -> list[str]:
    """
    Translate to the five fields of Debian's cron what has one meaning there: nicknames, and expressions of Quartz.

    Quartz has seconds before and years after the five fields, says `?` for a day that does not matter, and counts
    weekdays from 1 on Sunday. Of six fields, the place of the `?` tells which is missing.
    """
    fields = _NICKNAMES.get(expression.strip().lower(), expression).upper().split()
    count, of_quartz, seconds, years = len(fields), "?" in fields or len(fields) > _FIELDS + 1, "0", "*"
    if len(fields) == _FIELDS + 2 or (len(fields) == _FIELDS + 1 and "?" in fields[3::2]):
        seconds, *fields = fields
    if len(fields) == _FIELDS + 1 and of_quartz:
        *fields, years = fields
    if len(fields) != _FIELDS:
        raise CronError(f"{expression!r} has {count} fields; expected a cron expression of {_FIELDS} fields")
    if not of_quartz:
        return fields
    minute, hour, day, month, weekday = fields
    unclear = "/" in weekday or (count == _FIELDS and re.search("[0-9]", weekday))
    if unclear or (seconds, years) != ("0", "*") or (day == weekday == "?") or not {day, weekday} & {"?", "*"}:
        raise CronError(f"{expression!r} cannot be translated to a cron expression of {_FIELDS} fields with certainty")
    weekday = re.sub("(?<!#)[0-9]", lambda match: "9012345699"[int(match[0])], weekday)  # 9: invalid
    return [minute, hour, day.replace("?", "*"), month, weekday.replace("?", "*")]


@lru_cache(maxsize=4096)
def _times_of_day(minute: str, hour: str) -> Minutes:
    """List the minutes of a day. cronsim parses the fields; NumPy multiplies days and minutes, which is faster."""
    midnight = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    minutes = []
    for time in CronSim(f"{minute} {hour} * * *", midnight - dt.timedelta(minutes=1)):
        if time >= midnight + dt.timedelta(days=1):
            break
        minutes.append(time.hour * 60 + time.minute)
    return np.array(minutes, dtype="int64")


@lru_cache(maxsize=4096)
def _days(fields: str, start: int, end: int) -> Minutes:
    """List the days since 1970 that the last three fields select."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    days = []
    for time in CronSim(f"0 0 {fields}", epoch + dt.timedelta(days=start, minutes=-1)):
        day = (time - epoch).days
        if day >= end:
            break
        days.append(day)
    return np.array(days, dtype="int64")


def _never_called(due: Minutes, called: Minutes, size: int, count: int) -> NDArray[np.bool_]:
    """Mark times whose minute of the hour, for example, never had a call, though it came round more than once."""
    values = due // size % count
    cycles = pd.unique(due // (size * count) * count + values)
    rounds = np.bincount(cycles % count, minlength=count)
    return ~np.isin(values, called // size % count) & (rounds[values] > 1)
