"""Rollups can be merged, and their summaries agree with those of the calls within 1 %."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import HOUR_MS, NOW_MS, START_MS, edge_case_rows, few_examples, frame_from_columns, frame_from_rows
from hypothesis import given
from hypothesis import strategies as st

import callframe as cf
from callframe import frame
from callframe.analysis.aggregates import to_buckets
from callframe.analysis.grouping import Groups
from callframe.analysis.kaplan_meier import estimate_curves
from callframe.errors import ArgumentError, FrameError

STUCK_MS = 15 * 60_000
MS: Any = pd.Timedelta(milliseconds=1)
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def row_of(**changes: Any) -> dict[str, Any]:
    return {"function": "a", "status": "Completed", "start": START_MS, "duration": 1000, "delay": None} | changes


def rollup_of(*rows: dict[str, Any], fetched_ms: int | None = NOW_MS) -> Any:
    return cf.rollup(frame_from_rows(list(rows), fetched_ms=fetched_ms))


def summary_of(*rows: dict[str, Any]) -> Any:
    return cf.summarize_rollup(rollup_of(*rows))


def bucket_ms(time_ms: int) -> int:
    return int(to_buckets(np.array([time_ms]))[0])


def heavy_tailed(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    durations = np.minimum(rng.pareto(0.8, n) * 2000, 1e10)
    status = np.where(rng.random(n) < 0.03, "Timeout", "Completed")
    return frame_from_columns(
        function=rng.choice(["a", "b", "c"], n),
        status=status,
        start=np.sort(rng.integers(START_MS, NOW_MS, n)),
        duration=durations,
        delay=rng.normal(20_000, 15_000, n),
    )


# Merging


@few_examples
@given(edge_case_rows(), edge_case_rows(functions="bcd"), st.sampled_from(["1h", "15min", "7D"]))
def test_rollups_of_two_frames_add_up_to_that_of_both(
    first: list[dict[str, Any]], second: list[dict[str, Any]], freq: str
) -> None:
    parts = [cf.rollup(frame_from_rows(first), freq), cf.rollup(frame_from_rows(second), freq)]
    pd.testing.assert_frame_equal(cf.merge_rollups(parts), cf.rollup(frame_from_rows([*first, *second]), freq))


def test_merging_one_rollup_returns_it() -> None:
    rollup = cf.rollup(heavy_tailed(500))
    pd.testing.assert_frame_equal(cf.merge_rollups([rollup]), rollup)


def test_merging_does_not_depend_on_the_order() -> None:
    calls = heavy_tailed(300)
    parts = [cf.rollup(calls[k::3]) for k in range(3)]
    pd.testing.assert_frame_equal(cf.merge_rollups(parts[::-1]), cf.merge_rollups(parts))


def test_merging_no_rollups_returns_an_empty_one() -> None:
    pd.testing.assert_frame_equal(cf.merge_rollups([]), rollup_of(), check_index_type=False)


def test_merging_keeps_the_coverage_if_it_is_the_same() -> None:
    calls = heavy_tailed(10)
    assert cf.merge_rollups([cf.rollup(calls[:5]), cf.rollup(calls[5:])]).attrs == cf.rollup(calls).attrs


def test_merging_drops_coverage_that_differs() -> None:
    assert cf.merge_rollups([rollup_of(row_of()), rollup_of(row_of(), fetched_ms=NOW_MS + 1)]).attrs == {}


# Counting


def test_missing_duration_has_no_bucket() -> None:
    assert pd.isna(rollup_of(row_of(duration=None))["bucket"]).tolist() == [True]


def test_running_call_is_counted_by_its_age() -> None:
    rollup = rollup_of(row_of(status="Running", start=NOW_MS - 60_000))
    assert (rollup["bucket"] / MS).tolist() == [bucket_ms(60_000)]


def test_time_of_the_fetch_can_be_given() -> None:
    calls = frame_from_rows([row_of(status="Running")], fetched_ms=None)
    rollup: Any = cf.rollup(calls, fetched_at=pd.Timestamp(START_MS + 5000, unit="ms", tz="UTC"))
    assert (rollup["bucket"] / MS).tolist() == [bucket_ms(5000)]


def test_time_of_the_fetch_cannot_be_an_age() -> None:
    with pytest.raises(ArgumentError, match="fetched_at='7d'; expected a timestamp or an ISO 8601 string"):
        cf.rollup(frame.empty(), fetched_at="7d")


def test_running_call_without_a_time_of_the_fetch_has_no_bucket() -> None:
    assert rollup_of(row_of(status="Running"), fetched_ms=None)["bucket"].isna().all()


def test_each_call_is_counted_once_as_duration() -> None:
    rollup = rollup_of(row_of(), row_of(delay=3), row_of(duration=None), row_of(status="Paused"))
    assert rollup.loc[rollup["measure"] == "duration", "count"].sum() == 4


def test_only_scheduled_calls_are_counted_as_delay() -> None:
    rollup = rollup_of(row_of(), row_of(delay=3), row_of(delay=-3))
    assert (rollup.loc[rollup["measure"] == "schedule_delay", "bucket"] / MS).tolist() == [-3, 3]


def test_bins_start_at_multiples_of_their_width() -> None:
    rollup = rollup_of(row_of(start=2 * HOUR_MS - 1), row_of(start=2 * HOUR_MS))
    assert rollup["start_time"].astype("int64").tolist() == [HOUR_MS, 2 * HOUR_MS]


def test_input_is_not_changed() -> None:
    calls = heavy_tailed(50)
    before = calls.copy(deep=True)
    cf.summarize_rollup(cf.rollup(calls))
    pd.testing.assert_frame_equal(calls, before)


# Summaries


def slow_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarize the rows of a function in plain Python, with the bucket of each time as its value."""
    counts = {status: sum(row["status"] == status for row in rows) for status in frame.KNOWN_STATUSES}
    work: list[tuple[float, bool]] = []
    for row in rows:
        age_ms = bucket_ms(max(NOW_MS - row["start"], 0))
        if row["status"] == "Timeout":
            work.append((bucket_ms(9 * 60_000 if row["duration"] is None else row["duration"]), False))
        elif row["status"] == "Completed" and row["duration"] is not None:
            work.append((bucket_ms(row["duration"]), True))
        elif row["status"] == "Running" and age_ms <= bucket_ms(STUCK_MS):
            work.append((age_ms, False))
    delays = [(float(bucket_ms(row["delay"])), True) for row in rows if row["delay"] is not None]
    return {
        "calls": len(rows),
        **{status.lower().replace(" ", "_"): count for status, count in counts.items()},
        **{f"duration_{name}": kaplan_meier(work, share) for name, share in QUANTILES.items()},
        **{f"schedule_delay_{name}": kaplan_meier(delays, share) for name, share in QUANTILES.items()},
    }


