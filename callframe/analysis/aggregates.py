"""
What a summary is computed from: counts, extremes, runs of failures and Kaplan-Meier curves by group.

`measure` computes them from calls in memory, exactly. Partitions and rollups have aggregates instead, which can be
merged: there durations and delays are counted in buckets.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe.analysis.grouping import COLUMNS, TIME, Groups, concat, group, span_ms
from callframe.analysis.kaplan_meier import (
    COMPLETED,
    ERROR_RESPONSE,
    OTHER,
    Curves,
    ObservedDurations,
    estimate_curves,
    observe,
    outcomes,
)
from callframe.analysis.statistics import Blocks, block_ms, quarter_ms
from callframe.timespan import DAY_MS, NO_TIME, floor_ms, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callframe.limits import RunLimit

NEEDED = ("call_id", "function", "schedule_id", "status", "start_time", "end_time", "schedule_delay", "duration")
"""The columns of a call frame that are read."""

DELAY = OTHER + 1
"""The kind of a schedule delay in a histogram; that of a duration is the code of its status."""

WITH_INTERVAL = {"p50": 0.5, "p95": 0.95}
"""The quantiles of durations that have an interval."""

FAILURES = ("failed", "timeout", "error_response")
"""The columns that count failures, by status."""

_STATUSES = ("running", "completed", *FAILURES, "other")
_COUNTS = (*_STATUSES, "stuck", "late")
_MAXIMA = ("duration_max", "observed_max", "delay_max", "last_success")
_RUNS = ("longest_run", "finished", "leading", "trailing")
_KEYS = ["group", "kind", "start_ms", "bucket_ms"]

_KINDS = DELAY + 1
_LONGEST_MS = 2**53
_TABLE_MS = 2**20  # longer than run limits
_MOST_KEYS = 2**62
_BUCKET_ERROR_PERCENT = 1


@dataclass(frozen=True)
class Options:
    """
    The options of a summary, parsed.

    Without `fetched_ms` the coverage of the calls has the time of the fetch. Aggregates need the length of `block_ms`,
    and count durations in `exact_buckets` by the millisecond.
    """

    levels: Mapping[str, int]
    limit: RunLimit
    late_after_ms: int
    failed: str = "exclude"
    fetched_ms: int | None = None
    block_ms: int = DAY_MS
    exact_buckets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Measures:
    """
    What a summary is computed from.

    `columns` hold an array for the calls of each status, the `stuck` and the `late` calls, `duration_max`,
    `last_success` and the `longest_run` of failures. `effects` are the design effects of the failure rate and of the
    quantiles that have an interval.
    """

    index: pd.Index
    columns: Mapping[str, np.ndarray]
    durations: Curves
    delays: Curves
    effects: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Aggregate:
    """
    What can be merged, and measures computed from.

    Parameters
    ----------
    groups
        One row per group, in order: first its labels, under the names of the columns of a call frame.
    histogram
        `group` (a row of `groups`), `kind`, `start_ms` of a quarter of a block, `bucket_ms` and the `count` of calls.
    ends
        Start and id of the first and of the last finished call; empty without any.
    in_order
        Whether what was merged followed each other in time. If not, the runs of failures are wrong.
    """

    groups: pd.DataFrame
    histogram: pd.DataFrame
    ends: Sequence[tuple[int, int]] = ()
    in_order: bool = True


def measure(calls: pd.DataFrame, options: Options) -> Measures:
    """Measure calls in memory."""
    groups, observed = group(calls, options.levels), _observe(calls, options)
    columns = _columns(calls, groups, observed, _finished(calls, observed.status), options.late_after_ms)
    durations = estimate_curves(observed.time_ms, observed.is_event, groups)
    start_ms = to_milliseconds(calls["start_time"])
    blocks = Blocks.of(groups.codes, start_ms, len(groups), block_ms(span_ms(start_ms, options.levels)))
    effects = _design_effects(blocks, groups.codes, observed, durations)
    return Measures(groups.index, columns, durations, delay_curves(calls, groups), effects)


def _observe(calls: pd.DataFrame, options: Options) -> ObservedDurations:
    return observe(calls, options.limit, options.levels, options.failed, options.fetched_ms)


def _design_effects(
    blocks: Blocks,
    codes: np.ndarray,
    observed: ObservedDurations,
    durations: Curves,
    counts: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Estimate design effects from calls, or from rows that stand for `counts` of them."""
    finished = is_finished(observed.status)
    failed = finished & (observed.status != COMPLETED)
    if counts is not None:
        finished, failed = finished * counts, failed * counts
    quantiles = {
        name: durations.design_effect(share, blocks, observed, codes, counts) for name, share in WITH_INTERVAL.items()
    }
    return {"failure": blocks.effects(failed, finished), **quantiles}


