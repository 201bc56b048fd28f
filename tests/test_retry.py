"""Retry policy, `Retry-After` and the limit on concurrent requests."""

from __future__ import annotations

import datetime as dt
import email.utils
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from callframe.http.retry import Outage, Retry, Throttle, parse_retry_after
from callframe.http.transport import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator


# Backoff


@pytest.mark.parametrize(("retry", "longest_s"), [(1, 1.0), (2, 2.0), (3, 4.0), (10, 30.0), (2000, 30.0)])
def test_backoff_is_random_up_to_an_exponential_limit(retry: int, longest_s: float) -> None:
    backoffs_s = [Retry().backoff_s(retry) for _ in range(500)]
    assert 0 <= min(backoffs_s) < 0.2 * longest_s
    assert 0.8 * longest_s < max(backoffs_s) <= longest_s


def test_retry_after_is_the_minimum_backoff() -> None:
    retry = Retry(backoff_factor=0.5)
    assert all(retry.backoff_s(1, 5.0) == 5.0 for _ in range(100))


@pytest.mark.parametrize("retry_after_s", [3600.0, float("inf")])
def test_long_retry_after_is_capped(retry_after_s: float) -> None:
    assert Retry().backoff_s(1, retry_after_s) == 60.0


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("7200", 7200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("Thu, 01 Jan 99999 00:00:00 GMT", None),
        (f"Thu, 01 Jan {'9' * 30} 00:00:00 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 +99999999999999", 0.0),
        ("1e400", float("inf")),
        (None, None),
    ],
)
def test_retry_after_is_parsed(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now_s=time.time()) == seconds


@pytest.fixture
def local_time_ahead_of_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XYZ-05:30")
    reset = getattr(time, "tzset", lambda: None)  # does not exist on Windows
    reset()
    yield
    monkeypatch.undo()
    reset()


@pytest.mark.usefixtures("local_time_ahead_of_utc")
@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_can_be_a_date(zone: str) -> None:
    retry_time = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    seconds = parse_retry_after(email.utils.format_datetime(retry_time).replace("+0000", zone), now_s=time.time())
    assert seconds is not None
    assert 7000 < seconds <= 7200


# Throttle


def test_requests_rejected_together_halve_the_limit_once() -> None:
    throttle = Throttle(8)
    with throttle.acquire() as first, throttle.acquire() as second:
        throttle.slow_down(first)
        throttle.slow_down(second)
    assert throttle.limit == 4


def test_limit_stays_at_least_one() -> None:
    throttle = Throttle(5)
    for _ in range(10):
        with throttle.acquire() as generation:
            throttle.slow_down(generation)
    assert throttle.limit == 1


def test_limit_recovers_step_by_step_to_the_maximum() -> None:
    throttle = Throttle(4)
    throttle.slow_down(0)
    limits = []
    for _ in range(100):
        throttle.record_success()
        limits.append(throttle.limit)
    assert (limits[0], limits[-1]) == (2, 4)
    assert limits == sorted(limits)


@pytest.mark.parametrize("end", ["stopped", "forgotten", "forked"])
def test_permit_is_free_again_however_its_request_ends(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    throttle, stop = Throttle(1), threading.Event()
    permit: Any = throttle.acquire(stop)
    permit.__enter__()
    assert throttle.in_flight == 1
    if end == "stopped":
        stop.set()
    elif end == "forgotten":  # as at an interrupt
        del permit
    else:
        monkeypatch.setattr(os, "getpid", lambda: -1)
    with throttle.acquire():
        assert throttle.in_flight == 1


def test_request_that_is_stopped_while_it_waits_for_permission_ends() -> None:
    throttle, stop = Throttle(1), threading.Event()
    threading.Timer(0.05, stop.set).start()
    with throttle.acquire(), pytest.raises(StoppedError), throttle.acquire(stop):
        pass
    assert throttle.in_flight == 0


def test_requests_are_permitted_in_the_order_in_which_they_came() -> None:
    throttle, order, waiting = Throttle(1), [], []

    def run(number: int) -> None:
        with throttle.acquire():
            order.append(number)

    with throttle.acquire():
        for number in range(5):
            waiting.append(threading.Thread(target=run, args=(number,)))
            waiting[-1].start()
            while throttle.in_flight < number + 2:
                time.sleep(0.001)
    for thread in waiting:
        thread.join()
    assert order == list(range(5))


# Outages


def test_outage_is_declared_by_the_last_retry_if_no_request_succeeded() -> None:
    outage = Outage()
    assert not outage.is_declared(failed_since=0, is_last_retry=False)
    assert outage.is_declared(failed_since=0, is_last_retry=True)
    assert outage.is_declared(failed_since=0, is_last_retry=False)
    outage.end()
    assert not outage.is_declared(failed_since=0, is_last_retry=True)


def test_outage_ends_when_nothing_has_failed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    outage = Outage()
    assert outage.is_declared(failed_since=0, is_last_retry=True)
    later_s = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    assert not outage.is_declared(failed_since=0, is_last_retry=False)
