"""Incidents: failures that are too close together in time to be chance."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.failures import failure_groups
from callframe.analysis.statistics import check_alpha
from callframe.timespan import NO_TIME, from_epoch_ms, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ROUNDS = 3  # of estimating base rates without the incidents, and finding incidents against these rates
_SCANS = 4  # each call is scanned at two levels, within its function and with all functions
_ONE_INCIDENT = 0.25  # windows that share this part of their union belong together
_INVOLVED = 0.05  # the chance of as many failures, below which a function takes part in an incident of all


_DTYPES = {
    "start_time": "time", "end_time": "time", "recovered": "bool", "recovered_time": "time", "functions": "str",
    "failures": "int64", "finished": "int64", "share": "float64", "base_rate": "float64", "groups": "str",
    "call_id": "int64", "p_value": "float64",
}  # fmt: skip


@dataclass(frozen=True)
class _Finished:
    """The finished calls in order of start: position in the frame, start, function, and whether they failed."""

    rows: np.ndarray
    start: np.ndarray
    function: np.ndarray
    failed: np.ndarray


@dataclass(frozen=True)
class _Window:
    """Times between which a function fails, or without one several functions; `score` is the log-likelihood ratio."""

    start: int
    end: int
    score: float
    function: int | None


def incidents(calls: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """
    Find failures that belong together in time, within and across functions.

    Each function is compared with its own base rate, its failure rate outside incidents. A call scores the logarithm of
    its likelihood in an incident less that at the base rate, and an incident is a run of calls whose scores add up to
    more than chance explains (Karlin and Altschul, 1990, PNAS 87:2264: among n independent calls a sum of x is expected
    at most n exp(-x) times). Functions that fail at about the same time have one incident, and so have functions
    that fail too little to stand out alone but do so together. Running calls do not count.

    A lasting rise of the failure rate is an incident that has not ended; `changes` finds it too. Failures that always
    come in bursts are found as incidents, as many as there are bursts.

    Parameters
    ----------
    calls
        Call frame.
    alpha
        The number of false incidents to expect in a frame whose calls fail independently at steady rates.

    Returns
    -------
    incidents
        One row per incident, by time: `start_time`, `end_time` datetime64[ms, UTC], when the first and the last failed
        call started; `recovered` bool, whether every function has completed a call since, and `recovered_time`
        datetime64[ms, UTC], when the last of them did, missing otherwise; `functions` str, those involved, most
        failures first; `failures`, `finished` int64, how many of their calls failed, of how many, in that time;
        `share` float64, failures of finished calls, and `base_rate` float64, what it is outside incidents; `groups`
        str, the failure groups as `failures` names them, most frequent first; `call_id` int64, the first failed call;
        `p_value` float64, the number of as unlikely incidents to expect by chance in the frame, at most 1.

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
    ...     incidents = cf.incidents(project.calls(start="14d"))
    >>> bool((incidents["share"] > incidents["base_rate"]).all())
    True
    """
    frame.check(calls)
    check_alpha(alpha)
    calls = _with_labels(calls)
    finished = _finished(calls)
    windows, base = _find_windows(finished, len(calls["function"].cat.categories), alpha)
    rows = [_describe(group, finished, base, calls) for group in _group(windows)]
    return _table(rows, calls)


def _with_labels(calls: pd.DataFrame) -> pd.DataFrame:
    """Give calls without a label of a function one, as summaries show it."""
    function = calls["function"]
    if not function.isna().any():
        return calls
    named = function.cat.set_categories(function.cat.categories.union(["none"], sort=False))
    return calls.assign(function=named.fillna("none"))


def _finished(calls: pd.DataFrame) -> _Finished:
    failed = calls["status"].isin(frame.FAILURES).to_numpy()
    rows = np.flatnonzero(failed | (calls["status"] == "Completed").to_numpy())
    start = to_milliseconds(calls["start_time"])[rows]
    if (start[1:] < start[:-1]).any():
        order = np.argsort(start, kind="stable")
        rows, start = rows[order], start[order]
    return _Finished(rows, start, calls["function"].cat.codes.to_numpy()[rows], failed[rows])


def _find_windows(finished: _Finished, functions: int, alpha: float) -> tuple[list[_Window], np.ndarray]:
    """Find the windows of each function, then those that only several functions together have, and the base rates."""
    order = np.argsort(finished.function, kind="stable")
    edges = np.searchsorted(finished.function[order], np.arange(functions + 1))
    threshold = math.log(_SCANS * max(len(order), 1) / alpha)
    inside, base, windows = np.zeros(len(order), dtype=bool), np.empty(functions), list[_Window]()
    for _ in range(_ROUNDS):
        outside = finished.function[~inside]
        n = np.bincount(outside, minlength=functions)
        base = (np.bincount(outside[finished.failed[~inside]], minlength=functions) + 0.5) / (n + 1)
        inside, windows = np.zeros(len(order), dtype=bool), []
        for function, (low, high) in enumerate(itertools.pairwise(edges)):
            rows = order[low:high]
            for first, last, score in _scan(finished.failed[rows], base[finished.function[rows]], threshold):
                start, end = finished.start[rows[[first, last]]].tolist()
                windows.append(_Window(start, end, score, function))
                inside[rows[first : last + 1]] = True
        if not windows:
            break
    rest = np.flatnonzero(~inside)
    together = _scan(finished.failed[rest], base[finished.function[rest]], threshold)
    times = finished.start[rest]
    windows += [_Window(int(times[first]), int(times[last]), score, None) for first, last, score in together]
    return windows, base


def _scan(failed: np.ndarray, base: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    """Find runs of calls, by first and last failure, that score above a threshold, the best of overlapping ones."""
    found: list[tuple[int, int, float]] = []
    for rate in (np.sqrt(base), (1 + base) / 2):  # mild incidents, and those in which most calls fail
        scores = np.where(failed, np.log(rate / base), np.log((1 - rate) / (1 - base)))
        total = np.cumsum(scores)
        if len(total) and (total - np.minimum.accumulate(np.append(0, total))[:-1]).max() >= threshold:
            found += _runs(np.flatnonzero(failed), scores[failed], total[failed], threshold)
    chosen: list[tuple[int, int, float]] = []
    for run in sorted(found, key=lambda run: -run[2]):
        if all(run[1] < other[0] or run[0] > other[1] for other in chosen):
            chosen.append(run)
    return chosen


def _runs(rows: np.ndarray, gains: np.ndarray, total: np.ndarray, threshold: float) -> Iterator[tuple[int, int, float]]:
    """Cut failures into runs of the greatest score; a run ends where the score has dropped by the threshold."""
    losses = np.diff(total, prepend=0) - gains
    score = best = 0.0
    first = last = 0
    for place, (loss, gain) in enumerate(zip(losses.tolist(), gains.tolist(), strict=True)):
        score += loss
        if score <= 0 or (best >= threshold and best - score >= threshold):
            if best >= threshold:
                yield int(rows[first]), int(rows[last]), best
            score, best, first = 0.0, 0.0, place
        score += gain
        if score > best:
            best, last = score, place
    if best >= threshold:
        yield int(rows[first]), int(rows[last]), best


def _group(windows: Sequence[_Window]) -> list[list[_Window]]:
    """Put the windows of one incident together: those that are mostly at the same time."""
    if not windows:
        return []
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415 - slow to import

    start, end = (np.array([getattr(window, name) for window in windows]) for name in ("start", "end"))
    shared = np.minimum.outer(end, end) - np.maximum.outer(start, start) + 1
    union = np.maximum.outer(end, end) - np.minimum.outer(start, start) + 1
    count, labels = connected_components(shared >= _ONE_INCIDENT * union)
    several = np.bincount(labels)[labels] > 1
    for place in np.flatnonzero(~several):  # a function that fails for a part of an incident of several belongs to it
        within = several & (start <= start[place]) & (end >= end[place])
        labels[place] = labels[np.argmax(within)] if within.any() else labels[place]
    groups = ([windows[place] for place in np.flatnonzero(labels == label).tolist()] for label in range(count))
    return [group for group in groups if group]


def _describe(windows: list[_Window], finished: _Finished, base: np.ndarray, calls: pd.DataFrame) -> dict[str, Any]:
    from scipy.special import bdtrc  # noqa: PLC0415 - slow to import

    start, end = min(window.start for window in windows), max(window.end for window in windows)
    low, high = np.searchsorted(finished.start, start), np.searchsorted(finished.start, end, side="right")
    function, failed = finished.function[low:high], finished.failed[low:high]
    n, failures = (np.bincount(function[rows], minlength=len(base)) for rows in (slice(None), failed))
    involved = np.isin(np.arange(len(base)), [window.function for window in windows if window.function is not None])
    if any(window.function is None for window in windows):
        involved |= (failures > 0) & (bdtrc(failures - 1.0, n, base) < _INVOLVED)
    lost = finished.rows[low:high][failed & involved[function]]
    completed = ~finished.failed[high:]
    after = [
        finished.start[high:][completed & (finished.function[high:] == code)][:1] for code in np.flatnonzero(involved)
    ]
    recovered = all(len(times) for times in after)
    names = calls["function"].cat.categories
    return {
        "start_time": start,
        "end_time": end,
        "recovered": recovered,
        "recovered_time": max(int(times[0]) for times in after) if recovered else NO_TIME,
        "functions": ", ".join(str(names[code]) for code in np.argsort(-failures, kind="stable") if involved[code]),
        "failures": len(lost),
        "finished": int(n[involved].sum()),
        "share": len(lost) / n[involved].sum(),
        "base_rate": float((base * n)[involved].sum() / n[involved].sum()),
        "lost": lost,
        "call_id": int(calls["call_id"].to_numpy()[lost[0]]),
        "p_value": min(1.0, _SCANS * len(finished.rows) * math.exp(-max(window.score for window in windows))),
    }


def _table(rows: list[dict[str, Any]], calls: pd.DataFrame) -> pd.DataFrame:
    rows = sorted(rows, key=lambda row: (row["start_time"], row["end_time"]))
    groups = failure_groups(calls.take(np.concatenate([np.empty(0, dtype="int64"), *(row["lost"] for row in rows)])))
    ends = np.cumsum([len(row["lost"]) for row in rows], dtype="int64")
    parts = np.split(groups.to_numpy(), ends[:-1]) if rows else []
    texts = {
        "functions": [row["functions"] for row in rows],
        "groups": [", ".join(pd.Series(part).value_counts(sort=True).index) for part in parts],
    }
    columns: dict[str, Any] = {}
    for name, dtype in _DTYPES.items():
        values = [row.get(name) for row in rows]
        if dtype == "time":
            columns[name] = from_epoch_ms(np.array(values, dtype="int64"))
        else:
            columns[name] = frame.text_column(texts[name]) if name in texts else pd.Series(values, dtype=dtype)
    table = pd.DataFrame(columns)
    table.attrs = dict(calls.attrs)
    return table
