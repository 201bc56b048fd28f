"""Generates a sample project with the irregularities of real ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from callframe.errors import ArgumentError
from callframe.sample import call_output
from callframe.sample.project_data import COMPLETED, FAILED, MISSING, RUNNING, TIMEOUT, CallStore, ProjectData
from callframe.sample.specs import (
    DAY_MS,
    HOUR_MS,
    SKIPPED,
    FunctionSpec,
    HistoryWindow,
    ScheduleSpec,
    function_specs,
    schedule_specs,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Columns = dict[str, NDArray[np.int64]]

RUN_LIMIT_MS = 600_000
COLD_AFTER_MS = 900_000
"""A function without a call for so long has a cold start."""
MAX_ID = 2**53 - 1
MAX_FUNCTIONS = 100
MAX_SCHEDULES = 1000
REDEPLOYED = 0.3
"""Share of the history after the redeployment."""
SLOWDOWN = 1.6
"""Factor on durations after the redeployment."""
MIN_RUNNING = 3
STUCK = {0: 0.23, 2: 0.64}
"""Functions, by number, with a stuck call, and the share of the history since its start."""

OUTAGE_CAUSES = ("connection_refused", "cognite_unavailable", "unauthorized", "read_timeout")


@dataclass(frozen=True)
class Workload:
    """The number of calls of a function, and the schedules that start them."""

    function: FunctionSpec
    number: int
    call_count: int
    schedules: list[ScheduleSpec]


def generate(*, calls: int, functions: int, seed: int, end_time: datetime | None, days: float) -> ProjectData:
    """Generate a sample project, see `ProjectData.generate`."""
    window = _history_window(calls, functions, end_time, days)
    workloads = _workloads(function_specs(functions), calls, window, seed)
    other_ids = 2 * functions + 3 * sum(len(workload.schedules) for workload in workloads)
    ids = _unique_ids(np.random.default_rng([seed, 1]), calls + other_ids)
    call_ids, builder = ids[other_ids:], _ProjectBuilder(window, iter(ids[:other_ids].tolist()))
    first = 0
    for workload in workloads:
        rng = np.random.default_rng([seed, 2, workload.number])
        builder.add(workload, call_ids[first : first + workload.call_count], rng)
        first += workload.call_count
    return builder.build()


def _history_window(calls: int, functions: int, end_time: datetime | None, days: float) -> HistoryWindow:
    if calls < 0:
        raise ArgumentError(f"calls={calls}: expected at least 0.")
    if not 1 <= functions <= MAX_FUNCTIONS:
        raise ArgumentError(f"functions={functions}: expected 1 to {MAX_FUNCTIONS}.")
    if not days > 0:
        raise ArgumentError(f"days={days}: expected more than 0.")
    end = datetime.now(UTC) if end_time is None else end_time
    if end.tzinfo is None:
        raise ArgumentError(f"end_time={end}: expected a time zone, as in datetime(..., tzinfo=UTC).")
    end_ms = round(end.timestamp() * 1000)
    return HistoryWindow(end_ms - round(days * DAY_MS), end_ms)


def _workloads(specs: list[FunctionSpec], calls: int, window: HistoryWindow, seed: int) -> list[Workload]:
    minutes = 14 * DAY_MS / 60_000
    scheduled = np.array([sum(minutes / period for period in spec.periods) * (1 - SKIPPED) for spec in specs])
    unscheduled = np.array([float(spec.unscheduled) for spec in specs])
    counts = _apportion(scheduled + unscheduled, calls)
    max_schedules = min(MAX_FUNCTIONS, MAX_SCHEDULES // len(specs))
    workloads = []
    for number, (spec, count) in enumerate(zip(specs, counts, strict=True)):
        scheduled_count = round(count * scheduled[number] / max(1.0, scheduled[number] + unscheduled[number]))
        rng = np.random.default_rng([seed, 3, number])
        schedules = schedule_specs(spec.periods, scheduled_count, window, max_count=max_schedules, rng=rng)
        workloads.append(Workload(spec, number, count, schedules))
    return workloads


def _apportion(weights: NDArray[np.float64], total: int) -> list[int]:
    """Divide a total by weights into integers, by largest remainders."""
    exact = weights * (total / weights.sum())
    parts = np.floor(exact).astype(np.int64)
    largest = np.argsort(parts - exact, kind="stable")[: total - int(parts.sum())]
    parts[largest] += 1
    return [int(part) for part in parts]


def _unique_ids(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    ids = rng.integers(1, MAX_ID, size=count, endpoint=True)
    while len(unique := np.unique(ids)) < count:
        ids = np.concatenate([unique, rng.integers(1, MAX_ID, size=count - len(unique), endpoint=True)])
    return rng.permutation(ids)


class _ProjectBuilder:
    """Collects the records of a project, one function spec at a time."""

    def __init__(self, window: HistoryWindow, ids: Iterator[int]) -> None:
        self._window = window
        self._ids = ids
        self._functions: list[dict[str, Any]] = []
        self._apps: list[dict[str, Any]] = []
        self._schedules: list[dict[str, Any]] = []
        self._columns: dict[int, Columns] = {}
        self._specs: dict[int, FunctionSpec] = {}

    def add(self, workload: Workload, call_ids: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Add the function records, schedules and calls of a function spec."""
        spec, deployed_ms = workload.function, self._window.before_end(REDEPLOYED)
        created_ms = self._window.start_ms - int(rng.integers(210 * DAY_MS, 400 * DAY_MS))
        # Here `schedule_id` is a position in the schedules; `_add_schedules` knows the ids of a deployment.
        columns = _simulate(workload, call_ids, self._window, rng)
        if not spec.redeployed:
            function_id = self._add_function(spec, created_ms, rng)
            self._add_schedules(workload.schedules, spec, function_id, columns, listed=True)
            self._columns[function_id] = columns
            return
        is_new = columns["start"] >= deployed_ms
        new, old = (_select(columns, rows) for rows in (is_new, ~is_new))
        new_id = self._add_function(spec, deployed_ms, rng)
        old_id = self._add_function(spec, created_ms, rng)
        # The schedules of the old deployment are deleted already, the function itself is not.
        self._add_schedules(workload.schedules, spec, old_id, old, listed=False)
        schedules = [
            replace(schedule, created_ms=max(schedule.created_ms, deployed_ms)) for schedule in workload.schedules
        ]
        self._add_schedules(schedules, spec, new_id, new, listed=True)
        self._columns |= {new_id: new, old_id: old}

    def build(self) -> ProjectData:
        """Build the project data."""
        _leave_some_running(list(self._columns.values()), self._window)
        return ProjectData(
            functions=self._functions,
            apps=self._apps,
            schedules=self._schedules,
            stores={
                function_id: CallStore(
                    function_id,
                    columns,
                    error=_error_string if self._specs[function_id].errors_are_strings else call_output.error,
                )
                for function_id, columns in self._columns.items()
            },
            logs=self._log,
            response=self._response,
        )

    def _log(self, function_id: int, call: Mapping[str, Any]) -> list[dict[str, Any]]:
        spec = self._specs[function_id]
        return call_output.app_log(spec.routes, call) if spec.routes else call_output.log(spec.name, call)

    def _response(self, function_id: int, call: Mapping[str, Any]) -> Any:
        spec = self._specs[function_id]
        return call_output.app_response(spec.routes, call) if spec.routes else call_output.response(spec.name, call)

    def _add_function(self, spec: FunctionSpec, created_ms: int, rng: np.random.Generator) -> int:
        record: dict[str, Any] = {
            "id": next(self._ids),
            "externalId": spec.external_id,
            "name": spec.name,
            "description": spec.description,
            "owner": spec.owner or None,
            "metadata": {
                "repository": "https://git.example.com/functions",
                "version": f"{rng.integers(0, 4)}.{rng.integers(0, 20)}.{rng.integers(0, 9)}",
            },
            "fileId": next(self._ids),
            "status": "Ready",
            "createdTime": created_ms,
            "runtime": spec.runtime,
            "runtimeVersion": {"py311": "Python 3.11", "py312": "Python 3.12"}[spec.runtime],
            "cpu": spec.cpu,
            "memory": spec.memory,
            "functionType": "app" if spec.routes else None,
        }
        listing = self._apps if spec.routes else self._functions
        listing.append({field: value for field, value in record.items() if value is not None})
        function_id: int = record["id"]
        self._specs[function_id] = spec
        return function_id

    def _add_schedules(
        self, schedules: list[ScheduleSpec], spec: FunctionSpec, function_id: int, columns: Columns, *, listed: bool
    ) -> None:
        ids = np.array([next(self._ids) for _ in schedules] or [MISSING], dtype=np.int64)
        positions = columns["schedule_id"]
        columns["schedule_id"] = np.where(positions == MISSING, MISSING, ids[np.maximum(positions, 0)])
        if not listed:
            return
        owner: dict[str, Any] = {"functionId": function_id}
        if spec.schedules_by_external_id:
            owner = {"functionExternalId": spec.external_id}
        for number, (schedule_id, schedule) in enumerate(zip(ids.tolist(), schedules, strict=False)):
            line = f", line {number + 1}" if len(schedules) > 1 else ""
            self._schedules.append(
                {
                    "id": schedule_id,
                    "name": f"{spec.name}{line}",
                    "description": f"{spec.description}{line}",
                    "createdTime": max(schedule.created_ms, self._window.start_ms),  # no runs were missed before
                    "cronExpression": schedule.cron,
                    "when": schedule.when,
                    "sessionId": next(self._ids),
                    **owner,
                }
            )


