"""How many calls ran at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.completeness import Coverage, observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import FUNCTION_QUOTA, PROJECT_QUOTA, RunLimit
from callframe.timespan import NO_TIME, from_epoch_ms, iso, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from callframe.timespan import DurationLike

    Stamps = NDArray[np.int64]


ALL = "all functions"
"""The one row of `concurrency_peaks` without groups."""


def concurrency(calls: pd.DataFrame, by: str | None = None, *, run_limit: DurationLike | None = None) -> pd.DataFrame:
    """
    Count the calls that ran at the same time, exactly, as a curve of steps.

    A call runs from its start to just before its end, so one that ends when another starts does not overlap it. A
    Running call runs until the frame was fetched, whatever end it carries; where that time is not known, to the last
    start or end in the frame. One that has been Running for longer than the run limit is stuck: no service lets it hold
    its place, so it counts up to the run limit. A finished call without an end, or with one before its start, is left
    out and counted in `attrs`; one that ends as it starts takes no time.

    A window of start times lacks the calls that were already running at its start, so the curve is exact from the start
    plus the run limit (from the start itself if every function was deployed later), and to the end of the window;
    outside it is a lower bound. To have a day exact, fetch from the run limit before it. The curve is a lower bound
    throughout where the frame lacks calls: some could not be read, were set aside, left out here or filtered away, or
    there is no coverage to tell. Functions that were not asked for are not in it.

    Parameters
    ----------
    calls
        Call frame. A call that is in it twice counts once.
    by
        None for one curve of all, or `"function"` for one each.
    run_limit
        How long the service lets a call run; `Project.limits` tells. 15 minutes is the longest there is.

    Returns
    -------
    curve
        One row a change, by time, or by function and time: `time` datetime64[ms, UTC], `running` int64, the number from
        then until the next row, with `function` category in front where grouped. The last row of a curve is 0: nothing
        is known of later. Its `attrs` hold those of `calls`, and under `"concurrency"`: `exact_from` and `exact_until`
        (ISO 8601, None where the frame does not tell), `lower_bound` (whether calls are lacking) with its `reasons`,
        and how many calls were `running`, `stuck`, `without_end`, `backwards`.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `by` is unknown, or the run limit is no span of time above 0.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     curve = cf.concurrency(project.calls(start="14d"))
    >>> int(curve["running"].iloc[-1])
    0
    """
    frame.check(calls)
    _check_by(by)
    limit_ms = RunLimit.parse(run_limit).longest_ms
    calls = frame.deduplicate(calls)
    spells = _spells(calls, limit_ms)
    if by is None:
        times, running = _curve(spells.start, spells.end)
        curve = pd.DataFrame({"time": from_epoch_ms(times), "running": running}, copy=False)
    else:
        curves = [(code, *_curve(start, end)) for code, start, end in _by_function(spells)]
        codes = np.repeat([code for code, _, _ in curves] or [0], [len(times) for _, times, _ in curves] or [0])
        curve = pd.DataFrame(
            {
                "function": pd.Categorical.from_codes(codes, categories=calls["function"].cat.categories),
                "time": from_epoch_ms(_joined([times for _, times, _ in curves])),
                "running": _joined([running for _, _, running in curves]),
            },
            copy=False,
        )
    curve.attrs = {**calls.attrs, "concurrency": _rests_on(calls, spells, limit_ms)}
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
    Find how many calls ran at the same time at most, when, and who made it.

    The rules are those of `concurrency`. `by="function"` answers both how near each function came to its own quota and
    who made the peak of all: `at_peak` and `share` say what each had running when most calls of all functions ran.

    Parameters
    ----------
    calls
        Call frame.
    by
        None for all calls together, or `"function"`.
    quota
        How many may run; by default 250 for all, a project's quota, and 100 for a function.
    above
        Share of the quota above which time is counted.
    run_limit
        How long the service lets a call run.

    Returns
    -------
    peaks
        One row a function that has calls, the largest share of the peak of all first, or the one row `all functions`;
        none for a frame without calls. The index is `function`. `peak` int64; `peak_time` datetime64[ms, UTC], when it
        was first reached (missing where nothing ran); `quota` int64; `time_above` timedelta64[ms], how long more than
        that share of the quota ran; `at_peak` int64 and `share` float64, how many ran at the first peak of all
        functions together, and what part of it that is. `attrs` as in `concurrency`: where `lower_bound` is true, the
        numbers are lower bounds too.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `by` is unknown, the quota is not above 0, the share is not between 0 and 1, or the run limit is none.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     peaks = cf.concurrency_peaks(project.calls(start="14d"), by="function")
    >>> round(float(peaks["share"].sum()), 6)
    1.0
    """
    frame.check(calls)
    _check_by(by)
    _check_quota(quota, above)
    limit_ms = RunLimit.parse(run_limit).longest_ms
    calls = frame.deduplicate(calls)
    spells = _spells(calls, limit_ms)
    quota = quota or (PROJECT_QUOTA if by is None else FUNCTION_QUOTA)
    most, when = _peak(*_curve(spells.start, spells.end))
    rows: list[dict[str, Any]] = []
    labels: list[str] = []
    for label, start, end in _groups(calls, spells, by):
        times, running = _curve(start, end)
        peak, peak_ms = _peak(times, running)
        at_peak = int(np.count_nonzero((start <= when) & (when < end)))
        above_ms = int(np.diff(times)[running[:-1] > above * quota].sum())
        rows.append({"peak": peak, "time": peak_ms, "above": above_ms, "at_peak": at_peak})
        labels.append(label)
    table = pd.DataFrame(rows, columns=["peak", "time", "above", "at_peak"], dtype="int64")
    part = table["at_peak"].to_numpy()
    peaks = pd.DataFrame(
        {
            "peak": table["peak"].to_numpy(),
            "peak_time": from_epoch_ms(table["time"].to_numpy()),
            "quota": np.full(len(table), quota, dtype="int64"),
            "time_above": table["above"].to_numpy().view("timedelta64[ms]"),
            "at_peak": part,
            "share": part / most if most else np.full(len(table), np.nan),
        },
        index=pd.Index(frame.text_column(labels), name="function"),
    ).sort_values(["at_peak", "peak"], ascending=False, kind="stable")
    peaks.attrs = {**calls.attrs, "concurrency": _rests_on(calls, spells, limit_ms)}
    return peaks


