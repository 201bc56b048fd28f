"""Which calls ran at the same time: how many, and which overlapped an earlier one of their schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.grouping import COLUMNS, parse_by
from callframe.completeness import NO_COVERAGE, Coverage, measured_attrs, observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import FUNCTION_QUOTA, PROJECT_QUOTA, RunLimit
from callframe.timespan import NO_TIME, from_epoch_ms, iso, to_milliseconds, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from callframe.timespan import DurationLike

    Integers = NDArray[np.int64]


ALL_FUNCTIONS = "all functions"
"""The index of the single row of `concurrency_peaks` without groups."""


def concurrency(calls: pd.DataFrame, by: str | None = None, *, run_limit: DurationLike | None = None) -> pd.DataFrame:
    """
    Count the calls that ran at the same time, exactly, as a step curve.

    A call runs from its start to just before its end, so one that ends when another starts does not overlap it. A
    Running call runs until the frame was fetched, or, without coverage, to the last start or end in the frame. One that
    has been Running for longer than the run limit is stuck and counts up to the run limit. A finished call without an
    end, or with one before its start, is left out and counted in `attrs`; one that ends as it starts takes no time.

    A window of start times misses the calls that were already running at its start, so the curve is exact from the
    start plus the run limit (from the start itself if every function was deployed later) to the end of the window;
    elsewhere it is a lower bound. To get an exact day, fetch from the run limit before it. The curve is a lower bound
    throughout where calls are missing from the frame: not read, set aside, left out here or filtered away, or where
    there is no coverage. Functions that were not requested are not in it.

    Parameters
    ----------
    calls
        Call frame. A repeated call counts once.
    by
        None for one curve of all calls, or `"function"` for one per function.
    run_limit
        How long the service lets a call run, see `Project.limits`; None if not known: at most 15 minutes.

    Returns
    -------
    curve
        One row per change, by time, or by function and time: `time` datetime64[ms, UTC], `running` int64, the number
        from then until the next row, with `function` category in front if grouped. The last row of a curve is 0:
        nothing is known of later. Its `attrs` are those of `calls`, and under `"concurrency"`: `exact_from` and
        `exact_until` (ISO 8601, None if not known), `lower_bound` (whether calls are missing) with its `reasons`, and
        the numbers of calls `running`, `stuck`, `without_end`, `backwards`.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by` is unknown, or `run_limit` is not a positive duration.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     curve = cf.concurrency(project.calls(start="14d"))
    >>> int(curve["running"].iloc[-1])
    0
    """
    frame.check(calls)
    parse_by(by, ("function",), optional=True)
    limit_ms = RunLimit.parse(run_limit).longest_ms
    calls = frame.deduplicate(calls)
    intervals = _intervals(calls, limit_ms)
    if by is None:
        times, running = _step_curve(intervals.start, intervals.end)
        curve = pd.DataFrame({"time": from_epoch_ms(times), "running": running}, copy=False)
    else:
        curves = {code: _step_curve(start, end) for code, start, end in _by_function(intervals)}
        codes = np.repeat(list(curves) or [0], [len(times) for times, _ in curves.values()] or [0])
        curve = pd.DataFrame(
            {
                "function": pd.Categorical.from_codes(codes, categories=calls["function"].cat.categories),
                "time": from_epoch_ms(_concatenate([times for times, _ in curves.values()])),
                "running": _concatenate([running for _, running in curves.values()]),
            },
            copy=False,
        )
    curve.attrs = {**measured_attrs(calls), "concurrency": _accuracy(calls, intervals, limit_ms)}
    return curve


def concurrency_peaks(
    calls: pd.DataFrame,
    by: str | None = None,
    *,
    quota: int | None = None,
    above: float = 0.8,
    run_limit: DurationLike | None = None,
) -> pd.DataFrame:
    """
    Find the maximum number of calls that ran at the same time, when, and which functions made it.

    The rules are those of `concurrency`. `by="function"` shows both how near each function came to its own quota and
    who made the peak of all: `at_peak` and `share` are what each had running when most calls of all functions ran.

    Parameters
    ----------
    calls
        Call frame.
    by
        None for all calls together, or `"function"`.
    quota
        How many calls may run; by default the service's quota, 250 for a project and 100 for a function.
    above
        Share of the quota above which time is counted.
    run_limit
        As for `concurrency`.

    Returns
    -------
    peaks
        One row per function that has calls, the largest share of the overall peak first, or the single row `all
        functions`; none for a frame without calls. The index is `function`. `peak` int64; `peak_time` datetime64[ms,
        UTC], when it was first reached (missing where nothing ran); `quota` int64; `time_above` timedelta64[ms], how
        long more than that share of the quota ran; `at_peak` int64 and `share` float64, how many ran at the first peak
        of all functions together, and which part of it that is. `attrs` as in `concurrency`: where `lower_bound` is
        true, the numbers are lower bounds too.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by` is unknown, `quota` is not positive, `above` is not between 0 and 1, or `run_limit` is invalid.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     peaks = cf.concurrency_peaks(project.calls(start="14d"), by="function")
    >>> round(float(peaks["share"].sum()), 6)
    1.0
    """
    frame.check(calls)
    parse_by(by, ("function",), optional=True)
    if quota is not None and not quota > 0:
        raise ArgumentError(f"quota={quota!r}; expected a number above 0.")
    if not 0 <= above <= 1:
        raise ArgumentError(f"above={above!r}; expected a share of the quota, 0 to 1.")
    limit_ms = RunLimit.parse(run_limit).longest_ms
    calls = frame.deduplicate(calls)
    intervals = _intervals(calls, limit_ms)
    quota = quota or (PROJECT_QUOTA if by is None else FUNCTION_QUOTA)
    overall, overall_ms = _peak(*_step_curve(intervals.start, intervals.end))
    rows, labels = [], []
    for label, start, end in _groups(calls, intervals, by):
        times, running = _step_curve(start, end)
        at_peak = np.count_nonzero((start <= overall_ms) & (overall_ms < end))
        rows.append((*_peak(times, running), np.diff(times)[running[:-1] > above * quota].sum(), at_peak))
        labels.append(label)
    peak, peak_ms, above_ms, at_peak_counts = np.array(rows, dtype="int64").reshape(-1, 4).T.copy()
    peaks = pd.DataFrame(
        {
            "peak": peak,
            "peak_time": from_epoch_ms(peak_ms),
            "quota": np.full(len(rows), quota, dtype="int64"),
            "time_above": to_timedelta(above_ms),
            "at_peak": at_peak_counts,
            "share": at_peak_counts / overall if overall else np.full(len(rows), np.nan),
        },
        index=pd.Index(frame.text_column(labels), name="function"),
    ).sort_values(["at_peak", "peak"], ascending=False, kind="stable")
    peaks.attrs = {**measured_attrs(calls), "concurrency": _accuracy(calls, intervals, limit_ms)}
    return peaks


def overlapping_runs(
    calls: pd.DataFrame, by: str = "schedule", *, run_limit: DurationLike | None = None
) -> pd.DataFrame:
    """
    Find the calls that started before an earlier call of the same schedule had ended.

    A Running call lasts until the frame was fetched; one that has been Running for longer than the run limit is stuck,
    and assumed to have ended there. A finished call without an end is assumed to have ended when it started.

    Parameters
    ----------
    calls
        Call frame. A repeated call counts once.
    by
        `"schedule"`, which leaves out calls without one, or `"function"`.
    run_limit
        As for `concurrency`.

    Returns
    -------
    overlaps
        One row per call that started too early, by time: `schedule_id` Int64, `function` category, `call_id` int64,
        `start_time` datetime64[ms, UTC], `earlier_call_id` int64, of the earlier calls that still ran the one that
        ended last, and `overlap` timedelta64[ms], for how long both ran: 0 where the later one has no end.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by` is unknown, or `run_limit` is not a positive duration.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     overlaps = cf.overlapping_runs(project.calls(start="14d"))
    >>> bool((overlaps["overlap"] >= "0s").all())
    True
    """
    frame.check(calls)
    parse_by(by, ("schedule", "function"))
    limit_ms = RunLimit.parse(run_limit).longest_ms
    calls = frame.deduplicate(calls)
    calls = calls[calls[COLUMNS[by]].notna()]
    owner, start = pd.factorize(calls[COLUMNS[by]])[0], to_milliseconds(calls["start_time"])
    end = _last_known_end(calls, start, limit_ms)
    order = np.lexsort((calls["call_id"].to_numpy(), start, owner))
    owner, start, end = owner[order], start[order], end[order]
    longest = _longest_before(owner, end)
    later = np.flatnonzero(longest >= 0)
    later = later[end[longest[later]] > start[later]]
    later = later[np.argsort(start[later], kind="stable")]
    earlier = longest[later]
    overlap_ms = np.minimum(end[earlier], np.maximum(end[later], start[later])) - start[later]
    overlaps = calls.take(order[later]).reset_index(drop=True)
    overlaps = overlaps.assign(
        earlier_call_id=calls["call_id"].to_numpy()[order[earlier]], overlap=to_timedelta(overlap_ms)
    )
    return overlaps[["schedule_id", "function", "call_id", "start_time", "earlier_call_id", "overlap"]]


@dataclass(frozen=True)
class _Intervals:
    """When calls ran, in epoch milliseconds, end excluded, with the code of their function; and which were odd."""

    start: Integers
    end: Integers
    codes: NDArray[Any]
    running: int
    stuck: int
    without_end: int
    backwards: int


def _intervals(calls: pd.DataFrame, limit_ms: int) -> _Intervals:
    start, end = to_milliseconds(calls["start_time"]), to_milliseconds(calls["end_time"])
    running = (calls["status"] == "Running").to_numpy()
    now_ms = observed_until_ms(calls)
    stuck = running & (now_ms - start > limit_ms)
    end = np.where(running, np.where(stuck, start + limit_ms, now_ms), end)
    without_end = end == NO_TIME
    ran = ~without_end & (end > start)
    return _Intervals(
        start[ran],
        end[ran],
        calls["function"].cat.codes.to_numpy()[ran],
        int(running.sum()),
        int(stuck.sum()),
        int(without_end.sum()),
        int((~without_end & ~running & (end < start)).sum()),
    )


def _step_curve(start: Integers, end: Integers) -> tuple[Integers, Integers]:
    """Sweep over starts and ends; those at the same time cancel out, which puts ends before starts."""
    start, end = np.sort(start), np.sort(end)
    times = np.sort(np.concatenate([start, end]), kind="stable")  # np.unique is forty times as slow here
    running = np.searchsorted(start, times, side="right") - np.searchsorted(end, times, side="right")
    changed = np.diff(running, prepend=0) != 0
    return times[changed], running[changed].astype("int64")


def _peak(times: Integers, running: Integers) -> tuple[int, int]:
    """Find the maximum, and when it was first reached."""
    if not len(times):
        return 0, NO_TIME
    row = int(running.argmax())
    return int(running[row]), int(times[row])


def _by_function(intervals: _Intervals) -> Iterator[tuple[int, Integers, Integers]]:
    order = np.argsort(intervals.codes, kind="stable")
    codes, first = np.unique(intervals.codes[order], return_index=True)
    for code, rows in zip(codes.tolist(), np.split(order, first[1:]), strict=False):
        yield code, intervals.start[rows], intervals.end[rows]


def _groups(calls: pd.DataFrame, intervals: _Intervals, by: str | None) -> Iterator[tuple[str, Integers, Integers]]:
    """List the intervals of each group, including functions none of whose calls took any time."""
    if by is None:
        if len(calls):
            yield ALL_FUNCTIONS, intervals.start, intervals.end
        return
    by_code = {code: (start, end) for code, start, end in _by_function(intervals)}
    empty = np.empty(0, dtype="int64")
    for code in sorted(calls["function"].cat.codes.unique().tolist()):
        yield str(calls["function"].cat.categories[code]), *by_code.get(code, (empty, empty))


def _accuracy(calls: pd.DataFrame, intervals: _Intervals, limit_ms: int) -> dict[str, Any]:
    """State where a curve is exact and why it may be a lower bound, as JSON can hold it."""
    known = Coverage.of(calls)
    reasons = list(_missing(calls, known, intervals))
    since, until = (None, None) if known is None else _exact_range(known, limit_ms)
    return {
        "exact_from": since,
        "exact_until": until,
        "lower_bound": bool(reasons),
        "reasons": reasons,
        "running": intervals.running,
        "stuck": intervals.stuck,
        "without_end": intervals.without_end,
        "backwards": intervals.backwards,
    }


def _exact_range(known: Coverage, limit_ms: int) -> tuple[str | None, str | None]:
    """Find the time range in which the window misses no call that ran."""
    if known.covered is None:
        return None, None
    start_ms, end_ms = known.covered.start_ms, known.covered.end_ms
    created = [function.created_ms for function in known.functions]
    if not created or any(time_ms is None or time_ms < start_ms for time_ms in created):
        start_ms += limit_ms
    return (iso(start_ms), iso(end_ms)) if start_ms < end_ms else (None, None)


def _missing(calls: pd.DataFrame, known: Coverage | None, intervals: _Intervals) -> Iterator[str]:
    """List why calls are missing from the curve."""
    if known is None:
        yield NO_COVERAGE
    elif known.restriction:
        yield known.restriction
    if known is not None and known.schedule_ids:
        yield "only calls of some schedules were requested"
    incomplete = len(known.missing_calls(calls)) if known else 0
    for count, reason in (
        (incomplete, "functions were not read completely, or had calls filtered away"),
        (known.set_aside if known else 0, "records were set aside"),
        (intervals.without_end, "finished calls have no end"),
        (intervals.backwards, "calls end before they start"),
    ):
        if count:
            yield f"{reason}: {count:,}"


def _last_known_end(calls: pd.DataFrame, start: Integers, limit_ms: int) -> Integers:
    """Find when each call ended, as far as that is known; never before it started."""
    running = (calls["status"] == "Running").to_numpy()
    still_running = np.minimum(observed_until_ms(calls), start + limit_ms)
    end: Integers = np.maximum(np.where(running, still_running, to_milliseconds(calls["end_time"])), start)
    return end  # a missing end is the smallest integer, so it becomes the start


def _longest_before(owner: NDArray[Any], end: Integers) -> Integers:
    """Find, among the earlier rows of the same owner, the one that ends last; -1 for the first of an owner."""
    if not len(owner):
        return np.empty(0, dtype="int64")
    is_first = np.append(True, owner[1:] != owner[:-1])
    ranks = np.empty(len(end), dtype="int64")
    ranks[np.lexsort((end, owner))] = np.arange(len(end))  # ascending by owner, then by end
    row_of_rank = np.empty(len(end), dtype="int64")
    row_of_rank[ranks] = np.arange(len(end))
    before = row_of_rank[np.maximum.accumulate(ranks)[:-1]]
    return np.where(is_first, -1, np.append(-1, before))


def _concatenate(arrays: list[Integers]) -> Integers:
    return np.concatenate([np.empty(0, dtype="int64"), *arrays])