def _error_string(call_id: int, start_ms: int, cause: int) -> str:
    return str(call_output.error(call_id, start_ms, cause)["message"])


def _select(columns: Columns, rows: NDArray[np.bool_]) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def _leave_some_running(functions: list[Columns], window: HistoryWindow) -> None:
    """Leave the newest calls of some functions running, as there always are some."""
    since_ms = window.end_ms - RUN_LIMIT_MS
    running = sum(int(((columns["status"] == RUNNING) & (columns["start"] > since_ms)).sum()) for columns in functions)
    recent = [columns for columns in functions if len(columns["id"]) and columns["start"].max() > since_ms]
    for columns in recent[: max(0, MIN_RUNNING - running)]:
        newest = int(columns["start"].argmax())
        columns["status"][newest], columns["end"][newest], columns["cause"][newest] = RUNNING, MISSING, MISSING


def _simulate(
    workload: Workload, call_ids: NDArray[np.int64], window: HistoryWindow, rng: np.random.Generator
) -> Columns:
    """Simulate the calls of a function, in no order; `schedule_id` is a position in the schedules of the workload."""
    spec, count = workload.function, workload.call_count
    times, positions = _scheduled_times(workload, window, rng)
    unscheduled = _unscheduled_starts(count - len(times), window, rng)
    no_schedule = np.full(len(unscheduled), MISSING)
    scheduled = np.concatenate([times, no_schedule])
    start = np.concatenate([times + _schedule_delays(times, rng), unscheduled])
    is_cold = _cold_starts(start)
    start += np.where(is_cold & (scheduled != MISSING), rng.uniform(4_000, 20_000, count), 0).astype(np.int64)
    start = np.clip(start, window.start_ms, window.end_ms)
    duration = _durations(spec, start, rng) + np.where(is_cold, rng.uniform(3_000, 12_000, count), 0)
    if spec.redeployed:
        duration *= np.where(start >= window.before_end(REDEPLOYED), SLOWDOWN, 1)
    cause = _causes(spec, start, window, rng)
    duration *= np.where(cause != MISSING, rng.uniform(0.05, 0.9, count), 1)
    timed_out = duration >= RUN_LIMIT_MS
    duration = np.where(timed_out, RUN_LIMIT_MS + rng.exponential(300, count), np.maximum(duration, 200))
    cause[timed_out] = call_output.CAUSES.index(call_output.TIMED_OUT)
    end = start + duration.astype(np.int64)
    status = np.where(timed_out, TIMEOUT, np.where(cause != MISSING, FAILED, COMPLETED))
    running = (end > window.end_ms) | _stuck(workload, start, window)
    status[running], end[running], cause[running] = RUNNING, MISSING, MISSING
    return {
        "id": call_ids,
        "tie": call_ids,
        "start": start,
        "end": end,
        "scheduled": scheduled,
        "schedule_id": np.concatenate([positions, no_schedule]),
        "status": status,
        "cause": cause,
    }


