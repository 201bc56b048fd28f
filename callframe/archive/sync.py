"""
Bringing an archive up to date.

The order of commits makes any moment a good one to be stopped at: first the functions as they are listed, so that
labels are settled; then calls; and only when the calls of a stretch are in the table, that the stretch was read.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame, timespan
from callframe.api import fetch
from callframe.api.catalogue import Catalogue
from callframe.api.client import LISTING_LIMIT
from callframe.archive import daily_rollup, registry, schema
from callframe.archive.coverage_ledger import CoverageLedger, union
from callframe.archive.sync_report import SyncReport
from callframe.errors import ServiceError, TransportError
from callframe.limits import RETENTION_MS, RunLimit
from callframe.timespan import DAY_MS, TimeRange

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    from callframe.api.fetch import FunctionResult, Query
    from callframe.api.schemas import Page, Schedule
    from callframe.archive.transactions import Tables
    from callframe.project import Project

SLACK_MS = DAY_MS
"""How much further back than it promises to keep calls the service is asked for some."""

ROWS_A_STEP = 100_000
"""How many calls a step should bring; one that brings over twice as many is read anew in parts."""

_SHORTEST_MS, _FIRST_MS, _LONGEST_MS = 60_000, DAY_MS, 30 * DAY_MS
_GIVE_UP_AFTER = 3
_PIECES = 8


class Sync:
    """
    One sync.

    Parameters
    ----------
    tables
        The archive.
    project
        The project.
    back_ms
        How far back to read what the archive does not know, in milliseconds; by default what the service keeps.
    show
        Told the share of the stretches that is done, and words.
    """

    def __init__(
        self,
        tables: Tables,
        project: Project,
        *,
        back_ms: int | None,
        show: Callable[[float, str], None],
    ) -> None:
        self._tables = tables
        self._project = project
        self._client = project.client
        self._now_ms = project.now_ms()
        self._back_ms = back_ms
        self._show = show
        self._labels: dict[int, str] = {}
        self._failures: dict[int, list[str]] = {}
        self._touched: set[dt.date] = set()
        self._days: dict[tuple[int, int], dt.date] = {}
        self._listed: list[int] = []
        self.report = SyncReport(project.name, tables.uri, timespan.timestamp(self._now_ms))

    def run(self) -> SyncReport:
        """Do all of it."""
        self._tables.settle()
        try:
            self._see()
            self._finish()
            self._read_on()
            self._roll_up()
        except KeyboardInterrupt:
            self.report.interrupted = True
        self.report.version = self._tables.calls.open_or_make().version
        return self.report

    def _roll_up(self) -> None:
        """Count the days anew that have changed."""
        if self._touched and not self.report.interrupted:
            calls = self._tables.calls.open_or_make()
            daily_rollup.refresh(
                self._tables, calls, self.report.project, daily_rollup.sources_of(calls, self._touched)
            )

    def _see(self) -> None:
        """Take in which functions and schedules there are."""
        page = self._client.list_functions()
        listed = Catalogue(page.items)
        name, now_ms = self._project.name, self._now_ms
        rows = self._tables.see(
            self._tables.functions,
            name,
            lambda held: registry.functions_seen(held, listed, project=name, now_ms=now_ms, whole=_is_whole(page)),
        )
        self._labels = {row["function_id"]: row["function"] for row in rows}
        self._listed = [function.id for function in listed.functions]
        if not _is_whole(page):
            self.report.note("the functions", "not all of them could be listed")
        try:
            schedules: Page[Schedule] = self._client.list_schedules()
        except (ServiceError, TransportError) as error:
            self.report.note("the schedules", str(error))
            return
        self._tables.see(
            self._tables.schedules,
            name,
            lambda held: registry.schedules_seen(
                held, listed, schedules.items, rows, project=name, now_ms=now_ms, whole=_is_whole(schedules)
            ),
        )

    def _finish(self) -> None:
        """Ask by their ids for the calls that were not finished when last seen."""
        snapshot = self._tables.calls.open_or_make()
        files = snapshot.files
        left = files.filter(pc.fill_null(pc.less(files["least_final"], schema.FINISHED), fill_value=True))
        columns = ["function_id", "call_id", "start_time"]
        where = (pc.field("finality") < schema.FINISHED) & (pc.field("project") == self._project.name)
        rows = snapshot.read(left["path"].to_pylist(), columns, where=where)
        keys = list(zip(*(rows[name].to_pylist() for name in columns[:2]), strict=True))
        self._days = dict(zip(keys, rows["start_time"].cast(pa.date32()).to_pylist(), strict=True))
        starts = rows["start_time"].cast(pa.int64()).to_pylist()
        wanted: dict[int, list[int]] = {}
        for (function_id, call_id), start_us in zip(keys, starts, strict=True):
            if function_id in self._listed and start_us // 1000 >= self._now_ms - RETENTION_MS - SLACK_MS:
                wanted.setdefault(function_id, []).append(call_id)
        listings = [one for key, ids in wanted.items() for one in fetch.plan_queries_by_ids([key], ids)]
        if listings:
            readings = fetch.run_queries(self._client, listings)
            self._take(readings, {})

    def _read_on(self) -> None:
        """Read what the archive does not know, the oldest first: it is the next to be gone."""
        wanted = self._wanted()
        edges = union((one.start_ms, one.end_ms) for parts in wanted.values() for one in parts)
        total = sum(high - low for low, high in edges)
        done, length = 0, _FIRST_MS
        for low, high in edges:
            at = low
            while at < high and not self.report.interrupted:
                step = _step_from(at, length, high)
                parts = {key: _within(found, step) for key, found in wanted.items()}
                rows = self._step({key: found for key, found in parts.items() if found}, step)
                if rows is None:
                    length = max(_SHORTEST_MS, step.length_ms // 4)
                    continue
                at, done = step.end_ms, done + step.length_ms
                pa.default_memory_pool().release_unused()
                self._show(done / total, f"{self.report.read:,} calls")
                if any(found and not self._given_up(key) for key, found in self._failures.items()):
                    length = _FIRST_MS  # so that what can be read beside it is
                elif rows < ROWS_A_STEP // 2:
                    length = min(_LONGEST_MS, length * 2)

    def _wanted(self) -> dict[int, list[TimeRange]]:
        """List by function what is to be read: what is not known, and the end of what is, where calls may come late."""
        overlap_ms = self._overlap_ms()
        known = self._tables.known(self._project.name)
        wanted = {}
        for function_id in self._listed:
            back_ms = self._back_ms or RETENTION_MS + (0 if function_id in known.complete else SLACK_MS)
            whole = TimeRange(max(0, self._now_ms - back_ms), self._now_ms)
            lacking = [(one.start_ms, one.end_ms) for one in known.lacking(function_id, whole)]
            end = known.complete.get(function_id, [(0, 0)])[-1][1]
            late = max(whole.start_ms, min(end, self._now_ms) - overlap_ms)
            found = union([*lacking, (late, self._now_ms)] if end else lacking)
            wanted[function_id] = [TimeRange(*one) for one in found]
        return wanted

    def _overlap_ms(self) -> int:
        try:
            minutes = self._client.limits().timeout_minutes
        except (ServiceError, TransportError):
            minutes = None
        return RunLimit().longest_ms if minutes is None else max(RunLimit().longest_ms, int(minutes * 60_000))

    def _step(self, parts: Mapping[int, Sequence[TimeRange]], step: TimeRange) -> int | None:
        """
        Read and commit one stretch of time; None where it holds too much and was given up.

        Functions of which a long stretch could not be read are read anew in pieces: some of it may well be readable.
        """
        readings = self._fetched(parts, step)
        if readings is None:
            return None
        tried = {key for key, reading in readings.items() if reading.problems and not self._given_up(key)}
        again = tried if step.length_ms > _FIRST_MS and not _interrupted(readings) else set()
        rows = self._take({key: reading for key, reading in readings.items() if key not in again}, parts)
        self._failures |= {key: [] for key in again}
        for piece in step.split(_PIECES) if again else []:
            shorter = {key: _within(parts[key], piece) for key in again}
            found = self._fetched({key: windows for key, windows in shorter.items() if windows}, piece)
            if found is not None and not self.report.interrupted:
                rows += self._take(found, shorter)
        return rows

    def _fetched(self, parts: Mapping[int, Sequence[TimeRange]], step: TimeRange) -> dict[int, FunctionResult] | None:
        """Read one stretch of time; None where it holds too much."""
        skipped = [key for key in parts if self._given_up(key)]
        listings = [fetch.Query(key, one) for key, found in parts.items() if key not in skipped for one in found]
        stop, too_much = threading.Event(), False

        def watch(progress: fetch.FetchProgress) -> None:
            nonlocal too_much
            if progress.rows > 2 * ROWS_A_STEP and step.length_ms > _SHORTEST_MS:
                too_much = True
                stop.set()

        readings = fetch.run_queries(self._client, _shared(listings, self._client.workers), report=watch, stop=stop)
        if too_much:
            return None
        for key, reading in readings.items():
            problem = "; ".join(reading.problems)
            self._failures[key] = [*self._failures.get(key, []), problem] if problem else []
        for key in skipped:
            last = self._failures[key][-1]
            problem = f"left for the next sync after {_GIVE_UP_AFTER} failures in a row, the last: {last}"
            readings[key] = fetch.FunctionResult(0, problems=[problem])
        return readings

    def _given_up(self, function_id: int) -> bool:
        return len(self._failures.get(function_id, [])) >= _GIVE_UP_AFTER

    def _take(self, readings: Mapping[int, FunctionResult], parts: Mapping[int, Sequence[TimeRange]]) -> int:
        """Commit what was read: the calls, then which stretches are known."""
        report = self.report
        tables = [table for reading in readings.values() for table in reading.tables]
        calls = frame.from_columns(tables, self._labels)
        if len(calls):
            rows = schema.to_stored(calls, report.project)
            new, changed = self._tables.upsert(rows, self._moved_by(rows))
            report.new, report.changed = report.new + new, report.changed + changed
            self._touched |= set(rows[schema.DAY].unique().to_pylist())
        report.read += len(calls)
        delta = CoverageLedger()
        kept_since = self._project.now_ms() - RETENTION_MS
        for key, reading in readings.items():
            for one in parts.get(key, []):
                if reading.problems:
                    delta.failed(key, one, "; ".join(reading.problems), self._now_ms)
                elif one.end_ms > kept_since:
                    delta.read(key, TimeRange(max(one.start_ms, kept_since), one.end_ms), self._now_ms)
            self._tell(key, reading)
        if delta.complete or delta.failures:
            self._tables.note(report.project, delta)
        report.steps += 1
        return len(calls)

    def _tell(self, function_id: int, reading: FunctionResult) -> None:
        for problem in reading.problems:
            if problem == fetch.INTERRUPTED:
                self.report.interrupted = True
            else:
                self.report.note(self._labels[function_id], problem)
        for reason, count in fetch.count_reasons(reading.set_aside).items():
            self.report.set_aside[reason] = self.report.set_aside.get(reason, 0) + count

    def _moved_by(self, rows: pa.Table) -> dict[tuple[int, int], dt.date]:
        """Find the calls whose unfinished record stands on another day."""
        if not self._days:
            return {}
        keys = zip(rows["function_id"].to_pylist(), rows["call_id"].to_pylist(), strict=True)
        days = zip(keys, rows[schema.DAY].to_pylist(), strict=True)
        return {key: self._days[key] for key, day in days if self._days.get(key, day) != day}


def _is_whole(page: Page[Any]) -> bool:
    """Tell whether a listing lists all there is."""
    return not page.set_aside and page.next_cursor is None and len(page.items) < LISTING_LIMIT


def _step_from(at_ms: int, length_ms: int, high_ms: int) -> TimeRange:
    """Make a step that ends with a day where it can, so that no day is written twice."""
    end_ms = at_ms + length_ms
    if end_ms >= high_ms:
        return TimeRange(at_ms, high_ms)
    midnight_ms = end_ms // DAY_MS * DAY_MS
    return TimeRange(at_ms, midnight_ms if midnight_ms > at_ms else end_ms)


def _interrupted(readings: Mapping[int, FunctionResult]) -> bool:
    return any(fetch.INTERRUPTED in reading.problems for reading in readings.values())


def _within(windows: Sequence[TimeRange], step: TimeRange) -> list[TimeRange]:
    """Cut windows to those parts that lie in a step."""
    parts = ((max(one.start_ms, step.start_ms), min(one.end_ms, step.end_ms)) for one in windows)
    return [TimeRange(low, high) for low, high in parts if low < high]


def _shared(listings: Sequence[Query], workers: int) -> list[Query]:
    """Cut listings where there are fewer than workers."""
    pieces = max(1, workers // max(1, len(listings)))
    return [piece for one in listings for piece in one.split(pieces)]
