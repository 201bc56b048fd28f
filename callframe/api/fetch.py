"""
Windows x functions -> pages -> columns, with an account of what could not be read.

A listing is a part of the history (one function, one window, one filter) that is read page by page, each page where its
cursor says. Listings are read in parallel, and one that turns out long while workers idle is cut into shorter windows
and read anew: the order of calls in a listing is undocumented, so a cursor's place in time is not known.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from callframe.api import schemas
from callframe.api.client import DECODE_LOCK, IDS_A_REQUEST, StoppedError
from callframe.completeness import FunctionCoverage
from callframe.errors import BadRequestError, CallframeError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from callframe.api.client import Client
    from callframe.api.schemas import Call, InvalidRecord, Page
    from callframe.timespan import TimeRange

INTERRUPTED = "interrupted before all of it was read"

_POLL_S = 0.1
_RESTARTS = 3
_PIECES = 64
_HANDFUL = 10
_EXAMPLES = 5


@dataclass
class Listing:
    """
    A part of the history, and how far it has been read.

    Parameters
    ----------
    function_id
        Whose calls.
    window
        Of start times; None for calls by ids.
    status, schedule_id
        What else to filter by.
    call_ids
        The calls to read by ids.
    cursor
        Where the next page begins; None for the first.
    seen
        Cursors so far.
    read, rows
        How many pages and records were read.
    pages, set_aside
        What was read, once it is columns.
    restarts
        How often it began anew because its cursor went bad.
    earliest_ms, latest_ms
        First and last start time so far.
    """

    function_id: int
    window: TimeRange | None = None
    status: str | None = None
    schedule_id: int | None = None
    call_ids: tuple[int, ...] = ()

    cursor: str | None = None
    seen: set[str] = field(default_factory=set)
    read: int = 0
    rows: int = 0
    pages: list[pa.Table] = field(default_factory=list)
    set_aside: list[InvalidRecord] = field(default_factory=list)
    restarts: int = 0
    earliest_ms: float = math.inf
    latest_ms: float = -math.inf

    def filter(self) -> dict[str, Any]:
        """Write the filter as the API takes it: its ranges include both ends."""
        assert self.window is not None  # noqa: S101 - a listing by ids has no filter
        wanted = {
            "startTime": {"min": self.window.start_ms, "max": self.window.end_ms - 1},
            "status": self.status,
            "scheduleId": self.schedule_id,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def note(self, page: Page[Call]) -> None:
        """Note how far a page leads."""
        starts = [call.start_time for call in page.items]
        self.read += 1
        self.rows += len(page.items) + len(page.set_aside)
        self.earliest_ms = min(self.earliest_ms, min(starts, default=math.inf))
        self.latest_ms = max(self.latest_ms, max(starts, default=-math.inf))

    def again(self) -> Listing:
        """Start over, one restart poorer."""
        return Listing(
            self.function_id, self.window, self.status, self.schedule_id, self.call_ids, restarts=self.restarts + 1
        )

    def pieces(self, count: int) -> list[Listing]:
        """Cut into shorter windows that touch."""
        assert self.window is not None  # noqa: S101 - a listing by ids is never cut
        return [Listing(self.function_id, piece, self.status, self.schedule_id) for piece in self.window.split(count)]


@dataclass
class Reading:
    """
    What was read of one function.

    Parameters
    ----------
    tables
        Columns, a table a page.
    set_aside
        Records that broke the contract.
    problems
        What could not be read, in sentences.
    abandoned
        Pages of listings that were cut, for when a piece cannot be read.
    left
        How much of what is wanted has not come to its end, in milliseconds or ids.
    """

    left: int
    tables: list[pa.Table] = field(default_factory=list)
    set_aside: list[InvalidRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    abandoned: list[pa.Table] = field(default_factory=list)

    def coverage(self, function_id: int, function: str, created_ms: int | None, calls: int) -> FunctionCoverage:
        """Describe how completely the function was read; a record that was read twice is set aside once."""
        set_aside = list({one.fingerprint: one for one in self.set_aside}.values())
        return FunctionCoverage(
            function_id,
            function,
            tuple(self.problems),
            calls,
            count_reasons(set_aside),
            tuple(f"call {record.record_id or 'without an id'}: {record.reason}" for record in set_aside[:_EXAMPLES]),
            created_ms,
        )


@dataclass
class Progress:
    """
    How far a fetch is.

    Parameters
    ----------
    share
        Of the windows that were read to their end, by length, 0 to 1.
    rows
        Calls so far.
    """

    share: float = 0.0
    rows: int = 0


def listings(
    function_ids: Sequence[int],
    window: TimeRange,
    *,
    statuses: Sequence[str] = (),
    schedules: Sequence[tuple[int, int | None]] = (),
    workers: int,
) -> list[Listing]:
    """
    Cut what is asked for into listings, enough to keep the workers busy.

    Parameters
    ----------
    function_ids
        Whose calls.
    window
        Of start times.
    statuses
        Statuses to filter by; none means all. The API filters by one at a time.
    schedules
        Schedules to filter by, each with the id of its function, None where that is not known; none means all.
    workers
        How many listings can be read at once.

    Returns
    -------
    listings
        Together they cover all that is asked for, and no two overlap.
    """
    wanted = [
        (function_id, status, schedule_id)
        for function_id in function_ids
        for status in (statuses or (None,))
        for schedule_id, owner in (schedules or ((None, None),))
        if owner in {None, function_id}
    ]
    pieces = max(1, workers // max(1, len(wanted)))
    return [
        Listing(function_id, part, status, schedule_id)
        for function_id, status, schedule_id in wanted
        for part in window.split(pieces)
    ]


def listings_by_ids(function_ids: Sequence[int], call_ids: Sequence[int]) -> list[Listing]:
    """
    Cut ids into requests.

    Parameters
    ----------
    function_ids
        Each is asked for all ids.
    call_ids
        Unique ids of calls.

    Returns
    -------
    listings
        One a request.
    """
    chunks = [tuple(call_ids[k : k + IDS_A_REQUEST]) for k in range(0, len(call_ids), IDS_A_REQUEST)]
    return [Listing(function_id, call_ids=chunk) for function_id in function_ids for chunk in chunks]


def read(
    client: Client,
    wanted: Sequence[Listing],
    *,
    report: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> dict[int, Reading]:
    """
    Read listings in parallel, whole or with an account of what is lacking.

    Ctrl-C, or a notebook's stop button, ends the reading at once and keeps what was read.

    Parameters
    ----------
    client
        What asks.
    wanted
        What to read.
    report
        Called in this thread after each page.
    stop
        Ends the reading as Ctrl-C does when it is set, from another thread; it is set in the end in any case.

    Returns
    -------
    readings
        What was read, by function id.
    """
    return _Fetch(client, wanted, report, stop or threading.Event()).run()


class _Fetch:
    """
    The state of one fetch.

    A worker asks for page after page of a listing and hands each to the caller's thread, which makes columns of it
    while the next is asked for. Its worker notes how far a listing is read; all else changes in the caller's thread.
    """

    def __init__(
        self,
        client: Client,
        wanted: Sequence[Listing],
        report: Callable[[Progress], None],
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._report = report
        self._progress = Progress()
        left: Counter[int] = Counter()
        for listing in wanted:
            left[listing.function_id] += _weight(listing)
        self._readings = {function_id: Reading(weight) for function_id, weight in left.items()}
        self._total = left.total()
        self._open: dict[int, Listing] = {}
        self._wanted = wanted
        self._stop = stop
        self._tasks: queue.SimpleQueue[Listing | None] = queue.SimpleQueue()
        self._done: queue.Queue[_Step] = queue.Queue(1)  # more pages would only pile up before a slow caller
        self._in_hand: _Step | None = None

    def run(self) -> dict[int, Reading]:
        with self._crew():
            try:
                for listing in self._wanted:
                    self._put(listing)
                while self._open and not self._stop.is_set():
                    self._take()
            except KeyboardInterrupt:
                self._stop.set()
            if self._open:
                self._keep_what_was_read()
        for reading in self._readings.values():
            if reading.problems:
                reading.tables += reading.abandoned
            reading.abandoned = []
        return self._readings

    @contextlib.contextmanager
    def _crew(self) -> Iterator[None]:
        """Daemon threads: one that waits for a slow answer must not keep a stopped program from ending."""
        crew = [
            threading.Thread(target=self._work, name=f"callframe-{k}", daemon=True) for k in range(self._client.workers)
        ]
        for worker in crew:
            worker.start()
        try:
            yield
        finally:
            self._stop.set()
            for _ in crew:
                self._tasks.put(None)

    def _work(self) -> None:
        while (listing := self._tasks.get()) is not None and not self._stop.is_set():
            while self._read_on(listing):
                pass

    def _read_on(self, listing: Listing) -> bool:
        """Read a page and hand it over, so that nothing holds it here any more; tell whether to go on."""
        try:
            step = self._step(listing)
        except StoppedError:
            return False
        except CallframeError as error:
            step = _Step(listing, error=error)
        except BaseException as error:  # noqa: BLE001 - a worker that dies silently would leave its listing waiting
            step = _Step(listing, error=CallframeError(f"callframe itself failed while reading a page: {error!r}"))
        self._hand_over(step)
        return step.goes_on and not self._stop.is_set()

    def _step(self, listing: Listing) -> _Step:
        if listing.call_ids:
            page = self._client.calls_by_ids(listing.function_id, listing.call_ids, stop=self._stop)
        else:
            page = self._client.filter_calls(
                listing.function_id, listing.filter(), cursor=listing.cursor, stop=self._stop
            )
        listing.note(page)
        if page.next_cursor is None:
            return _Step(listing, page)
        if page.next_cursor in listing.seen:
            return _Step(listing, page, error=_same_cursor_twice())
        if pieces := _worth_cutting(listing, idle=self._client.workers - len(self._open) + 1):
            return _Step(listing, page, pieces=pieces)
        listing.cursor = page.next_cursor
        listing.seen.add(page.next_cursor)
        return _Step(listing, page, goes_on=True)

    def _hand_over(self, step: _Step) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._done.put(step, timeout=_POLL_S)
                return

    def _put(self, listing: Listing) -> None:
        self._open[id(listing)] = listing
        self._tasks.put(listing)

    def _take(self) -> None:
        """Wait for one page and see to it; wake up now and then, or Windows would not hear Ctrl-C."""
        try:
            self._in_hand = step = self._done.get(timeout=_POLL_S)
        except queue.Empty:
            return
        self._keep(step)
        self._in_hand = None
        if step.error is not None:
            self._fail(step.listing, step.error)
        elif step.pieces:
            self._cut(step.listing, step.pieces)
        elif not step.goes_on:
            self._close(step.listing)
        self._report(self._progress)

    def _keep(self, step: _Step) -> None:
        """Make columns of a page."""
        if step.page is None:
            return
        step.listing.set_aside += step.page.set_aside
        with DECODE_LOCK:
            step.listing.pages.append(schemas.to_columns(step.page.items))
        self._progress.rows += len(step.page.items)

    def _cut(self, listing: Listing, pieces: int) -> None:
        del self._open[id(listing)]
        self._readings[listing.function_id].abandoned += listing.pages
        self._progress.rows -= sum(table.num_rows for table in listing.pages)
        for piece in listing.pieces(pieces):
            self._put(piece)

    def _close(self, listing: Listing) -> None:
        reading = self._readings[listing.function_id]
        reading.tables += listing.pages
        reading.set_aside += listing.set_aside
        reading.left -= _weight(listing)
        self._progress.share += _weight(listing) / self._total
        del self._open[id(listing)]

    def _fail(self, listing: Listing, error: CallframeError) -> None:
        """Start over where only the cursor went bad, else keep what there is and say what is lacking."""
        if isinstance(error, BadRequestError) and listing.cursor and listing.restarts < _RESTARTS:
            del self._open[id(listing)]
            self._readings[listing.function_id].abandoned += listing.pages
            self._progress.rows -= sum(table.num_rows for table in listing.pages)
            self._put(listing.again())
            return
        self._note(listing, str(error))
        self._close(listing)

    def _note(self, listing: Listing, problem: str) -> None:
        problems = self._readings[listing.function_id].problems
        if problem not in problems:
            problems.append(problem)

    def _keep_what_was_read(self) -> None:
        """Take in what is finished or half read; what a worker still asks for is not waited for."""
        if self._in_hand is not None:
            self._keep(self._in_hand)
        while not self._done.empty():
            self._keep(self._done.get())
        for reading in self._readings.values():
            if reading.left:
                reading.problems.append(INTERRUPTED)
        for listing in list(self._open.values()):
            self._close(listing)


@dataclass(frozen=True)
class _Step:
    """What a worker brings: a page, an error or both, and how it goes on with the listing."""

    listing: Listing
    page: Page[Call] | None = None
    error: CallframeError | None = None
    pieces: int = 0
    goes_on: bool = False


def _worth_cutting(listing: Listing, *, idle: int) -> int:
    """
    Say into how many windows to cut a listing, 0 for none.

    Going on takes a round a page. Cutting reads everything anew, but shared by the idle workers. How many pages there
    are is told by how much of the window the pages so far cover, if the service happens to list in the order of time;
    it only decides on speed, never on what is read.
    """
    if listing.window is None or not listing.rows or idle <= 1:
        return 0
    covered = (listing.latest_ms - listing.earliest_ms) / listing.window.length_ms
    pages = listing.read / covered if covered > 0 else math.inf
    if listing.rows * (1 - covered) < _HANDFUL:  # they cover it all and there are more: the order is another one
        pages = max(4, 2 * listing.read)
    pages = min(pages, _PIECES)
    pieces = min(math.ceil(1.25 * pages), _PIECES, listing.window.length_ms)
    return pieces if pieces > 1 and pages - listing.read > 1 + pieces / idle else 0


def _weight(listing: Listing) -> int:
    return len(listing.call_ids) if listing.window is None else listing.window.length_ms


def _same_cursor_twice() -> InvalidResponseError:
    return InvalidResponseError(
        "The service gave the same cursor twice, so the listing would never end; the calls after it are lacking. Try"
        " again, or a shorter window.",
        status=200,
    )


def count_reasons(set_aside: Sequence[InvalidRecord]) -> dict[str, int]:
    """Count why records were set aside, the most frequent reason first."""
    return dict(Counter(record.reason.split(", found ")[0] for record in set_aside).most_common())
