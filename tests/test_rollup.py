"""A rollup adds up, and what is read from it is what the calls themselves say, within 1 %."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import HOUR_MS, NOW_MS, START_MS, edge_case_rows, frame_from_columns, frame_from_rows
from hypothesis import given, settings
from hypothesis import strategies as st

import callframe as cf
from callframe import frame
from callframe.analysis.aggregates import buckets as buckets_of
from callframe.analysis.aggregates import to_buckets

STUCK_MS = 15 * 60_000
MS: Any = pd.Timedelta(milliseconds=1)
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
quickly = settings(deadline=None, max_examples=20)


def one(**changes: Any) -> dict[str, Any]:
    return {"function": "a", "status": "Completed", "start": START_MS, "duration": 1000, "delay": None} | changes


def buckets(*spans: int) -> list[int]:
    found: list[int] = to_buckets(np.array(spans)).tolist()
    return found


def heavy_tailed(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    took = np.minimum(rng.pareto(0.8, n) * 2000, 1e10)
    status = np.where(rng.random(n) < 0.03, "Timeout", "Completed")
    return frame_from_columns(
        function=rng.choice(["a", "b", "c"], n),
        status=status,
        start=np.sort(rng.integers(START_MS, NOW_MS, n)),
        duration=took,
        delay=rng.normal(20_000, 15_000, n),
    )


# Adding up


@quickly
@given(edge_case_rows(), edge_case_rows(functions="bcd"), st.sampled_from(["1h", "15min", "7D"]))
def test_rollups_of_two_frames_add_up_to_that_of_both(
    first: list[dict[str, Any]], second: list[dict[str, Any]], freq: str
) -> None:
    parts = [cf.rollup(frame_from_rows(first), freq), cf.rollup(frame_from_rows(second), freq)]
    pd.testing.assert_frame_equal(cf.merge_rollups(parts), cf.rollup(frame_from_rows([*first, *second]), freq))


def test_rollup_alone_merges_to_itself() -> None:
    table: Any = cf.rollup(heavy_tailed(500))
    pd.testing.assert_frame_equal(cf.merge_rollups([table]), table)


def test_merging_in_another_order_gives_the_same() -> None:
    calls = heavy_tailed(300)
    parts = [cf.rollup(calls[k::3]) for k in range(3)]
    pd.testing.assert_frame_equal(cf.merge_rollups(parts[::-1]), cf.merge_rollups(parts))


def test_merging_nothing_gives_the_empty_rollup() -> None:
    pd.testing.assert_frame_equal(cf.merge_rollups([]), cf.rollup(frame_from_rows([])), check_index_type=False)


def test_merging_keeps_what_the_calls_rest_on_when_all_parts_agree() -> None:
    calls = heavy_tailed(10)
    assert cf.merge_rollups([cf.rollup(calls[:5]), cf.rollup(calls[5:])]).attrs == cf.rollup(calls).attrs


def test_merging_forgets_what_the_calls_rest_on_when_parts_differ() -> None:
    other = frame_from_rows([one()], fetched_ms=NOW_MS + 1)
    assert cf.merge_rollups([cf.rollup(frame_from_rows([one()])), cf.rollup(other)]).attrs == {}


# Buckets


def test_every_span_is_within_one_percent_of_its_bucket() -> None:
    spans = np.concatenate([np.arange(200_000), np.geomspace(2e5, 2**53, 200_000).astype("int64")])
    assert (100 * np.abs(to_buckets(spans) - spans) <= spans).all()


def test_buckets_grow_by_about_two_percent() -> None:
    least = buckets_of()[0]
    ratios = least[1:] / np.maximum(least[:-1], 1)
    assert np.abs(ratios[least[:-1] > 10_000] - 1.0202).max() < 0.0002


def test_short_spans_have_a_bucket_each() -> None:
    assert buckets(*range(99)) == list(range(99))


def test_negative_spans_mirror_positive_ones() -> None:
    assert buckets(-12_345, -1) == [-value for value in buckets(12_345, 1)]


def test_missing_span_stays_missing() -> None:
    assert pd.isna(cf.rollup(frame_from_rows([one(duration=None)]))["bucket"]).tolist() == [True]


def test_running_call_is_counted_by_how_long_it_has_run() -> None:
    table: Any = cf.rollup(frame_from_rows([one(status="Running", start=NOW_MS - 60_000)]))
    assert (table["bucket"] / MS).tolist() == buckets(60_000)


def test_time_of_the_fetch_can_be_given() -> None:
    calls = frame_from_rows([one(status="Running")], fetched_ms=None)
    table: Any = cf.rollup(calls, fetched_at=pd.Timestamp(START_MS + 5000, unit="ms", tz="UTC"))
    assert (table["bucket"] / MS).tolist() == buckets(5000)


def test_running_call_of_unknown_fetch_has_no_bucket() -> None:
    assert cf.rollup(frame_from_rows([one(status="Running")], fetched_ms=None))["bucket"].isna().all()


def test_each_call_is_counted_once_as_duration() -> None:
    table: Any = cf.rollup(frame_from_rows([one(), one(delay=3), one(duration=None), one(status="Paused")]))
    assert table.loc[table["measure"] == "duration", "count"].sum() == 4


def test_only_scheduled_calls_are_counted_as_delay() -> None:
    table: Any = cf.rollup(frame_from_rows([one(), one(delay=3), one(delay=-3)]))
    assert (table.loc[table["measure"] == "schedule_delay", "bucket"] / MS).tolist() == [-3, 3]


def test_bins_start_on_whole_lengths_of_time() -> None:
    table: Any = cf.rollup(frame_from_rows([one(start=2 * HOUR_MS - 1), one(start=2 * HOUR_MS)]))
    assert table["start_time"].astype("int64").tolist() == [HOUR_MS, 2 * HOUR_MS]


def test_rollup_leaves_the_calls_as_they_are() -> None:
    calls = heavy_tailed(50)
    before = calls.copy(deep=True)
    cf.summarize_rollup(cf.rollup(calls))
    pd.testing.assert_frame_equal(calls, before)


# Summaries


def slowly(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Summarize by loops over rows, with the bucket of each span as its value."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({row["function"] for row in rows}):
        own = [row for row in rows if row["function"] == name]
        counts = {status: sum(row["status"] == status for row in own) for status in frame.STATUSES}
        work: list[tuple[float, bool]] = []
        for row in own:
            age = max(NOW_MS - row["start"], 0)
            if row["status"] == "Timeout":
                work.append((math.inf, False))
            elif row["status"] == "Completed" and row["duration"] is not None:
                work.append((buckets(row["duration"])[0], True))
            elif row["status"] == "Running" and buckets(age)[0] <= buckets(STUCK_MS)[0]:
                work.append((buckets(age)[0], False))
        delays = [(float(buckets(row["delay"])[0]), True) for row in own if row["delay"] is not None]
        found[name] = {
            "calls": len(own),
            **{status.lower(): count for status, count in counts.items()},
            **{f"duration_{label}": kaplan_meier(work, share) for label, share in QUANTILES.items()},
            **{f"schedule_delay_{label}": kaplan_meier(delays, share) for label, share in QUANTILES.items()},
        }
    return found


def kaplan_meier(work: list[tuple[float, bool]], share: float) -> float | None:
    left = 1.0
    for time in sorted({time for time, ended in work if ended}):
        at_risk = sum(other >= time for other, _ in work)
        left *= 1 - sum(other == time and ended for other, ended in work) / at_risk
        if left <= 1 - share + 1e-9:
            return time
    return None


@quickly
@given(edge_case_rows())
def test_summary_agrees_with_loops_over_the_calls(rows: list[dict[str, Any]]) -> None:
    summary: Any = cf.summarize_rollup(cf.rollup(frame_from_rows(rows)))
    expected = slowly(rows)
    assert sorted(summary.index) == sorted(expected)
    for name, wanted in expected.items():
        got: dict[str, Any] = {key: summary.loc[name, key] for key in wanted}
        plain = {key: None if pd.isna(value) else value // MS if "_p" in key else value for key, value in got.items()}
        assert plain == wanted


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("column", [f"{of}_{name}" for of in ("duration", "schedule_delay") for name in QUANTILES])
def test_quantiles_of_heavy_tails_are_within_one_percent(column: str, seed: int) -> None:
    calls: Any = heavy_tailed(20_000, seed)
    summary: Any = cf.summarize_rollup(cf.rollup(calls))
    of, name = column.rsplit("_", 1)
    for function, own in calls.groupby("function", observed=True):
        timed_out = own["status"] == "Timeout"
        spans = (own[of] / MS).to_numpy()
        values = np.where(timed_out, np.inf, spans) if of == "duration" else spans
        exact = np.quantile(values, QUANTILES[name], method="inverted_cdf")
        read = summary.loc[function, column] / MS
        assert (np.isinf(exact) and np.isnan(read)) or abs(read - exact) <= 0.01 * abs(exact)


def test_quantile_among_the_timeouts_is_missing_and_said_to_be_above() -> None:
    rows = [one(), *[one(status="Timeout", duration=540_000)] * 2]
    summary: Any = cf.summarize_rollup(cf.rollup(frame_from_rows(rows)))
    assert pd.isna(summary.loc["a", "duration_p50"])
    assert summary.loc["a", "duration_p50_above"] / MS == buckets(540_000)[0]


def test_stuck_call_is_counted_and_says_nothing_of_durations() -> None:
    rows = [one(), one(status="Running", start=NOW_MS - 2 * STUCK_MS)]
    summary: Any = cf.summarize_rollup(cf.rollup(frame_from_rows(rows)))
    assert summary.loc["a", "stuck"] == 1
    assert summary.loc["a", "duration_p99"] / MS == buckets(1000)[0]


def test_failure_rate_has_the_published_interval() -> None:
    rows = [one(status="Failed")] * 81 + [one()] * 182  # 81 of 263 in Newcombe, 1998, Statist. Med. 17:857
    summary: Any = cf.summarize_rollup(cf.rollup(frame_from_rows(rows)))
    assert summary.loc["a", ["failure_rate_low", "failure_rate_high"]].astype("float64").round(4).tolist() == [
        0.2553,
        0.3662,
    ]


def test_no_finished_call_means_no_rate() -> None:
    summary: Any = cf.summarize_rollup(cf.rollup(frame_from_rows([one(status="Running")])))
    assert summary["failure_rate"].isna().all()


def test_summary_by_time_is_in_order_of_time() -> None:
    calls = heavy_tailed(2_000)
    summary: Any = cf.summarize_rollup(cf.rollup(calls), "1D")
    expected = calls.groupby(calls["start_time"].dt.floor("1D")).size()
    assert summary.index.tolist() == expected.index.tolist()
    assert summary["calls"].tolist() == expected.tolist()


def test_summary_by_several_counts_each_combination() -> None:
    calls = heavy_tailed(2_000)
    summary: Any = cf.summarize_rollup(cf.rollup(calls), ["function", "status"])
    expected: Any = calls.groupby(["function", "status"], observed=True).size()
    assert summary["calls"].sort_index().to_dict() == expected.to_dict()


def test_empty_rollup_has_an_empty_summary_with_the_same_columns() -> None:
    empty = cf.summarize_rollup(cf.rollup(frame.empty()))
    full = cf.summarize_rollup(cf.rollup(heavy_tailed(10)))
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()


def test_only_unknown_statuses_are_counted_as_others() -> None:
    summary: Any = cf.summarize_rollup(cf.rollup(frame_from_rows([one(status="Paused"), one()])))
    assert summary.loc["a", ["calls", "completed", "other"]].tolist() == [2, 1, 1]


# What cannot be


@pytest.mark.parametrize("freq", ["1ME", "soon", "-1h", "0h", "1us"])
def test_length_of_time_that_is_none_is_refused(freq: str) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="freq="):
        cf.rollup(heavy_tailed(3), freq)


@pytest.mark.parametrize("by", ["functions", [], "1ME", ["function", "owner"]])
def test_unknown_group_is_refused(by: Any) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="by="):
        cf.summarize_rollup(cf.rollup(heavy_tailed(3)), by)


def test_frame_that_is_no_rollup_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(cf.errors.FrameError, match="measure, bucket, count"):
        cf.summarize_rollup(heavy_tailed(3))


def test_frame_that_holds_no_calls_is_refused() -> None:
    with pytest.raises(cf.errors.FrameError, match="missing"):
        cf.rollup(pd.DataFrame({"a": [1]}))
