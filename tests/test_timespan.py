"""What users write about time becomes whole milliseconds, and windows split without gaps."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS, few_examples
from hypothesis import given
from hypothesis import strategies as st

from callframe.errors import ArgumentError
from callframe.timespan import MAX_TIME_MS, TimeRange, iso, parse_time, time_range, timestamp

OSLO = dt.timezone(dt.timedelta(hours=2))


def parse(value: Any) -> int:
    return parse_time(value, name="start", now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("age", "length"),
    [
        ("90s", 90 * SECOND_MS),
        ("5min", 5 * MINUTE_MS),
        ("5m", 5 * MINUTE_MS),
        ("36h", 36 * HOUR_MS),
        ("1.5h", 90 * MINUTE_MS),
        ("0.25s", 250),
        ("7d", 7 * DAY_MS),
        ("2w", 14 * DAY_MS),
        ("7 days", 7 * DAY_MS),
        ("1h30min", 90 * MINUTE_MS),
        ("1y", 365 * DAY_MS),
        ("7D", 7 * DAY_MS),
        (" 7 d ", 7 * DAY_MS),
        ("0d", 0),
    ],
)
def test_age_counts_back_from_now(age: str, length: int) -> None:
    assert parse(age) == NOW_MS - length


@pytest.mark.parametrize("age", ["10000y", "9" * 400 + "d"])
def test_age_beyond_the_epoch_is_the_epoch(age: str) -> None:
    assert parse(age) == 0


@pytest.mark.parametrize("word", ["now", "NOW", " now "])
def test_now_is_a_time(word: str) -> None:
    assert parse(word) == NOW_MS


@pytest.mark.parametrize(
    "value",
    [
        "2026-09-30T12:00Z",
        "2026-09-30T12:00:00.000Z",
        "2026-09-30T12:00:00+00:00",
        "2026-09-30T14:00+02:00",
        "2026-09-30 12:00",
        "2026-09-30T12",
        dt.datetime(2026, 9, 30, 12, tzinfo=dt.UTC),
        dt.datetime(2026, 9, 30, 14, tzinfo=OSLO),
        dt.datetime(2026, 9, 30, 12),  # noqa: DTZ001 - what has no zone is UTC
        pd.Timestamp("2026-09-30T14:00", tz="Europe/Oslo"),
        pd.Timestamp("2026-09-30T12:00"),
        np.datetime64("2026-09-30T12:00"),
        np.datetime64("2026-09-30T12:00:00.000000000"),
    ],
)
def test_times_of_every_kind_are_read(value: object) -> None:
    assert parse(value) == NOW_MS


@pytest.mark.parametrize("value", ["2026-09-30", dt.date(2026, 9, 30), np.datetime64("2026-09-30")])
def test_date_is_its_midnight_in_utc(value: object) -> None:
    assert parse(value) == NOW_MS - 12 * HOUR_MS


def test_part_of_a_millisecond_is_cut_off() -> None:
    assert parse("2026-09-30T12:00:00.000999Z") == NOW_MS


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "1M",
            "5",
            "noon",
            "2026",
            "yesterday",
            "-7d",
            "7",
            "d",
            "2026-13-01",
            "2026-02-30",
            "2026-09-30T25:00",
        ),
        *("2026-09-30T12:00+25:00", "10000-01-01", "2026-1 foo", "\0"),
        *(pd.NaT, np.datetime64("NaT")),
    ],
)
def test_time_that_cannot_be_read_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"start=.* cannot be parsed; expected"):
        parse(value)


@pytest.mark.parametrize("zone", ["EST", "CET", "Europe/Oslo"])
def test_zone_that_is_not_known_by_its_name_is_refused_and_not_taken_for_utc(zone: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as it is outside of tests, where pandas 2 only warns
        with pytest.raises(ArgumentError, match="cannot be parsed"):
            parse(f"2026-09-30 12:00 {zone}")


@pytest.mark.parametrize("value", [None, 5, 1.5, True, dt.time(5), dt.timedelta(1), ["2026-09-30"]])
def test_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=rf"start=.* is of type {type(value).__name__}"):
        parse(value)


@pytest.mark.parametrize("value", ["1969-12-31T23:59:59.999Z", "1700-01-01", dt.date(1, 1, 1)])
def test_time_before_the_epoch_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match="outside the supported years 1970 to 9999"):
        parse(value)


@pytest.mark.parametrize(("value", "expected"), [("1970-01-01", 0), ("9999-12-31T23:59:59.999Z", MAX_TIME_MS)])
def test_first_and_last_moment_are_times(value: str, expected: int) -> None:
    assert parse(value) == expected


def test_message_names_the_argument_as_it_is_called() -> None:
    with pytest.raises(ArgumentError, match="end='soon' cannot be parsed"):
        time_range("7d", "soon", now_ms=NOW_MS)


# Windows


def test_window_ends_now_unless_told() -> None:
    assert time_range("1d", None, now_ms=NOW_MS) == TimeRange(NOW_MS - DAY_MS, NOW_MS)


def test_window_of_two_times() -> None:
    assert time_range("2026-09-29T12:00Z", "1h", now_ms=NOW_MS) == TimeRange(NOW_MS - DAY_MS, NOW_MS - HOUR_MS)


@pytest.mark.parametrize("end", ["2026-09-30T12:00Z", "2026-09-30T11:59Z"])
def test_start_that_is_not_before_the_end_is_refused(end: str) -> None:
    with pytest.raises(ArgumentError, match=r"is not before the end, .*The end is excluded"):
        time_range("2026-09-30T12:00Z", end, now_ms=NOW_MS)


@pytest.mark.parametrize("start", ["0d", "now", "2026-10-01"])
def test_start_that_is_not_before_now_is_refused(start: str) -> None:
    with pytest.raises(ArgumentError, match=r"is not before now, 2026-09-30T12:00:00.000Z"):
        time_range(start, None, now_ms=NOW_MS)


def test_window_of_a_millisecond_is_one() -> None:
    assert time_range("2026-09-30T11:59:59.999Z", None, now_ms=NOW_MS).length_ms == 1


def test_window_tells_its_ends_as_timestamps() -> None:
    held = TimeRange(0, NOW_MS)
    assert (held.start, held.end) == (pd.Timestamp("1970-01-01", tz="UTC"), pd.Timestamp("2026-09-30T12:00Z"))


@few_examples
@given(st.integers(0, MAX_TIME_MS), st.integers(1, 10**12) | st.integers(1, 20), st.integers(-1, 200))
def test_pieces_touch_cover_and_do_not_overlap(start: int, length: int, parts: int) -> None:
    whole = TimeRange(start, start + length)
    pieces = whole.split(parts)
    edges = [pieces[0].start_ms, *(piece.end_ms for piece in pieces)]
    assert (edges[0], edges[-1]) == (whole.start_ms, whole.end_ms)
    assert [piece.start_ms for piece in pieces] == edges[:-1]
    assert all(piece.length_ms >= 1 for piece in pieces)


@few_examples
@given(st.integers(0, NOW_MS), st.integers(1, 10**12), st.integers(1, 200))
def test_pieces_are_about_equal(start: int, length: int, parts: int) -> None:
    lengths = [piece.length_ms for piece in TimeRange(start, start + length).split(parts)]
    assert len(lengths) == min(parts, length)
    assert max(lengths) - min(lengths) <= 1


# Writing


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (NOW_MS + 7, "2026-09-30T12:00:00.007Z"),
        (MAX_TIME_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_time_is_written_in_utc_to_the_millisecond(time_ms: int, text: str) -> None:
    assert iso(time_ms) == text


@few_examples
@given(st.integers(0, MAX_TIME_MS))
def test_time_that_was_written_is_read_again(time_ms: int) -> None:
    assert parse(iso(time_ms)) == time_ms


def test_timestamp_counts_in_milliseconds() -> None:
    assert timestamp(NOW_MS).unit == "ms"
