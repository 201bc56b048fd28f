"""How many calls, how many failed, and how long they took."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import formatting, frame
from callframe.analysis import aggregates, dask
from callframe.analysis.aggregates import Asked
from callframe.analysis.grouping import TIME, Groups, group, parse_by
from callframe.analysis.kaplan_meier import Curves, curves
from callframe.analysis.statistics import wilson
from callframe.analysis.survival import TIMEOUT, awaited, work
from callframe.completeness import Coverage
from callframe.errors import ArgumentError
from callframe.limits import DEFAULT_LATE_AFTER, RunLimit
from callframe.timespan import NO_TIME, from_epoch_ms, parse_duration, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callframe.analysis.aggregates import Part, Tally
    from callframe.analysis.dask import CallFrame, Partitions
    from callframe.timespan import DurationLike

__all__ = ["over_time", "round_width", "spread", "summarize", "wilson"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

WITH_INTERVAL = ("p50", "p95")
"""The quantiles of durations that have an interval."""

SPREAD = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles that show how values are spread."""

_NEVER = np.iinfo("int64").max


def summarize(
    calls: CallFrame,
    by: str | Sequence[str] = "function",
    *,
    run_limit: DurationLike | None = None,
    late_after: DurationLike = DEFAULT_LATE_AFTER,
    client: Any = None,
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

    A Dask DataFrame of calls, as `Archive.dask` gives it, is measured partition by partition. Then quantiles of
    durations and delays are within 1 %, for spans are counted in buckets: calls that were censored in the bucket of an
    end count as longer than it. All else is exact. Partitions that do not follow each other in time are sorted, which
    takes longer.

    Parameters
    ----------
    calls
        Call frame of any number of rows, or a Dask DataFrame of calls.
    by
        `"function"`, `"schedule"`, `"status"`, a frequency such as `"1h"` or `"7d"`, or several of them. A frequency
        groups by start time in UTC; whole weeks begin on Mondays.
    run_limit
        How long the service lets a call run, such as `"10min"`. If it is not given, a call is stuck from 15 minutes,
        the longest limit documented, and a Timeout without an end had 9, the shortest.
    late_after
        How late a call may start without being late.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on. By default the one that is current, or else
        threads of this process.

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
        whose delay is above `late_after`.

        `last_success_time` datetime64[ms, UTC], the latest start of a Completed call; `longest_failure_streak` int64,
        the most failures in a row, by start time, among finished calls.

        Its `attrs` hold the coverage of the calls. In a notebook it is shown in units; `style` adds colours.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `by`, `run_limit` or `late_after` is invalid.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     summary = cf.summarize(project.calls(start="14d"))
    >>> int(summary["calls"].sum()) > 900
    True
    """
    levels = parse_by(by, durations=True, several=True)
    RunLimit.parse(run_limit)  # an invalid value is reported before any partition is read
    asked = Asked(levels, run_limit, parse_duration(late_after, name="late_after"))
    divided = dask.as_partitions(calls, client)
    if divided is not None:
        return _table(_of_partitions(divided, asked), asked, divided.coverage)
    frame.check(calls)
    return _table(aggregates.of_calls(calls, asked), asked, Coverage.of(calls))


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
    groups = group(calls, parse_by("function"))
    if of == "duration":
        worked = work(calls)
        found = curves(worked.times, awaited(worked.kinds, groups), groups)
        telling = found.ends + groups.count((worked.kinds == TIMEOUT) & (worked.times != NO_TIME)) > 0
    else:
        found = _ecdf(calls, groups)
        telling = found.sizes > 0
    table = _spans({share: found.quantile(share) for share in shares}, groups.index).assign(calls=found.sizes)
    middle = found.quantile(min(shares, key=lambda share: abs(share - 0.5))) if shares else found.sizes
    order = np.argsort(np.where(middle == NO_TIME, _NEVER, middle), kind="stable")
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


def _of_partitions(calls: Partitions, asked: Asked) -> Tally:
    """Measure partitions where they are; only what adds up travels."""
    if calls.coverage:
        fetched_ms = calls.coverage.fetched_ms
    else:
        _, fetched_ms = calls.time_bounds
    measure = partial(aggregates.measure, asked=replace(asked, fetched_ms=fetched_ms))
    add = partial(aggregates.add, by=asked.by)

    def total(calls: Partitions) -> Part:
        if TIME in asked.by:  # groups are many, and each is in few partitions: no worker could hold them all
            return add(list(calls.map(aggregates.NEEDED, measure)))
        together: Part = calls.reduce(aggregates.NEEDED, measure, add)
        return together

    found = total(calls)
    return aggregates.of_parts(found if found.ordered else total(calls.sort()), asked.by)


def _table(found: Tally, asked: Asked, known: Coverage | None) -> pd.DataFrame:
    """Make the summary of a tally."""
    counts = _counts(found.numbers)
    columns = {
        **counts,
        **_failure_rates(counts),
        **_durations(found),
        **_delays(found),
        "last_success_time": from_epoch_ms(found.numbers["last_success"]),
        "longest_failure_streak": found.numbers["streak"],
    }
    order = np.arange(len(found.index))
    if TIME not in found.index.names:
        order = np.lexsort((-counts["calls"], -counts["failed"] - counts["timeout"]))
    summary = pd.DataFrame(columns, index=found.index).iloc[order]
    if known is not None:
        known.attach(summary)
    summary.attrs["late_after_s"] = asked.late_after_ms / 1000
    return formatting.attach_html(summary)


def _counts(numbers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    calls = np.sum([numbers[name] for name in aggregates.KINDS], axis=0)
    names = ("completed", "failed", "timeout", "running", "stuck", "other")
    return {"calls": calls, **{name: numbers[name] for name in names}}


def _failure_rates(counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    failures = counts["failed"] + counts["timeout"]
    rate, low, high = wilson(failures, failures + counts["completed"])
    return {"failure_rate": rate, "failure_rate_low": low, "failure_rate_high": high}


def _durations(found: Tally) -> dict[str, np.ndarray]:
    columns = {}
    for name, share in QUANTILES.items():
        columns[name] = found.durations.quantile(share)
        if name in WITH_INTERVAL:
            columns[f"{name}_low"], columns[f"{name}_high"] = found.durations.interval(share)
        columns[f"{name}_above"] = found.durations.above(columns[name])
    columns["max"] = found.numbers["longest"]
    return {f"duration_{name}": values.view("timedelta64[ms]") for name, values in columns.items()}


def _delays(found: Tally) -> dict[str, np.ndarray]:
    delays = found.delays
    columns = {name: delays.quantile(share) for name, share in QUANTILES.items()} | {"max": delays.longest}
    return {
        **{f"schedule_delay_{name}": values.view("timedelta64[ms]") for name, values in columns.items()},
        "scheduled": delays.sizes,
        "late_rate": found.numbers["late"] / np.where(delays.sizes == 0, np.nan, delays.sizes),
    }


def _ecdf(calls: pd.DataFrame, groups: Groups) -> Curves:
    """Estimate the distribution of delays: nothing of it is censored."""
    return curves(to_milliseconds(calls["schedule_delay"]), None, groups)


def _spans(columns: Mapping[Any, np.ndarray], index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({name: values.view("timedelta64[ms]") for name, values in columns.items()}, index=index)
