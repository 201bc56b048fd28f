"""
Transactions on the tables of an archive, safe to interrupt at any moment.

Calls are committed before the coverage of their time range. A commit of coverage records the version of the calls that
it is based on, so coverage is ignored if the calls were since moved back to an earlier version.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import random
import time
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.archive import registry, schema
from callframe.archive.coverage_ledger import CoverageLedger
from callframe.archive.schema import DAY, on_days
from callframe.archive.storage import ConflictError, DeltaStore, StorageOptions, TableSnapshot, check_path
from callframe.errors import FileError
from callframe.limits import RETENTION_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from callframe.archive.registry import Row

P = ParamSpec("P")
T = TypeVar("T")

_FOLDER = "_callframe"
_ATTEMPTS = 30
_MIN_WAIT_S, _MAX_WAIT_S = 0.02, 1.0
_MAX_ROWS_PER_COMMIT = 1_000_000
_SEEN_AGAIN = dt.timedelta(days=1)


def retry_conflicts(
    transaction: Callable[Concatenate[ArchiveTables, P], T],
) -> Callable[Concatenate[ArchiveTables, P], T]:
    """Repeat a transaction on the newest version if another process has committed first."""

    @functools.wraps(transaction)
    def repeat(tables: ArchiveTables, /, *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                return transaction(tables, *args, **kwargs)
            except ConflictError as error:
                message = str(error)
                tables.forget_opened()
            wait_s = min(_MAX_WAIT_S, _MIN_WAIT_S * 2**attempt)
            time.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 - so that two processes do not conflict again
        raise FileError(
            f"Other processes changed the archive before each of {_ATTEMPTS} attempts: {message}. Sync from one place"
            " at a time, or less often."
        )

    return repeat


class ArchiveTables:
    """The tables of an archive."""

    def __init__(self, path: str | os.PathLike[str], options: StorageOptions) -> None:
        text = os.fspath(path)
        self.uri = text.rstrip("/") if "://" in text else str(Path(text).expanduser().absolute())
        check_path(self.uri)
        folder = f"{self.uri}/{_FOLDER}"
        self.calls = DeltaStore(
            self.uri, "calls", schema.CALLS, options=options, statistics=schema.CALL_STATISTICS, daily=True
        )
        self.functions = DeltaStore(f"{folder}/functions", "functions", schema.FUNCTIONS, options=options)
        self.schedules = DeltaStore(f"{folder}/schedules", "schedules", schema.SCHEDULES, options=options)
        self.coverage = DeltaStore(f"{folder}/coverage", "coverage", schema.COVERAGE, options=options)
        self._stretches = DeltaStore(f"{folder}/stretches", "stretches", schema.COVERAGE, options=options)
        self.rollup = DeltaStore(f"{folder}/rollup", "rollup", schema.ROLLUP, options=options, daily=True)
        self._opened: dict[str, TableSnapshot] | None = None

    @contextlib.contextmanager
    def opened_once(self) -> Iterator[None]:
        """Open each table once, until another process commits to it: in an object store that takes many requests."""
        self._opened = {}
        try:
            yield
        finally:
            self._opened = None

    def forget_opened(self) -> None:
        """Open the tables again, which another process has changed."""
        if self._opened is not None:
            self._opened.clear()

    def newest(self, store: DeltaStore) -> TableSnapshot:
        """Open the newest version of a table, of a new one if there is none."""
        return self._newest(store) or self._keep(store.create())

    def _newest(self, store: DeltaStore) -> TableSnapshot | None:
        """Open the newest version of a table to change it, None if there is none."""
        if self._opened is not None and store.name in self._opened:
            return self._opened[store.name]
        snapshot = store.open()
        if snapshot is None:
            return None
        snapshot.check_writable()
        return self._keep(snapshot)

    def _keep(self, snapshot: TableSnapshot) -> TableSnapshot:
        if self._opened is not None:
            if snapshot.store is self.coverage:  # the calls must not be older than the coverage that is based on them
                self._opened.pop(self.calls.name, None)
            self._opened[snapshot.store.name] = snapshot
        return snapshot

    def upsert(self, calls: pa.Table, previous_days: Mapping[tuple[int, int], dt.date]) -> tuple[int, int]:
        """
        Add calls of a project, and replace those that are stored in a less final state.

        Parameters
        ----------
        calls
            Rows without duplicates.
        previous_days
            Days of stored records that are on another day, by function id and call id.

        Returns
        -------
        new, changed
            Number of calls.
        """
        new = changed = 0
        for days in _batches(calls, previous_days, self.newest(self.calls)):
            added, updated = self._upsert_days(calls.filter(on_days(calls[DAY], days)), days)
            new, changed = new + added, changed + updated
        return new, changed

    @retry_conflicts
    def _upsert_days(self, calls: pa.Table, days: set[dt.date]) -> tuple[int, int]:
        snapshot = self.newest(self.calls)
        if not snapshot.paths(days):
            snapshot.replace(calls, days)
            return calls.num_rows, 0
        stored = schema.with_days(snapshot.read(days))
        own, others = _split(stored, calls["project"][0].as_py())
        merged, new, changed = merge_calls(own, calls)
        merged = schema.sort_rows(pa.concat_tables([others, merged]))
        different = {day for day in days if not _on_day(merged, day).equals(_on_day(stored, day))}
        if not different:
            return 0, 0
        snapshot.replace(merged.filter(on_days(merged[DAY], different)), different)
        return new, changed

    @retry_conflicts
    def compact(self) -> int:
        """Merge the files of days with several, which other tools wrote, and return how many files were merged."""
        snapshot = self.newest(self.calls)
        counts, sizes = Counter(snapshot.files["day"].to_pylist()), _count_rows(snapshot)
        days = sorted(day for day, count in counts.items() if count > 1 and sizes[day] <= _MAX_ROWS_PER_COMMIT)
        for day in days:  # in a commit each, so that only one day is in memory
            snapshot.check_space({day})
            rows = schema.with_days(snapshot.read({day}))
            projects = (rows.filter(pc.equal(rows["project"], name)) for name in rows["project"].unique().to_pylist())
            merged = [own.take(pa.array(frame.final_records(own))) for own in projects]
            snapshot.replace(schema.sort_rows(pa.concat_tables(merged)), {day})
        return sum(counts[day] for day in days)

    def vacuum(self, retention_ms: int, *, checkpoint: bool = True) -> int:
        """Remove files that only versions older than the retention need, and return their number."""
        opened = (store.open() for store in self._stores())
        return sum(snapshot.vacuum(retention_ms, checkpoint=checkpoint) for snapshot in opened if snapshot is not None)

    def restore(self, version: int) -> int:
        """Make an earlier version of the calls the newest, after discarding later coverage."""
        earlier, newest = self.calls.open(version), self.calls.open()
        if earlier is None or newest is None:
            raise FileError(f"There is no archive at {self.uri} yet.")
        newest.check_writable()
        self.discard_later_coverage(earlier)
        return newest.restore(version)

    @retry_conflicts
    def discard_later_coverage(self, calls: TableSnapshot | None = None) -> None:
        """Discard coverage recorded after a version of the calls, by default the newest or what was restored since."""
        coverage = self._open_coverage()  # before the calls: coverage committed in between must not look too new
        calls = calls or self.newest(self.calls)
        if coverage is None:
            return
        version = calls.restored_since(coverage.transaction_version(calls.id))
        valid = self._coverage_at(calls, coverage, version)
        if valid is not coverage and coverage.version:
            coverage.replace(_coverage_rows(valid), transactions={calls.id: calls.version})

    @retry_conflicts
    def record_coverage(
        self,
        project: str,
        changes: CoverageLedger,
        *,
        now_ms: int | None = None,
        transactions: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Add coverage of calls that have been committed; what is later than now was read when a clock was wrong."""
        coverage, calls = self.newest(self.coverage), self.newest(self.calls)
        own, others = _split(_coverage_rows(self._coverage_at(calls, self._filled(coverage) or coverage)), project)
        ledger = CoverageLedger.from_rows(own)
        if now_ms is not None:
            ledger.forget_future(now_ms, now_ms - RETENTION_MS)
        ledger.merge(changes)
        rows = pa.concat_tables([others, ledger.to_rows(project)])
        coverage.replace(rows, transactions={calls.id: calls.version, **transactions})

    def maintained_day(self, project: str) -> int | None:
        """Return the day, since 1970, of the last maintenance."""
        return self.newest(self.coverage).transaction_version(f"maintenance of {project}")

    def record_maintenance(self, project: str, day: int) -> None:
        """Record that today no more maintenance is needed."""
        self.record_coverage(project, CoverageLedger(), transactions={f"maintenance of {project}": day})

    def ledger(self, project: str, calls: TableSnapshot | None = None) -> CoverageLedger:
        """Read the coverage of a project at a version of the calls, by default the newest."""
        coverage = self._open_coverage()
        calls = calls or (self.calls.open() if self._opened is None else self.newest(self.calls))
        if coverage is None or calls is None:
            return CoverageLedger()
        own, _ = _split(_coverage_rows(self._coverage_at(calls, coverage)), project)
        return CoverageLedger.from_rows(own)

    def _open_coverage(self) -> TableSnapshot | None:
        return self._filled(self.coverage.open() if self._opened is None else self._newest(self.coverage))

    def _filled(self, coverage: TableSnapshot | None) -> TableSnapshot | None:
        """Replace an empty coverage by the table `stretches`, which the first archives of this layout had instead."""
        return coverage if coverage is not None and coverage.version else self._stretches.open() or coverage

    def _coverage_at(
        self, calls: TableSnapshot, newest: TableSnapshot, version: int | None = None
    ) -> TableSnapshot | None:
        """Find the newest coverage that is not based on a later version of the calls, None if there is none."""
        version = calls.version if version is None else version
        snapshot: TableSnapshot | None = newest
        while snapshot is not None:
            calls_version = snapshot.transaction_version(calls.id)
            if calls_version is not None and calls_version <= version:
                break
            try:
                snapshot = snapshot.store.open(snapshot.version - 1) if snapshot.version else None
            except FileError:  # removed from the log by vacuum
                return None
        return snapshot

    def update_functions(self, listed: pd.DataFrame, **listing: Any) -> dict[int, str]:
        """Merge a listing of functions into the registry, and return the labels; see `registry.merge_functions`."""
        merge = functools.partial(registry.merge_functions, listed=listed, **listing)
        return {row["function_id"]: row["function"] for row in self._update(self.functions, listing["project"], merge)}

    def update_schedules(self, listed: pd.DataFrame, labels: Mapping[int, str], **listing: Any) -> None:
        """Merge a listing of schedules into the registry; see `registry.merge_schedules`."""
        merge = functools.partial(registry.merge_schedules, listed=listed, labels=labels, **listing)
        self._update(self.schedules, listing["project"], merge)

    def add_to_registry(self, project: str, functions: Sequence[Row], schedules: Sequence[Row]) -> dict[int, str]:
        """Add functions and schedules of other sources, and return the labels of all functions."""
        merge = functools.partial(registry.add_rows, added=functions, key="function_id")
        labels = {row["function_id"]: row["function"] for row in self._update(self.functions, project, merge)}
        added = [{**row, "function": labels.get(row["function_id"], row["function"])} for row in schedules]
        self._update(self.schedules, project, functools.partial(registry.add_rows, added=added, key="schedule_id"))
        return labels

    def remove_from_registry(self, project: str, function_ids: set[int]) -> None:
        """Remove functions and their schedules."""
        for store in (self.functions, self.schedules):
            self._update(store, project, lambda rows: [row for row in rows if row["function_id"] not in function_ids])

    @retry_conflicts
    def _update(self, store: DeltaStore, project: str, change: Callable[[list[Row]], list[Row]]) -> list[Row]:
        """Replace the rows of a project in the registry if they have changed, and return them."""
        snapshot = self.newest(store)
        own, others = _split(snapshot.read().cast(store.schema), project)
        before = own.to_pylist()
        after = [{**{name: row.get(name) for name in store.schema.names}, "project": project} for row in change(before)]
        if _is_news(before, after):
            snapshot.replace(pa.concat_tables([others, pa.Table.from_pylist(after, schema=store.schema)]))
        return after

    def remove(self, calls: pa.Table, condition: pc.Expression) -> None:
        """Remove the calls that meet a condition, and all counts, which are made again when the rollup is read."""
        for days in _batches(calls, {}, self.newest(self.calls)):
            self._remove_from_days(condition, days)
        if (rollup := self.rollup.open()) is not None:
            rollup.replace(schema.ROLLUP.empty_table())

    @retry_conflicts
    def _remove_from_days(self, condition: pc.Expression, days: set[dt.date]) -> None:
        snapshot = self.newest(self.calls)
        kept = schema.with_days(snapshot.read(days, condition=~pc.coalesce(condition, pc.scalar(value=False))))
        snapshot.replace(kept, days)

    def purge(self) -> int:
        """Remove all earlier versions of all tables, with their logs, and return the number of files."""
        return sum(snapshot.purge() for store in self._stores() if (snapshot := store.open()) is not None)

    def _stores(self) -> list[DeltaStore]:
        return [self.calls, self.functions, self.schedules, self.coverage, self._stretches, self.rollup]


