"""Estimates that several measures share: Wilson's interval, the Kaplan-Meier curve, how dependent calls are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from callframe.analysis.grouping import Groups
from callframe.analysis.kaplan_meier import Z95, curves

_ROUNDING = 1e-9  # a share that differs by less from a step of a curve stands on it
_BLOCKS = (16, 32, 64)
_CALLS_A_BLOCK = 4
_FEWEST = 6  # degrees of freedom from which on blocks tell their variance


def wilson(failures: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Estimate rates with their 95 % intervals (Wilson, 1927, JASA 22:209).

    Parameters
    ----------
    failures, n
        Counts, which need not be whole.

    Returns
    -------
    rate, low, high
        Missing where `n` is 0.
    """
    failures, n = np.asarray(failures, dtype="float64"), np.asarray(n, dtype="float64")
    n = np.where(n == 0, np.nan, n)
    rate = failures / n
    centre = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(np.maximum(rate * (1 - rate), 0) / n + Z95**2 / (4 * n**2))
    low = np.where(failures == 0, 0, np.clip(centre - half, 0, 1))
    high = np.where(failures == n, 1, np.clip(centre + half, 0, 1))
    return rate, np.where(np.isnan(n), np.nan, low), np.where(np.isnan(n), np.nan, high)


@dataclass(frozen=True)
class Curve:
    """
    The share of work done by each time, as Kaplan and Meier estimate it (1958, JASA 53:457).

    Parameters
    ----------
    times
        Where the curve rises, ascending.
    done
        The share done by then. Where the last is below 1, the rest takes longer than anything observed.
    """

    times: np.ndarray
    done: np.ndarray

    def quantile(self, shares: np.ndarray | float) -> np.ndarray:
        """Give the smallest time by which at least that share is done; infinite where the curve does not get there."""
        place = np.searchsorted(self.done, np.asarray(shares) - _ROUNDING, side="left")
        return np.append(self.times, np.inf)[place]


def curve(times: np.ndarray, ended: np.ndarray) -> Curve:
    """
    Estimate the curve of durations of which some are known in part.

    Parameters
    ----------
    times
        How long each ran, in whole milliseconds; what was cut off at the run limit counts as infinite and not ended.
    ended
        Whether it ended then; else it was still running.

    Returns
    -------
    curve
        Without censored times, the empirical distribution.
    """
    finite = np.isfinite(times)
    beyond = float(times[finite].max(initial=0)) + 1
    whole = np.where(finite, times, beyond).astype("int64")
    found = curves(whole, ended & finite, Groups(np.zeros(len(times), dtype="int64"), pd.RangeIndex(1)))
    rises, done = found.done()
    return Curve(rises.astype("float64"), done)


def design_effect(values: np.ndarray, later: np.ndarray, days: np.ndarray, statistic: float | None = None) -> float:
    """
    Estimate how many calls in a row tell no more than one independent call would.

    Failures come in bursts, and slow calls do. The variance of a mean of dependent values is that of independent ones
    times a design effect, by which counts can be divided (Rao and Scott, 1992, Biometrics 48:577). It is taken as the
    largest of 1, of what the correlation of neighbours gives (Bartlett, 1946, JRSS Suppl. 8:27), and of the variance
    between blocks: days, and some numbers of consecutive calls.

    Parameters
    ----------
    values
        One a call, in order of start; the calls before come first.
    later
        Which of them are after.
    days
        The day each started.
    statistic
        What is to be tested, in standard errors of independent calls. A variance of few blocks is itself not well
        known, so a statistic divided by the root of it follows Student's t; the effect is such that it can be taken for
        normal. None where a 95 % interval is to be made.

    Returns
    -------
    effect
        1 where calls are independent.
    """
    deviations = np.empty(len(values))
    for side in (~later, later):
        deviations[side] = values[side] - values[side].mean() if side.any() else 0
    square = float(np.square(deviations).sum())
    if square <= _ROUNDING:
        return 1.0
    middle = np.flatnonzero(later[1:] != later[:-1]) + 1
    blocks = [np.flatnonzero(days[1:] != days[:-1]) + 1]
    blocks += [np.arange(0, len(values), -(-len(values) // count)) for count in _BLOCKS]
    starts = [np.unique(np.concatenate([[0], middle, each])) for each in blocks]
    scaled = deviations / math.sqrt(square)
    effects = [_of_blocks(np.add.reduceat(scaled, each), later[each], len(later), statistic) for each in starts]
    return max(1.0, _of_neighbours(deviations, later, square), *effects)


def _of_neighbours(deviations: np.ndarray, later: np.ndarray, square: float) -> float:
    """Sum the correlations that an autoregression has at all distances."""
    together = later[1:] == later[:-1]
    found = float((deviations[1:] * deviations[:-1])[together].sum()) / square
    found += (
        (1 + 3 * found) * 2 / len(deviations)
    )  # its bias in short series (Marriott and Pope, 1954, Biometrika 41:390)
    found = min(found, 1 - 1 / len(deviations))
    return (1 + found) / (1 - found)


def _of_blocks(sums: np.ndarray, after: np.ndarray, calls: int, statistic: float | None) -> float:
    """Add up the variance of the sums over blocks, widened by Student's t for there being few blocks."""
    counts = np.array([(~after).sum(), after.sum()])
    freedom = counts.sum() - 2
    if counts.min() < 2 or freedom < _FEWEST or calls < _CALLS_A_BLOCK * len(sums):  # noqa: PLR2004 - to vary
        return 1.0
    square = float((np.square(sums) * (counts / (counts - 1))[after.astype("int64")]).sum())
    return square * _widening(square, int(freedom), statistic)


def _widening(square: float, freedom: int, statistic: float | None) -> float:
    """Tell by how much a variance has to be larger for the normal distribution to say what Student's t does."""
    from scipy.special import ndtri, stdtr, stdtrit  # noqa: PLC0415 - slow to import, and not needed to fetch

    if statistic is None or square <= _ROUNDING:
        return float(stdtrit(freedom, 0.975) / Z95) ** 2
    student = statistic / math.sqrt(square)
    normal = -float(ndtri(stdtr(freedom, -student)))
    return (student / normal) ** 2 if 0 < normal < math.inf else 1.0
