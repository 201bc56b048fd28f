"""What is different about selected calls: every attribute, ranked by how far they differ from the rest."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.activity import WEEKDAYS
from callframe.analysis.failures import failure_groups, failures
from callframe.analysis.statistics import correct_p_values, wilson
from callframe.errors import ArgumentError
from callframe.formatting import format_duration
from callframe.timespan import DAY_MS, NO_TIME, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_EDGES_S = (0.1, 0.3, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 10800, 43200, 86400)
_RUNNING = (0, 1, 2, 5, 10, 20, 50, 100, 200)  # calls that run
_MAX_TEXTS = 500  # failures whose texts are compared, of the selected and of the rest each
_HOUR_MS = 3_600_000
_ALPHA = 0.05
_WORD = re.compile(r"[^\W\d_]{3,}")
_MEASURES = ("selected_share", "rest_share", "difference", "difference_low", "difference_high", "p_value")


@dataclass(frozen=True)
class _Attribute:
    """A value of each call, as the position in `labels`, -1 if missing, chosen from `choices` others."""

    name: str
    codes: np.ndarray
    labels: Sequence[str]
    ordered: bool = False
    choices: int = 0


def contrast(
    calls: pd.DataFrame, selected: pd.Series | np.ndarray | pd.DataFrame, *, logs: pd.DataFrame | None = None
) -> pd.DataFrame:
    """
    Find what is different about selected calls, such as those that failed or those of two hours.

    Every attribute is compared: function, schedule, status, hour and weekday (UTC), duration, schedule delay, failure
    group, calls that ran at the start, deployment, route of a function app, time since the last call of the function,
    and words of messages and logs. Of each, the row shows the value, or the range of values, that is most more frequent
    among the selected calls than among the rest. Failure groups and words are compared among at most 500 failures on
    either side, chosen evenly.

    The difference has Newcombe's interval of two Wilson intervals (1998, Statist. Med. 17:873, method 10). Calls of one
    hour are not independent, so counts are divided by a design effect of hours (Rao and Scott, 1992, Biometrics
    48:577). The p-value is that of Fisher's exact test, times the number of values or ranges (Bonferroni), and
    corrected over attributes (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    calls
        Call frame.
    selected
        One bool per call of `calls`, or some rows of it.
    logs
        Logs of calls, as `Project.logs(calls)` returns them, to compare their words too.

    Returns
    -------
    contrast
        One row per attribute, the largest difference first, those that may be chance last: `attribute`, `value` str;
        `selected_count`, `rest_count` int64, the calls of that value, and `selected_share`, `rest_share` float64, their
        shares; `difference`, `difference_low`, `difference_high` float64, of the shares with a 95 % interval;
        `p_value`, `p_value_corrected` float64. Attributes that are the same for all calls have no row.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `selected` does not fit `calls`, or selects none or all of it.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=20_000) as project:
    ...     calls = project.calls(start="14d")
    >>> contrast = cf.contrast(calls, calls["status"] == "Timeout")
    >>> contrast.loc[contrast["attribute"] == "function", "value"].item()
    'train-anomaly-models'
    """
    frame.check(calls)
    mask = _mask(calls, selected)
    start = to_milliseconds(calls["start_time"])
    hours = 2 * (start // _HOUR_MS - start.min() // _HOUR_MS) + ~mask  # and the side
    failed = calls["status"].isin(frame.FAILURES).to_numpy()
    chosen = np.concatenate([_evenly(np.flatnonzero(failed & side)) for side in (mask, ~mask)])
    rows = [row for attribute in _attributes(calls, start) for row in _compare(attribute, mask, hours)]
    for attribute in _failure_attributes(calls.take(chosen), mask[chosen]):
        rows += _compare(attribute, mask[chosen], hours[chosen])
    if logs is not None:
        lines = logs.groupby("call_id")["message"].agg(" ".join)
        logged = np.flatnonzero(calls["call_id"].isin(lines.index))
        texts = lines.reindex(calls["call_id"].take(logged)).tolist()
        rows += _compare(_words("log word", texts, mask[logged]), mask[logged], hours[logged])
    return _table(rows)


def _mask(calls: pd.DataFrame, selected: pd.Series | np.ndarray | pd.DataFrame) -> np.ndarray:
    """Convert what a user selected to one bool per call."""
    if isinstance(selected, pd.DataFrame):
        mask = calls.index.isin(selected.index)
    else:
        if len(selected) != len(calls):
            raise ArgumentError(f"selected has {len(selected):,} values; expected one per call, {len(calls):,}.")
        mask = np.asarray(selected.reindex(calls.index) if isinstance(selected, pd.Series) else selected)
        if mask.dtype != bool:
            raise ArgumentError(f"selected is {mask.dtype}; expected one bool per call, or rows of calls.")
    if mask.all() or not mask.any():
        raise ArgumentError(f"selected has {mask.sum():,} of {len(calls):,} calls; expected some, and some others.")
    return mask


def _attributes(calls: pd.DataFrame, start: np.ndarray) -> Iterator[_Attribute]:
    """Find the values of every attribute that all calls have."""
    function = calls["function"].cat
    codes, labels = function.codes.to_numpy(), [str(name) for name in function.categories]
    yield _Attribute("function", codes, labels)
    schedule, schedules = pd.factorize(calls["schedule_id"])
    yield _Attribute("schedule", schedule + 1, ["no schedule", *map(str, schedules)])
    yield _Attribute("status", calls["status"].cat.codes.to_numpy(), list(calls["status"].cat.categories))
    yield _Attribute(
        "hour", start // _HOUR_MS % 24, [f"{hour:02d}:00 to {hour:02d}:59" for hour in range(24)], ordered=True
    )
    yield _Attribute("weekday", (start // DAY_MS + 3) % 7, WEEKDAYS, ordered=True)
    yield _binned("duration", to_milliseconds(calls["duration"]))
    yield _binned("schedule delay", to_milliseconds(calls["schedule_delay"]))
    order = np.argsort(start, kind="stable")
    by_function = order[np.argsort(codes[order], kind="stable")]
    gap = np.empty_like(start)
    gap[by_function] = np.diff(start[by_function], prepend=0)
    gap[by_function[np.flatnonzero(np.diff(codes[by_function], prepend=-1))]] = NO_TIME
    yield _binned("time since the last call", gap)
    end = np.sort(to_milliseconds(calls["end_time"]))
    running = np.empty_like(start)
    running[order] = np.searchsorted(start[order], start[order]) - np.searchsorted(
        end[np.searchsorted(end, NO_TIME, side="right") :], start[order], side="right"
    )
    steps = [f"{low} to {high - 1}" if high - low > 1 else str(low) for low, high in itertools.pairwise(_RUNNING)]
    position = np.searchsorted(_RUNNING, np.maximum(running, 0), side="right") - 1
    yield _Attribute("calls running at the start", position, [*steps, f"{_RUNNING[-1]} or more"], ordered=True)
    deployment, ids = pd.factorize(calls["function_id"])
    owner = np.empty(len(ids), dtype="int64")
    owner[deployment] = codes
    several = np.bincount(owner)[owner] > 1
    names = [f"{labels[code]} {function_id}" for code, function_id in zip(owner, ids, strict=True)]
    yield _Attribute("deployment", np.where(several[deployment], deployment, -1), names)
    if "route" in calls:
        route, routes = pd.factorize(calls["route"])
        yield _Attribute("route", route, list(routes))


def _binned(name: str, milliseconds: np.ndarray) -> _Attribute:
    edges = np.array([NO_TIME + 1, *(1000 * second for second in _EDGES_S)])
    texts = [format_duration(pd.Timedelta(edge, "s")).replace(".0 ", " ") for edge in _EDGES_S]
    labels = [
        f"under {texts[0]}",
        *(f"{low} to {high}" for low, high in itertools.pairwise(texts)),
        f"over {texts[-1]}",
    ]
    return _Attribute(name, np.searchsorted(edges, milliseconds, side="right") - 1, labels, ordered=True)


def _evenly(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= _MAX_TEXTS:
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, _MAX_TEXTS).astype("int64")]
    return chosen


def _failure_attributes(sample: pd.DataFrame, mask: np.ndarray) -> Iterator[_Attribute]:
    """Find the group and the words of failures."""
    groups, table = failure_groups(sample), failures(sample)
    names = dict(zip(table["group"], table["label"], strict=True))
    codes, ids = pd.factorize(groups)
    yield _Attribute("failure group", codes, [names[group] for group in ids])
    yield _words("message word", sample["error_message"].fillna("").tolist(), mask)


def _words(name: str, texts: Sequence[str], mask: np.ndarray) -> _Attribute:
    """Find the word that differs most: which calls have it, chosen from how many words."""
    words = [set(_WORD.findall(text)) for text in texts]
    sides = [Counter(itertools.chain(*itertools.compress(words, side.tolist()))) for side in (mask, ~mask)]
    sizes = [max(int(side.sum()), 1) for side in (mask, ~mask)]
    word = max(sides[0], key=lambda word: (sides[0][word] / sizes[0] - sides[1][word] / sizes[1], word), default="")
    codes = np.array([0 if word in own else -1 for own in words], dtype="int64")
    return _Attribute(name, codes, [word], choices=len(sides[0] | sides[1]))


def _compare(attribute: _Attribute, mask: np.ndarray, hours: np.ndarray) -> list[dict[str, Any]]:
    """Compare the value, or the range of values, of which the selected calls have most more; no row without any."""
    n = np.array([mask.sum(), len(mask) - mask.sum()])
    codes, size = attribute.codes, len(attribute.labels)
    counts = np.bincount(codes[mask] + 1, minlength=size + 1)[1:]
    others = np.bincount(codes + 1, minlength=size + 1)[1:] - counts
    present = int(((counts + others) > 0).sum())
    if not n.all() or (counts + others).max(initial=0) in (0, len(mask)):
        return []
    low, high = _most_different(counts / n[0] - others / n[1], ordered=attribute.ordered)
    inside = (codes >= low) & (codes < high)
    value = np.array([counts[low:high].sum(), others[low:high].sum()])
    scaled = 1 / _design_effect(inside, hours, value, n)
    share, least, most = wilson(value * scaled, n * scaled)
    chance = _fisher(value * scaled, n * scaled)
    choices = attribute.choices or (present * (present + 1) // 2 if attribute.ordered else present)
    return [
        {
            "attribute": attribute.name,
            "value": _label(attribute, low, high),
            "selected_count": int(value[0]),
            "rest_count": int(value[1]),
            "selected_share": share[0],
            "rest_share": share[1],
            "difference": share[0] - share[1],
            "difference_low": share[0] - share[1] - math.hypot(share[0] - least[0], most[1] - share[1]),
            "difference_high": share[0] - share[1] + math.hypot(most[0] - share[0], share[1] - least[1]),
            "p_value": min(1.0, chance * choices),
        }
    ]


def _most_different(differences: np.ndarray, *, ordered: bool) -> tuple[int, int]:
    """Find the value, or the range of values, with the largest sum of differences: first and end."""
    if not ordered:
        best = int(differences.argmax())
        return best, best + 1
    total = np.append(0, np.cumsum(differences - 1e-9))  # of equal sums the shortest range
    sums = np.triu(total[None, :] - total[:, None], 1) - np.tril(np.ones((len(total), len(total))), 0)
    low, high = np.unravel_index(sums.argmax(), sums.shape)
    return int(low), int(high)


def _label(attribute: _Attribute, low: int, high: int) -> str:
    """Name a value or a range of values: `under 5 s`, `5 s to 1 min`, `over 1 min`."""
    first, last = str(attribute.labels[low]), str(attribute.labels[high - 1])
    if high - low == 1:
        return first
    begin, end = first.split(" to ")[0], last.rsplit(" to ", maxsplit=1)[-1]  # noqa: PLC0207 - its start, its end
    if first.startswith("under "):
        return "any" if last.startswith("over ") else f"under {end}"
    if last.startswith("over "):
        return f"over {begin}"
    return f"{begin} or more" if last.endswith(" or more") else f"{begin} to {end}"


def _design_effect(inside: np.ndarray, hours: np.ndarray, value: np.ndarray, n: np.ndarray) -> float:
    """Estimate how much more the difference varies between hours than that of independent calls would."""
    share = value / n
    variance = float((share * (1 - share) / n).sum())
    every = np.bincount(hours, minlength=int(hours.max()) // 2 * 2 + 2)
    own = np.bincount(hours[inside], minlength=len(every))
    residuals = ((own.reshape(-1, 2) - share * every.reshape(-1, 2)) / n * [1, -1]).sum(axis=1)
    count = int((every.reshape(-1, 2).sum(axis=1) > 0).sum())
    if count < 2 or not variance:  # noqa: PLR2004 - to vary
        return 1.0
    return max(1.0, float((residuals**2).sum()) * count / (count - 1) / variance)


def _fisher(value: np.ndarray, n: np.ndarray) -> float:
    """Find the chance of so large a share of the selected, or larger, with counts rounded to integers."""
    from scipy.stats import hypergeom  # noqa: PLC0415 - slow to import

    n = np.maximum(np.round(n), 1).astype("int64")
    value = np.minimum(np.round(value).astype("int64"), n)
    return float(min(1.0, 2 * hypergeom.sf(value[0] - 1, n.sum(), value.sum(), n[0])))


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {name: frame.text_column([row[name] for row in rows]) for name in ("attribute", "value")}
    for name in ("selected_count", "rest_count"):
        columns[name] = pd.Series([row[name] for row in rows], dtype="int64")
    for name in _MEASURES:
        columns[name] = pd.Series([row[name] for row in rows], dtype="float64")
    table = pd.DataFrame(columns)
    table["p_value_corrected"] = correct_p_values(table["p_value"].to_numpy())
    evident = table["p_value_corrected"] <= _ALPHA
    order = np.lexsort((-table["difference"], ~evident))
    return table.take(order).reset_index(drop=True)