def merge_calls(stored: pa.Table, calls: pa.Table) -> tuple[pa.Table, int, int]:
    """
    Merge calls that were read later into stored ones; a less final record never replaces a more final one.

    A record without a response never replaces one whose response was read.

    Returns the rows, unsorted, and how many calls are new and changed.
    """
    calls = _without_known_responses(stored, calls)
    both = pa.concat_tables([stored, calls])
    kept = frame.final_records(both)
    new = len(kept) - stored.num_rows
    keys = _keys(both)
    updates = kept[kept >= stored.num_rows]
    before = keys[: stored.num_rows].get_indexer(keys[updates])
    is_stored = before >= 0
    changed = _count_different(both.take(pa.array(before[is_stored])), both.take(pa.array(updates[is_stored])))
    return both.take(pa.array(kept)), new, changed


def _without_known_responses(stored: pa.Table, calls: pa.Table) -> pa.Table:
    if stored["response"].null_count == stored.num_rows:
        return calls
    is_known = _keys(calls).isin(_keys(stored.filter(pc.is_valid(stored["response"]))))
    return calls.filter(pc.or_(pa.array(~is_known), pc.is_valid(calls["response"].combine_chunks())))


def _keys(calls: pa.Table) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([calls["function_id"].to_numpy(), calls["call_id"].to_numpy()])


