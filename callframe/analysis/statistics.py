"""Statistics of calls that succeed or fail: Wilson's interval, and how much less dependent calls tell."""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_NEGLIGIBLE = 1e-9  # a sum of squares that differs from 0 by rounding only
_BLOCKS = (16, 32, 64)
_MIN_CALLS_PER_BLOCK = 4
_MIN_FREEDOM = 6  # degrees of freedom below which the variance between blocks is too uncertain


def wilson(failures: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate rates with their 95 % intervals (Wilson, 1927, JASA 22:209); missing where `n` is 0."""
    failures, n = np.asarray(failures, dtype="float64"), np.asarray(n, dtype="float64")
    n = np.where(n == 0, np.nan, n)
    rate = failures / n
    centre = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(np.maximum(rate * (1 - rate), 0) / n + Z95**2 / (4 * n**2))
    low = np.where(failures == 0, 0, np.clip(centre - half, 0, 1))
    high = np.where(failures == n, 1, np.clip(centre + half, 0, 1))
    return rate, np.where(np.isnan(n), np.nan, low), np.where(np.isnan(n), np.nan, high)


def design_effect(values: np.ndarray, is_after: np.ndarray, days: np.ndarray, statistic: float | None = None) -> float:
    """
    Estimate how many consecutive calls carry the information of one independent call; 1 where calls are independent.

    Failures come in bursts, and so do slow calls. The variance of a mean of dependent values is that of independent
    values times a design effect, by which counts can be divided (Rao and Scott, 1992, Biometrics 48:577). It is
    estimated as the largest of 1, of what the correlation of neighbours implies (Bartlett, 1946, JRSS Suppl. 8:27), and
    of the variance between blocks: days, and a few numbers of consecutive calls.

    `values`, one per call, and `days`, on which they started, are in order of start, calls before first; `is_after`
    marks the others. `statistic` is what is to be tested, in standard errors of independent calls. The variance between
    few blocks is itself uncertain, so a statistic divided by its root follows Student's t; the effect is such that the
    result can be taken for normal. Without a statistic the effect is for a 95 % interval.
    """
    deviations = np.empty(len(values))
    for side in (~is_after, is_after):
        deviations[side] = values[side] - values[side].mean() if side.any() else 0
    square = float(np.square(deviations).sum())
    if square <= _NEGLIGIBLE:
        return 1.0
    middle = np.flatnonzero(is_after[1:] != is_after[:-1]) + 1
    blocks = [np.flatnonzero(days[1:] != days[:-1]) + 1]
    blocks += [np.arange(0, len(values), -(-len(values) // count)) for count in _BLOCKS]
    starts = [np.unique(np.concatenate([[0], middle, block])) for block in blocks]
    scaled = deviations / math.sqrt(square)
    effects = [
        _effect_of_blocks(np.add.reduceat(scaled, start), is_after[start], len(values), statistic) for start in starts
    ]
    return max(1.0, _effect_of_neighbours(deviations, is_after, square), *effects)


def _effect_of_neighbours(deviations: np.ndarray, is_after: np.ndarray, square: float) -> float:
    """Add up the correlations that an autoregression has at all distances."""
    same_side = is_after[1:] == is_after[:-1]
    correlation = float((deviations[1:] * deviations[:-1])[same_side].sum()) / square
    correlation += (1 + 3 * correlation) * 2 / len(deviations)  # bias (Marriott and Pope, 1954, Biometrika 41:390)
    correlation = min(correlation, 1 - 1 / len(deviations))
    return (1 + correlation) / (1 - correlation)


def _effect_of_blocks(sums: np.ndarray, is_after: np.ndarray, calls: int, statistic: float | None) -> float:
    """Add up the variance of the sums over blocks, widened by Student's t because blocks are few."""
    counts = np.array([(~is_after).sum(), is_after.sum()])
    freedom = int(counts.sum()) - 2
    if counts.min() < 2 or freedom < _MIN_FREEDOM or calls < _MIN_CALLS_PER_BLOCK * len(sums):  # noqa: PLR2004 - to vary
        return 1.0
    variance = float((np.square(sums) * (counts / (counts - 1))[is_after.astype("int64")]).sum())
    return variance * _widening(variance, freedom, statistic)


def _widening(variance: float, freedom: int, statistic: float | None) -> float:
    """Find by how much a variance must grow for the normal distribution to give the p-value of Student's t."""
    from scipy.special import ndtri, stdtr, stdtrit  # noqa: PLC0415 - slow to import, and not needed to fetch

    if statistic is None or variance <= _NEGLIGIBLE:
        return float(stdtrit(freedom, 0.975) / Z95) ** 2
    student = statistic / math.sqrt(variance)
    normal = -float(ndtri(stdtr(freedom, -student)))
    return (student / normal) ** 2 if 0 < normal < math.inf else 1.0