def kaplan_meier(observed: list[tuple[float, bool]], share: float) -> float | None:
    survival = 1.0
    for time in sorted({time for time, ended in observed if ended}):
        at_risk = sum(other >= time for other, _ in observed)
        survival *= 1 - sum(other == time and ended for other, ended in observed) / at_risk
        if survival <= 1 - share + 1e-9:
            return time
    return None


@few_examples
@given(edge_case_rows())
def test_summary_agrees_with_plain_python(rows: list[dict[str, Any]]) -> None:
    summary = summary_of(*rows)
    assert sorted(summary.index) == sorted({row["function"] for row in rows})
    for name in summary.index:
        expected = slow_summary([row for row in rows if row["function"] == name])
        values: dict[str, Any] = {column: summary.loc[name, column] for column in expected}
        plain = {
            column: None if pd.isna(value) else value // MS if "_p" in column else value
            for column, value in values.items()
        }
        assert plain == expected


@pytest.mark.parametrize("failed", ["exclude", "censor"])
@pytest.mark.parametrize("seed", range(3))
def test_quantiles_of_heavy_tails_are_within_one_percent(seed: int, failed: str) -> None:
    calls: Any = heavy_tailed(20_000, seed)
    exact: Any = cf.summarize(calls, failed=failed)
    summary: Any = cf.summarize_rollup(cf.rollup(calls), failed=failed).loc[exact.index]
    for measure in ("duration", "schedule_delay"):
        for name in QUANTILES:
            expected, values = exact[f"{measure}_{name}"], summary[f"{measure}_{name}"]
            assert values.isna().tolist() == expected.isna().tolist()
            assert ((values - expected).abs() / expected.abs()).max() <= 0.01


@pytest.mark.parametrize("failed", ["exclude", "censor"])
@pytest.mark.parametrize("seed", range(6))
def test_rank_of_a_quantile_is_too_high_by_no_more_than_the_weight_of_calls_cut_off(seed: int, failed: str) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(72, 1_200))
    durations_ms = np.exp(rng.normal(9, 1, size)).astype("int64")
    statuses = rng.choice(["Completed", "Failed", "Timeout"], size, p=[0.7, 0.2, 0.1])
    rows = [row_of(status=str(s), duration=int(d)) for s, d in zip(statuses, durations_ms, strict=True)]
    summary = cf.summarize_rollup(rollup_of(*rows), failed=failed)
    cut_off = np.isin(statuses, ["Timeout", "Failed"] if failed == "censor" else ["Timeout"])
    observed = (statuses == "Completed") | cut_off
    durations_ms, cut_off = durations_ms[observed], cut_off[observed]
    one_group = Groups(np.zeros(len(durations_ms), dtype="int64"), pd.RangeIndex(1))
    curve = estimate_curves(durations_ms, ~cut_off, one_group)
    shared = np.isin(to_buckets(durations_ms), to_buckets(durations_ms[~cut_off])) & cut_off
    for name, share in QUANTILES.items():
        quantile_ms = summary.loc["a", f"duration_{name}"] / MS
        if pd.isna(quantile_ms):
            continue
        done_before, done = (
            np.append(0, 1 - curve.survival)[np.searchsorted(curve.time_ms, time_ms, side="right")]
            for time_ms in (quantile_ms / 1.011, quantile_ms * 1.011)
        )
        counted = durations_ms[shared & (durations_ms <= quantile_ms * 1.011)]
        survival = 1 - np.append(0, 1 - curve.survival)[np.searchsorted(curve.time_ms, counted, side="left")]
        at_risk = (durations_ms[None, :] >= counted[:, None]).sum(axis=1)
        assert done >= share - 1e-9
        assert done_before <= share + (survival / at_risk).sum() + 1e-9