def is_finished(status: np.ndarray) -> np.ndarray:
    """Tell by status codes which calls count in a failure rate."""
    finished: np.ndarray = (status >= COMPLETED) & (status <= ERROR_RESPONSE)
    return finished


def delay_curves(calls: pd.DataFrame, groups: Groups) -> Curves:
    """Estimate the distribution of schedule delays; none of them is censored."""
    return estimate_curves(to_milliseconds(calls["schedule_delay"]), np.ones(len(calls), dtype=bool), groups)


def aggregate(calls: pd.DataFrame, options: Options) -> Aggregate:
    """Aggregate the calls of a partition."""
    groups, observed = group(calls, options.levels), _observe(calls, options)
    finished = _finished(calls, observed.status)
    columns = _columns(calls, groups, observed, finished, options.late_after_ms)
    start_ms, delay_ms = (to_milliseconds(calls[name]) for name in ("start_time", "schedule_delay"))
    quarters = floor_ms(start_ms, quarter_ms(options.block_ms))
    delayed = np.flatnonzero(delay_ms != NO_TIME)
    bucket_ms = to_buckets(observed.time_ms)
    bucket_ms = np.where(np.isin(bucket_ms, options.exact_buckets), observed.time_ms, bucket_ms)
    durations = _histogram(groups.codes, observed.status, quarters, bucket_ms)
    delays = _histogram(groups.codes[delayed], DELAY, np.zeros_like(delayed), to_buckets(delay_ms[delayed]))
    call_id = calls["call_id"].to_numpy()
    ends = [(int(start_ms[row]), int(call_id[row])) for row in [*finished[:1], *finished[-1:]]]
    return Aggregate(label(groups, options.levels, columns), pd.concat([durations, delays]), ends)


def merge(parts: Sequence[Aggregate], levels: Mapping[str, int]) -> Aggregate:
    """Merge aggregates, given in order of time."""
    table = concat([part.groups for part in parts])
    groups = group(table, levels)
    codes = np.split(groups.codes, np.cumsum([len(part.groups) for part in parts])[:-1])
    columns = {name: groups.sum(table[name].to_numpy()) for name in _COUNTS}
    columns |= {name: groups.max(table[name].to_numpy()) for name in _MAXIMA}
    columns |= _join_runs(parts, codes, len(groups))
    tables = [
        part.histogram.assign(group=code[part.histogram["group"]]) for part, code in zip(parts, codes, strict=True)
    ]
    ends = [end for part in parts for end in part.ends]
    histogram = pd.concat(tables)
    return Aggregate(
        label(groups, levels, columns),
        tally({name: histogram[name].to_numpy() for name in _KEYS}, histogram["count"].to_numpy()),
        [*ends[:1], *ends[-1:]],
        ends == sorted(ends) and all(part.in_order for part in parts),
    )


