"""The times at which a schedule is due: from its cron expression, or inferred from the calls it started."""

from __future__ import annotations

import datetime as dt
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


class CronError(ValueError):
    """A cron expression that cannot be parsed, or calls that show no cadence."""


def cron_times(expression: str | None, start: int, end: int) -> Minutes:
    """
    List the times of a cron expression with five fields in UTC, as minutes since 1970 from `start` to before `end`.

    Where day of month and day of week are both restricted, either is enough, as in Debian's cron.
    """
    fields = expression.split() if expression is not None else []
    if not fields:
        raise CronError("it has no cron expression")
    if len(fields) != _FIELDS:
        raise CronError(f"{expression!r} has {len(fields)} fields; expected a cron expression of {_FIELDS} fields")
    minute, hour, *day = fields
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
        raise CronError("it is no longer listed, and has too few calls to infer when it ran")
    gap = int(gaps[np.argmax(counts)])
    due = np.arange(called[0], called[-1] + 1, gap)
    for size, count in ((1, 60), (60, 24), (DAY_MINUTES, 7)):  # minutes of the hour, hours of the day, weekdays
        due = due[~_never_called(due, called, size, count)]
    missing = np.count_nonzero(~np.isin(due, called, assume_unique=True))
    if missing > MAX_MISSING_SHARE * len(due):
        raise CronError("it is no longer listed, and its calls are too irregular to infer when it ran")
    return due, gap


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
