"""Calls larger than memory: a Dask DataFrame, each partition read when it is needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from callframe.archive import queries, schema
from callframe.errors import CallframeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa

    from callframe.archive.queries import Wanted
    from callframe.archive.storage import Store
    from callframe.completeness import Coverage

ROWS_A_PARTITION = 100_000
"""Days are read together up to about so many rows; a day that has more stays whole."""


def frame(store: Store, files: pa.Table, wanted: Wanted, *, words: dict[str, list[str]], known: Coverage) -> Any:
    """
    Make a Dask DataFrame of calls.

    Parameters
    ----------
    store
        The table of calls.
    files
        The files to read, in the order of time.
    wanted
        What of them.
    words
        Categories of `function` and `status`: the same in all partitions.
    known
        What the frame rests on, for its `attrs`.

    Returns
    -------
    calls
        Dask DataFrame; its partitions follow each other in time.

    Raises
    ------
    CallframeError
        Dask is not installed.
    """
    try:
        import dask  # noqa: PLC0415 - needs the extra, and is slow to import
        import dask.dataframe as dd  # noqa: PLC0415
    except ImportError as error:
        raise CallframeError("Dask is not installed: pip install 'callframe[archive,scale]'") from error
    empty = schema.to_frame(store.read([], None), wanted.columns, words=words)
    known.attach(empty)
    parts = partitions(files)
    read = _Read(store, wanted, words, known)
    with dask.config.set({"dataframe.convert-string": False}):  # the frame's own text is Arrow's already
        calls: Any = dd.from_map(read, parts or [()], meta=empty, label="callframe-archive", enforce_metadata=False)
    calls.attrs = dict(empty.attrs)
    return calls


def partitions(files: pa.Table) -> list[tuple[str, ...]]:
    """Group files into partitions: whole days, in the order of time."""
    days: dict[Any, tuple[list[str], int]] = {}
    columns = (files[name].to_pylist() for name in ("path", "day", "rows"))
    for path, day, rows in zip(*columns, strict=True):
        paths, size = days.setdefault(day, ([], 0))
        days[day] = [*paths, path], size + (rows or 0)
    found: list[tuple[list[str], int]] = []
    for paths, size in days.values():
        if found and found[-1][1] + size <= ROWS_A_PARTITION:
            found[-1] = found[-1][0] + paths, found[-1][1] + size
        else:
            found.append((paths, size))
    return [tuple(paths) for paths, _ in found]


class _Read:
    """Reads a partition, on whatever worker; it holds no open table, so it travels."""

    def __init__(self, store: Store, wanted: Wanted, words: dict[str, list[str]], known: Coverage) -> None:
        self._store = store
        self._wanted = wanted
        self._words = words
        self._known = known

    def __call__(self, paths: Sequence[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read files; Dask says which `columns` are enough."""
        wanted = self._wanted if columns is None else replace(self._wanted, columns=tuple(columns))
        calls = queries.read(self._store, paths, wanted, words=self._words)
        self._known.attach(calls)
        return calls