@dataclass(frozen=True)
class _Spells:
    """When calls ran, in milliseconds since 1970: from start to before end, with the code of their function."""

    start: Stamps
    end: Stamps
    codes: NDArray[Any]
    running: int
    stuck: int
    without_end: int
    backwards: int


def _spells(calls: pd.DataFrame, limit_ms: int) -> _Spells:
    start, end = to_milliseconds(calls["start_time"]), to_milliseconds(calls["end_time"])
    running = (calls["status"] == "Running").to_numpy()
    now_ms = observed_until_ms(calls)
    stuck = running & (now_ms - start > limit_ms)
    end = np.where(running, np.where(stuck, start + limit_ms, now_ms), end)
    without = end == NO_TIME
    backwards = ~without & ~running & (end < start)
    there = ~without & (end > start)
    return _Spells(
        start[there],
        end[there],
        calls["function"].cat.codes.to_numpy()[there],
        int(running.sum()),
        int(stuck.sum()),
        int(without.sum()),
        int(backwards.sum()),
    )


def _curve(start: Stamps, end: Stamps) -> tuple[Stamps, Stamps]:
    """Sweep over starts and ends; those of one moment cancel out, which is what puts ends before starts."""
    start, end = np.sort(start), np.sort(end)
    times = np.sort(np.concatenate([start, end]), kind="stable")  # np.unique hashes, forty times as slow here
    running = np.searchsorted(start, times, side="right") - np.searchsorted(end, times, side="right")
    changed = np.diff(running, prepend=0) != 0
    return times[changed], running[changed].astype("int64")


def _peak(times: Stamps, running: Stamps) -> tuple[int, int]:
    """Find the most that ran, and when it was first reached."""
    if not len(times):
        return 0, NO_TIME
    at = int(running.argmax())
    return int(running[at]), int(times[at])


def _by_function(spells: _Spells) -> Iterator[tuple[int, Stamps, Stamps]]:
    order = np.argsort(spells.codes, kind="stable")
    codes, first = np.unique(spells.codes[order], return_index=True)
    for code, rows in zip(codes.tolist(), np.split(order, first[1:]), strict=False):
        yield code, spells.start[rows], spells.end[rows]


def _groups(calls: pd.DataFrame, spells: _Spells, by: str | None) -> Iterator[tuple[str, Stamps, Stamps]]:
    """Give the calls of each group; a function none of whose calls ran for any time is one too."""
    if by is None:
        if len(calls):
            yield ALL, spells.start, spells.end
        return
    ran = {code: (start, end) for code, start, end in _by_function(spells)}
    nothing = (np.empty(0, dtype="int64"), np.empty(0, dtype="int64"))
    for code in sorted(calls["function"].cat.codes.unique().tolist()):
        yield str(calls["function"].cat.categories[code]), *ran.get(code, nothing)


def _rests_on(calls: pd.DataFrame, intervals: _Spells, limit_ms: int) -> dict[str, Any]:
    """Describe what a curve rests on, as JSON can hold it."""
    known = Coverage.of(calls)
    reasons = list(_missing(calls, known, intervals))
    since, until = (None, None) if known is None else _exact(known, limit_ms)
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


def _exact(known: Coverage, limit_ms: int) -> tuple[str | None, str | None]:
    """Find the time range in which the window misses no call that ran."""
    if known.covered is None:
        return None, None
    start_ms, end_ms = known.covered.start_ms, known.covered.end_ms
    created = [function.created_ms for function in known.functions]
    if not created or any(time_ms is None or time_ms < start_ms for time_ms in created):
        start_ms += limit_ms
    return (iso(start_ms), iso(end_ms)) if start_ms < end_ms else (None, None)


def _missing(calls: pd.DataFrame, known: Coverage | None, intervals: _Spells) -> Iterator[str]:
    """List why calls are missing from the curve."""
    if known is None:
        yield "the frame carries no coverage"
    elif known.restriction:
        yield known.restriction
    if known is not None and known.schedule_ids:
        yield "only calls of some schedules were requested"
    set_aside = 0 if known is None else sum(sum(function.set_aside.values()) for function in known.functions)
    for count, words in (
        (
            0 if known is None else len(known.missing_calls(calls)),
            "functions were not read completely, or had calls filtered away",
        ),
        (set_aside, "records were set aside"),
        (intervals.without_end, "finished calls have no end"),
        (intervals.backwards, "calls end before they start"),
    ):
        if count:
            yield f"{words}: {count:,}"


def _check_by(by: str | None) -> None:
    if by not in {None, "function"}:
        raise ArgumentError(f"by={by!r}; expected None or 'function'.")


def _check_quota(quota: int | None, above: float) -> None:
    if quota is not None and not quota > 0:
        raise ArgumentError(f"quota={quota!r}; expected a number above 0.")
    if not 0 <= above <= 1:
        raise ArgumentError(f"above={above!r}; expected a share of the quota, 0 to 1.")


def _joined(arrays: list[Stamps]) -> Stamps:
    return np.concatenate([np.empty(0, dtype="int64"), *arrays])
