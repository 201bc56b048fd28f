"""How many calls, how many failed, and how long they took."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import display, frame
from callframe.coverage import KEY
from callframe.errors import ArgumentError
from callframe.measures.curves import MISSING, Curves, curves
from callframe.measures.estimates import wilson
from callframe.measures.groups import TIME, Groups, group, milliseconds
from callframe.measures.survival import COMPLETED, OTHER, TIMEOUT, awaited, work
from callframe.window import parse_span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callframe.measures.survival import Work
    from callframe.window import SpanLike

__all__ = ["over_time", "round_width", "spread", "summarize", "wilson"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

WITH_INTERVAL = ("p50", "p95")
"""The quantiles of durations that have an interval."""

SPREAD = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles that show how values are spread."""

_NEVER = np.iinfo("int64").max


def summarize(
    calls: pd.DataFrame,
    by: str | Sequence[str] = "function",
    *,
    run_limit: SpanLike | None = None,
    grace: SpanLike = "1min",
) -> pd.DataFrame:
    """
    Summarize calls by group: counts, failure rate, durations and schedule delays.

    A Timeout is a failure. Running calls are counted and are in no rate.

    Quantiles of durations are those of completed work, by Kaplan and Meier: what still runs, was cut off or failed is
    known only to need longer than it had. A Running call is censored at the time it had when it was fetched, a Timeout
    and a Failed call (or one of an unknown status) at its duration. A Timeout whose end is not known had the run limit.
    A Running call beyond the run limit is stuck, and says nothing of durations. Grouped by status, a group's own end
    is awaited: its durations are those observed. Where the curve does not fall as far as a quantile, that is missing,
    and the largest time at which the curve is known, which the quantile exceeds, is in the column `..._above`.

    The time of the fetch is that of the coverage; without one it is the latest time in the frame.

    Parameters
    ----------
    calls
        Call frame of any number of rows.
    by
        `"function"`, `"schedule"`, `"status"`, a frequency such as `"1h"` or `"7d"`, or several of them. A frequency
        groups by start time in UTC; whole weeks begin on Mondays.
    run_limit
        How long the service lets a call run, such as `"10min"`. If it is not given, a call is stuck from 15 minutes,
        the longest limit documented, and a Timeout without an end had 9, the shortest.
    grace
        How late a call may start without being late.

    Returns
    -------
    summary
        One row a group that has calls, the most failures first, with a frequency in order of the groups; the groups are
        the index.

        `calls`, `completed`, `failed`, `timeout`, `running`, `stuck` (these are among the running), `other` int64.

        `failure_rate`, `failure_rate_low`, `failure_rate_high` float64, the share of Failed and Timeout among finished
        calls with its Wilson 95 % interval (Wilson, 1927, JASA 22:209), missing where none has finished.

        `duration_p50`, `duration_p90`, `duration_p95`, `duration_p99` timedelta64[ms], each the smallest duration by
        which that share of the work is done, and after each of them `..._above`; `..._low` and `..._high` of p50 and
        p95 are the 95 % interval where the log-log band of the curve crosses (Brookmeyer and Crowley, 1982, Biometrics
        38:29), missing with fewer than 5 and 59 completed calls, and the upper one where the band stays above.
        `duration_max` is the longest observed, of calls that ended in any way.

        `schedule_delay_p50`, `schedule_delay_p90`, `schedule_delay_p95`, `schedule_delay_p99`, `schedule_delay_max`
        timedelta64[ms]; `scheduled` int64, how many calls have a delay, and `late_rate` float64, the share of those
        whose delay is above the grace.

        `last_success_time` datetime64[ms, UTC], the latest start of a Completed call; `longest_failure_streak` int64,
        the most failures in a row, by start time, among finished calls.

        Its `attrs` hold the coverage of the calls. In a notebook it is shown in units; `style` adds colours.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `by`, `run_limit` or `grace` cannot be read.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     summary = cf.summarize(project.calls(start="14d"))
    >>> int(summary["calls"].sum()) > 900
    True
    """
    frame.check(calls)
    grace_ms = parse_span(grace, name="grace")
    groups, worked = group(calls, by), work(calls, run_limit)
    counts = _counts(groups, worked)
    columns = {
        **counts,
        **_failure_rates(counts),
        **_durations(calls, groups, worked),
        **_delays(calls, groups, grace_ms),
        **_successes(calls, groups, worked.kinds),
    }
    order = np.arange(len(groups))
    if TIME not in groups.index.names:
        order = np.lexsort((-counts["calls"], -counts["failed"] - counts["timeout"]))
    summary = pd.DataFrame(columns, index=groups.index).iloc[order]
    summary.attrs = {name: copy.deepcopy(held) for name, held in calls.attrs.items() if name == KEY}
    summary.attrs["grace_s"] = grace_ms / 1000
    return display.dress(summary)


