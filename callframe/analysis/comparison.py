"""Whether functions became slower or fail more often, after a deploy or any other time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from callframe import frame, timespan
from callframe.analysis.kaplan_meier import Distribution, estimate_distribution
from callframe.analysis.statistics import design_effect, wilson
from callframe.completeness import Coverage, observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import RunLimit
from callframe.timespan import DAY_MS, NO_TIME, to_milliseconds, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callframe.timespan import TimeLike

_Columns: TypeAlias = "dict[str, np.ndarray]"

DURATION_VERDICTS = ("slower", "faster", "no evidence", "too few calls")
FAILURE_VERDICTS = ("more failures", "fewer failures", "no evidence", "too few calls")

_DRAWS = 4_000
_DTYPES = {
    "at": "datetime64[ms, UTC]",
    "completed_before": "int64",
    "completed_after": "int64",
    "duration_p50_before": "timedelta64[ms]",
    "duration_p50_after": "timedelta64[ms]",
    "duration_p50_before_above": "timedelta64[ms]",
    "duration_p50_after_above": "timedelta64[ms]",
    "duration_ratio": "float64",
    "duration_ratio_low": "float64",
    "duration_ratio_high": "float64",
    "duration_p_value": "float64",
    "duration_p_value_corrected": "float64",
    "duration_verdict": "float64",  # until there are verdicts
    "finished_before": "int64",
    "finished_after": "int64",
    "failure_rate_before": "float64",
    "failure_rate_after": "float64",
    "failure_rate_change": "float64",
    "failure_rate_change_low": "float64",
    "failure_rate_change_high": "float64",
    "failure_p_value": "float64",
    "failure_p_value_corrected": "float64",
    "failure_verdict": "float64",
}


@dataclass(frozen=True)
class _Options:
    """The thresholds of verdicts, and the seed of random draws."""

    alpha: float
    min_calls: int
    min_ratio: float
    min_difference: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ArgumentError(f"alpha={self.alpha!r}; expected a probability between 0 and 1.")
        if self.min_calls < 1:
            raise ArgumentError(f"min_calls={self.min_calls!r}; expected at least 1.")
        if self.min_ratio < 1:
            raise ArgumentError(f"min_ratio={self.min_ratio!r}; expected at least 1, with which any change matters.")
        if self.min_difference < 0:
            raise ArgumentError(f"min_difference={self.min_difference!r}; expected at least 0.")


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
    Compare durations and failure rates of each function before and after a time.

    Give two call frames, or one and the time at which to split it: `compare(calls, at="2026-10-29T12:00")`. Without a
    time, `compare(calls)` splits each function that was redeployed at its own deploy, and leaves out the others.

    Durations are of completed work. The work of a Timeout counts as longer than any of it, that of a Running call as
    longer than its age, unless it is stuck, Running for more than 15 minutes. Failed calls, and calls without a
    duration, are left out. The median is the shortest duration by which half of the work is done (by Kaplan-Meier where
    calls are Running). Its ratio has a bootstrap interval (Efron, 1979, Ann. Statist. 7:1): medians of resamples are
    drawn from their exact distribution (Maritz and Jarrett, 1978, JASA 73:194), which takes no longer for many calls.
    In the ratio, a median below 1 ms, the resolution of the clock, counts as 1 ms. The p-value is that of the log-rank
    test (Mantel, 1966, Cancer Chemother. Rep. 50:163).

    A Timeout is a failure; Running calls are in no rate. The difference of the rates has Newcombe's interval of two
    Wilson intervals (Newcombe, 1998, Statist. Med. 17:873, method 10), and its p-value is that of Fisher's exact test.

    Both tests assume that calls are independent, and they are not: an outage fails many in a row, a slow night slows
    many. So the number of calls is reduced by a design effect, estimated from the variance between days and between
    blocks of consecutive calls and from the correlation of neighbours (Rao and Scott, 1992, Biometrics 48:577): an
    outage of 12 calls has about the weight of one independent failure. The p-values still ignore dependence over more
    than a sixteenth of the calls, such as a bad week in a month; an outage that fills most of a side, which looks like
    a lasting change; and causes other than the deploy, such as other input or other hours of the day.

    Verdicts hold over all functions: the p-values of durations and failures are corrected together, by the method of
    Benjamini and Hochberg (1995, JRSS B 57:289).

    Parameters
    ----------
    before
        Call frame; without `after`, the calls of both sides.
    after
        Call frame of the calls after; its functions and its window may differ from those of `before`.
    at
        The time at which to split `before`; calls that start at it are after. A timestamp, an ISO 8601 string (UTC
        without a time zone), or an age such as `"2d"`, counted from when the calls were fetched. By default, or with
        `"deploy"`, the last deploy of each function within the window, which is known where one label had several
        function ids: the calls of the newest id are after.
    alpha
        The corrected p-value up to which there is evidence.
    min_calls
        The fewest calls per side for a verdict: Completed and Timeout ones for durations, finished ones for failures.
    min_ratio
        The smallest ratio that matters: a function is slower from 1.1 up, and faster from 1 / 1.1 down.
    min_difference
        The smallest difference of failure rates that matters.
    seed
        Seed of the random draws: the same seed gives the same interval.

    Returns
    -------
    comparison
        One row per function, with `function` str as the index, the strongest evidence first. `at` datetime64[ms, UTC],
        missing for two frames. For durations: `completed_before`, `completed_after` int64; `duration_p50_before`,
        `duration_p50_after` timedelta64[ms], missing where half of the work took longer than any that was observed to
        end, and then `duration_p50_before_above`, `duration_p50_after_above` with the longest time observed, missing
        otherwise; `duration_ratio`, `duration_ratio_low`, `duration_ratio_high` float64, where the ratio is missing
        with a median and the interval is then one-sided; `duration_p_value`, `duration_p_value_corrected`;
        `duration_verdict` category: slower, faster, no evidence, too few calls. For failures: `finished_before`,
        `finished_after` int64; `failure_rate_before`, `failure_rate_after`; `failure_rate_change`,
        `failure_rate_change_low`, `failure_rate_change_high`; `failure_p_value`, `failure_p_value_corrected` float64;
        `failure_verdict` category: more failures, fewer failures, no evidence, too few calls. p-values are missing
        where there are too few calls. The verdict of a change also requires an interval without 1, or without 0.

    Raises
    ------
    FrameError
        `before` or `after` is not a call frame.
    ArgumentError
        An option is invalid, `at` is given with `after`, or the times of deploys are not known.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=20_000) as project:
    ...     comparison = cf.compare(project.calls(start="14d"))
    >>> comparison["duration_verdict"].to_dict()
    {'ingest-sap-orders': 'slower'}
    """
    options = _Options(alpha, min_calls, min_ratio, min_difference, seed)
    frame.check(before)
    if after is not None:
        frame.check(after)
        if at is not None:
            raise ArgumentError("Both after and at are given; give two frames, or one and the time to split it.")
        return _table(*_columns(before, after), {}, options)
    columns, names = _columns(before)
    if at is None or at == "deploy":
        times = _split_at_deploys(before, columns, names)
    else:
        time_ms = timespan.parse_time(at, name="at", now_ms=observed_until_ms(before))
        columns["is_after"] = columns["start"] >= time_ms
        times = dict.fromkeys(range(len(names)), time_ms)
    return _table(columns, names, times, options)


