"""Times, ages and durations: what users may write, epoch milliseconds, and arrays of both."""

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

TimeLike: TypeAlias = "str | dt.date | dt.datetime | pd.Timestamp | np.datetime64"
"""A timestamp, a date, an ISO 8601 string or an age such as "7d"; without a time zone it is UTC."""

DurationLike: TypeAlias = "str | dt.timedelta | np.timedelta64"
"""A duration: text such as "90s", "15min" or "1h30min", or a timedelta."""

MINUTE_MS = 60_000
DAY_MS = 86_400_000
MAX_TIME_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, the last that ISO 8601 writes with four digits."""
NO_TIME = int(np.iinfo("int64").min)
"""The integer that stands for a missing time or duration, as in NumPy's own NaT."""

_UNITS = {
    "ms": r"ms|milliseconds?",
    "s": r"s|secs?|seconds?",
    "min": r"m|mins?|minutes?",
    "h": r"h|hrs?|hours?",
    "d": r"d|days?",
    "w": r"w|weeks?",
    "y": r"y|years?",
}
_UNIT_MS = {"ms": 1, "s": 1_000, "min": MINUTE_MS, "h": 60 * MINUTE_MS, "d": DAY_MS, "w": 7 * DAY_MS, "y": 365 * DAY_MS}
_NAMED_UNITS = "|".join(f"(?P<{unit}>{spellings})" for unit, spellings in _UNITS.items())
_TERM = re.compile(rf"\s*(?P<count>\d+(?:\.\d+)?)\s*(?:{_NAMED_UNITS})(?![a-z])\s*", re.IGNORECASE)
_MONTH = re.compile(r"(?<![A-Za-z])M(?![A-Za-z])")  # a month in pandas, and a minute to nobody
_WEEK_MS = 7 * DAY_MS
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05, the first Monday since the epoch
_EXPECTED_TIME = (
    'expected a timestamp, a date, an ISO 8601 string such as "2026-10-29T12:00Z" or an age such as "7d" or "36h"'
)


