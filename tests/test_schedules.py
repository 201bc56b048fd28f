"""Missed runs: found where they are, and only there."""

from __future__ import annotations

import datetime as dt
import importlib
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cronsim import CronSim
from factories import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, fetched_frame, make_call, schedule_frame, scheduled_calls
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import callframe as cf
from callframe import frame
from callframe.analysis.cron import cron_times
from callframe.analysis.schedule_matching import VERDICTS
from callframe.sample import specs

HOURS = [NOW_MS - k * HOUR_MS for k in range(24, 0, -1)]  # the slots of an hourly schedule of the last day


def minute(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()) // 60


def slots(expression: str, start: str, end: str) -> list[str]:
    found = cron_times(expression, minute(start), minute(end))
    return [f"{dt.datetime.fromtimestamp(int(one) * 60, dt.UTC):%m-%d %H:%M}" for one in found]


def times(missed: pd.DataFrame) -> list[int]:
    return missed["scheduled_time"].astype("int64").to_list()


def states(missed: pd.DataFrame) -> dict[str, int]:
    return {str(state): count for state, count in missed["state"].value_counts().items() if count}


def only_row(calls: pd.DataFrame, listed: pd.DataFrame) -> pd.Series:
    report = cf.schedule_report(calls, listed)
    assert len(report) == 1
    return report.iloc[0]


# Slots, counted by hand


@pytest.mark.parametrize(
    ("expression", "start", "end", "expected"),
    [
        ("0 0 29 2 *", "2023-01-01", "2029-01-01", ["02-29 00:00", "02-29 00:00"]),  # 2024 and 2028
        ("0 12 31 * *", "2026-01-01", "2026-07-01", ["01-31 12:00", "03-31 12:00", "05-31 12:00"]),
        ("30 6 30 1-4 *", "2026-01-01", "2026-12-31", ["01-30 06:30", "03-30 06:30", "04-30 06:30"]),
        ("0 0 L * *", "2024-01-01", "2024-04-01", ["01-31 00:00", "02-29 00:00", "03-31 00:00"]),
        # Friday the 13th and every other Friday and 13th: February 2026 begins on a Sunday
        ("0 0 13 2 5", "2026-01-01", "2027-01-01", ["02-06 00:00", "02-13 00:00", "02-20 00:00", "02-27 00:00"]),
        ("0 0 11 2 FRI", "2026-02-10", "2026-02-21", ["02-11 00:00", "02-13 00:00", "02-20 00:00"]),
        ("0 0 */2 2 1", "2026-02-01", "2026-03-01", ["02-09 00:00", "02-23 00:00"]),  # a star first: both must match
        ("*/25 3 * * *", "2026-03-01", "2026-03-02", ["03-01 03:00", "03-01 03:25", "03-01 03:50"]),
        ("10-40/15 0 * * *", "2026-03-01", "2026-03-02", ["03-01 00:10", "03-01 00:25", "03-01 00:40"]),
        ("40/10 23 * * *", "2026-03-01", "2026-03-02", ["03-01 23:40", "03-01 23:50"]),
        ("0 8 * * MON-WED", "2026-03-02", "2026-03-09", ["03-02 08:00", "03-03 08:00", "03-04 08:00"]),
        ("0 8 * jan,MAR sun", "2026-01-20", "2026-03-09", ["01-25 08:00", "03-01 08:00", "03-08 08:00"]),
        ("0 0 * * 0,7", "2026-03-01", "2026-03-09", ["03-01 00:00", "03-08 00:00"]),
        ("59 23 31 12 *", "2025-06-01", "2026-06-01", ["12-31 23:59"]),
        ("0 2 29 3 *", "2026-03-29", "2026-03-30", ["03-29 02:00"]),  # clocks change that night, UTC does not
    ],
)
def test_scheduled_times_are_those_counted_by_hand(expression: str, start: str, end: str, expected: list[str]) -> None:
    assert slots(expression, start, end) == expected


def test_range_of_scheduled_times_includes_its_start_and_excludes_its_end() -> None:
    assert slots("*/5 * * * *", "2026-03-01T00:05", "2026-03-01T00:15") == ["03-01 00:05", "03-01 00:10"]


@pytest.mark.parametrize(
    ("expression", "count"),
    [("* * * * *", 1440), ("*/7 * * * *", 24 * 9), ("0 */5 * * *", 5), ("1-59/2 8-17 * * *", 300)],
)
def test_scheduled_times_of_a_day_are_as_many_as_counted_by_hand(expression: str, count: int) -> None:
    assert len(slots(expression, "2026-03-01", "2026-03-02")) == count


