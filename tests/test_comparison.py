"""Comparisons agree with plain Python and publications, and their verdicts are right on data with known changes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, NOW_MS, START_MS, edge_case_rows, frame_from_columns, frame_from_rows
from hypothesis import given, settings
from scipy import stats

import callframe as cf
from callframe import frame
from callframe.analysis import comparison
from callframe.analysis.statistics import Blocks
from callframe.errors import ArgumentError, FrameError

AT_MS = START_MS + 7 * DAY_MS
AT = pd.Timestamp(AT_MS, unit="ms", tz="UTC")
LIMIT_MS = 600_000
STUCK_MS = 15 * 60_000
MS: Any = pd.Timedelta(milliseconds=1)
CHANGES = {"slower", "faster", "slower tail", "faster tail", "more failures", "fewer failures"}
NO_CHANGE = {"no difference that matters", "cannot tell"}


def row_of(**changes: Any) -> dict[str, Any]:
    return {"function": "a", "status": "Completed", "start": START_MS, "duration": 1000, "delay": None} | changes


def rows_of(n: int, *, after: bool, **changes: Any) -> list[dict[str, Any]]:
    """Build calls a minute apart, before or after `AT`."""
    first_ms = AT_MS if after else START_MS
    return [row_of(start=first_ms + k * 60_000, duration=1000 + 37 * k % 61) | changes for k in range(n)]


def compared(*rows: dict[str, Any], **options: Any) -> Any:
    """Compare the calls of one function before and after `AT`."""
    return cf.compare(frame_from_rows(list(rows)), at=AT, **options).loc["a"]


def random_calls(
    rng: np.random.Generator,
    *,
    functions: int,
    n: int,
    factor: float = 1.0,
    bursts: float = 0.0,
    days: float = 0.0,
) -> pd.DataFrame:
    """
    Draw log-normal durations up to a run limit, failures, and Running calls among the newest.

    After `AT` calls take `factor` times as long. `bursts` is how often a series of failures starts, `days` by how much
    days differ, for each function in another way.
    """
    size = functions * n
    function = np.repeat(np.arange(functions), n)
    start = np.sort(rng.integers(START_MS, NOW_MS - 60_000, (functions, n))).ravel()
    duration = rng.lognormal(np.repeat(rng.uniform(8, 12.5, functions), n), 0.6)
    duration = duration * np.where(start >= AT_MS, factor, 1)
    if days:
        day = start // DAY_MS - START_MS // DAY_MS
        duration = duration * np.exp(rng.normal(0, days, (functions, 15)))[function, day]
    status = np.where(duration > LIMIT_MS, "Timeout", "Completed")
    fails = rng.random(size) < np.repeat(rng.choice([0, 0.01, 0.1], functions), n)
    for first in np.flatnonzero(rng.random(size) < bursts):
        fails[first : first + rng.integers(6, 18)] = True
    status = np.where(fails, np.where(rng.random(size) < 0.3, "Timeout", "Failed"), status)
    status = np.where((start > NOW_MS - 600_000) & (rng.random(size) < 0.5), "Running", status)
    duration = np.where(status == "Timeout", LIMIT_MS, duration)
    names = np.array([f"f{k}" for k in range(functions)])
    return frame_from_columns(function=names[function], status=status, start=start, duration=duration)


def verdicts(table: pd.DataFrame) -> list[str]:
    return [*table["duration_verdict"], *table["tail_verdict"], *table["failure_verdict"]]


# Against plain Python and publications


def median_of(rows: list[dict[str, Any]]) -> float | None:
    work = [observed for row in rows if (observed := observe(row)) is not None]
    survival = 1.0
    for time in sorted({time for time, ended in work if ended}):
        at_risk = sum(other >= time for other, _ in work)
        survival *= 1 - sum(other == time and ended for other, ended in work) / at_risk
        if survival <= 0.5 + 1e-9:
            return time
    return None


def observe(row: dict[str, Any]) -> tuple[float, bool] | None:
    """Find how long a call worked, and whether its work was completed."""
    age_ms = NOW_MS - row["start"]
    if row["status"] == "Timeout":
        return 9 * 60_000 if row["duration"] is None else row["duration"], False
    if row["status"] == "Completed" and row["duration"] is not None:
        return row["duration"], True
    return (age_ms, False) if row["status"] == "Running" and 0 <= age_ms <= STUCK_MS else None


@settings(deadline=None, max_examples=30)
@given(edge_case_rows(), edge_case_rows(functions="bcd"))
def test_counts_rates_and_medians_agree_with_plain_python(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # no call is left out for its hour
        patch.setattr(comparison, "_match_hours", lambda columns, size, _: (np.zeros(size, int), columns["start"] >= 0))
        table: Any = cf.compare(frame_from_rows(before), frame_from_rows(after), min_calls=1)
    assert set(table.index) == {row["function"] for row in [*before, *after]}
    for name, compared_row in table.iterrows():
        for side, side_rows in (("before", before), ("after", after)):
            rows = [row for row in side_rows if row["function"] == name]
            finished = [row for row in rows if row["status"] in {"Completed", "Failed", "Timeout", "Error response"}]
            failed = sum(row["status"] != "Completed" for row in finished)
            completed = [row for row in rows if row["status"] == "Completed" and row["duration"] is not None]
            assert compared_row[f"completed_{side}"] == len(completed)
            assert compared_row[f"finished_{side}"] == len(finished)
            rate = compared_row[f"failure_rate_{side}"]
            assert math.isnan(rate) if not finished else math.isclose(rate, failed / len(finished))
            median = compared_row[f"duration_p50_{side}"]
            assert (None if pd.isna(median) else median // MS) == median_of(rows)


def test_interval_of_the_difference_of_rates_agrees_with_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    # 56/70 and 48/80 (Newcombe, 1998, Statist. Med. 17:873, example a): 0.0524 to 0.3339
    monkeypatch.setattr(Blocks, "effects", lambda blocks, *_, **__: np.ones(blocks.size))
    before = rows_of(48, after=False, status="Failed") + rows_of(32, after=False)
    row = compared(*before, *rows_of(56, after=True, status="Failed"), *rows_of(14, after=True))
    assert [round(row[f"failure_rate_change_{end}"], 4) for end in ("low", "high")] == [0.0524, 0.3339]


def test_failure_p_value_of_independent_calls_agrees_with_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blocks, "effects", lambda blocks, *_, **__: np.ones(blocks.size))
    before = rows_of(3, after=False, status="Failed") + rows_of(37, after=False)
    row = compared(*before, *rows_of(12, after=True, status="Timeout"), *rows_of(28, after=True))
    assert math.isclose(row["failure_p_value"], stats.fisher_exact([[3, 12], [37, 28]]).pvalue)


def test_p_values_are_corrected_over_all_tests() -> None:
    table: Any = cf.compare(random_calls(np.random.default_rng(3), functions=5, n=200, factor=1.2), at=AT)
    raw, corrected = (
        table[[f"{measure}_p_value{end}" for measure in ("duration", "tail", "failure")]].to_numpy().ravel()
        for end in ("", "_corrected")
    )
    assert np.allclose(corrected, stats.false_discovery_control(raw))


# On data with known changes


def count_false_alarms(tables: list[pd.DataFrame]) -> int:
    return sum(bool(CHANGES & set(verdicts(table))) for table in tables)


def test_at_most_one_project_in_twenty_without_changes_has_a_false_alarm() -> None:
    rng = np.random.default_rng(0)
    sizes = (int(rng.choice([80, 200, 600])) for _ in range(60))
    assert (
        count_false_alarms([cf.compare(random_calls(rng, functions=6, n=n, bursts=0.005), at=AT) for n in sizes]) <= 3
    )


@pytest.mark.parametrize("n", [80, 600])
def test_at_most_one_project_in_twenty_with_slow_days_has_a_false_alarm(n: int) -> None:
    rng = np.random.default_rng(n)
    tables = [cf.compare(random_calls(rng, functions=6, n=n, days=0.3), at=AT) for _ in range(60)]
    assert count_false_alarms(tables) <= 3


def test_at_most_one_project_in_twenty_with_outages_has_a_false_alarm() -> None:
    rng = np.random.default_rng(2)
    tables = [cf.compare(random_calls(rng, functions=6, n=80, bursts=0.015), at=AT) for _ in range(60)]
    assert count_false_alarms(tables) <= 3


@pytest.mark.parametrize(("factor", "functions", "verdict"), [(1.6, 40, "slower"), (1 / 1.6, 20, "faster")])
def test_change_of_durations_is_found(factor: float, functions: int, verdict: str) -> None:
    rng = np.random.default_rng({"slower": 1, "faster": 2}[verdict])
    table = cf.compare(random_calls(rng, functions=functions, n=240, factor=factor), at=AT)
    assert (table["duration_verdict"] == verdict).mean() >= 0.9


def test_interval_covers_the_true_ratio() -> None:
    calls = random_calls(np.random.default_rng(4), functions=300, n=160, factor=1.3, bursts=0.003)
    table: Any = cf.compare(calls, at=AT)
    table = table[table["duration_p_value"].notna()]
    covered = (table["duration_ratio_low"] <= 1.3) & (table["duration_ratio_high"] >= 1.3)
    assert 0.93 <= covered.mean() <= 0.995


def test_one_outage_is_no_evidence() -> None:
    after = rows_of(60, after=True)
    after[20:32] = [row | {"status": "Failed"} for row in after[20:32]]
    assert compared(*rows_of(60, after=False), *after)["failure_verdict"] in NO_CHANGE


def test_lasting_failures_are_more_failures() -> None:
    row = compared(*rows_of(60, after=False), *rows_of(60, after=True, status="Failed"))
    assert row["failure_verdict"] == "more failures"


def test_end_of_failures_is_fewer_failures() -> None:
    row = compared(*rows_of(60, after=False, status="Failed"), *rows_of(60, after=True))
    assert row["failure_verdict"] == "fewer failures"


def test_lasting_timeouts_are_slower_with_an_unknown_ratio() -> None:
    row = compared(*rows_of(60, after=False), *rows_of(60, after=True, status="Timeout", duration=LIMIT_MS))
    assert row["duration_verdict"] == "slower"
    assert math.isnan(row["duration_ratio"])
    assert row["duration_p50_after_above"] / MS == LIMIT_MS
    assert math.isinf(row["duration_ratio_high"])


def test_end_of_timeouts_is_faster() -> None:
    row = compared(*rows_of(60, after=False, status="Timeout", duration=LIMIT_MS), *rows_of(60, after=True))
    assert row["duration_verdict"] == "faster"


@pytest.mark.parametrize(("min_ratio", "verdict"), [(1.1, "no difference that matters"), (1.02, "slower")])
def test_change_must_be_as_large_as_min_ratio(min_ratio: float, verdict: str) -> None:
    rows = rows_of(500, after=False, duration=1000) + rows_of(500, after=True, duration=1050)
    row = compared(*rows, min_ratio=min_ratio)
    assert row["duration_p_value_corrected"] < 0.001
    assert row["duration_verdict"] == verdict


# Two sides


def test_call_at_the_time_is_after() -> None:
    row = compared(row_of(start=AT_MS), row_of(start=AT_MS - 1))
    assert [row["completed_before"], row["completed_after"]] == [1, 1]


@pytest.mark.parametrize("at", [AT, AT.tz_localize(None), AT.isoformat(), AT.tz_localize(None).isoformat(), "7d"])
def test_time_can_be_written_in_several_ways(at: Any) -> None:
    assert cf.compare(frame_from_rows([row_of()]), at=at)["at"].tolist() == [AT]


@pytest.mark.parametrize("after", [False, True])
def test_function_with_calls_on_one_side_has_too_few(after: bool) -> None:
    table = cf.compare(frame_from_rows(rows_of(60, after=after)), at=AT)
    assert verdicts(table) == ["too few calls"] * 3


def test_two_frames_are_compared_like_one_that_is_split() -> None:
    calls = random_calls(np.random.default_rng(5), functions=3, n=200)
    sides = calls[calls["start_time"] < AT], calls[calls["start_time"] >= AT]
    split = cf.compare(calls, at=AT).drop(columns="at")
    pd.testing.assert_frame_equal(cf.compare(*sides).drop(columns="at"), split)


def test_order_and_index_of_the_calls_do_not_matter() -> None:
    calls = random_calls(np.random.default_rng(6), functions=3, n=200)
    shuffled = calls.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(cf.compare(shuffled, at=AT), cf.compare(calls, at=AT))


def test_input_is_not_changed() -> None:
    calls = random_calls(np.random.default_rng(8), functions=2, n=50)
    before = calls.copy(deep=True)
    cf.compare(calls, at=AT)
    pd.testing.assert_frame_equal(calls, before)


def test_comparison_of_no_calls_is_empty_with_the_same_columns() -> None:
    empty = cf.compare(frame.empty(), at=AT)
    full = cf.compare(random_calls(np.random.default_rng(9), functions=1, n=100), at=AT)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


# Deploys


def redeployed(created_ms: dict[int, int | None], **coverage: Any) -> pd.DataFrame:
    """Build 40 calls for each id of function a, and 40 of function b, which has one id."""
    ids = [*created_ms, 9]
    calls = frame_from_columns(
        function=np.repeat(["a"] * len(created_ms) + ["b"], 40),
        status=np.full(40 * len(ids), "Completed"),
        start=START_MS + np.arange(40 * len(ids)) * 60_000,
        duration=np.full(40 * len(ids), 1000.0),
        function_ids=np.repeat(ids, 40),
    )
    functions = [{"function_id": key, "function": "a", "created_ms": time_ms} for key, time_ms in created_ms.items()]
    functions.append({"function_id": 9, "function": "b", "created_ms": START_MS - DAY_MS})
    calls.attrs["callframe"] |= {"functions": functions, **coverage}
    return calls


def test_redeployed_function_is_split_by_its_ids() -> None:
    table: Any = cf.compare(redeployed({1: START_MS - DAY_MS, 2: AT_MS}))
    assert table[["at", "completed_before", "completed_after"]].to_numpy().tolist() == [[AT, 40, 40]]


def test_last_of_several_deploys_counts() -> None:
    row: Any = cf.compare(redeployed({1: None, 3: AT_MS, 2: AT_MS - DAY_MS}), at="deploy").loc["a"]
    assert [row["at"], row["completed_before"], row["completed_after"]] == [AT, 80, 40]


def test_deploy_outside_the_window_does_not_count() -> None:
    window = {"start": (AT + pd.Timedelta("1s")).isoformat(), "end": "2027-01-01T00:00:00Z"}
    assert len(cf.compare(redeployed({1: None, 2: AT_MS}, window=window))) == 0


def test_frame_without_times_of_deploys_needs_a_time() -> None:
    with pytest.raises(ArgumentError, match="give at="):
        cf.compare(frame_from_rows([row_of()], fetched_ms=None))


# Invalid arguments


@pytest.mark.parametrize(
    ("name", "value"), [("at", "noon"), ("alpha", 0), ("min_calls", 0), ("min_ratio", 0.5), ("min_difference", -1)]
)
def test_invalid_option_raises(name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{name}="):
        cf.compare(frame_from_rows([row_of()]), **({"at": AT} | {name: value}))


def test_second_frame_and_a_time_cannot_be_combined() -> None:
    with pytest.raises(ArgumentError, match="after and at"):
        cf.compare(frame_from_rows([row_of()]), frame_from_rows([row_of()]), at=AT)


def test_second_frame_must_be_a_call_frame_too() -> None:
    with pytest.raises(FrameError, match="missing the columns"):
        cf.compare(frame_from_rows([row_of()]), pd.DataFrame({"a": [1]}))


# Tails, hours of the week, and what could have been found


def days_of(first_ms: int, days: int, per_day: int, seed: int, **changes: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    starts = first_ms + (np.arange(days * per_day) + rng.random(days * per_day)) * DAY_MS / per_day
    return [row_of(start=int(start), duration=int(1000 * rng.lognormal(0, 0.3))) | changes for start in starts]


def test_slower_tail_is_found_where_the_median_stays() -> None:
    before, after = days_of(AT_MS - 7 * DAY_MS, 7, 60, 0), days_of(AT_MS, 7, 60, 1)
    after = [row | {"duration": row["duration"] * (3 if k % 10 == 0 else 1)} for k, row in enumerate(after)]
    row = compared(*before, *after)
    assert [row["duration_verdict"] == "slower", row["tail_verdict"]] == [False, "slower tail"]
    assert row["tail_ratio_low"] > 1.1


def test_equal_durations_of_many_calls_are_no_difference_that_matters() -> None:
    row = compared(*days_of(AT_MS - 7 * DAY_MS, 7, 300, 2), *days_of(AT_MS, 7, 300, 3))
    assert row["duration_verdict"] == "no difference that matters"
    assert row["duration_ratio_detectable"] < 1.15


def test_few_calls_cannot_tell_and_say_what_they_could_have_found() -> None:
    row = compared(*days_of(AT_MS - 7 * DAY_MS, 7, 5, 4), *days_of(AT_MS, 7, 5, 5))
    assert row["duration_verdict"] == "cannot tell"
    assert 1.15 < row["duration_ratio_detectable"] < 2


def test_deploy_before_slow_weekends_is_compared_at_the_same_hours_of_the_week() -> None:
    friday = AT_MS + 2 * DAY_MS  # AT is a Wednesday
    rows = days_of(friday - 14 * DAY_MS, 17, 60, 6)
    for row in rows:
        row["duration"] *= 2 if (row["start"] // DAY_MS + 3) % 7 >= 5 else 1
    result: Any = cf.compare(frame_from_rows(rows), at=pd.Timestamp(friday, unit="ms", tz="UTC")).loc["a"]
    assert result["hours_of_week"] == "matched"
    assert result["duration_verdict"] in NO_CHANGE


def test_sides_at_other_hours_of_the_week_are_reported() -> None:
    rows = days_of(AT_MS - 3 * DAY_MS, 6, 60, 7)
    assert compared(*rows)["hours_of_week"] == "differ"


def test_whole_weeks_have_the_same_hours_of_the_week() -> None:
    assert compared(*days_of(AT_MS - 7 * DAY_MS, 14, 60, 8))["hours_of_week"] == "same"


def test_new_failure_groups_since_the_time_are_counted() -> None:
    rows = rows_of(40, after=False, status="Failed") + rows_of(40, after=True, status="Failed")
    calls = frame_from_rows(rows)
    calls["error_message"] = pd.Series(["KeyError: 'a'"] * 60 + ["OSError: disk full"] * 20, dtype=frame.TEXT)
    row: Any = cf.compare(calls, at=AT).loc["a"]
    assert [row["new_failure_groups"], row["new_failures"]] == [1, 20]


def test_ratio_of_equal_halves_with_slow_days_is_covered() -> None:
    calls = random_calls(np.random.default_rng(11), functions=300, n=300, days=0.2)
    table: Any = cf.compare(calls, at=AT)
    low, high = table["duration_ratio_low"], table["duration_ratio_high"]
    assert 0.92 <= ((low <= 1) & (high >= 1))[low.notna()].mean() <= 0.99


def test_failed_calls_are_left_out_of_durations_or_censored_on_request() -> None:
    rows = rows_of(60, after=False) + rows_of(30, after=True) + rows_of(40, after=True, status="Failed", duration=9_000)
    excluded, censored = (compared(*rows, failed=failed) for failed in ("exclude", "censor"))
    assert excluded["duration_p50_after"] / MS < 1100
    assert pd.isna(censored["duration_p50_after"])


def test_durations_are_those_of_summarize() -> None:
    calls = random_calls(np.random.default_rng(12), functions=3, n=400)
    table, before = cf.compare(calls, at=AT), cf.summarize(calls[calls["start_time"] < AT])
    for name in ("duration_p50", "duration_p95"):
        assert table[f"{name}_before"].sort_index().tolist() == before[name].sort_index().tolist()
