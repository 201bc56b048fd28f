"""Estimates that several measures share: Wilson's interval, the Kaplan-Meier curve, how dependent calls are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

STUCK_AFTER = pd.Timedelta(hours=1)
"""A call Running for longer is stuck: the longest run limit is 15 minutes, so its end was never recorded."""

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_ROUNDING = 1e-9  # a share that differs by less from a step of a curve stands on it
_BLOCKS = (16, 32, 64)
_CALLS_A_BLOCK = 4


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
    centre = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(np.maximum(rate * (1 - rate), 0) / n + Z**2 / (4 * n**2))
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


def curve(times: np.ndarray, ended: np.ndarray, weights: np.ndarray | None = None) -> Curve:
    """
    Estimate the curve of durations of which some are known in part.

    Parameters
    ----------
    times
        How long each ran; what was cut off at the run limit counts as infinite and not ended.
    ended
        Whether it ended then; else it was still running.
    weights
        How many calls each stands for; 1 by default.

    Returns
    -------
    curve
        Without censored times, the empirical distribution.
    """
    weights = np.ones(len(times), dtype="int64") if weights is None else weights
    order = np.argsort(times, kind="stable")
    times, weights, ended = times[order], weights[order], ended[order]
    if not len(times):
        return Curve(np.empty(0), np.empty(0))
    starts = np.flatnonzero(np.append(True, times[1:] != times[:-1]))
    ends = np.add.reduceat(weights * ended, starts)
    left = np.add.reduceat(weights * ~ended, starts)
    at_risk = weights.sum() - np.cumsum(ends + left) + ends + left
    rises = (ends > 0) & np.isfinite(times[starts])
    if left[: np.flatnonzero(rises)[-1]].any() if rises.any() else False:  # some left before the curve ended
        done = 1 - np.cumprod(1 - ends[rises] / at_risk[rises])
    else:  # the same, without rounding
        done = np.cumsum(ends[rises]) / weights.sum()
    return Curve(times[starts][rises], done)


def design_effect(values: np.ndarray, later: np.ndarray) -> float:
    """
    Estimate how many calls in a row tell no more than one independent call would.

    Failures come in bursts, and slow calls do. The variance of a mean of dependent values is that of independent ones
    times a design effect, by which counts can be divided (Rao and Scott, 1992, Biometrics 48:577). It is taken as the
    largest of 1, of what the correlation of neighbours gives (Bartlett, 1946, JRSS Suppl. 8:27), and of the variance
    between blocks of consecutive calls, widened by Student's t for there being few of them.

    Parameters
    ----------
    values
        One a call, in order of start; the calls before come first.
    later
        Which of them are after.

    Returns
    -------
    effect
        1 where calls are independent.
    """
    sides = [side - side.mean() for side in (values[~later], values[later]) if len(side)]
    square = sum(float(side @ side) for side in sides)
    if square <= _ROUNDING:
        return 1.0
    neighbours = sum(float(side[1:] @ side[:-1]) for side in sides) / square
    neighbours = min(neighbours, 1 - 1 / len(values))
    return max(1.0, (1 + neighbours) / (1 - neighbours), *(_between_blocks(sides, square, n) for n in _BLOCKS))


def _between_blocks(sides: list[np.ndarray], square: float, blocks: int) -> float:
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, and not needed to fetch

    length = -(-sum(map(len, sides)) // blocks)
    if length < _CALLS_A_BLOCK:
        return 1.0
    total, freedom = 0.0, 0
    for side in sides:
        sums = np.add.reduceat(side, np.arange(0, len(side), length))
        if len(sums) > 1:
            total += float(sums @ sums) * len(sums) / (len(sums) - 1)
            freedom += len(sums) - 1
        else:
            square -= float(side @ side)
    return total / square * (stdtrit(freedom, 0.975) / Z) ** 2 if freedom and square > 0 else 1.0