def spread(calls: pd.DataFrame, of: str = "duration", shares: Sequence[float] = SPREAD) -> pd.DataFrame:
    """
    Take quantiles of durations or of schedule delays, by function.

    Parameters
    ----------
    calls
        Call frame.
    of
        `"duration"`, of completed work as in `summarize`, or `"schedule_delay"`.
    shares
        Which quantiles, each from 0 to 1.

    Returns
    -------
    spread
        One row a function that has any, the largest median last, functions as the index; a column a share,
        timedelta64[ms], missing where the curve does not fall as far, and `calls` int64, how many it rests on.
        Functions of which no call is Completed or Timeout have no durations.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `of` is unknown.
    """
    frame.check(calls)
    if of not in {"duration", "schedule_delay"}:
        raise ArgumentError(f"of={of!r}; expected 'duration' or 'schedule_delay'.")
    groups = group(calls, "function")
    if of == "duration":
        worked = work(calls)
        found = curves(worked.times, awaited(worked.kinds, groups), groups)
        telling = found.ends + groups.count((worked.kinds == TIMEOUT) & (worked.times != MISSING)) > 0
    else:
        found = _ecdf(calls, groups)
        telling = found.sizes > 0
    table = _spans({share: found.quantile(share) for share in shares}, groups.index).assign(calls=found.sizes)
    middle = found.quantile(min(shares, key=lambda share: abs(share - 0.5))) if shares else found.sizes
    order = np.argsort(np.where(middle == MISSING, _NEVER, middle), kind="stable")
    ordered: pd.DataFrame = table.iloc[order[telling[order]]]
    return ordered


def over_time(calls: pd.DataFrame, bins: int = 60) -> pd.DataFrame:
    """
    Count calls by start time and status.

    Parameters
    ----------
    calls
        Call frame.
    bins
        About how many bins; their width is a whole number of minutes, hours or days.

    Returns
    -------
    counts
        One row a bin, empty ones too, its start (UTC) as the index; a column a status, int64.

    Raises
    ------
    FrameError
        It is no call frame.
    """
    frame.check(calls)
    categories = list(calls["status"].cat.categories)
    if calls.empty:
        return pd.DataFrame(0, index=pd.DatetimeIndex(calls["start_time"]), columns=categories)
    start = calls["start_time"]
    width = round_width((start.max() - start.min()) / bins)
    floor = start.dt.floor(width)
    table = pd.crosstab(floor, calls["status"].astype("object")).reindex(columns=categories, fill_value=0)
    edges = pd.date_range(floor.min(), floor.max(), freq=width, name="start_time", unit="ms")
    table = table.reindex(edges, fill_value=0)
    return table.rename_axis(columns=None)


def round_width(width: pd.Timedelta) -> pd.Timedelta:
    """Round the width of a bin up to one that people count in: minutes, hours, days."""
    widths = [pd.Timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)]
    return next((one for one in widths if one >= width), pd.Timedelta(days=int(width / pd.Timedelta(days=1)) + 1))


