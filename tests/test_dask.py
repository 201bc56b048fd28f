"""Results for a Dask DataFrame are those for the same calls in memory, however they are divided into partitions."""

from __future__ import annotations

import datetime as dt
import itertools
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from factories import NOW, NOW_MS, call_frames, edge_case_rows, fetched_frame, few_examples, frame_from_rows, make_call
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

import callframe as cf
from callframe import frame
from callframe.analysis.summary import QUANTILES
from callframe.completeness import completeness_text
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BY: list[Any] = ["function", "schedule", "status", "1D", ["function", "status"], ["schedule", "1h"]]
COUNTS = [
    "calls", "completed", "failed", "timeout", "running", "stuck", "other", "failure_rate", "failure_rate_low",
    "failure_rate_high", "duration_max", "schedule_delay_max", "scheduled", "late_rate", "last_success_time",
    "longest_failure_streak",
]  # fmt: skip
DURATIONS, DELAYS = ([f"{measure}_{name}" for name in QUANTILES] for measure in ("duration", "schedule_delay"))
INTERVALS = [f"duration_{name}_{end}" for name in ("p50", "p95") for end in ("low", "high")] + ["effective_calls"]
ABOVE = [f"{name}_above" for name in DURATIONS]

edges = st.lists(st.floats(0, 1), max_size=5)
"""Where partitions end, as shares of all calls."""


@pytest.fixture(scope="module")
def calls() -> pd.DataFrame:
    with cf.demo(calls=6_000, seed=1, end_time=NOW) as project:
        calls = project.calls(start=NOW - dt.timedelta(days=14), end=NOW)
    calls.attrs["callframe"]["fetched_at"] = NOW.isoformat()  # or the age of Running calls would depend on the day
    return calls


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):  # faster for small frames
        yield


def partitioned(calls: pd.DataFrame, shares: Sequence[float]) -> Any:
    """Divide calls at some shares of them; equal shares give empty partitions."""
    positions = [0, *sorted(int(share * len(calls)) for share in shares), len(calls)]
    return from_parts([calls.iloc[start:end] for start, end in itertools.pairwise(positions)], calls)


def from_parts(parts: list[pd.DataFrame], calls: pd.DataFrame) -> Any:
    with dask.config.set({"dataframe.convert-string": False}):
        lazy: Any = dd.from_map(lambda part: part, parts, meta=calls.head(0))
    lazy.attrs = calls.attrs  # as of an archive
    return lazy


def test_measures_of_a_filtered_dask_frame_are_not_called_complete() -> None:
    lazy = partitioned(fetched_frame([make_call(id=call_id) for call_id in range(1, 9)]), [0.5])
    assert completeness_text(cf.summarize(lazy)) == "complete"
    assert completeness_text(cf.summarize(lazy[lazy["call_id"] > 3])) == "completeness not known"


def milliseconds(column: pd.Series) -> np.ndarray:
    return column.to_numpy().view("int64")


