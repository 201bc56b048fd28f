"""Measures of a Dask DataFrame are those of the same calls in memory, however they are divided."""

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
from factories import NOW, call_frames, edge_case_rows, few_examples, frame_from_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

import callframe as cf
from callframe import frame
from callframe.analysis.aggregates import to_buckets
from callframe.analysis.grouping import group, parse_by
from callframe.analysis.kaplan_meier import estimate_curves, is_event, observe
from callframe.analysis.summary import QUANTILES as QUANTILES_OF
from callframe.limits import RunLimit
from callframe.timespan import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BY: list[Any] = ["function", "schedule", "status", "1D", ["function", "status"], ["schedule", "1h"]]
QUANTILES = [f"{kind}_{name}" for kind in ("duration", "schedule_delay") for name in ("p50", "p90", "p95", "p99")]
INTERVALS = [f"duration_{name}_{end}" for name in ("p50", "p95") for end in ("low", "high")]
ABOVE = [f"duration_{name}_above" for name in ("p50", "p90", "p95", "p99")]


@pytest.fixture(scope="module")
def calls() -> pd.DataFrame:
    with cf.demo(calls=6_000, seed=1, end_time=NOW) as project:
        calls = project.calls(start=NOW - dt.timedelta(days=14), end=NOW)
    calls.attrs["callframe"]["fetched_at"] = NOW.isoformat()  # so that what was running then does not depend on the day
    return calls


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):  # quicker for small frames
        yield


def divided(calls: pd.DataFrame, cuts: Sequence[int]) -> Any:
    """Make a Dask DataFrame whose partitions end at cuts; equal ones make empty partitions."""
    edges = [0, *sorted(cuts), len(calls)]
    parts = [calls.iloc[low:high] for low, high in itertools.pairwise(edges)]
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(lambda part: part, parts, meta=calls.head(0))


def cuts_of(calls: pd.DataFrame, draw: list[float]) -> list[int]:
    return [int(one * len(calls)) for one in draw]


def milliseconds(column: pd.Series) -> np.ndarray:
    return column.to_numpy().view("int64")


def within_one_percent(found: pd.Series, exact: pd.Series) -> bool:
    one, other = milliseconds(found), milliseconds(exact)
    known = other != NO_TIME
    near = 100 * np.abs(one[known] - other[known]) <= np.abs(other[known])
    return bool(((one != NO_TIME) == known).all() and near.all())


COUNTS = [
    "calls", "completed", "failed", "timeout", "running", "stuck", "other", "failure_rate", "failure_rate_low",
    "failure_rate_high", "duration_max", "schedule_delay_max", "scheduled", "late_rate", "last_success_time",
    "longest_failure_streak",
]  # fmt: skip
CUTS = st.lists(st.floats(0, 1), max_size=5)


# Summaries


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("cuts", [[], [0.5], [0, 0.1, 0.1, 0.6, 1]])
def test_summary_is_that_of_the_calls_in_memory(calls: pd.DataFrame, by: Any, cuts: list[float]) -> None:
    found, exact = cf.summarize(divided(calls, cuts_of(calls, cuts)), by), cf.summarize(calls, by)
    assert_frame_equal(found.drop(columns=QUANTILES + INTERVALS), exact.drop(columns=QUANTILES + INTERVALS))
    assert [name for name in QUANTILES if not within_one_percent(found[name], exact[name])] == []


@settings(deadline=None, max_examples=40)
@given(edge_case_rows(), CUTS, st.sampled_from(["function", "status", ["function", "1D"]]))
def test_summary_of_odd_calls_is_that_of_the_calls_in_memory(
    rows: list[dict[str, Any]], cuts: list[float], by: Any
) -> None:
    calls = frame_from_rows(rows).sort_values(["start_time", "call_id"], ignore_index=True)
    found, exact = cf.summarize(divided(calls, cuts_of(calls, cuts)), by), cf.summarize(calls, by)
    spans = [*INTERVALS, *(name for name in exact if str(name).startswith("duration_p"))]
    delays = [name for name in QUANTILES if name.startswith("schedule")]
    assert_frame_equal(found.drop(columns=[*spans, *delays]), exact.drop(columns=[*spans, *delays]))
    assert [name for name in delays if not within_one_percent(found[name], exact[name])] == []


