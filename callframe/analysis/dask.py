"""Dask DataFrames of calls: each partition is measured where it is, and the results are merged in a tree."""

from __future__ import annotations

import contextlib
import functools
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.grouping import concat
from callframe.completeness import KEY, CallSet, Coverage
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import MAX_TIME_MS, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DaskFrame: TypeAlias = Any  # Dask is an extra, which only its users import
CallFrame: TypeAlias = "pd.DataFrame | DaskFrame"

Result = TypeVar("Result")

_BATCH = 8
"""How many results are merged at once. At once, summaries of 100 million calls would take most of a worker of 1 GiB."""

_PARTITIONS_PER_RANGE = 16
"""Of how many partitions as many keys as are compared at once: some millions."""


@dataclass(frozen=True)
class Partitions:
    """A Dask DataFrame of calls with its coverage, and the client to compute on; None: the current one, or threads."""

    calls: DaskFrame
    client: Any
    coverage: Coverage | None
    read_rollup: Callable[..., pd.DataFrame] | None = None  # the rollup by days that an archive keeps of these calls

    def reduce(
        self, columns: Sequence[str], measure: Callable[[pd.DataFrame], Result], merge: Callable[[list[Result]], Result]
    ) -> Result:
        """Measure each partition, and merge the results, which must be small and picklable, in their order."""
        from dask.delayed import delayed  # noqa: PLC0415 - an extra, and slow to import

        merge_later = delayed(merge, pure=False)
        with self._current_client():
            results = self._measure(columns, measure)
            while len(results) > 1:
                results = [merge_later(results[at : at + _BATCH]) for at in range(0, len(results), _BATCH)]
            result: Result = results[0].compute()
        return result

    def measure(self, columns: Sequence[str], measure: Callable[[pd.DataFrame], Result]) -> list[Result]:
        """Measure each partition, and return results that are together too large for a worker."""
        with self._current_client():
            return self._compute(self._measure(columns, measure))

    def find_equal(self, columns: Sequence[str], to_keys: Callable[[pd.DataFrame], np.ndarray]) -> pd.DataFrame:
        """
        Read the columns of all rows whose 64-bit key another row has, too.

        Each partition sorts its keys, workers compare a range of keys at a time, and rows are read where keys repeat.
        """
        from dask.delayed import delayed  # noqa: PLC0415 - an extra, and slow to import

        sort, compare = delayed(_sort_keys, pure=False), delayed(_find_equal, pure=False)
        with self._current_client():
            partitions = self.calls[list(columns)].to_delayed()
            ranges = len(partitions) // _PARTITIONS_PER_RANGE + 1
            keys = [sort(to_keys, partition, ranges) for partition in partitions]
            equal = self._compute([compare([part[number] for part in keys]) for number in range(ranges)])
            select = delayed(_with_keys, pure=False)
            repeated = [np.concatenate(of_partition) for of_partition in zip(*equal, strict=True)]
            rows = [
                select(to_keys, partition, of_partition)
                for partition, of_partition in zip(partitions, repeated, strict=True)
                if len(of_partition)
            ]
            return concat([_with_own_text(self.calls._meta[list(columns)]), *self._compute(rows)])  # noqa: SLF001

    def _compute(self, results: list[Any]) -> list[Any]:
        from dask.base import compute  # noqa: PLC0415 - an extra, and slow to import

        return list(compute(*results))

    def _measure(self, columns: Sequence[str], measure: Callable[[pd.DataFrame], object]) -> list[Any]:
        from dask.delayed import delayed  # noqa: PLC0415 - an extra, and slow to import

        measure_later = delayed(_measure, pure=False)
        return [measure_later(measure, partition) for partition in self.calls[list(columns)].to_delayed()]

    def sort(self) -> Partitions:
        """Sort the calls by start, over all partitions."""
        numbered = self.calls.assign(start_ms=self.calls["start_time"].astype("int64"))  # Dask sorts integers best
        with self._current_client():
            return Partitions(numbered.sort_values(["start_ms", "call_id"]), self.client, self.coverage)

    def _current_client(self) -> Any:
        """Make the client the current one for a while: Dask chooses by it how to move rows."""
        return contextlib.nullcontext() if self.client is None else self.client.as_current()

    @functools.cached_property
    def time_bounds(self) -> tuple[int | None, int]:
        """The first start and the latest start or end, in epoch milliseconds; None and 0 without calls."""
        first_ms, latest_ms = self.reduce(("start_time", "end_time"), _time_bounds, _merge_time_bounds)
        return None if first_ms > MAX_TIME_MS else first_ms, latest_ms


