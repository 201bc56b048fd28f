"""What of the calls is wanted, which files hold it, and how rows become a call frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.api.catalogue import as_list, find_function_ids
from callframe.archive import schema
from callframe.errors import ArgumentError
from callframe.timespan import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from callframe.archive.storage import Snapshot, Store
    from callframe.timespan import TimeRange

_ORDERED_BY = ("start_time", "call_id", "function_id")


@dataclass(frozen=True)
class Wanted:
    """
    What of the calls is wanted.

    Parameters
    ----------
    project
        Whose calls.
    stretch
        Of start times.
    function_ids
        Of which functions; none means all.
    statuses
        In which statuses; none means all.
    columns
        Which columns of a call frame, in order.
    labels
        Labels of those functions; None where they are not all deployments of their labels, and for all.
    """

    project: str
    stretch: TimeRange
    function_ids: tuple[int, ...] | None = None
    statuses: tuple[str, ...] = ()
    columns: tuple[str, ...] = frame.COLUMNS
    labels: tuple[str, ...] | None = None

    def files(self, snapshot: Snapshot) -> pa.Table:
        """Choose the files of the days that are wanted, in the order of time."""
        files = snapshot.files
        days = files["day"].cast(pa.int32())
        last = (self.stretch.end_ms - 1) // DAY_MS
        return files.filter(pc.and_(pc.greater_equal(days, self.stretch.start_ms // DAY_MS), pc.less_equal(days, last)))

    def where(self) -> Any:
        """Write the condition that rows must meet."""
        start = pc.field("start_time")
        low, high = (
            pa.scalar(edge * 1000, pa.timestamp("us", "UTC")) for edge in (self.stretch.start_ms, self.stretch.end_ms)
        )
        condition = (start >= low) & (start < high) & (pc.field("project") == self.project)
        if self.function_ids is not None:
            condition &= pc.field("function_id").isin(pa.array(self.function_ids, pa.int64()))
        return condition


def read(
    store: Store,
    paths: Sequence[str],
    wanted: Wanted,
    *,
    words: dict[str, list[str]] | None = None,
    where: Any = True,
) -> pd.DataFrame:
    """
    Read what is wanted of some files as a call frame.

    Parameters
    ----------
    store
        The table of calls.
    paths
        Its files, in the order of time.
    wanted
        What of them.
    words
        Categories of `function` and `status`; by default those that occur.
    where
        What else rows must meet.

    Returns
    -------
    calls
        The columns that are wanted, sorted by `start_time`, `call_id`.
    """
    rows = store.read(paths, _stored_columns(wanted), where=wanted.where() & where)
    if wanted.statuses:
        rows = rows.filter(pc.is_in(rows["status"].cast(pa.string()), pa.array(wanted.statuses)))
    return schema.to_frame(in_order(rows), wanted.columns, words=words)


def in_order(rows: pa.Table) -> pa.Table:
    """Sort rows by start and id; the files are, but when others have rewritten them."""
    start, call_id, function_id = (rows[name].cast(pa.int64()).to_numpy() for name in _ORDERED_BY)
    order = frame.sort_order(start, call_id, function_id)
    if np.array_equal(order, np.arange(len(order))):
        return rows
    return rows.take(pa.array(order))


def function_ids(functions: pd.DataFrame, wanted: str | int | Sequence[str | int] | None) -> tuple[int, ...] | None:
    """
    Find the ids of functions by what users call them.

    Parameters
    ----------
    functions
        All that were ever seen.
    wanted
        Ids, labels, external ids or names; None means all.

    Returns
    -------
    function_ids
        All of one label, before and after a redeploy; None for all.

    Raises
    ------
    ArgumentError
        One of them is none of these.
    """
    if wanted is None:
        return None
    by_id = functions.set_index("function_id")
    names = [by_id[column].to_dict() for column in ("function", "external_id", "name")]
    hint = f"The archive has {len(functions)} functions; archive.functions() lists them."
    found = [function_id for value in as_list(wanted) for function_id in find_function_ids(value, names, hint=hint)]
    return tuple(dict.fromkeys(found))


def columns(wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Take names of columns of a call frame, each once."""
    given = frame.COLUMNS if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    unknown = [one for one in given if one not in frame.COLUMNS]
    if unknown:
        raise ArgumentError(f"columns names {unknown[0]!r}; a call frame has {', '.join(frame.COLUMNS)}.")
    return tuple(dict.fromkeys(given))


def _stored_columns(wanted: Wanted) -> list[str]:
    names = [schema.stored_name(name) for name in wanted.columns]
    also = [*_ORDERED_BY, *(["status"] if wanted.statuses else [])]
    return list(dict.fromkeys([*names, *also]))
