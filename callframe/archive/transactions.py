"""The tables of an archive, and how they are changed so that any moment is a good one to be stopped at."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.archive import coverage_ledger, registry, schema
from callframe.archive.coverage_ledger import CoverageLedger
from callframe.archive.queries import in_order
from callframe.archive.schema import DAY
from callframe.archive.storage import ConflictError, Snapshot, Store
from callframe.errors import FileError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Mapping

    from callframe.archive.storage_options import StorageOptions

Answer = TypeVar("Answer")

ROLLUP = pa.schema(
    [
        ("project", pa.string()),
        ("source", pa.string()),
        ("function", pa.string()),
        ("start_time", pa.timestamp("us", "UTC")),
        ("status", pa.string()),
        ("measure", pa.string()),
        ("bucket_ms", pa.int64()),
        ("count", pa.int64()),
        (DAY, pa.date32()),
    ]
)
"""A row of the rollup kept beside the calls: `source` names the files that the day was counted from, and `start_date`
is the first day of its month, so that a month is one file."""

_SIDE = "_callframe"
_TRIES = 30
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 1.0
_ROWS_A_COMMIT = 1_000_000


class Tables:
    """
    The tables of an archive: the calls, and beside them what was seen and read.

    Parameters
    ----------
    path
        Folder, or address in an object store.
    options
        Of the object store.
    """

    def __init__(self, path: str | os.PathLike[str], options: StorageOptions) -> None:
        self.uri = address(path)
        self.calls = Store(
            self.uri, "calls", schema.STORED, options=options, statistics=schema.WITH_STATISTICS, daily=True
        )
        self.functions = Store(f"{self.uri}/{_SIDE}/functions", "functions", registry.FUNCTIONS, options=options)
        self.schedules = Store(f"{self.uri}/{_SIDE}/schedules", "schedules", registry.SCHEDULES, options=options)
        self.stretches = Store(f"{self.uri}/{_SIDE}/stretches", "stretches", coverage_ledger.STORED, options=options)
        self.rollup = Store(f"{self.uri}/{_SIDE}/rollup", "rollup", ROLLUP, options=options, daily=True)

    def upsert(self, fresh: pa.Table, moved: Mapping[tuple[int, int], dt.date]) -> tuple[int, int]:
        """
        Take calls in: new ones, and those that are more final than the same as it is held.

        Parameters
        ----------
        fresh
            Rows of one project, each call once.
        moved
            Days that hold an earlier record of a call, by function id and call id, where that is another day.

        Returns
        -------
        new, changed
            How many calls.
        """
        new = changed = 0
        for days in _batches(fresh, moved, self.calls.open_or_make()):
            one = fresh.filter(pc.is_in(fresh[DAY], pa.array(sorted(days), pa.date32())))
            added, altered = retried(lambda days=days, one=one: self._upsert_days(one, days))  # type: ignore[misc]
            new, changed = new + added, changed + altered
        return new, changed

    def _upsert_days(self, fresh: pa.Table, days: set[dt.date]) -> tuple[int, int]:
        snapshot = self.calls.open_or_make()
        files = snapshot.files
        paths = files.filter(pc.is_in(files["day"], pa.array(sorted(days), pa.date32())))["path"].to_pylist()
        if not paths:
            snapshot.replace(fresh, days)
            return fresh.num_rows, 0
        held = _with_days(snapshot.read(paths))
        project = fresh["project"][0].as_py()
        ours = pc.equal(held["project"], project)
        merged, new, changed = merge(held.filter(ours), fresh)
        merged = in_order(pa.concat_tables([held.filter(pc.invert(ours)), merged]))
        different = {day for day in days if not _of_day(merged, day).equals(_of_day(held, day))}
        if not different:
            return 0, 0
        rows = merged.filter(pc.is_in(merged[DAY], pa.array(sorted(different), pa.date32())))
        snapshot.replace(rows, different)
        return new, changed

    def compact(self) -> int:
        """Merge the files of days that have several; gives the number of files that were merged."""
        return retried(self._compact)

    def _compact(self) -> int:
        snapshot = self.calls.open_or_make()
        days = Counter(snapshot.files["day"].to_pylist())
        several = sorted(day for day, count in days.items() if count > 1)
        for day in several:  # each in a commit of its own, so that no more than a day is in memory
            paths = snapshot.files.filter(pc.equal(snapshot.files["day"], pa.scalar(day, pa.date32())))["path"]
            snapshot.replace(in_order(_with_days(snapshot.read(paths.to_pylist()))), {day})
        return sum(days[day] for day in several)

    def clean(self, keep_ms: int) -> int:
        """Remove what only versions from before some milliseconds ago need; gives the number of files."""
        stores = (self.calls, self.functions, self.schedules, self.stretches, self.rollup)
        return sum(found.clean(keep_ms) for store in stores if (found := store.open()) is not None)

    def restore(self, version: int) -> int:
        """Make an earlier version of the calls the newest: first give up what was known since, then go back."""
        earlier, newest = self.calls.open(version), self.calls.open()
        if earlier is None or newest is None:
            raise FileError(f"There is no archive at {self.uri} yet.")

        def give_up() -> None:
            stretches = self.stretches.open_or_make()
            trusted = self._trusted(stretches, earlier)
            rows = (
                coverage_ledger.STORED.empty_table() if trusted is None else trusted.read().cast(coverage_ledger.STORED)
            )
            stretches.replace(rows, mark=(earlier.id, earlier.version))

        retried(give_up)
        return newest.restore(version)

    def settle(self) -> None:
        """Give up what was noted after a later version of the calls, where somebody has gone back to an earlier one."""

        def work() -> None:
            calls, newest = self.calls.open_or_make(), self.stretches.open_or_make()
            trusted = self._trusted(newest, calls)
            if newest.version and (trusted is None or trusted.version != newest.version):
                rows = (
                    coverage_ledger.STORED.empty_table()
                    if trusted is None
                    else trusted.read().cast(coverage_ledger.STORED)
                )
                newest.replace(rows, mark=(calls.id, calls.version))

        retried(work)

    def note(self, project: str, delta: CoverageLedger) -> None:
        """Note what was read, once the calls of it are in the table of calls."""
        retried(lambda: self._note(project, delta))

    def _note(self, project: str, delta: CoverageLedger) -> None:
        calls = self.calls.open_or_make()
        newest = self.stretches.open_or_make()
        trusted = self._trusted(newest, calls)
        rows = coverage_ledger.STORED.empty_table() if trusted is None else trusted.read().cast(coverage_ledger.STORED)
        ours = pc.equal(rows["project"], project)
        before = CoverageLedger.of(rows.filter(ours))
        before.add(delta)
        after = before.rows(project)
        newest.replace(pa.concat_tables([rows.filter(pc.invert(ours)), after]), mark=(calls.id, calls.version))

    def known(self, project: str, calls: Snapshot | None = None) -> CoverageLedger:
        """
        Read what is known of a project at a version of the calls, by default the newest.

        What was noted after a later version is not believed: somebody may have gone back to an earlier one.

        Parameters
        ----------
        project
            Name of the project.
        calls
            The version of the calls.

        Returns
        -------
        known
            Nothing where there is no archive yet.
        """
        calls, newest = calls or self.calls.open(), self.stretches.open()
        trusted = None if newest is None or calls is None else self._trusted(newest, calls)
        if trusted is None:
            return CoverageLedger()
        rows = trusted.read().cast(coverage_ledger.STORED)
        return CoverageLedger.of(rows.filter(pc.equal(rows["project"], project)))

    def _trusted(self, newest: Snapshot, calls: Snapshot) -> Snapshot | None:
        found: Snapshot | None = newest
        while found is not None:
            mark = found.marked(calls.id)
            if mark is not None and mark <= calls.version:
                return found
            try:
                found = self.stretches.open(found.version - 1) if found.version else None
            except FileError:  # its log has been cleaned up
                return None
        return None

    def see(
        self, store: Store, project: str, merge_in: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Take a listing into those seen before; gives the rows of the project."""

        def work() -> list[dict[str, Any]]:
            snapshot = store.open_or_make()
            rows = snapshot.read().cast(store.schema)
            ours = pc.equal(rows["project"], project)
            held = rows.filter(ours).to_pylist()
            after = merge_in(held)
            if after != held:
                others = rows.filter(pc.invert(ours))
                snapshot.replace(pa.concat_tables([others, registry.to_table(after, store.schema)]))
            return after

        return retried(work)


