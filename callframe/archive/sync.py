"""
Synchronization of an archive with a project.

The order of the commits makes it safe to interrupt at any moment: first the listed functions, which fixes their labels,
then the calls of a time range, and then that the range was read.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.analysis.responses import with_responses
from callframe.api import fetch, listing
from callframe.api.catalogue import Catalogue, as_list, function_frame, read_catalogue, schedule_frame
from callframe.api.client import LISTING_LIMIT
from callframe.api.fetch_output import OutputReader
from callframe.api.workers import stop_on_interrupt
from callframe.archive import daily_rollup, queries, schema
from callframe.archive.coverage_ledger import CoverageLedger, union
from callframe.archive.reports import SyncReport
from callframe.completeness import Coverage
from callframe.errors import ServiceError, TransportError
from callframe.limits import RETENTION_MS, RunLimit
from callframe.timespan import DAY_MS, MINUTE_MS, TimeRange, timestamp

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from callframe.api.fetch import FunctionResult
    from callframe.api.schemas import Page
    from callframe.archive.transactions import ArchiveTables
    from callframe.project import Project

    Windows = Mapping[int, Sequence[TimeRange]]

ROWS_PER_STEP = 100_000
"""How many calls a step should read; a step with more than twice as many is read again in smaller ones."""

_EXTRA_MS = DAY_MS  # the service keeps some calls for longer than it promises
_MIN_STEP_MS, _FIRST_STEP_MS, _MAX_STEP_MS = MINUTE_MS, DAY_MS, 30 * DAY_MS
_MAX_FAILURES = 3
_RESPONSES_PER_STEP = 2_000
_PARTS = 8
_TOO_MANY_CALLS = "left for the next sync, which reads smaller steps: too many calls"


class Sync:
    """
    A sync of an archive.

    `history_ms` is how far back to read what is missing, by default what the service keeps. `show` is called with the
    fraction done and a text.
    """

    def __init__(
        self,
        tables: ArchiveTables,
        project: Project,
        *,
        history_ms: int | None,
        retention_ms: int,
        responses: bool | str | int | Sequence[str | int] = False,
        show: Callable[[float, str], None],
    ) -> None:
        self._tables = tables
        self._project = project
        self._client = project.client
        self._now_ms = self._client.clock.now_ms()
        self._history_ms = history_ms
        self._retention_ms = retention_ms
        self._responses = responses
        self._show = show
        self._fraction = 0.0
        self._catalogue = Catalogue([])
        self._labels: dict[int, str] = {}
        self._listed_ids: list[int] = []
        self._response_ids: list[int] = []
        self._failures: dict[int, list[str]] = {}
        self._unfinished_days: dict[tuple[int, int], dt.date] = {}
        self.report = SyncReport(project.name, tables.uri, timestamp(self._now_ms))

    def run(self) -> SyncReport:
        """Run all steps, or those before an interruption."""
        with self._tables.opened_once():
            self._tables.discard_later_coverage()
            try:
                self._tables.compact()
                self._update_registry()
                self._read_unfinished_calls()
                self._read_missing_ranges()
                if self._response_ids and not self.report.interrupted:
                    self._read_responses()
                if not self.report.interrupted:
                    self._maintain()
            except KeyboardInterrupt:
                self.report.interrupted = True
            self.report.version = self._tables.newest(self._tables.calls).version
        return self.report

    def _maintain(self) -> None:
        """Once a day count the days that are over, and remove what only old versions need."""
        project, day = self.report.project, self._now_ms // DAY_MS
        if self._tables.maintained_day(project) == day:
            return
        calls = self._tables.newest(self._tables.calls)
        sources = daily_rollup.sources_of(calls, until_ms=self._now_ms)
        daily_rollup.refresh(self._tables, calls, project, sources)
        self._tables.vacuum(self._retention_ms, checkpoint=False)
        self._tables.record_maintenance(project, day)

    def _update_registry(self) -> None:
        """Store the listed functions and schedules."""
        self._catalogue = catalogue = read_catalogue(self._client)
        self._now_ms = self._project.now_ms()  # measured by that response
        self.report.started = timestamp(self._now_ms)
        listing = {"project": self._project.name, "now_ms": self._now_ms}
        complete = not catalogue.left_out
        self._labels = self._tables.update_functions(function_frame(catalogue), complete=complete, **listing)
        self._listed_ids = [function.id for function in catalogue.functions]
        self._response_ids = self._listed_ids if self._responses is True else []
        if not isinstance(self._responses, bool):
            self._response_ids = [found for one in as_list(self._responses) for found in catalogue.find_functions(one)]
        if not complete:
            reasons = "; ".join(f"{one.function}: {one.reasons[0]}" for one in catalogue.left_out[:_MAX_FAILURES])
            self._add_problem("the functions", f"not all of them could be listed ({reasons})")
        try:
            schedules = self._client.list_schedules()
        except (ServiceError, TransportError) as error:
            self._add_problem("the schedules", str(error))
            return
        listed = schedule_frame(catalogue, schedules.items)
        self._tables.update_schedules(listed, self._labels, complete=_is_complete(schedules), **listing)

    def _read_unfinished_calls(self) -> None:
        """Read the stored calls that were not finished, by their ids."""
        calls = self._tables.newest(self._tables.calls)
        columns = ["function_id", "call_id", "start_time"]
        condition = (pc.field("finality") < schema.FINISHED) & (pc.field("project") == self._project.name)
        rows = calls.store.read(queries.unfinished_paths(calls.files), columns, condition=condition)
        keys = list(zip(rows["function_id"].to_pylist(), rows["call_id"].to_pylist(), strict=True))
        self._unfinished_days = dict(zip(keys, rows["start_time"].cast(pa.date32()).to_pylist(), strict=True))
        kept_since_us = (self._now_ms - RETENTION_MS - _EXTRA_MS) * 1000
        ids: dict[int, list[int]] = {}
        for (function_id, call_id), start_us in zip(keys, rows["start_time"].cast(pa.int64()).to_pylist(), strict=True):
            if function_id in self._listed_ids and start_us >= kept_since_us:
                ids.setdefault(function_id, []).append(call_id)
        sources = self._catalogue.sources
        to_read = [query for key, found in ids.items() for query in listing.plan_queries_by_ids([key], found, sources)]
        if to_read:
            self._commit(fetch.run_queries(self._client, to_read), {})

    def _read_missing_ranges(self) -> None:
        """Read what is not in the archive in steps, the oldest first, which the service deletes next."""
        windows = self._windows_to_read()
        ranges = union((part.start_ms, part.end_ms) for parts in windows.values() for part in parts)
        total_ms = sum(end_ms - start_ms for start_ms, end_ms in ranges)
        done_ms, length_ms = 0, _FIRST_STEP_MS
        for start_ms, end_ms in ranges:
            position_ms = start_ms
            while position_ms < end_ms and not self.report.interrupted:
                step = _step_from(position_ms, length_ms, end_ms)
                parts = {key: _within(window, step) for key, window in windows.items()}
                rows = self._read_step({key: part for key, part in parts.items() if part}, step)
                if rows is None:
                    length_ms = max(_MIN_STEP_MS, step.length_ms // 4)
                    continue
                position_ms, done_ms = step.end_ms, done_ms + step.length_ms
                pa.default_memory_pool().release_unused()
                self._fraction = done_ms / total_ms
                self._show(self._fraction, f"{self.report.read:,} calls")
                if any(failures and not self._is_skipped(key) for key, failures in self._failures.items()):
                    length_ms = _FIRST_STEP_MS  # to read what is readable around a failure
                elif rows < ROWS_PER_STEP // 2:
                    length_ms = min(_MAX_STEP_MS, length_ms * 2)

    def _read_responses(self) -> None:
        """Read the responses of the stored Completed calls that have none yet, the oldest first."""
        window = TimeRange(max(0, self._now_ms - RETENTION_MS), self._now_ms + 1)
        columns = (*frame.COLUMNS, *frame.RESPONSE_COLUMNS)
        query = queries.Query(self.report.project, window, tuple(self._response_ids), ("Completed",), columns=columns)
        snapshot = self._tables.newest(self._tables.calls)
        partitions = queries.partitions(query.files(snapshot))
        for number, paths in enumerate(partitions):
            has_none = pc.field("response").is_null()
            calls = queries.read_calls(snapshot.store, paths, query, condition=has_none)
            for first in range(0, len(calls), _RESPONSES_PER_STEP):
                self._show(number / len(partitions) + first / len(calls) / len(partitions), "responses")
                self._commit_responses(calls[first : first + _RESPONSES_PER_STEP])
                if self.report.interrupted:
                    return

    def _commit_responses(self, calls: pd.DataFrame) -> None:
        """Read and commit the responses of calls, and give these the status that their responses report."""
        stop = threading.Event()
        with stop_on_interrupt(stop) as interrupted:
            responses = OutputReader(self._client, stop, progress=False).responses(calls)
        judged = with_responses(calls, responses)
        judged = judged[judged["response"].notna()]
        if len(judged):
            rows = schema.to_rows(judged, self.report.project)
            self._tables.upsert(rows, {})
        self.report.responses += len(judged)
        self.report.interrupted |= interrupted.is_set()
        known = Coverage.of(responses)
        for function in known.functions if known and not interrupted.is_set() else ():
            for reason in function.reasons:
                self._add_problem(function.function, reason)

    def _windows_to_read(self) -> dict[int, list[TimeRange]]:
        """List the time ranges to read by function: missing ones, and the latest, in which calls may be late."""
        late_ms = self._longest_delay_ms()
        ledger = self._tables.ledger(self._project.name)
        ledger.forget_future(self._now_ms, self._now_ms - RETENTION_MS)
        windows = {}
        for function_id in self._listed_ids:
            complete = ledger.complete.get(function_id)
            history_ms = self._history_ms or RETENTION_MS + (_EXTRA_MS if complete is None else 0)
            history = TimeRange(max(0, self._now_ms - history_ms), self._now_ms)
            ranges = [(part.start_ms, part.end_ms) for part in ledger.missing(function_id, history)]
            if complete:
                last_ms = min(complete[-1][1], self._now_ms)
                ranges.append((max(history.start_ms, last_ms - late_ms), self._now_ms))
            windows[function_id] = [TimeRange(*part) for part in ledger.without_forgotten(function_id, union(ranges))]
        return windows

    def _longest_delay_ms(self) -> int:
        """Return how late a call may appear in a listing: the run limit."""
        try:
            minutes = self._client.limits().timeout_minutes or 0
        except (ServiceError, TransportError):
            minutes = 0
        return max(RunLimit().longest_ms, int(minutes * MINUTE_MS))

    def _read_step(self, windows: Windows, step: TimeRange) -> int | None:
        """
        Read and commit a step, and return the number of calls, None if there are too many.

        Functions that could not be read in a long step are read again in parts, some of which may be readable.
        """
        results = self._fetch(windows, step)
        if results is None:
            return None
        again: set[int] = set()
        interrupted = any(fetch.INTERRUPTED in result.problems for result in results.values())
        if step.length_ms > _FIRST_STEP_MS and not interrupted:
            again = {key for key, result in results.items() if result.problems and not self._is_skipped(key)}
        rows = self._commit({key: result for key, result in results.items() if key not in again}, windows)
        self._failures |= {key: [] for key in again}
        for part in step.split(_PARTS) if again else []:
            shorter = {key: _within(windows[key], part) for key in again}
            results = self._fetch({key: window for key, window in shorter.items() if window}, part)
            if results is None:
                results = {key: fetch.FunctionResult(problems=[_TOO_MANY_CALLS]) for key in again}
            if not self.report.interrupted:
                rows += self._commit(results, shorter)
        return rows

    def _fetch(self, windows: Windows, step: TimeRange) -> dict[int, FunctionResult] | None:
        """Fetch a step; None if it has too many calls."""
        skipped = [key for key in windows if self._is_skipped(key)]
        plan = [
            listing.Query(key, part, app=app)
            for key, parts in windows.items()
            if key not in skipped
            for app in self._catalogue.sources(key)
            for part in parts
        ]
        parts_per_query = max(1, self._client.workers // max(1, len(plan)))
        plan = [part for query in plan for part in query.split(parts_per_query)]
        stop, too_many = threading.Event(), False

        def stop_if_too_many(progress: fetch.FetchProgress) -> None:
            nonlocal too_many
            self._show(self._fraction, ", ".join(filter(None, [f"{self.report.read:,} calls", progress.waiting])))
            if progress.rows > 2 * ROWS_PER_STEP and step.length_ms > _MIN_STEP_MS:
                too_many = True
                stop.set()

        results = fetch.run_queries(self._client, plan, report=stop_if_too_many, stop=stop)
        if too_many:
            return None
        for key, result in results.items():
            problem = "; ".join(result.problems)
            self._failures[key] = [*self._failures.get(key, []), problem] if problem else []
        for key in skipped:
            last = self._failures[key][-1]
            problem = f"left for the next sync after {_MAX_FAILURES} failures in a row, the last: {last}"
            results[key] = fetch.FunctionResult(problems=[problem])
        return results

    def _is_skipped(self, function_id: int) -> bool:
        return len(self._failures.get(function_id, [])) >= _MAX_FAILURES

    def _commit(self, results: Mapping[int, FunctionResult], windows: Windows) -> int:
        """Commit calls, then the coverage of their time ranges, and return the number of calls."""
        report = self.report
        calls = frame.from_columns([table for result in results.values() for table in result.tables], self._labels)
        if len(calls):
            rows = schema.to_rows(calls, report.project)
            new, changed = self._tables.upsert(rows, self._previous_days(rows))
            report.new, report.changed = report.new + new, report.changed + changed
        report.read += len(calls)
        changes = CoverageLedger()
        kept_since_ms = self._client.clock.now_ms() - RETENTION_MS
        for key, result in results.items():
            for part in windows.get(key, []):
                if result.problems:
                    changes.add_failure(key, part, "; ".join(result.problems), self._now_ms)
                elif part.end_ms > kept_since_ms:  # calls from before it may have been deleted already
                    kept = TimeRange(max(part.start_ms, kept_since_ms), part.end_ms)
                    changes.add_complete(key, kept, self._now_ms)
            self._add_to_report(key, result)
        if changes.complete or changes.failures:
            self._tables.record_coverage(report.project, changes, now_ms=self._now_ms)
        report.steps += 1
        return len(calls)

    def _add_to_report(self, function_id: int, result: FunctionResult) -> None:
        for problem in result.problems:
            if problem == fetch.INTERRUPTED:
                self.report.interrupted = True
            else:
                self._add_problem(self._labels[function_id], problem)
        for reason, count in fetch.count_reasons(result.set_aside).items():
            self.report.set_aside[reason] = self.report.set_aside.get(reason, 0) + count

    def _add_problem(self, subject: str, problem: str) -> None:
        problems = self.report.problems.setdefault(subject, [])
        if problem not in problems:
            problems.append(problem)

    def _previous_days(self, rows: pa.Table) -> dict[tuple[int, int], dt.date]:
        """Find the calls whose unfinished record is stored on another day."""
        if not self._unfinished_days:
            return {}
        keys = zip(rows["function_id"].to_pylist(), rows["call_id"].to_pylist(), strict=True)
        days = zip(keys, rows[schema.DAY].to_pylist(), strict=True)
        return {key: self._unfinished_days[key] for key, day in days if self._unfinished_days.get(key, day) != day}


def _is_complete(page: Page[Any]) -> bool:
    return not page.set_aside and page.next_cursor is None and len(page.items) < LISTING_LIMIT


def _step_from(start_ms: int, length_ms: int, limit_ms: int) -> TimeRange:
    """Make a step that ends at midnight if possible, so that no day is written twice."""
    end_ms = start_ms + length_ms
    if end_ms >= limit_ms:
        return TimeRange(start_ms, limit_ms)
    midnight_ms = end_ms // DAY_MS * DAY_MS
    return TimeRange(start_ms, midnight_ms if midnight_ms > start_ms else end_ms)


def _within(windows: Sequence[TimeRange], step: TimeRange) -> list[TimeRange]:
    """Cut time ranges to a step."""
    parts = ((max(window.start_ms, step.start_ms), min(window.end_ms, step.end_ms)) for window in windows)
    return [TimeRange(start_ms, end_ms) for start_ms, end_ms in parts if start_ms < end_ms]
