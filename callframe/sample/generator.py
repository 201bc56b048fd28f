"""A made-up project that looks like a real one, with the troubles real ones have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from callframe.errors import ArgumentError
from callframe.sample import call_output, error_samples
from callframe.sample.call_store import ABSENT, COMPLETED, FAILED, RUNNING, TIMEOUT, CallStore
from callframe.sample.function_specs import FunctionSpec, jobs
from callframe.sample.project_data import ProjectData
from callframe.sample.schedule_specs import DAY_MS, HOUR_MS, SKIPPED, ScheduleSpec, Span, schedule_specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Columns = dict[str, NDArray[np.int64]]

RUN_LIMIT_MS = 600_000
PAUSE_MS = 900_000
"""A function not called for so long starts cold."""
MAX_ID = 2**53 - 1
MAX_FUNCTIONS = 100
MAX_SCHEDULES = 1000
REDEPLOYED = 0.3
"""Share of the history after the redeploy."""
SLOWER = 1.6
"""Factor on durations since the redeploy."""
AT_LEAST_RUNNING = 3
STUCK = {0: 0.23, 2: 0.64}
"""Functions by number that have a call running ever since, and the share of the history since then."""

OUTAGE_CAUSES = ("connection_refused", "cognite_unavailable", "unauthorized", "read_timeout")


@dataclass(frozen=True)
class Plan:
    """How many calls a job has, and which schedules start them."""

    job: FunctionSpec
    number: int
    calls: int
    tables: list[ScheduleSpec]


def generate(
    *, calls: int = 150_000, functions: int = 20, seed: int = 0, end_time: datetime | None = None, days: float = 14
) -> ProjectData:
    """
    Make up the history of a project.

    Parameters
    ----------
    calls, functions
        How many, exactly.
    seed
        Chooses among worlds of the same kind.
    end_time
        When the history ends; None is now.
    days
        Length of the history.

    Returns
    -------
    world
        What the service serves.

    Raises
    ------
    ArgumentError
        There is no such world.
    """
    span = _span(calls, functions, end_time, days)
    plans = _plans(jobs(functions), calls, span, seed)
    others = 2 * functions + 3 * sum(len(plan.tables) for plan in plans)
    ids = _unique_ids(np.random.default_rng([seed, 1]), calls + others)
    call_ids, project = ids[others:], _Project(span, iter(ids[:others].tolist()))
    first = 0
    for plan in plans:
        rng = np.random.default_rng([seed, 2, plan.number])
        project.add(plan, call_ids[first : first + plan.calls], rng)
        first += plan.calls
    return project.world()


def _span(calls: int, functions: int, end_time: datetime | None, days: float) -> Span:
    if calls < 0:
        raise ArgumentError(f"calls={calls}: a history has no fewer than 0 calls.")
    if not 1 <= functions <= MAX_FUNCTIONS:
        raise ArgumentError(f"functions={functions}: a project has 1 to {MAX_FUNCTIONS} functions.")
    if not days > 0:
        raise ArgumentError(f"days={days}: a history is longer than 0 days.")
    moment = datetime.now(UTC) if end_time is None else end_time
    if moment.tzinfo is None:
        raise ArgumentError(f"end_time={moment}: say in which time zone, as in datetime(..., tzinfo=UTC).")
    end_ms = round(moment.timestamp() * 1000)
    return Span(end_ms - round(days * DAY_MS), end_ms)


def _plans(chosen: list[FunctionSpec], calls: int, span: Span, seed: int) -> list[Plan]:
    fortnight = 14 * DAY_MS / 60_000
    scheduled = np.array([sum(fortnight / period for period in job.periods) * (1 - SKIPPED) for job in chosen])
    unscheduled = np.array([float(job.unscheduled) for job in chosen])
    shares = _apportion(scheduled + unscheduled, calls)
    at_most = min(MAX_FUNCTIONS, MAX_SCHEDULES // len(chosen))
    plans = []
    for number, (job, share) in enumerate(zip(chosen, shares, strict=True)):
        wanted = round(share * scheduled[number] / max(1.0, scheduled[number] + unscheduled[number]))
        rng = np.random.default_rng([seed, 3, number])
        plans.append(Plan(job, number, share, schedule_specs(job.periods, wanted, span, at_most=at_most, rng=rng)))
    return plans


def _apportion(weights: NDArray[np.float64], total: int) -> list[int]:
    exact = weights * (total / weights.sum())
    whole = np.floor(exact).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[largest] += 1
    return [int(number) for number in whole]


def _unique_ids(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    ids = rng.integers(1, MAX_ID, size=count, endpoint=True)
    while len(kept := np.unique(ids)) < count:
        ids = np.concatenate([kept, rng.integers(1, MAX_ID, size=count - len(kept), endpoint=True)])
    return rng.permutation(ids)


class _Project:
    """Collects the records of a world, one job after the other."""

    def __init__(self, span: Span, ids: Iterator[int]) -> None:
        self._span = span
        self._ids = ids
        self._functions: list[dict[str, Any]] = []
        self._schedules: list[dict[str, Any]] = []
        self._columns: dict[int, Columns] = {}
        self._jobs: dict[int, FunctionSpec] = {}

    def add(self, plan: Plan, call_ids: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Add a job: its function records, schedules and calls."""
        job, deployed_ms = plan.job, self._span.before_end(REDEPLOYED)
        created_ms = self._span.begin_ms - int(rng.integers(210 * DAY_MS, 400 * DAY_MS))
        # A table holds positions of its own schedules; ids come when it is known which deployment they belong to.
        columns = _simulate(plan, call_ids, self._span, rng)
        if not job.redeployed:
            function_id = self._add_function(job, created_ms, rng)
            self._add_schedules(plan.tables, job, function_id, columns, listed=True)
            self._columns[function_id] = columns
            return
        is_new = columns["start"] >= deployed_ms
        new, old = (_select(columns, rows) for rows in (is_new, ~is_new))
        new_id = self._add_function(job, deployed_ms, rng)
        old_id = self._add_function(job, created_ms, rng)
        # The schedules of the old deployment are deleted already, the function itself still waits for it.
        self._add_schedules(plan.tables, job, old_id, old, listed=False)
        tables = [_since(table, deployed_ms) for table in plan.tables]
        self._add_schedules(tables, job, new_id, new, listed=True)
        self._columns |= {new_id: new, old_id: old}

    def world(self) -> ProjectData:
        """Build the world of what was added."""
        _keep_some_running(list(self._columns.values()), self._span)
        names = {number: job.name for number, job in self._jobs.items()}
        return ProjectData(
            functions=self._functions,
            schedules=self._schedules,
            histories={
                number: CallStore(number, columns, error=_string if self._jobs[number].errors_are_strings else _object)
                for number, columns in self._columns.items()
            },
            logs=lambda function_id, call: call_output.log(names[function_id], call),
            response=lambda _, call: call_output.response(call),
        )

    def _add_function(self, job: FunctionSpec, created_ms: int, rng: np.random.Generator) -> int:
        record: dict[str, Any] = {
            "id": next(self._ids),
            "externalId": job.external_id,
            "name": job.name,
            "description": job.description,
            "owner": job.owner or None,
            "metadata": {
                "repository": "https://git.example.com/functions",
                "version": f"{rng.integers(0, 4)}.{rng.integers(0, 20)}.{rng.integers(0, 9)}",
            },
            "fileId": next(self._ids),
            "status": "Ready",
            "createdTime": created_ms,
            "runtime": job.runtime,
            "runtimeVersion": {"py311": "Python 3.11", "py312": "Python 3.12"}[job.runtime],
            "cpu": job.cpu,
            "memory": job.memory,
        }
        self._functions.append({field: value for field, value in record.items() if value is not None})
        function_id: int = record["id"]
        self._jobs[function_id] = job
        return function_id

    def _add_schedules(
        self, tables: list[ScheduleSpec], job: FunctionSpec, function_id: int, columns: Columns, *, listed: bool
    ) -> None:
        ids = np.array([next(self._ids) for _ in tables] or [ABSENT], dtype=np.int64)
        places = columns["schedule_id"]
        columns["schedule_id"] = np.where(places == ABSENT, ABSENT, ids[np.maximum(places, 0)])
        owner: dict[str, Any] = {"functionId": function_id}
        if job.schedules_by_external_id:
            owner = {"functionExternalId": job.external_id}
        for number, (schedule_id, table) in enumerate(zip(ids.tolist(), tables, strict=False)):
            if listed:
                line = f", line {number + 1}" if len(tables) > 1 else ""
                self._schedules.append(
                    {
                        "id": schedule_id,
                        "name": f"{job.name}{line}",
                        "description": f"{job.description}{line}",
                        "createdTime": max(table.created_ms, self._span.begin_ms),  # no runs were missed before
                        "cronExpression": table.cron,
                        "when": table.when,
                        "sessionId": next(self._ids),
                        **owner,
                    }
                )