def assert_within_one_percent(table: pd.DataFrame, exact: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        values, expected = milliseconds(table[name]), milliseconds(exact[name])
        known = expected != NO_TIME
        assert ((values != NO_TIME) == known).all()
        assert (100 * np.abs(values[known] - expected[known]) <= np.abs(expected[known])).all()


# Summaries


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("shares", [[], [0.5], [0, 0.1, 0.1, 0.6, 1]])
def test_summary_is_that_in_memory(calls: pd.DataFrame, by: Any, shares: list[float]) -> None:
    summary, exact = cf.summarize(partitioned(calls, shares), by), cf.summarize(calls, by)
    approximate = [*DURATIONS, *DELAYS, *INTERVALS]
    assert_frame_equal(summary.drop(columns=approximate), exact.drop(columns=approximate))
    assert_within_one_percent(summary, exact, [*DURATIONS, *DELAYS])


@settings(deadline=None, max_examples=40)
@given(edge_case_rows(), edges, st.sampled_from(["function", "status", ["function", "1D"]]))
def test_summary_of_edge_cases_is_that_in_memory(rows: list[dict[str, Any]], shares: list[float], by: Any) -> None:
    calls = frame_from_rows(rows).sort_values(["start_time", "call_id"], ignore_index=True)
    summary, exact = cf.summarize(partitioned(calls, shares), by), cf.summarize(calls, by)
    approximate = [*DURATIONS, *DELAYS, *INTERVALS]
    assert_frame_equal(summary.drop(columns=approximate), exact.drop(columns=approximate))
    assert_within_one_percent(summary, exact, [*DURATIONS, *DELAYS])


@pytest.mark.parametrize("cut_off", [{"status": "Running"}, {"status": "Timeout"}, {"status": "Failed"}])
def test_a_call_that_was_cut_off_just_before_another_ended_is_not_longer_than_it(cut_off: dict[str, Any]) -> None:
    durations_ms = [(cut_off, 10_000), ({}, 10_010), ({}, 10_010), ({}, 30_000), ({}, 30_000)]
    rows = [
        make_call(id=call_id, start_time=NOW_MS - duration_ms, end_time=NOW_MS, **changes)
        for call_id, (changes, duration_ms) in enumerate(durations_ms, 1)
    ]
    calls = fetched_frame(rows)
    summary, exact = (cf.summarize(one, failed="censor") for one in (partitioned(calls, [0.3]), calls))
    assert exact["duration_p50"].tolist() == [pd.Timedelta(seconds=10.01)]
    assert summary["duration_p50"].tolist() == exact["duration_p50"].tolist()


@pytest.mark.parametrize("seed", range(8))
def test_quantiles_of_small_groups_are_within_one_percent_however_calls_were_cut_off(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(72, 1_200))
    durations_ms = np.round(np.exp(rng.normal(9, 1, size))).astype("int64")
    statuses = rng.choice(["Completed", "Failed", "Timeout", "Running"], size, p=[0.6, 0.2, 0.1, 0.1])
    rows = [
        make_call(id=call_id, start_time=NOW_MS - int(duration_ms), end_time=NOW_MS, status=str(status))
        for call_id, (duration_ms, status) in enumerate(zip(durations_ms, statuses, strict=True), 1)
    ]
    calls = fetched_frame(rows)
    for failed in ("exclude", "censor"):
        summary, exact = (cf.summarize(one, failed=failed) for one in (partitioned(calls, [0.2, 0.7]), calls))
        assert_within_one_percent(summary, exact, DURATIONS)


@few_examples
@given(call_frames(), edges, st.sampled_from(["function", "schedule", ["status", "1h"]]))
def test_counts_of_any_frame_are_those_in_memory(calls: pd.DataFrame, shares: list[float], by: Any) -> None:
    assert_frame_equal(cf.summarize(partitioned(calls, shares), by)[COUNTS], cf.summarize(calls, by)[COUNTS])


@pytest.mark.parametrize("by", ["function", "status", "1D"])
def test_partitions_may_overlap_in_time(calls: pd.DataFrame, by: str) -> None:
    parts = [calls[calls["function_id"] % 3 == rest] for rest in (2, 0, 1)]
    overlapping = from_parts([*parts, calls.iloc[:0]], calls)
    assert_frame_equal(cf.summarize(overlapping, by)[COUNTS], cf.summarize(calls, by)[COUNTS])


# Failures, rollups and quality


@pytest.mark.parametrize("by", [None, "function", ["schedule", "status"]])
@pytest.mark.parametrize("shares", [[], [0, 0.2, 0.2, 0.7]])
def test_failures_are_those_in_memory(calls: pd.DataFrame, by: Any, shares: list[float]) -> None:
    assert_frame_equal(cf.failures(partitioned(calls, shares), by), cf.failures(calls, by))


@few_examples
@given(call_frames(), edges, st.sampled_from([None, "function", ["schedule", "status"]]))
def test_failures_of_any_frame_are_those_in_memory(calls: pd.DataFrame, shares: list[float], by: Any) -> None:
    assert_frame_equal(cf.failures(partitioned(calls, shares), by), cf.failures(calls, by))


@pytest.mark.parametrize("shares", [[], [0, 0.2, 0.2, 0.7]])
def test_rollup_is_that_in_memory(calls: pd.DataFrame, shares: list[float]) -> None:
    rollup, exact = cf.rollup(partitioned(calls, shares), "6h"), cf.rollup(calls, "6h")
    assert_frame_equal(rollup, exact)
    assert rollup.attrs == exact.attrs


@few_examples
@given(edge_case_rows(), edges)
def test_rollup_of_edge_cases_is_that_in_memory(rows: list[dict[str, Any]], shares: list[float]) -> None:
    calls = frame_from_rows(rows)
    assert_frame_equal(cf.rollup(partitioned(calls, shares)), cf.rollup(calls))


@pytest.mark.parametrize("shares", [[], [0, 0.2, 0.2, 0.7]])
def test_quality_is_that_in_memory(calls: pd.DataFrame, shares: list[float]) -> None:
    assert_frame_equal(cf.quality(partitioned(calls, shares)), cf.quality(calls))


@few_examples
@given(call_frames(), edges, st.booleans())
def test_quality_of_any_frame_is_that_in_memory(calls: pd.DataFrame, shares: list[float], repeat: bool) -> None:
    calls = pd.concat([calls, calls.tail(3)], ignore_index=True) if repeat else calls
    assert_series_equal(cf.quality(partitioned(calls, shares))["count"], cf.quality(calls)["count"])


# Which Dask DataFrames are accepted


def test_text_may_have_the_dtype_of_dask(calls: pd.DataFrame) -> None:
    assert_frame_equal(cf.failures(dd.from_pandas(calls, npartitions=2)), cf.failures(calls))


def test_partitions_may_have_different_categories(calls: pd.DataFrame) -> None:
    different = partitioned(calls, [0.3, 0.6]).map_partitions(_drop_unused_categories, meta=calls.head(0))
    assert_frame_equal(cf.failures(different), cf.failures(calls), check_categorical=False)
    assert_frame_equal(cf.summarize(different, "status")[COUNTS], cf.summarize(calls, "status")[COUNTS])


def _drop_unused_categories(calls: pd.DataFrame) -> pd.DataFrame:
    return calls.assign(**{name: calls[name].cat.remove_unused_categories() for name in ("function", "status")})


def test_frame_without_coverage_was_fetched_at_its_latest_time(calls: pd.DataFrame) -> None:
    plain = calls.copy()
    plain.attrs = {}
    divided, columns = partitioned(plain, [0.4]), [*COUNTS, *ABOVE]
    assert_frame_equal(cf.summarize(divided)[columns], cf.summarize(plain)[columns])
    assert_frame_equal(cf.quality(divided), cf.quality(plain))


@pytest.mark.parametrize("measure", [cf.summarize, cf.failures, cf.rollup, cf.quality])
def test_missing_column_is_named(calls: pd.DataFrame, measure: Any) -> None:
    with pytest.raises(FrameError, match=r"missing the columns status.*archive\.dask\(\) gives a valid one"):
        measure(partitioned(calls.drop(columns="status"), []))


@pytest.mark.parametrize("measure", [cf.compare, cf.concurrency, cf.survival, cf.duplicate_runs, cf.failure_episodes])
def test_function_that_needs_calls_in_memory_tells_how_to_get_them(calls: pd.DataFrame, measure: Any) -> None:
    with pytest.raises(FrameError, match=r"found a Dask DataFrame.*\.compute\(\)"):
        measure(partitioned(calls, []))


def test_invalid_client_raises(calls: pd.DataFrame) -> None:
    with pytest.raises(ArgumentError, match=r"expected a distributed\.Client"):
        cf.summarize(partitioned(calls, []), client="tcp://127.0.0.1:8786")


@pytest.mark.parametrize("options", [{"by": "colour"}, {"run_limit": "soon"}, {"late_after": "soon"}])
def test_invalid_option_raises_before_a_partition_is_read(options: dict[str, str]) -> None:
    with pytest.raises(ArgumentError):
        cf.summarize(dd.from_map(_fail_to_read, [0], meta=frame.empty()), **options)


def _fail_to_read(_: int) -> pd.DataFrame:
    raise AssertionError("A partition was read.")


def test_dask_is_not_imported_for_frames_in_memory() -> None:
    script = (
        "import sys; from callframe import frame, summarize; summarize(frame.empty()); print('dask' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert process.stdout.strip() == "False"
