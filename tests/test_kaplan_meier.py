"""Kaplan-Meier curves are those of the books and of scipy, and their intervals cover what they should."""

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
from callframe.analysis.statistics import wilson
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

DTYPES = {
    "duration": "timedelta64[ms]",
    **dict.fromkeys(["survival", "low", "high"], "float64"),
    **dict.fromkeys(["at_risk", "events"], "int64"),
}
# Weeks in remission of 42 children with leukaemia, "+" where it had not ended (Freireich et al., 1963, Blood 21:699),
# and the curves that Kleinbaum and Klein print (Survival Analysis, 3rd edition, section 2.II)
TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
TREATED_CURVE = {6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482}
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
PLACEBO_CURVE = {
    1: 0.90, 2: 0.81, 3: 0.76, 4: 0.67, 5: 0.57, 8: 0.38, 11: 0.29, 12: 0.19, 15: 0.14, 17: 0.10, 22: 0.05, 23: 0.0,
}  # fmt: skip


def remissions(words: str) -> pd.DataFrame:
    """Make a call frame of weeks as seconds: what has not ended was cut off."""
    found = [
        make_call(
            id=number,
            status="Timeout" if word.endswith("+") else "Completed",
            end_time=NOW_MS + int(word.rstrip("+")) * SECOND_MS,
        )
        for number, word in enumerate(words.split(), start=1)
    ]
    return call_frame(*found)


def curve_of(times: Sequence[int], ended: Sequence[bool]) -> Curves:
    groups = Groups(np.zeros(len(times), dtype="int64"), pd.Index(["a"]))
    return estimate_curves(np.array(times, dtype="int64"), np.array(ended, dtype=bool), groups)


def many(rng: np.random.Generator, groups: int, size: int, *, cut: bool) -> tuple[Curves, float]:
    """Estimate curves of log-normal work, some of it cut off at random; gives them and the share cut off."""
    took = np.exp(rng.normal(10, 1, groups * size))
    limit = np.exp(rng.normal(12.2, 1.2, groups * size)) if cut else np.full(groups * size, np.inf)
    codes = Groups(np.repeat(np.arange(groups), size), pd.RangeIndex(groups))
    return estimate_curves(np.minimum(took, limit).astype("int64"), took <= limit, codes), float(np.mean(took > limit))


def seconds(spans: pd.Series) -> list[float]:
    return [float(one) for one in spans.dt.total_seconds()]


# Published


@pytest.mark.parametrize(("words", "published", "digits"), [(TREATED, TREATED_CURVE, 4), (PLACEBO, PLACEBO_CURVE, 2)])
def test_curve_is_the_published_one(words: str, published: dict[int, float], digits: int) -> None:
    found = cf.survival(remissions(words)).query("events > 0")
    assert seconds(found["duration"]) == list(published)
    assert found["survival"].tolist() == pytest.approx(list(published.values()), abs=0.51 * 10**-digits)


def test_numbers_at_risk_and_events_are_the_published_ones() -> None:
    found = cf.survival(remissions(TREATED)).query("events > 0")
    assert found["at_risk"].tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert found["events"].tolist() == [3, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("words", "median", "low", "high"), [(TREATED, 23, 13, None), (PLACEBO, 8, 4, 11)])
def test_median_and_its_interval_are_the_published_ones(words: str, median: int, low: int, high: int | None) -> None:
    row = cf.summarize(remissions(words)).iloc[0]
    found = [row["duration_p50"], row["duration_p50_low"], row["duration_p50_high"]]
    assert [None if one is pd.NaT else one / pd.Timedelta(seconds=1) for one in found] == [median, low, high]


def test_quantile_the_curve_does_not_reach_is_above_the_last_time_known() -> None:
    row = cf.summarize(remissions(TREATED)).iloc[0]
    assert (row["duration_p90"], row["duration_p90_above"]) == (pd.NaT, pd.Timedelta(seconds=35))