def _object(call_id: int, start_ms: int, cause: int) -> dict[str, Any]:
    return error_samples.error(call_id, start_ms, cause)


def _string(call_id: int, start_ms: int, cause: int) -> str:
    return str(error_samples.error(call_id, start_ms, cause)["message"])


def _select(columns: Columns, rows: NDArray[np.bool_]) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def _since(table: ScheduleSpec, deployed_ms: int) -> ScheduleSpec:
    created_ms = max(table.created_ms, deployed_ms)
    return ScheduleSpec(table.period, table.phase, created_ms, table.slots)


def _keep_some_running(tables: list[Columns], span: Span) -> None:
    """Leave the newest calls of some functions running: the end of a history is never quiet."""
    since = span.end_ms - RUN_LIMIT_MS
    busy = sum(int(((columns["status"] == RUNNING) & (columns["start"] > since)).sum()) for columns in tables)
    fresh = [columns for columns in tables if len(columns["id"]) and columns["start"].max() > since]
    for columns in fresh[: max(0, AT_LEAST_RUNNING - busy)]:
        newest = int(columns["start"].argmax())
        columns["status"][newest], columns["end"][newest], columns["cause"][newest] = RUNNING, ABSENT, ABSENT


def _simulate(plan: Plan, call_ids: NDArray[np.int64], span: Span, rng: np.random.Generator) -> Columns:
    """
    Run a job through the history.

    Returns the columns of its calls, in no order; `schedule_id` is the position of the schedule among the plan's.
    """
    job, count = plan.job, plan.calls
    slots, tables = _filled_slots(plan, span, rng)
    loose = _loose_starts(count - len(slots), span, rng)
    scheduled = np.concatenate([slots, np.full(len(loose), ABSENT)])
    start = np.concatenate([slots + _delays(slots, rng), loose])
    cold = _cold(start)
    start += np.where(cold & (scheduled != ABSENT), rng.uniform(4_000, 20_000, count), 0).astype(np.int64)
    start = np.clip(start, span.begin_ms, span.end_ms)
    duration = _durations(job, start, rng) + np.where(cold, rng.uniform(3_000, 12_000, count), 0)
    if job.redeployed:
        duration *= np.where(start >= span.before_end(REDEPLOYED), SLOWER, 1)
    cause = _causes(job, start, span, rng)
    duration *= np.where(cause != ABSENT, rng.uniform(0.05, 0.9, count), 1)
    cut = duration >= RUN_LIMIT_MS
    duration = np.where(cut, RUN_LIMIT_MS + rng.exponential(300, count), np.maximum(duration, 200))
    cause[cut] = error_samples.NAMES.index(error_samples.TIMED_OUT)
    end = start + duration.astype(np.int64)
    status = np.where(cut, TIMEOUT, np.where(cause != ABSENT, FAILED, COMPLETED))
    running = (end > span.end_ms) | _stuck(plan, start, span)
    status[running], end[running], cause[running] = RUNNING, ABSENT, ABSENT
    schedules = np.concatenate([tables, np.full(len(loose), ABSENT)])
    return {
        "id": call_ids,
        "tie": call_ids,
        "start": start,
        "end": end,
        "scheduled": scheduled,
        "schedule_id": schedules,
        "status": status,
        "cause": cause,
    }


