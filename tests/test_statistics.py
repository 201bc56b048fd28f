"""Intervals of rates and design effects are those of publications and of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from factories import DAY_MS, HOUR_MS, START_MS
from scipy.stats import binomtest, false_discovery_control

from callframe.analysis.statistics import Blocks, correct_p_values, wilson


@pytest.mark.parametrize(
    ("failures", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_agrees_with_publication(failures: int, n: int, low: float, high: float) -> None:
    """Newcombe, 1998, Statistics in Medicine 17:857, table I, method 3."""
    _, lows, highs = wilson(np.array([failures]), np.array([n]))
    assert [round(float(lows[0]), 4), round(float(highs[0]), 4)] == [low, high]


@pytest.mark.parametrize(("failures", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (1, 30), (7, 200), (199, 200)])
def test_wilson_interval_agrees_with_scipy(failures: int, n: int) -> None:
    expected = binomtest(failures, n).proportion_ci(method="wilson")
    rate, low, high = wilson(np.array([failures]), np.array([n]))
    assert rate.tolist() == [failures / n]
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_rate_of_no_calls_is_missing() -> None:
    assert np.isnan(wilson(np.array([0]), np.array([0]))).all()


@pytest.mark.parametrize(("rate", "n"), [(0.1, 50), (0.05, 200), (0.5, 20)])
def test_wilson_interval_covers_the_true_rate(rate: float, n: int) -> None:
    _, low, high = wilson(np.random.default_rng(2).binomial(n, rate, 20_000), np.full(20_000, n))
    assert np.mean((low <= rate) & (high >= rate)) > 0.945


# Design effects of blocks of time


def effect_of(hits: np.ndarray, start_ms: np.ndarray, codes: np.ndarray | None = None) -> np.ndarray:
    codes = np.zeros(len(hits), dtype="int64") if codes is None else codes
    return Blocks.of(codes, start_ms, int(codes.max()) + 1).effects(hits, np.ones(len(hits)))


def test_effect_of_calls_that_depend_on_nothing_but_the_day_is_their_number_per_day() -> None:
    hits = np.repeat(np.random.default_rng(0).random(90) < 0.3, 40)
    assert 36 < effect_of(hits, np.arange(90 * 40) * DAY_MS // 40)[0] < 60


@pytest.mark.parametrize("hits", [np.zeros(100, dtype=bool), np.ones(100, dtype=bool), np.arange(100) % 2 == 0])
def test_effect_is_never_below_1(hits: np.ndarray) -> None:
    assert effect_of(hits, np.arange(100) * HOUR_MS).tolist() == [1]


def test_effects_of_groups_do_not_depend_on_other_groups() -> None:
    rng = np.random.default_rng(1)
    codes, start = rng.integers(0, 5, 2_000), np.sort(rng.integers(0, 30 * DAY_MS, 2_000))
    hits = np.repeat(rng.random(200) < 0.2, 10)
    alone = [effect_of(hits[codes == code], start[codes == code])[0] for code in range(5)]
    assert effect_of(hits, start, codes) == pytest.approx(alone)


def test_rows_can_stand_for_several_calls() -> None:
    rng = np.random.default_rng(2)
    hits, calls, start = rng.integers(0, 3, 100), np.full(100, 3), np.sort(rng.integers(0, 9 * DAY_MS, 100))
    each = np.tile([0, 1, 2], 100) < np.repeat(hits, 3)
    counted = Blocks.of(np.zeros(100, dtype="int64"), start, 1).effects(hits, calls)
    assert counted == pytest.approx(effect_of(each, np.repeat(start, 3)))


def test_corrected_p_values_agree_with_scipy_and_missing_ones_stay_missing() -> None:
    p_values = np.random.default_rng(3).random((4, 2))
    p_values[1, 1] = np.nan
    known = ~np.isnan(p_values)
    corrected = correct_p_values(p_values)
    assert corrected[known] == pytest.approx(false_discovery_control(p_values[known]))
    assert np.isnan(corrected[1, 1])


# Coverage of known truths; benchmarks/simulations.py has the large version


def starts_of(rng: np.random.Generator, repeats: int, n: int, days: int) -> np.ndarray:
    return np.sort(rng.uniform(0, days * DAY_MS, (repeats, n)), axis=1).astype("int64") + START_MS


@pytest.mark.parametrize(("days", "n"), [(14, 1344), (30, 720)])
def test_interval_of_failures_in_outages_covers_the_true_rate(days: int, n: int) -> None:
    rng, repeats = np.random.default_rng(days), 400
    begins = rng.random((repeats, n + 12)) < 0.004
    failed = np.logical_or.reduce([begins[:, 12 - k : n + 12 - k] for k in range(12)])
    codes = np.repeat(np.arange(repeats), n)
    effects = Blocks.of(codes, starts_of(rng, repeats, n, days).ravel(), repeats).effects(
        failed.ravel(), np.ones(failed.size)
    )
    truth, failures, sizes = 1 - 0.996**12, failed.sum(axis=1), np.full(repeats, n)
    shares = []
    for effect in (effects, 1.0):
        _, low, high = wilson(failures / effect, sizes / effect)
        shares.append(float(np.mean((low <= truth) & (high >= truth))))
    assert shares[0] > 0.87
    assert shares[1] < 0.6


def test_interval_of_independent_calls_is_never_narrower() -> None:
    rng, repeats, n = np.random.default_rng(4), 200, 300
    failed = rng.random((repeats, n)) < 0.1
    codes = np.repeat(np.arange(repeats), n)
    effects = Blocks.of(codes, starts_of(rng, repeats, n, 30).ravel(), repeats).effects(
        failed.ravel(), np.ones(failed.size)
    )
    assert effects.min() >= 1
    assert np.median(effects) < 1.5