@pytest.mark.parametrize(
    ("events", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_the_published_one(events: int, n: int, low: float, high: float) -> None:
    """Newcombe, 1998, Statistics in Medicine 17:857, table I, method 3."""
    _, found_low, found_high = wilson(np.array([events]), np.array([n]))
    assert [round(float(found_low[0]), 4), round(float(found_high[0]), 4)] == [low, high]


# Against scipy


@few_examples
@given(st.lists(st.tuples(st.integers(-3, 30), st.booleans()), min_size=1, max_size=60))
def test_curve_is_that_of_scipy(observed: list[tuple[int, bool]]) -> None:
    ended, cut = ([one for one, done in observed if done is wanted] for wanted in (True, False))
    found = curve_of(*zip(*observed, strict=True))
    times, left = found.time_ms, found.survival
    sf = ecdf(CensoredData(uncensored=ended, right=cut)).sf
    assert left.tolist() == pytest.approx(sf.evaluate(times).tolist(), abs=1e-12)
    assert times.tolist() == sorted(set(ended))


@pytest.mark.filterwarnings("ignore:The confidence interval is undefined")
@few_examples
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=2, max_size=60).filter(dict))
def test_band_is_that_of_scipy(observed: list[tuple[int, bool]]) -> None:
    ended, cut = ([one for one, done in observed if done is wanted] for wanted in (True, False))
    found = curve_of(*zip(*observed, strict=True))
    times, left, (low, high) = found.time_ms, found.survival, found.band
    sf = ecdf(CensoredData(uncensored=ended, right=cut)).sf
    with np.errstate(all="ignore"):
        band = sf.confidence_interval(method="log-log")
    inside = left > 0
    assert low[inside].tolist() == pytest.approx(band.low.evaluate(times[inside]).tolist(), abs=1e-9)
    assert high[inside].tolist() == pytest.approx(band.high.evaluate(times[inside]).tolist(), abs=1e-9)


@few_examples
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9) | st.just(2**60), st.booleans()), max_size=60),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_groups_do_not_touch_each_other(observed: list[tuple[int, int, bool]], share: float) -> None:
    codes, times, ended = (np.array([one[place] for one in observed], dtype="int64") for place in range(3))
    together = estimate_curves(times, ended.astype(bool), Groups(codes, pd.RangeIndex(4)))
    for code in set(codes.tolist()):
        alone = curve_of(times[codes == code].tolist(), ended[codes == code].astype(bool).tolist())
        assert together.quantile(share)[code] == alone.quantile(share)[0]
        assert [one[code] for one in together.interval(share)] == [one[0] for one in alone.interval(share)]


def test_times_too_far_apart_to_pack_are_as_right() -> None:
    times = [-(2**61), 5, 2**61, 2**61]
    found = curve_of(times, [True, True, False, True])
    assert [found.quantile(share)[0] for share in (0.25, 0.5, 1.0)] == [-(2**61), 5, NO_TIME]
    assert found.longest_ms.tolist() == [2**61]


