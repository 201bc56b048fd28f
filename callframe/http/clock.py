"""The clock of a service, measured by the `Date` headers of its responses."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Bounds = tuple[float, float]

_RESOLUTION_S = 1.0
_MAX_SKEW_S = 366 * 86_400  # with a clock further off, no certificate of the service would be valid


class ServiceClock:
    """
    The service's clock, as far as the `Date` headers of its responses tell; without any, the local clock.

    A header has a resolution of a second, so a response gives bounds of what to add to the local clock; bounds that
    agree are intersected. The local clock is taken for right as long as nothing contradicts it; else the lower bound
    is added, so that the result is never after the service's now. A single response may have a wrong date, of a
    gateway for example, so only two that agree override what was known before; a date more than a year away is never
    believed. Threads may share a clock.
    """

    def __init__(self, local: Callable[[], float] = time.time) -> None:
        self.local = local
        self._asked = False
        self._bounds: Bounds | None = None
        self._doubtful: Bounds | None = None

    def observe(self, date: str | None, round_trip_s: float) -> None:
        """Take in the `Date` header of a response that was received just now."""
        received_s, date_s, self._asked = self.local(), parse_date(date), True
        if date_s is None or abs(date_s - received_s) > _MAX_SKEW_S:
            return
        bounds = date_s - received_s, date_s + _RESOLUTION_S - received_s + round_trip_s
        if self._bounds is not None and _agree(self._bounds, bounds):
            bounds = max(self._bounds[0], bounds[0]), min(self._bounds[1], bounds[1])
        elif not _agree((0, 0), bounds) and not (self._doubtful and _agree(self._doubtful, bounds)):
            self._doubtful = bounds
            return
        self._bounds, self._doubtful = bounds, None

    @property
    def needs_response(self) -> bool:
        """Whether another response is needed to know the time: none was received yet, or the last one is doubtful."""
        return not self._asked or self._doubtful is not None

    @property
    def skew_ms(self) -> int | None:
        """How far the local clock is ahead of the service's, negative if behind; None if no response has a date."""
        return None if self._bounds is None else round(-1000 * self._offset_s())

    def now_ms(self) -> int:
        """Return the service's now in milliseconds since 1970-01-01 UTC."""
        return int((self.local() + self._offset_s()) * 1000)

    def _offset_s(self) -> float:
        bounds = self._bounds
        return 0.0 if bounds is None or _agree((0, 0), bounds) else bounds[0]


def parse_date(value: str | None) -> float | None:
    """Parse the date of a header to seconds since 1970-01-01 UTC, None if it is not one (RFC 9110, section 5.6.7)."""
    try:
        fields = email.utils.parsedate_tz(value or "")
        return None if fields is None else float(email.utils.mktime_tz(fields))
    except (ValueError, OverflowError):
        return None


def _agree(some: Bounds, other: Bounds) -> bool:
    return some[0] <= other[1] and other[0] <= some[1]