# Expressions of other dialects

UNCERTAIN = (
    "@reboot", "0 0 12 * * *", "30 0 12 * * ?", "0 0 12 ? * ?", "0 0 12 1 * MON *", "0 0 12 * * ? 2027",
    "0 0 12 15W * ?", "0 0 12 ? * 2/2", "0 0 12 ? * 0", "0 12 ? * 2", "0/10 * * * * ?", "0 0 12 ? * L",
)  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("@daily", "0 0 * * *"),
        ("@HOURLY", "0 * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("0 12 * * ?", "0 12 * * *"),
        ("0 0/5 * 1/1 * ? *", "*/5 * * * *"),  # what cronmaker.com makes of "every five minutes"
        ("0 0 12 1/1 * ? *", "0 12 * * *"),
        ("0 0 12 1/3 * ? *", "0 12 1/3 * *"),
        ("0 0 12 ? * MON-FRI *", "0 12 * * MON-FRI"),
        ("0 0 12 ? * MON,WED *", "0 12 * * MON,WED"),
        ("0 0 12 ? 1/1 MON#1 *", "0 12 * * MON#1"),
        ("0 0 12 ? * 2-6 *", "0 12 * * 1-5"),
        ("0 0 12 ? * 1 *", "0 12 * * SUN"),
        ("0 0 12 ? * 6#3", "0 12 * * FRI#3"),
        ("0 0 12 ? * 6L", "0 12 * * 5L"),
        ("0 0 6 L * ?", "0 6 L * *"),
        ("0 12 ? * MON-FRI *", "0 12 * * MON-FRI"),  # five fields and a year
        ("15 10 ? * 6L *", "15 10 * * 5L"),
    ],
)
def test_expression_of_another_dialect_has_the_times_of_its_translation(expression: str, same: str) -> None:
    found = slots(expression, "2026-01-01", "2027-01-01")
    assert found == slots(same, "2026-01-01", "2027-01-01") != []


def quartz_values(field: str, lowest: int, highest: int) -> set[int]:
    """Expand a field of Quartz by its manual: lists, ranges, and steps from a value to the end."""
    values = set()
    for part in field.split(","):
        first, _, step = part.partition("/")
        low, _, high = first.partition("-")
        start = lowest if low == "*" else int(low)
        end = int(high) if high else highest if step or low == "*" else start
        values |= set(range(start, end + 1, int(step or 1)))
    return values


