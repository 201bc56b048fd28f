"""The slots of a schedule: those of its cron expression, or of a cadence that its calls show."""

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

OFF_CADENCE = 0.2
"""Share of slots without a call beyond which an inferred cadence is not one."""

_FIELDS = 5
_FEWEST_GAPS = 3


class CronError(ValueError):
    """An expression that cannot be read, or calls that show no cadence."""


def cron_times(expression: str | None, start: int, end: int) -> Minutes:
    """
    List the slots of a cron expression of five fields, in UTC.

    Where day of month and day of week are both restricted, either will do, as in Debian's cron.

    Parameters
    ----------
    expression
        Minute, hour, day of month, month, day of week.
    start, end
        The stretch, in minutes since 1970-01-01, end excluded.

    Returns
    -------
    slots
        Minutes since 1970-01-01, ascending.

    Raises
    ------
    SlotsError
        The expression cannot be read.
    """
    fields = expression.split() if expression is not None else []
    if not fields:
        raise CronError("it has no cron expression")
    if len(fields) != _FIELDS:
        raise CronError(f"{expression!r} has {len(fields)} fields; a cron expression has {_FIELDS}")
    minute, hour, *day = fields
    try:
        days = _days(" ".join(day), start // DAY_MINUTES, -(-end // DAY_MINUTES))
        times = _times_of_day(minute, hour)
    except (CronSimError, ValueError) as error:
        raise CronError(f"{expression!r} cannot be read: {error}") from None
    slots = (days[:, None] * DAY_MINUTES + times).ravel()
    return slots[(slots >= start) & (slots < end)]


@lru_cache(maxsize=4096)
def _times_of_day(minute: str, hour: str) -> Minutes:
    """List the minutes of a day: cronsim reads the fields, the product of days and minutes is left to numpy."""
    midnight = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    found = []
    for slot in CronSim(f"{minute} {hour} * * *", midnight - dt.timedelta(minutes=1)):
        if slot >= midnight + dt.timedelta(days=1):
            break
        found.append(slot.hour * 60 + slot.minute)
    return np.array(found, dtype="int64")


@lru_cache(maxsize=4096)
def _days(fields: str, start: int, end: int) -> Minutes:
    """List the days of a stretch, counted from 1970, that the last three fields let through."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    found = []
    for slot in CronSim(f"0 0 {fields}", epoch + dt.timedelta(days=start, minutes=-1)):
        day = (slot - epoch).days
        if day >= end:
            break
        found.append(day)
    return np.array(found, dtype="int64")


def cadence_times(called: Minutes) -> tuple[Minutes, int]:
    """
    List the slots of a schedule that is known from its calls alone.

    The most frequent gap is taken for the cadence; what the schedule itself always left out is no slot.

    Parameters
    ----------
    called
        The slots that have calls, in minutes since 1970-01-01, ascending.

    Returns
    -------
    slots, gap
        Minutes since 1970-01-01, ascending, and the cadence in minutes.

    Raises
    ------
    SlotsError
        The calls are too few or too irregular.
    """
    gaps, often = np.unique(np.diff(called), return_counts=True)
    if often.sum() < _FEWEST_GAPS:
        raise CronError("it is listed no more, and has too few calls to infer when it ran")
    gap = int(gaps[np.argmax(often)])
    slots = np.arange(called[0], called[-1] + 1, gap)
    for size, count in ((1, 60), (60, 24), (DAY_MINUTES, 7)):  # minutes of the hour, hours of the day, weekdays
        slots = slots[~_never(slots, called, size, count)]
    lacking = np.count_nonzero(~np.isin(slots, called, assume_unique=True))
    if lacking > OFF_CADENCE * len(slots):
        raise CronError("it is listed no more, and its calls are too irregular to infer when it ran")
    return slots, gap


def _never(slots: Minutes, called: Minutes, size: int, count: int) -> NDArray[np.bool_]:
    """Mark slots in an hour, say, that never had a call, though it came round more than once."""
    values = slots // size % count
    came = pd.unique(slots // (size * count) * count + values)
    rounds = np.bincount(came % count, minlength=count)
    seen = np.isin(values, called // size % count)
    return ~seen & (rounds[values] > 1)