def as_partitions(calls: CallFrame, client: Any = None) -> Partitions | None:
    """Check a Dask DataFrame of calls and its client; None for anything else than a Dask DataFrame."""
    if client is not None and not callable(getattr(client, "as_current", None)):
        raise ArgumentError(f"client={client!r}; expected a distributed.Client, or None.")
    dask = sys.modules.get("dask.dataframe")
    if dask is None or not isinstance(calls, dask.DataFrame):
        return None
    meta: pd.DataFrame = calls._meta  # noqa: SLF001 - the only way to its columns and dtypes
    try:
        frame.check(_with_own_text(meta))
    except FrameError as error:
        raise FrameError(f"{error} Found in a Dask DataFrame; archive.dask() gives a valid one.") from None
    own = vars(calls).get("attrs", {})
    coverage = Coverage.from_json({**own, **meta.attrs}.get(KEY))
    if coverage is not None and KEY not in own:  # the result of an operation, which may have removed rows
        coverage = replace(coverage, described=None, other_rows=CallSet(0, 0))
    return Partitions(calls, client, coverage, own.get("read_rollup"))


def _sort_keys(to_keys: Callable[[pd.DataFrame], np.ndarray], calls: pd.DataFrame, ranges: int) -> list[np.ndarray]:
    """Sort the keys of a partition, cut where ranges of all keys begin."""
    keys = np.sort(to_keys(calls))
    edges = np.array([number * 2**64 // ranges for number in range(1, ranges)], dtype="uint64")
    return np.split(keys, np.searchsorted(keys, edges))


def _find_equal(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Find the keys that occur more than once in all parts, for each part that has them."""
    keys = np.concatenate(parts)
    keys.sort()
    repeated = np.unique(keys[1:][keys[1:] == keys[:-1]])
    return [repeated[np.isin(repeated, part)] if len(repeated) else repeated for part in parts]


def _with_keys(to_keys: Callable[[pd.DataFrame], np.ndarray], calls: pd.DataFrame, keys: np.ndarray) -> pd.DataFrame:
    return calls[np.isin(to_keys(calls), keys)]


def _measure(measure: Callable[[pd.DataFrame], Result], calls: pd.DataFrame) -> Result:
    calls = _with_own_text(calls).copy(deep=False)
    calls.attrs = {}  # pandas would copy the coverage with each column
    return measure(calls)


def _with_own_text(calls: pd.DataFrame) -> pd.DataFrame:
    """Convert text columns, to which Dask gives a dtype of its own, to the dtype of a call frame."""
    dtypes = {name: calls.dtypes[name] for name in ("error_message", "error_trace") if name in calls.columns}
    other = [name for name, dtype in dtypes.items() if isinstance(dtype, pd.StringDtype) and dtype != frame.TEXT]
    return calls.astype(dict.fromkeys(other, frame.TEXT)) if other else calls


def _time_bounds(calls: pd.DataFrame) -> tuple[int, int]:
    start_ms, end_ms = to_milliseconds(calls["start_time"]), to_milliseconds(calls["end_time"])
    return int(start_ms.min(initial=MAX_TIME_MS + 1)), int(max(start_ms.max(initial=0), end_ms.max(initial=0)))


def _merge_time_bounds(bounds: list[tuple[int, int]]) -> tuple[int, int]:
    return min(first_ms for first_ms, _ in bounds), max(latest_ms for _, latest_ms in bounds)