@pytest.mark.parametrize("size", [7, 10, 20, 100, 700, 1000])
@pytest.mark.parametrize("share", [0.05, 0.07, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0])
def test_without_censoring_a_quantile_is_an_order_statistic(size: int, share: float) -> None:
    rank = max(1, -(-round(share * 100) * size // 100))
    assert curve_of(range(1, size + 1), [True] * size).quantile(share).tolist() == [rank]
    with_a_cut = curve_of([*range(1, size + 1), 0], [True] * size + [False])
    assert with_a_cut.quantile(share).tolist() == [rank]


# The tidy frame


@few_examples
@given(call_frames(), st.sampled_from(["function", "schedule", "status", "1h", ["function", "status"]]))
def test_columns_and_dtypes_are_always_the_same(calls: pd.DataFrame, by: str | list[str]) -> None:
    found = cf.survival(calls, by)
    names = ["start_time"] if by == "1h" else [by] if isinstance(by, str) else by
    assert list(found.columns) == [*names, *DTYPES]
    assert {name: str(found[name].dtype) for name in DTYPES} == DTYPES


@few_examples
@given(call_frames())
def test_every_curve_starts_at_1_and_never_rises(calls: pd.DataFrame) -> None:
    for _, one in cf.survival(calls).groupby("function", observed=True):
        assert one["survival"].iloc[0] == 1
        assert one["duration"].is_monotonic_increasing
        assert one["survival"].is_monotonic_decreasing


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans(), st.integers(1, 5)), max_size=30),
    st.floats(0.01, 0.99),
)
def test_weights_stand_for_as_many_calls(rows: list[tuple[int, int, bool, int]], share: float) -> None:
    codes, times, ended, weights = (
        (np.array(column, dtype="int64") for column in zip(*rows, strict=True))
        if rows
        else [np.empty(0, dtype="int64")] * 4
    )
    groups = [Groups(one, pd.RangeIndex(4)) for one in (codes, np.repeat(codes, weights))]
    short = estimate_curves(times, ended.astype(bool), groups[0], weights)
    full = estimate_curves(np.repeat(times, weights), np.repeat(ended, weights).astype(bool), groups[1])
    for name in ("calls", "events", "at_risk", "time_ms", "longest_ms"):
        assert getattr(short, name).tolist() == getattr(full, name).tolist()
    assert short.quantile(share).tolist() == full.quantile(share).tolist()
    assert [one.tolist() for one in short.interval(0.5)] == [one.tolist() for one in full.interval(0.5)]
    for one, other in zip((short.survival, *short.band), (full.survival, *full.band), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_no_calls_are_no_curves() -> None:
    assert cf.survival(frame.empty()).shape == (0, 7)


def test_curve_goes_on_as_far_as_something_is_known() -> None:
    last = cf.survival(remissions(TREATED)).iloc[-1]
    assert (last["duration"], last["at_risk"], last["events"]) == (pd.Timedelta(seconds=35), 1, 0)
    assert last[["survival", "low", "high"]].tolist() == pytest.approx([0.4482, 0.1881, 0.6801], abs=1e-4)


def test_group_of_which_nothing_ended_stays_at_1() -> None:
    found = cf.survival(remissions("3+ 5+ 5+"))
    assert found[["survival", "at_risk", "events"]].to_numpy().tolist() == [[1, 3, 0], [1, 2, 0]]
    assert seconds(found["duration"]) == [0, 5]


def test_band_is_missing_where_nothing_is_left() -> None:
    last = cf.survival(remissions("1 2")).iloc[-1]
    assert last["survival"] == 0
    assert last[["low", "high"]].isna().all()


def test_negative_duration_comes_first() -> None:
    assert seconds(cf.survival(remissions("-2 1 3"))["duration"]) == [-2, -2, 1, 3]


def test_curve_of_a_status_awaits_the_end_of_that_status() -> None:
    found = cf.survival(remissions("3+ 5+ 4"), by="status")
    assert found[found["status"] == "Timeout"]["survival"].tolist() == [1, 0.5, 0]


@pytest.mark.parametrize("points", [1, 4, 50])
def test_thinned_curve_leaves_out_less_than_a_point(points: int) -> None:
    calls = remissions(" ".join(map(str, range(1, 301))) + " 400+")
    whole, thin = cf.survival(calls), cf.survival(calls, points=points)
    levels = thin.set_index("duration")["survival"].reindex(whole["duration"].unique(), method="ffill")
    assert (
        levels.to_numpy() - whole.drop_duplicates("duration", keep="last")["survival"].to_numpy()
    ).max() < 1 / points
    assert len(thin) <= points + 4


def test_thinned_curve_keeps_both_of_its_ends() -> None:
    thin = cf.survival(remissions(PLACEBO), points=1)
    assert seconds(thin["duration"])[:2] == [0, 1]
    assert seconds(thin["duration"])[-1] == 23


@pytest.mark.parametrize("asked", [{"points": 0}, {"by": "colour"}, {"run_limit": "soon"}])
def test_what_cannot_be_read_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        cf.survival(remissions("1"), **asked)


def test_what_is_no_call_frame_is_refused() -> None:
    with pytest.raises(FrameError, match="missing the columns"):
        cf.survival(pd.DataFrame({"a": [1]}))


@few_examples
@given(call_frames())
def test_calls_are_not_changed(calls: pd.DataFrame) -> None:
    before = calls.copy(deep=True)
    cf.survival(calls)
    pd.testing.assert_frame_equal(calls, before, check_exact=True)


# On data whose truth is known


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(("share", "size"), [(0.5, 12), (0.5, 100), (0.95, 72), (0.95, 200)])
def test_intervals_cover_the_truth(share: float, size: int, *, cut: bool) -> None:
    found, _ = many(np.random.default_rng(1), 2_000, size, cut=cut)
    truth = np.exp(10 + {0.5: 0.0, 0.95: 1.6448536}[share])
    low, high = found.interval(share)
    told = low != NO_TIME
    covered = (low <= truth) & ((high == NO_TIME) | (high >= truth))
    assert told.mean() > 0.9
    assert covered[told].mean() > 0.93


@pytest.mark.parametrize(("share", "size"), [(0.1, 50), (0.05, 200), (0.5, 20)])
def test_failure_rates_are_covered(share: float, size: int) -> None:
    _, low, high = wilson(np.random.default_rng(2).binomial(size, share, 20_000), np.full(20_000, size))
    assert np.mean((low <= share) & (high >= share)) > 0.945


def test_p95_is_within_5_percent_with_8_percent_cut_off_at_random() -> None:
    found, cut_off = many(np.random.default_rng(3), 200, 2_000, cut=True)
    p95 = np.median(found.quantile(0.95))
    assert cut_off == pytest.approx(0.08, abs=0.005)
    assert p95 == pytest.approx(np.exp(10 + 1.6448536), rel=0.05)


def test_p95_with_8_percent_timeouts_at_one_limit_is_honestly_unreached() -> None:
    took = np.exp(np.random.default_rng(4).normal(np.log(150), 0.895, 20_000)) * 1000
    limit = np.quantile(took, 0.92)
    found = curve_of(np.minimum(took, limit).astype("int64").tolist(), (took <= limit).tolist())
    assert found.quantile(0.95).tolist() == [NO_TIME]
    assert found.above(found.quantile(0.95))[0] <= np.quantile(took, 0.95)
    assert found.quantile(0.9)[0] == pytest.approx(np.quantile(took, 0.9), rel=0.01)
