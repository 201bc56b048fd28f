"""The data that the embedded service serves: functions, schedules and calls, all of which may change."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from callframe.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    Record = Mapping[str, Any]
    CallRecord = Mapping[str, Any] | bytes

LIMITS = {
    "timeoutMinutes": 10,
    "cpuCores": {"min": 0.1, "max": 3.0, "default": 1.0},
    "memoryGb": {"min": 0.1, "max": 7.0, "default": 1.5},
    "runtimes": ["py310", "py311", "py312"],
    "responseSizeMb": 2,
}

MISSING = -(2**63) + 1
"""Value of a column where the record has no such field, or not an integer in it."""

STATUSES = ("Completed", "Failed", "Running", "Timeout")
COMPLETED, FAILED, RUNNING, TIMEOUT = range(4)

COLUMNS = ("id", "tie", "start", "end", "scheduled", "schedule_id", "status", "cause")
"""`tie` is unique and orders calls with the same start; `cause` is the number of the error sample."""


class Range(NamedTuple):
    """A closed range; None is open."""

    low: int | None = None
    high: int | None = None


class Position(NamedTuple):
    """The position in a listing just after the call with this start and tie."""

    start: int
    tie: int


class Filter(NamedTuple):
    """The filter of a listing."""

    schedule_id: int | None = None
    status: str | None = None
    start: Range = Range()
    end: Range = Range()


class Page(NamedTuple):
    """Records of a listing, and the position of the next page; None on the last page."""

    records: list[bytes]
    next_position: Position | None


class CallStore:
    """
    The calls of one function, newest first, as columns to filter and page by and the JSON of each call.

    `columns` holds int64 arrays by the names in `COLUMNS`. The JSON is that in `records`, or None to render it from the
    columns when a page first needs it, with `error(id, start, cause)`.
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
        self.error = error
        self._statuses = list(STATUSES)
        self._calls_without_own_id = 0
        order = np.lexsort((columns["tie"], columns["start"]))[::-1]
        self.columns = {name: np.ascontiguousarray(columns[name][order], dtype=np.int64) for name in COLUMNS}
        self._records = [None] * len(order) if records is None else [records[row] for row in order.tolist()]

    @classmethod
    def from_records(cls, function_id: int, records: Iterable[CallRecord]) -> CallStore:
        """Store records unchanged, invalid ones too."""
        empty = cls(function_id, {name: np.empty(0, np.int64) for name in COLUMNS})
        texts: list[bytes | None] = []
        rows, ids = [], set[int]()
        for record in records:
            text, fields = _text_and_fields(record)
            row = empty._row(fields, ids)
            ids.add(row[0])
            texts.append(text)
            rows.append(row)
        table = np.array(rows, dtype=np.int64).reshape(-1, len(COLUMNS))
        store = cls(function_id, dict(zip(COLUMNS, table.T, strict=True)), records=texts)
        store._statuses, store._calls_without_own_id = empty._statuses, empty._calls_without_own_id
        return store

    def __len__(self) -> int:
        """Count the calls."""
        return len(self._records)

    def page(self, filter_: Filter, *, after: Position | None = None, limit: int) -> Page:
        """Return up to `limit` calls from a position on; a page of 0 calls only gives the position of the next."""
        first = 0 if after is None else self._row_after(after)
        if filter_ == Filter():
            rows: range | list[int] = range(first, min(first + limit, len(self)))
            has_more = first + limit < len(self)
        else:
            matches = np.flatnonzero(self._matches(filter_, first)) + first
            rows, has_more = matches[:limit].tolist(), len(matches) > limit
        if not has_more:
            return Page(self._render(rows), None)
        if not rows:
            return Page([], after or Position(2**63 - 1, 2**63 - 1))
        last = rows[-1]
        return Page(self._render(rows), Position(int(self.columns["start"][last]), int(self.columns["tie"][last])))

    def by_ids(self, call_ids: Iterable[int]) -> dict[int, bytes]:
        """Return calls by id, without ids that do not exist."""
        wanted = np.array([call_id for call_id in call_ids if integer_or_missing(call_id) > 0], dtype=np.int64)
        rows = np.flatnonzero(np.isin(self.columns["id"], wanted)).tolist()
        return dict(zip(self.columns["id"][rows].tolist(), self._render(rows), strict=True))

    def add(self, record: CallRecord) -> None:
        """Insert a call by its start."""
        text, fields = _text_and_fields(record)
        row = self._row(fields, self.columns["id"])
        place = self._row_after(Position(row[COLUMNS.index("start")], row[COLUMNS.index("tie")]))
        self.columns = {name: np.insert(self.columns[name], place, row[i]) for i, name in enumerate(COLUMNS)}
        self._records.insert(place, text)

    def replace(self, record: CallRecord) -> None:
        """Replace the call with the same id."""
        self.remove(integer_or_missing(_text_and_fields(record)[1].get("id")))
        self.add(record)

    def remove(self, call_id: int) -> None:
        """Remove a call."""
        rows = np.flatnonzero(self.columns["id"] == call_id).tolist() if call_id != MISSING else []
        if not rows:
            raise ArgumentError(f"Function {self.function_id} has no call {call_id}.")
        self.columns = {name: np.delete(column, rows[0]) for name, column in self.columns.items()}
        del self._records[rows[0]]

    def _row_after(self, position: Position) -> int:
        ascending = self.columns["start"][::-1]
        low = len(self) - int(np.searchsorted(ascending, position.start, side="right"))
        high = len(self) - int(np.searchsorted(ascending, position.start, side="left"))
        return low + int(np.count_nonzero(self.columns["tie"][low:high] >= position.tie))

    def _matches(self, filter_: Filter, first: int) -> NDArray[np.bool_]:
        start, end = self.columns["start"][first:], self.columns["end"][first:]
        # An invalid start passes every filter; otherwise no client would ever receive it.
        matches = _within(start, filter_.start) | (start < 0)
        if filter_.end != Range():
            matches &= _within(end, filter_.end) & (end != MISSING)
        if filter_.schedule_id is not None:
            matches &= self.columns["schedule_id"][first:] == filter_.schedule_id
        if filter_.status is not None:
            code = self._statuses.index(filter_.status) if filter_.status in self._statuses else MISSING
            matches &= self.columns["status"][first:] == code
        return matches

    def _row(self, fields: Record, existing_ids: Any) -> tuple[int, ...]:
        call_id, status = integer_or_missing(fields.get("id")), str(fields.get("status"))
        if status not in self._statuses:
            self._statuses.append(status)
        tie = call_id
        if call_id < 0 or call_id in existing_ids:
            self._calls_without_own_id += 1
            tie = -self._calls_without_own_id
        names = ("startTime", "endTime", "scheduledTime", "scheduleId")
        numbers = [integer_or_missing(fields.get(name)) for name in names]
        return call_id, tie, *numbers, self._statuses.index(status), MISSING

    def _render(self, rows: range | list[int]) -> list[bytes]:
        new = [row for row in rows if self._records[row] is None]
        if new:
            for row, rendered in zip(new, self._json(new), strict=True):
                self._records[row] = rendered
        return [text for row in rows if (text := self._records[row]) is not None]

    def _json(self, rows: list[int]) -> Iterable[bytes]:
        ids, _, starts, ends, times, schedules, codes, causes = (self.columns[name][rows].tolist() for name in COLUMNS)
        statuses = [f',"functionId":{self.function_id},"status":"{status}","startTime":' for status in self._statuses]
        # Formatted by hand: ten times as fast as a dict and `json.dumps` for each of a million calls.
        for call_id, start, end, time, schedule, code, cause in zip(
            ids, starts, ends, times, schedules, codes, causes, strict=True
        ):
            text = f'{{"id":{call_id}{statuses[code]}{start}'
            if end != MISSING:
                text += f',"endTime":{end}'
            if schedule != MISSING:
                text += f',"scheduledTime":{time},"scheduleId":{schedule}'
            if cause != MISSING and self.error is not None:
                text += f',"error":{json.dumps(self.error(call_id, start, cause))}'
            yield (text + "}").encode()


