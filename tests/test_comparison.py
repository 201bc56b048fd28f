"""Before and after: the numbers are those of slow calculations, the verdicts right where the truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, NOW_MS, START_MS, edge_case_rows, frame_from_columns, frame_from_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import callframe as cf
from callframe import frame
from callframe.analysis import comparison as comparisons
from callframe.analysis import statistics
from callframe.analysis.kaplan_meier import estimate_distribution

AT_MS = START_MS + 7 * DAY_MS
AT = pd.Timestamp(AT_MS, unit="ms", tz="UTC")
LIMIT_MS = 600_000
STUCK_MS = 15 * 60_000
MS: Any = pd.Timedelta(milliseconds=1)
CHANGED = {"slower", "faster", "more failures", "fewer failures"}


def one(**changes: Any) -> dict[str, Any]:
    return {"function": "a", "status": "Completed", "start": START_MS, "duration": 1000, "delay": None} | changes


def many(n: int, *, after: bool, **changes: Any) -> list[dict[str, Any]]:
    first = AT_MS if after else START_MS
    return [one(start=first + k * 60_000, duration=1000 + 37 * k % 61) | changes for k in range(n)]


def project(
    rng: np.random.Generator,
    *,
    functions: int,
    n: int,
    factor: float = 1.0,
    spread: float = 0.6,
    bursts: float = 0.0,
    days: float = 0.0,
) -> pd.DataFrame:
    """Make log-normal durations cut off at a run limit, failures that come in bursts, and the newest calls Running."""
    size = functions * n
    function = np.repeat([f"f{k}" for k in range(functions)], n)
    start = np.sort(rng.integers(START_MS, NOW_MS - 60_000, (functions, n))).ravel()
    took = rng.lognormal(np.repeat(rng.uniform(8, 12.5, functions), n), spread)
    took = took * np.where(start >= AT_MS, factor, 1)
    if days:  # some days are slow ones, for each function others
        took = took * np.exp(rng.normal(0, days, (functions, 15)))[np.repeat(np.arange(functions), n), day_of(start)]
    status = np.where(took > LIMIT_MS, "Timeout", "Completed")
    fails = rng.random(size) < np.repeat(rng.choice([0, 0.01, 0.1], functions), n)
    for first in np.flatnonzero(rng.random(size) < bursts):
        fails[first : first + rng.integers(6, 18)] = True
    status = np.where(fails, np.where(rng.random(size) < 0.3, "Timeout", "Failed"), status)
    status = np.where((start > NOW_MS - 600_000) & (rng.random(size) < 0.5), "Running", status)
    took = np.where(status == "Timeout", LIMIT_MS, took)
    return frame_from_columns(function=function, status=status, start=start, duration=took)


def day_of(start: np.ndarray) -> np.ndarray:
    return start // DAY_MS - START_MS // DAY_MS


def verdicts(comparison: pd.DataFrame) -> list[str]:
    return [*comparison["duration_verdict"], *comparison["failure_verdict"]]


# Against slow calculations


def median_of(rows: list[dict[str, Any]]) -> float | None:
    work = [entry for row in rows if (entry := work_of(row)) is not None]
    left = 1.0
    for time in sorted({time for time, ended in work if ended}):
        left *= 1 - sum(other == time and ended for other, ended in work) / sum(other >= time for other, _ in work)
        if left <= 0.5 + 1e-9:
            return time
    return None


def work_of(row: dict[str, Any]) -> tuple[float, bool] | None:
    age = max(NOW_MS - row["start"], 0)
    if row["status"] == "Timeout":
        return math.inf, False
    if row["status"] == "Completed" and row["duration"] is not None:
        return row["duration"], True
    return (age, False) if row["status"] == "Running" and age <= STUCK_MS else None


@settings(deadline=None, max_examples=30)
@given(edge_case_rows(), edge_case_rows(functions="bcd"))
def test_counts_rates_and_medians_agree_with_loops(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    comparison: Any = cf.compare(frame_from_rows(before), frame_from_rows(after), min_calls=1)
    assert set(comparison.index) == {row["function"] for row in [*before, *after]}
    for name, found in comparison.iterrows():
        for side, rows in (("before", before), ("after", after)):
            own = [row for row in rows if row["function"] == name]
            finished = [row for row in own if row["status"] in {"Completed", "Failed", "Timeout"}]
            failed = sum(row["status"] != "Completed" for row in finished)
            assert found[f"completed_{side}"] == sum(row["status"] == "Completed" for row in own)
            assert found[f"finished_{side}"] == len(finished)
            rate = found[f"failure_rate_{side}"]
            assert math.isnan(rate) if not finished else math.isclose(rate, failed / len(finished))
            median = found[f"duration_p50_{side}"]
            assert (None if pd.isna(median) else median // MS) == median_of(own)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_log_rank_is_that_of_scipy_where_calls_are_independent(work: list[tuple[int, bool, bool]]) -> None:
    times, ended, later = (np.array(column) for column in zip(*work, strict=True))
    if later.all() or not later.any() or not ended.any():
        return
    sides = [
        stats.CensoredData(times[side & ended].astype(float), right=times[side & ~ended].astype(float))
        for side in (later, ~later)
    ]
    with np.errstate(invalid="ignore"):
        expected = stats.logrank(*sides).pvalue
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparisons, "design_effect", lambda *_: 1.0)
        found = comparisons._log_rank(times.astype(float), ended, later, np.zeros(len(times)))
    assert math.isclose(found, 1.0 if math.isnan(expected) else expected, abs_tol=1e-9)


def test_drawn_medians_are_those_of_resamples() -> None:
    values = np.sort(np.random.default_rng(0).lognormal(8, 1, 41)).round()
    rng = np.random.default_rng(1)
    resampled = np.quantile(rng.choice(values, (20_000, 41)), 0.5, axis=1, method="inverted_cdf")
    known = estimate_distribution(values, np.ones(41, dtype=bool))
    drawn = np.concatenate([comparisons._draw_medians(known, 41, rng) for _ in range(5)])
    assert stats.ks_2samp(drawn, resampled).statistic < 0.015


def test_curve_is_that_of_the_published_example() -> None:
    # Remission of leukaemia under 6-MP, in weeks (Freireich et al., 1963, Blood 21:699)
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    left = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    known = estimate_distribution(np.array([*ended, *left], dtype=float), np.arange(21) < 9)
    assert (1 - known.done).round(3).tolist() == [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]


def test_difference_of_rates_has_newcombes_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    # 56/70 and 48/80 (Newcombe, 1998, Statist. Med. 17:873, example a): 0.0524 to 0.3339
    monkeypatch.setattr(comparisons, "design_effect", lambda *_: 1.0)
    before = many(48, after=False, status="Failed") + many(32, after=False)
    after = many(56, after=True, status="Failed") + many(14, after=True)
    found: Any = cf.compare(frame_from_rows(before), frame_from_rows(after)).loc["a"]
    assert [round(found[f"failure_rate_change_{end}"], 4) for end in ("low", "high")] == [0.0524, 0.3339]


def test_failure_p_value_is_fishers_where_calls_are_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "design_effect", lambda *_: 1.0)
    before = many(3, after=False, status="Failed") + many(37, after=False)
    after = many(12, after=True, status="Timeout") + many(28, after=True)
    found: Any = cf.compare(frame_from_rows(before), frame_from_rows(after)).loc["a", "failure_p_value"]
    assert math.isclose(found, stats.fisher_exact([[3, 12], [37, 28]]).pvalue)


def test_p_values_are_corrected_over_all_tests() -> None:
    found: Any = cf.compare(project(np.random.default_rng(3), functions=5, n=200, factor=1.2), at=AT)
    raw, corrected = (
        found[[f"{kind}_p_value{end}" for kind in ("duration", "failure")]].to_numpy().ravel()
        for end in ("", "_corrected")
    )
    assert np.allclose(corrected, stats.false_discovery_control(raw))


def test_design_effect_of_bursts_is_about_their_length() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(1000) < 0.1, 12).astype(float)
    assert 9 < statistics.design_effect(values, np.arange(12_000) >= 6_000, np.arange(12_000) // 860) < 24


# Where the truth is known


def test_equal_halves_give_false_alarms_in_at_most_one_project_of_twenty() -> None:
    rng = np.random.default_rng(0)
    made = [project(rng, functions=6, n=int(rng.choice([80, 200, 600])), bursts=0.005) for _ in range(60)]
    assert sum(bool(CHANGED & set(verdicts(cf.compare(calls, at=AT)))) for calls in made) <= 3


@pytest.mark.parametrize("n", [80, 600])
def test_slow_days_give_false_alarms_in_at_most_one_project_of_twenty(n: int) -> None:
    rng = np.random.default_rng(n)
    made = [project(rng, functions=6, n=n, days=0.3) for _ in range(60)]
    assert sum(bool(CHANGED & set(verdicts(cf.compare(calls, at=AT)))) for calls in made) <= 3


def test_outages_among_few_calls_give_false_alarms_in_at_most_one_project_of_twenty() -> None:
    rng = np.random.default_rng(2)
    made = [project(rng, functions=6, n=80, bursts=0.015) for _ in range(60)]
    assert sum(bool(CHANGED & set(verdicts(cf.compare(calls, at=AT)))) for calls in made) <= 3


def test_slow_down_is_found() -> None:
    found: Any = cf.compare(project(np.random.default_rng(1), functions=40, n=240, factor=1.6), at=AT)
    assert (found["duration_verdict"] == "slower").mean() >= 0.9


def test_speed_up_is_found() -> None:
    found: Any = cf.compare(project(np.random.default_rng(2), functions=20, n=240, factor=1 / 1.6), at=AT)
    assert (found["duration_verdict"] == "faster").mean() >= 0.9


def test_interval_of_the_ratio_holds_the_truth_as_often_as_it_says() -> None:
    found: Any = cf.compare(project(np.random.default_rng(4), functions=300, n=160, factor=1.3, bursts=0.003), at=AT)
    found = found[found["duration_p_value"].notna()]
    held = (found["duration_ratio_low"] <= 1.3) & (found["duration_ratio_high"] >= 1.3)
    assert 0.93 <= held.mean() <= 0.995


def test_one_outage_is_no_evidence_of_more_failures() -> None:
    after = many(60, after=True)
    after[20:32] = [row | {"status": "Failed"} for row in after[20:32]]
    found: Any = cf.compare(frame_from_rows(many(60, after=False)), frame_from_rows(after))
    assert found["failure_verdict"].tolist() == ["no evidence"]


def test_function_that_fails_ever_since_has_more_failures() -> None:
    calls = frame_from_rows(many(60, after=False) + many(60, after=True, status="Failed"))
    assert cf.compare(calls, at=AT)["failure_verdict"].tolist() == ["more failures"]


def test_function_that_fails_no_more_has_fewer_failures() -> None:
    calls = frame_from_rows(many(60, after=False, status="Failed") + many(60, after=True))
    assert cf.compare(calls, at=AT)["failure_verdict"].tolist() == ["fewer failures"]


def test_function_that_times_out_ever_since_is_slower_though_its_ratio_is_not_known() -> None:
    calls = frame_from_rows(many(60, after=False) + many(60, after=True, status="Timeout", duration=LIMIT_MS))
    found: Any = cf.compare(calls, at=AT).loc["a"]
    assert found["duration_verdict"] == "slower"
    assert math.isnan(found["duration_ratio"])
    assert found["duration_p50_after_above"] / MS == LIMIT_MS
    assert math.isinf(found["duration_ratio_high"])


def test_function_that_times_out_no_more_is_faster() -> None:
    calls = frame_from_rows(many(60, after=False, status="Timeout", duration=LIMIT_MS) + many(60, after=True))
    assert cf.compare(calls, at=AT)["duration_verdict"].tolist() == ["faster"]


def test_small_change_is_no_evidence_however_sure() -> None:
    rows = many(500, after=False, duration=1000) + many(500, after=True, duration=1050)
    found: Any = cf.compare(frame_from_rows(rows), at=AT).loc["a"]
    assert found["duration_p_value_corrected"] < 0.001
    assert found["duration_verdict"] == "no evidence"


def test_smallest_change_that_matters_can_be_chosen() -> None:
    rows = many(500, after=False, duration=1000) + many(500, after=True, duration=1050)
    assert cf.compare(frame_from_rows(rows), at=AT, min_ratio=1.02)["duration_verdict"].tolist() == ["slower"]


# Halves


def test_call_at_the_moment_is_after() -> None:
    found: Any = cf.compare(frame_from_rows([one(start=AT_MS), one(start=AT_MS - 1)]), at=AT).loc["a"]
    assert [found["completed_before"], found["completed_after"]] == [1, 1]


@pytest.mark.parametrize("at", [AT, AT.tz_localize(None), AT.isoformat(), AT.tz_localize(None).isoformat(), "7d"])
def test_moment_can_be_written_in_many_ways(at: Any) -> None:
    assert cf.compare(frame_from_rows([one()]), at=at)["at"].tolist() == [AT]


@pytest.mark.parametrize("later", [False, True])
def test_function_in_one_half_only_has_too_few_calls(later: bool) -> None:
    found: Any = cf.compare(frame_from_rows(many(60, after=later)), at=AT)
    assert verdicts(found) == ["too few calls"] * 2


def test_two_frames_are_compared_as_one_that_is_divided() -> None:
    calls = project(np.random.default_rng(5), functions=3, n=200)
    parts = calls[calls["start_time"] < AT], calls[calls["start_time"] >= AT]
    divided = cf.compare(calls, at=AT).drop(columns="at")
    pd.testing.assert_frame_equal(cf.compare(*parts).drop(columns="at"), divided)


def test_order_and_index_of_the_calls_do_not_matter() -> None:
    calls = project(np.random.default_rng(6), functions=3, n=200)
    mixed = calls.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(cf.compare(mixed, at=AT), cf.compare(calls, at=AT))


def test_same_seed_gives_the_same_comparison() -> None:
    calls = project(np.random.default_rng(7), functions=2, n=200)
    pd.testing.assert_frame_equal(cf.compare(calls, at=AT, seed=3), cf.compare(calls, at=AT, seed=3))


def test_comparison_leaves_the_calls_as_they_are() -> None:
    calls = project(np.random.default_rng(8), functions=2, n=50)
    before = calls.copy(deep=True)
    cf.compare(calls, at=AT)
    pd.testing.assert_frame_equal(calls, before)


def test_comparison_of_no_calls_is_empty_with_the_same_columns() -> None:
    empty = cf.compare(frame.empty(), at=AT)
    full = cf.compare(project(np.random.default_rng(9), functions=1, n=100), at=AT)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


# Deploys


def redeployed(created: dict[int, int | None], **account: Any) -> pd.DataFrame:
    """Make calls of function a under several ids, 40 each, and of b, which has one."""
    ids = [*created, 9]
    calls = frame_from_columns(
        function=np.repeat(["a"] * len(created) + ["b"], 40),
        status=np.full(40 * len(ids), "Completed"),
        start=START_MS + np.arange(40 * len(ids)) * 60_000,
        duration=np.full(40 * len(ids), 1000.0),
        function_ids=np.repeat(ids, 40),
    )
    rows = [{"function_id": key, "function": "a", "created_ms": when} for key, when in created.items()]
    rows.append({"function_id": 9, "function": "b", "created_ms": START_MS - DAY_MS})
    calls.attrs["callframe"] |= {"functions": rows, **account}
    return calls


def test_redeployed_function_is_divided_by_its_ids() -> None:
    found: Any = cf.compare(redeployed({1: START_MS - DAY_MS, 2: AT_MS}))
    assert found[["at", "completed_before", "completed_after"]].to_numpy().tolist() == [[AT, 40, 40]]


def test_deploy_is_the_last_of_several() -> None:
    found: Any = cf.compare(redeployed({1: None, 3: AT_MS, 2: AT_MS - DAY_MS}), at="deploy").loc["a"]
    assert [found["at"], found["completed_before"], found["completed_after"]] == [AT, 80, 40]


def test_deploy_outside_the_window_divides_nothing() -> None:
    stretch = {"start": (AT + pd.Timedelta("1s")).isoformat(), "end": "2027-01-01T00:00:00Z"}
    assert len(cf.compare(redeployed({1: None, 2: AT_MS}, window=stretch))) == 0


def test_frame_without_deploy_times_is_refused_with_the_way_out() -> None:
    calls = frame_from_rows([one()], fetched_ms=None)
    with pytest.raises(cf.errors.ArgumentError, match="give at="):
        cf.compare(calls)


# What cannot be


@pytest.mark.parametrize(
    "options",
    [{"at": "noon"}, *({"at": AT} | one for one in ({"alpha": 0}, {"min_calls": 0}, {"min_ratio": 0.5}))],
)
def test_argument_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(cf.errors.ArgumentError):
        cf.compare(frame_from_rows([one()]), **options)


def test_two_frames_and_a_moment_are_refused() -> None:
    with pytest.raises(cf.errors.ArgumentError, match="after and at"):
        cf.compare(frame_from_rows([one()]), frame_from_rows([one()]), at=AT)


def test_second_frame_must_be_a_call_frame_too() -> None:
    with pytest.raises(cf.errors.FrameError, match="missing the columns"):
        cf.compare(frame_from_rows([one()]), pd.DataFrame({"a": [1]}))