def _count_different(left: pa.Table, right: pa.Table) -> int:
    same = pa.array([True] * left.num_rows, pa.bool_())
    for name in left.column_names:
        equal = pc.fill_null(pc.equal(left[name], right[name]), fill_value=False)
        missing = pc.and_(pc.is_null(left[name]), pc.is_null(right[name]))
        same = pc.and_(same, pc.or_(equal, missing))
    return int(left.num_rows - (pc.sum(same).as_py() or 0))


def _is_news(before: Sequence[Row], after: Sequence[Row]) -> bool:
    """Whether rows of the registry changed, not only that they were seen again within a day."""

    def ignoring_last_seen(rows: Sequence[Row]) -> list[Row]:
        return [{**row, "last_seen_time": None} for row in rows]

    if ignoring_last_seen(before) != ignoring_last_seen(after):
        return True
    pairs = zip(before, after, strict=True)
    return any(abs(new["last_seen_time"] - old["last_seen_time"]) >= _SEEN_AGAIN for old, new in pairs)


def _split(rows: pa.Table, project: str) -> tuple[pa.Table, pa.Table]:
    """Split rows into those of a project and the others."""
    is_own = pc.equal(rows["project"], project)
    return rows.filter(is_own), rows.filter(pc.invert(is_own))


def _coverage_rows(snapshot: TableSnapshot | None) -> pa.Table:
    return schema.COVERAGE.empty_table() if snapshot is None else snapshot.read().cast(schema.COVERAGE)


