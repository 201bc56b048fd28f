"""
The calls of one function: columns to filter and page by, and the JSON bytes of each record.

A generated call is columns only and becomes bytes when a page first shows it; a given record keeps its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from callframe.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

ABSENT = -(2**63) + 1
"""What a column holds where the record has no such field, or no whole number in it."""

STATUSES = ("Completed", "Failed", "Running", "Timeout")
COMPLETED, FAILED, RUNNING, TIMEOUT = range(4)

COLUMNS = ("id", "tie", "start", "end", "scheduled", "schedule_id", "status", "cause")
"""`tie` is unique and orders calls of one start; `cause` numbers the reason of a generated failure."""


class Range(NamedTuple):
    """A range with both ends included; None is open."""

    low: int | None = None
    high: int | None = None


class Position(NamedTuple):
    """A place in a listing: just after the call with this start and tie."""

    start: int
    tie: int


class Filter(NamedTuple):
    """What a listing of calls is narrowed to."""

    schedule_id: int | None = None
    status: str | None = None
    start: Range = Range()
    end: Range = Range()


class Page(NamedTuple):
    """Some records of a listing, and where the next ones are; None when there are none."""

    records: list[bytes]
    following: Position | None


class CallStore:
    """
    The calls of one function, newest start first.

    Parameters
    ----------
    function_id
        Id of the function.
    columns
        Arrays of one length by the names in `COLUMNS`, int64 ids and ms, `ABSENT` where there is none.
    records
        The JSON of each call, None where it is to be made from the columns.
    error
        Tells the `error` of a made call from its id, start and cause.
    """

    def __init__(
        self,
        function_id: int,
        columns: Mapping[str, NDArray[np.int64]],
        *,
        records: list[bytes | None] | None = None,
        error: Callable[[int, int, int], Any] | None = None,
    ) -> None:
        self.function_id = function_id
        self._statuses = list(STATUSES)
        self.error = error
        self._nameless = 0
        order = np.lexsort((columns["tie"], columns["start"]))[::-1]
        self.columns = {name: np.ascontiguousarray(columns[name][order], dtype=np.int64) for name in COLUMNS}
        self._records = [None] * len(order) if records is None else [records[at] for at in order.tolist()]

    @classmethod
    def of(cls, function_id: int, records: Iterable[Mapping[str, Any] | bytes]) -> CallStore:
        """Hold records just as they are given, the broken ones too."""
        empty = cls(function_id, {name: np.empty(0, np.int64) for name in COLUMNS})
        texts: list[bytes | None] = []
        rows, taken = [], set[int]()
        for record in records:
            text, fields = text_and_fields(record)
            row = empty._row(fields, taken)
            taken.add(row[0])
            texts.append(text)
            rows.append(row)
        table = np.array(rows, dtype=np.int64).reshape(-1, len(COLUMNS))
        history = cls(function_id, dict(zip(COLUMNS, table.T, strict=True)), records=texts)
        history._statuses, history._nameless = empty._statuses, empty._nameless
        return history

    def __len__(self) -> int:
        """Count the calls."""
        return len(self._records)

    def __repr__(self) -> str:
        """Tell whose calls, and how many."""
        return f"<History of function {self.function_id}: {len(self):,} calls>"

    def page(self, wanted: Filter, *, after: Position | None = None, limit: int) -> Page:
        """
        Read the next calls of a listing.

        Parameters
        ----------
        wanted
            What the listing is narrowed to.
        after
            Where the page before ended; None for the first page.
        limit
            Number of calls at most; 0 is a page that only says where to go on.

        Returns
        -------
        page
            The records, and the position to go on from.
        """
        first = 0 if after is None else self._following(after)
        if wanted == Filter():
            rows: range | list[int] = range(first, min(first + limit, len(self)))
            more = first + limit < len(self)
        else:
            matches = np.flatnonzero(self._matches(wanted, first)) + first
            rows, more = matches[:limit].tolist(), len(matches) > limit
        if not more:
            return Page(self._render(rows), None)
        if not rows:
            return Page([], after or Position(2**63 - 1, 2**63 - 1))
        last = rows[-1]
        return Page(self._render(rows), Position(int(self.columns["start"][last]), int(self.columns["tie"][last])))

    def find(self, call_ids: Iterable[int]) -> dict[int, bytes]:
        """Look calls up by id; an id that is not there is left out."""
        asked = np.array([number for number in call_ids if whole(number) > 0], dtype=np.int64)
        rows = np.flatnonzero(np.isin(self.columns["id"], asked)).tolist()
        return dict(zip(self.columns["id"][rows].tolist(), self._render(rows), strict=True))

    def add(self, record: Mapping[str, Any] | bytes) -> None:
        """Add a call, at the place its start gives it."""
        text, fields = text_and_fields(record)
        row = self._row(fields, self.columns["id"])
        at = self._following(Position(row[COLUMNS.index("start")], row[COLUMNS.index("tie")]))
        self.columns = {name: np.insert(self.columns[name], at, row[i]) for i, name in enumerate(COLUMNS)}
        self._records.insert(at, text)

    def replace(self, record: Mapping[str, Any] | bytes) -> None:
        """Put a record in the place of the one with its id, which must be there."""
        self.remove(whole(text_and_fields(record)[1].get("id")))
        self.add(record)

    def remove(self, call_id: int) -> None:
        """Take a call out, which must be there."""
        rows = np.flatnonzero(self.columns["id"] == call_id).tolist() if call_id != ABSENT else []
        if not rows:
            raise ArgumentError(f"Function {self.function_id} has no call {call_id}.")
        self.columns = {name: np.delete(column, rows[0]) for name, column in self.columns.items()}
        del self._records[rows[0]]

    def _following(self, position: Position) -> int:
        ascending = self.columns["start"][::-1]
        low = len(self) - int(np.searchsorted(ascending, position.start, side="right"))
        high = len(self) - int(np.searchsorted(ascending, position.start, side="left"))
        return low + int(np.count_nonzero(self.columns["tie"][low:high] >= position.tie))

    def _matches(self, wanted: Filter, first: int) -> NDArray[np.bool_]:
        start, end = self.columns["start"][first:], self.columns["end"][first:]
        # A start that breaks the contract passes every window: no client would ever see it otherwise.
        matches = _within(start, wanted.start) | (start < 0)
        if wanted.end != Range():
            matches &= _within(end, wanted.end) & (end != ABSENT)
        if wanted.schedule_id is not None:
            matches &= self.columns["schedule_id"][first:] == wanted.schedule_id
        if wanted.status is not None:
            code = self._statuses.index(wanted.status) if wanted.status in self._statuses else ABSENT
            matches &= self.columns["status"][first:] == code
        return matches

    def _row(self, fields: Mapping[str, Any], taken: Any) -> tuple[int, ...]:
        call_id, status = whole(fields.get("id")), str(fields.get("status"))
        if status not in self._statuses:
            self._statuses.append(status)
        tie = call_id
        if call_id < 0 or call_id in taken:
            self._nameless += 1
            tie = -self._nameless
        start, end = whole(fields.get("startTime")), whole(fields.get("endTime"))
        scheduled, schedule_id = whole(fields.get("scheduledTime")), whole(fields.get("scheduleId"))
        return call_id, tie, start, end, scheduled, schedule_id, self._statuses.index(status), ABSENT

    def _render(self, rows: range | list[int]) -> list[bytes]:
        missing = [row for row in rows if self._records[row] is None]
        if missing:
            for row, made in zip(missing, self._texts(missing), strict=True):
                self._records[row] = made
        return [text for row in rows if (text := self._records[row]) is not None]

    def _texts(self, rows: list[int]) -> Iterable[bytes]:
        ids, _, starts, ends, slots, schedules, codes, causes = (self.columns[name][rows].tolist() for name in COLUMNS)
        statuses = [f',"functionId":{self.function_id},"status":"{status}","startTime":' for status in self._statuses]
        # Formatted by hand: ten times as fast as a dict and `json.dumps` for each of a million calls.
        for call_id, start, end, slot, schedule, code, cause in zip(
            ids, starts, ends, slots, schedules, codes, causes, strict=True
        ):
            if cause == ABSENT and ABSENT not in (end, schedule):
                times = f',"endTime":{end},"scheduledTime":{slot},"scheduleId":{schedule}}}'
                yield f'{{"id":{call_id}{statuses[code]}{start}{times}'.encode()
                continue
            text = f'{{"id":{call_id}{statuses[code]}{start}'
            if end != ABSENT:
                text += f',"endTime":{end}'
            if schedule != ABSENT:
                text += f',"scheduledTime":{slot},"scheduleId":{schedule}'
            if cause != ABSENT and self.error is not None:
                text += f',"error":{json.dumps(self.error(call_id, start, cause))}'
            yield (text + "}").encode()


def whole(value: Any) -> int:
    """Read a whole number of 64 bits; anything else is `ABSENT`."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < -ABSENT:
        return value
    return ABSENT


def text_and_fields(record: Mapping[str, Any] | bytes) -> tuple[bytes, Mapping[str, Any]]:
    """Give a record both ways: the JSON to serve, and its fields."""
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ArgumentError(f"A call is a JSON object, not {type(fields).__name__}.")
    return text, fields


def _within(times: NDArray[np.int64], wanted: Range) -> NDArray[np.bool_]:
    low = ABSENT if wanted.low is None else wanted.low
    high = -ABSENT if wanted.high is None else wanted.high
    return (times >= low) & (times <= high)
