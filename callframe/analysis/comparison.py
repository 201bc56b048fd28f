"""Whether functions became slower or fail more often: before and after a deploy, or any other moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from callframe import frame, timespan
from callframe.analysis.statistics import Curve, curve, design_effect, wilson
from callframe.completeness import Coverage, observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import RunLimit
from callframe.timespan import DAY_MS, NO_TIME, to_milliseconds, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callframe.timespan import TimeLike

_Numbers: TypeAlias = "dict[str, np.ndarray]"

DURATION_VERDICTS = ("slower", "faster", "no evidence", "too few calls")
"""What can be said about durations."""

FAILURE_VERDICTS = ("more failures", "fewer failures", "no evidence", "too few calls")
"""What can be said about failure rates."""

DEPLOY = "deploy"

_DRAWS = 4_000


@dataclass(frozen=True)
class _Bounds:
    """What it takes for a verdict, and where random draws start."""

    alpha: float
    min_calls: int
    min_ratio: float
    min_difference: float
    seed: int


def compare(
    before: pd.DataFrame,
    after: pd.DataFrame | None = None,
    *,
    at: TimeLike | None = None,
    alpha: float = 0.05,
    min_calls: int = 30,
    min_ratio: float = 1.1,
    min_difference: float = 0.02,
    seed: int = 0,
) -> pd.DataFrame:
    """
    Compare durations and failure rates of each function before and after.

    Give two call frames, or one and the moment that divides it: `compare(calls, at="2026-10-29T12:00")`. With
    `compare(calls)` each redeployed function is divided by its own deploy, and the others are left out.

    Durations are of completed work. A Timeout counts as longer than any of it; a Running call as longer than it has
    run so far, unless it is stuck, Running for over 15 minutes. Failed calls end for another reason and are left out,
    as are durations that are not known. The median is the smallest that at least half of the work does not exceed (by
    Kaplan-Meier where calls are Running). The ratio has a bootstrap interval (Efron, 1979, Ann. Statist. 7:1): medians
    of resamples are drawn from their exact distribution (Maritz and Jarrett, 1978, JASA 73:194), which takes no longer
    for many calls. In the ratio, a median below 1 ms counts as 1 ms, for the clock tells no less. The p-value is that
    of the log-rank test (Mantel, 1966, Cancer Chemother. Rep. 50:163).

    A Timeout is a failure; Running calls are in no rate. The difference of the rates has Newcombe's interval of two
    Wilson intervals (Newcombe, 1998, Statist. Med. 17:873, method 10), and its p-value is that of Fisher's exact test.

    Both tests take calls for independent, and they are not: an outage fails many in a row, a slow night slows many.
    So the calls are counted down by a design effect, estimated from the variance between days and between blocks of
    consecutive calls and from the correlation of neighbours (Rao and Scott, 1992, Biometrics 48:577): an outage of 12
    calls weighs about as much as one independent failure. What the p-values still ignore: dependence over more than
    a sixteenth of the calls, such as a bad week in a month; an outage that fills most of a side, which looks like a
    change that lasts; and causes other than the deploy, such as other input or other hours of the day.

    Verdicts hold over all functions: p-values are corrected together, of durations and of failures, by the method of
    Benjamini and Hochberg (1995, JRSS B 57:289).

    Parameters
    ----------
    before
        Call frame; without `after`, the calls of both sides.
    after
        Call frame of the calls after; neither its functions nor its window need be those of `before`.
    at
        What divides `before`: calls that start at it are after. A timestamp, an ISO 8601 string (UTC without a time
        zone), or an age such as `"2d"`, counted from when the calls were fetched. By default, or `"deploy"`, the last
        deploy of each function within the window, known where one label had several function ids: those of the newest
        id are after.
    alpha
        The corrected p-value from which on there is evidence.
    min_calls
        The fewest calls a side that allow a verdict: completed and timed out ones for durations, finished ones for
        failures.
    min_ratio
        The smallest ratio that matters: from 1.1 on a function is slower, from 1 / 1.1 down it is faster.
    min_difference
        The smallest difference of failure rates that matters.
    seed
        Of the random draws: the same one gives the same interval.

    Returns
    -------
    comparison
        One row a function, those with the strongest evidence first; `function` str is the index. `at`
        datetime64[ms, UTC], missing for two frames. For durations: `completed_before`, `completed_after` int64;
        `duration_p50_before`, `duration_p50_after` timedelta64[ms], missing where half of the work took longer than any
        that was seen to end, and then `duration_p50_before_above`, `duration_p50_after_above` with the longest time
        seen, missing otherwise; `duration_ratio`, `duration_ratio_low`, `duration_ratio_high` float64, where the ratio
        is missing with a median and the interval is then one-sided; `duration_p_value`, `duration_p_value_corrected`;
        `duration_verdict` category: slower, faster, no evidence, too few calls. For failures: `finished_before`,
        `finished_after` int64; `failure_rate_before`, `failure_rate_after`; `failure_rate_change`,
        `failure_rate_change_low`, `failure_rate_change_high`; `failure_p_value`, `failure_p_value_corrected` float64;
        `failure_verdict` category: more failures, fewer failures, no evidence, too few calls. p-values are missing
        where there are too few calls. A verdict other than these two also needs an interval without 1, or without 0.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `at` cannot be read, or is given with `after`; or no deploy times are known.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=20_000) as project:
    ...     comparison = cf.compare(project.calls(start="14d"))
    >>> comparison["duration_verdict"].to_dict()
    {'ingest-sap-orders': 'slower'}
    """
    bounds = _Bounds(alpha, min_calls, min_ratio, min_difference, seed)
    _check(bounds)
    frame.check(before)
    if after is not None:
        frame.check(after)
        if at is not None:
            raise ArgumentError("Both after and at are given; give two frames, or one and what divides it.")
        both, names = _together(before, after)
        return _table(both, names, {}, bounds)
    both, names = _together(before)
    moments = _deploys(before, both, names) if at is None or at == DEPLOY else _moment(before, both, names, at)
    return _table(both, names, moments, bounds)


def _check(bounds: _Bounds) -> None:
    if not 0 < bounds.alpha < 1:
        raise ArgumentError(f"alpha={bounds.alpha!r}; expected a probability between 0 and 1.")
    if bounds.min_calls < 1:
        raise ArgumentError(f"min_calls={bounds.min_calls!r}; expected at least 1.")
    if bounds.min_ratio < 1:
        raise ArgumentError(
            f"min_ratio={bounds.min_ratio!r}; expected at least 1, which means that any change matters."
        )
    if bounds.min_difference < 0:
        raise ArgumentError(f"min_difference={bounds.min_difference!r}; expected at least 0.")


def _together(*frames: pd.DataFrame) -> tuple[_Numbers, list[str]]:
    """Put what is compared of each call into columns of numbers, and name the functions."""
    categories = [calls["function"].cat.remove_unused_categories().cat.categories for calls in frames]
    names = sorted({str(name) for found in categories for name in found})
    parts = [_numbers(calls, names) | {"later": np.full(len(calls), side == 1)} for side, calls in enumerate(frames)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, names


def _numbers(calls: pd.DataFrame, names: list[str]) -> _Numbers:
    function = calls["function"].cat
    places = pd.Index(names).get_indexer(pd.Index(function.categories.astype(str)))
    status = calls["status"]
    completed, timeout, running = ((status == one).to_numpy() for one in ("Completed", "Timeout", "Running"))
    start = to_milliseconds(calls["start_time"])
    took = to_milliseconds(calls["duration"])
    age = np.maximum(observed_until_ms(calls) - start, 0)
    known = took != NO_TIME
    stuck = running & (age > RunLimit().longest_ms)
    return {
        "function": np.append(places, -1)[function.codes.to_numpy()],
        "function_id": calls["function_id"].to_numpy(),
        "start": start,
        "day": start // DAY_MS,
        "work": np.select([timeout, running], [np.inf, age.astype("float64")], took.astype("float64")),
        "seen": np.where(running, age, np.where(known, took, 0)),
        "in_durations": timeout | (completed & known) | (running & ~stuck),
        "completed": completed,
        "running": running,
        "failed": timeout | (status == "Failed").to_numpy(),
    }


def _moment(calls: pd.DataFrame, both: _Numbers, names: list[str], at: Any) -> dict[int, int]:
    """Divide all functions at one moment."""
    time_ms = timespan.parse_time(at, name="at", now_ms=observed_until_ms(calls))
    both["later"] = both["start"] >= time_ms
    return dict.fromkeys(range(len(names)), time_ms)


def _deploys(calls: pd.DataFrame, both: _Numbers, names: list[str]) -> dict[int, int]:
    """Divide each function that was redeployed at its last deploy, by the ids, and drop the others."""
    known = Coverage.of(calls)
    if known is None:
        raise ArgumentError(
            "The frame carries no deploy times, as those read from CSV do not; give at=, the moment of the deploy."
        )
    newest = {names.index(name): found for name, found in _newest(known) if name in names}
    ids = np.array([newest.get(place, (0, 0))[0] for place in range(len(names))] + [0])
    both["later"] = both["function_id"] == ids[both["function"]]
    both["function"] = np.where(np.isin(both["function"], list(newest)), both["function"], -1)
    return {place: created_ms for place, (_, created_ms) in newest.items()}


def _newest(known: Coverage) -> Iterator[tuple[str, tuple[int, int]]]:
    """Find the newest id of each label, if it was created in the window and is not the only one."""
    deployments: dict[str, list[tuple[int | None, int]]] = {}
    for function in known.functions:
        deployments.setdefault(function.function, []).append((function.created_ms, function.function_id))
    for label, found in sorted(deployments.items()):
        dated = [(created_ms, function_id) for created_ms, function_id in found if created_ms is not None]
        if len(found) < 2 or not dated:  # noqa: PLR2004 - one id is one deploy
            continue
        created_ms, function_id = max(dated)
        if known.window is None or known.window.start_ms <= created_ms < known.window.end_ms:
            yield label, (function_id, created_ms)


_COLUMNS = {
    "at": "time",
    "completed_before": "int64",
    "completed_after": "int64",
    "duration_p50_before": "span",
    "duration_p50_after": "span",
    "duration_p50_before_above": "span",
    "duration_p50_after_above": "span",
    "duration_ratio": "float64",
    "duration_ratio_low": "float64",
    "duration_ratio_high": "float64",
    "duration_p_value": "float64",
    "duration_p_value_corrected": "float64",
    "duration_verdict": "verdict",
    "finished_before": "int64",
    "finished_after": "int64",
    "failure_rate_before": "float64",
    "failure_rate_after": "float64",
    "failure_rate_change": "float64",
    "failure_rate_change_low": "float64",
    "failure_rate_change_high": "float64",
    "failure_p_value": "float64",
    "failure_p_value_corrected": "float64",
    "failure_verdict": "verdict",
}


def _table(both: _Numbers, names: list[str], moments: dict[int, int], bounds: _Bounds) -> pd.DataFrame:
    rows = {
        place: _durations(one, bounds) | _failures(one, bounds) | {"at": moments.get(place)}
        for place, one in _by_function(both)
    }
    index = pd.Index([names[place] for place in rows], dtype=frame.TEXT, name="function")
    columns = {name: _column([row.get(name) for row in rows.values()], kind) for name, kind in _COLUMNS.items()}
    found = pd.DataFrame({name: column.set_axis(index) for name, column in columns.items()}, index=index)
    return _judge(found, bounds)


def _by_function(both: _Numbers) -> Iterator[tuple[int, _Numbers]]:
    """Give the calls of each function, those before first, in order of start."""
    order = np.argsort(both["start"], kind="stable")
    side = (both["function"] * 2 + both["later"])[order].astype("int32")
    order = order[np.argsort(side, kind="stable")]
    functions = both["function"][order]
    for place in np.unique(functions[functions >= 0]).tolist():
        rows = order[np.searchsorted(functions, place) : np.searchsorted(functions, place, side="right")]
        yield place, {name: column[rows] for name, column in both.items()}


def _of(one: _Numbers, rows: np.ndarray) -> _Numbers:
    return {name: column[rows] for name, column in one.items()}


def _column(values: list[Any], kind: str) -> pd.Series[Any]:
    """Make a typed column, None as missing."""
    if kind == "time":
        return frame.time_column(values)
    if kind == "span":
        spans = [NO_TIME if value is None else int(value) for value in values]
        return pd.Series(to_timedelta(np.array(spans, dtype="int64")))
    return pd.Series(values, dtype="float64" if kind == "verdict" else kind)


def _durations(one: _Numbers, bounds: _Bounds) -> dict[str, float | None]:
    """Compare the durations of one function."""
    completed, later = one["completed"], one["later"]
    found: dict[str, float | None] = {
        "completed_before": int((completed & ~later).sum()),
        "completed_after": int((completed & later).sum()),
    }
    work = _of(one, one["in_durations"])
    later, days, times, ended = (work[name] for name in ("later", "day", "work", "completed"))
    sides = [_Side(curve(times[side], ended[side]), int(work["seen"][side].max(initial=0))) for side in (~later, later)]
    for name, side in zip(("before", "after"), sides, strict=True):
        found |= {f"duration_p50_{name}": side.median, f"duration_p50_{name}_above": side.median_above}
    if later.all() or not later.any():
        return found
    if all(side.median is not None for side in sides):
        found["duration_ratio"] = _ratio(sides[1].at_least, sides[0].at_least)
    known = ~work["running"]
    if min((known & later).sum(), (known & ~later).sum()) >= bounds.min_calls:
        low, high = _ratio_interval(work, sides, bounds.seed)
        found |= {"duration_ratio_low": low, "duration_ratio_high": high}
        found["duration_p_value"] = _log_rank(times, ended, later, days)
    return found


@dataclass(frozen=True)
class _Side:
    """The durations before, or those after: their curve, and the longest time seen."""

    curve: Curve
    seen: int

    @property
    def reached(self) -> float:
        return float(self.curve.quantile(0.5))

    @property
    def median(self) -> float | None:
        return self.reached if np.isfinite(self.reached) else None

    @property
    def median_above(self) -> float | None:
        return None if np.isfinite(self.reached) or not self.seen else self.seen

    @property
    def at_least(self) -> float:
        return self.reached if np.isfinite(self.reached) else self.seen


def _ratio(after: Any, before: Any) -> Any:
    """Divide durations in milliseconds; the clock does not tell less than one."""
    return np.maximum(after, 1) / np.maximum(before, 1)


def _ratio_interval(work: _Numbers, sides: list[_Side], seed: int) -> tuple[float, float]:
    """Draw medians of resamples; where one lies beyond all that was seen, take it for what widens the interval."""
    times, later, known = work["work"], work["later"], ~work["running"]
    middle = curve(times, known & np.isfinite(times)).quantile(0.5)
    effect = design_effect((times > middle).astype("float64"), later, work["day"])
    rng = np.random.default_rng(seed)
    drawn = [
        _medians(side.curve, (known & half).sum() / effect, rng)
        for side, half in zip(sides, (~later, later), strict=True)
    ]
    least = [np.where(np.isinf(one), side.seen, one) for one, side in zip(drawn, sides, strict=True)]
    low = np.quantile(_ratio(least[1], drawn[0]), 0.025, method="inverted_cdf")
    high = np.quantile(_ratio(drawn[1], least[0]), 0.975, method="inverted_cdf")
    return float(low), float(high)


def _medians(known: Curve, n: float, rng: np.random.Generator) -> np.ndarray:
    """
    Draw medians of resamples.

    The k-th smallest of n uniform numbers follows Beta(k, n - k + 1), and a resample is the curve's inverse of such.
    """
    n = max(1, round(n))
    rank = -(-n // 2)
    return known.quantile(rng.beta(rank, n - rank + 1, _DRAWS))


def _log_rank(times: np.ndarray, ended: np.ndarray, later: np.ndarray, days: np.ndarray) -> float:
    """
    Test whether work ends equally soon on both sides.

    Not by scipy.stats.logrank, for its integers overflow from a million calls on, and because each call's own part is
    needed here: whether it ended less the hazard it went through, of which the statistic is the sum after.
    """
    moments, deaths = np.unique(times[ended], return_counts=True)
    every, after = np.sort(times), np.sort(times[later])
    at_risk = len(every) - np.searchsorted(every, moments).astype("float64")
    share = (len(after) - np.searchsorted(after, moments)) / at_risk
    hazard = np.append(0, np.cumsum(deaths / at_risk))
    scores = ended - hazard[np.searchsorted(moments, times, side="right")]
    alone = at_risk > 1
    variance = share * (1 - share) * deaths * (at_risk - deaths) / np.where(alone, at_risk - 1, 1)
    total = float(variance[alone].sum())
    if total <= 0:
        return 1.0
    z = abs(float(scores[later].sum())) / math.sqrt(total)
    return math.erfc(z / math.sqrt(2 * design_effect(scores, later, days, z)))


def _failures(one: _Numbers, bounds: _Bounds) -> dict[str, float | None]:
    """Compare the failure rates of one function."""
    one = _of(one, one["completed"] | one["failed"])
    failed, later = one["failed"], one["later"]
    n = np.array([(~later).sum(), later.sum()])
    failures = np.array([(failed & ~later).sum(), (failed & later).sum()])
    rate = wilson(failures, n)[0]
    found: dict[str, float | None] = {
        "finished_before": int(n[0]),
        "finished_after": int(n[1]),
        "failure_rate_before": rate[0],
        "failure_rate_after": rate[1],
        "failure_rate_change": rate[1] - rate[0],
    }
    if n.min() < bounds.min_calls:
        return found
    from scipy.special import ndtri  # noqa: PLC0415 - slow to import, and not needed to fetch

    effect = design_effect(failed.astype("float64"), later, one["day"])
    rate, low, high = wilson(failures / effect, n / effect)
    z = -float(ndtri(_fisher(failures, n) / 2))
    effect = max(effect, design_effect(failed.astype("float64"), later, one["day"], z))
    return found | {
        "failure_rate_change_low": rate[1] - rate[0] - math.hypot(rate[1] - low[1], high[0] - rate[0]),
        "failure_rate_change_high": rate[1] - rate[0] + math.hypot(high[1] - rate[1], rate[0] - low[0]),
        "failure_p_value": _fisher(failures / effect, n / effect),
    }


def _fisher(failures: np.ndarray, n: np.ndarray) -> float:
    """Test whether two rates differ; counts are taken to be whole."""
    from scipy.stats import fisher_exact  # noqa: PLC0415 - slow to import, and not needed to fetch

    of = np.maximum(np.round(n), 1).astype("int64")
    counted = np.minimum(np.round(failures).astype("int64"), of)
    return min(1.0, float(fisher_exact([counted, of - counted]).pvalue))


def _judge(found: pd.DataFrame, bounds: _Bounds) -> pd.DataFrame:
    """Correct the p-values over all tests, say what they amount to, and put the strongest evidence first."""
    kinds = ["duration", "failure"]
    corrected = _corrected(found[[f"{kind}_p_value" for kind in kinds]].to_numpy(dtype="float64"))
    evident = corrected <= bounds.alpha
    for kind, values in zip(kinds, corrected.T, strict=True):
        found[f"{kind}_p_value_corrected"] = values
    ratio = found["duration_ratio"]
    low, high = found["duration_ratio_low"], found["duration_ratio_high"]
    # Where a median is beyond all that was seen, so is the ratio: the bound that is known stands for it.
    least, most = ratio.fillna(low.where(np.isinf(high))), ratio.fillna(high.where(low < 1))
    found["duration_verdict"] = _verdict(
        evident[:, 0] & (low > 1) & (least >= bounds.min_ratio),
        evident[:, 0] & (high < 1) & (most <= 1 / bounds.min_ratio),
        found["duration_p_value"].isna(),
        DURATION_VERDICTS,
    )
    change = found["failure_rate_change"]
    found["failure_verdict"] = _verdict(
        evident[:, 1] & (found["failure_rate_change_low"] > 0) & (change >= bounds.min_difference),
        evident[:, 1] & (found["failure_rate_change_high"] < 0) & (change <= -bounds.min_difference),
        found["failure_p_value"].isna(),
        FAILURE_VERDICTS,
    )
    strongest = pd.Series(np.fmin(corrected[:, 0], corrected[:, 1]), index=range(len(found)))
    return found.iloc[strongest.sort_values(kind="stable").index]


def _verdict(worse: Any, better: Any, too_few: Any, words: tuple[str, ...]) -> pd.Categorical[Any]:
    codes = np.select([too_few, worse, better], [3, 0, 1], default=2)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Series(words, dtype=frame.TEXT)))


def _corrected(p_values: np.ndarray) -> np.ndarray:
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - slow to import, and not needed to fetch

    known = ~np.isnan(p_values)
    corrected = np.full(p_values.shape, np.nan)
    if known.any():
        corrected[known] = false_discovery_control(p_values[known], method="bh")
    return corrected