@settings(deadline=None, max_examples=60)
@given(edge_case_rows(), CUTS, st.sampled_from(["function", "status", ["function", "1D"]]))
def test_durations_of_odd_calls_are_those_of_a_curve_of_buckets(
    rows: list[dict[str, Any]], cuts: list[float], by: Any
) -> None:
    calls = frame_from_rows(rows).sort_values(["start_time", "call_id"], ignore_index=True)
    found = cf.summarize(divided(calls, cuts_of(calls, cuts)), by)
    groups, worked = group(calls, parse_by(by, durations=True, several=True)), observe(calls, RunLimit())
    times, ended = to_buckets(worked.time_ms), is_event(worked.status, groups)
    exact = estimate_curves(times, ended, groups, None, groups.max(worked.time_ms))
    for name, share in QUANTILES_OF.items():
        expected = pd.Series(exact.quantile(share), index=groups.index)
        assert milliseconds(found[f"duration_{name}"]).tolist() == expected.reindex(found.index).tolist()
    expected = pd.Series(exact.interval(0.5)[1], index=groups.index)
    assert milliseconds(found["duration_p50_high"]).tolist() == expected.reindex(found.index).tolist()


@given(call_frames(), CUTS, st.sampled_from(["function", "schedule", ["status", "1h"]]))
@few_examples
def test_counts_of_any_frame_are_those_in_memory(calls: pd.DataFrame, cuts: list[float], by: Any) -> None:
    found, exact = cf.summarize(divided(calls, cuts_of(calls, cuts)), by), cf.summarize(calls, by)
    assert_frame_equal(found[COUNTS], exact[COUNTS])


def test_partitions_that_do_not_follow_each_other_give_the_same_streaks(calls: pd.DataFrame) -> None:
    parts = [calls[calls["function_id"] % 3 == rest] for rest in (2, 0, 1)] + [calls.iloc[:0]]
    mixed = divided(pd.concat(parts, ignore_index=True), np.cumsum([len(part) for part in parts])[:-1].tolist())
    mixed._meta.attrs.update(calls.attrs)
    for by in ("function", "status", "1D"):
        assert_frame_equal(cf.summarize(mixed, by)[COUNTS], cf.summarize(calls, by)[COUNTS])


# Failures, rollups and oddities


@pytest.mark.parametrize("by", [None, "function", ["schedule", "status"]])
@pytest.mark.parametrize("cuts", [[], [0, 0.2, 0.2, 0.7]])
def test_failures_are_those_of_the_calls_in_memory(calls: pd.DataFrame, by: Any, cuts: list[float]) -> None:
    assert_frame_equal(cf.failures(divided(calls, cuts_of(calls, cuts)), by), cf.failures(calls, by))


@given(call_frames(), CUTS, st.sampled_from([None, "function", ["schedule", "status"]]))
@few_examples
def test_failures_of_any_frame_are_those_in_memory(calls: pd.DataFrame, cuts: list[float], by: Any) -> None:
    assert_frame_equal(cf.failures(divided(calls, cuts_of(calls, cuts)), by), cf.failures(calls, by))


@pytest.mark.parametrize("cuts", [[], [0, 0.2, 0.2, 0.7]])
def test_rollup_is_that_of_the_calls_in_memory(calls: pd.DataFrame, cuts: list[float]) -> None:
    found, exact = cf.rollup(divided(calls, cuts_of(calls, cuts)), "6h"), cf.rollup(calls, "6h")
    assert_frame_equal(found, exact)
    assert found.attrs == exact.attrs


@settings(deadline=None, max_examples=25)
@given(edge_case_rows(), CUTS)
def test_rollup_of_odd_calls_is_that_in_memory(rows: list[dict[str, Any]], cuts: list[float]) -> None:
    calls = frame_from_rows(rows)
    assert_frame_equal(cf.rollup(divided(calls, cuts_of(calls, cuts))), cf.rollup(calls))