@pytest.mark.parametrize("limits_ms", [[540_000] * 2, [540_000, 900_000], [100_500] * 2])
def test_quantile_among_the_timeouts_is_truly_above_the_bound(limits_ms: list[int]) -> None:
    rows = [row_of(status="Timeout", duration=limit_ms) for limit_ms in limits_ms]
    summary = summary_of(row_of(), *rows)
    assert pd.isna(summary.loc["a", "duration_p50"])
    assert 0.98 * max(limits_ms) < summary.loc["a", "duration_p50_above"] / MS <= max(limits_ms)


def test_timeouts_at_an_earlier_limit_do_not_put_quantiles_beyond_later_ones() -> None:
    rows = [row_of(duration=1000 * k) for k in range(1, 94)] + [row_of(duration=700_000 + k) for k in range(5)]
    rows += [row_of(status="Timeout", duration=540_000)] * 7
    exact: Any = cf.summarize(frame_from_rows(rows))["duration_p95"] / MS
    assert summary_of(*rows).loc["a", "duration_p95"] / MS == pytest.approx(exact.iloc[0], rel=0.01)


def test_stuck_call_is_counted_but_left_out_of_durations() -> None:
    summary = summary_of(row_of(), row_of(status="Running", start=NOW_MS - 2 * STUCK_MS))
    assert summary.loc["a", "stuck"] == 1
    assert summary.loc["a", "duration_p99"] / MS == bucket_ms(1000)


def test_failed_call_is_left_out_of_quantiles() -> None:
    row = summary_of(row_of(), *[row_of(status="Failed", duration=500_000)] * 9).loc["a"]
    assert (row["duration_p99"] / MS, row["duration_max"] / MS) == (bucket_ms(1000), bucket_ms(500_000))


def test_failed_call_is_censored_on_request() -> None:
    rollup = rollup_of(row_of(), *[row_of(status="Failed", duration=500_000)] * 9)
    row: Any = cf.summarize_rollup(rollup, failed="censor").loc["a"]
    assert pd.isna(row["duration_p50"])
    assert 490_000 < row["duration_p50_above"] / MS <= 500_000


def test_rate_is_missing_without_finished_calls() -> None:
    rates = summary_of(row_of(status="Running"))[["failure_rate", "failure_rate_low", "failure_rate_high"]]
    assert rates.isna().to_numpy().all()


def test_rates_are_those_of_the_calls() -> None:
    calls = heavy_tailed(500)
    names = ["calls", "failure_rate", "failure_rate_low", "failure_rate_high", "effective_calls"]
    exact, rolled_up = cf.summarize(calls)[names], cf.summarize_rollup(cf.rollup(calls))[names]
    pd.testing.assert_frame_equal(rolled_up, exact)


def test_duration_groups_by_time_in_order() -> None:
    calls = heavy_tailed(2_000)
    summary: Any = cf.summarize_rollup(cf.rollup(calls), "1D")
    expected = calls.groupby(calls["start_time"].dt.floor("1D")).size()
    assert summary.index.tolist() == expected.index.tolist()
    assert summary["calls"].tolist() == expected.tolist()


def test_each_combination_of_groups_is_counted() -> None:
    calls = heavy_tailed(2_000)
    summary: Any = cf.summarize_rollup(cf.rollup(calls), ["function", "status"])
    expected: Any = calls.groupby(["function", "status"], observed=True).size()
    assert summary["calls"].sort_index().to_dict() == expected.to_dict()


def test_empty_rollup_has_an_empty_summary_with_the_same_columns() -> None:
    empty = cf.summarize_rollup(cf.rollup(frame.empty()))
    full = cf.summarize_rollup(cf.rollup(heavy_tailed(10)))
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_unknown_status_is_counted_separately() -> None:
    summary = summary_of(row_of(status="Paused"), row_of())
    assert summary.loc["a", ["calls", "completed", "other"]].tolist() == [2, 1, 1]


# Invalid arguments


@pytest.mark.parametrize("freq", ["1ME", "soon", "-1h", "0h", "1us"])
def test_invalid_width_raises(freq: str) -> None:
    with pytest.raises(ArgumentError, match="freq="):
        cf.rollup(heavy_tailed(3), freq)


def test_other_frame_is_not_a_rollup() -> None:
    with pytest.raises(FrameError, match="Not a rollup: missing the columns measure, bucket, count"):
        cf.summarize_rollup(heavy_tailed(3))


def test_other_frame_cannot_be_rolled_up() -> None:
    with pytest.raises(FrameError, match="missing the columns"):
        cf.rollup(pd.DataFrame({"a": [1]}))
