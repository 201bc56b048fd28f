"""Intervals of rates and design effects are those of publications and of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from callframe.analysis.statistics import design_effect, wilson


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


def test_design_effect_of_bursts_is_about_their_length() -> None:
    bursts = np.repeat(np.random.default_rng(0).random(1000) < 0.1, 12).astype(float)
    assert 9 < design_effect(bursts, np.arange(12_000) >= 6_000, np.arange(12_000) // 860) < 24


def test_design_effect_of_equal_values_is_1() -> None:
    assert design_effect(np.ones(100), np.arange(100) >= 50, np.zeros(100)) == 1
