"""Rollups: calls counted by function, time, status and duration in a small table, of which several can be merged."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame, timespan
from callframe.analysis import aggregates, dask
from callframe.analysis.aggregates import DELAY, Aggregate, Options, bucket_floor, to_buckets
from callframe.analysis.grouping import group, parse_by, span_ms
from callframe.analysis.kaplan_meier import RUNNING, TIMEOUT, outcomes, parse_failed, status_codes
from callframe.analysis.statistics import block_ms
from callframe.analysis.summary import summary_table
from callframe.completeness import Coverage, warn_about_repeated
from callframe.errors import ArgumentError, FrameError
from callframe.limits import RunLimit
from callframe.timespan import DAY_MS, NO_TIME, floor_ms, from_epoch_ms, parse_duration, to_milliseconds, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callframe.analysis.dask import CallFrame
    from callframe.timespan import TimeLike

MEASURES = ("duration", "schedule_delay")
"""What is counted by bucket for each call."""

NEEDED = ("function", "status", "start_time", "duration", "schedule_delay")
"""The columns of a call frame that are read."""

_KEYS = ["function", "start_time", "status", "measure", "bucket"]
_DTYPES: dict[str, Any] = {
    "function": "category",
    "start_time": "datetime64[ms, UTC]",
    "status": "category",
    "measure": "category",
    "bucket": "int64",
    "count": "int64",
}
_NOT_IN_ROLLUPS = [f"duration_{name}_{end}" for name in ("p50", "p95") for end in ("low", "high")]
_NOT_IN_ROLLUPS += ["scheduled", "late_rate", "last_success_time", "longest_failure_streak"]


def rollup(
    calls: CallFrame, freq: str = "1h", *, fetched_at: TimeLike | None = None, client: Any = None
) -> pd.DataFrame:
    """
    Count calls by function, time, status and duration, in a table that can be merged with others.

    However calls are divided, the rollups of the parts add up to the rollup of all: see `merge_rollups`. Durations are
    counted in buckets, each 1.02 times as long as the one before, from which `summarize_rollup` computes quantiles
    within 1 % (Masson, Rim and Lee, 2019, PVLDB 12:2195). Below 0.1 s each millisecond has its own bucket; the buckets
    of negative durations, a result of clocks that disagree, mirror those of positive ones; 0 and missing have their
    own.

    Parameters
    ----------
    calls
        Call frame, or a Dask DataFrame of calls. No call may be in two frames whose rollups are merged.
    freq
        Width of the bins of start time, such as `"1h"` or `"1D"`, counted from 1970-01-01 UTC.
    fetched_at
        When the calls were fetched, which is until when a Running call has run; by default as in the coverage.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on; by default the current one, or else threads of
        this process.

    Returns
    -------
    rollup
        One row per combination that occurs, sorted. `function` category; `start_time` datetime64[ms, UTC], the start of
        the bin; `status` category; `measure` category: each call is counted once as `duration`, and once more as
        `schedule_delay` if it has one; `bucket` timedelta64[ms], the time that represents its bucket, missing where
        there is none, and for Running calls their age; `count` int64.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `freq`, `fetched_at` or `client` is invalid.

    Warns
    -----
    UserWarning
        Rows repeat a call; each row counts.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     calls = project.calls(start="14d")
    >>> first, second = cf.rollup(calls[:300]), cf.rollup(calls[300:])
    >>> cf.merge_rollups([first, second]).equals(cf.rollup(calls))
    True
    """
    width_ms = parse_duration(freq, name="freq", at_least_ms=1)
    partitions = dask.as_partitions(calls, client)
    if partitions is None:
        frame.check(calls)
        warn_about_repeated(calls)
    coverage = Coverage.of(calls) if partitions is None else partitions.coverage
    count = functools.partial(count_calls, width_ms=width_ms, fetched_ms=_fetched_ms(coverage, fetched_at))
    if partitions is None:
        table = count(calls)
    elif partitions.read_rollup is not None and width_ms % DAY_MS == 0:
        table = partitions.read_rollup(freq, fetched_ms=count.keywords["fetched_ms"])
    else:
        table = _add(partitions.measure(NEEDED, count))
    return _with_coverage(table, [coverage])


def merge_rollups(rollups: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """
    Merge rollups into one.

    Parameters
    ----------
    rollups
        Results of `rollup` or `merge_rollups`. No call may be in two of them.

    Returns
    -------
    rollup
        As if all calls had been in one frame. It keeps the coverage of the rollups if all have the same.

    Raises
    ------
    FrameError
        One of them is not a rollup.

    Examples
    --------
    >>> import callframe as cf
    >>> len(cf.merge_rollups([]))
    0
    """
    parts = list(rollups)
    for part in parts:
        check(part)
    return _with_coverage(_add(parts), [Coverage.of(part) for part in parts])


def summarize_rollup(
    rollup: pd.DataFrame, by: str | Sequence[str] = "function", *, failed: str = "exclude"
) -> pd.DataFrame:
    """
    Summarize a rollup by group: counts, failure rate, durations and schedule delays.

    Counts are exact. Quantiles are within 1 % of those of the calls, unless censored calls share a bucket with
    completed ones below the quantile. They count as longer than those, so a quantile is never more than 1 % too low; it
    may be that of a share which is larger by the weight of those calls in the curve (Efron, 1967, Proc. Fifth Berkeley
    Symp. 4:831), usually their share of all calls. Durations are of completed work, as in `summarize`: the work of a
    Timeout, and of a Running call that is not stuck, takes longer than the time observed, and failed calls are left
    out. Where the curve does not
    reach a quantile, the quantile is missing, and the column `..._above` has the lowest time of the bucket of the
    longest time observed, which the quantile exceeds.

    Parameters
    ----------
    rollup
        Result of `rollup` or `merge_rollups`.
    by
        `"function"`, `"status"`, a duration such as `"1D"`, or a list of them. A duration shorter than the bins of the
        rollup gives those bins.
    failed
        As in `summarize`.

    Returns
    -------
    summary
        One row per group that has calls, with the groups as the index: the groups with the most failures first, or,
        with a duration, in order. `calls`, `completed`, `failed`, `timeout`, `error_response`, `running`, `stuck`
        (Running for more than 15 minutes, within 1 %), `other` int64; `failure_rate`, `failure_rate_low`,
        `failure_rate_high` float64, the share of Failed, Timeout and Error response among finished calls with its
        Wilson 95 % interval, missing where no call has finished; `effective_calls` int64, as in `summarize`, from bins
        shorter than a day; `duration_p50`, `duration_p90`, `duration_p95`,
        `duration_p99`, each with its `..._above`, `duration_max`; `schedule_delay_p50`, `schedule_delay_p90`,
        `schedule_delay_p95`, `schedule_delay_p99`, `schedule_delay_max` timedelta64[ms].

    Raises
    ------
    FrameError
        `rollup` is not a rollup.
    ArgumentError
        `by` or `failed` is invalid.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     rollup = cf.rollup(project.calls(start="14d"))
    >>> int(cf.summarize_rollup(rollup)["calls"].sum()) == rollup.loc[rollup["measure"] == "duration", "count"].sum()
    True
    """
    check(rollup)
    levels = parse_by(by, ("function", "status"), durations=True, several=True)
    block = block_ms(span_ms(to_milliseconds(rollup["start_time"]), levels))
    options = Options(levels, RunLimit(), 0, parse_failed(failed), block_ms=block)
    summary = summary_table(aggregates.measures_of(_aggregate(rollup, options), options))
    for name in [name for name in summary if str(name).endswith("_above")]:
        summary[name] = to_timedelta(bucket_floor(to_milliseconds(summary[name])))
    return _with_coverage(summary.drop(columns=_NOT_IN_ROLLUPS), [Coverage.of(rollup)])


def check(table: pd.DataFrame) -> None:
    """Raise a FrameError for anything that is not a rollup."""
    if not isinstance(table, pd.DataFrame):
        raise FrameError(f"Expected a rollup, found {type(table).__name__}. Make one with callframe.rollup(calls).")
    missing = [name for name in _DTYPES if name not in table.columns]
    if missing:
        raise FrameError(
            f"Not a rollup: missing the columns {', '.join(missing)}. Make one with callframe.rollup(calls)."
        )


def count_calls(calls: pd.DataFrame, width_ms: int, fetched_ms: int | None) -> pd.DataFrame:
    """Roll up calls in memory."""
    start_ms, delay_ms = to_milliseconds(calls["start_time"]), to_milliseconds(calls["schedule_delay"])
    age_ms = np.full(len(calls), NO_TIME) if fetched_ms is None else np.maximum(fetched_ms - start_ms, 0)
    time_ms = np.where(calls["status"] == "Running", age_ms, to_milliseconds(calls["duration"]))
    bins = from_epoch_ms(floor_ms(start_ms, width_ms))
    rows = calls[["function", "start_time", "status"]].assign(start_time=bins, count=1)
    parts = []
    for measure, times in (("duration", time_ms), ("schedule_delay", delay_ms)):
        counted = slice(None) if measure == "duration" else times != NO_TIME
        buckets = to_timedelta(to_buckets(times[counted]))
        parts.append(rows[counted].assign(measure=_constant(measure, len(buckets)), bucket=buckets))
    return _add(parts)


def _constant(measure: str, count: int) -> pd.Categorical[Any]:
    codes = np.full(count, MEASURES.index(measure), dtype="int8")
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Series(list(MEASURES), dtype=frame.TEXT)))


def _add(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Add up the counts of equal keys. Sums by integers and categories are the fastest."""
    labels = {name: {str(label) for part in parts for label in part[name].unique()} for name in ("function", "status")}
    categories: dict[str, Any] = {
        "function": sorted(labels["function"]),
        "status": frame.status_categories(list(labels["status"])),
        "measure": list(MEASURES),
    }
    dtypes = {name: pd.CategoricalDtype(pd.Series(labels, dtype=frame.TEXT)) for name, labels in categories.items()}
    empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in _DTYPES.items()}).astype(dtypes)
    numbers = [part[list(_DTYPES)].assign(bucket=to_milliseconds(part["bucket"])) for part in parts]
    rows = pd.concat([empty, *(part.astype(_DTYPES | dtypes) for part in numbers)], ignore_index=True)
    keys = {name: rows[name].cat.codes.to_numpy() for name in dtypes} | {"bucket": rows["bucket"].to_numpy()}
    keys["start_time"] = to_milliseconds(rows["start_time"])
    table = aggregates.tally({name: keys[name] for name in _KEYS}, rows["count"].to_numpy())
    columns: dict[str, Any] = {
        name: pd.Categorical.from_codes(table[name], dtype=dtype) for name, dtype in dtypes.items()
    }
    columns["start_time"] = from_epoch_ms(table["start_time"].to_numpy())
    return table.assign(**columns, bucket=to_timedelta(table["bucket"].to_numpy()))