def address(path: str | os.PathLike[str]) -> str:
    """Make an absolute path, or leave the address of an object store as it is."""
    text = os.fspath(path)
    return text.rstrip("/") if "://" in text else str(Path(text).expanduser().absolute())


def merge(held: pa.Table, fresh: pa.Table) -> tuple[pa.Table, int, int]:
    """
    Take records in: new ones, and those that are more final than the same as it is held.

    Parameters
    ----------
    held
        Rows of one project, each call once.
    fresh
        The same, read later.

    Returns
    -------
    rows
        Each call once, in no order.
    new, changed
        How many calls were not held, and how many are not as they were.
    """
    both = pa.concat_tables([held, fresh])
    kept = frame.final_records(both)
    new = len(kept) - held.num_rows
    keys = pd.MultiIndex.from_arrays([both["function_id"].to_numpy(), both["call_id"].to_numpy()])
    taken = kept[kept >= held.num_rows]
    before = keys[: held.num_rows].get_indexer(keys[taken])
    again = before >= 0
    changed = _differing(both.take(pa.array(before[again])), both.take(pa.array(taken[again])))
    return both.take(pa.array(kept)), new, changed


def _differing(one: pa.Table, other: pa.Table) -> int:
    """Count the rows that differ."""
    same = pa.array([True] * one.num_rows, pa.bool_())
    for name in one.column_names:
        equal = pc.fill_null(pc.equal(one[name], other[name]), fill_value=False)
        missing = pc.and_(pc.is_null(one[name]), pc.is_null(other[name]))
        same = pc.and_(same, pc.or_(equal, missing))
    return int(one.num_rows - (pc.sum(same).as_py() or 0))


