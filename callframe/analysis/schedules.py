"""Which scheduled runs were missed, which ran twice, and how each schedule fared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.schedule_matching import STATES, VERDICTS, match_schedules
from callframe.limits import DEFAULT_GRACE
from callframe.timespan import MINUTE_MS, NO_TIME, from_epoch_ms, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from callframe.analysis.schedule_matching import ScheduleMatch
    from callframe.timespan import DurationLike


def missed_runs(calls: pd.DataFrame, schedules: pd.DataFrame, *, grace: DurationLike = DEFAULT_GRACE) -> pd.DataFrame:
    """
    Find the scheduled times that have no call.

    The times of a cron expression, in UTC, are compared with the `scheduled_time` of calls, to the minute; when a call
    started does not matter. The examined time begins with the latest of the schedule's creation, the function's
    creation, the start of the fetched window and the service's retention of 90 days, and ends with the window or the
    fetch. A scheduled time without a call is

    - `missed` if all calls were read and it is older than the grace;
    - `unconfirmed` if it is more recent: its call may still come, or have started after the window;
    - `unknown` if the frame cannot tell. This holds for every time of a function that was not read, or not completely;
      of a frame that was fetched by status or by ids; of one that was filtered afterwards (it has fewer calls of the
      function than were read); and of one without coverage, such as from a CSV file, of which the time between its
      first and last start is examined, at most 90 days. In a frame fetched by schedule, only those schedules are
      judged. It also holds for as many times as records of the function were set aside, or carry only a scheduled time
      or only a schedule, and for times at the very start of the window if clocks are seen to run ahead.

    A call whose scheduled time is more than half a minute off goes to the nearest free time of the schedule, if that is
    less than a minute away. If it is further off, the free times beside it are unknown.

    Nicknames such as `@daily` and expressions of Quartz (with `?`, seconds or years) are translated where they have one
    meaning as five fields. A schedule whose expression cannot be read, or that is no longer listed, is assumed to run
    at the most frequent gap between its calls, from the first to the last of them, except for the minutes, hours and
    weekdays that it always left out; these rows are `inferred`. A schedule whose expression does not explain the
    history (over 5 % of its calls are at no scheduled time) has no rows. `schedule_report` accounts for every schedule.

    Parameters
    ----------
    calls
        Call frame. A repeated call counts once.
    schedules
        Table that `Project.schedules` or `Archive.schedules` returned; the columns `schedule_id`, `function_id`,
        `function`, `cron_expression`, `created_time` are required. A schedule without a creation time is followed from
        its first call, one that an archive knows to be gone for as long as it was listed.
    grace
        How long after its scheduled time a call may still appear before the run counts as missed.

    Returns
    -------
    missed
        One row per scheduled time without a call, by time and schedule: `schedule_id` Int64, `name` str, `function`
        category, `scheduled_time` datetime64[ms, UTC], `state` category, `cron_expression` str (missing if no longer
        listed), `inferred` bool. Its `attrs` are those of `calls`, and under `"missed_runs"` the grace, the examined
        time range and `problems`: what kept a schedule from being judged, or from being judged by its expression, by
        schedule id as text.

    Raises
    ------
    FrameError
        `calls` is not a call frame, or `schedules` misses a column.
    ArgumentError
        `grace` is not a duration.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     missed = cf.missed_runs(project.calls(start="14d"), project.schedules())
    >>> sorted(missed["state"].cat.categories)
    ['missed', 'unconfirmed', 'unknown']
    """
    matches, attrs = match_schedules(calls, schedules, grace)
    rows = np.repeat(np.arange(len(matches)), [len(match.without_call) for match in matches])
    minutes = _concatenate([match.without_call for match in matches])
    states = _concatenate([match.states for match in matches])
    ids = np.array([match.schedule.schedule_id for match in matches], dtype="int64")
    order = np.lexsort((ids[rows], minutes))
    rows = rows[order]
    missed = pd.DataFrame(
        {
            **{name: column.take(rows) for name, column in _schedule_columns(matches).items()},
            "scheduled_time": from_epoch_ms(minutes[order] * MINUTE_MS),
            "state": pd.Categorical.from_codes(states[order], categories=_categories(STATES)),
        },
        copy=False,
    )[["schedule_id", "name", "function", "scheduled_time", "state", "cron_expression", "inferred"]]
    missed.index = pd.RangeIndex(len(missed))
    missed.attrs = attrs
    return missed


def schedule_report(
    calls: pd.DataFrame, schedules: pd.DataFrame, *, grace: DurationLike = DEFAULT_GRACE
) -> pd.DataFrame:
    """
    Account for every schedule: how many of its scheduled times had a call, and what kept it from being judged.

    The rules are those of `missed_runs`, whose rows this counts.

    Parameters
    ----------
    calls
        Call frame.
    schedules
        As for `missed_runs`.
    grace
        As for `missed_runs`.

    Returns
    -------
    report
        One row per schedule that is listed or has calls, the most missed first: `schedule_id` Int64, `name` str,
        `function` category, `cron_expression` str, `inferred` bool, `cadence` timedelta64[ms] (the gap assumed for an
        inferred schedule), `start` and `end` datetime64[ms, UTC] (the examined time, end excluded); the `expected`
        scheduled times, which are the sum of `run`, `missed`, `unconfirmed` and `unknown`; `calls` of the schedule in
        the frame, `duplicates` (scheduled times with more than one), `off_schedule` (examined calls at no scheduled
        time), all int64; `verdict` category; `problem` str, missing if there is none. The verdicts: `ran` (nothing is
        known to be missed or unknown), `missed`, `unknown`, `nothing due` (no scheduled time in the examined range);
        nothing is counted for `unexplained` (over 5 % of the calls are at no scheduled time), `unreadable` (the
        expression, and its calls are too few or too irregular to infer a cadence) and `no cadence` (the same of a
        schedule that is no longer listed). `attrs` as in `missed_runs`.

    Raises
    ------
    FrameError
        `calls` is not a call frame, or `schedules` misses a column.
    ArgumentError
        `grace` is not a duration.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     report = cf.schedule_report(project.calls(start="14d"), project.schedules())
    >>> bool((report["run"] <= report["expected"]).all())
    True
    """
    matches, attrs = match_schedules(calls, schedules, grace)
    verdicts = [VERDICTS.index(match.verdict) for match in matches]
    cadences = [NO_TIME if match.cadence is None else match.cadence * MINUTE_MS for match in matches]
    report = pd.DataFrame(
        {
            **_schedule_columns(matches),
            "cadence": to_timedelta(np.array(cadences, dtype="int64")),
            "start": frame.time_column([match.start * MINUTE_MS for match in matches]),
            "end": frame.time_column([match.end * MINUTE_MS for match in matches]),
            "expected": _integers(match.expected for match in matches),
            "run": _integers(match.expected - len(match.without_call) for match in matches),
            **{state: _integers(match.count(state) for match in matches) for state in STATES},
            "calls": _integers(match.calls for match in matches),
            "duplicates": _integers(match.duplicates for match in matches),
            "off_schedule": _integers(match.off_schedule for match in matches),
            "verdict": pd.Categorical.from_codes(verdicts, categories=_categories(VERDICTS)),
            "problem": frame.text_column([match.problem for match in matches]),
        }
    ).sort_values(["missed", "unknown", "schedule_id"], ascending=[False, False, True], kind="stable")
    report = report.reset_index(drop=True)
    report.attrs = attrs
    return report


def duplicate_runs(calls: pd.DataFrame) -> pd.DataFrame:
    """
    Find the scheduled times that have more than one call.

    Parameters
    ----------
    calls
        Call frame. A repeated call counts once.

    Returns
    -------
    duplicates
        One row per scheduled time, by time and schedule: `schedule_id` Int64, `function` category, `scheduled_time`
        datetime64[ms, UTC] rounded to the minute, `calls` int64, `first_call_id` and `last_call_id` int64 by start.

    Raises
    ------
    FrameError
        `calls` is not a call frame.

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
    duplicates = (
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
    integers = dict.fromkeys(["calls", "first_call_id", "last_call_id"], "int64")
    duplicates = duplicates.astype({**integers, "function": calls["function"].dtype})
    return duplicates[["schedule_id", "function", "scheduled_time", "calls", "first_call_id", "last_call_id"]]


def _schedule_columns(matches: Sequence[ScheduleMatch]) -> dict[str, pd.Series]:
    """Build the columns that identify schedules."""
    schedules = [match.schedule for match in matches]
    labels = pd.Categorical(frame.text_column([schedule.function for schedule in schedules]))
    return {
        "schedule_id": pd.Series([schedule.schedule_id for schedule in schedules], dtype="Int64"),
        "name": frame.text_column([schedule.name for schedule in schedules]),
        "function": pd.Series(labels),
        "cron_expression": frame.text_column([schedule.cron_expression for schedule in schedules]),
        "inferred": pd.Series([schedule.inferred for schedule in schedules], dtype="bool"),
    }


def _categories(names: Sequence[str]) -> pd.Index:
    return pd.Index(list(names), dtype=frame.TEXT)


def _integers(values: Iterable[int]) -> pd.Series:
    return pd.Series(list(values), dtype="int64")


def _concatenate(arrays: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    return np.concatenate([np.empty(0, dtype="int64"), *arrays])