def _fetched_ms(coverage: Coverage | None, fetched_at: TimeLike | None) -> int | None:
    """Find when calls were fetched, None if that is not known."""
    if fetched_at is None:
        return None if coverage is None else coverage.fetched_ms
    if isinstance(fetched_at, str) and not fetched_at[:4].isdigit():
        raise ArgumentError(f"fetched_at={fetched_at!r}; expected a timestamp or an ISO 8601 string.")
    return timespan.parse_time(fetched_at, name="fetched_at", now_ms=0)


def _with_coverage(table: pd.DataFrame, sources: Sequence[Coverage | None]) -> pd.DataFrame:
    """Attach the coverage of the sources, if it is the same for all."""
    table.attrs = {}
    if coverage := Coverage.merge(sources):
        coverage.attach(table)
    return table


def _aggregate(rollup: pd.DataFrame, options: Options) -> Aggregate:
    """Convert a rollup into the aggregate of a summary, without what a rollup does not hold."""
    groups, status = group(rollup, options.levels), status_codes(rollup["status"].astype("category"))
    bucket_ms, count = to_milliseconds(rollup["bucket"]), rollup["count"].to_numpy()
    is_delay = (rollup["measure"] == "schedule_delay").to_numpy()
    calls = np.where(is_delay, 0, count)
    is_stuck = (status == RUNNING) & (bucket_ms > to_buckets(np.array([options.limit.longest_ms])))
    ended_ms = np.where(is_delay | (status == RUNNING), NO_TIME, bucket_ms)
    unknown = (status == TIMEOUT) & (bucket_ms == NO_TIME) & ~is_delay
    bucket_ms = np.where(unknown, to_buckets(np.array([options.limit.shortest_ms])), bucket_ms)
    omitted = ~is_delay & (is_stuck | outcomes(options.levels, options.failed)[1][status])
    times = np.where(omitted, NO_TIME, bucket_ms)
    columns: dict[str, Any] = {
        **aggregates.count_statuses(groups, status, calls),
        "stuck": groups.sum(np.where(is_stuck, calls, 0)),
        "duration_max": groups.max(ended_ms),
        "observed_max": groups.max(np.where(is_delay, NO_TIME, times)),
        "delay_max": groups.max(np.where(is_delay, times, NO_TIME)),
        "late": 0,
        "last_success": NO_TIME,
        "longest_run": 0,
    }
    histogram = pd.DataFrame({"group": groups.codes, "kind": np.where(is_delay, DELAY, status)}).assign(
        start_ms=to_milliseconds(rollup["start_time"]), bucket_ms=times, count=count
    )
    return Aggregate(aggregates.label(groups, options.levels, columns), histogram)