def fields_of(lowest: int, highest: int) -> st.SearchStrategy[str]:
    number = st.integers(lowest, highest)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(number, st.integers(1, 9)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.just("*") | st.lists(number.map(str) | ranges | steps, min_size=1, max_size=3).map(",".join)


WEEKDAYS = st.lists(st.integers(1, 7).map(str), min_size=1, max_size=3).map(",".join)


@settings(max_examples=30, deadline=None)
@given(fields_of(0, 59), fields_of(0, 23), fields_of(1, 28), fields_of(1, 12), WEEKDAYS, st.booleans(), st.booleans())
def test_times_of_a_quartz_expression_are_those_of_brute_force(  # noqa: PLR0917 - the fields
    minutes: str, hours: str, day: str, month: str, weekday: str, by_weekday: bool, has_year: bool
) -> None:
    days = f"? {month} {weekday}" if by_weekday else f"{day} {month} ?"
    first, last = minute("2026-02-26"), minute("2026-03-05")
    in_minutes, in_hours = quartz_values(minutes, 0, 59), quartz_values(hours, 0, 23)
    in_month, in_days, in_weekdays = (
        quartz_values(field, 1, highest) for field, highest in ((month, 12), (day, 31), (weekday, 7))
    )
    expected = []
    for one in range(first, last):
        time = dt.datetime.fromtimestamp(one * 60, dt.UTC)
        on_day = time.isoweekday() % 7 + 1 in in_weekdays if by_weekday else time.day in in_days  # Sunday is 1
        if time.minute in in_minutes and time.hour in in_hours and time.month in in_month and on_day:
            expected.append(one)
    assert cron_times(f"0 {minutes} {hours} {days}{' *' * has_year}", first, last).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(st.tuples(fields_of(0, 59), fields_of(0, 23), fields_of(1, 28), fields_of(1, 12), fields_of(0, 6)))
def test_times_of_an_expression_are_those_of_cronsim(fields: tuple[str, ...]) -> None:
    start, end = dt.datetime(2026, 2, 20, tzinfo=dt.UTC), dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
    due = itertools.takewhile(lambda time: time < end, CronSim(" ".join(fields), start - dt.timedelta(seconds=1)))
    found = cron_times(" ".join(fields), minute("2026-02-20"), minute("2026-03-02"))
    assert found.tolist() == [int(time.timestamp()) // 60 for time in due]


# What is missed


def test_scheduled_time_without_a_call_is_missed() -> None:
    missed = cf.missed_runs(fetched_frame(scheduled_calls(HOURS[:5] + HOURS[6:])), schedule_frame({}))
    assert times(missed) == [HOURS[5]]
    assert missed["state"].to_list() == ["missed"]


def test_columns_have_their_dtypes_with_and_without_rows() -> None:
    expected = ["Int64", "str", "category", "datetime64[ms, UTC]", "category", "str", "bool"]
    for calls in (fetched_frame([]), fetched_frame(scheduled_calls(HOURS))):
        missed = cf.missed_runs(calls, schedule_frame({}))
        assert [str(kind) for kind in missed.dtypes] == expected


def test_rows_of_missed_scheduled_times_are_numbered() -> None:
    missed = cf.missed_runs(fetched_frame(scheduled_calls(HOURS[:5] + HOURS[7:])), schedule_frame({}))
    assert missed.index.equals(pd.RangeIndex(2))


def test_late_call_fills_its_scheduled_time_whenever_it_started() -> None:
    assert cf.missed_runs(fetched_frame(scheduled_calls(HOURS, delay_ms=50 * MINUTE_MS)), schedule_frame({})).empty


def test_scheduled_time_is_rounded_to_the_minute() -> None:
    near = [slot + shift for slot, shift in zip(HOURS, [-20_000, 400, 29_000] * 8, strict=True)]
    assert cf.missed_runs(fetched_frame(scheduled_calls(near)), schedule_frame({})).empty


def test_scheduled_time_newer_than_the_grace_is_unconfirmed() -> None:
    listed = schedule_frame({"cron_expression": "*/5 * * * *"})
    filled = scheduled_calls([NOW_MS - k * 5 * MINUTE_MS for k in range(288, 6, -1)])
    missed = cf.missed_runs(fetched_frame(filled), listed, grace="12min")
    assert missed["state"].to_list() == ["missed"] * 4 + ["unconfirmed"] * 2  # 30, 25, 20, 15 and 10, 5 minutes old


def test_scheduled_time_near_the_end_of_a_window_that_is_past_is_unconfirmed() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[:12]), end_ms=HOURS[12] + MINUTE_MS)
    assert states(cf.missed_runs(calls, schedule_frame({}))) == {"unconfirmed": 1}


def test_scheduled_times_before_the_schedule_existed_are_not_expected() -> None:
    listed = schedule_frame({"created_ms": HOURS[20] - 1})
    assert only_row(fetched_frame(scheduled_calls(HOURS[20:])), listed)["expected"] == 4


def test_scheduled_times_before_the_deploy_of_the_function_are_not_expected() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[20:]))
    calls.attrs["callframe"]["functions"][0]["created_ms"] = HOURS[20] - 1
    assert only_row(calls, schedule_frame({"function_external_id": "f7"}))["missed"] == 0


def test_schedule_of_unknown_age_is_followed_from_its_first_call() -> None:
    assert only_row(fetched_frame(scheduled_calls(HOURS[20:])), schedule_frame({"created_ms": None}))["expected"] == 4


def test_scheduled_times_before_the_retention_edge_are_not_expected() -> None:
    calls = fetched_frame([], start_ms=NOW_MS - 100 * DAY_MS)
    assert only_row(calls, schedule_frame({"cron_expression": "0 9 * * *"}))["expected"] == 90


def test_what_the_service_has_forgotten_leaves_the_rest_to_be_judged() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[:3] + HOURS[4:]), start_ms=NOW_MS - 100 * DAY_MS)
    row = calls.attrs["callframe"]["functions"][0]
    row |= {"complete": False, "reason": "the service keeps calls for 90 days: none are left from before 2026-10-17"}
    missed = cf.missed_runs(calls, schedule_frame({"created_ms": HOURS[0]}))
    assert states(missed) == {"missed": 1}


