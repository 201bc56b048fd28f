"""Dask DataFrames of calls: each partition is measured where it is, and the results are merged in a tree."""

from __future__ import annotations

import contextlib
import functools
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pandas as pd

from callframe import frame
from callframe.completeness import KEY, CallSet, Coverage
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import MAX_TIME_MS, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DaskFrame: TypeAlias = Any  # Dask is an extra, which only its users import
CallFrame: TypeAlias = "pd.DataFrame | DaskFrame"

Result = TypeVar("Result")

_BATCH = 8
"""How many results are merged at once. At once, summaries of 100 million calls would take most of a worker of 1 GiB."""


@dataclass(frozen=True)
class Partitions:
    """A Dask DataFrame of calls with its coverage, and the client to compute on; None: the current one, or threads."""

    calls: DaskFrame
    client: Any
    coverage: Coverage | None

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

    def map(self, columns: Sequence[str], measure: Callable[[pd.DataFrame], Result]) -> Iterator[Result]:
        """Measure each partition, and yield results that are together too large for the memory of a worker."""
        from dask.base import compute  # noqa: PLC0415 - an extra, and slow to import

        with self._current_client():
            results = self._measure(columns, measure)
            for at in range(0, len(results), _BATCH):
                yield from compute(*results[at : at + _BATCH])

    def _measure(self, columns: Sequence[str], measure: Callable[[pd.DataFrame], object]) -> list[Any]:
        from dask.delayed import delayed  # noqa: PLC0415 - an extra, and slow to import

        measure_later = delayed(_measure, pure=False)
        return [measure_later(measure, partition) for partition in self.calls[list(columns)].to_delayed()]

    def sort(self) -> Partitions:
        """Sort the calls by start, over all partitions."""
        numbered = self.calls.assign(start_ms=self.calls["start_time"].astype("int64"))  # Dask sorts integers best
        with self._current_client():
            return Partitions(numbered.sort_values(["start_ms", "call_id"]), self.client, self.coverage)

    def shuffle(self, calls: DaskFrame, on: Sequence[str]) -> Partitions:
        """Bring rows derived from the calls that are equal in some columns into one partition."""
        with self._current_client():
            return Partitions(calls.shuffle(on=list(on)), self.client, self.coverage)

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
    return Partitions(calls, client, coverage)


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
