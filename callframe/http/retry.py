"""Retry policy, `Retry-After` parsing and a limit on concurrent requests."""

from __future__ import annotations

import contextlib
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callframe.http.clock import parse_date

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_EXPONENT = 64  # larger ones change nothing and would overflow


@dataclass(frozen=True)
class Retry:
    """
    How often to retry a request, and how long to wait before each retry.

    The names follow `urllib3.Retry`. Waits grow exponentially with full jitter (Brooker, "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015).

    Parameters
    ----------
    status
        Retries after a response with a transient error: 408, 429, 502, 503, 504, or one the service marks as retryable.
    connect
        Retries after a request without a complete response.
    backoff_factor, backoff_max
        The wait before retry n is random between 0 and `backoff_factor * 2**n` seconds, at most `backoff_max` seconds.
    retry_after_max
        Longest `Retry-After` to honour, in seconds.
    """

    status: int = 10
    connect: int = 3
    backoff_factor: float = 0.5
    backoff_max: float = 30.0
    retry_after_max: float = 60.0

    def backoff_s(self, retry: int, retry_after_s: float | None = None) -> float:
        """
        Draw the wait before a retry.

        Parameters
        ----------
        retry
            Number of the retry, from 1.
        retry_after_s
            `Retry-After` of the response; the minimum wait.

        Returns
        -------
        backoff_s
            Seconds.
        """
        longest_s = min(self.backoff_max, self.backoff_factor * 2.0 ** min(retry, _MAX_EXPONENT))
        jitter_s = random.uniform(0, longest_s)  # noqa: S311 - not used for security
        return max(jitter_s, min(retry_after_s or 0.0, self.retry_after_max))


class Throttle:
    """Limit on concurrent requests: halved after a 429, raised by one after a series of successes."""

    def __init__(self, max_limit: int) -> None:
        self.max_limit = self.limit = max_limit
        self._in_flight = self._successes = self._generation = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def acquire(self) -> Iterator[int]:
        """Wait for permission to send a request; yields the generation to pass to `slow_down`."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight < self.limit)
            self._in_flight += 1
            generation = self._generation
        try:
            yield generation
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def slow_down(self, generation: int) -> None:
        """Halve the limit, once for all requests of a generation."""
        with self._changed:
            self._successes = 0
            if generation == self._generation:
                self._generation += 1
                self.limit = max(1, self.limit // 2)

    def record_success(self) -> None:
        """Count a success; enough of them raise the limit by one."""
        with self._changed:
            self._successes += 1
            if self._successes >= 4 * self.limit and self.limit < self.max_limit:
                self._successes = 0
                self.limit += 1
                self._changed.notify_all()


def parse_retry_after(value: str | None, *, now_s: float) -> float | None:
    """Parse `Retry-After`: seconds, fractions allowed, or a date of the service (RFC 9110, section 10.2.3)."""
    with contextlib.suppress(ValueError):
        return max(0.0, float(value or ""))
    date_s = parse_date(value)
    return None if date_s is None else max(0.0, date_s - now_s)
