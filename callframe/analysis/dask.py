"""Calls in partitions, as Dask has them: each is measured where it is, and the answers are added up in a tree."""

from __future__ import annotations

import contextlib
import functools
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from callframe import frame
from callframe.completeness import Coverage
from callframe.errors import ArgumentError, FrameError
from callframe.timespan import NO_TIME, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DaskFrame: TypeAlias = Any
"""A `dask.dataframe.DataFrame`: Dask is an extra, and is never imported before somebody has."""

CallFrame: TypeAlias = "pd.DataFrame | DaskFrame"
"""Calls in memory, or a Dask DataFrame of them."""

Part = TypeVar("Part")

_TIMES = ("scheduled_time", "start_time", "end_time")
_TEXTS = ("error_message", "error_trace")
_TOGETHER = 8  # answers that are added up at once
_LARGEST = int(np.iinfo("int64").max)


@dataclass(frozen=True)
class Partitions:
    """
    A Dask DataFrame of calls.

    Parameters
    ----------
    calls
        The frame.
    client
        The `distributed.Client` to compute on; None for the one that is current, or else threads of this process.
    coverage
        What the calls rest on.
    """

    calls: DaskFrame
    client: Any
    coverage: Coverage | None

    def reduce(
        self, columns: Sequence[str], measure: Callable[[pd.DataFrame], Part], add: Callable[[list[Part]], Part]
    ) -> Part:
        """
        Measure each partition, and add the answers up.

        Parameters
        ----------
        columns
            What is needed of the calls.
        measure
            Makes an answer, small and picklable, of a call frame of these columns.
        add
            Makes one of several, in the order of the partitions.

        Returns
        -------
        answer
            Of all calls; there is at least one partition.
        """
        from dask.delayed import delayed  # noqa: PLC0415 - an extra, and slow to import

        later_add = delayed(add, pure=False)
        with self._current():
            answers = self._answers(columns, measure)
            while len(answers) > 1:
                answers = [later_add(answers[at : at + _TOGETHER]) for at in range(0, len(answers), _TOGETHER)]
            answer: Part = answers[0].compute()
        return answer

    def each(self, columns: Sequence[str], measure: Callable[[pd.DataFrame], Part]) -> Iterator[Part]:
        """
        Measure each partition, where the answers are too large to be added up on workers.

        Parameters
        ----------
        columns, measure
            As for `reduce`.

        Yields
        ------
        answer
            Of a partition, in their order.
        """
        from dask.base import compute  # noqa: PLC0415 - an extra, and slow to import

        with self._current():
            answers = self._answers(columns, measure)
            for at in range(0, len(answers), _TOGETHER):
                yield from compute(*answers[at : at + _TOGETHER])

    def _answers(self, columns: Sequence[str], measure: Callable[[pd.DataFrame], object]) -> list[Any]:
        from dask.delayed import delayed  # noqa: PLC0415 - an extra, and slow to import

        later = delayed(_measured, pure=False)
        return [later(measure, part) for part in self.calls[list(columns)].to_delayed()]

    def sorted(self) -> Partitions:
        """Put the calls in order of start, over all partitions."""
        numbered = self.calls.assign(start_ms=self.calls["start_time"].astype("int64"))  # Dask sorts numbers best
        with self._current():
            return Partitions(numbered.sort_values(["start_ms", "call_id"]), self.client, self.coverage)

    def together(self, calls: DaskFrame, on: Sequence[str]) -> Partitions:
        """
        Bring rows into one partition that have something in common.

        Parameters
        ----------
        calls
            What is made of the calls.
        on
            The columns that they have in common.

        Returns
        -------
        partitions
            Of the same rows.
        """
        with self._current():
            return Partitions(calls.shuffle(on=list(on)), self.client, self.coverage)

    def _current(self) -> Any:
        """Make the client current for a while: Dask chooses by it how to move rows."""
        return contextlib.nullcontext() if self.client is None else self.client.as_current()

    @functools.cached_property
    def bounds(self) -> pd.DataFrame:
        """The `low` and `high` of each column of times, in milliseconds; without times the low is above the high."""
        return self.reduce(_TIMES, _bounds, _outer)


def of(calls: CallFrame, client: Any = None) -> Partitions | None:
    """
    Take calls for what Dask has, if that is what they are.

    Parameters
    ----------
    calls
        Anything.
    client
        A `distributed.Client`, or None.

    Returns
    -------
    partitions
        None where `calls` is no Dask DataFrame.

    Raises
    ------
    FrameError
        It is one, and no call frame.
    ArgumentError
        `client` is no client.
    """
    if client is not None and not callable(getattr(client, "as_current", None)):
        raise ArgumentError(f"client={client!r}; expected a distributed.Client, or None.")
    dask = sys.modules.get("dask.dataframe")
    if dask is None or not isinstance(calls, dask.DataFrame):
        return None
    meta: pd.DataFrame = calls._meta  # noqa: SLF001 - its only way to tell columns and dtypes
    try:
        frame.check(_with_own_text(meta))
    except FrameError as error:
        raise FrameError(f"{error} Found in a Dask DataFrame; archive.dask() gives one that is right.") from None
    coverage = Coverage.of(meta) or (Coverage.of(calls) if hasattr(calls, "attrs") else None)
    return Partitions(calls, client, coverage)


def _measured(measure: Callable[[pd.DataFrame], Part], calls: pd.DataFrame) -> Part:
    bare = _with_own_text(calls).copy(deep=False)
    bare.attrs = {}  # what calls rest on is told once, and pandas copies it with each column
    return measure(bare)


def _with_own_text(calls: pd.DataFrame) -> pd.DataFrame:
    """Turn text, which Dask likes to make of a dtype of its own, into that of a call frame."""
    found = {name: calls.dtypes[name] for name in _TEXTS if name in calls.columns}
    other = [name for name, kind in found.items() if isinstance(kind, pd.StringDtype) and kind != frame.TEXT]
    return calls.astype(dict.fromkeys(other, frame.TEXT)) if other else calls


def _bounds(calls: pd.DataFrame) -> pd.DataFrame:
    times = [to_milliseconds(calls[name]) for name in _TIMES]
    lows = [int(one[one != NO_TIME].min(initial=_LARGEST)) for one in times]
    return pd.DataFrame({"low": lows, "high": [int(one.max(initial=NO_TIME)) for one in times]}, index=list(_TIMES))


def _outer(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.DataFrame(pd.concat(parts).groupby(level=0).agg({"low": "min", "high": "max"}))
