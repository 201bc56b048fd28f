"""Which stretches of time are known of which function: what was read, what could not be, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from callframe import timespan
from callframe.timespan import TimeRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STORED = pa.schema(
    [
        ("project", pa.string()),
        ("function_id", pa.int64()),
        ("start_time", pa.timestamp("us", "UTC")),
        ("end_time", pa.timestamp("us", "UTC")),
        ("complete", pa.bool_()),
        ("reason", pa.large_string()),
        ("read_time", pa.timestamp("us", "UTC")),
    ]
)
"""A row of the table of stretches: one that was read completely, or one that could not be, with the reason."""

_US = 1000


class Failure(NamedTuple):
    """A stretch of a function that could not be read, why, and when it was tried."""

    start_ms: int
    end_ms: int
    reason: str
    at_ms: int


@dataclass
class CoverageLedger:
    """
    What is known of the functions of a project.

    Parameters
    ----------
    complete
        By function id: stretches that were read completely, in order, apart from each other.
    failures
        By function id: stretches that could not be read, and have not been since.
    read_ms
        By function id: when something of it was last read.
    """

    complete: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    failures: dict[int, list[Failure]] = field(default_factory=dict)
    read_ms: dict[int, int] = field(default_factory=dict)

    def read(self, function_id: int, stretch: TimeRange, at_ms: int) -> None:
        """Note that a stretch was read completely."""
        self.complete[function_id] = union([*self.complete.get(function_id, []), (stretch.start_ms, stretch.end_ms)])
        self.read_ms[function_id] = max(at_ms, self.read_ms.get(function_id, 0))
        self._settle(function_id)

    def failed(self, function_id: int, stretch: TimeRange, reason: str, at_ms: int) -> None:
        """Note that a stretch could not be read."""
        one = Failure(stretch.start_ms, stretch.end_ms, reason, at_ms)
        self.failures[function_id] = [*self.failures.get(function_id, []), one]
        self._settle(function_id)

    def add(self, other: CoverageLedger) -> None:
        """Take in what another has noted, whichever came first."""
        for function_id, stretches in other.complete.items():
            self.complete[function_id] = union([*self.complete.get(function_id, []), *stretches])
            self.read_ms[function_id] = max(other.read_ms[function_id], self.read_ms.get(function_id, 0))
        for function_id, failures in other.failures.items():
            self.failures[function_id] = [*self.failures.get(function_id, []), *failures]
        for function_id in {*self.complete, *self.failures}:
            self._settle(function_id)

    def lacking(self, function_id: int, stretch: TimeRange) -> list[TimeRange]:
        """List the parts of a stretch that have not been read completely, in order."""
        return [
            TimeRange(*part)
            for part in subtract((stretch.start_ms, stretch.end_ms), self.complete.get(function_id, []))
        ]

    def why(self, function_id: int, stretch: TimeRange) -> str | None:
        """Tell why a part of a stretch could not be read, the latest reason; None where it was not tried."""
        touching = [
            one
            for one in self.failures.get(function_id, [])
            if one.start_ms < stretch.end_ms and one.end_ms > stretch.start_ms
        ]
        return max(touching, key=lambda one: one.at_ms).reason if touching else None

    def _settle(self, function_id: int) -> None:
        """Keep of the failures what has not been read since, each moment with its latest reason."""
        left: list[Failure] = []
        for one in sorted(self.failures.pop(function_id, []), key=lambda one: one.at_ms, reverse=True):
            done = [*self.complete.get(function_id, []), *((other.start_ms, other.end_ms) for other in left)]
            left += [one._replace(start_ms=low, end_ms=high) for low, high in subtract(one[:2], union(done))]
        if left:
            self.failures[function_id] = _joined(sorted(left))

    def rows(self, project: str) -> pa.Table:
        """Write as rows of the table of stretches."""
        rows: list[tuple[Any, ...]] = [
            (function_id, low, high, True, None, self.read_ms[function_id])
            for function_id, stretches in self.complete.items()
            for low, high in stretches
        ]
        rows += [
            (function_id, *one[:2], False, one.reason, one.at_ms)
            for function_id, found in self.failures.items()
            for one in found
        ]
        columns = list(zip(*sorted(rows, key=lambda row: row[:2]), strict=True)) or [()] * 6
        ids, lows, highs, complete, reasons, read = columns
        return pa.table(
            [
                pa.array([project] * len(ids), pa.string()),
                pa.array(ids, pa.int64()),
                _stamps(lows),
                _stamps(highs),
                pa.array(complete, pa.bool_()),
                pa.array(reasons, pa.large_string()),
                _stamps(read),
            ],
            schema=STORED,
        )

    @classmethod
    def of(cls, rows: pa.Table) -> CoverageLedger:
        """Read from rows of the table of stretches, all of one project."""
        known = cls()
        for row in _plain(rows):
            function_id, low, high, complete, reason, read = row
            if complete:
                known.complete.setdefault(function_id, []).append((low, high))
                known.read_ms[function_id] = max(read, known.read_ms.get(function_id, 0))
            else:
                known.failures.setdefault(function_id, []).append(Failure(low, high, reason or "", read))
        for function_id, stretches in known.complete.items():
            known.complete[function_id] = union(stretches)
        return known


def union(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join stretches that touch or overlap; those without length are left out."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(stretches):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(high, found[-1][1])
        elif low < high:
            found.append((low, high))
    return found


def subtract(stretch: Sequence[int], known: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """List what of a stretch lies in none of others, which are in order and apart."""
    low, high = stretch
    found = []
    for start, end in known:
        if end <= low or start >= high:
            continue
        if start > low:
            found.append((low, start))
        low = max(low, end)
    return [*found, (low, high)] if low < high else found


def shown(stretches: Sequence[TimeRange], most: int = 3) -> str:
    """Write stretches for a sentence, the first few of them."""
    words = [f"{timespan.iso(one.start_ms)} to {timespan.iso(one.end_ms)}" for one in stretches[:most]]
    more = [f"{len(stretches) - most} more"] if len(stretches) > most else []
    return ", ".join([*words, *more])


def _joined(failures: Sequence[Failure]) -> list[Failure]:
    """Join failures that touch and have one reason."""
    found: list[Failure] = []
    for one in failures:
        last = found[-1] if found else None
        if last is not None and last.end_ms == one.start_ms and last.reason == one.reason:
            found[-1] = Failure(last.start_ms, one.end_ms, one.reason, max(last.at_ms, one.at_ms))
        else:
            found.append(one)
    return found


def _stamps(values: Sequence[int]) -> pa.Array:
    return pa.array([value * _US for value in values], pa.int64()).cast(pa.timestamp("us", "UTC"))


def _plain(rows: pa.Table) -> list[tuple[Any, ...]]:
    numbers = [
        [value // _US for value in rows[name].cast(pa.int64()).to_pylist()]
        for name in ("start_time", "end_time", "read_time")
    ]
    ids, complete, reasons = (rows[name].to_pylist() for name in ("function_id", "complete", "reason"))
    return list(zip(ids, numbers[0], numbers[1], complete, reasons, numbers[2], strict=True))
