"""What can be said of each schedule: which of its slots no call filled, and whether one would be known of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.cron import CronError, cadence_times, cron_times
from callframe.completeness import Coverage, FunctionCoverage
from callframe.errors import FrameError
from callframe.limits import RETENTION_MS
from callframe.timespan import MINUTE_MS, NO_TIME, TimeRange, iso, parse_duration, to_milliseconds

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from callframe.analysis.cron import Minutes

STATES = ("missed", "unconfirmed", "unknown")
"""What a slot without a call can be."""

VERDICTS = ("ran", "missed", "unknown", "nothing due", "unexplained", "unreadable", "no cadence")
"""What can be said of a schedule."""

SCHEDULE_COLUMNS = ("schedule_id", "function_id", "function", "cron_expression", "created_time")
"""What a frame of schedules must have."""

OFF_SLOTS = 0.05
"""Share of calls on no slot beyond which an expression does not explain a history."""

_CODE = 1 << 32  # more than the minutes since 1970


@dataclass(frozen=True)
class Schedule:
    """One schedule, listed or known from its calls alone."""

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
class _Grounds:
    """
    What a call frame can tell of slots.

    From `start_ms` to `end_ms` it is looked at, and to `sure_ms` a call would be there; `early_ms` is how far clocks
    are seen to run ahead. `doubt` keeps everything from being judged; `only` holds the schedules that were asked for,
    if not all; `functions` are the rows of the coverage, `lacking` says by function id what the frame has less of,
    `stray` how many calls cannot be told to a slot.
    """

    start_ms: int
    end_ms: int
    sure_ms: int
    early_ms: int
    doubt: str | None
    only: frozenset[int]
    functions: Mapping[int, FunctionCoverage]
    lacking: Mapping[int, str]
    stray: Mapping[int, int]

    def ids(self, schedule: Schedule, seen: Iterable[int]) -> list[int]:
        """Find the functions a schedule may have started, of those that were read."""
        own = {schedule.function_id, *seen}
        labels = {schedule.function} if schedule.by_external_id or schedule.function_id is None else set()
        return [one for one, row in self.functions.items() if one in own or row.function in labels]

    def since(self, ids: Sequence[int]) -> int:
        """Tell from when the functions can have had calls: one that was deployed later has none from before."""
        created = [self.functions[one].created_ms for one in ids]
        known = [one for one in created if one is not None]
        return min(known) if known and len(known) == len(created) else self.start_ms

    def why_unknown(self, schedule: Schedule, ids: Sequence[int]) -> str | None:
        """Say why nothing can be said of slots that have no call."""
        if self.doubt:
            return self.doubt
        if self.only and schedule.schedule_id not in self.only:
            return "only calls of other schedules were asked for"
        if not ids:
            return "the calls of its function were not asked for"
        return next((self.lacking[one] for one in ids if one in self.lacking), None)


@dataclass
class ScheduleMatch:
    """One schedule and what became of its slots; times are minutes since 1970."""

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
    empty: Minutes = field(default_factory=lambda: np.empty(0, dtype="int64"))
    states: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, dtype="int8"))

    def count(self, state: str) -> int:
        """Count the slots without a call that are of a state."""
        return int(np.count_nonzero(self.states == STATES.index(state)))


def match_schedules(
    calls: pd.DataFrame, schedules: pd.DataFrame, grace: str | dt.timedelta | np.timedelta64
) -> tuple[list[ScheduleMatch], dict[Hashable | None, Any]]:
    """Judge every schedule; gives also the `attrs` of the answer."""
    frame.check(calls)
    known = check_schedules(schedules)
    grace_ms = parse_duration(grace, name="grace")
    calls = frame.deduplicate(calls)
    grounds = _grounds(calls, grace_ms)
    runs = _Runs(calls)
    vanished = [runs.schedule(one) for one in runs.ids if one not in {each.schedule_id for each in known}]
    judged = [_judged(one, runs, grounds) for one in (*known, *vanished)]
    told = {
        "grace": str(pd.Timedelta(grace_ms, "ms")),
        "start": iso(grounds.start_ms) if grounds.end_ms > grounds.start_ms else None,
        "end": iso(grounds.end_ms) if grounds.end_ms > grounds.start_ms else None,
        "problems": {str(one.schedule.schedule_id): one.problem for one in judged if one.problem},
    }
    return judged, {**calls.attrs, "missed_runs": told}


def _judged(schedule: Schedule, runs: _Runs, grounds: _Grounds) -> ScheduleMatch:
    """Judge one schedule."""
    called, counts = runs.of(schedule.schedule_id)
    ids = grounds.ids(schedule, runs.functions(schedule.schedule_id))
    one = ScheduleMatch(schedule, calls=int(counts.sum()), duplicates=int(np.count_nonzero(counts > 1)))
    one.start, one.end = _stretch(schedule, called, grounds, grounds.since(ids))
    inside = (called >= one.start) & (called < one.end)
    try:
        slots, one.cadence = _slots(schedule, called, one.start, one.end)
    except CronError as error:
        one.verdict, one.problem = "no cadence" if schedule.inferred else "unreadable", str(error)
        return one
    on_slot = np.isin(called, slots, assume_unique=True)
    one.off_schedule = int(counts[inside & ~on_slot].sum())
    if one.off_schedule > OFF_SLOTS * int(counts[inside].sum()):
        one.verdict = "no cadence" if schedule.inferred else "unexplained"
        rule = "cadence inferred" if schedule.inferred else "expression"
        one.problem = (
            f"{one.off_schedule:,} of {int(counts[inside].sum()):,} calls fall on no slot: the {rule} does not explain"
            " this history"
        )
        return one
    one.expected, one.empty = len(slots), slots[~np.isin(slots, called, assume_unique=True)]
    _set_states(one, grounds, ids)
    return one


def _set_states(one: ScheduleMatch, grounds: _Grounds, ids: Sequence[int]) -> None:
    """Say what the slots without a call are, and what that makes of the schedule."""
    missed, unconfirmed, unknown = range(len(STATES))
    at_ms = one.empty * MINUTE_MS
    one.states = np.where(at_ms > grounds.sure_ms, unconfirmed, missed).astype("int8")
    one.states[at_ms < grounds.start_ms + grounds.early_ms] = unknown
    why = grounds.why_unknown(one.schedule, ids)
    stray = sum(grounds.stray.get(function_id, 0) for function_id in ids)
    if why:
        one.states[:] = unknown
        one.problem = why if len(one.empty) or one.expected == 0 else None
    elif 0 < one.count("missed") <= stray:
        one.problem = f"{stray:,} calls of its function cannot be told to a slot: broken records, or no scheduled time"
        one.states[one.states == missed] = unknown
    if one.count("missed"):
        one.verdict = "missed"
    elif one.count("unknown") or (why and one.expected == 0):
        one.verdict = "unknown"
    elif one.expected:
        one.verdict = "ran"


def _stretch(schedule: Schedule, called: Minutes, grounds: _Grounds, since_ms: int) -> tuple[int, int]:
    """Find the stretch of minutes to look at; a schedule of unknown age is as old as its first call."""
    start_ms = max(grounds.start_ms, since_ms)
    end = -(-grounds.end_ms // MINUTE_MS)
    if schedule.created_ms is not None:
        start_ms = max(start_ms, schedule.created_ms)
    start = -(-start_ms // MINUTE_MS)
    if schedule.created_ms is None:
        start = max(start, int(called[0])) if len(called) else end
    if schedule.until_ms is not None:
        end = min(end, -(-schedule.until_ms // MINUTE_MS))
    if schedule.inferred:
        end = min(end, int(called[-1]) + 1)
    return min(start, end), end


def _slots(schedule: Schedule, called: Minutes, start: int, end: int) -> tuple[Minutes, int | None]:
    """List the slots of a stretch, and the cadence where it had to be inferred."""
    if schedule.inferred:
        slots, gap = cadence_times(called)
        return slots[(slots >= start) & (slots < end)], gap
    slots = cron_times(schedule.cron_expression, start, end)
    return slots, None


class _Runs:
    """The slots that have calls, by schedule: sorted once for all of them."""

    def __init__(self, calls: pd.DataFrame) -> None:
        placed = (calls["schedule_id"].notna() & calls["scheduled_time"].notna()).to_numpy()
        at_ms = to_milliseconds(calls["scheduled_time"])[placed]
        schedule_ids = calls["schedule_id"].to_numpy(dtype="int64", na_value=0)[placed]
        codes, ids = pd.factorize(schedule_ids, sort=True)
        self.ids: list[int] = ids.tolist()
        self._place = {one: code for code, one in enumerate(self.ids)}
        keys, self._counts = np.unique(codes * _CODE + (at_ms + MINUTE_MS // 2) // MINUTE_MS, return_counts=True)
        self._minutes = keys % _CODE
        self._edges = np.searchsorted(keys, np.arange(len(self.ids) + 1) * _CODE)
        pairs = pd.DataFrame(
            {
                "schedule_id": schedule_ids,
                "function_id": calls["function_id"].to_numpy()[placed],
                "function": calls["function"].array[placed],
            }
        ).drop_duplicates(["schedule_id", "function_id"])
        self._functions: dict[int, dict[int, str]] = {}
        for schedule_id, function_id, label in pairs.itertuples(index=False):
            self._functions.setdefault(schedule_id, {})[function_id] = label

    def of(self, schedule_id: int) -> tuple[Minutes, Minutes]:
        """List the slots of a schedule that have calls, ascending, and how many each has."""
        if schedule_id not in self._place:
            return np.empty(0, dtype="int64"), np.empty(0, dtype="int64")
        code = self._place[schedule_id]
        inside = slice(self._edges[code], self._edges[code + 1])
        return self._minutes[inside], self._counts[inside]

    def functions(self, schedule_id: int) -> list[int]:
        """List the functions that a schedule started."""
        return list(self._functions.get(schedule_id, {}))

    def schedule(self, schedule_id: int) -> Schedule:
        """Describe a schedule by its calls alone."""
        function_id, label = list(self._functions[schedule_id].items())[-1]
        return Schedule(schedule_id, None, label, function_id, None, None, inferred=True)


def check_schedules(schedules: pd.DataFrame) -> list[Schedule]:
    """Read the frame of schedules, each schedule once."""
    if not isinstance(schedules, pd.DataFrame):
        raise FrameError(
            f"Expected a frame of schedules, found {type(schedules).__name__}; project.schedules() gives it."
        )
    missing = [name for name in SCHEDULE_COLUMNS if name not in schedules.columns]
    if missing:
        raise FrameError(
            f"This is no frame of schedules: it lacks {', '.join(missing)}. Expected the columns"
            f" {', '.join(SCHEDULE_COLUMNS)}, as project.schedules() gives them."
        )
    schedules = schedules[schedules["schedule_id"].notna()].drop_duplicates("schedule_id")
    try:
        created = to_milliseconds(pd.to_datetime(schedules["created_time"], utc=True))
        until = _until(schedules)
        ids = schedules["schedule_id"].astype("Int64").to_list()
        function_ids = schedules["function_id"].astype("Int64").to_list()
    except (ValueError, TypeError) as error:
        raise FrameError(f"This is no frame of schedules: {error}.") from None
    texts = {name: _texts(schedules, name) for name in ("name", "function", "cron_expression", "function_external_id")}
    return [
        Schedule(
            int(ids[k]),
            texts["name"][k],
            texts["function"][k],
            None if pd.isna(function_ids[k]) else int(function_ids[k]),
            texts["cron_expression"][k],
            None if created[k] == NO_TIME else int(created[k]),
            by_external_id=texts["function_external_id"][k] is not None,
            until_ms=until[k],
        )
        for k in range(len(ids))
    ]


def _until(schedules: pd.DataFrame) -> list[int | None]:
    """Tell when each schedule was last listed, of those that an archive knows to be gone."""
    if not {"gone_time", "last_seen_time"} <= set(schedules.columns):
        return [None] * len(schedules)
    seen = pd.to_datetime(schedules["last_seen_time"], utc=True).where(schedules["gone_time"].notna())
    return [None if one == NO_TIME else int(one) for one in to_milliseconds(seen)]


def _grounds(calls: pd.DataFrame, grace_ms: int) -> _Grounds:
    """Read from the coverage what the frame can tell."""
    known = Coverage.of(calls)
    covered = None if known is None else known.covered
    if covered is None and len(calls):
        start = to_milliseconds(calls["start_time"])
        end_ms = int(start.max()) + 1
        covered = TimeRange(max(int(start.min()), end_ms - RETENTION_MS), end_ms)
    covered = covered or TimeRange(0, 0)
    return _Grounds(
        covered.start_ms,
        covered.end_ms,
        covered.end_ms - grace_ms,
        min(grace_ms, _early_ms(calls)),
        "the frame carries no coverage" if known is None else known.restriction,
        frozenset() if known is None else frozenset(known.schedule_ids),
        {} if known is None else known.by_id,
        {} if known is None else known.missing_calls(calls),
        _stray(calls, known),
    )


def _early_ms(calls: pd.DataFrame) -> int:
    """Tell how far clocks are seen to run ahead, in milliseconds."""
    delay = calls["schedule_delay"].min()
    return 0 if pd.isna(delay) else max(0, -int(delay / pd.Timedelta(1, "ms")))


def _stray(calls: pd.DataFrame, known: Coverage | None) -> dict[int, int]:
    """Count by function the calls that may have filled a slot, and nobody can say which."""
    unplaced = calls["function_id"][calls["schedule_id"].notna() ^ calls["scheduled_time"].notna()]
    stray = Counter(unplaced.to_list())
    for function in () if known is None else known.functions:
        stray[function.function_id] += sum(function.set_aside.values())
    return stray


def _texts(schedules: pd.DataFrame, name: str) -> list[str | None]:
    if name not in schedules.columns:
        return [None] * len(schedules)
    return [None if pd.isna(one) else str(one) for one in schedules[name].to_list()]
