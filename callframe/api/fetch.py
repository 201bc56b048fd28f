"""
Parallel paging through call listings.

A query selects calls of one function by window and filter, or by ids, and is read page by page with a cursor.
Queries run in parallel; a long one is cut into shorter windows, and read again, when that ends earlier. Only records
that match the query are kept: a service may ignore a filter, or send something else.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callframe.api import schemas
from callframe.api.client import DECODE_LOCK
from callframe.api.listing import Query
from callframe.api.workers import Workers, stop_on_interrupt
from callframe.completeness import FunctionCoverage
from callframe.errors import BadRequestError, CallframeError, InvalidResponseError
from callframe.http.transport import StoppedError
from callframe.timespan import TimeRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from callframe.api.client import Client
    from callframe.api.schemas import Call, FunctionApp, InvalidRecord, Page

    Sources = Callable[[int], Sequence[FunctionApp | None]]

INTERRUPTED = "interrupted before everything was read"

_MAX_RESTARTS = 3
_MIN_PARTS = 4
_MAX_PAGES_WITHOUT_NEW = 10
_MAX_EMPTY_PAGES = 1_000
_MAX_EXAMPLES = 5
_USUAL_LIMITS = {100, 1_000, 10_000}
_BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"


@dataclass
class FunctionResult:
    """What was read of one function; `problems` are sentences."""

    tables: list[pa.Table] = field(default_factory=list)
    set_aside: Counter[InvalidRecord] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def coverage(self, function_id: int, function: str, created_ms: int | None, calls: int) -> FunctionCoverage:
        """Return the coverage of the function."""
        examples = [f"call {record.record_id or 'without an id'}: {record.reason}" for record in self.set_aside]
        return FunctionCoverage(
            function_id,
            function,
            tuple(self.problems),
            calls,
            count_reasons(self.set_aside),
            tuple(examples[:_MAX_EXAMPLES]),
            created_ms,
        )


@dataclass
class FetchProgress:
    """Fraction of the queries that is finished, by size, the number of calls so far, and what is waited for."""

    fraction: float = 0.0
    rows: int = 0
    waiting: str = ""

    @property
    def text(self) -> str:
        """The number of calls in words, and what is waited for."""
        return ", ".join(filter(None, [f"{self.rows:,} calls", self.waiting]))


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
    stop = stop or threading.Event()
    with stop_on_interrupt(stop) as interrupted:
        state = _Fetch(client, queries, report, stop)
        results = state.run()
        state.release()
    if interrupted.is_set() and not any(INTERRUPTED in result.problems for result in results.values()):
        raise KeyboardInterrupt  # nothing is left to read, so only the caller can stop
    return results


class _Fetch:
    """
    State of one fetch.

    Workers request the pages of a query and pass each to the calling thread, which converts it to columns while the
    next page is requested. A worker updates the reading position of its query; all else is changed by the calling
    thread only. An interrupt may come between any two steps: a query counts as read only when `is_finished` is set, its
    last step.
    """

    def __init__(
        self, client: Client, queries: Sequence[Query], report: Callable[[FetchProgress], None], stop: threading.Event
    ) -> None:
        self._client = client
        self._report = report
        self._stop = stop
        self._progress = FetchProgress()
        self._total_size = sum(query.size for query in queries)
        self._queries = list(queries)
        self._open = {id(query): query for query in queries}
        self._problems: dict[int, list[str]] = {query.function_id: [] for query in queries}
        self._workers = Workers(client.workers, self._read_pages, stop)

    def run(self) -> dict[int, FunctionResult]:
        try:
            with self._workers:
                for query in self._queries:
                    self._workers.submit(query)
                while self._open and not self._stop.is_set():
                    self._process_next_page()
        except KeyboardInterrupt:
            self._stop.set()
        while True:
            try:
                for result in self._workers.arrived_results():
                    self._store(result)
                return self._collect_results()
            except KeyboardInterrupt:
                continue

    def release(self) -> None:
        """Release the pages, which the results hold: the workers, and so this, are in a cycle of references."""
        self._queries.clear()
        self._open.clear()

    def _read_pages(self, query: Query) -> Iterator[_PageResult]:
        """Read the pages of a query in a worker."""
        has_next = True
        while has_next and not self._stop.is_set() and id(query) in self._open:
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
        if query.app is not None:
            page = self._client.list_app_calls(query.function_id, query.app, cursor=query.cursor, stop=self._stop)
        elif query.call_ids:
            page = self._client.calls_by_ids(query.function_id, query.call_ids, stop=self._stop)
        else:
            page = self._client.filter_calls(query.function_id, query.filter(), cursor=query.cursor, stop=self._stop)
        if problem := _wrong_answer(query, page):
            return _PageResult(query, error=InvalidResponseError(problem, status=200))
        is_mostly_outside = query.add_page(page)
        if is_mostly_outside and not query.is_whole:
            return _PageResult(query, page, ignores_window=True)
        if page.next_cursor is None:
            return _PageResult(query, page, error=_possible_cut(query, page))
        if problem := _endless(query, page):
            return _PageResult(query, page, error=InvalidResponseError(problem, status=200))
        if parts := self._parts(query):
            return _PageResult(query, page, parts=parts)
        query.cursor = page.next_cursor
        query.cursors.add(hash(page.next_cursor))
        return _PageResult(query, page, has_next=True)

    def _parts(self, query: Query) -> list[Query]:
        """Cut a query if that is worth it."""
        if query.listing is None:
            return []
        open_pages, workers = sum(one.remaining_pages for one in list(self._open.values())), self._client.workers
        return query.cut(workers) if query.listing.is_worth_cutting(workers=workers, open_pages=open_pages) else []

    def _process_next_page(self) -> None:
        """Wait a moment for a page, and process it."""
        result = self._workers.next_result()
        self._progress.waiting = self._client.waiting
        if result is None or result.query.is_replaced:
            self._report(self._progress)
            return
        self._store(result)
        if result.error is not None:
            self._handle_error(result.query, result.error)
        elif result.ignores_window:
            self._read_whole(result.query)
        elif result.parts:
            self._replace([result.query], result.parts)
        elif not result.has_next:
            self._finish(result.query)
        self._report(self._progress)

    def _store(self, result: _PageResult) -> None:
        if result.page is None:
            return
        with DECODE_LOCK:
            table, others = result.query.select(schemas.to_columns(result.page.items))
        result.query.tables.append(table)
        result.query.set_aside += Counter(result.page.set_aside) + others
        self._progress.rows += table.num_rows

    def _handle_error(self, query: Query, error: CallframeError) -> None:
        """Cut or restart a query whose cursor expired; otherwise keep what was read and record the problem."""
        if isinstance(error, BadRequestError) and query.cursor:
            parts = query.cut(max(_MIN_PARTS, self._client.workers))
            if parts or query.restarts < _MAX_RESTARTS:
                self._replace([query], parts or [query.restarted()])
                return
        problems = self._problems[query.function_id]
        if str(error) not in problems:
            problems.append(str(error))
        self._finish(query)

    def _read_whole(self, query: Query) -> None:
        """Read a listing that ignores windows once, instead of once for each window."""
        same = [one for one in self._open.values() if one.window is not None and one.filters == query.filters]
        window = TimeRange(
            min(one.window.start_ms for one in same if one.window), max(one.window.end_ms for one in same if one.window)
        )
        self._replace(same, [Query(query.function_id, window, query.status, query.schedule_id, is_whole=True)])

    def _replace(self, queries: Sequence[Query], replacements: Sequence[Query]) -> None:
        self._queries += replacements
        self._open |= {id(replacement): replacement for replacement in replacements}
        for query in queries:
            query.is_replaced = True
            del self._open[id(query)]
            self._progress.rows -= sum(table.num_rows for table in query.tables)
        for replacement in replacements:
            self._workers.submit(replacement)

    def _finish(self, query: Query) -> None:
        query.is_finished = True
        del self._open[id(query)]
        open_size = sum(one.size for one in self._open.values())
        self._progress.fraction = max(self._progress.fraction, 1 - open_size / self._total_size)

    def _collect_results(self) -> dict[int, FunctionResult]:
        """Put together what was read, without waiting for requests under way; of replaced queries if need be."""
        results = {function_id: FunctionResult(problems=list(found)) for function_id, found in self._problems.items()}
        for query in self._queries:
            problems = results[query.function_id].problems
            if not (query.is_finished or query.is_replaced or INTERRUPTED in problems):
                problems.append(INTERRUPTED)
        for query in self._queries:
            result = results[query.function_id]
            if not query.is_replaced or result.problems:
                result.tables += query.tables
            if not query.is_replaced:
                result.set_aside |= query.set_aside  # the larger count: windows overlap, and some records match all
        return results


@dataclass(frozen=True)
class _PageResult:
    """Page of a query, an error or both, and whether the query has more pages, or parts to read instead of it."""

    query: Query
    page: Page[Call] | None = None
    error: CallframeError | None = None
    parts: Sequence[Query] = ()
    has_next: bool = False
    ignores_window: bool = False


def _wrong_answer(query: Query, page: Page[Call]) -> str | None:
    """Describe a page that has only calls of other functions: an answer to another request."""
    if query.app is not None or not page.items or any(call.function_id == query.function_id for call in page.items):
        return None
    found = page.items[0].function_id
    return f"The service answered with calls of function {found} when asked for those of function {query.function_id}."


def _possible_cut(query: Query, page: Page[Call]) -> InvalidResponseError | None:
    """Report a function app of which as many calls were listed as by a usual limit; no cursor of it is documented."""
    count = len(page.items) + len(page.set_aside)
    if query.app is None or query.cursor is not None or count not in _USUAL_LIMITS:
        return None
    found = f"The service listed {count:,} calls of the function app {query.app.external_id} and no next page"
    return InvalidResponseError(f"{found}: a usual limit, so there may be more.", status=200)


def _endless(query: Query, page: Page[Call]) -> str | None:
    """Describe a listing that would never end."""
    if hash(page.next_cursor) in query.cursors:
        found = "The service returned the same cursor twice"
    elif query.pages_without_new >= (_MAX_PAGES_WITHOUT_NEW if page.items else _MAX_EMPTY_PAGES):
        found = f"The last {query.pages_without_new:,} pages had no new call"
    else:
        return None
    return f"{found}, so the listing would never end; later calls are missing. Try again."


def count_reasons(set_aside: Counter[InvalidRecord]) -> dict[str, int]:
    """Count invalid records by reason, the most frequent first, without the values found."""
    counts = Counter[str]()
    for record, count in set_aside.items():
        counts[record.reason.split(", found ")[0]] += count
    return dict(counts.most_common())


@contextlib.contextmanager
def progress_bar(
    enabled: bool | Callable[[float, str], None] | None, description: str
) -> Iterator[Callable[[float, str], None]]:
    """Show a bar, if None only in terminals and notebooks; yields a function of the fraction done and a text."""
    if callable(enabled):
        yield enabled
        return
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