def _counts(groups: Groups, worked: Work) -> dict[str, np.ndarray]:
    kinds = len(frame.STATUSES) + 1
    table = np.bincount(groups.codes * kinds + worked.kinds, minlength=len(groups) * kinds).reshape(-1, kinds)
    running, completed, failed, timeout, other = table.T.copy()
    return {
        "calls": table.sum(axis=1),
        "completed": completed,
        "failed": failed,
        "timeout": timeout,
        "running": running,
        "stuck": groups.count(worked.stuck),
        "other": other,
    }


def _failure_rates(counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    failures = counts["failed"] + counts["timeout"]
    rate, low, high = wilson(failures, failures + counts["completed"])
    return {"failure_rate": rate, "failure_rate_low": low, "failure_rate_high": high}


def _durations(calls: pd.DataFrame, groups: Groups, worked: Work) -> dict[str, np.ndarray]:
    found = curves(worked.times, awaited(worked.kinds, groups), groups)
    columns = {}
    for name, share in QUANTILES.items():
        columns[name] = found.quantile(share)
        if name in WITH_INTERVAL:
            columns[f"{name}_low"], columns[f"{name}_high"] = found.interval(share)
        columns[f"{name}_above"] = found.above(columns[name])
    columns["max"] = groups.largest(milliseconds(calls["duration"]))
    return {f"duration_{name}": values.view("timedelta64[ms]") for name, values in columns.items()}


def _delays(calls: pd.DataFrame, groups: Groups, grace_ms: int) -> dict[str, np.ndarray]:
    found = _ecdf(calls, groups)
    columns = {name: found.quantile(share) for name, share in QUANTILES.items()} | {"max": found.longest}
    late = groups.count(milliseconds(calls["schedule_delay"]) > grace_ms)
    return {
        **{f"schedule_delay_{name}": values.view("timedelta64[ms]") for name, values in columns.items()},
        "scheduled": found.sizes,
        "late_rate": late / np.where(found.sizes == 0, np.nan, found.sizes),
    }


def _ecdf(calls: pd.DataFrame, groups: Groups) -> Curves:
    """Estimate the distribution of delays: nothing of it is censored."""
    return curves(milliseconds(calls["schedule_delay"]), None, groups)


def _successes(calls: pd.DataFrame, groups: Groups, kinds: np.ndarray) -> dict[str, Any]:
    start = milliseconds(calls["start_time"])
    last = groups.largest(np.where(kinds == COMPLETED, start, MISSING))
    return {
        "last_success_time": pd.DatetimeIndex(last.view("datetime64[ms]")).tz_localize("UTC"),
        "longest_failure_streak": _longest_streaks(calls, start, groups, kinds),
    }


def _longest_streaks(calls: pd.DataFrame, start: np.ndarray, groups: Groups, kinds: np.ndarray) -> np.ndarray:
    """Count the most failures in a row among finished calls, in order of start."""
    call_id = calls["call_id"].to_numpy()
    rising = (start[1:] > start[:-1]) | ((start[1:] == start[:-1]) & (call_id[1:] >= call_id[:-1]))
    codes = groups.codes.astype("uint16" if len(groups) < 2**16 else "int64")  # the shorter ones sort faster
    if not rising.all():
        order = np.lexsort((call_id, start))
        codes, kinds = codes[order], kinds[order]
    finished = np.flatnonzero((kinds >= COMPLETED) & (kinds < OTHER))
    order = finished[np.argsort(codes[finished], kind="stable")]
    failed = np.flatnonzero(kinds[order] != COMPLETED)
    of = codes[order[failed]].astype("int64")
    fresh = (np.diff(failed, prepend=-2) != 1) | (np.diff(of, prepend=-1) != 0)
    longest = np.zeros(len(groups), dtype="int64")
    np.maximum.at(longest, of[fresh], np.diff(np.append(np.flatnonzero(fresh), len(failed))))
    return longest


def _spans(columns: Mapping[Any, np.ndarray], index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({name: values.view("timedelta64[ms]") for name, values in columns.items()}, index=index)