def test_scheduled_time_at_the_edge_is_unknown_while_clocks_run_ahead() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[1:], delay_ms=-800))
    assert cf.missed_runs(calls, schedule_frame({}))["state"].to_list() == ["unknown"]


def test_schedule_by_external_id_counts_the_calls_of_every_deployment() -> None:
    both = [*scheduled_calls(HOURS)[:12], *scheduled_calls(HOURS, function_id=2)[12:]]
    calls = fetched_frame(both)
    assert cf.missed_runs(calls, schedule_frame({"function_id": 2, "function_external_id": "f2"})).empty


def test_schedules_do_not_fill_the_scheduled_times_of_each_other() -> None:
    listed = schedule_frame({}, {"schedule_id": 8})
    missed = cf.missed_runs(fetched_frame(scheduled_calls(HOURS) + scheduled_calls(HOURS[:-1], schedule_id=8)), listed)
    assert missed["schedule_id"].to_list() == [8]


def test_rows_are_sorted_by_time_then_schedule() -> None:
    missed = cf.missed_runs(fetched_frame([]), schedule_frame({"schedule_id": 9}, {"schedule_id": 8}))
    keys = list(zip(times(missed), missed["schedule_id"], strict=True))
    assert keys == sorted(keys)
    assert len(keys) == 48


def test_schedule_that_is_listed_twice_counts_once() -> None:
    assert len(cf.missed_runs(fetched_frame(scheduled_calls(HOURS[1:])), pd.concat([schedule_frame({})] * 2))) == 1


def test_function_that_is_never_called_misses_every_slot() -> None:
    assert states(cf.missed_runs(fetched_frame([]), schedule_frame({}))) == {"missed": 24}


# No false alarm, and no miss overlooked


EXPRESSIONS = (
    "* * * * *", "*/5 * * * *", "*/7 * * * *", "0 * * * *", "5,35 8-17 * * 1-5", "0 */5 * * *", "15 3 * * *",
    "0 0 1,15 * *", "0 6 L * *", "0 0 13 * 5", "30 2 * * SUN", "0 0 31 * *", "*/10 0-22 * * *", "0 9 * * MON#1",
)  # fmt: skip


def simulated(expression: str, seed: int) -> tuple[list[int], np.random.Generator]:
    """List the slots of 40 days, in ms, by a way of their own: cronsim's iterator from start to end."""
    first = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.UTC) - dt.timedelta(days=40 if expression[0] != "*" else 2)
    found = []
    for slot in CronSim(expression, first - dt.timedelta(seconds=1)):
        if slot.timestamp() * 1000 > NOW_MS - 10 * MINUTE_MS:
            break
        found.append(int(slot.timestamp() * 1000))
    return found, np.random.default_rng(seed)


def delayed(slots_ms: list[int], rng: np.random.Generator) -> list[Any]:
    """Call on slots, each late by what happens."""
    late = rng.lognormal(8, 1, len(slots_ms)).astype(int).clip(1_000, 9 * MINUTE_MS).tolist()
    return [
        make_call(
            id=k + 1, start_time=slot + late[k], scheduled_time=slot + int(rng.integers(-999, 999)), schedule_id=7
        )
        for k, slot in enumerate(slots_ms)
    ]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("seed", range(3))
def test_history_with_nothing_missed_raises_no_alarm(expression: str, seed: int) -> None:
    filled, rng = simulated(expression, seed)
    calls = fetched_frame(delayed(filled, rng), start_ms=filled[0])
    found = only_row(calls, schedule_frame({"cron_expression": expression}))
    assert (found["missed"], found["unknown"], found["run"]) == (0, 0, len(filled))


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("seed", range(3))
def test_simulated_gaps_are_found_exactly(expression: str, seed: int) -> None:
    due, rng = simulated(expression, seed)
    gone = {slot for slot in due if rng.random() < 0.15}
    calls = fetched_frame(delayed([slot for slot in due if slot not in gone], rng), start_ms=due[0])
    missed = cf.missed_runs(calls, schedule_frame({"cron_expression": expression}))
    assert times(missed[missed["state"] == "missed"]) == sorted(gone)


# Scheduled times that are off


def knocked_off(slots_ms: list[int], rng: np.random.Generator, share: float, off_ms: int) -> list[Any]:
    """Call on slots, a share of them with a scheduled time that is off, earlier or later."""
    off = np.where(rng.random(len(slots_ms)) < share, rng.choice([-off_ms, off_ms], len(slots_ms)), 0)
    return [
        make_call(id=k + 1, start_time=slot + 90_000, scheduled_time=slot + int(off[k]), schedule_id=7)
        for k, slot in enumerate(slots_ms)
    ]


