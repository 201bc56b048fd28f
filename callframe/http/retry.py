"""Retry policy, `Retry-After` parsing and a limit on concurrent requests."""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callframe.http.clock import parse_date
from callframe.http.locks import fork_safe_lock
from callframe.http.transport import StoppedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

_POLL_S = 0.005
_OUTAGE_S = 30.0  # an outage ends when nothing has failed for so long
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


class _Permit:
    """Permission to send a request, until it is released, its fetch is stopped or its last reference is gone."""

    def __init__(self, stop: threading.Event | None) -> None:
        self._stop, self._process_id = stop, os.getpid()

    @property
    def is_valid(self) -> bool:
        return self._process_id == os.getpid() and not (self._stop and self._stop.is_set())


class Throttle:
    """
    Limit on concurrent requests: halved after a 429, raised by one after a series of successes.

    Permits queue in a dict of weak references, without a lock, so that none is lost at an interrupt, in a fork, or with
    a request that is stopped while it waits for the service.
    """

    def __init__(self, max_limit: int) -> None:
        self.max_limit = self.limit = max_limit
        self._successes = self._generation = 0
        self._permits: dict[weakref.ref[_Permit], None] = {}
        self._lock = fork_safe_lock()

    @contextlib.contextmanager
    def acquire(self, stop: threading.Event | None = None) -> Iterator[int]:
        """Wait for permission to send a request; yields the generation to pass to `slow_down`."""
        permit = _Permit(stop)
        key = weakref.ref(permit)
        self._permits[key] = None
        try:
            while key not in self._valid_permits()[: self.limit]:
                if not permit.is_valid:
                    raise StoppedError
                time.sleep(_POLL_S)
            yield self._generation
        finally:
            self._permits.pop(key, None)

    @property
    def in_flight(self) -> int:
        """The number of requests that are under way or wait for permission."""
        return len(self._valid_permits())

    def _valid_permits(self) -> list[weakref.ref[_Permit]]:
        return [key for key in list(self._permits) if (permit := key()) is not None and permit.is_valid]

    def slow_down(self, generation: int) -> None:
        """Halve the limit, once for all requests of a generation."""
        with self._lock:
            self._successes = 0
            if generation == self._generation:
                self._generation += 1
                self.limit = max(1, self.limit // 2)

    def record_success(self) -> None:
        """Count a success; enough of them raise the limit by one."""
        with self._lock:
            self._successes += 1
            if self._successes >= 4 * self.limit and self.limit < self.max_limit:
                self._successes = 0
                self.limit += 1


class Outage:
    """
    Whether the service as a whole fails, so that each request need not find that out by all its retries.

    It is declared by a request that failed in spite of all retries while no other succeeded. From then on requests are
    retried once, until one succeeds or none has failed for a while.
    """

    def __init__(self) -> None:
        self.successes = 0
        self._last_failure_s = -math.inf

    def end(self) -> None:
        """Count a success."""
        self.successes += 1
        self._last_failure_s = -math.inf

    def is_declared(self, *, failed_since: int, is_last_retry: bool) -> bool:
        """Take in a failure of a request that began when there had been `failed_since` successes."""
        now_s = time.monotonic()
        lasts = now_s - self._last_failure_s < _OUTAGE_S or (is_last_retry and failed_since == self.successes)
        if lasts:
            self._last_failure_s = now_s
        return lasts


def parse_retry_after(value: str | None, *, now_s: float) -> float | None:
    """Parse `Retry-After`: seconds, fractions allowed, or a date of the service (RFC 9110, section 10.2.3)."""
    with contextlib.suppress(ValueError):
        return max(0.0, float(value or ""))
    date_s = parse_date(value)
    return None if date_s is None else max(0.0, date_s - now_s)