def _on_day(rows: pa.Table, day: dt.date) -> pa.Table:
    return rows.filter(pc.equal(rows[DAY], pa.scalar(day, pa.date32())))


def _count_rows(snapshot: TableSnapshot) -> Counter[dt.date]:
    """Count the rows of each day."""
    rows: Counter[dt.date] = Counter()
    for day, count in zip(snapshot.files["day"].to_pylist(), snapshot.files["rows"].to_pylist(), strict=True):
        rows[day] += count or 0
    return rows


def _batches(
    calls: pa.Table, previous_days: Mapping[tuple[int, int], dt.date], snapshot: TableSnapshot
) -> Iterator[set[dt.date]]:
    """Group days to limit the rows of a commit; days between which calls move are in one commit."""
    sizes: Counter[dt.date] = Counter()
    for count in pc.value_counts(calls[DAY]).to_pylist():
        sizes[count["values"]] = count["counts"]
    for day, rows in _count_rows(snapshot).items():
        if day in sizes:
            sizes[day] += rows
    batch = set(previous_days.values())
    if previous_days:
        keys = zip(*(calls[name].to_pylist() for name in ("function_id", "call_id", DAY)), strict=True)
        batch |= {day for function_id, call_id, day in keys if (function_id, call_id) in previous_days}
    size = sum(sizes[day] for day in batch)
    for day in sorted(set(sizes) - batch):
        if batch and size + sizes[day] > _MAX_ROWS_PER_COMMIT:
            yield batch
            batch, size = set(), 0
        batch.add(day)
        size += sizes[day]
    if batch:
        yield batch