@pytest.mark.parametrize("off_s", [31, 45, 58, 75, 100])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_no_run_is_missed_where_some_scheduled_times_are_off(expression: str, off_s: int) -> None:
    due, rng = simulated(expression, off_s)
    calls = fetched_frame(knocked_off(due, rng, 0.03, off_s * 1000), start_ms=due[0])
    assert "missed" not in states(cf.missed_runs(calls, schedule_frame({"cron_expression": expression})))


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("seed", range(3))
def test_only_runs_that_are_missing_are_missed_where_some_scheduled_times_are_off(expression: str, seed: int) -> None:
    due, rng = simulated(expression, seed)
    gone = {slot for slot in due if rng.random() < 0.1}
    calls = fetched_frame(knocked_off([slot for slot in due if slot not in gone], rng, 0.03, 45_000), start_ms=due[0])
    missed = cf.missed_runs(calls, schedule_frame({"cron_expression": expression}))
    assert set(times(missed[missed["state"] == "missed"])) <= gone
    assert len(gone) - (missed["state"] == "missed").sum() <= 0.15 * len(gone) + 1


def test_call_45_seconds_off_fills_its_scheduled_time() -> None:
    near = [HOURS[0] + 45_000, *HOURS[1:-1], HOURS[-1] - 45_000]
    found = only_row(fetched_frame(scheduled_calls(near)), schedule_frame({}))
    assert (found["verdict"], found["run"], found["off_schedule"], found["duplicates"]) == ("ran", 24, 0, 0)


def test_call_that_comes_second_to_a_scheduled_time_it_is_off_fills_the_free_one() -> None:
    due = [NOW_MS - k * MINUTE_MS for k in range(60, 0, -1)]
    moved = [*due[:7], due[7] + 45_000, *due[8:]]
    found = only_row(
        fetched_frame(scheduled_calls(moved), start_ms=due[0]), schedule_frame({"cron_expression": "* * * * *"})
    )
    assert (found["missed"], found["duplicates"], found["off_schedule"]) == (0, 0, 0)


def test_scheduled_times_beside_a_call_that_is_far_off_are_unknown() -> None:
    calls = fetched_frame(scheduled_calls([*HOURS[2:10], HOURS[10] + 20 * MINUTE_MS, *HOURS[11:]]))
    missed = cf.missed_runs(calls, schedule_frame({}))
    assert missed["state"].tolist() == ["missed", "missed", "unknown"]
    assert "off their scheduled times" in missed.attrs["missed_runs"]["problems"]["7"]


def test_two_calls_of_one_scheduled_time_do_not_fill_the_next() -> None:
    twice = make_call(id=1, start_time=HOURS[4] + 9_000, scheduled_time=HOURS[4] + 300, schedule_id=7)
    found = only_row(fetched_frame([*scheduled_calls(HOURS[:5] + HOURS[6:]), twice]), schedule_frame({}))
    assert (found["missed"], found["duplicates"]) == (1, 1)


def test_calls_that_are_all_a_minute_off_are_not_explained() -> None:
    calls = fetched_frame(scheduled_calls([slot + MINUTE_MS for slot in HOURS]))
    assert only_row(calls, schedule_frame({}))["verdict"] == "unexplained"


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("seed", range(3))
def test_vanished_schedule_with_nothing_missed_raises_no_alarm(expression: str, seed: int) -> None:
    filled, rng = simulated(expression, seed)
    assert cf.missed_runs(fetched_frame(delayed(filled, rng), start_ms=NOW_MS - 45 * DAY_MS), schedule_frame()).empty


def test_skipped_runs_of_the_demo_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[specs.ScheduleSpec] = []
    original = specs.schedule_specs

    def remembered(*args: Any, **options: Any) -> list[specs.ScheduleSpec]:
        planned.extend(found := original(*args, **options))
        return found

    monkeypatch.setattr(importlib.import_module("callframe.sample.generator"), "schedule_specs", remembered)
    with cf.demo(calls=8_000, functions=8, seed=3) as project:
        calls, listed = project.calls(start="20d"), project.schedules()
    last = pd.Timestamp(calls.attrs["callframe"]["fetched_at"]).timestamp() * 1000 - 10 * MINUTE_MS
    due = sum(int((table.times_ms <= last).sum()) for table in planned)
    report = cf.schedule_report(calls, listed)
    filled = calls.dropna(subset="schedule_id").drop_duplicates(["schedule_id", "scheduled_time"])
    filled_in_time = int((filled["scheduled_time"].astype("int64") <= last).sum())
    found = int((cf.missed_runs(calls, listed)["state"] == "missed").sum())
    assert found == report["missed"].sum()
    assert found == due - filled_in_time > 0


