"""A stretch of time, from words users write to the milliseconds the API takes."""

from __future__ import annotations

import datetime as dt
import itertools
import re
import warnings
import zoneinfo
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from callframe.errors import ArgumentError

MAX_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, the last that ISO 8601 writes with four digits."""
TimeLike: TypeAlias = "str | dt.date | dt.datetime | pd.Timestamp | np.datetime64"
"""A timestamp, a date, an ISO 8601 string or an age such as "7d"; without a time zone it is UTC."""

DurationLike: TypeAlias = "str | dt.timedelta | np.timedelta64"
"""A length of time: words such as "90s", "15min" and "1h", or a timedelta."""

_UNITS = {
    "ms": "milliseconds", "s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"
}  # fmt: skip
_AGE = re.compile(r"\s*(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>s|min|m|h|d|w|y)\s*", re.IGNORECASE)
_SPAN = re.compile(r"\s*(?P<count>\d+(?:\.\d+)?)?\s*(?P<unit>(?i:ms|s|min|h|d|w)|m)\s*")  # "1M" is a month elsewhere
_EXPECTED = (
    'expected a timestamp, a date, an ISO 8601 string such as "2026-10-29T12:00Z" or an age such as "7d" or "36h"'
)
_DAYS_A_YEAR = 365


@dataclass(frozen=True)
class TimeRange:
    """
    A stretch of time, its end excluded.

    Parameters
    ----------
    start_ms, end_ms
        Milliseconds since 1970-01-01 UTC.
    """

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        """Length in milliseconds."""
        return self.end_ms - self.start_ms

    @property
    def start(self) -> pd.Timestamp:
        """The first moment."""
        return timestamp(self.start_ms)

    @property
    def end(self) -> pd.Timestamp:
        """The first moment after it."""
        return timestamp(self.end_ms)

    def split(self, parts: int) -> list[TimeRange]:
        """
        Cut into windows of about equal length that touch and do not overlap.

        Parameters
        ----------
        parts
            How many to make; fewer where a part would be shorter than a millisecond.

        Returns
        -------
        windows
            In the order of time.
        """
        count = max(1, min(parts, self.length_ms))
        edges = [self.start_ms + self.length_ms * k // count for k in range(count + 1)]
        return [TimeRange(low, high) for low, high in itertools.pairwise(edges)]


def time_range(start: TimeLike, end: TimeLike | None, *, now_ms: int) -> TimeRange:
    """
    Make a window of what a user wrote.

    Parameters
    ----------
    start, end
        Its ends; no end is now.
    now_ms
        The moment that ages count back from, in milliseconds since 1970-01-01 UTC.

    Returns
    -------
    window
        Whole milliseconds, at least one.

    Raises
    ------
    ArgumentError
        One of them cannot be read, or the start does not come before the end.
    """
    start_ms = parse_time(start, name="start", now_ms=now_ms)
    end_ms = now_ms if end is None else parse_time(end, name="end", now_ms=now_ms)
    if start_ms >= end_ms:
        ending = "now" if end is None else "the end"
        raise ArgumentError(
            f"start={start!r} is {iso(start_ms)}, which is not before {ending}, {iso(end_ms)}. The end is excluded;"
            " give a start before it."
        )
    return TimeRange(start_ms, end_ms)


def parse_time(value: TimeLike, *, name: str, now_ms: int) -> int:
    """
    Read a point in time.

    Parameters
    ----------
    value
        A timestamp, a date, an ISO 8601 string or an age; without a time zone it is UTC.
    name
        What the argument is called, for the message.
    now_ms
        The moment that ages count back from, in milliseconds since 1970-01-01 UTC.

    Returns
    -------
    time_ms
        Milliseconds since 1970-01-01 UTC.

    Raises
    ------
    ArgumentError
        It cannot be read, or lies before 1970 or after the year 9999.
    """
    if isinstance(value, str) and (age := _AGE.fullmatch(value)):
        return max(0, now_ms - _age_ms(age))
    if isinstance(value, str) and value.strip().lower() == "now":
        return now_ms
    time_ms = _stamp_ms(value, name)
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise ArgumentError(f"{name}={value!r} is outside 1970 to 9999, the years the service knows.")
    return time_ms


def parse_duration(value: DurationLike, *, name: str) -> int:
    """
    Read a length of time.

    Parameters
    ----------
    value
        Words such as "90s", "15min" and "1h", where no number is one, or a timedelta.
    name
        What the argument is called, for the message.

    Returns
    -------
    span_ms
        Whole milliseconds, none of them negative.

    Raises
    ------
    ArgumentError
        It cannot be read, or is negative.
    """
    words = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if words:
        return _span_ms(float(words["count"] or 1), words["unit"].lower())
    if isinstance(value, dt.timedelta | np.timedelta64) and value == value:  # noqa: PLR0124 - NaT differs from itself
        seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value / np.timedelta64(1, "s")
        if seconds >= 0:
            return int(round(seconds * 1_000_000) // 1_000)
    raise ArgumentError(
        f'{name}={value!r} cannot be read; expected words such as "90s", "15min" or "1h", or a timedelta.'
    )


def time_zone(tz: str) -> zoneinfo.ZoneInfo:
    """
    Find a time zone.

    Parameters
    ----------
    tz
        Its name, such as `"Europe/Oslo"`.

    Returns
    -------
    zone
        The time zone.

    Raises
    ------
    ArgumentError
        None is called that.
    """
    try:
        return zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones is no zone either
        pass
    raise ArgumentError(f"tz={tz!r} is no time zone; expected a name such as 'UTC' or 'Europe/Oslo'.")


def timestamp(time_ms: int) -> pd.Timestamp:
    """Make a pandas timestamp in UTC of milliseconds since 1970."""
    return pd.Timestamp(time_ms, unit="ms", tz="UTC").as_unit("ms")


def iso(time_ms: int) -> str:
    """Write milliseconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return timestamp(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age_ms(age: re.Match[str]) -> int:
    count, unit = float(age["count"]), age["unit"].lower()
    if unit == "y":
        count, unit = count * _DAYS_A_YEAR, "d"
    return _span_ms(count, unit)


def _span_ms(count: float, unit: str) -> int:
    try:
        return int(dt.timedelta(**{_UNITS[unit]: count}) / dt.timedelta(milliseconds=1))
    except OverflowError:
        return MAX_TIME_MS


def _stamp_ms(value: TimeLike, name: str) -> int:
    if not isinstance(value, str | dt.date | np.datetime64):
        raise ArgumentError(f"{name}={value!r} is of type {type(value).__name__}; {_EXPECTED}.")
    if isinstance(value, str) and not re.match(r"\s*\d{4}-\d", value):  # "5" and "noon" mean something to pandas
        raise ArgumentError(f"{name}={value!r} cannot be read; {_EXPECTED}.")
    stamp = _stamp(value)
    if stamp is None:
        raise ArgumentError(f"{name}={value!r} cannot be read; {_EXPECTED}.")
    naive = stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)
    return int(naive.asm8.astype("datetime64[ms]").astype("int64"))


def _stamp(value: TimeLike) -> pd.Timestamp | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # pandas 2 takes a zone it does not know for UTC
            stamp = pd.Timestamp(value)
    except (ValueError, OverflowError, FutureWarning):
        return None
    return None if stamp != stamp else stamp  # noqa: PLR0124 - NaT alone differs from itself