@dataclass(frozen=True)
class TimeRange:
    """A range of times in milliseconds since 1970-01-01 UTC, its end excluded."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        """Length in milliseconds."""
        return self.end_ms - self.start_ms

    @property
    def start(self) -> pd.Timestamp:
        """The first time in the range."""
        return timestamp(self.start_ms)

    @property
    def end(self) -> pd.Timestamp:
        """The first time after the range."""
        return timestamp(self.end_ms)

    def split(self, parts: int) -> list[TimeRange]:
        """Split into adjacent ranges of about equal length, each at least a millisecond long."""
        count = max(1, min(parts, self.length_ms))
        edges = [self.start_ms + self.length_ms * k // count for k in range(count + 1)]
        return [TimeRange(low, high) for low, high in itertools.pairwise(edges)]


def time_range(start: TimeLike, end: TimeLike | None, *, now_ms: int) -> TimeRange:
    """Parse the start and end that a user gave; without an end it is now. Ages count back from `now_ms`."""
    start_ms = parse_time(start, name="start", now_ms=now_ms)
    end_ms = now_ms if end is None else parse_time(end, name="end", now_ms=now_ms)
    if start_ms >= end_ms:
        end_name = "now" if end is None else "the end"
        raise ArgumentError(
            f"start={start!r} is {iso(start_ms)}, which is not before {end_name}, {iso(end_ms)}. The end is excluded;"
            " give an earlier start."
        )
    return TimeRange(start_ms, end_ms)


def parse_time(value: TimeLike, *, name: str, now_ms: int) -> int:
    """Parse a point in time to epoch milliseconds; ages count back from `now_ms`, and `name` is for the message."""
    if isinstance(value, str) and value.strip().lower() == "now":
        return now_ms
    if isinstance(value, str) and (age_ms := _parse_terms(value)) is not None:
        return max(0, now_ms - age_ms)
    time_ms = _timestamp_ms(value, name)
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise ArgumentError(f"{name}={value!r} is outside the supported years 1970 to 9999.")
    return time_ms


def parse_duration(value: DurationLike, *, name: str, at_least_ms: int = 0) -> int:
    """Parse a duration to milliseconds: "90s", "1.5h", "1h30min", a bare unit such as "D", or a timedelta."""
    duration_ms = _duration_ms(value)
    if duration_ms is None:
        raise ArgumentError(
            f'{name}={value!r} is not a duration; expected text such as "90s", "15min", "1h30min" or "7d", or a'
            " timedelta, not negative."
        )
    if duration_ms < at_least_ms:
        least = "1 ms" if at_least_ms == 1 else pd.Timedelta(at_least_ms, "ms")
        raise ArgumentError(f"{name}={value!r} is too short; expected at least {least}.")
    return duration_ms


def time_zone(tz: str) -> zoneinfo.ZoneInfo:
    """Look up a time zone by its IANA name."""
    try:
        return zoneinfo.ZoneInfo(tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # the name of a folder of zones is an OSError
        pass
    raise ArgumentError(f"tz={tz!r} is not a time zone; expected a name such as 'UTC' or 'Europe/Oslo'.")


def timestamp(time_ms: int) -> pd.Timestamp:
    """Convert epoch milliseconds to a timestamp in UTC."""
    return pd.Timestamp(time_ms, unit="ms", tz="UTC").as_unit("ms")


def iso(time_ms: int) -> str:
    """Format epoch milliseconds as ISO 8601 in UTC, to the millisecond."""
    return timestamp(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_milliseconds(column: pd.Series) -> np.ndarray:
    """Convert times to epoch milliseconds, or durations to milliseconds; `NO_TIME` where missing."""
    naive = column.dt.tz_convert(None) if isinstance(column.dtype, pd.DatetimeTZDtype) else column
    values = naive.to_numpy()
    milliseconds: np.ndarray = values.astype(f"{values.dtype.kind}8[ms]", copy=False).view("int64")
    return milliseconds


def from_epoch_ms(time_ms: np.ndarray) -> pd.DatetimeIndex:
    """Convert epoch milliseconds to times in UTC; `NO_TIME` becomes NaT."""
    return pd.DatetimeIndex(time_ms.view("datetime64[ms]")).tz_localize("UTC")


def to_timedelta(duration_ms: np.ndarray) -> np.ndarray:
    """Convert integer milliseconds to `timedelta64[ms]`; `NO_TIME` becomes NaT."""
    return duration_ms.astype("int64", copy=False).view("timedelta64[ms]")


def floor_ms(time_ms: np.ndarray, width_ms: int) -> np.ndarray:
    """Round epoch milliseconds down to the start of their bin; whole weeks start on Mondays."""
    origin = _MONDAY_MS if width_ms % _WEEK_MS == 0 else 0
    return (time_ms - origin) // width_ms * width_ms + origin


def _duration_ms(value: object) -> int | None:
    """Convert a duration to milliseconds, None if it cannot be one."""
    if isinstance(value, str):
        return _parse_terms(value if re.search(r"\d", value) else f"1{value.strip()}")
    if isinstance(value, dt.timedelta | np.timedelta64) and value == value:  # noqa: PLR0124 - NaT differs from itself
        seconds = value.total_seconds() if isinstance(value, dt.timedelta) else float(value / np.timedelta64(1, "s"))
        return int(round(seconds * 1_000_000) // 1_000) if seconds >= 0 else None
    return None


def _parse_terms(text: str) -> int | None:
    """Add up the terms of a text such as "1h30min", None if it is not made of them."""
    if _MONTH.search(text) or not text:
        return None
    total_ms = 0.0
    while text:
        if (term := _TERM.match(text)) is None:
            return None
        [unit] = [name for name, spelling in term.groupdict().items() if spelling and name != "count"]
        total_ms, text = total_ms + float(term["count"]) * _UNIT_MS[unit], text[term.end() :]
    return int(min(total_ms, MAX_TIME_MS))


def _timestamp_ms(value: TimeLike, name: str) -> int:
    if not isinstance(value, str | dt.date | np.datetime64):
        raise ArgumentError(f"{name}={value!r} is of type {type(value).__name__}; {_EXPECTED_TIME}.")
    if isinstance(value, str) and not re.match(r"\s*\d{4}-\d", value):  # pandas accepts "5" and "noon"
        raise ArgumentError(f"{name}={value!r} cannot be parsed; {_EXPECTED_TIME}.")
    stamp = _parse_timestamp(value)
    if stamp is None:
        raise ArgumentError(f"{name}={value!r} cannot be parsed; {_EXPECTED_TIME}.")
    naive = stamp if stamp.tzinfo is None else stamp.tz_convert("UTC").tz_localize(None)
    return int(naive.asm8.astype("datetime64[ms]").astype("int64"))


def _parse_timestamp(value: TimeLike) -> pd.Timestamp | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # pandas 2 reads an unknown time zone as UTC
            stamp = pd.Timestamp(value)
    except (ValueError, OverflowError, FutureWarning):
        return None
    return None if stamp != stamp else stamp  # noqa: PLR0124 - only NaT differs from itself