def _scheduled_times(
    workload: Workload, window: HistoryWindow, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the scheduled times with a call, and their schedules; some are skipped, one has two calls."""
    times = np.concatenate([schedule.times_ms for schedule in workload.schedules] or [np.empty(0, np.int64)])
    positions = np.repeat(
        np.arange(len(workload.schedules)), [len(schedule.times_ms) for schedule in workload.schedules]
    )
    count = min(workload.call_count, len(times))
    has_duplicate = workload.number == 0 and count > 1
    start, end = window.outage
    rank = rng.random(len(times)) * np.where((times >= start) & (times < end), 0.02, 1)
    kept = np.sort(np.argsort(rank)[len(times) - count + has_duplicate :])
    if has_duplicate:
        kept = np.insert(kept, len(kept) // 2, kept[len(kept) // 2])
    return times[kept], positions[kept]


def _unscheduled_starts(count: int, window: HistoryWindow, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose starts of calls without a schedule: batches of a workflow, mostly in working hours."""
    size = 25 if count > 200 else 1  # noqa: PLR2004
    batches = -(-count // size)
    hours = np.clip(rng.normal(11, 3.5, batches), 0, 23.99)
    first_day, last_day = window.start_ms // DAY_MS, window.end_ms // DAY_MS
    begin = rng.integers(first_day, last_day, batches, endpoint=True) * DAY_MS + hours * HOUR_MS
    outside = (begin < window.start_ms) | (begin >= window.end_ms - 120_000)
    begin = np.where(outside, rng.uniform(window.start_ms, window.end_ms, batches), begin)
    start = np.repeat(begin, size)[:count] + rng.uniform(0, 120_000, count)
    return np.asarray(np.clip(start, window.start_ms, window.end_ms), dtype=np.int64)


def _schedule_delays(times: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    count = len(times)
    delay = rng.lognormal(np.log(3_200), 0.55, count)
    delay *= np.where(times % HOUR_MS == 0, 1.5, 1)  # schedules of all projects start on the hour
    delay += np.where(rng.random(count) < 0.012, rng.exponential(70_000, count), 0)  # noqa: PLR2004
    return np.maximum(delay, 150).astype(np.int64)


def _cold_starts(start: NDArray[np.int64]) -> NDArray[np.bool_]:
    order = np.argsort(start, kind="stable")
    is_cold = np.zeros(len(start), dtype=bool)
    is_cold[order] = np.diff(start[order], prepend=-COLD_AFTER_MS) >= COLD_AFTER_MS
    return is_cold


def _durations(spec: FunctionSpec, start: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    duration = rng.lognormal(np.log(spec.median_s * 1000), spec.sigma, len(start))
    return duration * (1 + 0.1 * np.sin(2 * np.pi * (start / DAY_MS - 9 / 24)))  # more data by day


def _causes(
    spec: FunctionSpec, start: NDArray[np.int64], window: HistoryWindow, rng: np.random.Generator
) -> NDArray[np.int64]:
    count = len(start)
    outage_start, outage_end = window.outage
    in_outage = (start >= outage_start) & (start < outage_end) & spec.fails_in_outage
    usual = np.array([call_output.CAUSES.index(name) for name in spec.causes])[rng.integers(0, len(spec.causes), count)]
    common = np.array([call_output.CAUSES.index(name) for name in OUTAGE_CAUSES])[rng.integers(0, 4, count)]
    failed = rng.random(count) < np.where(in_outage, 0.7, spec.failure_rate)
    return np.where(failed, np.where(in_outage, common, usual), MISSING)


def _stuck(workload: Workload, start: NDArray[np.int64], window: HistoryWindow) -> NDArray[np.bool_]:
    is_stuck = np.zeros(len(start), dtype=bool)
    if workload.number in STUCK and workload.call_count > 100:  # noqa: PLR2004
        is_stuck[np.abs(start - window.before_end(STUCK[workload.number])).argmin()] = True
    return is_stuck
