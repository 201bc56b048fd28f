"""
How long work takes, where some of it has not ended or was cut off.

The estimator is that of Kaplan and Meier (1958, JASA 53:457). What is awaited is the end of completed work. A call that
ended otherwise, or has not ended, tells only that its work would have taken longer: it is censored at that time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.grouping import Groups, group, parse_by
from callframe.analysis.kaplan_meier import Curves, curves
from callframe.completeness import observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import RunLimit
from callframe.timespan import NO_TIME, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callframe.timespan import DurationLike

RUNNING, COMPLETED, FAILED, TIMEOUT, OTHER = range(5)
"""The kinds of calls, in the order of `frame.STATUSES`."""


@dataclass(frozen=True)
class Work:
    """
    How long each call worked, as far as is known.

    Parameters
    ----------
    kinds
        `RUNNING`, `COMPLETED`, `FAILED`, `TIMEOUT` or `OTHER`, of each call.
    times
        Milliseconds, int64, `NO_TIME` where nothing is known.
    stuck
        The places of calls that still run and are beyond the run limit.
    """

    kinds: np.ndarray
    times: np.ndarray
    stuck: np.ndarray


def work(calls: pd.DataFrame, run_limit: DurationLike | None = None, fetched_ms: int | None = None) -> Work:
    """
    Find how long each call worked.

    Parameters
    ----------
    calls
        Call frame.
    run_limit
        How long a call may run; None where that is not known.
    fetched_ms
        When the calls were fetched, in milliseconds since 1970; by default as `calls` say.

    Returns
    -------
    work
        The duration of what ended; the time from start to fetch of what runs and is not stuck; the run limit of a
        Timeout whose end is not known.
    """
    limit = RunLimit.parse(run_limit)
    kinds = _kinds(calls["status"])
    times = to_milliseconds(calls["duration"]).copy()
    running = np.flatnonzero(kinds == RUNNING)
    elapsed = (observed_until_ms(calls) if fetched_ms is None else fetched_ms) - to_milliseconds(calls["start_time"])[
        running
    ]
    beyond = elapsed > limit.longest_ms
    times[running] = np.where(beyond | (elapsed < 0), NO_TIME, elapsed)
    times[(times == NO_TIME) & (kinds == TIMEOUT)] = limit.shortest_ms
    return Work(kinds, times, running[beyond])


def survival(
    calls: pd.DataFrame,
    by: str | Sequence[str] = "function",
    *,
    run_limit: DurationLike | None = None,
    points: int | None = None,
) -> pd.DataFrame:
    """
    Estimate which share of the work is not done yet after a time: Kaplan-Meier curves, for a plot.

    The awaited end is that of completed work. Running calls are censored at the time they had when they were fetched,
    Timeouts and Failed calls at their durations, as in `summarize`; grouped by status, each call's own end is awaited.

    Parameters
    ----------
    calls
        Call frame of any number of rows.
    by
        As for `summarize`.
    run_limit
        As for `summarize`.
    points
        About how many rows a group may have; None for one at every time at which work ended. Rows left out lie less
        than `1 / points` below one that is there.

    Returns
    -------
    survival
        The groups, then `duration` timedelta64[ms], `survival`, `low`, `high` float64, `at_risk`, `events` int64. A
        group begins with a row of survival 1 at duration 0, or at its earliest end where a clock made that negative,
        has a row at each time at which work ended, and one more where censored calls are known beyond the last of
        them. `low` and `high` are the log-log 95 % band (Kalbfleisch and Prentice, 1980), missing where survival is 1
        or 0. `at_risk` counts the calls not ended and not censored before, `events` the ends at that time.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `by`, `run_limit` or `points` cannot be read.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     curves = cf.survival(project.calls(start="14d"))
    >>> float(curves["survival"].max())
    1.0
    """
    frame.check(calls)
    if points is not None and points < 1:
        raise ArgumentError(f"points={points!r}; expected a whole number from 1, or None.")
    groups = group(calls, parse_by(by, durations=True, several=True))
    worked = work(calls, run_limit)
    found = curves(worked.times, awaited(worked.kinds, groups), groups)
    steps = _steps(found)
    at_longest = groups.count(np.flatnonzero(worked.times == found.longest[groups.codes]))
    kept = steps if points is None else steps[_thinned(steps, points)]
    rows = pd.concat([_starts(found), kept, _tails(found, steps, at_longest)])
    rows = rows.sort_values(["group", "order", "duration"], kind="stable")
    places = rows["group"].to_numpy()
    keys = {name: groups.index.get_level_values(name).take(places) for name in map(str, groups.index.names)}
    tidy = rows.drop(columns=["group", "order"]).reset_index(drop=True)
    tidy["duration"] = tidy["duration"].to_numpy().view("timedelta64[ms]")
    return pd.concat([pd.DataFrame(keys, index=tidy.index), tidy], axis=1)


def awaited(kinds: np.ndarray, groups: Groups) -> np.ndarray:
    """
    Tell the ends that are awaited from the others.

    Parameters
    ----------
    kinds
        The kind of each call.
    groups
        What they are grouped by. Among calls of one status that status is what is awaited.

    Returns
    -------
    awaited
        Whether the end of each call is an event.
    """
    ended: np.ndarray = kinds != RUNNING if "status" in groups.index.names else kinds == COMPLETED
    return ended


def _kinds(status: pd.Series) -> np.ndarray:
    known = {name: kind for kind, name in enumerate(frame.STATUSES)}
    kinds = [known.get(name, OTHER) for name in status.cat.categories]
    return np.array([*kinds, OTHER], dtype="uint8")[status.cat.codes.to_numpy()]


def _steps(found: Curves) -> pd.DataFrame:
    """Make a row for each time at which work ended."""
    last = found.last_of_tie
    begin = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    times, survival, low, high = found.steps()
    return pd.DataFrame(
        {
            "group": np.repeat(np.arange(len(found.ends)), found.ends)[last],
            "order": 1,
            "duration": times,
            "survival": survival,
            "low": low,
            "high": high,
            "at_risk": found.at_risk[begin],
            "events": last - begin + 1,
        }
    )


def _thinned(steps: pd.DataFrame, points: int) -> np.ndarray:
    """Keep the first row of each `1 / points` of survival, and the first and the last of each group."""
    group_of = steps["group"].to_numpy()
    level = group_of * (points + 1.0) - np.floor(steps["survival"].to_numpy() * points)
    kept: np.ndarray = np.diff(level, prepend=-np.inf) != 0
    kept[np.flatnonzero(np.diff(group_of))] = True
    kept[-1:] = True
    return kept


def _starts(found: Curves) -> pd.DataFrame:
    """Make a row before anything ended."""
    groups = np.flatnonzero(found.sizes)
    begin = np.where(found.ends > 0, found.quantile(0.0), found.longest)[groups]
    return pd.DataFrame(
        {
            "group": groups,
            "order": 0,
            "duration": np.minimum(begin, 0),
            "survival": 1.0,
            "low": np.nan,
            "high": np.nan,
            "at_risk": found.sizes[groups],
            "events": 0,
        }
    )


def _tails(found: Curves, steps: pd.DataFrame, at_longest: np.ndarray) -> pd.DataFrame:
    """Make a row where censored calls are known beyond the last end of their group."""
    last = steps.drop_duplicates("group", keep="last").set_index("group").reindex(np.arange(len(found.ends)))
    beyond = found.longest > last["duration"].fillna(0).to_numpy()
    return (
        last.assign(order=2, duration=found.longest, at_risk=at_longest, events=0)
        .fillna({"survival": 1.0})
        .rename_axis("group")[beyond & (found.sizes > 0)]
        .reset_index()
    )
