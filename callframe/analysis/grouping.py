"""Which group each call is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.errors import ArgumentError
from callframe.timespan import floor_ms, from_epoch_ms, parse_duration, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = {"function": "function", "schedule": "schedule_id", "status": "status"}
"""What calls can be grouped by, and the column that holds it."""

TIME = "start_time"
"""The name of groups made by a frequency."""


@dataclass(frozen=True)
class Groups:
    """
    The groups that have calls, and the one each call is in.

    Parameters
    ----------
    codes
        The place of each call's group in `index`, int64.
    index
        The groups in order: labels and statuses in that of their categories, times and schedules rising, none last.
    """

    codes: np.ndarray
    index: pd.Index

    def __len__(self) -> int:
        return len(self.index)

    def count(self, rows: np.ndarray) -> np.ndarray:
        """Count some of the calls by group, given as a mask or as places."""
        return np.bincount(self.codes[rows], minlength=len(self))

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Find the largest value by group; the smallest integer stands for none."""
        largest = np.full(len(self), np.iinfo("int64").min)
        np.maximum.at(largest, self.codes, values)
        return largest


def group(calls: pd.DataFrame, by: str | Sequence[str]) -> Groups:
    """
    Group calls.

    Parameters
    ----------
    calls
        Call frame.
    by
        `"function"`, `"schedule"`, `"status"`, a frequency such as `"1h"`, or several of them.

    Returns
    -------
    groups
        Only those that have calls. Named as in `by`, those of a frequency `start_time`.

    Raises
    ------
    ArgumentError
        `by` is unknown.
    """
    names = names_of(by)
    keys = [_time(calls, name) if level == TIME else _column(calls, COLUMNS[level]) for level, name in names.items()]
    codes, count = _close_up(*keys[0][0])
    for (places, size), _ in keys[1:]:
        codes, count = _close_up(codes * size + places, count * size)
    first = np.empty(count if len(calls) else 0, dtype="int64")
    first[codes[::-1]] = np.arange(len(calls) - 1, -1, -1)  # of equal codes the last one written stays
    levels = [values.iloc[first] for _, values in keys]
    if len(levels) == 1:
        return Groups(codes, pd.Index(levels[0], name=next(iter(names))))
    return Groups(codes, pd.MultiIndex.from_arrays(levels, names=list(names)))


def stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """
    Put tables under each other whose words are of different categories.

    Parameters
    ----------
    tables
        Of the same columns, one at least.

    Returns
    -------
    table
        Categories that are the same in all tables stay as they are; else statuses are in their order, other words in
        that of the alphabet.
    """
    words = [name for name in tables[0].columns if isinstance(tables[0].dtypes[name], pd.CategoricalDtype)]
    kinds = {name: _kind_of_all([one[name].cat.categories for one in tables], name) for name in words}
    return pd.concat([one.astype(kinds) for one in tables], ignore_index=True)


def _kind_of_all(found: Sequence[pd.Index], name: str) -> pd.CategoricalDtype[Any]:
    known = {str(word) for categories in found for word in categories}
    if all(one.equals(found[0]) for one in found):
        return pd.CategoricalDtype(found[0])
    words = frame.status_categories(list(known)) if name == "status" else sorted(known)
    return pd.CategoricalDtype(pd.Series(words, dtype=frame.TEXT))


def names_of(by: str | Sequence[str]) -> dict[str, str]:
    """
    Name the levels that calls are grouped by.

    Parameters
    ----------
    by
        As for `group`.

    Returns
    -------
    names
        What was asked for, by the name of its level.

    Raises
    ------
    ArgumentError
        `by` is unknown, or names a level twice.
    """
    asked = [by] if isinstance(by, str) else list(by)
    names = {name if name in COLUMNS else TIME: name for name in asked}
    if not asked or len(names) < len(asked) or not (TIME not in names or _width_ms(names[TIME])):
        known = ", ".join(map(repr, COLUMNS))
        raise ArgumentError(f"by={by!r}; expected {known}, a frequency such as '1h', or several of them, each once.")
    return names


def _width_ms(frequency: str) -> int:
    """Read a frequency; 0 where it is none."""
    try:
        return parse_duration(frequency, name="by")
    except ArgumentError:
        return 0


def _column(calls: pd.DataFrame, name: str) -> tuple[tuple[np.ndarray, int], pd.Series]:
    values = calls[name]
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, size = values.cat.codes.to_numpy(), len(values.cat.categories)
    else:
        codes, found = pd.factorize(values, sort=True)
        size = len(found)
    codes = codes.astype("int64")
    if codes.min(initial=0) < 0:
        codes[codes < 0] = size
    return (codes, size + 1), values


def _time(calls: pd.DataFrame, frequency: str) -> tuple[tuple[np.ndarray, int], pd.Series]:
    """Tell the stretch of time that each call started in; whole weeks begin on Mondays."""
    width = _width_ms(frequency)
    stamps = floor_ms(to_milliseconds(calls["start_time"]), width)
    values = pd.Series(from_epoch_ms(stamps), index=calls.index)
    numbers = stamps // width
    lowest = numbers.min(initial=np.iinfo("int64").max)
    return (numbers - lowest, int(numbers.max(initial=lowest) - lowest) + 1), values


def _close_up(codes: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Renumber codes so that each one occurs."""
    if size > 4 * len(codes) + 1_000:  # counting would be mostly of nothing
        found, places = np.unique(codes, return_inverse=True)
        return places, len(found)
    occurs = np.bincount(codes, minlength=size) > 0
    count = int(occurs.sum())
    return codes if occurs[:count].all() else (np.cumsum(occurs) - 1)[codes], count
