"""Calls counted by function, time, status and how long: small, and two such tables add up to that of both."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame, timespan
from callframe.analysis import dask, histogram
from callframe.analysis.grouping import Groups
from callframe.analysis.kaplan_meier import curves
from callframe.analysis.statistics import wilson
from callframe.completeness import Coverage
from callframe.errors import ArgumentError, FrameError
from callframe.limits import RunLimit
from callframe.timespan import NO_TIME, floor_ms, from_epoch_ms, parse_duration, to_milliseconds, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from callframe.analysis.dask import CallFrame
    from callframe.timespan import TimeLike

KEYS = ["function", "start_time", "status", "measure", "bucket"]
"""What a rollup counts by."""

MEASURES = ("duration", "schedule_delay")
"""What of each call is counted by bucket."""

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
"""The quantiles of a summary."""

_NEEDED = ("function", "status", "start_time", "duration", "schedule_delay")
_edges, _buckets = histogram.edges, histogram.replace


def rollup(
    calls: CallFrame, freq: str = "1h", *, fetched_at: TimeLike | None = None, client: Any = None
) -> pd.DataFrame:
    """
    Count calls by function, time, status and how long they took, in a table that can be added up.

    However calls are divided, the rollups of the parts add up to the rollup of all: `merge_rollups`. Spans fall into
    buckets, each 1.02 times as long as the one before, so that `summarize_rollup` reads quantiles from them within 1 %
    (Masson, Rim and Lee, 2019, PVLDB 12:2195). Below 0.1 s each millisecond has its own; negative spans, which clocks
    that disagree make, mirror the positive ones; 0 and missing are buckets too.

    Parameters
    ----------
    calls
        Call frame, or a Dask DataFrame of calls. No call may be in two frames whose rollups are added.
    freq
        Length of the bins of start time, such as `"1h"` or `"1D"`, a whole number of milliseconds; they are counted
        from 1970-01-01 UTC.
    fetched_at
        When the calls were fetched; by default the frame tells. A Running call has run until then.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on. By default the one that is current, or else
        threads of this process.

    Returns
    -------
    rollup
        One row a combination that occurs, sorted. `function` category; `start_time` datetime64[ms, UTC], the start of
        the bin; `status` category; `measure` category: each call is counted once as `duration`, and once more as
        `schedule_delay` if it has one; `bucket` timedelta64[ms], the span that stands for all of its bucket, missing
        where there is none, and of Running calls how long they have run so far; `count` int64.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `freq` is no fixed length of time.

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
    divided = dask.as_partitions(calls, client)
    if divided is not None:
        measure = functools.partial(_roll, width_ms=width_ms, fetched_ms=_fetched_ms(divided.coverage, fetched_at))
        return _with_coverage(_add_up(list(divided.map(_NEEDED, measure))), [divided.coverage])
    frame.check(calls)
    return _with_coverage(_roll(calls, width_ms, _fetched_ms(Coverage.of(calls), fetched_at)), [Coverage.of(calls)])


def _roll(calls: pd.DataFrame, width_ms: int, fetched_ms: int | None) -> pd.DataFrame:
    took, delays = to_milliseconds(calls["duration"]), to_milliseconds(calls["schedule_delay"])
    start = to_milliseconds(calls["start_time"])
    ages = np.full(len(calls), NO_TIME) if fetched_ms is None else np.maximum(fetched_ms - start, 0)
    took = np.where(calls["status"] == "Running", ages, took)
    rows = calls[["function", "start_time", "status"]].assign(
        start_time=from_epoch_ms(floor_ms(start, width_ms)), count=1
    )
    delayed = rows[delays != NO_TIME]
    rows = rows.assign(measure=_measure("duration", len(rows)), bucket=to_timedelta(_buckets(took)))
    late = to_timedelta(_buckets(delays[delays != NO_TIME]))
    delayed = delayed.assign(measure=_measure("schedule_delay", len(delayed)), bucket=late)
    return _add_up([rows, delayed])


