"""Contrast: which attribute of selected calls differs, by how much, and how rarely by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import HOUR_MS, NOW_MS, frame_from_columns

from callframe import contrast, frame
from callframe.errors import ArgumentError

N = 4_000


def many_calls(seed: int = 0, **changes: Any) -> pd.DataFrame:
    """Build calls of four functions over two weeks, whose attributes have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    columns = {
        "function": rng.choice(list("abcd"), N),
        "status": rng.choice(["Completed", "Failed"], N, p=[0.9, 0.1]),
        "start": np.sort(rng.integers(NOW_MS - 14 * 24 * HOUR_MS, NOW_MS, N)),
        "duration": 1000 * np.exp(rng.normal(2, 1, N)),
        "delay": rng.exponential(3000, N),
    }
    return frame_from_columns(**(columns | changes))


def row(table: pd.DataFrame, attribute: str) -> dict[Any, Any]:
    return table[table["attribute"] == attribute].to_dict("records")[0]


def test_attribute_that_differs_comes_first_with_its_shares() -> None:
    calls = many_calls()
    selected = (calls["function"] == "a") | (calls["call_id"] % 10 == 0)
    first = contrast(calls, selected).iloc[0]
    assert (first["attribute"], first["value"]) == ("function", "a")
    assert first["selected_share"] == pytest.approx((calls["function"] == "a")[selected].mean())
    assert first["rest_share"] == 0
    assert first["difference_low"] < first["difference"] < first["difference_high"]


def test_range_of_durations_is_found() -> None:
    calls = many_calls()
    found = row(contrast(calls, calls["duration"] > pd.Timedelta("20s")), "duration")
    assert found["value"] == "20 s to 10 min"
    assert found["selected_share"] == 1


def test_hours_and_weekday_are_found() -> None:
    calls = many_calls()
    at_night = calls["start_time"].dt.hour.isin([2, 3])
    assert row(contrast(calls, at_night), "hour")["value"] == "02:00 to 03:59"
    assert row(contrast(calls, calls["start_time"].dt.day_of_week == 5), "weekday")["value"] == "Sat"


def test_calls_that_run_at_the_start_are_counted() -> None:
    start = NOW_MS + 1000 * np.arange(200)
    calls = many_calls(
        function=["a"] * 200, status=["Completed"] * 200, start=start, duration=np.full(200, 5_500.0), delay=None
    )
    assert row(contrast(calls, calls.index >= 5), "calls running at the start")["value"] == "5 to 9"


def test_time_since_the_last_call_is_that_of_the_same_function() -> None:
    start = NOW_MS + 1000 * np.arange(200)
    calls = many_calls(
        function=["a", "b"] * 100, status=["Completed"] * 200, start=start, duration=np.full(200, 1.0), delay=None
    )
    later = calls["start_time"] > calls["start_time"].iloc[99]
    assert row(contrast(calls, later), "time since the last call")["value"] == "2 s to 5 s"


def test_failure_group_and_words_of_failures_are_compared() -> None:
    calls = many_calls()
    failed = calls["status"] == "Failed"
    words = np.where(calls["function"] == "a", "disk full", "connection lost")
    calls["error_message"] = pd.Series(words, dtype=frame.TEXT).where(failed)
    table = contrast(calls, calls["function"] == "a")
    assert row(table, "message word")["value"] in {"disk", "full"}
    assert row(table, "failure group")["value"] == "disk full"


def test_words_of_logs_are_compared_where_there_are_any() -> None:
    calls = many_calls()
    selected = calls["call_id"] <= 40
    lines = [("retry later" if call_id <= 40 else "all fine") for call_id in range(1, 101)]
    logs = pd.DataFrame({"call_id": np.arange(1, 101), "message": lines})
    assert row(contrast(calls, selected, logs=logs), "log word")["value"] in {"retry", "later"}
    assert "log word" not in set(contrast(calls, selected)["attribute"])


def test_deployments_of_one_function_are_compared() -> None:
    calls = many_calls(function_ids=np.where(np.arange(N) < N // 2, 7, 8), function=["a"] * N)
    assert row(contrast(calls, calls["function_id"] == 8), "deployment")["value"] == "a 8"


def test_random_calls_differ_in_at_most_5_of_100_selections() -> None:
    calls = many_calls()
    rng = np.random.default_rng(3)
    found = [(contrast(calls, rng.random(N) < 0.1)["p_value_corrected"] <= 0.05).any() for _ in range(20)]
    assert np.mean(found) <= 0.05


def test_bursts_differ_in_at_most_5_of_100_selections() -> None:
    calls = many_calls()
    rng = np.random.default_rng(4)
    delay = np.repeat(rng.exponential(3000, N // 10), 10)
    calls["schedule_delay"] = pd.Series(delay.astype("int64").view("timedelta64[ms]"))
    found = []
    for _ in range(20):
        burst = np.repeat(rng.random(N // 10) < 0.1, 10)
        found.append(bool(row(contrast(calls, burst), "schedule delay")["p_value"] <= 0.05))
    assert np.mean(found) <= 0.05


def test_rows_and_a_mask_select_the_same() -> None:
    calls = many_calls()
    mask = calls["status"] == "Failed"
    pd.testing.assert_frame_equal(contrast(calls, mask), contrast(calls, calls[mask]))


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        (np.zeros(N, dtype=bool), "some, and some others"),
        (np.ones(N, dtype=bool), "some, and some others"),
        (np.ones(3, dtype=bool), "one per call"),
        (np.ones(N), "expected one bool per call"),
    ],
)
def test_selection_that_cannot_be_compared_is_refused(selected: np.ndarray, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        contrast(many_calls(), selected)
