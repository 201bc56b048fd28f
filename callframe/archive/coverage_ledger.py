"""Coverage ledger: which time ranges of which functions were read completely, could not be read, or are missing."""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import pyarrow as pa

from callframe import frame
from callframe.archive.schema import COVERAGE, TIME
from callframe.completeness import FunctionCoverage
from callframe.timespan import MAX_TIME_MS, MINUTE_MS, NO_TIME, TimeRange, iso, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Range = tuple[int, int]

STATES = ("complete", "partial", "missing")
"""States of a time range: the calls of all functions, of some or of none are in the archive."""

FORGOTTEN = "forgotten on"
"""How the reason of a time range begins whose calls were removed for good."""

_US_PER_MS = 1000
_MAX_RANGES = 3
_MAX_LABELS = 5


class Failure(NamedTuple):
    """A time range of a function that could not be read or was forgotten, the reason, and when that was."""

    start_ms: int
    end_ms: int
    reason: str
    time_ms: int


@dataclass
class CoverageLedger:
    """
    What was read of the functions of a project, by function id.

    Parameters
    ----------
    complete
        Disjoint time ranges that were read completely, in order.
    failures
        Time ranges that could not be read, and were not read since.
    read_time_ms
        When the function was last read.
    forgotten
        Time ranges whose calls were removed for good, and are not read again.
    """

    complete: dict[int, list[Range]] = field(default_factory=dict)
    failures: dict[int, list[Failure]] = field(default_factory=dict)
    read_time_ms: dict[int, int] = field(default_factory=dict)
    forgotten: dict[int, list[Failure]] = field(default_factory=dict)

    def add_complete(self, function_id: int, window: TimeRange, time_ms: int) -> None:
        """Record that a time range was read completely."""
        self._add(function_id, [(window.start_ms, window.end_ms)], [], time_ms)

    def add_failure(self, function_id: int, window: TimeRange, reason: str, time_ms: int) -> None:
        """Record that a time range could not be read."""
        self._add(function_id, [], [Failure(window.start_ms, window.end_ms, reason, time_ms)])

    def forget(self, function_id: int, window: TimeRange, time_ms: int) -> None:
        """Record that the calls of a time range were removed for good."""
        reason = f"{FORGOTTEN} {iso(time_ms)[:10]}"
        self._forget(function_id, Failure(window.start_ms, window.end_ms, reason, time_ms))

    def _forget(self, function_id: int, part: Failure) -> None:
        others = [
            other
            for other in self.forgotten.get(function_id, [])
            if other.start_ms < part.start_ms or other.end_ms > part.end_ms
        ]
        self.forgotten[function_id] = sorted([*others, part])
        self._add(function_id, [], [])

    def without_forgotten(self, function_id: int, ranges: Iterable[Range]) -> list[Range]:
        """Cut what was forgotten out of disjoint time ranges."""
        forgotten = union(part[:2] for part in self.forgotten.get(function_id, []))
        return [part for whole in ranges for part in subtract(whole, forgotten)]

    def merge(self, other: CoverageLedger) -> None:
        """Add what another ledger records; the order of merges does not matter."""
        for function_id, parts in other.forgotten.items():
            for part in parts:
                self._forget(function_id, part)
        for function_id in {*other.complete, *other.failures}:
            complete, failures = other.complete.get(function_id, []), other.failures.get(function_id, [])
            self._add(function_id, complete, failures, other.read_time_ms.get(function_id))

    def forget_future(self, now_ms: int, kept_since_ms: int) -> None:
        """
        Forget complete ranges that end after now, which were read when a clock was wrong.

        Where in them the calls end is unknown, so all that the service still has is to be read again. A minute is only
        cut off: every sync reads the latest minutes again.
        """
        for ranges in self.complete.values():
            while ranges and ranges[-1][1] > now_ms:
                start_ms, end_ms = ranges.pop()
                known_end_ms = now_ms if end_ms - now_ms <= MINUTE_MS else kept_since_ms
                ranges.extend([(start_ms, known_end_ms)] if start_ms < known_end_ms else [])
        self.read_time_ms = {key: min(time_ms, now_ms) for key, time_ms in self.read_time_ms.items()}

    def missing(self, function_id: int, window: TimeRange) -> list[TimeRange]:
        """List the parts of a time range that were not read completely, in order."""
        complete = self.complete.get(function_id, [])
        return [TimeRange(*part) for part in subtract((window.start_ms, window.end_ms), complete)]

    def failure_reasons(self, function_id: int, windows: Iterable[TimeRange]) -> set[str]:
        """Return the latest reasons why parts of time ranges could not be read; none if that was not tried."""
        reasons = set()
        for window in windows:
            overlapping = [
                failure
                for failure in [*self.failures.get(function_id, []), *self.forgotten.get(function_id, [])]
                if failure.start_ms < window.end_ms and failure.end_ms > window.start_ms
            ]
            reasons |= {max(overlapping, key=lambda failure: failure.time_ms).reason} if overlapping else set()
        return reasons

    @property
    def extent(self) -> TimeRange | None:
        """From the first to the last time that was read or tried."""
        ranges = [part for parts in self.complete.values() for part in parts]
        ranges += [failure[:2] for failures in self.failures.values() for failure in failures]
        return TimeRange(min(start for start, _ in ranges), max(end for _, end in ranges)) if ranges else None

    @property
    def last_read_ms(self) -> int:
        """When anything was last read or tried, 0 if never."""
        tried = [failure.time_ms for failures in self.failures.values() for failure in failures]
        return max([*self.read_time_ms.values(), *tried], default=0)

    def _add(
        self, function_id: int, complete: Sequence[Range], failures: Sequence[Failure], time_ms: int | None = None
    ) -> None:
        """Add time ranges; of the failures only those not read since remain, each time with its latest reason."""
        if time_ms is not None:
            self.complete[function_id] = union([*self.complete.get(function_id, []), *complete])
            self.read_time_ms[function_id] = max(time_ms, self.read_time_ms.get(function_id, 0))
        if function_id in self.complete:
            self.complete[function_id] = self.without_forgotten(function_id, self.complete[function_id])
        unread: list[Failure] = []
        tried = [*self.failures.pop(function_id, []), *failures]
        for failure in sorted(tried, key=lambda failure: failure.time_ms, reverse=True):
            covered = union([*self.complete.get(function_id, []), *(other[:2] for other in unread)])
            left = self.without_forgotten(function_id, subtract(failure[:2], covered))
            unread += [failure._replace(start_ms=low, end_ms=high) for low, high in left]
        if unread:
            self.failures[function_id] = _join(sorted(unread))

    def to_rows(self, project: str) -> pa.Table:
        """Convert to rows of the schema `COVERAGE`."""
        rows: list[tuple[Any, ...]] = [
            (project, function_id, start_ms, end_ms, True, None, self.read_time_ms[function_id])
            for function_id, ranges in self.complete.items()
            for start_ms, end_ms in ranges
        ]
        rows += [
            (project, function_id, failure.start_ms, failure.end_ms, False, failure.reason, failure.time_ms)
            for function_id, failures in itertools.chain(self.failures.items(), self.forgotten.items())
            for failure in failures
        ]
        columns = list(zip(*sorted(rows, key=lambda row: row[:3]), strict=True)) or [()] * len(COVERAGE)
        return pa.table(
            [
                pa.array([value * _US_PER_MS for value in values], pa.int64()).cast(TIME)
                if dtype == TIME
                else pa.array(values, dtype)
                for values, dtype in zip(columns, COVERAGE.types, strict=True)
            ],
            schema=COVERAGE,
        )

    @classmethod
    def from_rows(cls, rows: pa.Table) -> CoverageLedger:
        """Convert rows of one project."""
        ledger = cls()
        columns = [
            [value // _US_PER_MS for value in rows[name].cast(pa.int64()).to_pylist()]
            if COVERAGE.field(name).type == TIME
            else rows[name].to_pylist()
            for name in COVERAGE.names[1:]
        ]
        for function_id, start_ms, end_ms, complete, reason, time_ms in zip(*columns, strict=True):
            if complete:
                ledger.complete.setdefault(function_id, []).append((start_ms, end_ms))
                ledger.read_time_ms[function_id] = max(time_ms, ledger.read_time_ms.get(function_id, 0))
            elif (reason or "").startswith(FORGOTTEN):
                ledger.forgotten.setdefault(function_id, []).append(Failure(start_ms, end_ms, reason, time_ms))
            else:
                ledger.failures.setdefault(function_id, []).append(Failure(start_ms, end_ms, reason or "", time_ms))
        ledger.complete = {function_id: union(ranges) for function_id, ranges in ledger.complete.items()}
        return ledger


@dataclass(frozen=True)
class FunctionLifetime:
    """A function id with its label, and when it was deployed and deleted, None if unknown."""

    function_id: int
    function: str
    start_ms: int | None
    end_ms: int | None

    def within(self, window: TimeRange) -> TimeRange | None:
        """Return the part of a time range in which the function existed."""
        start_ms = max(window.start_ms, self.start_ms or 0)
        end_ms = window.end_ms if self.end_ms is None else min(window.end_ms, self.end_ms)
        return TimeRange(start_ms, end_ms) if start_ms < end_ms else None


def lifetimes(functions: pd.DataFrame) -> list[FunctionLifetime]:
    """Read the lifetimes of functions from the frame of `Archive.functions`, by label, earlier deployments first."""
    created, gone = (
        [None if time_ms == NO_TIME else time_ms for time_ms in to_milliseconds(functions[name]).tolist()]
        for name in ("created_time", "gone_time")
    )
    rows = zip(functions["function_id"].tolist(), functions["function"].tolist(), created, gone, strict=True)
    return sorted(itertools.starmap(FunctionLifetime, rows), key=lambda row: (row.function, row.start_ms or 0))


def function_coverage(
    ledger: CoverageLedger, functions: Sequence[FunctionLifetime], window: TimeRange, counts: Mapping[int, int]
) -> list[FunctionCoverage]:
    """Describe how completely a time range is in the archive, for each function that existed in it or has calls."""
    rows = []
    for function in functions:
        existed, calls = function.within(window), counts.get(function.function_id, 0)
        if existed is None and not calls:
            continue
        missing = [] if existed is None else ledger.missing(function.function_id, existed)
        causes = sorted(ledger.failure_reasons(function.function_id, missing))
        reason = f"not in the archive: {format_ranges(missing)}" + (f" ({'; '.join(causes)})" if causes else "")
        rows.append(
            FunctionCoverage(
                function.function_id,
                function.function,
                reasons=(reason,) if missing else (),
                calls=calls,
                created_ms=function.start_ms,
                missing=tuple(missing),
            )
        )
    return rows


def coverage_by_time(ledger: CoverageLedger, functions: Sequence[FunctionLifetime], window: TimeRange) -> pd.DataFrame:
    """Make the frame of `Archive.coverage`."""
    existed = {function: part for function in functions if (part := function.within(window)) is not None}
    missing = {function: ledger.missing(function.function_id, part) for function, part in existed.items()}
    edges = {window.start_ms, window.end_ms}
    for part in itertools.chain(existed.values(), *missing.values()):
        edges |= {part.start_ms, part.end_ms}
    tried = [] if ledger.extent is None else [ledger.extent]
    periods = []
    for start_ms, end_ms in itertools.pairwise(sorted(edges)):
        present = [function for function, part in existed.items() if _contains([part], start_ms)]
        absent = {function for function in present if _contains(missing[function], start_ms)}
        complete = not absent and (bool(present) or _contains(tried, start_ms))
        state = "complete" if complete else "missing" if len(absent) == len(present) else "partial"
        key = (state, [] if state == "missing" else _labels(absent))  # if all are, it does not matter which
        periods.append((key, start_ms, end_ms, len(_labels(present)), absent))
    rows = []
    for (state, _), group in itertools.groupby(periods, key=operator.itemgetter(0)):
        _, starts_ms, ends_ms, counts, absent_in = zip(*group, strict=True)
        period, absent = TimeRange(starts_ms[0], ends_ms[-1]), set().union(*absent_in)
        reasons: set[str] = set()
        for function in absent:
            reasons |= ledger.failure_reasons(function.function_id, [period])
        labels = _abbreviate(_labels(absent), _MAX_LABELS)
        rows.append((period, state, max(counts), labels or None, "; ".join(sorted(reasons)) or None))
    return coverage_frame(rows)


def coverage_frame(rows: Sequence[tuple[TimeRange, str, int, str | None, str | None]]) -> pd.DataFrame:
    """Make the frame of `Archive.coverage` from its rows."""
    periods, states, counts, missing, reasons = zip(*rows, strict=True) if rows else ((),) * 5
    categories = pd.CategoricalDtype(pd.Series(list(STATES), dtype=frame.TEXT), ordered=True)
    return pd.DataFrame(
        {
            "start_time": frame.time_column([period.start_ms for period in periods]),
            "end_time": frame.time_column([min(period.end_ms, MAX_TIME_MS) for period in periods]),
            "state": pd.Categorical(states, dtype=categories),
            "functions": pd.Series(counts, dtype="int64"),
            "missing_functions": frame.text_column(missing),
            "reason": frame.text_column(reasons),
        }
    )


def _labels(functions: Iterable[FunctionLifetime]) -> list[str]:
    return sorted({function.function for function in functions})


def union(ranges: Iterable[Range]) -> list[Range]:
    """Join ranges that touch or overlap, without empty ones."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        elif start < end:
            joined.append((start, end))
    return joined


def subtract(window: Range, ranges: Iterable[Range]) -> list[Range]:
    """List the parts of a range outside of others, which are disjoint and in order."""
    low, high = window
    parts = []
    for start, end in ranges:
        if end <= low or start >= high:
            continue
        if start > low:
            parts.append((low, start))
        low = max(low, end)
    return [*parts, (low, high)] if low < high else parts


def format_ranges(ranges: Sequence[TimeRange]) -> str:
    """Format the first few time ranges."""
    return _abbreviate([f"{iso(part.start_ms)} to {iso(part.end_ms)}" for part in ranges], _MAX_RANGES)


def _abbreviate(items: Sequence[str], most: int) -> str:
    more = [f"{len(items) - most} more"] if len(items) > most else []
    return ", ".join([*items[:most], *more])


def _contains(ranges: Iterable[TimeRange], time_ms: int) -> bool:
    return any(part.start_ms <= time_ms < part.end_ms for part in ranges)


def _join(failures: Sequence[Failure]) -> list[Failure]:
    """Join adjacent failures with the same reason."""
    joined: list[Failure] = []
    for failure in failures:
        last = joined[-1] if joined else None
        if last is not None and last.end_ms == failure.start_ms and last.reason == failure.reason:
            joined[-1] = Failure(last.start_ms, failure.end_ms, failure.reason, max(last.time_ms, failure.time_ms))
        else:
            joined.append(failure)
    return joined