def merge_rollups(rollups: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """
    Add rollups up.

    Parameters
    ----------
    rollups
        What `rollup` or this returned, of calls that are in one of them only.

    Returns
    -------
    rollup
        As if all calls had been in one frame.

    Raises
    ------
    FrameError
        One of them is no rollup.

    Examples
    --------
    >>> import callframe as cf
    >>> len(cf.merge_rollups([]))
    0
    """
    parts = list(rollups)
    for part in parts:
        check(part)
    return _with_coverage(_add_up(parts), [Coverage.of(part) for part in parts])


def summarize_rollup(rollup: pd.DataFrame, by: str | Sequence[str] = "function") -> pd.DataFrame:
    """
    Summarize a rollup by group: counts, failure rate, durations and schedule delays.

    Counts are exact, quantiles within 1 % of those of the calls. Durations are of completed work: a Timeout would have
    taken longer than it was let, so it stands above every duration observed, and a Running call longer than it has run
    so far, unless it is stuck. So a quantile is the smallest duration that at least that share of the work does not
    exceed; by Kaplan-Meier where calls are Running, of which those in the bucket of a duration count as longer than it.
    A quantile that falls among the timeouts is missing, with the longest time seen in the column `..._above`.

    Parameters
    ----------
    rollup
        What `rollup` or `merge_rollups` returned.
    by
        `"function"`, `"status"`, a length of time such as `"1D"`, or several of them. A time shorter than the bins of
        the rollup tells no more than they do.

    Returns
    -------
    summary
        One row a group that has calls, the groups as the index: the most failures first, or in order of time where a
        length of time is among them. `calls`, `completed`, `failed`, `timeout`, `running`, `stuck` (the Running ones
        that run for over 15 minutes, give or take 1 %), `other` int64; `failure_rate`,
        `failure_rate_low`, `failure_rate_high` float64, the share of Failed and Timeout among finished calls with its
        Wilson 95 % interval, missing where none has finished; `duration_p50`, `duration_p90`, `duration_p95`,
        `duration_p99`, each with its `..._above`, `duration_max`; `schedule_delay_p50`, `schedule_delay_p90`,
        `schedule_delay_p95`, `schedule_delay_p99`, `schedule_delay_max` timedelta64[ms].

    Raises
    ------
    FrameError
        It is no rollup.
    ArgumentError
        `by` is unknown.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     rollup = cf.rollup(project.calls(start="14d"))
    >>> int(cf.summarize_rollup(rollup)["calls"].sum()) == rollup.loc[rollup["measure"] == "duration", "count"].sum()
    True
    """
    check(rollup)
    keys = dict(_keys(rollup, by))
    spans, weights = to_milliseconds(rollup["bucket"]), rollup["count"].to_numpy()
    grouped = rollup.groupby(list(keys.values()), observed=True, sort=True)
    groups = grouped.ngroup().to_numpy()
    index = grouped["count"].sum().index.set_names(list(keys))
    work = pd.DataFrame({"group": groups, "span": spans, "count": weights, "status": rollup["status"].astype("object")})
    delays = (rollup["measure"] == "schedule_delay").to_numpy()
    columns = {**_counts(work[~delays], len(index)), **_durations(work[~delays], len(index))}
    columns |= _delays(work[delays], len(index))
    summary = _with_coverage(pd.DataFrame(columns, index=index), [Coverage.of(rollup)])
    if "start_time" in keys:
        return summary
    order = (summary["failed"] + summary["timeout"]).to_numpy(), summary["calls"].to_numpy()
    return summary.iloc[np.lexsort((-order[1], -order[0]))]


def _measure(name: str, count: int) -> pd.Categorical[Any]:
    """Repeat the name of a measure, as a category from the start, which is quicker."""
    kind: pd.CategoricalDtype[Any] = pd.CategoricalDtype(pd.Series(list(MEASURES), dtype=frame.TEXT))
    return pd.Categorical.from_codes(np.full(count, MEASURES.index(name), dtype="int8"), dtype=kind)


def _add_up(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Sum counts by all keys. In between, what is missing is a number and words are categories, which is quicker."""
    found = {name: {str(word) for part in parts for word in part[name].unique()} for name in ("function", "status")}
    words = {
        "function": sorted(found["function"]),
        "status": frame.status_categories(list(found["status"])),
        "measure": MEASURES,
    }
    kinds: dict[str, Any] = {
        name: pd.CategoricalDtype(pd.Series(list(known), dtype=frame.TEXT)) for name, known in words.items()
    }
    columns = [*KEYS, "count"]
    empty = pd.DataFrame({name: pd.Series(dtype=_KINDS[name]) for name in columns})
    plain = [part[columns].assign(bucket=to_milliseconds(part["bucket"])).astype(_KINDS | kinds) for part in parts]
    whole = pd.concat([empty.astype(kinds), *plain], ignore_index=True)
    table = pd.DataFrame(whole.groupby(KEYS, observed=True, sort=True)[["count"]].sum()).reset_index()
    return table.assign(bucket=to_timedelta(table["bucket"].to_numpy()))[columns]


_KINDS: dict[str, Any] = {
    "function": "category",
    "start_time": "datetime64[ms, UTC]",
    "status": "category",
    "measure": "category",
    "bucket": "int64",
    "count": "int64",
}


def _fetched_ms(known: Coverage | None, fetched_at: TimeLike | None) -> int | None:
    """Find when calls were fetched, None if nothing says so."""
    if fetched_at is None:
        return None if known is None else known.fetched_ms
    if isinstance(fetched_at, str) and not fetched_at[:4].isdigit():
        raise ArgumentError(f"fetched_at={fetched_at!r}; expected a timestamp or an ISO 8601 string.")
    return timespan.parse_time(fetched_at, name="fetched_at", now_ms=0)


def check(table: pd.DataFrame) -> None:
    """
    Refuse what is no rollup.

    Parameters
    ----------
    table
        Anything.

    Raises
    ------
    FrameError
        It is no rollup; the message says what it lacks.
    """
    if not isinstance(table, pd.DataFrame):
        raise FrameError(f"Expected a rollup, found {type(table).__name__}. Make one with callframe.rollup(calls).")
    lacking = [name for name in [*KEYS, "count"] if name not in table.columns]
    if lacking:
        raise FrameError(f"This is no rollup: it lacks {', '.join(lacking)}. Make one with callframe.rollup(calls).")


def _with_coverage(table: pd.DataFrame, sources: Sequence[Coverage | None]) -> pd.DataFrame:
    """Keep the coverage of the sources, if it is the same for all."""
    table.attrs = {}
    if sources and sources[0] is not None and all(source == sources[0] for source in sources):
        sources[0].attach(table)
    return table


def _keys(rollup: pd.DataFrame, by: str | Sequence[str]) -> Iterator[tuple[str, pd.Series[Any]]]:
    """Find what to group by: columns by their names, any other word is a length of time."""
    words = [by] if isinstance(by, str) else list(by)
    if not words:
        raise ArgumentError(
            f"by={by!r}; expected 'function', 'status', a length of time such as '1D', or several of them."
        )
    for word in words:
        if word in {"function", "status"}:
            yield word, rollup[word]
        elif str(word)[:1].isdigit():
            width_ms = parse_duration(word, name="by", at_least_ms=1)
            floored = from_epoch_ms(floor_ms(to_milliseconds(rollup["start_time"]), width_ms))
            yield "start_time", pd.Series(floored, index=rollup.index, name="start_time")
        else:
            raise ArgumentError(f"by={word!r}; expected 'function', 'status' or a length of time such as '1D'.")


def _counts(work: pd.DataFrame, size: int) -> dict[str, np.ndarray]:
    def of(rows: Any) -> np.ndarray:
        return np.bincount(work["group"][rows], work["count"][rows], minlength=size).astype("int64")

    status = work["status"]
    found = {"calls": of(slice(None)), **{one.lower(): of(status == one) for one in _IN_ORDER}}
    found["stuck"] = of((status == "Running") & (work["span"] > _stuck_from()))
    found["other"] = of(~status.isin(frame.STATUSES))
    failures = found["failed"] + found["timeout"]
    rate, low, high = wilson(failures, failures + found["completed"])
    return {**found, "failure_rate": rate, "failure_rate_low": low, "failure_rate_high": high}


_IN_ORDER = ("Completed", "Failed", "Timeout", "Running")


def _stuck_from() -> int:
    return int(_buckets(np.array([RunLimit().longest_ms]))[0])


def _durations(work: pd.DataFrame, size: int) -> dict[str, np.ndarray]:
    known, status = work["span"] != NO_TIME, work["status"]
    longest = _longest(work[known & (status != "Running")], size)
    running = (status == "Running") & known & (work["span"] <= _stuck_from())
    work = work[(status == "Timeout") | ((status == "Completed") & known) | running]
    seen = _longest(work, size)
    beyond = work["span"].max() + 1 if len(work) else 0
    found = _quantiles(work.assign(span=work["span"].where(work["status"] != "Timeout", beyond)), size)
    columns: dict[str, np.ndarray] = {}
    for name, values in found.items():
        columns[f"duration_{name}"] = to_timedelta(values)
        columns[f"duration_{name}_above"] = np.where(values == NO_TIME, seen, np.timedelta64("NaT", "ms"))
    return {**columns, "duration_max": longest}


def _delays(work: pd.DataFrame, size: int) -> dict[str, np.ndarray]:
    found = _quantiles(work.assign(status="Completed"), size)
    columns = {f"schedule_delay_{name}": to_timedelta(values) for name, values in found.items()}
    return {**columns, "schedule_delay_max": _longest(work, size)}


def _quantiles(work: pd.DataFrame, size: int) -> dict[str, np.ndarray]:
    """Take quantiles by group; missing where the curve does not fall as far."""
    ended = (work["status"] == "Completed").to_numpy()
    groups = Groups(work["group"].to_numpy(), pd.RangeIndex(size))
    found = curves(work["span"].to_numpy(), None if ended.all() else ended, groups, work["count"].to_numpy())
    return {name: found.quantile(share) for name, share in SHARES.items()}


def _longest(work: pd.DataFrame, size: int) -> np.ndarray:
    longest = np.full(size, NO_TIME)
    np.maximum.at(longest, work["group"].to_numpy(), work["span"].to_numpy())
    return to_timedelta(longest)
