"""Spans in buckets, each 1.02 times as long as the one before: counts of them add up, and tell quantiles within 1 %."""

from __future__ import annotations

import functools

import numpy as np

from callframe.timespan import NO_TIME

ERROR_PERCENT = 1
"""How far a span may be from what stands for its bucket."""

_LONGEST_MS = 2**53


@functools.cache
def edges() -> tuple[np.ndarray, np.ndarray]:
    """
    List the least of each bucket, in milliseconds, and what stands for it.

    Whole numbers, so that no rounding of a logarithm puts a span into another bucket on another machine. A bucket goes
    on for as long as one whole number is within 1 % of all in it (Masson, Rim and Lee, 2019, PVLDB 12:2195).

    Returns
    -------
    least, stands
        Rising, from 0.
    """
    least, stands = [0], [0]
    lowest = 1
    while lowest < _LONGEST_MS:
        middle = lowest * (100 + ERROR_PERCENT) // 100
        least.append(lowest)
        stands.append(middle)
        lowest = middle * 100 // (100 - ERROR_PERCENT) + 1
    return np.array(least), np.array(stands)


def places(spans: np.ndarray) -> np.ndarray:
    """
    Tell the number of the bucket that each span is in.

    Parameters
    ----------
    spans
        Milliseconds, int64, none missing.

    Returns
    -------
    places
        The number of the bucket of each; those of negative spans are negative.
    """
    found: np.ndarray = np.sign(spans) * (np.searchsorted(edges()[0], np.abs(spans), side="right") - 1)
    return found


def stand_for(places: np.ndarray) -> np.ndarray:
    """Give what stands for buckets, in milliseconds."""
    found: np.ndarray = np.sign(places) * edges()[1][np.abs(places)]
    return found


def replace(spans: np.ndarray) -> np.ndarray:
    """Replace spans by what stands for their bucket; what is `NO_TIME` stays."""
    missing = spans == NO_TIME
    return np.where(missing, NO_TIME, stand_for(places(np.where(missing, 0, spans))))
