"""Which slots of a schedule no call filled, which were filled twice, and of which nothing can be said."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from cronsim import CronSim, CronSimError

from callframe import frame
from callframe.coverage import KEY
from callframe.errors import FrameError
from callframe.measures import basis
from callframe.window import iso

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Minutes = NDArray[np.int64]

STATES = ("missed", "unconfirmed", "unknown")
"""What a slot without a call can be."""

VERDICTS = ("ran", "missed", "unknown", "nothing due", "unexplained", "unreadable", "no cadence")
"""What can be said of a schedule."""

SCHEDULE_COLUMNS = ("schedule_id", "function_id", "function", "cron_expression", "created_time")
"""What a frame of schedules must have."""

OFF_SLOTS = 0.05
"""Share of calls on no slot beyond which an expression does not explain a history."""

OFF_CADENCE = 0.2
"""Share of slots without a call beyond which an inferred cadence is not one."""

_MINUTE_MS = 60_000
_DAY_MINUTES = 24 * 60
_FIELDS = 5
_FEWEST_GAPS = 3
_CODE = 1 << 32  # more than the minutes since 1970


def missed_runs(
    calls: pd.DataFrame, schedules: pd.DataFrame, *, grace: str | dt.timedelta | np.timedelta64 = "10min"
) -> pd.DataFrame:
    """
    Find the slots of schedules that no call filled.

    The slots of a cron expression, in UTC, are compared with the `scheduled_time` of calls, to the minute; when a call
    started does not matter. Looked at is the time from the latest of the schedule's and the function's creation, the
    start of the fetched window and the 90 days that the service keeps, to the end of the window or the time of the
    fetch. A slot without a call is

    - `missed` where all calls were read and it is older than the grace;
    - `unconfirmed` where it is newer: its call may still come, or have started after the window;
    - `unknown` where the frame cannot tell. This is so for every slot of a function that was not read, or not
      completely; of a frame that was fetched by status or by ids, of one that was filtered afterwards (it holds fewer
      calls of the function than were read), and of one that carries no coverage, read from a CSV say, of which the time
      between its first and last start is looked at, 90 days at most. In a frame fetched by schedule, only those
      schedules can be told of. The same goes for no more slots than records of the function were set aside or carry a
      scheduled time or a schedule alone, and for slots at the very start of the window while clocks are seen to run
      ahead.

    A schedule whose expression is unreadable or does not explain the history (over 5 % of its calls fall on no slot)
    has no rows. A schedule that is listed no more is taken to run at the most frequent gap between its calls, from
    the first to the last of them, apart from the minutes, hours and weekdays that it always left out; these rows are
    `inferred`. `schedule_report` accounts for every schedule.

    Parameters
    ----------
    calls
        Call frame. A call that is in it twice counts once.
    schedules
        What `Project.schedules` or `Archive.schedules` gave; of its columns `schedule_id`, `function_id`, `function`,
        `cron_expression`, `created_time` are needed. A schedule without a creation time is followed from its first
        call, one that an archive knows to be gone as long as it was listed.
    grace
        How late a call may start before its slot counts as missed.

    Returns
    -------
    missed
        One row a slot that has no call, by time and schedule: `schedule_id` Int64, `name` str, `function` category,
        `scheduled_time` datetime64[ms, UTC], `state` category, `cron_expression` str (missing where inferred),
        `inferred` bool. Its `attrs` hold those of `calls`, and under `"missed_runs"` the grace, the stretch looked at
        and `problems`: what kept a schedule from being judged, by schedule id as text.

    Raises
    ------
    FrameError
        `calls` is no call frame, or `schedules` lacks a column.
    ArgumentError
        The grace is no span of time, or negative.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     missed = cf.missed_runs(project.calls(start="14d"), project.schedules())
    >>> sorted(missed["state"].cat.categories)
    ['missed', 'unconfirmed', 'unknown']
    """
    judged, attrs = _judge(calls, schedules, grace)
    sizes = [len(one.empty) for one in judged]
    rows = np.repeat(np.arange(len(judged)), sizes)
    minutes = _joined([one.empty for one in judged])
    states = _joined([one.states for one in judged])
    ids = np.array([one.schedule.schedule_id for one in judged], dtype="int64")
    order = np.lexsort((ids[rows], minutes))
    rows = rows[order]
    missed = pd.DataFrame(
        {
            **{name: column.take(rows) for name, column in _described(judged).items()},
            "scheduled_time": basis.moments(minutes[order] * _MINUTE_MS),
            "state": pd.Categorical.from_codes(states[order], categories=_categories(STATES)),
        },
        copy=False,
    )[["schedule_id", "name", "function", "scheduled_time", "state", "cron_expression", "inferred"]]
    missed.attrs = attrs
    return missed


def schedule_report(
    calls: pd.DataFrame, schedules: pd.DataFrame, *, grace: str | dt.timedelta | np.timedelta64 = "10min"
) -> pd.DataFrame:
    """
    Account for every schedule: how many of its slots had a call, and what kept it from being judged.

    The rules are those of `missed_runs`, whose rows this counts.

    Parameters
    ----------
    calls
        Call frame.
    schedules
        What `Project.schedules` gave.
    grace
        How late a call may start before its slot counts as missed.

    Returns
    -------
    report
        One row a schedule that is listed or has calls, the most missed first: `schedule_id` Int64, `name` str,
        `function` category, `cron_expression` str, `inferred` bool, `cadence` timedelta64[ms] (the gap an inferred
        schedule is taken to have), `start` and `end` datetime64[ms, UTC] (the stretch looked at, end excluded);
        `expected` slots, which `run`, `missed`, `unconfirmed` and `unknown` add up to; `calls` of the schedule in the
        frame, `duplicates` (slots with more than one of them), `off_schedule` (calls within the stretch on no slot),
        all int64; `verdict` category; `problem` str, missing where there is none. The verdicts: `ran` (no slot is known
        to be missed, none is unknown), `missed`, `unknown`, `nothing due` (no slot in the stretch); nothing is counted
        for `unexplained` (over 5 % of the calls fall on no slot), `unreadable` (the expression) and `no cadence`
        (listed no more, and its calls are too few or too irregular). `attrs` as in `missed_runs`.

    Raises
    ------
    FrameError
        `calls` is no call frame, or `schedules` lacks a column.
    ArgumentError
        The grace is no span of time, or negative.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     report = cf.schedule_report(project.calls(start="14d"), project.schedules())
    >>> bool((report["run"] <= report["expected"]).all())
    True
    """
    judged, attrs = _judge(calls, schedules, grace)
    counts = {name: [one.count(name) for one in judged] for name in STATES}
    verdicts = [VERDICTS.index(one.verdict) for one in judged]
    report = pd.DataFrame(
        {
            **_described(judged),
            "cadence": _spans([one.cadence for one in judged]),
            "start": frame.times([one.start * _MINUTE_MS for one in judged]),
            "end": frame.times([one.end * _MINUTE_MS for one in judged]),
            "expected": _integers(one.expected for one in judged),
            "run": _integers(one.expected - len(one.empty) for one in judged),
            **{name: _integers(values) for name, values in counts.items()},
            "calls": _integers(one.calls for one in judged),
            "duplicates": _integers(one.duplicates for one in judged),
            "off_schedule": _integers(one.off_schedule for one in judged),
            "verdict": pd.Categorical.from_codes(verdicts, categories=_categories(VERDICTS)),
            "problem": frame.text([one.problem for one in judged]),
        }
    ).sort_values(["missed", "unknown", "schedule_id"], ascending=[False, False, True], kind="stable")
    report = report.reset_index(drop=True)
    report.attrs = attrs
    return report


def duplicate_runs(calls: pd.DataFrame) -> pd.DataFrame:
    """
    Find the slots that more than one call filled.

    Parameters
    ----------
    calls
        Call frame. A call that is in it twice counts once.

    Returns
    -------
    duplicates
        One row a slot, by time and schedule: `schedule_id` Int64, `function` category, `scheduled_time`
        datetime64[ms, UTC] rounded to the minute, `calls` int64, `first_call_id` and `last_call_id` int64 by start.

    Raises
    ------
    FrameError
        It is no call frame.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     duplicates = cf.duplicate_runs(project.calls(start="14d"))
    >>> bool((duplicates["calls"] > 1).all())
    True
    """
    frame.check(calls)
    calls = basis.once(calls)
    scheduled = calls[calls["schedule_id"].notna() & calls["scheduled_time"].notna()]
    scheduled = scheduled.assign(scheduled_time=scheduled["scheduled_time"].dt.round("min"))
    found = (
        scheduled[scheduled.duplicated(["schedule_id", "scheduled_time"], keep=False)]
        .sort_values(["start_time", "call_id"])
        .groupby(["scheduled_time", "schedule_id"], as_index=False, sort=True)
        .agg(
            function=("function", "first"),
            calls=("call_id", "size"),
            first_call_id=("call_id", "first"),
            last_call_id=("call_id", "last"),
        )
    )
    counts = dict.fromkeys(["calls", "first_call_id", "last_call_id"], "int64")
    found = found.astype({**counts, "function": calls["function"].dtype})
    return found[["schedule_id", "function", "scheduled_time", "calls", "first_call_id", "last_call_id"]]


@dataclass(frozen=True)
class _Schedule:
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
    functions: Mapping[int, Mapping[str, Any]]
    lacking: Mapping[int, str]
    stray: Mapping[int, int]

    def ids(self, schedule: _Schedule, seen: Iterable[int]) -> list[int]:
        """Find the functions a schedule may have started, of those that were read."""
        own = {schedule.function_id, *seen}
        labels = {schedule.function} if schedule.by_external_id or schedule.function_id is None else set()
        return [one for one, row in self.functions.items() if one in own or row["function"] in labels]

    def since(self, ids: Sequence[int]) -> int:
        """Tell from when the functions can have had calls: one that was deployed later has none from before."""
        created = [self.functions[one].get("created_ms") for one in ids]
        known = [one for one in created if one is not None]
        return min(known) if known and len(known) == len(created) else self.start_ms

    def why_unknown(self, schedule: _Schedule, ids: Sequence[int]) -> str | None:
        """Say why nothing can be said of slots that have no call."""
        if self.doubt:
            return self.doubt
        if self.only and schedule.schedule_id not in self.only:
            return "only calls of other schedules were asked for"
        if not ids:
            return "the calls of its function were not asked for"
        return next((self.lacking[one] for one in ids if one in self.lacking), None)


@dataclass
class _Judged:
    """One schedule and what became of its slots; times are minutes since 1970."""

    schedule: _Schedule
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


class _CronError(ValueError):
    """An expression that cannot be read."""


def _judge(
    calls: pd.DataFrame, schedules: pd.DataFrame, grace: str | dt.timedelta | np.timedelta64
) -> tuple[list[_Judged], dict[Hashable | None, Any]]:
    """Judge every schedule; gives also the `attrs` of the answer."""
    frame.check(calls)
    listed = _listed(schedules)
    grace_ms = basis.span_ms(grace, "grace")
    calls = basis.once(calls)
    grounds = _grounds(calls, grace_ms)
    runs = _Runs(calls)
    vanished = [runs.schedule(one) for one in runs.ids if one not in {known.schedule_id for known in listed}]
    judged = [_judged(one, runs, grounds) for one in (*listed, *vanished)]
    told = {
        "grace": str(pd.Timedelta(grace_ms, "ms")),
        "start": iso(grounds.start_ms) if grounds.end_ms > grounds.start_ms else None,
        "end": iso(grounds.end_ms) if grounds.end_ms > grounds.start_ms else None,
        "problems": {str(one.schedule.schedule_id): one.problem for one in judged if one.problem},
    }
    return judged, {**calls.attrs, "missed_runs": told}


def _judged(schedule: _Schedule, runs: _Runs, grounds: _Grounds) -> _Judged:
    """Judge one schedule."""
    called, counts = runs.of(schedule.schedule_id)
    ids = grounds.ids(schedule, runs.functions(schedule.schedule_id))
    one = _Judged(schedule, calls=int(counts.sum()), duplicates=int(np.count_nonzero(counts > 1)))
    one.start, one.end = _stretch(schedule, called, grounds, grounds.since(ids))
    inside = (called >= one.start) & (called < one.end)
    try:
        slots, one.cadence = _slots(schedule, called, one.start, one.end)
    except _CronError as error:
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


def _set_states(one: _Judged, grounds: _Grounds, ids: Sequence[int]) -> None:
    """Say what the slots without a call are, and what that makes of the schedule."""
    missed, unconfirmed, unknown = range(len(STATES))
    at_ms = one.empty * _MINUTE_MS
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


def _stretch(schedule: _Schedule, called: Minutes, grounds: _Grounds, since_ms: int) -> tuple[int, int]:
    """Find the stretch of minutes to look at; a schedule of unknown age is as old as its first call."""
    start_ms = max(grounds.start_ms, since_ms)
    end = -(-grounds.end_ms // _MINUTE_MS)
    if schedule.created_ms is not None:
        start_ms = max(start_ms, schedule.created_ms)
    start = -(-start_ms // _MINUTE_MS)
    if schedule.created_ms is None:
        start = max(start, int(called[0])) if len(called) else end
    if schedule.until_ms is not None:
        end = min(end, -(-schedule.until_ms // _MINUTE_MS))
    if schedule.inferred:
        end = min(end, int(called[-1]) + 1)
    return min(start, end), end


def _slots(schedule: _Schedule, called: Minutes, start: int, end: int) -> tuple[Minutes, int | None]:
    """List the slots of a stretch, and the cadence where it had to be inferred."""
    if schedule.inferred:
        slots, gap = _inferred(called)
        return slots[(slots >= start) & (slots < end)], gap
    slots = cron_slots(schedule.cron_expression, start, end)
    return slots, None


def cron_slots(expression: str | None, start: int, end: int) -> Minutes:
    """
    List the slots of a cron expression of five fields, in UTC.

    Where day of month and day of week are both restricted, either will do, as in Debian's cron.

    Parameters
    ----------
    expression
        Minute, hour, day of month, month, day of week.
    start, end
        The stretch, in minutes since 1970-01-01, end excluded.

    Returns
    -------
    slots
        Minutes since 1970-01-01, ascending.
    """
    fields = expression.split() if expression is not None else []
    if not fields:
        raise _CronError("it has no cron expression")
    if len(fields) != _FIELDS:
        raise _CronError(f"{expression!r} has {len(fields)} fields; a cron expression has {_FIELDS}")
    minute, hour, *day = fields
    try:
        days = _days(" ".join(day), start // _DAY_MINUTES, -(-end // _DAY_MINUTES))
        times = _times_of_day(minute, hour)
    except (CronSimError, ValueError) as error:
        raise _CronError(f"{expression!r} cannot be read: {error}") from None
    slots = (days[:, None] * _DAY_MINUTES + times).ravel()
    return slots[(slots >= start) & (slots < end)]


@lru_cache(maxsize=4096)
def _times_of_day(minute: str, hour: str) -> Minutes:
    """List the minutes of a day: cronsim reads the fields, the product of days and minutes is left to numpy."""
    midnight = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    found = []
    for slot in CronSim(f"{minute} {hour} * * *", midnight - dt.timedelta(minutes=1)):
        if slot >= midnight + dt.timedelta(days=1):
            break
        found.append(slot.hour * 60 + slot.minute)
    return np.array(found, dtype="int64")


@lru_cache(maxsize=4096)
def _days(fields: str, start: int, end: int) -> Minutes:
    """List the days of a stretch, counted from 1970, that the last three fields let through."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    found = []
    for slot in CronSim(f"0 0 {fields}", epoch + dt.timedelta(days=start, minutes=-1)):
        day = (slot - epoch).days
        if day >= end:
            break
        found.append(day)
    return np.array(found, dtype="int64")