@pytest.mark.parametrize("cuts", [[], [0, 0.2, 0.2, 0.7]])
def test_oddities_are_those_of_the_calls_in_memory(calls: pd.DataFrame, cuts: list[float]) -> None:
    assert_frame_equal(cf.quality(divided(calls, cuts_of(calls, cuts))), cf.quality(calls))


@settings(deadline=None, max_examples=25)
@given(call_frames(), CUTS, st.booleans())
def test_oddities_of_any_frame_are_those_in_memory(calls: pd.DataFrame, cuts: list[float], twice: bool) -> None:
    calls = pd.concat([calls, calls.tail(3)], ignore_index=True) if twice else calls
    found, exact = cf.quality(divided(calls, cuts_of(calls, cuts))), cf.quality(calls)
    assert_series_equal(found["count"], exact["count"])


# What Dask frames there are


def test_frame_of_text_as_dask_likes_it_is_taken(calls: pd.DataFrame) -> None:
    assert_frame_equal(cf.failures(dd.from_pandas(calls, npartitions=2)), cf.failures(calls))


def test_partitions_may_have_categories_of_their_own(calls: pd.DataFrame) -> None:
    own = divided(calls, cuts_of(calls, [0.3, 0.6])).map_partitions(_with_own_categories, meta=calls.head(0))
    assert_frame_equal(cf.failures(own), cf.failures(calls), check_categorical=False)
    assert_frame_equal(cf.summarize(own, "status")[COUNTS], cf.summarize(calls, "status")[COUNTS])


def _with_own_categories(calls: pd.DataFrame) -> pd.DataFrame:
    return calls.assign(**{name: calls[name].cat.remove_unused_categories() for name in ("function", "status")})


def test_frame_that_carries_no_coverage_was_fetched_at_its_latest_time(calls: pd.DataFrame) -> None:
    plain = calls.copy()
    plain.attrs = {}
    exact = cf.summarize(plain)
    found = cf.summarize(divided(plain, cuts_of(plain, [0.4])))
    assert_frame_equal(found[[*COUNTS, *ABOVE]], exact[[*COUNTS, *ABOVE]])
    assert_frame_equal(cf.quality(divided(plain, [9])), cf.quality(plain))


@pytest.mark.parametrize("measure", [cf.summarize, cf.failures, cf.rollup, cf.quality])
def test_dask_frame_that_is_no_call_frame_names_what_it_lacks(calls: pd.DataFrame, measure: Any) -> None:
    with pytest.raises(cf.errors.FrameError, match="missing the columns status"):
        measure(divided(calls.drop(columns="status"), []))


@pytest.mark.parametrize("measure", [cf.compare, cf.concurrency, cf.survival, cf.duplicate_runs, cf.failure_episodes])
def test_measure_that_needs_the_calls_in_memory_says_so(calls: pd.DataFrame, measure: Any) -> None:
    with pytest.raises(cf.errors.FrameError, match=r"found a Dask DataFrame.*\.compute\(\)"):
        measure(divided(calls, []))


def test_client_that_is_none_is_refused(calls: pd.DataFrame) -> None:
    with pytest.raises(cf.errors.ArgumentError, match=r"expected a distributed\.Client"):
        cf.summarize(divided(calls, []), client="tcp://127.0.0.1:8786")


@pytest.mark.parametrize("arguments", [{"by": "colour"}, {"run_limit": "soon"}, {"late_after": "soon"}])
def test_argument_that_cannot_be_is_refused_before_anything_is_read(arguments: dict[str, str]) -> None:
    with pytest.raises(cf.errors.ArgumentError):
        cf.summarize(dd.from_map(_never_read, [0], meta=frame.empty()), **arguments)


def _never_read(_: int) -> pd.DataFrame:
    raise AssertionError("it was read")


def test_dask_is_not_imported_for_pandas_frames() -> None:
    script = "import sys, callframe as cf; cf.summarize(cf.frame.empty()); print('dask' in sys.modules)"
    script = script.replace("cf.frame.empty()", "__import__('callframe.frame').frame.empty()")
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "False"
