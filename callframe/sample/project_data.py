"""What the embedded service serves: functions, schedules and the histories of their calls, which may change."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from callframe.errors import ArgumentError
from callframe.sample.call_store import CallStore, Filter, Page, Position, text_and_fields, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    Record = Mapping[str, Any]
    Call = Mapping[str, Any] | bytes

LIMITS = {
    "timeoutMinutes": 10,
    "cpuCores": {"min": 0.1, "max": 3.0, "default": 1.0},
    "memoryGb": {"min": 0.1, "max": 7.0, "default": 1.5},
    "runtimes": ["py310", "py311", "py312"],
    "responseSizeMb": 2,
}


class ProjectData:
    """
    A made-up project: what a service answers from, safe to change while it does.

    Parameters
    ----------
    functions, schedules
        Records of the API.
    histories
        The calls by function id.
    limits
        The answer of `functions/limits`.
    logs
        Tells the log of a call from its function id and the fields of its record.
    response
        Tells the response of a call in the same way, None when it gave none.
    """

    def __init__(
        self,
        *,
        functions: Iterable[Record],
        schedules: Iterable[Record] = (),
        histories: Mapping[int, CallStore],
        limits: Record | None = None,
        logs: Callable[[int, Record], list[dict[str, Any]]],
        response: Callable[[int, Record], Any],
    ) -> None:
        self._lock = threading.RLock()
        self._functions = [dict(record) for record in functions]
        self._schedules = [dict(record) for record in schedules]
        self._histories = dict(histories)
        self._logs = logs
        self._response = response
        self.limits = dict(LIMITS if limits is None else limits)

    @classmethod
    def of(
        cls,
        *,
        functions: Iterable[Record],
        schedules: Iterable[Record] = (),
        calls: Iterable[Call] | Mapping[int, Iterable[Call]] = (),
        logs: Mapping[tuple[int, int], list[dict[str, Any]]] | None = None,
        responses: Mapping[tuple[int, int], Any] | None = None,
        limits: Record | None = None,
    ) -> ProjectData:
        """
        Build a small world of records exactly as given, those that break the API's contract too.

        A start that breaks it (none, negative, no whole number) is let through every window, so that clients see it.

        Parameters
        ----------
        functions, schedules
            Records of the API.
        calls
            Records, each a mapping or the very bytes to serve; by function id when a record does not tell its own.
        logs, responses
            By function id and call id; a call without has an empty log and no response.
        limits
            The answer of `functions/limits`; None for plausible ones.

        Returns
        -------
        world
            A world to serve.
        """
        functions = list(functions)
        given: dict[int, list[Call]] = {whole(record.get("id")): [] for record in functions}
        given |= _by_function(calls)
        known_logs, known_responses = dict(logs or {}), dict(responses or {})
        return cls(
            functions=functions,
            schedules=schedules,
            histories={number: CallStore.of(number, records) for number, records in given.items()},
            limits=limits,
            logs=lambda function_id, call: known_logs.get((function_id, call["id"]), []),
            response=lambda function_id, call: known_responses.get((function_id, call["id"])),
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
        Make up the history of a project up to a time, always the same for the same arguments.

        Parameters
        ----------
        calls
            Number of calls, exactly.
        functions
            Number of functions, 1 to 100.
        seed
            Chooses among worlds of the same kind.
        end_time
            When the history ends; calls that are not done by then are running. None is now.
        days
            Length of the history.

        Returns
        -------
        world
            A world to serve.
        """
        from callframe.sample.generator import generate  # noqa: PLC0415 (it builds upon this module)

        return generate(calls=calls, functions=functions, seed=seed, end_time=end_time, days=days)

    def __repr__(self) -> str:
        """Tell how much there is."""
        return f"<World of {len(self._functions)} functions and {self.call_count:,} calls>"

    @property
    def call_count(self) -> int:
        """Number of calls of all functions."""
        with self._lock:
            return sum(len(history) for history in self._histories.values())

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Records of the functions, a copy of the list."""
        with self._lock:
            return list(self._functions)

    @property
    def schedules(self) -> list[dict[str, Any]]:
        """Records of the schedules, a copy of the list."""
        with self._lock:
            return list(self._schedules)

    def has_function(self, function_id: int) -> bool:
        """Tell whether calls of such a function can be asked for."""
        with self._lock:
            return function_id in self._histories

    def history(self, function_id: int) -> CallStore:
        """Hold the calls of one function; look, but change them through the world only."""
        with self._lock:
            if function_id not in self._histories:
                raise ArgumentError(f"There is no function {function_id} in this world.")
            return self._histories[function_id]

    def calls(self, function_id: int) -> list[Any]:
        """Read all calls of one function as parsed JSON, newest start first."""
        return [json.loads(text) for text in self.page(function_id, Filter(), limit=2**62).records]

    def page(self, function_id: int, wanted: Filter, *, after: Position | None = None, limit: int) -> Page:
        """Read the next calls of a listing; see `History.page`."""
        with self._lock:
            return self.history(function_id).page(wanted, after=after, limit=limit)

    def find(self, function_id: int, call_ids: Iterable[int]) -> dict[int, bytes]:
        """Look calls up by id; an id that is not there is left out."""
        with self._lock:
            return self.history(function_id).find(call_ids)

    def logs(self, function_id: int, call_id: int) -> list[dict[str, Any]] | None:
        """Tell what a call printed, `{timestamp, message}` a line; None when there is no such call."""
        record = self.find(function_id, [call_id]).get(call_id)
        return None if record is None else self._logs(function_id, json.loads(record))

    def response(self, function_id: int, call_id: int) -> Any:
        """Tell what a call returned; None when it has not, or when there is no such call."""
        record = self.find(function_id, [call_id]).get(call_id)
        return None if record is None else self._response(function_id, json.loads(record))

    def add_call(self, record: Call) -> None:
        """Add a call to the function its `functionId` names."""
        with self._lock:
            self.history(_function_id(record)).add(record)

    def replace_call(self, record: Call) -> None:
        """Put a record in the place of the one with its id, as when a running call completes."""
        with self._lock:
            self.history(_function_id(record)).replace(record)

    def remove_call(self, function_id: int, call_id: int) -> None:
        """Forget a call, as the service does after its retention."""
        with self._lock:
            self.history(function_id).remove(call_id)

    def add_function(self, record: Record) -> None:
        """Add a function without calls, as a deploy does."""
        with self._lock:
            number = whole(record.get("id"))
            if number < 0 or number in self._histories:
                raise ArgumentError(f"A new function has an id of its own, not {record.get('id')!r}.")
            self._functions.append(dict(record))
            self._histories[number] = CallStore.of(number, [])

    def remove_function(self, function_id: int) -> None:
        """Delete a function with its calls and the schedules that name its id, as a redeploy does."""
        with self._lock:
            self.history(function_id)
            del self._histories[function_id]
            self._functions = [record for record in self._functions if record.get("id") != function_id]
            self._schedules = [record for record in self._schedules if record.get("functionId") != function_id]


def _by_function(calls: Iterable[Call] | Mapping[int, Iterable[Call]]) -> dict[int, list[Call]]:
    if isinstance(calls, dict):
        return {number: list(records) for number, records in calls.items()}
    grouped: dict[int, list[Call]] = {}
    for record in calls:
        grouped.setdefault(_function_id(record), []).append(record)  # type: ignore[arg-type]
    return grouped


def _function_id(record: Call) -> int:
    function_id = whole(text_and_fields(record)[1].get("functionId"))
    if function_id < 0:
        raise ArgumentError("The record has no functionId: give the calls by function id, {function_id: [records]}.")
    return function_id
