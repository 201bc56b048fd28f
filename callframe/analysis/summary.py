"""How many calls, how many failed, and how long they took, by group."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis import aggregates, dask
from callframe.analysis.aggregates import Options
from callframe.analysis.grouping import TIME, group, parse_by, span_ms
from callframe.analysis.kaplan_meier import TIMEOUT, estimate_curves, observe, parse_failed
from callframe.analysis.statistics import block_ms, wilson
from callframe.completeness import Coverage, warn_about_repeated
from callframe.errors import ArgumentError
from callframe.limits import DEFAULT_LATE_AFTER, RunLimit
from callframe.timespan import MAX_TIME_MS, NO_TIME, from_epoch_ms, parse_duration, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callframe.analysis.aggregates import Aggregate, Measures
    from callframe.analysis.dask import CallFrame, Partitions
    from callframe.timespan import DurationLike

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def summarize(
    calls: CallFrame,
    by: str | Sequence[str] = "function",
    *,
    run_limit: DurationLike | None = None,
    late_after: DurationLike = DEFAULT_LATE_AFTER,
    failed: str = "exclude",
    client: Any = None,
) -> pd.DataFrame:
    """
    Summarize calls by group: counts, failure rate, durations and schedule delays.

    A Timeout is a failure. Running calls are counted, but are in no rate.

    Durations are of completed work, in every measure of callframe alike. Their quantiles are estimated by Kaplan-Meier:
    the work of a Timeout, and of a call that still runs, takes longer than the time observed. Failed calls and those of
    unknown status ended for another reason and are left out. A Running call is censored at its age when it was fetched,
    a Timeout at its duration, or at the run limit if it has no end. A Running call beyond the run limit is stuck and
    left out of durations. In groups by status any end is an event, so durations are those observed. Where the curve
    does not reach a quantile, the quantile is missing, and the column `..._above` has the longest time observed, which
    the quantile exceeds.

    Calls come in bursts, and days differ, so that many calls may tell no more than a few independent ones. Intervals
    account for that by a design effect (Rao and Scott, 1992, Biometrics 48:577), estimated from the variance between
    days, or between shorter blocks of less than four days. They say nothing about days unlike those of the calls.

    The time of the fetch is in the coverage; without coverage it is the latest time in the frame.

    A Dask DataFrame of calls, such as `Archive.dask` returns, is summarized partition by partition. Quantiles of
    durations and delays are then within 1 %, because times are counted in buckets. All else is exact. Partitions that
    do not follow each other in time are sorted first, and buckets in which the order of completed and censored calls
    decides a quantile are read a second time, by the millisecond.

    Parameters
    ----------
    calls
        Call frame with any number of rows, or a Dask DataFrame of calls.
    by
        `"function"`, `"schedule"`, `"status"`, a duration such as `"1h"` or `"7d"`, or a list of them. A duration
        groups by start time in UTC; whole weeks start on Mondays.
    run_limit
        How long the service lets a call run, such as `"10min"`. By default a call is stuck after 15 minutes, the
        longest limit documented, and a Timeout without an end had 9 minutes, the shortest.
    late_after
        The schedule delay beyond which a call is late.
    failed
        `"exclude"` leaves failed calls out of durations. `"censor"` is for failures that cut work short, for lack of
        memory for example: the work would have taken longer than the failed call.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on; by default the current one, or else threads of
        this process.

    Returns
    -------
    summary
        One row per group that has calls, with the groups as the index: the groups with the most failures first, or,
        with a duration, in order.

        `calls`, `completed`, `failed`, `timeout`, `error_response`, `running`, `stuck` (part of the running), `other`
        int64.

        `failure_rate`, `failure_rate_low`, `failure_rate_high` float64: the share of Failed, Timeout and Error response
        (see `with_responses`) among finished calls with its Wilson 95 % interval (Wilson, 1927, JASA 22:209), missing
        where no call has finished.

        `duration_p50`, `duration_p90`, `duration_p95`, `duration_p99` timedelta64[ms], each the shortest duration by
        which that share of the work is done, and after each of them `..._above`; `..._low` and `..._high` of p50 and
        p95 are the 95 % interval where the log-log band of the curve crosses (Brookmeyer and Crowley, 1982, Biometrics
        38:29), missing with fewer than 5 and 59 completed calls, and the upper one where the band stays above.
        `duration_max` is the longest duration of calls that ended in any way.

        `schedule_delay_p50`, `schedule_delay_p90`, `schedule_delay_p95`, `schedule_delay_p99`, `schedule_delay_max`
        timedelta64[ms]; `scheduled` int64, the number of calls with a delay, and `late_rate` float64, the share of
        them that were late.

        `last_success_time` datetime64[ms, UTC], the latest start of a Completed call; `longest_failure_streak` int64,
        the longest run of consecutive failures, by start time, among finished calls.

        Its `attrs` hold the coverage of the calls. A notebook displays it with units; `style` adds colours.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by`, `run_limit`, `late_after`, `failed` or `client` is invalid.

    Warns
    -----
    UserWarning
        Rows repeat a call; each row counts.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     summary = cf.summarize(project.calls(start="14d"))
    >>> int(summary["calls"].sum()) > 900
    True
    """
    levels = parse_by(by, durations=True, several=True)
    late_after_ms = parse_duration(late_after, name="late_after")
    options = Options(levels, RunLimit.parse(run_limit), late_after_ms, parse_failed(failed))
    partitions = dask.as_partitions(calls, client)
    if partitions is None:
        frame.check(calls)
        warn_about_repeated(calls)
        coverage, measures = Coverage.of(calls), aggregates.measure(calls, options)
    else:
        coverage, measures = partitions.coverage, _measure_partitions(partitions, options)
    summary = summary_table(measures)
    if coverage is not None:
        coverage.attach(summary)
    summary.attrs |= {"late_after_s": options.late_after_ms / 1000, "failed": options.failed}
    return summary


def summary_table(measures: Measures) -> pd.DataFrame:
    """Make the summary of measures, without coverage: one row per group."""
    columns, durations, delays = measures.columns, measures.durations, measures.delays
    failures = np.sum([columns[name] for name in aggregates.FAILURES], axis=0)
    finished, effects = failures + columns["completed"], measures.effects
    rate, low, high = wilson(failures / effects["failure"], finished / effects["failure"])
    calls = finished + columns["running"] + columns["other"]
    table: dict[str, Any] = {"calls": calls}
    table |= {name: columns[name] for name in ("completed", *aggregates.FAILURES, "running", "stuck", "other")}
    table |= {"failure_rate": rate, "failure_rate_low": low, "failure_rate_high": high}
    table["effective_calls"] = np.ceil(finished / np.maximum.reduce(list(effects.values()))).astype("int64")
    for name, share in QUANTILES.items():
        table[f"duration_{name}"] = durations.quantile(share)
        if name in aggregates.WITH_INTERVAL:
            interval = durations.interval(share, effects[name])
            table[f"duration_{name}_low"], table[f"duration_{name}_high"] = interval
        table[f"duration_{name}_above"] = durations.above(table[f"duration_{name}"])
    table["duration_max"] = columns["duration_max"]
    table |= {f"schedule_delay_{name}": delays.quantile(share) for name, share in QUANTILES.items()}
    table["schedule_delay_max"] = delays.longest_ms
    table |= {name: to_timedelta(values) for name, values in table.items() if name.startswith(("duration", "sched"))}
    table |= {"scheduled": delays.calls, "late_rate": columns["late"] / np.where(delays.calls, delays.calls, np.nan)}
    table["last_success_time"] = from_epoch_ms(columns["last_success"])
    table["longest_failure_streak"] = columns["longest_run"]
    summary = pd.DataFrame(table, index=measures.index)
    return summary if TIME in measures.index.names else summary.iloc[np.lexsort((-calls, -failures))]


def _measure_partitions(partitions: Partitions, options: Options) -> Measures:
    """Aggregate partitions where they are; only aggregates travel."""
    fetched_ms = partitions.coverage.fetched_ms if partitions.coverage else partitions.time_bounds[1]
    longest = block_ms(span_ms(np.array([0, MAX_TIME_MS]), options.levels))
    options = replace(options, fetched_ms=fetched_ms, block_ms=longest)
    result = _aggregate_partitions(partitions, options)
    starts_ms = result.histogram["start_ms"].to_numpy()[result.histogram["kind"] != aggregates.DELAY]
    if (shorter := block_ms(span_ms(starts_ms, options.levels))) < longest:
        options = replace(options, block_ms=shorter)
        result = _aggregate_partitions(partitions, options)
    if not result.in_order:
        partitions = partitions.sort()
        result = _aggregate_partitions(partitions, options)
    if undecided := aggregates.undecided_buckets(result, options, QUANTILES.values()):
        options = replace(options, exact_buckets=undecided)
        result = _aggregate_partitions(partitions, options)
    return aggregates.measures_of(result, options)


def _aggregate_partitions(partitions: Partitions, options: Options) -> Aggregate:
    aggregate = partial(aggregates.aggregate, options=options)
    merge = partial(aggregates.merge, levels=options.levels)
    if TIME in options.levels:  # many groups, each in few partitions: no worker could hold them all
        return merge(partitions.measure(aggregates.NEEDED, aggregate))
    merged: Aggregate = partitions.reduce(aggregates.NEEDED, aggregate, merge)
    return merged


def quantiles_by_function(
    calls: pd.DataFrame, of: str = "duration", shares: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)
) -> pd.DataFrame:
    """
    Compute quantiles of durations, of completed work as in `summarize`, or of schedule delays, by function.

    One row per function that has any, the largest median last; a column per share, timedelta64[ms], missing where the
    curve does not reach it, and `calls` int64, on how many it is based. A function without Completed and Timeout calls
    has no durations.
    """
    frame.check(calls)
    groups = group(calls, parse_by("function"))
    if of == "duration":
        observed = observe(calls, RunLimit())
        curves = estimate_curves(observed.time_ms, observed.is_event, groups)
        has_timeouts = groups.count((observed.status == TIMEOUT) & (observed.time_ms != NO_TIME)) > 0
        has_any = (curves.events_by_group > 0) | has_timeouts
    elif of == "schedule_delay":
        curves = aggregates.delay_curves(calls, groups)
        has_any = curves.calls > 0
    else:
        raise ArgumentError(f"of={of!r}; expected 'duration' or 'schedule_delay'.")
    columns: dict[Any, Any] = {share: to_timedelta(curves.quantile(share)) for share in shares}
    table = pd.DataFrame({**columns, "calls": curves.calls}, index=groups.index)
    middle = curves.quantile(min(shares, key=lambda share: abs(share - 0.5)))
    order = np.argsort(np.where(middle == NO_TIME, np.iinfo("int64").max, middle), kind="stable")
    ordered: pd.DataFrame = table.iloc[order[has_any[order]]]
    return ordered