def _of_day(rows: pa.Table, day: dt.date) -> pa.Table:
    return rows.filter(pc.equal(rows[DAY], pa.scalar(day, pa.date32())))


def _with_days(rows: pa.Table) -> pa.Table:
    """Give rows their day back, and text for dictionaries."""
    return rows.append_column(DAY, rows["start_time"].cast(pa.date32())).cast(schema.STORED)


def _batches(fresh: pa.Table, moved: Mapping[tuple[int, int], dt.date], snapshot: Snapshot) -> Iterator[set[dt.date]]:
    """Group days so that no commit holds too many rows; days that a call moves between stay together."""
    rows: Counter[dt.date] = Counter(dict(zip(*_counts(fresh[DAY]), strict=True)))
    for day, count in zip(snapshot.files["day"].to_pylist(), snapshot.files["rows"].to_pylist(), strict=True):
        if day in rows:
            rows[day] += count or 0
    batch = set(moved.values())
    if moved:
        keys = zip(fresh["function_id"].to_pylist(), fresh["call_id"].to_pylist(), fresh[DAY].to_pylist(), strict=True)
        batch |= {day for function_id, call_id, day in keys if (function_id, call_id) in moved}
    size = sum(rows[day] for day in batch)
    for day in sorted(set(rows) - batch):
        if batch and size + rows[day] > _ROWS_A_COMMIT:
            yield batch
            batch, size = set(), 0
        batch.add(day)
        size += rows[day]
    if batch:
        yield batch


def _counts(days: pa.ChunkedArray) -> tuple[list[dt.date], list[int]]:
    found = pc.value_counts(days)
    return found.field("values").to_pylist(), found.field("counts").to_pylist()


def retried(work: Callable[[], Answer]) -> Answer:
    """Work upon the newest version; where another process was quicker, do it again upon what that one left."""
    for turn in range(_TRIES):
        try:
            return work()
        except ConflictError as error:
            told = str(error)
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**turn)
        time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - so that two do not go on meeting
    raise FileError(
        f"Other processes changed the archive {_TRIES} times while this one tried to: {told}. Sync from one place at a"
        " time, or less often."
    )
