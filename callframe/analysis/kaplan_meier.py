"""
How long work takes, where some of it was cut off or still runs: Kaplan-Meier curves by group.

The estimator is that of Kaplan and Meier (1958, JASA 53:457). Its events are the ends of completed work. A call that
the service stopped, or that still runs, is censored: its work takes longer than the time observed. A call that failed
did not work for longer or shorter, but ended for another reason, and is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.grouping import Groups, group, parse_by, span_ms
from callframe.analysis.statistics import Z95, Blocks, block_ms
from callframe.completeness import observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import RunLimit
from callframe.timespan import NO_TIME, to_milliseconds, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from callframe.timespan import DurationLike

RUNNING, COMPLETED, FAILED, TIMEOUT, ERROR_RESPONSE, OTHER = range(6)
"""The codes of statuses: those of `frame.KNOWN_STATUSES` in their order, then any other."""

_TOLERANCE = 1e-9  # of the logarithm of a survival, a sum of up to millions of terms


@dataclass(frozen=True)
class ObservedDurations:
    """
    What is known of how long each call worked.

    `status` holds its code, `time_ms` the time for which it worked (`NO_TIME` if that is not known or the call is left
    out), `is_event` whether it ended then or is censored; `stuck` holds the positions of stuck calls.
    """

    status: np.ndarray
    time_ms: np.ndarray
    is_event: np.ndarray
    stuck: np.ndarray


def observe(
    calls: pd.DataFrame,
    limit: RunLimit,
    levels: Container[str] = (),
    failed: str = "exclude",
    fetched_ms: int | None = None,
) -> ObservedDurations:
    """
    Find how long each call worked.

    That is the duration of an ended call, the age of a Running one unless it is stuck, and the run limit of a Timeout
    without an end. Without `fetched_ms` the coverage of the calls has the time of the fetch.
    """
    status = status_codes(calls["status"])
    time_ms = to_milliseconds(calls["duration"]).copy()
    running = np.flatnonzero(status == RUNNING)
    fetched_ms = observed_until_ms(calls) if fetched_ms is None else fetched_ms
    age_ms = fetched_ms - to_milliseconds(calls["start_time"])[running]
    is_stuck = age_ms > limit.longest_ms
    time_ms[running] = np.where(is_stuck | (age_ms < 0), NO_TIME, age_ms)
    time_ms[(time_ms == NO_TIME) & (status == TIMEOUT)] = limit.shortest_ms
    event_codes, omitted_codes = outcomes(levels, failed)
    time_ms[omitted_codes[status]] = NO_TIME
    return ObservedDurations(status, time_ms, event_codes[status], running[is_stuck])


def outcomes(levels: Container[str], failed: str) -> tuple[np.ndarray, np.ndarray]:
    """
    Tell by status code whether an end is an event, and whether the call is left out of durations.

    The one definition of durations in callframe: work that Completed, with Timeout and Running censored. In groups by
    status any end is an event.
    """
    codes = np.arange(OTHER + 1)
    if "status" in levels:
        return codes != RUNNING, codes < 0
    kept = [RUNNING, COMPLETED, TIMEOUT, *((FAILED, ERROR_RESPONSE) if failed == "censor" else ())]
    return codes == COMPLETED, ~np.isin(codes, kept)


def parse_failed(failed: Any) -> str:
    """Check the argument `failed` of a user."""
    if failed not in ("exclude", "censor"):
        raise ArgumentError(f"failed={failed!r}; expected 'exclude', or 'censor' if failures cut work short.")
    return str(failed)


def status_codes(status: pd.Series) -> np.ndarray:
    """Translate a status column into the codes of statuses."""
    codes = {name: code for code, name in enumerate(frame.KNOWN_STATUSES)}
    by_category = [codes.get(name, OTHER) for name in status.cat.categories]
    return np.array([*by_category, OTHER], dtype="uint8")[status.cat.codes.to_numpy()]


def survival(
    calls: pd.DataFrame,
    by: str | Sequence[str] = "function",
    *,
    run_limit: DurationLike | None = None,
    failed: str = "exclude",
    points: int | None = None,
) -> pd.DataFrame:
    """
    Estimate the share of work that is not done after a time: Kaplan-Meier curves, as for a plot.

    The event is the end of completed work. Running calls are censored at their age when they were fetched, Timeout
    calls at their durations, and failed calls are left out, as in `summarize`. In groups by status the event is any
    end.

    Parameters
    ----------
    calls
        Call frame with any number of rows.
    by
        As in `summarize`.
    run_limit, failed
        As in `summarize`.
    points
        About how many rows a group may have; None for a row at every time at which work ended. The survival of a row
        that is left out is less than `1 / points` below that of a row that is kept.

    Returns
    -------
    survival
        One row per step of each curve. First the groups, then `duration` timedelta64[ms], `survival`, `low`, `high`
        float64, `at_risk`, `events` int64. A group starts with a row of survival 1 at duration 0, or at its earliest
        event where a clock made that negative; it has a row at each time at which work ended, and a last one where
        censored calls were observed for longer. `low` and `high` are the log-log 95 % band (Kalbfleisch and Prentice,
        1980), widened for slow days and bursts as in `summarize`, missing where survival is 1 or 0. `at_risk` counts
        the calls neither ended nor censored before, `events` the ends at that time. `effective_calls` int64 is how many
        independent calls would give a band as wide.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by`, `run_limit`, `failed` or `points` is invalid.

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
        raise ArgumentError(f"points={points!r}; expected an integer of at least 1, or None.")
    levels = parse_by(by, durations=True, several=True)
    groups, observed = group(calls, levels), observe(calls, RunLimit.parse(run_limit), levels, parse_failed(failed))
    curves = estimate_curves(observed.time_ms, observed.is_event, groups)
    start_ms = to_milliseconds(calls["start_time"])
    blocks = Blocks.of(groups.codes, start_ms, len(groups), block_ms(span_ms(start_ms, levels)))
    effect = np.maximum(*(curves.design_effect(share, blocks, observed, groups.codes) for share in (0.5, 0.95)))
    at_longest = groups.count(observed.time_ms == curves.longest_ms[groups.codes])
    steps = _steps(curves, effect)
    kept = steps if points is None else steps[_thin(steps, points)]
    rows = pd.concat([_first_rows(curves), kept, _last_rows(curves, steps, at_longest)])
    rows = rows.sort_values(["group", "order", "duration"], kind="stable", ignore_index=True)
    positions = rows["group"].to_numpy()
    labels = {name: groups.index.get_level_values(name).take(positions) for name in map(str, groups.index.names)}
    columns = rows.drop(columns=["group", "order"]).assign(
        duration=to_timedelta(rows["duration"].to_numpy()),
        effective_calls=np.ceil(curves.calls / effect).astype("int64")[positions],
    )
    return pd.concat([pd.DataFrame(labels, index=rows.index), columns], axis=1)


def _steps(curves: Curves, effect: np.ndarray) -> pd.DataFrame:
    """Make a row for each time at which work ended."""
    low, high = curves.band(effect)
    return pd.DataFrame(
        {
            "group": np.repeat(np.arange(len(curves.calls)), curves.rows),
            "order": 1,
            "duration": curves.time_ms,
            "survival": curves.survival,
            "low": low,
            "high": high,
            "at_risk": curves.at_risk,
            "events": curves.events,
        }
    )


def _thin(steps: pd.DataFrame, points: int) -> np.ndarray:
    """Keep the first row of each `1 / points` of survival, and the first and the last row of each group."""
    codes = steps["group"].to_numpy()
    level = codes * (points + 1.0) - np.floor(steps["survival"].to_numpy() * points + _TOLERANCE)
    kept: np.ndarray = np.diff(level, prepend=-np.inf) != 0
    kept[np.flatnonzero(np.diff(codes))] = True
    kept[-1:] = True
    return kept


def _first_rows(curves: Curves) -> pd.DataFrame:
    """Make a row for each group before anything ended."""
    groups = np.flatnonzero(curves.calls)
    first_ms = np.where(curves.rows > 0, curves.quantile(0.0), curves.longest_ms)[groups]
    rows = {"group": groups, "order": 0, "duration": np.minimum(first_ms, 0), "survival": 1.0, "low": np.nan}
    return pd.DataFrame({**rows, "high": np.nan, "at_risk": curves.calls[groups], "events": 0})


def _last_rows(curves: Curves, steps: pd.DataFrame, at_longest: np.ndarray) -> pd.DataFrame:
    """Make a row for each group in which censored calls were observed beyond the last event."""
    last = steps.drop_duplicates("group", keep="last").set_index("group").reindex(np.arange(len(curves.calls)))
    beyond = (curves.calls > 0) & (curves.longest_ms > last["duration"].fillna(0).to_numpy())
    return (
        last.assign(order=2, duration=curves.longest_ms, at_risk=at_longest, events=0)
        .fillna({"survival": 1.0})
        .rename_axis("group")[beyond]
        .reset_index()
    )


@dataclass(frozen=True)
class Curves:
    """
    Kaplan-Meier curves of groups, a row for each time at which work of a group ended.

    Parameters
    ----------
    bounds
        Where the rows of each group start, and where those of the last group end.
    time_ms, events, at_risk
        For each row: the time, how many calls ended then, and how many had neither ended nor been censored before.
    calls
        For each group: on how many calls its curve is based.
    longest_ms
        For each group: the longest time observed, of any call; `NO_TIME` without calls.
    """

    bounds: np.ndarray
    time_ms: np.ndarray
    events: np.ndarray
    at_risk: np.ndarray
    calls: np.ndarray
    longest_ms: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """The number of rows of each group."""
        return np.diff(self.bounds)

    @property
    def events_by_group(self) -> np.ndarray:
        """The number of events of each group."""
        return np.diff(np.append(0, np.cumsum(self.events))[self.bounds])

    @cached_property
    def hazard(self) -> np.ndarray:
        """The cumulative hazard, minus the logarithm of survival, after each row; infinite where no call is left."""
        with np.errstate(divide="ignore"):
            return self._accumulate(-np.log1p(-self.events / self.at_risk), np.inf)

    @property
    def survival(self) -> np.ndarray:
        """The share of work that is not done after each row."""
        survival: np.ndarray = np.exp(-self.hazard)
        return survival

    def band(self, effect: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """
        Find the low and high ends of the log-log 95 % band of survival; missing where no call is left.

        `effect` is the design effect of each group.
        """
        middle, half = self._log_log_band(effect)
        with np.errstate(over="ignore"):
            return np.exp(-np.exp(middle + half)), np.exp(-np.exp(middle - half))

    def quantile(self, share: float | np.ndarray) -> np.ndarray:
        """Find the earliest time of each group by which a share is done, `NO_TIME` where the curve stays above."""
        with np.errstate(divide="ignore"):
            goal = -np.log1p(-np.asarray(share))
        return self._first_time(self.hazard >= (np.repeat(goal, self.rows) if goal.ndim else goal) - _TOLERANCE)

    @property
    def last_event(self) -> np.ndarray:
        """The time of the last event of each group, `NO_TIME` without any."""
        return np.append(self.time_ms, NO_TIME)[np.where(self.rows > 0, self.bounds[1:] - 1, -1)]

    def survival_at(self, time_ms: np.ndarray) -> np.ndarray:
        """Find the share of work of each group that is not done at a time, half of that which is done just then."""
        group, survival = np.repeat(np.arange(len(self.calls)), self.rows), np.append(self.survival, 1.0)
        earlier, until = (
            np.bincount(group, compare(self.time_ms, time_ms[group]), minlength=len(self.calls)).astype("int64")
            for compare in (np.less, np.less_equal)
        )
        first = self.bounds[:-1]
        before, after = (survival[np.where(rows > 0, first + rows - 1, -1)] for rows in (earlier, until))
        middle: np.ndarray = (before + after) / 2
        return middle

    def interval(self, share: float, effect: np.ndarray | float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """
        Find the 95 % interval of a quantile: where the log-log band of the curve crosses 1 - share.

        This is the interval of Brookmeyer and Crowley (1982, Biometrics 38:29). An end is `NO_TIME` where the band does
        not cross, and both are where a group has fewer events than it takes for the longest to exceed the quantile with
        95 % probability: 5 for the median, 59 for p95. `effect` is the design effect of each group.
        """
        middle, half = self._log_log_band(effect)
        goal = math.log(-math.log1p(-share)) - _TOLERANCE
        low = self._first_time((middle + half >= goal) | np.isinf(middle))
        high = self._first_time(middle - half >= goal)
        too_few = self.events_by_group < math.ceil(math.log(0.05) / math.log(share))
        return np.where(too_few, NO_TIME, low), np.where(too_few, NO_TIME, high)

    def above(self, quantile: np.ndarray) -> np.ndarray:
        """Find what a quantile that is missing exceeds: the longest time observed."""
        return np.where(quantile == NO_TIME, self.longest_ms, NO_TIME)

    def design_effect(
        self,
        share: float,
        blocks: Blocks,
        observed: ObservedDurations,
        codes: np.ndarray,
        counts: np.ndarray | None = None,
        **options: Any,
    ) -> np.ndarray:
        """
        Estimate the design effect of a quantile of each group: that of the share of calls that took longer.

        Where the curve does not reach the quantile, it is that of the last event. Rows stand for `counts` calls. The
        options are those of `Blocks.effects`.
        """
        time_ms, is_event = observed.time_ms, observed.is_event
        quantile = self.quantile(share)
        longer = time_ms > np.where(quantile == NO_TIME, self.last_event, quantile)[codes]
        known = longer | (is_event & (time_ms != NO_TIME))
        if counts is not None:
            longer, known = longer * counts, known * counts
        return blocks.effects(longer, known, **options)

    def _log_log_band(self, effect: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Compute the logarithm of the hazard and half the width of its band, by the variance of Greenwood (1926)."""
        effects = np.repeat(np.broadcast_to(effect, len(self.calls)), self.rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.hazard), Z95 * np.sqrt(self.variance * effects) / self.hazard

    @cached_property
    def variance(self) -> np.ndarray:
        """The variance of the hazard after each row (Greenwood, 1926); missing where no call is left."""
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = self.events / (self.at_risk * (self.at_risk - self.events))
        variance: np.ndarray = np.maximum(self._accumulate(steps, np.nan), 0)
        return variance

    def _accumulate(self, steps: np.ndarray, at_end: float) -> np.ndarray:
        """Add up the steps of each group; `at_end` where no call is left."""
        ended = self.events == self.at_risk
        total = np.cumsum(np.where(ended, 0, steps))
        total -= np.repeat(np.append(0, total)[self.bounds[:-1]], self.rows)
        total[ended] = at_end
        return total

    def _first_time(self, holds: np.ndarray) -> np.ndarray:
        """Find the time of the first row of each group for which something holds."""
        rows = np.flatnonzero(holds)
        first = np.append(rows, len(holds))[np.searchsorted(rows, self.bounds[:-1])]
        reached = first < self.bounds[1:]
        times = np.full(len(reached), NO_TIME)
        times[reached] = self.time_ms[first[reached]]
        return times


def estimate_curves(
    time_ms: np.ndarray,
    events: np.ndarray,
    groups: Groups,
    weights: np.ndarray | None = None,
    longest_ms: np.ndarray | None = None,
) -> Curves:
    """
    Estimate Kaplan-Meier curves by group.

    `events` tells for each time whether it is an event or censored; a call censored at the time of an event is at risk
    then. Calls without a time are left out. `weights` is how many calls each time stands for. Where times are those of
    buckets, `longest_ms` is the longest time of each group: no result is beyond it.
    """
    given = time_ms != NO_TIME
    codes = groups.codes
    if not given.all():
        time_ms, codes, events = time_ms[given], codes[given], events[given]
        weights = None if weights is None else weights[given]
    codes, time_ms, events, weights = _sort(codes, time_ms, events, weights)
    starts = np.flatnonzero(np.append(True, (codes[1:] != codes[:-1]) | (time_ms[1:] != time_ms[:-1]))[: len(codes)])
    calls_before = np.arange(len(codes) + 1) if weights is None else np.append(0, np.cumsum(weights))
    events_before = np.append(0, np.cumsum(events if weights is None else events * weights))
    bounds = np.searchsorted(codes, np.arange(len(groups) + 1))
    if longest_ms is None:
        longest_ms = np.where(bounds[1:] > bounds[:-1], np.append(time_ms, NO_TIME)[bounds[1:] - 1], NO_TIME)
    at_time = np.diff(events_before[np.append(starts, len(codes))])
    rows, codes = starts[at_time > 0], codes[starts[at_time > 0]]
    return Curves(
        bounds=np.searchsorted(codes, np.arange(len(groups) + 1)),
        time_ms=np.minimum(time_ms[rows], longest_ms[codes]),
        events=at_time[at_time > 0],
        at_risk=calls_before[bounds[1:]][codes] - calls_before[rows],
        calls=np.diff(calls_before[bounds]),
        longest_ms=longest_ms,
    )


def _sort(
    codes: np.ndarray, time_ms: np.ndarray, events: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Sort by group and time."""
    lowest = int(time_ms.min(initial=np.iinfo("int64").max))
    bits = max(0, int(time_ms.max(initial=lowest)) - lowest).bit_length()
    if weights is None and bits + int(codes.max(initial=0)).bit_length() < 62:  # noqa: PLR2004 - of 64, less two flags
        # One sort of packed integers takes a tenth of the time of lexsort; the benchmark "summarize" needs that
        packed = codes << (bits + 1)
        packed |= (time_ms - lowest) << 1
        packed |= events
        packed.sort()
        return packed >> (bits + 1), ((packed >> 1) & ((1 << bits) - 1)) + lowest, packed & 1, None
    order = np.lexsort((time_ms, codes))
    return codes[order], time_ms[order], events[order], None if weights is None else weights[order]
