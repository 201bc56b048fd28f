"""When durations, delays and failure rates of functions changed, found without being told of a deploy."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.statistics import check_alpha, correct_p_values
from callframe.completeness import Coverage
from callframe.timespan import DAY_MS, NO_TIME, from_epoch_ms, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

MEASURES = ("duration", "schedule_delay", "failure_rate")

_CELL_MS = DAY_MS // 4
_OFFSETS = range(4)  # of the hour at which a day begins, in cells
_MIN_DAYS = 6
_PENALTY = 3.0  # for each segment, times the variance of a day and the logarithm of the number of days
_ARGMAX95 = 11.0  # 95 % of the distribution of Bai's estimator of a change point, times variance / size²
_SCREEN = 0.05  # p-value beyond which a proposed change is dropped
_REACH = 3  # days within which the segmentation of days finds a change
_MEDIAN_CHI2 = 0.455
_SHORTEST_S = 0.001
_DTYPES = {
    "function": "str", "measure": "str", "kind": "str", "time": "time", "time_low": "time", "time_high": "time",
    "before": "float64", "after": "float64", "change": "float64", "change_low": "float64", "change_high": "float64",
    "deploy_time": "time", "p_value": "float64", "p_value_corrected": "float64",
}  # fmt: skip


@dataclass(frozen=True)
class _Series:
    """A measure of one function: calls in order of start, their scores, and their values in s, or 0 and 1."""

    function: int
    measure: str
    start: np.ndarray
    score: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class _Change:
    """A change at a call, between the segments that begin and end at other calls, or a drift over all of them."""

    first: int
    at: int
    end: int
    p_value: float = math.nan
    half_ms: float = math.nan
    drifts: bool = False


_NO_CHANGE = _Change(0, 0, 0, 1.0)


def changes(calls: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """
    Find when the durations, the schedule delays and the failure rate of functions changed.

    Calls of one day are not independent, so the days are what is compared: the means of the normal scores of the ranks
    of their durations (completed work; a Timeout counts as longer than any; Failed and Running calls are left out) or
    delays, or the normal scores of their failure rates. Optimal segmentation (Jackson et al., 2005, IEEE Signal
    Process. Lett. 12:105) proposes change points, each is moved to the call where it fits best, and kept if Student's t
    of the days before and after, the least of days that begin at four different hours, is evidence beyond what the
    choice among all days explains (Bonferroni), and all functions and measures (Benjamini and Hochberg, 1995). Where a
    line fits the days better than steps do, the change is a drift over the whole time instead of a jump.

    At least six days with calls are needed, and a day on both sides. Weekly patterns are part of the variation of days.

    Parameters
    ----------
    calls
        Call frame.
    alpha
        The corrected p-value up to which there is evidence.

    Returns
    -------
    changes
        One row per change, the strongest evidence first: `function`, `measure` (`duration`, `schedule_delay`,
        `failure_rate`), `kind` (`jump`, `drift`) str; `time`, `time_low`, `time_high` datetime64[ms, UTC], when, with a
        95 % interval (Bai, 1997, Rev. Econ. Stat. 79:551); of a drift, the middle of the days from `time_low` to
        `time_high`; `before`, `after` float64, the median in seconds, or the rate, between this change and its
        neighbours, of a drift in the first and the last third; `change`, `change_low`, `change_high` float64, the ratio
        of the medians or the difference of the rates with a 95 % interval from the variation of days; `deploy_time`
        datetime64[ms, UTC], the nearest deploy of the function within the interval and a day, missing if there is none
        or it is not known; `p_value`, `p_value_corrected` float64.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `alpha` is not between 0 and 1.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=20_000) as project:
    ...     changes = cf.changes(project.calls(start="14d"))
    >>> changes.loc[changes["measure"] == "duration", "function"].iloc[0]
    'ingest-sap-orders'
    """
    frame.check(calls)
    check_alpha(alpha)
    found = [(series, _find(series)) for series in _all_series(calls)]
    p_values = [change.p_value for _, own in found for change in own or [_NO_CHANGE]]
    corrected = iter(correct_p_values(np.array(p_values)).tolist())
    rows = [
        _describe(series, change, calls) | {"p_value_corrected": p_corrected}
        for series, own in found
        for change, p_corrected in zip(own or [_NO_CHANGE], corrected, strict=False)
        if p_corrected <= alpha
    ]
    rows.sort(key=lambda row: (row["p_value"], row["time"]))
    return _table(rows, calls)


def _all_series(calls: pd.DataFrame) -> Iterator[_Series]:
    """Cut a frame into the series of each function and measure that have enough days."""
    start, code = to_milliseconds(calls["start_time"]), calls["function"].cat.codes.to_numpy()
    failed, completed = calls["status"].isin(frame.FAILURES).to_numpy(), (calls["status"] == "Completed").to_numpy()
    timeout = (calls["status"] == "Timeout").to_numpy()
    order = np.argsort(start, kind="stable")
    order = order[np.argsort(code[order], kind="stable")]
    duration, delay = to_milliseconds(calls["duration"]), to_milliseconds(calls["schedule_delay"])
    measures = {
        "duration": (np.where(timeout, np.inf, duration), timeout | (completed & (duration != NO_TIME))),
        "schedule_delay": (delay.astype("float64"), delay != NO_TIME),
        "failure_rate": (failed.astype("float64"), completed | failed),
    }
    for measure, (values, selected) in measures.items():
        rows = order[selected[order]]
        edges = np.flatnonzero(np.diff(code[rows], prepend=-1, append=-2))
        for low, high in itertools.pairwise(edges):
            own = rows[low:high]
            if start[own[-1]] - start[own[0]] > (_MIN_DAYS - 1) * DAY_MS:
                value = values[own]
                score = value if measure == "failure_rate" else _normal_scores(value)
                scale = 1 if measure == "failure_rate" else 1000
                yield _Series(int(code[own[0]]), measure, start[own], score, value / scale)


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Replace values by what their ranks would be in a normal distribution; equal values share one."""
    from scipy.special import ndtri  # noqa: PLC0415 - slow to import

    ordered = np.sort(values)
    ranks = np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")
    scores: np.ndarray = ndtri(ranks / (2 * len(values)))
    return scores