class ProjectData:
    """
    Functions, function apps, schedules and calls of a project, thread-safe.

    The calls of an app are a store of its own; an app that is among the functions too shares that of the function.
    `logs` and `response` are called with a function id and a call record; a call without a response gives None.
    """

    def __init__(
        self,
        *,
        functions: Iterable[Record],
        apps: Iterable[Record] = (),
        schedules: Iterable[Record] = (),
        stores: Mapping[int, CallStore],
        limits: Record | None = None,
        logs: Callable[[int, Record], list[dict[str, Any]]],
        response: Callable[[int, Record], Any],
    ) -> None:
        self._lock = threading.RLock()
        self._functions = [dict(record) for record in functions]
        self._apps = [dict(record) for record in apps]
        self._schedules = [dict(record) for record in schedules]
        self._stores = dict(stores)
        self._logs = logs
        self._response = response
        self.limits = dict(LIMITS if limits is None else limits)

    @classmethod
    def from_records(
        cls,
        *,
        functions: Iterable[Record],
        apps: Iterable[Record] = (),
        schedules: Iterable[Record] = (),
        calls: Iterable[CallRecord] | Mapping[int, Iterable[CallRecord]] = (),
        logs: Mapping[tuple[int, int], list[dict[str, Any]]] | None = None,
        responses: Mapping[tuple[int, int], Any] | None = None,
        limits: Record | None = None,
    ) -> ProjectData:
        """
        Build project data of records that are served unchanged, invalid ones too.

        A call is a mapping or bytes to serve; calls without a `functionId` are given by function id. Logs and responses
        are given by function id and call id.
        """
        functions, apps = list(functions), list(apps)
        ids = [integer_or_missing(record.get("id")) for record in (*functions, *apps)]
        records: dict[int, list[CallRecord]] = {function_id: [] for function_id in ids}
        records |= _by_function(calls)
        all_logs, all_responses = dict(logs or {}), dict(responses or {})
        return cls(
            functions=functions,
            apps=apps,
            schedules=schedules,
            stores={function_id: CallStore.from_records(function_id, group) for function_id, group in records.items()},
            limits=limits,
            logs=lambda function_id, call: all_logs.get((function_id, call["id"]), []),
            response=lambda function_id, call: all_responses.get((function_id, call["id"])),
        )

    @classmethod
    def generate(
        cls,
        *,
        calls: int = 150_000,
        functions: int = 20,
        seed: int = 0,
        end_time: datetime | None = None,
        days: float = 14,
    ) -> ProjectData:
        """
        Generate a sample project; the same arguments give the same data.

        Parameters
        ----------
        calls
            Exact number of calls.
        functions
            Number of functions, 1 to 100.
        seed
            Seed of the random generator.
        end_time
            End of the call history, when unfinished calls are running; None is now.
        days
            Length of the call history.

        Returns
        -------
        data
            Data for a `Service`.
        """
        from callframe.sample.generator import generate  # noqa: PLC0415 - it imports this module

        return generate(calls=calls, functions=functions, seed=seed, end_time=end_time, days=days)

    def __repr__(self) -> str:
        """Show the numbers of functions and calls."""
        return f"<ProjectData of {len(self._functions)} functions and {self.call_count:,} calls>"

    @property
    def call_count(self) -> int:
        """Number of calls of all functions."""
        with self._lock:
            return sum(len(store) for store in self._stores.values())

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Function records, in a new list."""
        with self._lock:
            return list(self._functions)

    @property
    def apps(self) -> list[dict[str, Any]]:
        """Function app records, in a new list."""
        with self._lock:
            return list(self._apps)

    @property
    def schedules(self) -> list[dict[str, Any]]:
        """Schedule records, in a new list."""
        with self._lock:
            return list(self._schedules)

    def has_function(self, function_id: int) -> bool:
        """Return whether a function exists that is not only a function app."""
        with self._lock:
            is_app = any(record.get("id") == function_id for record in self._apps)
            is_listed = any(record.get("id") == function_id for record in self._functions)
            return function_id in self._stores and (is_listed or not is_app)

    def app_id(self, external_id: str) -> int | None:
        """Return the function id of a function app, None if there is none of this external id."""
        with self._lock:
            return next((record["id"] for record in self._apps if record.get("externalId") == external_id), None)

    def store(self, function_id: int) -> CallStore:
        """Return the calls of one function, to be changed only by the methods of this class."""
        with self._lock:
            if function_id not in self._stores:
                raise ArgumentError(f"The project has no function {function_id}.")
            return self._stores[function_id]

    def calls(self, function_id: int) -> list[Any]:
        """Return all calls of one function as parsed JSON, newest first."""
        return [json.loads(text) for text in self.page(function_id, Filter(), limit=2**62).records]

    def page(self, function_id: int, filter_: Filter, *, after: Position | None = None, limit: int) -> Page:
        """Return a page of a listing."""
        with self._lock:
            return self.store(function_id).page(filter_, after=after, limit=limit)

    def calls_by_ids(self, function_id: int, call_ids: Iterable[int]) -> dict[int, bytes]:
        """Return calls by id, without ids that do not exist."""
        with self._lock:
            return self.store(function_id).by_ids(call_ids)

    def logs(self, function_id: int, call_id: int) -> list[dict[str, Any]] | None:
        """Return the log of a call, a `{timestamp, message}` for each line; None if the call does not exist."""
        record = self.calls_by_ids(function_id, [call_id]).get(call_id)
        return None if record is None else self._logs(function_id, json.loads(record))

    def response(self, function_id: int, call_id: int) -> Any:
        """Return the response of a call; None if there is none or the call does not exist."""
        record = self.calls_by_ids(function_id, [call_id]).get(call_id)
        return None if record is None else self._response(function_id, json.loads(record))

    def add_call(self, record: CallRecord) -> None:
        """Add a call to the function in its `functionId`."""
        with self._lock:
            self.store(_function_id(record)).add(record)

    def replace_call(self, record: CallRecord) -> None:
        """Replace the call with the same id, as when a running call completes."""
        with self._lock:
            self.store(_function_id(record)).replace(record)

    def remove_call(self, function_id: int, call_id: int) -> None:
        """Remove a call, as the service does after the retention time."""
        with self._lock:
            self.store(function_id).remove(call_id)

    def add_function(self, record: Record) -> None:
        """Add a function without calls, as a deployment does."""
        with self._lock:
            function_id = integer_or_missing(record.get("id"))
            if function_id < 0 or function_id in self._stores:
                raise ArgumentError(f"A new function needs an unused id: found {record.get('id')!r}.")
            self._functions.append(dict(record))
            self._stores[function_id] = CallStore.from_records(function_id, [])

    def remove_function(self, function_id: int) -> None:
        """Remove a function with its calls and the schedules of its id, as a redeployment does."""
        with self._lock:
            self.store(function_id)
            del self._stores[function_id]
            self._functions = [record for record in self._functions if record.get("id") != function_id]
            self._schedules = [record for record in self._schedules if record.get("functionId") != function_id]


def integer_or_missing(value: Any) -> int:
    """Return a 64-bit integer unchanged, and `MISSING` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < -MISSING:
        return value
    return MISSING


def _text_and_fields(record: CallRecord) -> tuple[bytes, Record]:
    """Return the JSON of a record, and its fields."""
    text = record if isinstance(record, bytes) else json.dumps(record).encode()
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ArgumentError(f"A call must be a JSON object: found {type(fields).__name__}.")
    return text, fields


def _within(times: NDArray[np.int64], wanted: Range) -> NDArray[np.bool_]:
    low = MISSING if wanted.low is None else wanted.low
    high = -MISSING if wanted.high is None else wanted.high
    return (times >= low) & (times <= high)


def _by_function(
    calls: Iterable[CallRecord] | Mapping[int, Iterable[CallRecord]],
) -> dict[int, list[CallRecord]]:
    if isinstance(calls, dict):
        return {function_id: list(records) for function_id, records in calls.items()}
    groups: dict[int, list[CallRecord]] = {}
    for record in calls:
        groups.setdefault(_function_id(record), []).append(record)  # type: ignore[arg-type]
    return groups


def _function_id(record: CallRecord) -> int:
    function_id = integer_or_missing(_text_and_fields(record)[1].get("functionId"))
    if function_id < 0:
        raise ArgumentError("The record has no functionId: give the calls by function id, {function_id: [records]}.")
    return function_id
