"""Queries that list calls: which records match, how many pages remain, and where to cut a window."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callframe.api.client import MAX_IDS_PER_REQUEST
from callframe.api.schemas import InvalidRecord
from callframe.timespan import DAY_MS, TimeRange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from callframe.api.schemas import Call, FunctionApp, Page

    Sources = Callable[[int], Sequence[FunctionApp | None]]

_SORTED_SHARE = 0.9
_FILLED = 0.95  # pieces a little shorter than whole pages, or many would need one more page for a few calls
_FIRST_GUESS = 3.0
_GROWTH = 4
_SAMPLE = 1_000
_HASH_FACTOR, _HASH_SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(60)  # selects one in 16 ids
_IGNORED = "the service ignored the filter {}"


@dataclass
class _Siblings:
    """Parts of an unsorted listing, expected to have equally many rows: the most that one had, 0 if none is read."""

    rows: int = 0


class Listing:
    """
    The pages read so far of the calls in a window of start times.

    The API does not document the order, so all of this is estimated and affects only speed: each part of a window that
    is cut is listed again, to its end. `scale` is the number of pages to begin with.
    """

    def __init__(self, window: TimeRange, *, scale: int = 1, siblings: _Siblings | None = None) -> None:
        self.window = window
        self.page_count = self.row_count = 0
        self.remaining = 1.0
        self._order: Literal["ascending", "descending", "mixed"] | None = None
        self._page_ms = 0.0
        self._scale = scale
        self._siblings = siblings or _Siblings()
        self._samples: list[np.ndarray] = []

    def add_page(self, start_times: Sequence[int], row_count: int, *, is_last: bool) -> None:
        """Update the estimates with a page of `row_count` rows, given the start times of every n-th one."""
        self.page_count += 1
        self.row_count += row_count
        if is_last:
            self._siblings.rows = max(self._siblings.rows, self.row_count)
            return
        sample = np.array(start_times, dtype="int64")
        self._samples.append(sample)
        self._order, self.remaining = None, 1.0
        if len(sample) < 2 or sample.min() == sample.max():  # noqa: PLR2004 - no order to see in fewer
            return
        steps = np.diff(sample)
        is_sorted = max((steps >= 0).mean(), (steps <= 0).mean()) >= _SORTED_SHARE
        if is_sorted:
            self._extrapolate(sample, row_count)
        else:
            self._order = "mixed"
            known_pages = self._siblings.rows / (self.row_count / self.page_count)
            self.remaining = (
                max(1.0, known_pages - self.page_count) if known_pages else max(_FIRST_GUESS, self.page_count)
            )

    def _extrapolate(self, sample: np.ndarray, row_count: int) -> None:
        """Estimate the remaining pages of a sorted listing from the distance of the last calls of a page."""
        tail = sample[-max(2, len(sample) // 4) :]
        span_ms = abs(int(tail[-1]) - int(tail[0]))
        if span_ms == 0:  # within a millisecond that has many calls
            return
        self._order = "ascending" if sample[-1] > sample[0] else "descending"
        self._page_ms = span_ms * (len(sample) / (len(tail) - 1)) * (self.row_count / self.page_count / row_count)
        end_ms = self.window.end_ms if self._order == "ascending" else self.window.start_ms
        self.remaining = abs(end_ms - int(sample[-1])) / self._page_ms

    def is_worth_cutting(self, *, workers: int, open_pages: float) -> bool:
        """Whether reading everything again in parallel ends earlier, if `open_pages` remain in all listings."""
        share = (open_pages + self.page_count) / workers
        return self._order is not None and self.remaining > 1.3 * share + 1

    def cut(self, workers: int) -> list[Listing]:
        """Cut into listings of parts of the window, in the order of the listing; a single one if it is too short."""
        if self._order is None:
            return [Listing(part) for part in self.window.split(workers)]
        if self._order == "mixed":
            shares = np.arange(1, workers) / workers
            windows = self._windows(np.quantile(np.concatenate(self._samples), shares))
            siblings = _Siblings()
            return [Listing(window, siblings=siblings) for window in windows]
        pages = self.page_count + self.remaining
        even = pages <= _GROWTH * workers * self._scale
        sizes = [pages / workers] * (workers - 1)
        if not even:  # the end of a burst is near or far: parts grow
            sizes = [_FILLED * self._scale] * workers + [_FILLED * self._scale * _GROWTH] * workers
        windows = self._windows(self._times_at(np.cumsum(sizes)))
        windows = windows if self._order == "ascending" else windows[::-1]
        scales = [1] * (len(windows) - 1) + [1 if even else self._scale * (1 + _GROWTH)]
        return [Listing(window, scale=scale) for window, scale in zip(windows, scales, strict=True)]

    def _times_at(self, pages: np.ndarray) -> np.ndarray:
        """Find where a sorted listing is after so many pages: among those read, or beyond at the same pace."""
        read = np.concatenate(self._samples)
        beyond_ms = np.maximum(0, pages - self.page_count) * self._page_ms
        sign = 1 if self._order == "ascending" else -1
        positions = np.minimum(pages / self.page_count * len(read), len(read) - 1).astype("int64")
        times: np.ndarray = read[positions] + sign * beyond_ms
        return times

    def _windows(self, edges: np.ndarray) -> list[TimeRange]:
        """Cut the window at times, which may lie outside."""
        start_ms, end_ms = self.window.start_ms, self.window.end_ms
        inside = sorted({math.ceil(edge) for edge in edges.tolist() if start_ms < edge <= end_ms - 1})
        return [TimeRange(*pair) for pair in itertools.pairwise([start_ms, *inside, end_ms])]


@dataclass
class Query:
    """Calls of one function to read, in a window of start times or by ids, and how far they have been read."""

    function_id: int
    window: TimeRange | None = None
    status: str | None = None
    schedule_id: int | None = None
    call_ids: tuple[int, ...] = ()
    is_whole: bool = False
    """Whether to read it in one piece, since the service ignores windows."""
    app: FunctionApp | None = None
    """By what to ask for the calls, which are listed whole, if not by the function."""

    restarts: int = 0
    listing: Listing | None = None
    cursor: str | None = None
    cursors: set[int] = field(default_factory=set)
    ids_seen: set[int] = field(default_factory=set)
    pages_without_new: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    set_aside: Counter[InvalidRecord] = field(default_factory=Counter)
    is_finished: bool = False
    is_replaced: bool = False

    def __post_init__(self) -> None:
        """Start an empty listing."""
        self.is_whole = self.is_whole or self.app is not None
        if self.listing is None and self.window is not None:
            self.listing = Listing(self.window)

    @property
    def size(self) -> int:
        """Its share of the work: milliseconds of the window, or number of ids."""
        return len(self.call_ids) if self.window is None else self.window.length_ms

    @property
    def filters(self) -> tuple[int, str | None, int | None, FunctionApp | None]:
        """What it selects, in any window."""
        return self.function_id, self.status, self.schedule_id, self.app

    @property
    def remaining_pages(self) -> float:
        """Estimated number of pages that are not read yet."""
        return 1.0 if self.listing is None else self.listing.remaining

    def filter(self) -> dict[str, Any]:
        """Return the filter of the API, with a millisecond more at both ends, should the service exclude them."""
        assert self.window is not None  # noqa: S101 - queries by ids have no filter
        conditions = {
            "startTime": {"min": max(0, self.window.start_ms - 1), "max": self.window.end_ms},
            "status": self.status,
            "scheduleId": self.schedule_id,
        }
        return {name: value for name, value in conditions.items() if value is not None}

    def add_page(self, page: Page[Call]) -> bool:
        """Update the estimates; returns whether most calls are outside the window, so that cutting it is pointless."""
        ids = np.array([call.id for call in page.items], dtype="uint64")
        if len(ids) > _SAMPLE:
            ids = ids[ids * _HASH_FACTOR >> _HASH_SHIFT == 0]
        known_count = len(self.ids_seen)
        self.ids_seen.update(ids.tolist())
        self.pages_without_new = 0 if len(self.ids_seen) > known_count else self.pages_without_new + 1
        if self.window is None or self.listing is None:
            return False
        sample = [call.start_time for call in page.items[:: max(1, len(page.items) // _SAMPLE)]]
        low_ms, high_ms = self.window.start_ms, self.window.end_ms
        inside = [time for time in sample if low_ms <= time < high_ms]
        row_count = len(page.items) * len(inside) // max(1, len(sample))
        self.listing.add_page(inside, row_count, is_last=page.next_cursor is None)
        return 2 * sum(not low_ms - 1 <= time <= high_ms for time in sample) > len(sample)

    def restarted(self) -> Query:
        """Return the same query, unread."""
        fields = (self.function_id, self.window, self.status, self.schedule_id, self.call_ids)
        return Query(*fields, is_whole=self.is_whole, app=self.app, restarts=self.restarts + 1)

    def split(self, count: int) -> list[Query]:
        """Split into queries of consecutive time ranges of equal length."""
        if self.is_whole:
            return [self]
        assert self.window is not None  # noqa: S101 - queries by ids are never split
        return [Query(self.function_id, window, self.status, self.schedule_id) for window in self.window.split(count)]

    def cut(self, workers: int) -> list[Query]:
        """Cut into queries of consecutive time ranges, of lengths that follow from what was read."""
        if self.listing is None or self.is_whole:
            return []
        parts = self.listing.cut(workers)
        if len(parts) == 1:
            return []
        return [Query(self.function_id, part.window, self.status, self.schedule_id, listing=part) for part in parts]

    def select(self, table: pa.Table) -> tuple[pa.Table, Counter[InvalidRecord]]:
        """Select the calls of a page that match the query, and count the others by the reason that they do not."""
        call_ids, start_ms = table["call_id"].to_numpy(), table["start_time"].to_numpy()
        matches = {}
        if self.app is None:
            matches["its function is not the one that was asked for"] = _equal(table["function_id"], self.function_id)
        is_inside = np.ones(len(call_ids), dtype=bool)
        if self.window is not None:
            low_ms, high_ms = self.window.start_ms, self.window.end_ms
            is_inside = (start_ms >= low_ms) & (start_ms < high_ms)
            matches[_IGNORED.format("startTime")] = is_inside | (start_ms == low_ms - 1) | (start_ms == high_ms)
        if self.status is not None:
            matches[_IGNORED.format("status")] = _equal(table["status"].cast(pa.string()), self.status)
        if self.schedule_id is not None:
            matches[_IGNORED.format("scheduleId")] = _equal(table["schedule_id"], self.schedule_id)
        if self.call_ids:
            matches["its id is not one of those that were asked for"] = np.isin(call_ids, self.call_ids)
        is_match, others = np.ones(len(call_ids), dtype=bool), Counter[InvalidRecord]()
        for reason, mask in matches.items():
            if self.app is None and (differs := is_match & ~mask).any():
                others[InvalidRecord(reason, int(call_ids[differs][0]))] += int(differs.sum())
            is_match &= mask
        is_match &= is_inside
        return (table if is_match.all() else table.filter(pa.array(is_match))), others


def _equal(column: pa.ChunkedArray, value: str | int) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.equal(column, value), False))  # noqa: FBT003 - no name in pyarrow


def plan_queries(
    function_ids: Sequence[int],
    window: TimeRange,
    *,
    statuses: Sequence[str] = (),
    schedules: Sequence[tuple[int, int | None]] = (),
    workers: int,
    created_ms: Mapping[int, int | None] | None = None,
    sources: Sources = lambda _: (None,),
) -> list[Query]:
    """
    Make queries that together select the calls, and keep the workers busy.

    The API filters by a single status and a single schedule. Schedules are given with the id of their function, None if
    unknown. No statuses or no schedules means all. The time before a function was created, which should have no calls,
    is read in one piece. `sources` are the function apps to ask for the calls of a function, None for itself.
    """
    filters = [
        (function_id, app, status, schedule_id)
        for function_id in function_ids
        for app in sources(function_id)
        for status in (statuses if statuses and app is None else (None,))
        for schedule_id, schedule_function_id in (schedules or ((None, None),))
        if schedule_function_id in {None, function_id}
    ]
    parts = max(1, workers // max(1, len(filters)))
    return [
        Query(function_id, part, status, schedule_id, app=app)
        for function_id, app, status, schedule_id in filters
        for part in ([window] if app else _split(window, (created_ms or {}).get(function_id), parts))
    ]


def _split(window: TimeRange, created_ms: int | None, parts: int) -> list[TimeRange]:
    """Split a window into parts from a day before the function was created; what is before that is one part more."""
    first_ms = (created_ms or 0) - DAY_MS
    if parts == 1 or not window.start_ms < first_ms:
        return window.split(parts)
    if first_ms >= window.end_ms:
        return [window]
    return [*TimeRange(first_ms, window.end_ms).split(parts), TimeRange(window.start_ms, first_ms)]


def plan_queries_by_ids(
    function_ids: Sequence[int], call_ids: Sequence[int], sources: Sources = lambda _: (None,)
) -> list[Query]:
    """Make queries for calls by ids, one per request; every function is asked for all ids."""
    chunks = [
        tuple(call_ids[start : start + MAX_IDS_PER_REQUEST]) for start in range(0, len(call_ids), MAX_IDS_PER_REQUEST)
    ]
    return [
        Query(function_id, call_ids=ids, app=app)
        for function_id in function_ids
        for app in sources(function_id)
        for ids in (chunks if app is None else [tuple(call_ids)] if call_ids else [])
    ]
