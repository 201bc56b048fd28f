"""Kaplan-Meier curves agree with publications and with scipy, and their intervals have the coverage they claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from factories import NOW_MS, SECOND_MS, call_frame, call_frames, few_examples, make_call
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

import callframe as cf
from callframe import frame
from callframe.analysis.grouping import Groups
from callframe.analysis.kaplan_meier import Curves, estimate_curves
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

DTYPES = {
    "duration": "timedelta64[ms]",
    **dict.fromkeys(["survival", "low", "high"], "float64"),
    **dict.fromkeys(["at_risk", "events", "effective_calls"], "int64"),
}
# Weeks in remission of 42 children with leukaemia, "+" where it had not ended (Freireich et al., 1963, Blood 21:699),
# and the curves that Kleinbaum and Klein print (Survival Analysis, 3rd edition, section 2.II)
TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
TREATED_CURVE = {6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482}
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
PLACEBO_CURVE = {
    1: 0.90, 2: 0.81, 3: 0.76, 4: 0.67, 5: 0.57, 8: 0.38, 11: 0.29, 12: 0.19, 15: 0.14, 17: 0.10, 22: 0.05, 23: 0.0,
}  # fmt: skip


def remissions(weeks: str) -> pd.DataFrame:
    """Build a call frame with weeks as seconds, and a Timeout for each that had not ended."""
    return call_frame(
        *(
            make_call(
                id=number,
                status="Timeout" if week.endswith("+") else "Completed",
                end_time=NOW_MS + int(week.rstrip("+")) * SECOND_MS,
            )
            for number, week in enumerate(weeks.split(), start=1)
        )
    )


def curve_of(times: Sequence[int], events: Sequence[bool]) -> Curves:
    groups = Groups(np.zeros(len(times), dtype="int64"), pd.Index(["a"]))
    return estimate_curves(np.array(times, dtype="int64"), np.array(events, dtype=bool), groups)


def log_normal_curves(rng: np.random.Generator, groups: int, size: int, *, censor: bool) -> tuple[Curves, float]:
    """Estimate curves of log-normal durations, some censored at random; returns them with the share censored."""
    times = np.exp(rng.normal(10, 1, groups * size))
    limits = np.exp(rng.normal(12.2, 1.2, groups * size)) if censor else np.full(groups * size, np.inf)
    codes = Groups(np.repeat(np.arange(groups), size), pd.RangeIndex(groups))
    curves = estimate_curves(np.minimum(times, limits).astype("int64"), times <= limits, codes)
    return curves, float(np.mean(times > limits))


def seconds(durations: pd.Series) -> list[float]:
    return [float(duration) for duration in durations.dt.total_seconds()]


# Against publications


@pytest.mark.parametrize(("weeks", "published", "digits"), [(TREATED, TREATED_CURVE, 4), (PLACEBO, PLACEBO_CURVE, 2)])
def test_curve_agrees_with_publication(weeks: str, published: dict[int, float], digits: int) -> None:
    curve = cf.survival(remissions(weeks)).query("events > 0")
    assert seconds(curve["duration"]) == list(published)
    assert curve["survival"].tolist() == pytest.approx(list(published.values()), abs=0.51 * 10**-digits)


def test_numbers_at_risk_and_events_agree_with_publication() -> None:
    curve = cf.survival(remissions(TREATED)).query("events > 0")
    assert curve["at_risk"].tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert curve["events"].tolist() == [3, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("weeks", "median", "low", "high"), [(TREATED, 23, 13, None), (PLACEBO, 8, 4, 11)])
def test_median_and_its_interval_agree_with_publication(weeks: str, median: int, low: int, high: int | None) -> None:
    row = cf.summarize(remissions(weeks)).iloc[0]
    values = [row["duration_p50"], row["duration_p50_low"], row["duration_p50_high"]]
    assert [None if value is pd.NaT else value / pd.Timedelta(seconds=1) for value in values] == [median, low, high]


def test_quantile_that_is_not_reached_is_above_the_longest_time() -> None:
    row = cf.summarize(remissions(TREATED)).iloc[0]
    assert (row["duration_p90"], row["duration_p90_above"]) == (pd.NaT, pd.Timedelta(seconds=35))


# Against scipy


@few_examples
@given(st.lists(st.tuples(st.integers(-3, 30), st.booleans()), min_size=1, max_size=60))
def test_curve_agrees_with_scipy(observed: list[tuple[int, bool]]) -> None:
    ended, censored = ([time for time, event in observed if event is wanted] for wanted in (True, False))
    curve = curve_of(*zip(*observed, strict=True))
    expected = ecdf(CensoredData(uncensored=ended, right=censored)).sf.evaluate(curve.time_ms)
    assert curve.survival.tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert curve.time_ms.tolist() == sorted(set(ended))


@pytest.mark.filterwarnings("ignore:The confidence interval is undefined")
@few_examples
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=2, max_size=60).filter(dict))
def test_band_agrees_with_scipy(observed: list[tuple[int, bool]]) -> None:
    ended, censored = ([time for time, event in observed if event is wanted] for wanted in (True, False))
    curve = curve_of(*zip(*observed, strict=True))
    with np.errstate(all="ignore"):
        expected = ecdf(CensoredData(uncensored=ended, right=censored)).sf.confidence_interval(method="log-log")
    left = curve.survival > 0
    for end, published in zip(curve.band(), (expected.low, expected.high), strict=True):
        assert end[left].tolist() == pytest.approx(published.evaluate(curve.time_ms[left]).tolist(), abs=1e-9)
        assert np.isnan(end[~left]).all()


# Several groups, weights and extreme times


@few_examples
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9) | st.just(2**60), st.booleans()), max_size=60),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_groups_do_not_affect_each_other(observed: list[tuple[int, int, bool]], share: float) -> None:
    codes, times, events = (np.array([row[column] for row in observed], dtype="int64") for column in range(3))
    together = estimate_curves(times, events.astype(bool), Groups(codes, pd.RangeIndex(4)))
    for code in set(codes.tolist()):
        alone = curve_of(times[codes == code].tolist(), events[codes == code].astype(bool).tolist())
        assert together.quantile(share)[code] == alone.quantile(share)[0]
        assert [end[code] for end in together.interval(share)] == [end[0] for end in alone.interval(share)]


@few_examples
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans(), st.integers(1, 5)), max_size=30),
    st.floats(0.01, 0.99),
)
def test_weight_counts_as_that_many_calls(rows: list[tuple[int, int, bool, int]], share: float) -> None:
    codes, times, events, weights = (np.array([row[column] for row in rows], dtype="int64") for column in range(4))
    groups = [Groups(labels, pd.RangeIndex(4)) for labels in (codes, np.repeat(codes, weights))]
    weighted = estimate_curves(times, events.astype(bool), groups[0], weights)
    repeated = estimate_curves(np.repeat(times, weights), np.repeat(events, weights).astype(bool), groups[1])
    for name in ("calls", "events_by_group", "time_ms", "events", "at_risk", "longest_ms"):
        assert getattr(weighted, name).tolist() == getattr(repeated, name).tolist()
    assert weighted.quantile(share).tolist() == repeated.quantile(share).tolist()
    assert [end.tolist() for end in weighted.interval(0.5)] == [end.tolist() for end in repeated.interval(0.5)]
    np.testing.assert_allclose([weighted.survival, *weighted.band()], [repeated.survival, *repeated.band()], rtol=1e-9)


def test_times_may_be_too_far_apart_to_pack() -> None:
    curve = curve_of([-(2**61), 5, 2**61, 2**61], [True, True, False, True])
    assert [curve.quantile(share)[0] for share in (0.25, 0.5, 1.0)] == [-(2**61), 5, NO_TIME]
    assert curve.longest_ms.tolist() == [2**61]


@pytest.mark.parametrize("size", [7, 10, 20, 100, 700, 1000, 1_000_000])
@pytest.mark.parametrize("share", [0.05, 0.07, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0])
def test_quantile_of_uncensored_times_is_an_order_statistic(size: int, share: float) -> None:
    rank = max(1, -(-round(share * 100) * size // 100))
    assert curve_of(range(1, size + 1), [True] * size).quantile(share).tolist() == [rank]
    with_censored = curve_of([*range(1, size + 1), 0], [True] * size + [False])
    assert with_censored.quantile(share).tolist() == [rank]


# The table of curves


@few_examples
@given(call_frames(), st.sampled_from(["function", "schedule", "status", "1h", ["function", "status"]]))
def test_columns_and_dtypes_are_always_the_same(calls: pd.DataFrame, by: str | list[str]) -> None:
    table = cf.survival(calls, by)
    names = ["start_time"] if by == "1h" else [by] if isinstance(by, str) else by
    assert list(table.columns) == [*names, *DTYPES]
    assert {name: str(table[name].dtype) for name in DTYPES} == DTYPES


@few_examples
@given(call_frames())
def test_curve_starts_at_1_and_never_rises(calls: pd.DataFrame) -> None:
    for _, curve in cf.survival(calls).groupby("function", observed=True):
        assert curve["survival"].iloc[0] == 1
        assert curve["duration"].is_monotonic_increasing
        assert curve["survival"].is_monotonic_decreasing


def test_no_calls_have_no_curves() -> None:
    assert cf.survival(frame.empty()).shape == (0, 8)


def test_curve_extends_to_the_longest_time() -> None:
    last = cf.survival(remissions(TREATED)).iloc[-1]
    assert (last["duration"], last["at_risk"], last["events"]) == (pd.Timedelta(seconds=35), 1, 0)
    assert last[["survival", "low", "high"]].tolist() == pytest.approx([0.4482, 0.1881, 0.6801], abs=1e-4)


def test_group_without_events_stays_at_1() -> None:
    table = cf.survival(remissions("3+ 5+ 5+"))
    assert table[["survival", "at_risk", "events"]].to_numpy().tolist() == [[1, 3, 0], [1, 2, 0]]
    assert seconds(table["duration"]) == [0, 5]


def test_band_is_missing_where_survival_is_0() -> None:
    last = cf.survival(remissions("1 2")).iloc[-1]
    assert last["survival"] == 0
    assert last[["low", "high"]].isna().all()


def test_negative_duration_comes_first() -> None:
    assert seconds(cf.survival(remissions("-2 1 3"))["duration"]) == [-2, -2, 1, 3]


def test_any_end_is_an_event_in_groups_by_status() -> None:
    table = cf.survival(remissions("3+ 5+ 4"), by="status")
    assert table[table["status"] == "Timeout"]["survival"].tolist() == [1, 0.5, 0]


@pytest.mark.parametrize("points", [1, 4, 50])
def test_thinned_curve_differs_by_less_than_a_point(points: int) -> None:
    calls = remissions(" ".join(map(str, range(1, 301))) + " 400+")
    full, thin = cf.survival(calls), cf.survival(calls, points=points)
    levels = thin.set_index("duration")["survival"].reindex(full["duration"].unique(), method="ffill")
    differences = levels.to_numpy() - full.drop_duplicates("duration", keep="last")["survival"].to_numpy()
    assert differences.max() < 1 / points
    assert len(thin) <= points + 4


def test_thinned_curve_keeps_its_first_and_last_event() -> None:
    thin = cf.survival(remissions(PLACEBO), points=1)
    assert seconds(thin["duration"])[:2] == [0, 1]
    assert seconds(thin["duration"])[-1] == 23


@pytest.mark.parametrize("options", [{"points": 0}, {"by": "colour"}, {"run_limit": "soon"}])
def test_invalid_option_raises(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"{next(iter(options))}="):
        cf.survival(remissions("1"), **options)


def test_other_frame_raises() -> None:
    with pytest.raises(FrameError, match="missing the columns"):
        cf.survival(pd.DataFrame({"a": [1]}))


@few_examples
@given(call_frames())
def test_input_is_not_changed(calls: pd.DataFrame) -> None:
    before = calls.copy(deep=True)
    cf.survival(calls)
    pd.testing.assert_frame_equal(calls, before, check_exact=True)


# On data with known quantiles


@pytest.mark.parametrize("censor", [False, True])
@pytest.mark.parametrize(("share", "size"), [(0.5, 12), (0.5, 100), (0.95, 72), (0.95, 200)])
def test_interval_covers_the_true_quantile(share: float, size: int, *, censor: bool) -> None:
    curves, _ = log_normal_curves(np.random.default_rng(1), 2_000, size, censor=censor)
    truth = np.exp(10 + {0.5: 0.0, 0.95: 1.6448536}[share])
    low, high = curves.interval(share)
    known = low != NO_TIME
    covered = (low <= truth) & ((high == NO_TIME) | (high >= truth))
    assert known.mean() > 0.9
    assert covered[known].mean() > 0.93


def test_p95_is_within_5_percent_with_8_percent_censored_at_random() -> None:
    curves, censored = log_normal_curves(np.random.default_rng(3), 200, 2_000, censor=True)
    assert censored == pytest.approx(0.08, abs=0.005)
    assert np.median(curves.quantile(0.95)) == pytest.approx(np.exp(10 + 1.6448536), rel=0.05)


def test_p95_is_not_reached_with_8_percent_timeouts() -> None:
    times = np.exp(np.random.default_rng(4).normal(np.log(150), 0.895, 20_000)) * 1000
    limit = np.quantile(times, 0.92)
    curve = curve_of(np.minimum(times, limit).astype("int64").tolist(), (times <= limit).tolist())
    assert curve.quantile(0.95).tolist() == [NO_TIME]
    assert curve.above(curve.quantile(0.95))[0] <= np.quantile(times, 0.95)
    assert curve.quantile(0.9)[0] == pytest.approx(np.quantile(times, 0.9), rel=0.01)
