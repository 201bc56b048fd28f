"""Which slots of a schedule no call filled, which were filled twice, and of which nothing can be said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.schedule_matching import STATES, VERDICTS, match_schedules
from callframe.timespan import MINUTE_MS, NO_TIME, from_epoch_ms

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

from callframe.analysis.schedule_matching import ScheduleMatch

__all__ = ["VERDICTS", "duplicate_runs", "missed_runs", "schedule_report"]


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
    judged, attrs = match_schedules(calls, schedules, grace)
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
            "scheduled_time": from_epoch_ms(minutes[order] * MINUTE_MS),
            "state": pd.Categorical.from_codes(states[order], categories=_categories(STATES)),
        },
        copy=False,
    )[["schedule_id", "name", "function", "scheduled_time", "state", "cron_expression", "inferred"]]
    missed.index = pd.RangeIndex(len(missed))
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
    judged, attrs = match_schedules(calls, schedules, grace)
    counts = {name: [one.count(name) for one in judged] for name in STATES}
    verdicts = [VERDICTS.index(one.verdict) for one in judged]
    report = pd.DataFrame(
        {
            **_described(judged),
            "cadence": _spans([one.cadence for one in judged]),
            "start": frame.time_column([one.start * MINUTE_MS for one in judged]),
            "end": frame.time_column([one.end * MINUTE_MS for one in judged]),
            "expected": _integers(one.expected for one in judged),
            "run": _integers(one.expected - len(one.empty) for one in judged),
            **{name: _integers(values) for name, values in counts.items()},
            "calls": _integers(one.calls for one in judged),
            "duplicates": _integers(one.duplicates for one in judged),
            "off_schedule": _integers(one.off_schedule for one in judged),
            "verdict": pd.Categorical.from_codes(verdicts, categories=_categories(VERDICTS)),
            "problem": frame.text_column([one.problem for one in judged]),
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
    calls = frame.deduplicate(calls)
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


def _described(judged: Sequence[ScheduleMatch]) -> dict[str, pd.Series]:
    """Make the columns that say which schedule it is."""
    schedules = [one.schedule for one in judged]
    labels = pd.Categorical(frame.text_column([one.function for one in schedules]))
    return {
        "schedule_id": pd.Series([one.schedule_id for one in schedules], dtype="Int64"),
        "name": frame.text_column([one.name for one in schedules]),
        "function": pd.Series(labels),
        "cron_expression": frame.text_column([one.cron_expression for one in schedules]),
        "inferred": pd.Series([one.inferred for one in schedules], dtype="bool"),
    }


def _categories(names: Sequence[str]) -> pd.Index:
    return pd.Index(list(names), dtype=frame.TEXT)


def _integers(values: Iterable[int]) -> pd.Series:
    return pd.Series(list(values), dtype="int64")


def _spans(minutes: Sequence[int | None]) -> pd.Series:
    stamps = [NO_TIME if one is None else one * MINUTE_MS for one in minutes]
    return pd.Series(np.array(stamps, dtype="int64").view("timedelta64[ms]"))


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype="int64"), *arrays])