def undecided_buckets(aggregate: Aggregate, options: Options, shares: Iterable[float]) -> tuple[int, ...]:
    """
    List the buckets in which the order of ended and censored calls decides a quantile.

    Aggregated, a censored call counts as longer than the ended ones in its bucket. The curve of the calls is between
    that one and the curve in which it counts as shorter, and so are its quantiles.
    """
    durations = aggregate.histogram.query("kind != @DELAY and bucket_ms != @NO_TIME")
    codes, kind, _, bucket_ms, count = (durations[name].to_numpy() for name in (*_KEYS, "count"))
    is_event = outcomes(options.levels, options.failed)[0][kind]
    groups = Groups(codes, aggregate.groups.index)
    longer = estimate_curves(2 * bucket_ms, is_event, groups, count)
    shorter = estimate_curves(2 * bucket_ms + is_event, is_event, groups, count)
    differs = np.any([longer.quantile(share) // 2 != shorter.quantile(share) // 2 for share in shares], axis=0)
    is_open = differs[codes]
    return tuple(np.intersect1d(bucket_ms[is_open & is_event], bucket_ms[is_open & ~is_event]).tolist())


def measures_of(aggregate: Aggregate, options: Options) -> Measures:
    """Compute measures from an aggregate; times are those of buckets, and none is beyond the longest observed."""
    index, columns = group(aggregate.groups, options.levels).index, aggregate.groups
    is_delay = (aggregate.histogram["kind"] == DELAY).to_numpy()
    codes, kind, start_ms, bucket_ms, count = (aggregate.histogram[name].to_numpy() for name in (*_KEYS, "count"))
    is_event = np.append(outcomes(options.levels, options.failed)[0], True)[kind]
    durations, delays = (
        estimate_curves(
            bucket_ms[rows], is_event[rows], Groups(codes[rows], index), count[rows], columns[longest].to_numpy()
        )
        for rows, longest in ((~is_delay, "observed_max"), (is_delay, "delay_max"))
    )
    codes, kind, start_ms, count = (values[~is_delay] for values in (codes, kind, start_ms, count))
    observed = ObservedDurations(kind, bucket_ms[~is_delay], is_event[~is_delay], np.empty(0, dtype="int64"))
    blocks = Blocks.of(codes, start_ms, len(index), options.block_ms)
    effects = _design_effects(blocks, codes, observed, durations, count)
    values = {name: columns[name].to_numpy() for name in (*_COUNTS, *_MAXIMA, "longest_run")}
    return Measures(index, values, durations, delays, effects)


def label(groups: Groups, levels: Mapping[str, int], columns: Mapping[str, np.ndarray | int]) -> pd.DataFrame:
    """Make a table with the labels of groups, under the names of the columns of a call frame, and more columns."""
    labels = {COLUMNS.get(name, TIME): groups.index.get_level_values(name).array for name in levels}
    return pd.DataFrame({**labels, **columns})


def count_statuses(groups: Groups, status: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Count calls by group and status; each row stands for `weights` calls."""
    cells = groups.codes * len(_STATUSES) + status
    counts = np.bincount(cells, weights, minlength=len(groups) * len(_STATUSES)).astype("int64")
    return dict(zip(_STATUSES, counts.reshape(-1, len(_STATUSES)).T.copy(), strict=True))


def _histogram(codes: np.ndarray, kind: np.ndarray | int, start_ms: np.ndarray, bucket_ms: np.ndarray) -> pd.DataFrame:
    """Count calls by group, kind, start and bucket."""
    kinds = np.broadcast_to(np.asarray(kind), codes.shape)
    return tally({"group": codes, "kind": kinds, "start_ms": start_ms, "bucket_ms": bucket_ms})


def tally(keys: Mapping[str, np.ndarray], counts: np.ndarray | None = None) -> pd.DataFrame:
    """Count rows, or add up `counts`, by combinations of integers, in order: one sort of packed integers."""
    packed, size = np.zeros(len(next(iter(keys.values()))), dtype="int64"), 1
    for values in (values.astype("int64") for values in keys.values() if len(values)):
        low = int(values.min())
        codes, width = values - low, int(values.max()) - low + 1
        if width > _TABLE_MS:  # with gaps, or a missing time
            codes, distinct = pd.factorize(values, sort=True)
            width = len(distinct)
        if size * width > _MOST_KEYS:
            packed, distinct = pd.factorize(packed, sort=True)
            size = len(distinct)
        packed, size = packed * width + codes, size * width
    order = np.argsort(packed)
    packed = packed[order]
    starts = np.flatnonzero(np.append(True, packed[1:] != packed[:-1])[: len(packed)])
    if counts is None:
        totals = np.diff(np.append(starts, len(packed)))
    else:
        totals = np.add.reduceat(counts[order], starts) if len(starts) else counts
    return pd.DataFrame({name: values[order[starts]] for name, values in keys.items()} | {"count": totals})


@functools.cache
def buckets() -> tuple[np.ndarray, np.ndarray]:
    """
    List the lowest time of each bucket, and the time that represents it, both rising from 0.

    They are integers, so that no rounding of logarithms depends on the machine. A bucket extends as far as one integer
    is within 1 % of all in it (Masson, Rim and Lee, 2019, PVLDB 12:2195), which makes it 1.02 times as long as the one
    before.
    """
    lowest, representative = [0], [0]
    low = 1
    while low < _LONGEST_MS:
        lowest.append(low)
        representative.append(low * (100 + _BUCKET_ERROR_PERCENT) // 100)
        low = representative[-1] * 100 // (100 - _BUCKET_ERROR_PERCENT) + 1
    return np.array(lowest), np.array(representative)


def to_buckets(time_ms: np.ndarray) -> np.ndarray:
    """Replace times by those that represent their buckets; negative ones mirror positive ones, `NO_TIME` stays."""
    given = time_ms != NO_TIME
    return np.where(given, _bucket_ms(_positions(np.where(given, time_ms, 0))), NO_TIME)


def bucket_floor(bucket_ms: np.ndarray) -> np.ndarray:
    """Find the lowest time of each bucket, given the time that represents it; `NO_TIME` stays."""
    lowest, _ = buckets()
    positions = _positions(np.where(bucket_ms == NO_TIME, 0, bucket_ms))
    floor_ms = np.where(
        positions < 0, 1 - lowest[np.minimum(np.abs(positions) + 1, len(lowest) - 1)], lowest[positions]
    )
    return np.where(bucket_ms == NO_TIME, NO_TIME, floor_ms)


def _positions(time_ms: np.ndarray) -> np.ndarray:
    """Find the position of the bucket of each time, negative for negative times."""
    lowest, _ = buckets()
    size_ms = np.abs(time_ms)
    positions = _short_positions()[np.minimum(size_ms, _TABLE_MS - 1)]
    long = np.flatnonzero(size_ms >= _TABLE_MS)
    positions[long] = np.searchsorted(lowest, size_ms[long], side="right") - 1
    signed: np.ndarray = np.sign(time_ms) * positions
    return signed


@functools.cache
def _short_positions() -> np.ndarray:
    """Tabulate the positions of times below `_TABLE_MS`: looking up is many times faster than searching."""
    lowest, _ = buckets()
    return np.searchsorted(lowest, np.arange(_TABLE_MS), side="right") - 1


def _bucket_ms(positions: np.ndarray) -> np.ndarray:
    _, representative = buckets()
    bucket_ms: np.ndarray = np.sign(positions) * representative[np.abs(positions)]
    return bucket_ms


def _columns(
    calls: pd.DataFrame, groups: Groups, observed: ObservedDurations, finished: np.ndarray, late_after_ms: int
) -> dict[str, np.ndarray]:
    delay_ms = to_milliseconds(calls["schedule_delay"])
    start_ms = to_milliseconds(calls["start_time"])
    return {
        **count_statuses(groups, observed.status),
        "stuck": groups.count(observed.stuck),
        "late": groups.count(delay_ms > late_after_ms),
        "duration_max": groups.max(to_milliseconds(calls["duration"])),
        "observed_max": groups.max(observed.time_ms),
        "delay_max": groups.max(delay_ms),
        "last_success": groups.max(np.where(observed.status == COMPLETED, start_ms, NO_TIME)),
        **_runs(groups, observed.status, finished),
    }


def _finished(calls: pd.DataFrame, status: np.ndarray) -> np.ndarray:
    """Find the positions of the finished calls, in order of start and id."""
    start_ms, call_id = to_milliseconds(calls["start_time"]), calls["call_id"].to_numpy()
    finished = is_finished(status)
    later = start_ms[1:] > start_ms[:-1]
    if (later | ((start_ms[1:] == start_ms[:-1]) & (call_id[1:] >= call_id[:-1]))).all():
        return np.flatnonzero(finished)
    order = np.lexsort((call_id, start_ms))
    ordered: np.ndarray = order[finished[order]]
    return ordered


def _runs(groups: Groups, status: np.ndarray, finished: np.ndarray) -> dict[str, np.ndarray]:
    """
    Measure the runs of consecutive failures among the finished calls of each group, which are given in order.

    Gives the `longest_run`, how many calls are `finished`, and the runs before the first success (`leading`) and after
    the last (`trailing`), which may go on in the partitions before and after.
    """
    codes = groups.codes[finished].astype("uint16" if len(groups) < 2**16 else "int64")  # short ones sort faster
    order = np.argsort(codes, kind="stable")
    codes = codes[order].astype("int64")
    bounds = np.searchsorted(codes, np.arange(len(groups) + 1))
    succeeded = status[finished[order]] == COMPLETED
    failures = np.flatnonzero(~succeeded)
    is_first = (np.diff(failures, prepend=-2) != 1) | (np.diff(codes[failures], prepend=-1) != 0)
    longest = np.zeros(len(groups), dtype="int64")
    lengths = np.diff(np.append(np.flatnonzero(is_first), len(failures)))
    np.maximum.at(longest, codes[failures[is_first]], lengths)
    successes = np.flatnonzero(succeeded)
    first = np.append(successes, len(codes))[np.searchsorted(successes, bounds[:-1])]
    last = np.append(successes, -1)[np.searchsorted(successes, bounds[1:]) - 1]
    return {
        "longest_run": longest,
        "finished": np.diff(bounds),
        "leading": np.minimum(first, bounds[1:]) - bounds[:-1],
        "trailing": np.minimum(bounds[1:] - 1 - last, np.diff(bounds)),
    }


def _join_runs(parts: Sequence[Aggregate], codes: Sequence[np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Join the runs of failures of parts that follow each other; `codes` are the groups of the rows of each part."""
    joined = {name: np.zeros(size, dtype="int64") for name in _RUNS}
    for part, code in zip(parts, codes, strict=True):
        before = {name: values[code] for name, values in joined.items()}
        after = {name: part.groups[name].to_numpy() for name in _RUNS}
        across = before["trailing"] + after["leading"]
        joined["longest_run"][code] = np.maximum.reduce([before["longest_run"], after["longest_run"], across])
        all_failed = before["leading"] == before["finished"]
        joined["leading"][code] = before["leading"] + np.where(all_failed, after["leading"], 0)
        all_failed = after["trailing"] == after["finished"]
        joined["trailing"][code] = after["trailing"] + np.where(all_failed, before["trailing"], 0)
        joined["finished"][code] += after["finished"]
    return joined