def _inferred(called: Minutes) -> tuple[Minutes, int]:
    """Take the most frequent gap for the cadence, and leave out what the schedule itself always left out."""
    gaps, often = np.unique(np.diff(called), return_counts=True)
    if often.sum() < _FEWEST_GAPS:
        raise _CronError("it is listed no more, and has too few calls to infer when it ran")
    gap = int(gaps[np.argmax(often)])
    slots = np.arange(called[0], called[-1] + 1, gap)
    for size, count in ((1, 60), (60, 24), (_DAY_MINUTES, 7)):  # minutes of the hour, hours of the day, weekdays
        slots = slots[~_never(slots, called, size, count)]
    lacking = np.count_nonzero(~np.isin(slots, called, assume_unique=True))
    if lacking > OFF_CADENCE * len(slots):
        raise _CronError("it is listed no more, and its calls are too irregular to infer when it ran")
    return slots, gap


def _never(slots: Minutes, called: Minutes, size: int, count: int) -> NDArray[np.bool_]:
    """Mark slots in an hour, say, that never had a call, though it came round more than once."""
    values = slots // size % count
    came = pd.unique(slots // (size * count) * count + values)
    rounds = np.bincount(came % count, minlength=count)
    seen = np.isin(values, called // size % count)
    return ~seen & (rounds[values] > 1)


class _Runs:
    """The slots that have calls, by schedule: sorted once for all of them."""

    def __init__(self, calls: pd.DataFrame) -> None:
        placed = (calls["schedule_id"].notna() & calls["scheduled_time"].notna()).to_numpy()
        at_ms = basis.stamps(calls["scheduled_time"])[placed]
        schedule_ids = calls["schedule_id"].to_numpy(dtype="int64", na_value=0)[placed]
        codes, ids = pd.factorize(schedule_ids, sort=True)
        self.ids: list[int] = ids.tolist()
        self._place = {one: code for code, one in enumerate(self.ids)}
        keys, self._counts = np.unique(codes * _CODE + (at_ms + _MINUTE_MS // 2) // _MINUTE_MS, return_counts=True)
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

    def schedule(self, schedule_id: int) -> _Schedule:
        """Describe a schedule by its calls alone."""
        function_id, label = list(self._functions[schedule_id].items())[-1]
        return _Schedule(schedule_id, None, label, function_id, None, None, inferred=True)


def _listed(schedules: pd.DataFrame) -> list[_Schedule]:
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
        created = basis.stamps(pd.to_datetime(schedules["created_time"], utc=True))
        until = _until(schedules)
        ids = schedules["schedule_id"].astype("Int64").to_list()
        function_ids = schedules["function_id"].astype("Int64").to_list()
    except (ValueError, TypeError) as error:
        raise FrameError(f"This is no frame of schedules: {error}.") from None
    texts = {name: _texts(schedules, name) for name in ("name", "function", "cron_expression", "function_external_id")}
    return [
        _Schedule(
            int(ids[k]),
            texts["name"][k],
            texts["function"][k],
            None if pd.isna(function_ids[k]) else int(function_ids[k]),
            texts["cron_expression"][k],
            None if created[k] == basis.NO_TIME else int(created[k]),
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
    return [None if one == basis.NO_TIME else int(one) for one in basis.stamps(seen)]


def _grounds(calls: pd.DataFrame, grace_ms: int) -> _Grounds:
    """Read from the coverage what the frame can tell."""
    known = basis.stretch(calls)
    if known is None and len(calls):
        start = basis.stamps(calls["start_time"])
        end_ms = int(start.max()) + 1
        known = max(int(start.min()), end_ms - basis.RETENTION_MS), end_ms
    start_ms, end_ms = known or (0, 0)
    return _Grounds(
        start_ms,
        end_ms,
        end_ms - grace_ms,
        min(grace_ms, _early_ms(calls)),
        basis.doubt(calls),
        frozenset((calls.attrs.get(KEY) or {}).get("schedule_ids") or ()),
        basis.functions(calls),
        dict(basis.lacking(calls)),
        _stray(calls),
    )


def _early_ms(calls: pd.DataFrame) -> int:
    """Tell how far clocks are seen to run ahead, in milliseconds."""
    delay = calls["schedule_delay"].min()
    return 0 if pd.isna(delay) else max(0, -int(delay / pd.Timedelta(1, "ms")))


def _stray(calls: pd.DataFrame) -> dict[int, int]:
    """Count by function the calls that may have filled a slot, and nobody can say which."""
    unplaced = calls["function_id"][calls["schedule_id"].notna() ^ calls["scheduled_time"].notna()]
    stray = Counter(unplaced.to_list())
    for function_id, row in basis.functions(calls).items():
        stray[function_id] += row["set_aside"]
    return stray


def _texts(schedules: pd.DataFrame, name: str) -> list[str | None]:
    if name not in schedules.columns:
        return [None] * len(schedules)
    return [None if pd.isna(one) else str(one) for one in schedules[name].to_list()]


def _described(judged: Sequence[_Judged]) -> dict[str, pd.Series]:
    """Make the columns that say which schedule it is."""
    schedules = [one.schedule for one in judged]
    labels = pd.Categorical(frame.text([one.function for one in schedules]))
    return {
        "schedule_id": pd.Series([one.schedule_id for one in schedules], dtype="Int64"),
        "name": frame.text([one.name for one in schedules]),
        "function": pd.Series(labels),
        "cron_expression": frame.text([one.cron_expression for one in schedules]),
        "inferred": pd.Series([one.inferred for one in schedules], dtype="bool"),
    }


def _categories(names: Sequence[str]) -> pd.Index:
    return pd.Index(list(names), dtype=frame.TEXT)


def _integers(values: Iterable[int]) -> pd.Series:
    return pd.Series(list(values), dtype="int64")


def _spans(minutes: Sequence[int | None]) -> pd.Series:
    stamps = [basis.NO_TIME if one is None else one * _MINUTE_MS for one in minutes]
    return pd.Series(np.array(stamps, dtype="int64").view("timedelta64[ms]"))


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype="int64"), *arrays])