# What cannot be known


def problem(calls: pd.DataFrame, **schedule: Any) -> str:
    missed = cf.missed_runs(calls, schedule_frame(schedule))
    assert states(missed).keys() == {"unknown"}
    return str(missed.attrs["missed_runs"]["problems"]["7"])


def test_scheduled_times_of_a_function_read_in_part_are_unknown() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[1:]))
    calls.attrs["callframe"]["functions"][0] |= {"complete": False, "reason": "503"}
    assert "not read completely: 503" in problem(calls)


def test_scheduled_times_of_a_frame_fetched_by_status_are_unknown() -> None:
    assert "status Failed" in problem(fetched_frame(scheduled_calls(HOURS[::6], status="Failed"), status=["Failed"]))


def test_scheduled_times_of_schedules_that_were_not_requested_are_unknown() -> None:
    assert "other schedules" in problem(fetched_frame(scheduled_calls(HOURS, schedule_id=8), schedule_ids=[8]))


def test_schedules_that_were_requested_are_judged() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[1:]), schedule_ids=[7])
    assert states(cf.missed_runs(calls, schedule_frame({}))) == {"missed": 1}


def test_scheduled_times_of_a_frame_fetched_by_ids_are_unknown() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[::6]), window=None, call_ids=4)
    assert "by ids" in problem(calls)


def test_scheduled_times_of_a_function_that_was_not_requested_are_unknown() -> None:
    assert "not requested" in problem(fetched_frame(scheduled_calls(HOURS, function_id=1)[:0]), function_id=2)


def test_scheduled_times_of_a_frame_without_coverage_are_unknown() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[:3] + HOURS[4:]))
    calls.attrs = {}
    with pytest.warns(UserWarning, match="no coverage"):
        assert "no coverage" in problem(calls)


def test_scheduled_times_of_a_frame_that_was_filtered_since_are_unknown() -> None:
    calls = fetched_frame([*scheduled_calls(HOURS[1:]), make_call(id=1, start_time=NOW_MS - HOUR_MS, status="Failed")])
    with pytest.warns(UserWarning, match="select from the result"):
        assert "the frame has only" in problem(calls[calls["status"] == "Failed"])


def test_filter_that_drops_no_call_changes_nothing() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[1:]))
    assert states(cf.missed_runs(calls[calls["status"] == "Completed"], schedule_frame({}))) == {"missed": 1}


def test_as_many_scheduled_times_as_records_were_set_aside_are_unknown() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[2:]))
    calls.attrs["callframe"]["functions"][0]["set_aside_reasons"] = {"no id": 2}
    assert "invalid records" in problem(calls)


def test_more_scheduled_times_than_records_were_set_aside_are_missed() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[3:]))
    calls.attrs["callframe"]["functions"][0]["set_aside_reasons"] = {"no id": 2}
    assert states(cf.missed_runs(calls, schedule_frame({}))) == {"missed": 3}


def test_call_of_a_schedule_without_a_scheduled_time_may_fill_a_slot() -> None:
    calls = fetched_frame([*scheduled_calls(HOURS[1:]), make_call(id=1, start_time=HOURS[0] + 5, schedule_id=7)])
    assert "no scheduled time" in problem(calls)


def test_scheduled_time_with_a_call_is_known_even_where_the_rest_is_not() -> None:
    calls = fetched_frame(scheduled_calls(HOURS))
    calls.attrs["callframe"]["functions"][0] |= {"complete": False, "reason": "503"}
    assert only_row(calls, schedule_frame({}))["verdict"] == "ran"


def test_empty_frame_without_coverage_has_no_scheduled_times() -> None:
    missed = cf.missed_runs(frame.empty(), schedule_frame({}))
    assert missed.empty
    assert missed.attrs["missed_runs"]["start"] is None


# Expressions that cannot be used


