"""When made-up functions run: cron schedules that add up to a wanted number of calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

PERIODS = (1440, 720, 360, 240, 120, 60, 30, 20, 15, 10, 5, 2, 1)
"""Minutes between runs, all divisors of a day, so that slots are whole multiples since 1970."""

SKIPPED = 0.004
"""Share of slots that no call fills."""

_PAST_THE_HOUR = (0, 5, 15, 20, 40)


@dataclass(frozen=True)
class Span:
    """The stretch of time a history covers, in ms, and the slice of it in which things went wrong."""

    begin_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        """Length of the stretch."""
        return self.end_ms - self.begin_ms

    def before_end(self, share: float) -> int:
        """Time of a moment that lies a share of the length before the end."""
        return self.end_ms - round(self.length_ms * share)

    @property
    def outage(self) -> tuple[int, int]:
        """First and last moment of the outage: two hours, less in a very short history."""
        begin = self.before_end(0.45)
        return begin, begin + min(2 * HOUR_MS, self.length_ms // 10)


@dataclass(frozen=True)
class ScheduleSpec:
    """
    One schedule: `period` minutes apart, `phase` minutes after midnight, since `created_ms`.

    Its slots lie at or after `created_ms` and before the end of the history.
    """

    period: int
    phase: int
    created_ms: int
    slots: NDArray[np.int64]

    @property
    def cron(self) -> str:
        """Five fields, UTC."""
        hour, minute = divmod(self.phase, 60)
        if self.period == 1:
            return "* * * * *"
        if self.period < 60:  # noqa: PLR2004
            return f"*/{self.period} * * * *"
        if self.period == 60:  # noqa: PLR2004
            return f"{minute} * * * *"
        return f"{minute} {hour} * * *" if self.period == PERIODS[0] else f"{minute} */{self.period // 60} * * *"

    @property
    def when(self) -> str:
        """The same in words."""
        hour, minute = divmod(self.phase, 60)
        if self.period == 1:
            return "Every minute"
        if self.period < 60:  # noqa: PLR2004
            return f"Every {self.period} minutes"
        if self.period == PERIODS[0]:
            return f"At {hour:02}:{minute:02}"
        past = "Every hour" if minute == 0 else f"At {minute} minutes past the hour"
        return past if self.period == 60 else f"{past}, every {self.period // 60} hours"  # noqa: PLR2004


def schedule_specs(
    periods: tuple[int, ...], number: int, span: Span, *, at_most: int, rng: np.random.Generator
) -> list[ScheduleSpec]:
    """
    Set up schedules whose slots are about as many as calls are wanted.

    The usual schedules run all the time where that fits. Too many calls for them bring more schedules of each minute;
    too few leave one that is slower, and set up later, so that runs stay regular at any number.

    Parameters
    ----------
    periods
        Minutes between the runs of the usual schedules.
    number
        Number of scheduled calls wanted.
    span
        The stretch of time.
    at_most
        Number of schedules a function may have.
    rng
        Source of chance.

    Returns
    -------
    timetables
        Their slots may be a few more than `number`, or fewer when no more schedules are allowed.
    """
    found: list[ScheduleSpec] = []
    missing, skipped = number, 2 * SKIPPED * number
    # Each minute again and again, after the usual ones, takes any number.
    for period in (*sorted(periods), *([1] * at_most)):
        table = _timetable(period, span, rng)
        if len(found) < at_most and 0 < len(table.slots) <= missing + skipped:
            found.append(table)
            missing -= len(table.slots)
    if missing > max(4, number * SKIPPED) and len(found) < at_most:
        found.extend(_late(missing + round(missing * SKIPPED) + 1, span, rng))
    return found


def _timetable(period: int, span: Span, rng: np.random.Generator) -> ScheduleSpec:
    phase = 0 if period < 60 else int(rng.choice(_PAST_THE_HOUR))  # noqa: PLR2004
    if period == PERIODS[0]:
        phase += 60 * int(rng.integers(1, 6))
    begin, end = -(-span.begin_ms // MINUTE_MS), (span.end_ms - 1000) // MINUTE_MS
    slots = np.arange(begin + (phase - begin) % period, end + 1, period, dtype=np.int64) * MINUTE_MS
    return ScheduleSpec(period, phase, span.begin_ms - int(rng.integers(20 * DAY_MS, 200 * DAY_MS)), slots)


def _late(number: int, span: Span, rng: np.random.Generator) -> list[ScheduleSpec]:
    for period in PERIODS:
        table = _timetable(period, span, rng)
        if len(table.slots) >= number:
            slots = table.slots[-number:]
            created_ms = int(slots[0]) - int(rng.uniform(0.1, 0.9) * period * MINUTE_MS)
            return [ScheduleSpec(period, table.phase, created_ms, slots)]
    return []
