"""Changes: found where they are, of the size they have, and rarely where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, NOW_MS, attach_coverage, frame_from_columns

from callframe import changes
from callframe.analysis.changes import _segments
from callframe.completeness import FunctionCoverage
from callframe.errors import ArgumentError

START_MS = NOW_MS - 30 * DAY_MS
STEP_MS = START_MS + 17 * DAY_MS + DAY_MS // 3


def month(seed: int, *, step: float = 1.0, drift: float = 1.0, day_sd: float = 0.0, rates: Any = (0.02, 0.02)) -> Any:
    """Build 30 days of 96 calls: log-normal, slower from a step or by and by, with a factor for each day."""
    rng = np.random.default_rng(seed)
    start = np.arange(START_MS, NOW_MS, DAY_MS // 96)
    day = ((start - START_MS) / DAY_MS + rng.uniform()).astype(int)
    log = rng.normal(0, 0.5, len(start)) + rng.normal(0, day_sd, 32)[day]
    log += np.log(step) * (start >= STEP_MS) + np.log(drift) * (start - START_MS) / (30 * DAY_MS)
    failed = rng.random(len(start)) < np.where(start >= STEP_MS, rates[1], rates[0])
    status = np.where(failed, "Failed", "Completed")
    delay = np.full(len(start), 2000.0)
    return frame_from_columns(
        function=np.full(len(start), "f"), status=status, start=start, duration=10_000 * np.exp(log), delay=delay
    )


def test_step_of_durations_is_found_within_a_day_in_9_of_10_months() -> None:
    tables = [changes(month(seed, step=1.3)) for seed in range(40)]
    times = [table["time"].iloc[0].timestamp() * 1000 if len(table) else 0 for table in tables]
    assert np.mean(np.abs(np.array(times) - STEP_MS) <= DAY_MS) >= 0.9
    found = pd.concat(tables)
    assert found["change"].median() == pytest.approx(1.3, rel=0.05)
    assert ((found["change_low"] <= 1.3) & (found["change_high"] >= 1.3)).mean() >= 0.85


def test_days_that_differ_are_no_change_in_95_percent_of_months() -> None:
    assert np.mean([len(changes(month(seed, day_sd=0.2))) > 0 for seed in range(60)]) <= 0.05


def test_slow_drift_is_apart_from_a_jump() -> None:
    assert changes(month(1, drift=1.6))["kind"].tolist() == ["drift"]
    assert changes(month(1, step=1.6))["kind"].tolist() == ["jump"]


def test_drift_has_the_values_of_its_ends() -> None:
    [row] = changes(month(1, drift=2.0)).to_dict("records")
    assert row["change"] == pytest.approx(2 ** (2 / 3), rel=0.1)
    assert row["change_low"] < row["change"] < row["change_high"]


def test_lasting_rise_of_the_failure_rate_is_found() -> None:
    [row] = changes(month(3, rates=(0.02, 0.15))).to_dict("records")
    assert row["measure"] == "failure_rate"
    assert row["change"] == pytest.approx(0.13, abs=0.03)
    assert row["change_low"] > 0


def test_later_start_after_the_scheduled_time_is_found() -> None:
    calls = month(4)
    late = (calls["start_time"] >= pd.Timestamp(STEP_MS, unit="ms", tz="UTC")) & (calls.index % 2 == 0)
    calls["schedule_delay"] = calls["schedule_delay"].mask(late, pd.Timedelta("20s"))
    assert changes(calls)["measure"].tolist() == ["schedule_delay"]


def test_change_and_its_reversal_are_two_changes() -> None:
    calls = month(5)
    days = (calls["start_time"] - calls["start_time"].min()) / pd.Timedelta("1D")
    slow = days.between(8, 18)
    calls["duration"] = calls["duration"].mask(slow, calls["duration"] * 2)
    found = changes(calls).sort_values("time")
    assert (found["change"] > 1).tolist() == [True, False]


def test_deploy_nearby_is_named() -> None:
    calls = month(6, step=1.6)
    request: dict[str, Any] = {"window": None, "status": [], "schedule_ids": []}
    functions = [FunctionCoverage(1, "f", created_ms=STEP_MS - 1000), FunctionCoverage(2, "f", created_ms=START_MS)]
    attach_coverage(calls, functions, project="p", fetched_at="2026-09-30T12:00:00Z", **request)
    assert changes(calls)["deploy_time"].tolist() == [pd.Timestamp(STEP_MS - 1000, unit="ms", tz="UTC")]


def test_p_values_are_corrected_over_functions() -> None:
    many = pd.concat([month(7, step=1.2), *(month(seed).assign(function=f"f{seed}") for seed in range(20, 30))])
    many = many.astype({"function": "category"})
    alone, among = changes(month(7, step=1.2)), changes(many)
    assert among["p_value"].iloc[0] == alone["p_value"].iloc[0]
    assert among["p_value_corrected"].iloc[0] > alone["p_value_corrected"].iloc[0]


def test_few_days_are_not_judged() -> None:
    calls = month(8, step=3)
    assert changes(calls[calls["start_time"] >= calls["start_time"].max() - pd.Timedelta("4D")]).empty


def test_no_calls_give_an_empty_table_of_the_same_columns() -> None:
    assert changes(month(0).head(0)).dtypes.equals(changes(month(1, step=1.6)).dtypes)


def test_level_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ArgumentError, match="expected a probability"):
        changes(month(0), alpha=0)


@pytest.mark.parametrize("seed", range(5))
def test_segments_are_those_of_ruptures(seed: int) -> None:
    ruptures = pytest.importorskip("ruptures")
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 1, 60) + np.repeat(rng.normal(0, 3, 4), 15)
    penalty = 3 * np.median(np.square(np.diff(means))) / (2 * 0.455) * np.log(60)
    expected = ruptures.Pelt(model="l2", min_size=1, jump=1).fit(means).predict(pen=penalty)
    assert [*_segments(means, np.ones(60)), 60] == expected