@pytest.mark.parametrize(
    "expression",
    ["61 * * * *", "0 0 * *", "", "nonsense", "0 0 30 2 *", "*/0 * * * *", "5-1 * * * *", "9" * 5000 + " * * * *",
     *UNCERTAIN],
)  # fmt: skip
def test_unreadable_expression_is_reported_and_the_others_are_done(expression: str) -> None:
    listed = schedule_frame({"schedule_id": 8, "cron_expression": expression}, {})
    calls = fetched_frame(scheduled_calls(HOURS[1:]))
    report = cf.schedule_report(calls, listed).set_index("schedule_id")
    assert report["verdict"].to_dict() == {7: "missed", 8: "unreadable"}
    assert cf.missed_runs(calls, listed)["schedule_id"].to_list() == [7]
    assert "8" in report.attrs["missed_runs"]["problems"]


def test_schedule_without_an_expression_is_reported() -> None:
    found = only_row(fetched_frame([]), schedule_frame({"cron_expression": None}))
    assert found["problem"] == "it has no cron expression, and has too few calls to infer when it ran"


@pytest.mark.parametrize("expression", UNCERTAIN)
def test_schedule_whose_expression_is_uncertain_is_judged_by_its_cadence(expression: str) -> None:
    calls, listed = (
        fetched_frame(scheduled_calls(HOURS[2:8] + HOURS[9:20])),
        schedule_frame({"cron_expression": expression}),
    )
    missed = cf.missed_runs(calls, listed)
    assert (times(missed), missed["inferred"].tolist()) == ([HOURS[8]], [True])
    found = only_row(calls, listed)
    assert (found["cadence"], found["expected"]) == (pd.Timedelta("1h"), 18)
    assert "judged by the cadence of its calls" in found["problem"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("seed", range(2))
def test_schedule_judged_by_its_cadence_with_nothing_missed_raises_no_alarm(expression: str, seed: int) -> None:
    filled, rng = simulated(expression, seed)
    listed = schedule_frame({"cron_expression": "H H * * *"})
    assert cf.missed_runs(fetched_frame(delayed(filled, rng), start_ms=filled[0]), listed).empty


def test_expression_that_does_not_explain_the_history_counts_nothing() -> None:
    calls = fetched_frame(scheduled_calls([slot + 30 * MINUTE_MS for slot in HOURS[:2]] + HOURS[2:]))
    found = only_row(calls, schedule_frame({}))
    assert (found["verdict"], found["expected"], found["off_schedule"]) == ("unexplained", 0, 2)
    assert cf.missed_runs(calls, schedule_frame({})).empty


def test_few_calls_on_no_scheduled_time_are_counted_and_the_rest_is_judged() -> None:
    found = only_row(fetched_frame(scheduled_calls([*HOURS[1:], HOURS[3] + MINUTE_MS])), schedule_frame({}))
    assert (found["verdict"], found["missed"], found["off_schedule"]) == ("missed", 1, 1)


# Schedules that are listed no more


def test_cadence_of_a_vanished_schedule_is_inferred_from_its_gaps() -> None:
    missed = cf.missed_runs(fetched_frame(scheduled_calls(HOURS[2:8] + HOURS[9:20])), schedule_frame())
    assert times(missed) == [HOURS[8]]
    assert missed["inferred"].all()
    assert missed["cron_expression"].isna().all()


def test_vanished_schedule_is_followed_to_its_last_call() -> None:
    found = only_row(fetched_frame(scheduled_calls(HOURS[2:20])), schedule_frame())
    assert (found["expected"], found["missed"], found["cadence"]) == (18, 0, pd.Timedelta("1h"))


def test_vanished_schedule_with_few_calls_has_no_cadence() -> None:
    assert only_row(fetched_frame(scheduled_calls(HOURS[:3])), schedule_frame())["verdict"] == "no cadence"


def test_vanished_schedule_without_a_rule_has_no_cadence() -> None:
    odd = [NOW_MS - DAY_MS + k * k * 7 * MINUTE_MS for k in range(14)]
    assert only_row(fetched_frame(scheduled_calls(odd)), schedule_frame())["verdict"] == "no cadence"


def test_vanished_schedule_of_an_incomplete_function_is_unknown() -> None:
    calls = fetched_frame(scheduled_calls(HOURS[:8] + HOURS[9:]))
    calls.attrs["callframe"]["functions"][0] |= {"complete": False, "reason": "503"}
    assert states(cf.missed_runs(calls, schedule_frame())) == {"unknown": 1}


# Duplicates


def test_scheduled_time_with_two_calls_is_a_duplicate() -> None:
    twice = make_call(id=1, start_time=HOURS[4] + 9_000, scheduled_time=HOURS[4] + 300, schedule_id=7)
    found = cf.duplicate_runs(fetched_frame([*scheduled_calls(HOURS), twice]))
    assert found.iloc[0].to_dict() == {
        "schedule_id": 7,
        "function": "f7",
        "scheduled_time": pd.Timestamp(HOURS[4], unit="ms", tz="UTC"),
        "calls": 2,
        "first_call_id": 7_000_004,
        "last_call_id": 1,
    }
    assert len(found) == 1


def test_duplicates_are_counted_in_the_report() -> None:
    calls = fetched_frame(
        [*scheduled_calls(HOURS), make_call(id=1, start_time=HOURS[4], scheduled_time=HOURS[4], schedule_id=7)]
    )
    assert only_row(calls, schedule_frame({}))[["calls", "run", "duplicates"]].to_list() == [25, 24, 1]


def test_call_that_is_in_a_frame_twice_is_not_a_duplicate() -> None:
    calls = fetched_frame(scheduled_calls(HOURS))
    assert cf.duplicate_runs(pd.concat([calls, calls])).empty


def test_duplicates_have_their_dtypes_with_and_without_rows() -> None:
    some = fetched_frame(
        [*scheduled_calls(HOURS), make_call(id=1, start_time=HOURS[4], scheduled_time=HOURS[4], schedule_id=7)]
    )
    expected = ["Int64", "category", "datetime64[ms, UTC]", "int64", "int64", "int64"]
    for calls in (frame.empty(), fetched_frame(scheduled_calls(HOURS)), some):
        assert [str(kind) for kind in cf.duplicate_runs(calls).dtypes] == expected


# The report


def test_parts_of_the_report_add_up() -> None:
    with cf.demo(calls=3_000, functions=20) as project:
        report = cf.schedule_report(project.calls(start="20d"), project.schedules())
    parts = report[["run", "missed", "unconfirmed", "unknown"]].sum(axis=1)
    assert (parts == report["expected"]).all()
    assert report["schedule_id"].is_unique


def test_report_has_its_dtypes_with_and_without_rows() -> None:
    empty = cf.schedule_report(frame.empty(), schedule_frame())
    full = cf.schedule_report(fetched_frame(scheduled_calls(HOURS)), schedule_frame({}))
    assert empty.dtypes.astype(str).to_dict() == full.dtypes.astype(str).to_dict()
    assert list(full["verdict"].cat.categories) == list(VERDICTS)


def test_schedule_with_no_scheduled_time_in_the_range_has_nothing_due() -> None:
    assert only_row(fetched_frame([]), schedule_frame({"cron_expression": "0 0 1 6 *"}))["verdict"] == "nothing due"


# Input


def test_inputs_are_not_changed() -> None:
    calls, listed = fetched_frame(scheduled_calls(HOURS[1:])), schedule_frame({})
    before = calls.copy(), listed.copy()
    cf.missed_runs(calls, listed)
    assert_frame_equal(calls, before[0])
    assert_frame_equal(listed, before[1])
    assert calls.attrs.keys() == {"callframe"}


def test_frame_of_schedules_without_expressions_is_rejected_by_name() -> None:
    with pytest.raises(cf.errors.FrameError, match="missing the columns cron_expression"):
        cf.missed_runs(fetched_frame([]), schedule_frame({}).drop(columns="cron_expression"))


def test_schedules_that_are_no_frame_are_rejected() -> None:
    with pytest.raises(cf.errors.FrameError, match="found list"):
        cf.missed_runs(fetched_frame([]), [])  # type: ignore[arg-type]


def test_creation_times_that_are_invalid_are_rejected() -> None:
    with pytest.raises(cf.errors.FrameError, match="Not a table of schedules"):
        cf.missed_runs(fetched_frame([]), schedule_frame({}).assign(created_time="soon"))


def test_frame_that_is_not_a_call_frame_is_rejected_by_column() -> None:
    with pytest.raises(cf.errors.FrameError, match="schedule_id"):
        cf.missed_runs(fetched_frame([]).drop(columns="schedule_id"), schedule_frame({}))


@pytest.mark.parametrize("grace", ["soon", "-1min", None, object()])
def test_grace_that_is_not_a_span_is_rejected(grace: Any) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="grace="):
        cf.missed_runs(fetched_frame([]), schedule_frame({}), grace=grace)
