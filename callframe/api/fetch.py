"""
Parallel paging through call listings.

A query selects calls of one function by window and filter, or by ids, and is read page by page with a cursor.
Queries run in parallel; a long one is split into shorter windows and read again when workers are idle. The API does
not document the order of calls in a listing, so reading cannot continue in parallel from a cursor.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from callframe.api import schemas
from callframe.api.client import DECODE_LOCK, MAX_IDS_PER_REQUEST, StoppedError
from callframe.api.workers import Workers
from callframe.completeness import FunctionCoverage
from callframe.errors import BadRequestError, CallframeError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from callframe.api.client import Client
    from callframe.api.schemas import Call, InvalidRecord, Page
    from callframe.timespan import TimeRange

INTERRUPTED = "interrupted before everything was read"

_MAX_RESTARTS = 3
_MAX_PARTS = 64
_MIN_REMAINING_RECORDS = 10
_MAX_EXAMPLES = 5
_BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"


@dataclass
class Query:
    """Calls of one function to read, in a window of start times or by ids, and how far they have been read."""

    function_id: int
    window: TimeRange | None = None
    status: str | None = None
    schedule_id: int | None = None
    call_ids: tuple[int, ...] = ()

    cursor: str | None = None
    cursors: set[str] = field(default_factory=set)
    page_count: int = 0
    record_count: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    set_aside: list[InvalidRecord] = field(default_factory=list)
    restarts: int = 0
    earliest_ms: float = math.inf
    latest_ms: float = -math.inf

    @property
    def size(self) -> int:
        """Its share of the work: milliseconds of the window, or number of ids."""
        return len(self.call_ids) if self.window is None else self.window.length_ms

    def filter(self) -> dict[str, Any]:
        """Return the filter of the API, whose ranges include both ends."""
        assert self.window is not None  # noqa: S101 - queries by ids have no filter
        conditions = {
            "startTime": {"min": self.window.start_ms, "max": self.window.end_ms - 1},
            "status": self.status,
            "scheduleId": self.schedule_id,
        }
        return {name: value for name, value in conditions.items() if value is not None}

    def record_page(self, page: Page[Call]) -> None:
        """Update the counts and the range of start times."""
        start_times = [call.start_time for call in page.items]
        self.page_count += 1
        self.record_count += len(page.items) + len(page.set_aside)
        self.earliest_ms = min(self.earliest_ms, min(start_times, default=math.inf))
        self.latest_ms = max(self.latest_ms, max(start_times, default=-math.inf))

    def restarted(self) -> Query:
        """Return the same query, unread."""
        return Query(
            self.function_id, self.window, self.status, self.schedule_id, self.call_ids, restarts=self.restarts + 1
        )

    def split(self, count: int) -> list[Query]:
        """Split into queries of consecutive time ranges."""
        assert self.window is not None  # noqa: S101 - queries by ids are never split
        return [Query(self.function_id, window, self.status, self.schedule_id) for window in self.window.split(count)]


@dataclass
class FunctionResult:
    """What was read of one function; `unread` is the size of its unfinished queries, `problems` are sentences."""

    unread: int
    tables: list[pa.Table] = field(default_factory=list)
    set_aside: list[InvalidRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    superseded: list[pa.Table] = field(default_factory=list)  # of queries that were split or restarted

    def coverage(self, function_id: int, function: str, created_ms: int | None, calls: int) -> FunctionCoverage:
        """Return the coverage of the function; an invalid record that was read twice counts once."""
        set_aside = list({record.fingerprint: record for record in self.set_aside}.values())
        examples = [f"call {record.record_id or 'without an id'}: {record.reason}" for record in set_aside]
        return FunctionCoverage(
            function_id,
            function,
            tuple(self.problems),
            calls,
            count_reasons(set_aside),
            tuple(examples[:_MAX_EXAMPLES]),
            created_ms,
        )


@dataclass
class FetchProgress:
    """Fraction of the queries that is finished, by size, and the number of calls so far."""

    fraction: float = 0.0
    rows: int = 0


def plan_queries(
    function_ids: Sequence[int],
    window: TimeRange,
    *,
    statuses: Sequence[str] = (),
    schedules: Sequence[tuple[int, int | None]] = (),
    workers: int,
) -> list[Query]:
    """
    Make queries that together select the calls, without overlap, and keep the workers busy.

    The API filters by a single status and a single schedule. Schedules are given with the id of their function, None if
    unknown. No statuses or no schedules means all.
    """
    filters = [
        (function_id, status, schedule_id)
        for function_id in function_ids
        for status in (statuses or (None,))
        for schedule_id, schedule_function_id in (schedules or ((None, None),))
        if schedule_function_id in {None, function_id}
    ]
    parts = max(1, workers // max(1, len(filters)))
    return [
        Query(function_id, part, status, schedule_id)
        for function_id, status, schedule_id in filters
        for part in window.split(parts)
    ]


def plan_queries_by_ids(function_ids: Sequence[int], call_ids: Sequence[int]) -> list[Query]:
    """Make queries for calls by ids, one per request; every function is asked for all ids."""
    chunks = [
        tuple(call_ids[start : start + MAX_IDS_PER_REQUEST]) for start in range(0, len(call_ids), MAX_IDS_PER_REQUEST)
    ]
    return [Query(function_id, call_ids=chunk) for function_id in function_ids for chunk in chunks]


def run_queries(
    client: Client,
    queries: Sequence[Query],
    *,
    report: Callable[[FetchProgress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> dict[int, FunctionResult]:
    """
    Run queries in parallel, and return the results by function id.

    What cannot be read is listed in the problems of its function. Ctrl-C, or another thread that sets `stop`, ends the
    fetch and keeps what was read; `stop` is always set in the end. `report` is called in this thread after each page.
    """
    return _Fetch(client, queries, report, stop or threading.Event()).run()


class _Fetch:
    """
    State of one fetch.

    Workers request the pages of a query and pass each to the calling thread, which converts it to columns while the
    next page is requested. A worker updates the reading position of its query; all else is changed by the calling
    thread only.
    """

    def __init__(
        self, client: Client, queries: Sequence[Query], report: Callable[[FetchProgress], None], stop: threading.Event
    ) -> None:
        self._client = client
        self._queries = queries
        self._report = report
        self._stop = stop
        self._progress = FetchProgress()
        sizes: Counter[int] = Counter()
        for query in queries:
            sizes[query.function_id] += query.size
        self._total_size = sizes.total()
        self._results = {function_id: FunctionResult(size) for function_id, size in sizes.items()}
        self._unfinished: dict[int, Query] = {}
        self._workers = Workers(client.workers, self._read_pages, stop)
        self._current: _PageResult | None = None

    def run(self) -> dict[int, FunctionResult]:
        with self._workers:
            try:
                for query in self._queries:
                    self._submit(query)
                while self._unfinished and not self._stop.is_set():
                    self._process_next_page()
            except KeyboardInterrupt:
                self._stop.set()
            if self._unfinished:
                self._collect_partial_results()
        for result in self._results.values():
            if result.problems:
                result.tables += result.superseded
            result.superseded = []
        return self._results

    def _read_pages(self, query: Query) -> Iterator[_PageResult]:
        """Read the pages of a query in a worker."""
        has_next = True
        while has_next and not self._stop.is_set():
            try:
                result = self._request_page(query)
            except StoppedError:
                return
            except CallframeError as error:
                result = _PageResult(query, error=error)
            except BaseException as error:  # noqa: BLE001 - if the worker died, the query would never finish
                result = _PageResult(query, error=CallframeError(f"Internal error while reading a page: {error!r}"))
            has_next = result.has_next
            yield result
            del result

    def _request_page(self, query: Query) -> _PageResult:
        if query.call_ids:
            page = self._client.calls_by_ids(query.function_id, query.call_ids, stop=self._stop)
        else:
            page = self._client.filter_calls(query.function_id, query.filter(), cursor=query.cursor, stop=self._stop)
        query.record_page(page)
        if page.next_cursor is None:
            return _PageResult(query, page)
        if page.next_cursor in query.cursors:
            message = (
                "The service returned the same cursor twice, so the listing would never end; later calls are missing."
            )
            return _PageResult(query, page, error=InvalidResponseError(f"{message} Try again.", status=200))
        if parts := _parts_to_split_into(query, idle=self._client.workers - len(self._unfinished) + 1):
            return _PageResult(query, page, parts=parts)
        query.cursor = page.next_cursor
        query.cursors.add(page.next_cursor)
        return _PageResult(query, page, has_next=True)

    def _submit(self, query: Query) -> None:
        self._unfinished[id(query)] = query
        self._workers.submit(query)

    def _process_next_page(self) -> None:
        """Wait a moment for a page, and process it."""
        self._current = result = self._workers.next_result()
        if result is None:
            return
        self._store(result)
        self._current = None
        if result.error is not None:
            self._handle_error(result.query, result.error)
        elif result.parts:
            self._replace(result.query, result.query.split(result.parts))
        elif not result.has_next:
            self._finish(result.query)
        self._report(self._progress)

    def _store(self, result: _PageResult) -> None:
        if result.page is None:
            return
        result.query.set_aside += result.page.set_aside
        with DECODE_LOCK:
            result.query.tables.append(schemas.to_columns(result.page.items))
        self._progress.rows += len(result.page.items)

    def _replace(self, query: Query, replacements: Sequence[Query]) -> None:
        del self._unfinished[id(query)]
        self._results[query.function_id].superseded += query.tables
        self._progress.rows -= sum(table.num_rows for table in query.tables)
        for replacement in replacements:
            self._submit(replacement)

    def _finish(self, query: Query) -> None:
        result = self._results[query.function_id]
        result.tables += query.tables
        result.set_aside += query.set_aside
        result.unread -= query.size
        self._progress.fraction += query.size / self._total_size
        del self._unfinished[id(query)]

    def _handle_error(self, query: Query, error: CallframeError) -> None:
        """Restart a query whose cursor expired; otherwise keep what was read and record the problem."""
        if isinstance(error, BadRequestError) and query.cursor and query.restarts < _MAX_RESTARTS:
            self._replace(query, [query.restarted()])
            return
        problems = self._results[query.function_id].problems
        if str(error) not in problems:
            problems.append(str(error))
        self._finish(query)

    def _collect_partial_results(self) -> None:
        """Store finished and partly read queries, without waiting for requests under way."""
        if self._current is not None:
            self._store(self._current)
        for result in self._workers.arrived_results():
            self._store(result)
        for function in self._results.values():
            if function.unread:
                function.problems.append(INTERRUPTED)
        for query in list(self._unfinished.values()):
            self._finish(query)


@dataclass(frozen=True)
class _PageResult:
    """Page of a query, an error or both, and whether the query has more pages or should be split into parts."""

    query: Query
    page: Page[Call] | None = None
    error: CallframeError | None = None
    parts: int = 0
    has_next: bool = False


def _parts_to_split_into(query: Query, *, idle: int) -> int:
    """
    Choose how many parts to split a query into, 0 for none.

    Continuing takes one request per remaining page. Splitting reads everything again, but in parallel. The number of
    pages is estimated from the fraction of the time range that was read, assuming that the service lists calls in order
    of time; a wrong estimate only affects speed.
    """
    if query.window is None or not query.record_count or idle <= 1:
        return 0
    covered = (query.latest_ms - query.earliest_ms) / query.window.length_ms
    pages = query.page_count / covered if covered > 0 else math.inf
    if query.record_count * (1 - covered) < _MIN_REMAINING_RECORDS:  # all covered, yet there are more: not in order
        pages = max(4, 2 * query.page_count)
    pages = min(pages, _MAX_PARTS)
    parts = min(math.ceil(1.25 * pages), _MAX_PARTS, query.window.length_ms)
    return parts if parts > 1 and pages - query.page_count > 1 + parts / idle else 0


def count_reasons(set_aside: Sequence[InvalidRecord]) -> dict[str, int]:
    """Count invalid records by reason, the most frequent first, without the values found."""
    return dict(Counter(record.reason.split(", found ")[0] for record in set_aside).most_common())


@contextlib.contextmanager
def progress_bar(enabled: bool | None, description: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar, if None only in terminals and notebooks; yields a function of the fraction done and a text."""
    if enabled is None:
        enabled = sys.stderr.isatty() or "ipykernel" in sys.modules
    if not enabled:
        yield lambda *_: None
        return
    from tqdm.auto import tqdm  # noqa: PLC0415 - slow to import, and not needed without a fetch

    with tqdm(total=100, desc=description, delay=1, miniters=0, bar_format=_BAR_FORMAT) as bar:

        def update(fraction: float, text: str) -> None:
            bar.set_postfix_str(text, refresh=False)  # a refresh would ignore the delay
            bar.update(round(100 * fraction) - bar.n)

        yield update