def _filled_slots(plan: Plan, span: Span, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the slots that have a call, and the schedule of each; some are skipped, one is filled twice."""
    slots = np.concatenate([table.slots for table in plan.tables] or [np.empty(0, np.int64)])
    tables = np.repeat(np.arange(len(plan.tables)), [len(table.slots) for table in plan.tables])
    number = min(plan.calls, len(slots))
    twice = plan.number == 0 and number > 1
    begin, end = span.outage
    rank = rng.random(len(slots)) * np.where((slots >= begin) & (slots < end), 0.02, 1)
    kept = np.sort(np.argsort(rank)[len(slots) - number + twice :])
    if twice:
        kept = np.insert(kept, len(kept) // 2, kept[len(kept) // 2])
    return slots[kept], tables[kept]


def _loose_starts(number: int, span: Span, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose starts that no schedule gives: batches of a workflow, in working hours mostly."""
    size = 25 if number > 200 else 1  # noqa: PLR2004
    batches = -(-number // size)
    hours = np.clip(rng.normal(11, 3.5, batches), 0, 23.99)
    first_day, last_day = span.begin_ms // DAY_MS, span.end_ms // DAY_MS
    begin = rng.integers(first_day, last_day, batches, endpoint=True) * DAY_MS + hours * HOUR_MS
    outside = (begin < span.begin_ms) | (begin >= span.end_ms - 120_000)
    begin = np.where(outside, rng.uniform(span.begin_ms, span.end_ms, batches), begin)
    start = np.repeat(begin, size)[:number] + rng.uniform(0, 120_000, number)
    return np.asarray(np.clip(start, span.begin_ms, span.end_ms), dtype=np.int64)


def _delays(slots: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    count = len(slots)
    delay = rng.lognormal(np.log(3_200), 0.55, count)
    delay *= np.where(slots % HOUR_MS == 0, 1.5, 1)  # everybody's schedule starts on the hour
    delay += np.where(rng.random(count) < 0.012, rng.exponential(70_000, count), 0)  # noqa: PLR2004
    return np.maximum(delay, 150).astype(np.int64)


def _cold(start: NDArray[np.int64]) -> NDArray[np.bool_]:
    order = np.argsort(start, kind="stable")
    cold = np.zeros(len(start), dtype=bool)
    cold[order] = np.diff(start[order], prepend=-PAUSE_MS) >= PAUSE_MS
    return cold


def _durations(job: FunctionSpec, start: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    duration = rng.lognormal(np.log(job.median_s * 1000), job.spread, len(start))
    return duration * (1 + 0.1 * np.sin(2 * np.pi * (start / DAY_MS - 9 / 24)))  # more data by day


def _causes(job: FunctionSpec, start: NDArray[np.int64], span: Span, rng: np.random.Generator) -> NDArray[np.int64]:
    count = len(start)
    begin, end = span.outage
    in_outage = (start >= begin) & (start < end) & job.fragile
    usual = np.array([error_samples.NAMES.index(name) for name in job.causes])[rng.integers(0, len(job.causes), count)]
    common = np.array([error_samples.NAMES.index(name) for name in OUTAGE_CAUSES])[rng.integers(0, 4, count)]
    failed = rng.random(count) < np.where(in_outage, 0.7, job.failure_rate)
    return np.where(failed, np.where(in_outage, common, usual), ABSENT)


def _stuck(plan: Plan, start: NDArray[np.int64], span: Span) -> NDArray[np.bool_]:
    stuck = np.zeros(len(start), dtype=bool)
    if plan.number in STUCK and plan.calls > 100:  # noqa: PLR2004
        stuck[np.abs(start - span.before_end(STUCK[plan.number])).argmin()] = True
    return stuck
