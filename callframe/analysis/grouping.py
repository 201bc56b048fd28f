"""
Groups of calls: what `by` may be, and the group of each call.

In results, a table with one row per group has the groups in its index; a table with several rows per group has them as
its first columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.errors import ArgumentError
from callframe.timespan import NO_TIME, floor_ms, from_epoch_ms, parse_duration, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = {"function": "function", "schedule": "schedule_id", "status": "status"}
"""The values of `by` that stand for a column of a call frame."""

TIME = "start_time"
"""The name of the groups that a duration makes: bins of start times."""


@dataclass(frozen=True)
class Groups:
    """The groups that have calls: `index` holds their labels in order, `codes` the position in it for each call."""

    codes: np.ndarray
    index: pd.Index

    def __len__(self) -> int:
        return len(self.index)

    def count(self, rows: np.ndarray) -> np.ndarray:
        """Count the calls per group that a mask, or an array of positions, selects."""
        return np.bincount(self.codes[rows], minlength=len(self))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add up integers per group."""
        return np.bincount(self.codes, values, minlength=len(self)).astype("int64")

    def max(self, values: np.ndarray) -> np.ndarray:
        """Find the largest integer per group, `NO_TIME` for a group without any."""
        largest = np.full(len(self), NO_TIME)
        np.maximum.at(largest, self.codes, values)
        return largest


def parse_by(
    by: Any,
    allowed: Sequence[str] = tuple(COLUMNS),
    *,
    durations: bool = False,
    several: bool = False,
    optional: bool = False,
) -> dict[str, int]:
    """
    Parse the argument `by` of a user: the names of the groups, each with the width of its bins in ms, 0 for a column.

    `allowed` are the accepted keys of `COLUMNS`. The flags accept durations such as "1h", a list of several, and None.
    """
    values = [] if by is None and optional else [by]
    if several and isinstance(by, Iterable) and not isinstance(by, str):
        values = list(by)
    levels = [_parse_level(value, allowed, durations=durations) for value in values]
    parsed = dict(level for level in levels if level)
    if len(parsed) < len(values) or not (parsed or optional):
        options = ["None"] * optional + [repr(name) for name in allowed]
        options += ["a duration such as '1h'"] * durations + ["a list of them"] * several
        raise ArgumentError(f"by={by!r}; expected {', '.join(options[:-1])} or {options[-1]}.")
    return parsed


def _parse_level(value: Any, allowed: Sequence[str], *, durations: bool) -> tuple[str, int] | None:
    if value in tuple(allowed):
        return value, 0
    if durations:
        with contextlib.suppress(ArgumentError):
            return TIME, parse_duration(value, name="by", at_least_ms=1)
    return None


def group(table: pd.DataFrame, levels: Mapping[str, int]) -> Groups:
    """Group the rows of a call frame, or of a table with the same columns, by what `parse_by` returned."""
    codes, keys = np.empty(0, dtype="int64"), list[pd.Series]()
    for name, width_ms in levels.items():
        keys.append(_bins(table, width_ms) if width_ms else table[COLUMNS[name]])
        own, values = pd.factorize(keys[-1], sort=True)
        own[own < 0] = len(values)  # missing: the last group
        codes = own if len(keys) == 1 else pd.factorize(codes * (len(values) + 1) + own, sort=True)[0]
    first = np.empty(int(codes.max(initial=-1)) + 1, dtype="int64")
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # of equal codes the last one assigned stays
    labels = [key.iloc[first] for key in keys]
    if len(labels) == 1:
        return Groups(codes, pd.Index(labels[0], name=next(iter(levels))))
    return Groups(codes, pd.MultiIndex.from_arrays(labels, names=list(levels)))


def _bins(table: pd.DataFrame, width_ms: int) -> pd.Series:
    """Find the start of the bin of each start time; whole weeks start on Mondays."""
    return pd.Series(from_epoch_ms(floor_ms(to_milliseconds(table["start_time"]), width_ms)), index=table.index)


def span_ms(start_ms: np.ndarray, levels: Mapping[str, int]) -> int:
    """Find the longest time that a group may span: that of all start times, or the width of its bin."""
    widths = [int(start_ms.max()) - int(start_ms.min())] if len(start_ms) else [0]
    return min([*widths, *(width for width in levels.values() if width)])


def concat(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables of the same columns; categories that differ are merged, statuses in their usual order."""
    names = [name for name, dtype in tables[0].dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    merged = {name: _merge_categories([table[name].cat.categories for table in tables], name) for name in names}
    return pd.concat([table.astype(merged) for table in tables], ignore_index=True)


def _merge_categories(categories: Sequence[pd.Index], name: Any) -> pd.CategoricalDtype[Any]:
    if all(index.equals(categories[0]) for index in categories):
        return pd.CategoricalDtype(categories[0])
    labels = sorted({str(label) for index in categories for label in index})
    labels = frame.status_categories(labels) if name == "status" else labels
    return pd.CategoricalDtype(pd.Series(labels, dtype=frame.TEXT))
