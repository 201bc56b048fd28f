"""
Kaplan-Meier curves of many groups at once, from integers: no frame comes in here, and none goes out.

The estimator is that of Kaplan and Meier (1958, JASA 53:457).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from callframe.timespan import NO_TIME

if TYPE_CHECKING:
    from callframe.analysis.grouping import Groups

_LARGEST = int(np.iinfo("int64").max)

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_TOLERANCE = 1e-9  # of the logarithm of a survival, a sum of up to millions of terms
_DEEP = 1e6  # the logarithm of something beyond every quantile


@dataclass(frozen=True)
class Curves:
    """
    Kaplan-Meier curves by group.

    Parameters
    ----------
    packed
        Group, time and whether it is censored of each call in one integer, in rising order: ends come before what is
        censored at the same time.
    values
        The times that `packed` counts.
    bounds
        Where each group begins in `packed`, and where the last one stops.
    weights
        How many calls each of `packed` stands for; None where it is one.
    known
        The largest time of each group, where the times here stand for others; None where they are their own.
    """

    packed: np.ndarray
    values: _Times
    bounds: np.ndarray
    weights: np.ndarray | None = None
    known: np.ndarray | None = None

    @cached_property
    def before(self) -> np.ndarray | None:
        """How many calls come before each of `packed`, and how many there are; None where its place says so."""
        return None if self.weights is None else np.append(0, np.cumsum(self.weights))

    @cached_property
    def sizes(self) -> np.ndarray:
        """How many calls each group's curve rests on."""
        return np.diff(self.bounds if self.before is None else self.before[self.bounds])

    @cached_property
    def places(self) -> np.ndarray:
        """Where the ends are in `packed`."""
        return np.flatnonzero((self.packed & 1) == 0)

    @cached_property
    def first(self) -> np.ndarray:
        """Where the ends of each group begin in `places`, and where the last group's stop."""
        return np.searchsorted(self.places, self.bounds)

    @cached_property
    def rows(self) -> np.ndarray:
        """How many of `places` each group has."""
        return np.diff(self.first)

    @cached_property
    def ended(self) -> np.ndarray | int:
        """How many calls ended at each of `places`."""
        return 1 if self.weights is None else self.weights[self.places]

    @cached_property
    def ends(self) -> np.ndarray:
        """How many calls of each group ended."""
        return self.rows if self.weights is None else np.diff(np.append(0, np.cumsum(self.ended))[self.first])

    @cached_property
    def longest(self) -> np.ndarray:
        """The largest time known of each group, of an end or censored; `NO_TIME` where there is none."""
        if self.known is not None:
            return self.known
        known = self.sizes > 0
        return self._times_at(self.bounds[1:][known] - 1, known)

    @cached_property
    def at_risk(self) -> np.ndarray:
        """How many had not ended and were not censored before each end; of ends at a time each finds one fewer."""
        if self.before is None:
            at_risk: np.ndarray = np.repeat(self.bounds[1:], self.rows) - self.places
            return at_risk
        weighted: np.ndarray = np.repeat(self.before[self.bounds[1:]], self.rows) - self.before[self.places]
        return weighted

    @cached_property
    def closing(self) -> np.ndarray:
        """The ends that leave nobody: survival is 0, and its logarithm no number to add up."""
        last: np.ndarray = self.first[1:][self.rows > 0] - 1
        ended = self.ended if isinstance(self.ended, int) else self.ended[last]
        closing: np.ndarray = last[self.at_risk[last] == ended]
        return closing

    @cached_property
    def last_of_tie(self) -> np.ndarray:
        """The ends that are the last of their group at their time."""
        packed = self.packed[self.places]
        return np.append(np.flatnonzero(packed[1:] != packed[:-1]), np.arange(len(packed))[-1:])

    @cached_property
    def depth(self) -> np.ndarray:
        """The negative logarithm of survival after each end, added up over all groups and without closing ends."""
        depth = self._left()
        np.divide(np.negative(self.ended), depth, out=depth)
        np.log1p(depth, out=depth)
        np.cumsum(depth, out=depth)
        np.negative(depth, out=depth)
        return depth

    @cached_property
    def variance(self) -> np.ndarray:
        """The variance of that logarithm (Greenwood, 1926), added up likewise."""
        left = self._left()
        left *= self._left() - self.ended
        np.divide(self.ended, left, out=left)
        return np.cumsum(left, out=left)

    def quantile(self, share: float) -> np.ndarray:
        """
        Find the time by which a share has ended.

        Parameters
        ----------
        share
            From 0 to 1.

        Returns
        -------
        times
            The earliest end of each group at which survival is at most 1 - share; `NO_TIME` where it stays above.
        """
        if len(self.places) == len(self.packed):  # nothing is censored
            known, rank = self.sizes > 0, np.ceil(share * self.sizes - _TOLERANCE).astype("int64")
            return self._times_at(self._at_rank(np.maximum(rank, 1))[known], known)
        goal = self._before(self.depth) + (-math.log1p(-share) if share < 1 else math.inf) - _TOLERANCE
        place = np.maximum(np.searchsorted(self.depth, goal), self.first[:-1])
        closed = np.isin(self.first[1:] - 1, self.closing) & (self.rows > 0)
        return self._ends_at(np.where(closed, np.minimum(place, self.first[1:] - 1), place))

    def interval(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """
        Find the 95 % interval of a quantile: where the log-log band of the curve crosses 1 - share.

        This is the interval of Brookmeyer and Crowley (1982, Biometrics 38:29) with the log-log transformation.

        Parameters
        ----------
        share
            Above 0 and below 1.

        Returns
        -------
        low, high
            `NO_TIME` where the band does not cross, and where a group has too few ends: fewer than it takes for the
            longest to exceed the quantile with 95 % probability, which is 5 for the median and 59 for p95.
        """
        middle, half = self._band
        goal = math.log(-math.log1p(-share)) - _TOLERANCE
        low = self._first_where(middle + half >= goal)
        high = self._first_where(middle - half >= goal)
        few = self.ends < math.ceil(math.log(0.05) / math.log(share))
        return np.where(few, NO_TIME, low), np.where(few, NO_TIME, high)

    def done(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the times at which groups have ends, and the share of each group's calls that has ended by then."""
        last = self.last_of_tie
        done = -np.expm1(np.repeat(self._before(self.depth), self.rows)[last] - self.depth[last])
        done[np.isin(last, self.closing)] = 1
        return self.values.of(self.packed[self.places[last]]), done

    def above(self, times: np.ndarray) -> np.ndarray:
        """Tell what is known to be exceeded where a quantile is missing: the largest time the curve is known at."""
        return np.where(times == NO_TIME, self.longest, NO_TIME)

    def steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """
        Give the curves, a row at each time at which a group has ends.

        Returns
        -------
        times, survival, low, high
            Milliseconds, and the share that is left with its log-log 95 % band, which is missing where none is left.
        """
        last = self.last_of_tie
        middle, half = self._band
        closed = np.isin(last, self.closing)
        times = self.values.of(self.packed[self.places[last]])
        with np.errstate(over="ignore"):  # of closing ends, and of bands as wide as can be
            survival, low, high = (np.exp(-np.exp(log)) for log in (middle, middle + half, middle - half))
        return times, survival, np.where(closed, np.nan, low), np.where(closed, np.nan, high)

    @cached_property
    def _band(self) -> tuple[np.ndarray, np.ndarray]:
        """The logarithm of the own depth at the last of each tie, and half the width of its 95 % band."""
        last, rows = self.last_of_tie, self.rows
        depth = (self.depth - np.repeat(self._before(self.depth), rows))[last]
        half = (self.variance - np.repeat(self._before(self.variance), rows))[last]
        np.sqrt(np.maximum(half, 0, out=half), out=half)
        with np.errstate(divide="ignore", invalid="ignore"):
            half /= depth
            middle = np.log(depth, out=depth)
        half *= Z95
        closing = np.searchsorted(last, self.closing)
        middle[closing], half[closing] = _DEEP, 2 * _DEEP  # nothing is left below, and it is not known above
        return middle, half

    def _left(self) -> np.ndarray:
        """As `at_risk`, in numbers that let closing ends add nothing."""
        left = self.at_risk.astype("float64")
        left[self.closing] = np.inf
        return left

    def _before(self, total: np.ndarray) -> np.ndarray:
        """Take what has been added up before the ends of each group."""
        if not len(total):
            return np.zeros(len(self.rows))
        return np.where(self.first[:-1] > 0, total[self.first[:-1] - 1], 0.0)

    def _at_rank(self, rank: np.ndarray) -> np.ndarray:
        """Find the place in `packed` of the call of each group that has a rank, the first of which is 1."""
        if self.before is None:
            place: np.ndarray = self.bounds[:-1] + rank - 1
            return place
        weighted: np.ndarray = np.searchsorted(self.before[1:], self.before[self.bounds[:-1]] + rank)
        return weighted

    def _first_where(self, holds: np.ndarray) -> np.ndarray:
        """Find the earliest time of each group at which something holds."""
        last = self.last_of_tie[np.flatnonzero(holds)]
        return self._ends_at(np.append(last, len(self.places))[np.searchsorted(last, self.first[:-1])])

    def _ends_at(self, ends: np.ndarray) -> np.ndarray:
        """Take times of ends, one a group; `NO_TIME` where it is none of the group's."""
        own = ends < self.first[1:]
        return self._times_at(self.places[ends[own]], own)

    def _times_at(self, places: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Take times at places, for the groups where something is known."""
        times = np.full(len(known), NO_TIME)
        times[known] = self.values.of(self.packed[places])
        return times if self.known is None else np.minimum(times, self.known)


@dataclass(frozen=True)
class _Times:
    """How times stand in packed integers: as so many above the lowest, or as places among the distinct ones."""

    bits: int
    lowest: int
    distinct: np.ndarray | None = None

    def of(self, packed: np.ndarray) -> np.ndarray:
        """Unpack."""
        numbers: np.ndarray = (packed >> 1) & ((1 << self.bits) - 1)
        times: np.ndarray = numbers + self.lowest if self.distinct is None else self.distinct[numbers]
        return times


def curves(
    times: np.ndarray,
    ended: np.ndarray | None,
    groups: Groups,
    weights: np.ndarray | None = None,
    largest: np.ndarray | None = None,
) -> Curves:
    """
    Estimate Kaplan-Meier curves by group.

    Parameters
    ----------
    times
        Milliseconds of each call, int64; those that are `NO_TIME` are left out.
    ended
        Whether it ended then, and was not censored; None where all did.
    groups
        The group of each.
    weights
        How many calls each stands for; one by default.
    largest
        The largest time of each group, where `times` stand for others: no time that is found is beyond it.

    Returns
    -------
    curves
        A call censored at the time of an end counts as at risk there.
    """
    known = times != NO_TIME
    codes = groups.codes
    if not known.all():
        times, codes, ended = times[known], codes[known], None if ended is None else ended[known]
        weights = None if weights is None else weights[known]
    packed, values = _numbered(times, len(groups))
    packed <<= 1
    if ended is not None:
        packed |= ~ended
    packed |= codes << (values.bits + 1)
    if weights is None:
        packed.sort()  # ten times as fast as to sort by three keys
    else:
        order = np.argsort(packed)
        packed, weights = packed[order], weights[order]
    bounds = np.searchsorted(packed, np.arange(len(groups) + 1) << (values.bits + 1))
    return Curves(packed, values, bounds, weights, largest)


def _numbered(times: np.ndarray, groups: int) -> tuple[np.ndarray, _Times]:
    """Count times in as few bits as leave room for the groups, a bit for what is censored, and the sign."""
    lowest = int(times.min(initial=_LARGEST))
    bits = max(0, int(times.max(initial=lowest)) - lowest).bit_length()
    if bits + groups.bit_length() <= 62:  # noqa: PLR2004 - of 64
        return times - lowest, _Times(bits, lowest)
    distinct, numbers = np.unique(times, return_inverse=True)
    return numbers.astype("int64"), _Times(len(distinct).bit_length(), 0, distinct)