def _columns(*frames: pd.DataFrame) -> tuple[_Columns, list[str]]:
    """Convert what is compared of each call into arrays, and list the functions, which these hold by position."""
    categories = [calls["function"].cat.remove_unused_categories().cat.categories for calls in frames]
    names = sorted({str(name) for index in categories for name in index})
    parts = [_columns_of(calls, names) | {"is_after": np.full(len(calls), k == 1)} for k, calls in enumerate(frames)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, names


def _columns_of(calls: pd.DataFrame, names: list[str]) -> _Columns:
    function = calls["function"].cat
    positions = pd.Index(names).get_indexer(pd.Index(function.categories.astype(str)))
    completed, timeout, running = (
        (calls["status"] == status).to_numpy() for status in ("Completed", "Timeout", "Running")
    )
    start, duration = to_milliseconds(calls["start_time"]), to_milliseconds(calls["duration"])
    age = np.maximum(observed_until_ms(calls) - start, 0)
    has_duration, is_stuck = duration != NO_TIME, running & (age > RunLimit().longest_ms)
    return {
        "function": np.append(positions, -1)[function.codes.to_numpy()],
        "function_id": calls["function_id"].to_numpy(),
        "start": start,
        "day": start // DAY_MS,
        "time": np.select([timeout, running], [np.inf, age.astype("float64")], duration.astype("float64")),
        "observed": np.where(running, age, np.where(has_duration, duration, 0)),
        "in_durations": timeout | (completed & has_duration) | (running & ~is_stuck),
        "completed": completed,
        "running": running,
        "failed": calls["status"].isin(frame.FAILURES).to_numpy(),
    }


def _split_at_deploys(calls: pd.DataFrame, columns: _Columns, names: list[str]) -> dict[int, int]:
    """Split each function that was redeployed by its ids, drop the others, and return the times of the deploys."""
    coverage = Coverage.of(calls)
    if coverage is None:
        raise ArgumentError(
            "The frame has no times of deploys, as after reading it from CSV; give at=, the time of the deploy."
        )
    deploys = {names.index(name): deploy for name, deploy in _last_deploys(coverage) if name in names}
    ids = np.array([deploys.get(position, (0, 0))[0] for position in range(len(names))] + [0])
    columns["is_after"] = columns["function_id"] == ids[columns["function"]]
    columns["function"] = np.where(np.isin(columns["function"], list(deploys)), columns["function"], -1)
    return {position: created_ms for position, (_, created_ms) in deploys.items()}


def _last_deploys(coverage: Coverage) -> Iterator[tuple[str, tuple[int, int]]]:
    """Find the newest id of each label, if it is not the only one and was created within the window."""
    by_label: dict[str, list[tuple[int | None, int]]] = {}
    for function in coverage.functions:
        by_label.setdefault(function.function, []).append((function.created_ms, function.function_id))
    for label, ids in sorted(by_label.items()):
        dated = [(created_ms, function_id) for created_ms, function_id in ids if created_ms is not None]
        if len(ids) < 2 or not dated:  # noqa: PLR2004 - one id is one deploy
            continue
        created_ms, function_id = max(dated)
        if coverage.window is None or coverage.window.start_ms <= created_ms < coverage.window.end_ms:
            yield label, (function_id, created_ms)


def _table(columns: _Columns, names: list[str], times: dict[int, int], options: _Options) -> pd.DataFrame:
    rows = {
        position: _compare_durations(calls, options) | _compare_failures(calls, options) | {"at": times.get(position)}
        for position, calls in _by_function(columns)
    }
    index = pd.Index([names[position] for position in rows], dtype=frame.TEXT, name="function")
    table = {name: _typed([row.get(name) for row in rows.values()], dtype) for name, dtype in _DTYPES.items()}
    return _with_verdicts(pd.DataFrame(table).set_axis(index), options)


def _by_function(columns: _Columns) -> Iterator[tuple[int, _Columns]]:
    """Yield the calls of each function, those before first, in order of start."""
    order = np.argsort(columns["start"], kind="stable")
    side = (columns["function"] * 2 + columns["is_after"])[order].astype("int32")
    order = order[np.argsort(side, kind="stable")]
    functions = columns["function"][order]
    for position in np.unique(functions[functions >= 0]).tolist():
        rows = order[np.searchsorted(functions, position) : np.searchsorted(functions, position, side="right")]
        yield position, _select(columns, rows)


def _select(columns: _Columns, rows: np.ndarray) -> _Columns:
    return {name: column[rows] for name, column in columns.items()}


def _typed(values: list[Any], dtype: str) -> pd.Series[Any]:
    """Make a column, None as missing."""
    if dtype.startswith("datetime64"):
        return frame.time_column(values)
    if dtype.startswith("timedelta64"):
        durations = [NO_TIME if value is None else int(value) for value in values]
        return pd.Series(to_timedelta(np.array(durations, dtype="int64")))
    return pd.Series(values, dtype=dtype)


def _compare_durations(calls: _Columns, options: _Options) -> dict[str, float | None]:
    """Compare the durations of one function."""
    row: dict[str, float | None] = {
        "completed_before": int((calls["completed"] & ~calls["is_after"]).sum()),
        "completed_after": int((calls["completed"] & calls["is_after"]).sum()),
    }
    work = _select(calls, calls["in_durations"])
    is_after, times, completed = work["is_after"], work["time"], work["completed"]
    sides = [
        _Side(estimate_distribution(times[side], completed[side]), int(work["observed"][side].max(initial=0)))
        for side in (~is_after, is_after)
    ]
    for name, side in zip(("before", "after"), sides, strict=True):
        row |= {f"duration_p50_{name}": side.median, f"duration_p50_{name}_above": side.median_above}
    if is_after.all() or not is_after.any():
        return row
    if all(side.median is not None for side in sides):
        row["duration_ratio"] = _ratio(sides[1].at_least, sides[0].at_least)
    ended = ~work["running"]
    if min((ended & is_after).sum(), (ended & ~is_after).sum()) >= options.min_calls:
        low, high = _ratio_interval(work, sides, options.seed)
        row |= {"duration_ratio_low": low, "duration_ratio_high": high}
        row["duration_p_value"] = _log_rank(times, completed, is_after, work["day"])
    return row


@dataclass(frozen=True)
class _Side:
    """The durations before, or after: their distribution, and the longest time observed."""

    distribution: Distribution
    longest: int

    @property
    def median(self) -> float | None:
        median = float(self.distribution.quantile(0.5))
        return median if np.isfinite(median) else None

    @property
    def median_above(self) -> float | None:
        return None if self.median is not None or not self.longest else self.longest

    @property
    def at_least(self) -> float:
        return self.longest if self.median is None else self.median


def _ratio(after: Any, before: Any) -> Any:
    """Divide durations in milliseconds, the resolution of the clock."""
    return np.maximum(after, 1) / np.maximum(before, 1)


def _ratio_interval(work: _Columns, sides: list[_Side], seed: int) -> tuple[float, float]:
    """Draw medians of resamples; one beyond the longest time observed counts as whatever widens the interval."""
    times, is_after, ended = work["time"], work["is_after"], ~work["running"]
    middle = estimate_distribution(times, ended & np.isfinite(times)).quantile(0.5)
    effect = design_effect((times > middle).astype("float64"), is_after, work["day"])
    rng = np.random.default_rng(seed)
    drawn = [
        _draw_medians(side.distribution, (ended & rows).sum() / effect, rng)
        for side, rows in zip(sides, (~is_after, is_after), strict=True)
    ]
    least = [np.where(np.isinf(medians), side.longest, medians) for medians, side in zip(drawn, sides, strict=True)]
    low = np.quantile(_ratio(least[1], drawn[0]), 0.025, method="inverted_cdf")
    high = np.quantile(_ratio(drawn[1], least[0]), 0.975, method="inverted_cdf")
    return float(low), float(high)


def _draw_medians(distribution: Distribution, n: float, rng: np.random.Generator) -> np.ndarray:
    """
    Draw medians of resamples.

    The k-th smallest of n uniform numbers follows Beta(k, n - k + 1); a resample is the quantile at such a number.
    """
    n = max(1, round(n))
    rank = -(-n // 2)
    return distribution.quantile(rng.beta(rank, n - rank + 1, _DRAWS))


def _log_rank(times: np.ndarray, completed: np.ndarray, is_after: np.ndarray, days: np.ndarray) -> float:
    """
    Test whether work ends equally soon on both sides.

    scipy.stats.logrank is no use: its integers overflow from a million calls on, and the score of each call is needed
    here, whether it ended less its cumulative hazard. The statistic is the sum of the scores after.
    """
    ends, deaths = np.unique(times[completed], return_counts=True)
    all_times, times_after = np.sort(times), np.sort(times[is_after])
    at_risk = len(all_times) - np.searchsorted(all_times, ends).astype("float64")
    share = (len(times_after) - np.searchsorted(times_after, ends)) / at_risk
    hazard = np.append(0, np.cumsum(deaths / at_risk))
    scores = completed - hazard[np.searchsorted(ends, times, side="right")]
    several = at_risk > 1
    variance = share * (1 - share) * deaths * (at_risk - deaths) / np.where(several, at_risk - 1, 1)
    total = float(variance[several].sum())
    if total <= 0:
        return 1.0
    z = abs(float(scores[is_after].sum())) / math.sqrt(total)
    return math.erfc(z / math.sqrt(2 * design_effect(scores, is_after, days, z)))


def _compare_failures(calls: _Columns, options: _Options) -> dict[str, float | None]:
    """Compare the failure rates of one function."""
    calls = _select(calls, calls["completed"] | calls["failed"])
    failed, is_after = calls["failed"], calls["is_after"]
    n = np.array([(~is_after).sum(), is_after.sum()])
    failures = np.array([(failed & ~is_after).sum(), (failed & is_after).sum()])
    rate = wilson(failures, n)[0]
    row: dict[str, float | None] = {
        "finished_before": int(n[0]),
        "finished_after": int(n[1]),
        "failure_rate_before": rate[0],
        "failure_rate_after": rate[1],
        "failure_rate_change": rate[1] - rate[0],
    }
    if n.min() < options.min_calls:
        return row
    from scipy.special import ndtri  # noqa: PLC0415 - slow to import, and not needed to fetch

    effect = design_effect(failed.astype("float64"), is_after, calls["day"])
    rate, low, high = wilson(failures / effect, n / effect)
    z = -float(ndtri(_fisher(failures, n) / 2))
    effect = max(effect, design_effect(failed.astype("float64"), is_after, calls["day"], z))
    return row | {
        "failure_rate_change_low": rate[1] - rate[0] - math.hypot(rate[1] - low[1], high[0] - rate[0]),
        "failure_rate_change_high": rate[1] - rate[0] + math.hypot(high[1] - rate[1], rate[0] - low[0]),
        "failure_p_value": _fisher(failures / effect, n / effect),
    }


def _fisher(failures: np.ndarray, n: np.ndarray) -> float:
    """Test whether two rates differ, with counts rounded to integers."""
    from scipy.stats import fisher_exact  # noqa: PLC0415 - slow to import, and not needed to fetch

    n = np.maximum(np.round(n), 1).astype("int64")
    failures = np.minimum(np.round(failures).astype("int64"), n)
    return min(1.0, float(fisher_exact([failures, n - failures]).pvalue))


def _with_verdicts(table: pd.DataFrame, options: _Options) -> pd.DataFrame:
    """Correct the p-values over all tests, add the verdicts, and put the strongest evidence first."""
    corrected = _correct(table[["duration_p_value", "failure_p_value"]].to_numpy())
    table["duration_p_value_corrected"], table["failure_p_value_corrected"] = corrected.T
    is_evident = corrected <= options.alpha
    ratio, low, high = table["duration_ratio"], table["duration_ratio_low"], table["duration_ratio_high"]
    # Where a median is beyond the longest time observed, the ratio is unknown: the known end of its interval stands in.
    least, most = ratio.fillna(low.where(np.isinf(high))), ratio.fillna(high.where(low < 1))
    table["duration_verdict"] = _verdicts(
        is_evident[:, 0] & (low > 1) & (least >= options.min_ratio),
        is_evident[:, 0] & (high < 1) & (most <= 1 / options.min_ratio),
        table["duration_p_value"].isna(),
        DURATION_VERDICTS,
    )
    change, low, high = (table[f"failure_rate_change{end}"] for end in ("", "_low", "_high"))
    table["failure_verdict"] = _verdicts(
        is_evident[:, 1] & (low > 0) & (change >= options.min_difference),
        is_evident[:, 1] & (high < 0) & (change <= -options.min_difference),
        table["failure_p_value"].isna(),
        FAILURE_VERDICTS,
    )
    return table.iloc[np.argsort(np.fmin(*corrected.T), kind="stable")]


def _verdicts(worse: Any, better: Any, too_few: Any, names: tuple[str, ...]) -> pd.Categorical[Any]:
    codes = np.select([too_few, worse, better], [3, 0, 1], default=2)
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Series(names, dtype=frame.TEXT)))


def _correct(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values over all tests; a missing one stays missing."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - slow to import, and not needed to fetch

    known = ~np.isnan(p_values)
    corrected = np.full(p_values.shape, np.nan)
    if known.any():
        corrected[known] = false_discovery_control(p_values[known], method="bh")
    return corrected
