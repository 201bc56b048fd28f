"""Match calls to the times at which schedules were due, and decide what a time without a call means."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.cron import CronError, cadence_times, cron_times
from callframe.completeness import NO_COVERAGE, Coverage, measured_attrs, warn_about_removed
from callframe.errors import FrameError
from callframe.limits import RETENTION_MS
from callframe.timespan import MINUTE_MS, NO_TIME, TimeRange, iso, parse_duration, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from callframe.analysis.cron import Minutes
    from callframe.completeness import FunctionCoverage
    from callframe.timespan import DurationLike

STATES = ("missed", "unconfirmed", "unknown")
"""What a scheduled time without a call can be."""

VERDICTS = ("ran", "missed", "unknown", "nothing due", "unexplained", "unreadable", "no cadence")
"""What a schedule as a whole can be."""

SCHEDULE_COLUMNS = ("schedule_id", "function_id", "function", "cron_expression", "created_time")
"""The columns that a table of schedules must have."""

MAX_OFF_SCHEDULE = 0.05
"""Share of calls at no scheduled time beyond which an expression does not explain a history."""

_JITTER_MS = 1_000  # two calls of one scheduled time differ by less
_CERTAIN_MS = 10_000  # a call that is more off may belong to the minute before or after
_MAX_OFF_MS = 59_000  # further from its scheduled time, a call may be of another expression
_MAX_NEAR_MS = 5 * MINUTE_MS


@dataclass(frozen=True)
class Schedule:
    """One schedule, listed, or inferred from its calls alone; `until_ms` is when an archive last saw it listed."""

    schedule_id: int
    name: str | None
    function: str | None
    function_id: int | None
    cron_expression: str | None
    created_ms: int | None
    by_external_id: bool = False
    inferred: bool = False
    until_ms: int | None = None


@dataclass(frozen=True)
class _Evidence:
    """
    What a call frame can prove about scheduled times.

    Times in `covered` are examined; up to `confirmed_ms` a call would be present. `early_ms` is how far clocks are seen
    to run ahead. `restriction` keeps every schedule from being judged, `requested` are the schedules that were
    requested (empty: all). By function id: `functions` the coverage, `missing` why calls are missing, `unmatched` how
    many calls cannot be matched to a scheduled time.
    """

    covered: TimeRange
    confirmed_ms: int
    early_ms: int
    restriction: str | None
    requested: frozenset[int]
    functions: Mapping[int, FunctionCoverage]
    missing: Mapping[int, str]
    unmatched: Mapping[int, int]

    def function_ids(self, schedule: Schedule, called: Iterable[int]) -> list[int]:
        """Find the functions a schedule may have started, among those that were read."""
        own = {schedule.function_id, *called}
        labels = {schedule.function} if schedule.by_external_id or schedule.function_id is None else set()
        return [key for key, function in self.functions.items() if key in own or function.function in labels]

    def deployed_ms(self, function_ids: Sequence[int]) -> int:
        """Find from when on the functions can have calls: none from before their first deploy."""
        created = [self.functions[key].created_ms for key in function_ids]
        known = [time_ms for time_ms in created if time_ms is not None]
        return min(known) if known and len(known) == len(created) else self.covered.start_ms

    def why_unknown(self, schedule: Schedule, function_ids: Sequence[int]) -> str | None:
        """Explain why nothing can be said of times without a call, None if something can."""
        if self.restriction:
            return self.restriction
        if self.requested and schedule.schedule_id not in self.requested:
            return "only calls of other schedules were requested"
        if not function_ids:
            return "the calls of its function were not requested"
        return next((self.missing[key] for key in function_ids if key in self.missing), None)


def _no_minutes() -> Minutes:
    return np.empty(0, dtype="int64")


@dataclass
class ScheduleMatch:
    """One schedule, and which of its scheduled times have calls; times are minutes since 1970."""

    schedule: Schedule
    verdict: str = "nothing due"
    problem: str | None = None
    start: int = 0
    end: int = 0
    cadence: int | None = None
    expected: int = 0
    calls: int = 0
    duplicates: int = 0
    off_schedule: int = 0
    without_call: Minutes = field(default_factory=_no_minutes)
    states: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, dtype="int8"))

    def count(self, state: str) -> int:
        """Count the scheduled times without a call that are in a state."""
        return int(np.count_nonzero(self.states == STATES.index(state)))


def match_schedules(
    calls: pd.DataFrame, schedules: pd.DataFrame, grace: DurationLike
) -> tuple[list[ScheduleMatch], dict[Hashable | None, Any]]:
    """Match every schedule; also returns the `attrs` of the result."""
    frame.check(calls)
    listed = parse_schedules(schedules)
    grace_ms = parse_duration(grace, name="grace")
    calls = frame.deduplicate(calls)
    evidence = _evidence(calls, grace_ms)
    runs = _Runs(calls)
    listed_ids = {schedule.schedule_id for schedule in listed}
    unlisted = [runs.infer_schedule(key) for key in runs.ids if key not in listed_ids]
    matches = [_match(schedule, runs, evidence) for schedule in (*listed, *unlisted)]
    if any(match.count("unknown") for match in matches):
        warn_about_removed(calls, "Missed runs")
    covered = evidence.covered
    details = {
        "grace": str(pd.Timedelta(grace_ms, "ms")),
        "start": iso(covered.start_ms) if covered.length_ms > 0 else None,
        "end": iso(covered.end_ms) if covered.length_ms > 0 else None,
        "problems": {str(match.schedule.schedule_id): match.problem for match in matches if match.problem},
    }
    return matches, {**measured_attrs(calls), "missed_runs": details}


def _match(schedule: Schedule, runs: _Runs, evidence: _Evidence) -> ScheduleMatch:
    times_ms = runs.of(schedule.schedule_id)
    called, counts = np.unique(to_minutes(times_ms), return_counts=True)
    function_ids = evidence.function_ids(schedule, runs.functions(schedule.schedule_id))
    match = ScheduleMatch(schedule, calls=len(times_ms), duplicates=int(np.count_nonzero(counts > 1)))
    match.start, match.end = _examined(schedule, called, evidence.covered, evidence.deployed_ms(function_ids))
    try:
        due = _due_times(match, called)
    except CronError as error:
        match.verdict, match.problem = "no cadence" if schedule.inferred else "unreadable", str(error)
        return match
    minutes, contested = _assign(times_ms, due, match.start, match.end)
    called, counts = np.unique(minutes, return_counts=True)
    match.duplicates = int(np.count_nonzero(counts > 1))
    inside = (called >= match.start) & (called < match.end)
    match.off_schedule = int(counts[inside & ~np.isin(called, due, assume_unique=True)].sum())
    total = int(counts[inside].sum())
    if match.off_schedule > MAX_OFF_SCHEDULE * total:
        inferred = match.schedule.inferred
        match.verdict = "no cadence" if schedule.inferred else "unreadable" if inferred else "unexplained"
        match.problem = (
            f"{match.off_schedule:,} of {total:,} calls are at no scheduled time: the"
            f" {'inferred cadence' if inferred else 'expression'} does not explain this history"
        )
        return match
    match.expected, match.without_call = len(due), due[~np.isin(due, called, assume_unique=True)]
    _set_states(match, evidence, function_ids, contested)
    return match


def _assign(times_ms: NDArray[np.int64], due: Minutes, start: int, end: int) -> tuple[Minutes, Minutes]:
    """
    Assign calls, in ascending order, to scheduled times; gives the minute of each, and which free times are contested.

    A call goes to the scheduled time within half a minute. One that is off every time, or comes second to a time that
    it is off, goes to the nearest free one less than a minute away. Free times beside one that is further off, or left
    over, are contested: it may belong to them.
    """
    minutes = to_minutes(times_ms)
    off_ms = np.abs(times_ms - minutes * MINUTE_MS)
    suspect = off_ms > _JITTER_MS
    is_due = np.isin(minutes, due)
    if not suspect.any() and is_due.all():
        return minutes, _no_minutes()
    order = np.lexsort((off_ms, minutes))
    second = np.zeros(len(minutes), dtype="bool")
    second[order[1:]] = minutes[order[1:]] == minutes[order[:-1]]
    stray = ~is_due | (second & suspect)
    inside = (minutes >= start) & (minutes < end)
    rows, free = np.flatnonzero(stray & inside), due[~np.isin(due, minutes)]
    sides = _beside(free, times_ms[rows])
    distances_ms = np.abs(sides * MINUTE_MS - times_ms[rows])
    nearest = np.where(distances_ms[0] <= distances_ms[1], *sides)
    near = np.flatnonzero(distances_ms.min(axis=0) < _MAX_OFF_MS)
    near = near[np.unique(nearest[near], return_index=True)[1]]
    minutes[rows[near]] = nearest[near]
    left = np.delete(rows, near)
    free = np.setdiff1d(free, nearest[near])
    sides = _beside(free, times_ms[left])
    close = (np.abs(sides * MINUTE_MS - times_ms[left]) <= _MAX_NEAR_MS) | (sides == _beside(due, times_ms[left]))
    doubtful = times_ms[inside & ~stray & (off_ms > _CERTAIN_MS)]
    others = _beside(free, doubtful)
    return minutes, np.append(sides[close], others[np.abs(others * MINUTE_MS - doubtful) < _MAX_OFF_MS])


def _beside(due: Minutes, times_ms: NDArray[np.int64]) -> Minutes:
    """Find the last of some scheduled times before each call, and the first after it, as two rows."""
    if not len(due):
        return np.full((2, len(times_ms)), -1, dtype="int64")  # before 1970, beside nothing
    after = np.searchsorted(due * MINUTE_MS, times_ms)
    return np.stack([due[np.maximum(after - 1, 0)], due[np.minimum(after, len(due) - 1)]])


def _set_states(match: ScheduleMatch, evidence: _Evidence, function_ids: Sequence[int], contested: Minutes) -> None:
    """Classify the scheduled times without a call, and the schedule."""
    missed, unconfirmed, unknown = range(len(STATES))
    time_ms = match.without_call * MINUTE_MS
    match.states = np.where(time_ms > evidence.confirmed_ms, unconfirmed, missed).astype("int8")
    match.states[time_ms < evidence.covered.start_ms + evidence.early_ms] = unknown
    is_contested = np.isin(match.without_call, contested) & (match.states == missed)
    if is_contested.any():
        match.states[is_contested] = unknown
        match.problem = "some calls are off their scheduled times: free ones beside them are unknown"
    why = evidence.why_unknown(match.schedule, function_ids)
    unmatched = sum(evidence.unmatched.get(key, 0) for key in function_ids)
    if why:
        match.states[:] = unknown
        match.problem = why if len(match.without_call) or match.expected == 0 else match.problem
    elif 0 < match.count("missed") <= unmatched:
        match.problem = (
            f"{unmatched:,} calls of its function cannot be matched to a scheduled time: invalid records, or no"
            " scheduled time"
        )
        match.states[match.states == missed] = unknown
    if match.count("missed"):
        match.verdict = "missed"
    elif match.count("unknown") or (why and match.expected == 0):
        match.verdict = "unknown"
    elif match.expected:
        match.verdict = "ran"


def _examined(schedule: Schedule, called: Minutes, covered: TimeRange, deployed_ms: int) -> tuple[int, int]:
    """Find the minutes to examine; a schedule without a creation time is examined from its first call on."""
    start = -(-max(covered.start_ms, deployed_ms, schedule.created_ms or 0) // MINUTE_MS)
    end = -(-covered.end_ms // MINUTE_MS)
    if schedule.created_ms is None:
        start = max(start, int(called[0])) if len(called) else end
    if schedule.until_ms is not None:
        end = min(end, -(-schedule.until_ms // MINUTE_MS))
    if schedule.inferred:
        end = min(end, int(called[-1]) + 1)
    return min(start, end), end


def _due_times(match: ScheduleMatch, called: Minutes) -> Minutes:
    """List when a schedule was due: by its expression, or else by the cadence of its calls until the last of them."""
    schedule, problem = match.schedule, "it is no longer listed"
    try:
        if not schedule.inferred:
            return cron_times(schedule.cron_expression, match.start, match.end)
    except CronError as error:
        problem = str(error)
    try:
        due, match.cadence = cadence_times(called)
    except CronError as error:
        raise CronError(f"{problem}, and {error}") from None
    if not schedule.inferred:
        match.schedule, match.end = replace(schedule, inferred=True), min(match.end, int(called[-1]) + 1)
        match.problem = f"{problem}: it is judged by the cadence of its calls"
    return due[(due >= match.start) & (due < match.end)]


class _Runs:
    """The scheduled times that have calls, by schedule: sorted once for all of them."""

    def __init__(self, calls: pd.DataFrame) -> None:
        has_time = (calls["schedule_id"].notna() & calls["scheduled_time"].notna()).to_numpy()
        time_ms = to_milliseconds(calls["scheduled_time"])[has_time]
        schedule_ids = calls["schedule_id"].to_numpy(dtype="int64", na_value=0)[has_time]
        order = np.lexsort((time_ms, schedule_ids))
        self._times_ms = time_ms[order]
        ids, first = np.unique(schedule_ids[order], return_index=True)
        self.ids: list[int] = ids.tolist()
        self._rows = dict(zip(self.ids, itertools.pairwise([*first.tolist(), len(order)]), strict=True))
        pairs = pd.DataFrame(
            {
                "schedule_id": schedule_ids,
                "function_id": calls["function_id"].to_numpy()[has_time],
                "function": calls["function"].array[has_time],
            }
        ).drop_duplicates(["schedule_id", "function_id"])
        self._functions: dict[int, dict[int, str]] = {}
        for schedule_id, function_id, label in pairs.itertuples(index=False):
            self._functions.setdefault(schedule_id, {})[function_id] = label

    def of(self, schedule_id: int) -> NDArray[np.int64]:
        """List the scheduled times of the calls of a schedule, ascending."""
        return self._times_ms[slice(*self._rows.get(schedule_id, (0, 0)))]

    def functions(self, schedule_id: int) -> list[int]:
        """List the functions that a schedule started."""
        return list(self._functions.get(schedule_id, {}))

    def infer_schedule(self, schedule_id: int) -> Schedule:
        """Describe a schedule that is not listed by its calls."""
        function_id, label = list(self._functions[schedule_id].items())[-1]
        return Schedule(schedule_id, None, label, function_id, None, None, inferred=True)


def to_minutes(time_ms: NDArray[np.int64]) -> Minutes:
    """Round epoch milliseconds to minutes."""
    minutes: Minutes = (time_ms + MINUTE_MS // 2) // MINUTE_MS
    return minutes


def parse_schedules(schedules: pd.DataFrame) -> list[Schedule]:
    """Read a table of schedules, each schedule once."""
    if not isinstance(schedules, pd.DataFrame):
        raise FrameError(
            f"Expected a table of schedules, found {type(schedules).__name__}; project.schedules() returns one."
        )
    missing = [name for name in SCHEDULE_COLUMNS if name not in schedules.columns]
    if missing:
        raise FrameError(
            f"Not a table of schedules: missing the columns {', '.join(missing)}. Expected"
            f" {', '.join(SCHEDULE_COLUMNS)}, as project.schedules() returns them."
        )
    schedules = schedules[schedules["schedule_id"].notna()].drop_duplicates("schedule_id")
    try:
        created = to_milliseconds(pd.to_datetime(schedules["created_time"], utc=True))
        until = _last_listed(schedules)
        ids = schedules["schedule_id"].astype("Int64").to_list()
        function_ids = schedules["function_id"].astype("Int64").to_list()
    except (ValueError, TypeError) as error:
        raise FrameError(f"Not a table of schedules: {error}.") from None
    texts = {name: _texts(schedules, name) for name in ("name", "function", "cron_expression", "function_external_id")}
    return [
        Schedule(
            int(ids[row]),
            texts["name"][row],
            texts["function"][row],
            None if pd.isna(function_ids[row]) else int(function_ids[row]),
            texts["cron_expression"][row],
            None if created[row] == NO_TIME else int(created[row]),
            by_external_id=texts["function_external_id"][row] is not None,
            until_ms=until[row],
        )
        for row in range(len(ids))
    ]


def _last_listed(schedules: pd.DataFrame) -> list[int | None]:
    """Find when each schedule was last listed, of those that an archive knows to be gone."""
    if not {"gone_time", "last_seen_time"} <= set(schedules.columns):
        return [None] * len(schedules)
    times = pd.to_datetime(schedules["last_seen_time"], utc=True).where(schedules["gone_time"].notna())
    return [None if time_ms == NO_TIME else int(time_ms) for time_ms in to_milliseconds(times)]


def _evidence(calls: pd.DataFrame, grace_ms: int) -> _Evidence:
    known = Coverage.of(calls)
    covered = None if known is None else known.covered
    if covered is None and len(calls):
        start = to_milliseconds(calls["start_time"])
        end_ms = int(start.max()) + 1
        covered = TimeRange(max(int(start.min()), end_ms - RETENTION_MS), end_ms)
    covered = covered or TimeRange(0, 0)
    return _Evidence(
        covered,
        covered.end_ms - grace_ms,
        min(grace_ms, _early_ms(calls)),
        NO_COVERAGE if known is None else known.restriction,
        frozenset() if known is None else frozenset(known.schedule_ids),
        {} if known is None else known.by_id,
        {} if known is None else known.missing_calls(calls),
        _unmatched(calls, known),
    )


def _early_ms(calls: pd.DataFrame) -> int:
    """Measure how far clocks are seen to run ahead."""
    delay = calls["schedule_delay"].min()
    return 0 if pd.isna(delay) else max(0, -int(delay / pd.Timedelta(1, "ms")))


def _unmatched(calls: pd.DataFrame, known: Coverage | None) -> dict[int, int]:
    """Count by function the calls that cannot be matched to a scheduled time, and the records that were set aside."""
    counts = Counter(calls["function_id"][calls["schedule_id"].notna() ^ calls["scheduled_time"].notna()].to_list())
    for function in () if known is None else known.functions:
        counts[function.function_id] += sum(function.set_aside.values())
    return counts


def _texts(schedules: pd.DataFrame, name: str) -> list[str | None]:
    if name not in schedules.columns:
        return [None] * len(schedules)
    return [None if pd.isna(value) else str(value) for value in schedules[name].to_list()]