def _days(
    series: _Series, first: int, end: int, at: int = 0, offset: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the scores of the days of a part, cut at a call too: means, counts, and the first calls of the days."""
    day = (series.start[first:end] // _CELL_MS + offset) // 4
    begins = np.flatnonzero(np.diff(day, prepend=-1)) + first
    begins = np.union1d(begins, [at]) if at else begins
    counts = np.diff(begins, append=end).astype("float64")
    means = np.add.reduceat(series.score[:end], begins) / counts
    return (_normal_scores(means) if series.measure == "failure_rate" else means), counts, begins


def _find(series: _Series) -> list[_Change]:
    """Find the changes of a series: propose them, then drop the weakest until all are evident."""
    means, counts, first = _days(series, 0, len(series.start))
    if len(means) < _MIN_DAYS or np.ptp(means) == 0:
        return []
    weights = _weights(counts)
    bounds = [0, *first[_segments(means, weights)].tolist(), len(series.start)]
    found: list[_Change] = []
    while len(bounds) > 2:  # noqa: PLR2004 - both ends
        choices = math.comb(len(means), min(len(bounds) - 2, 2))  # of one day, or of both ends of a segment
        triples = zip(bounds, bounds[1:], bounds[2:], strict=False)
        found = [_test(series, first, at, end, choices) for first, at, end in triples]
        weakest = max(range(len(found)), key=lambda place: found[place].p_value)
        if found[weakest].p_value <= _SCREEN:
            break
        found = []
        del bounds[weakest + 1]
    if found and _is_drift(means, weights, np.searchsorted(first, [change.at for change in found])):
        p_value = min(change.p_value for change in found)
        return [_Change(0, len(series.start) // 2, len(series.start), p_value, drifts=True)]
    return found


def _weights(counts: np.ndarray) -> np.ndarray:
    """Weigh days: those with fewer calls than usual are less certain."""
    weights: np.ndarray = counts / (counts + np.median(counts) / 4)
    return weights


def _segments(means: np.ndarray, weights: np.ndarray) -> list[int]:
    """Cut days into segments of the least weighted sum of squares and penalty; returns where segments begin."""
    variance = float(np.median(np.square(np.diff(means)))) / (2 * _MEDIAN_CHI2) or float(np.var(means)) / len(means)
    penalty = _PENALTY * variance * math.log(len(means)) * float(np.mean(weights))
    sums = [np.append(0, np.cumsum(weights * means**power)) for power in (0, 1, 2)]
    cost, before = np.zeros(len(means) + 1), np.zeros(len(means) + 1, dtype="int64")
    for end in range(1, len(means) + 1):
        weight, total, square = (column[end] - column[:end] for column in sums)
        costs = cost[:end] + square - total**2 / weight + penalty
        before[end] = costs.argmin()
        cost[end] = costs[before[end]]
    edges, end = list[int](), int(before[-1])
    while end:
        edges.append(end)
        end = int(before[end])
    return edges[::-1]


def _test(series: _Series, first: int, at: int, end: int, choices: int) -> _Change:
    """Move a change to the call where it fits best, and test the days before and after it."""
    from scipy.special import stdtr  # noqa: PLC0415 - slow to import

    at = _refine(series, first, at, end)
    shortest = min(series.start[at - 1] - series.start[first], series.start[end - 1] - series.start[at])
    p_value, half_ms = float(shortest < DAY_MS), 0.0
    for offset in _OFFSETS:
        means, counts, starts = _days(series, first, end, at, offset)
        size, error, variance = _difference(means, _weights(counts), starts >= at)
        freedom = len(means) - 4  # two levels, the time of the change, and days that begin at an unknown hour
        chance = 2 * float(stdtr(freedom, -abs(size) / error)) * choices if freedom > 0 else 1.0
        p_value = max(p_value, min(1.0, chance))
        half_ms = max(half_ms, _ARGMAX95 * variance / max(abs(size) - error, error) ** 2 * DAY_MS)
    return _Change(first, at, end, p_value, half_ms)


def _refine(series: _Series, first: int, at: int, end: int) -> int:
    """Find the call near a change at which the level goes over from that before to that after."""
    near = np.searchsorted(series.start, series.start[at] + _REACH * np.array([-DAY_MS, DAY_MS]))
    low, high = max(int(near[0]), first + 1), min(int(near[1]), end - 1)
    before = series.score[first : low if low - first > at - low else at].mean()
    after = series.score[high if end - high > high - at else at : end].mean()
    gains = np.append(0, np.cumsum((series.score[low:high] - (before + after) / 2) * np.sign(before - after)))
    return low + int(gains.argmax())


def _difference(values: np.ndarray, weights: np.ndarray, is_after: np.ndarray) -> tuple[float, float, float]:
    """Estimate the difference of two weighted means, its standard error, and the variance of a value of weight 1."""
    sides = [(values[side], weights[side]) for side in (~is_after, is_after)]
    means = [float(np.average(value, weights=weight)) for value, weight in sides]
    squares = sum(
        float((weight * (value - mean) ** 2).sum()) for (value, weight), mean in zip(sides, means, strict=True)
    )
    variance = max(squares / max(len(values) - 2, 1), 1e-12)
    return means[1] - means[0], math.sqrt(variance * sum(1 / weight.sum() for _, weight in sides)), variance


def _is_drift(means: np.ndarray, weights: np.ndarray, edges: np.ndarray) -> bool:
    """Decide by Schwarz's criterion (1978, Ann. Statist. 6:461) whether a line fits better than steps do."""
    days, roots = np.arange(len(means)), np.sqrt(weights)
    line = np.polyval(np.polyfit(days, means, 1, w=roots), days)
    edges = np.unique(np.clip(edges, 1, len(means) - 1))
    parts = zip([0, *edges], [*edges, len(means)], strict=True)
    steps = np.concatenate(
        [np.full(end - low, np.average(means[low:end], weights=weights[low:end])) for low, end in parts]
    )
    squares = [float((weights * (means - fitted) ** 2).sum()) for fitted in (line, steps)]
    return len(means) * math.log(squares[0] / max(squares[1], 1e-12)) < (2 * len(edges) - 3) * math.log(len(means))


def _describe(series: _Series, change: _Change, calls: pd.DataFrame) -> dict[str, Any]:
    last = len(series.start) - 1
    time, low, high = int(series.start[change.at]), int(series.start[0]), int(series.start[-1])
    sides = [slice(change.first, change.at), slice(change.at, change.end)]
    if change.drifts:
        time = (low + high) // 2
        edges = np.searchsorted(series.start, [low + (high - low) // 3, high - (high - low) // 3])
        sides = [slice(0, max(int(edges[0]), 1)), slice(min(int(edges[1]), last), last + 1)]
    else:
        low = max(int(series.start[change.first]), min(time - int(change.half_ms), int(series.start[change.at - 1])))
        high = min(int(series.start[change.end - 1]), time + int(change.half_ms))
    function = str(calls["function"].cat.categories[series.function])
    return {
        "function": function,
        "measure": series.measure,
        "kind": "drift" if change.drifts else "jump",
        "time": time,
        "time_low": low,
        "time_high": high,
        **_size(series, sides),
        "deploy_time": _deploy(calls, function, time, low, high),
        "p_value": change.p_value,
    }


def _size(series: _Series, sides: list[slice]) -> dict[str, float]:
    """Estimate the size of a change, with an interval from the variation between days."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    is_rate = series.measure == "failure_rate"
    longest = series.value[np.isfinite(series.value)].max(initial=_SHORTEST_S)
    estimate = np.mean if is_rate else np.median
    values, counts, totals = list[float](), list[int](), list[float]()
    for side in sides:
        own = series.value[side]
        totals.append(float(estimate(own)))
        days = np.split(own, np.flatnonzero(np.diff(series.start[side] // DAY_MS)) + 1)
        values += [float(estimate(day)) for day in days]
        counts.append(len(days))
    is_after, before, after = np.repeat([False, True], counts), *totals
    weights = np.concatenate(
        [np.bincount(np.unique(series.start[side] // DAY_MS, return_inverse=True)[1]) for side in sides]
    )
    points = np.array(values) if is_rate else np.log(np.clip(values, _SHORTEST_S, longest))
    error = _difference(
        points, weights.astype("float64") if is_rate else _weights(weights.astype("float64")), is_after
    )[1]
    half = float(stdtrit(max(len(points) - 2, 1), 0.975)) * error
    if is_rate:
        change, low, high = after - before, max(after - before - half, -1.0), min(after - before + half, 1.0)
    else:
        change = max(min(after, longest), _SHORTEST_S) / max(min(before, longest), _SHORTEST_S)
        low, high = change * math.exp(-half), change * math.exp(half)
    return {"before": before, "after": after, "change": change, "change_low": low, "change_high": high}


def _deploy(calls: pd.DataFrame, function: str, time: int, low: int, high: int) -> int:
    """Find the deploy of a function that is nearest to a change."""
    known = Coverage.of(calls)
    deploys = [one.created_ms for one in known.functions if one.function == function] if known else []
    near = [created for created in deploys if created is not None and low - DAY_MS <= created <= high + DAY_MS]
    return min(near, key=lambda created: abs(created - time), default=NO_TIME)


def _table(rows: list[dict[str, Any]], calls: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        values = [row[name] for row in rows]
        if dtype == "time":
            columns[name] = from_epoch_ms(np.array(values, dtype="int64"))
        else:
            columns[name] = frame.text_column(values) if dtype == "str" else pd.Series(values, dtype=dtype)
    table = pd.DataFrame(columns)
    table.attrs = dict(calls.attrs)
    return table
