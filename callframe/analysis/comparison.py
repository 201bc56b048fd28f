"""Whether functions became slower or fail more often, after a deploy or any other time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from callframe import frame, timespan
from callframe.analysis.aggregates import is_finished
from callframe.analysis.failures import failure_groups
from callframe.analysis.grouping import Groups
from callframe.analysis.kaplan_meier import COMPLETED, ObservedDurations, estimate_curves, observe, parse_failed
from callframe.analysis.statistics import Z95, Blocks, check_alpha, correct_p_values, wilson
from callframe.completeness import Coverage, observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import RunLimit
from callframe.timespan import DAY_MS, NO_TIME, to_milliseconds, to_timedelta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callframe.analysis.kaplan_meier import Curves
    from callframe.timespan import TimeLike

_Columns: TypeAlias = "dict[str, np.ndarray]"

NO_DIFFERENCE, CANNOT_TELL, TOO_FEW = "no difference that matters", "cannot tell", "too few calls"
DURATION_VERDICTS = ("slower", "faster", NO_DIFFERENCE, CANNOT_TELL, TOO_FEW)
TAIL_VERDICTS = ("slower tail", "faster tail", NO_DIFFERENCE, CANNOT_TELL, TOO_FEW)
FAILURE_VERDICTS = ("more failures", "fewer failures", NO_DIFFERENCE, CANNOT_TELL, TOO_FEW)
HOURS_OF_WEEK = ("same", "matched", "differ")

_WEEK_MS = 7 * DAY_MS
_SIDES = ("before", "after")
_MEASURES = ("duration", "tail", "failure")
_SHARES = {"p50": 0.5, "p95": 0.95}
_MIN_TAIL_CALLS = 59  # of fewer, the longest is below p95 with a probability of more than 5 %
_POWER_80 = 1 + 0.8416212335729143 / Z95  # a change is found in 80 % of cases if its interval is that much wider
_MIN_DAYS = 3
_ORDER = [
    "at", "hours_of_week", "completed_before", "completed_after",
    *(f"duration_p50_{side}{end}" for end in ("", "_above") for side in _SIDES),
    *(f"duration_{name}" for name in ("ratio", "ratio_low", "ratio_high", "ratio_detectable", "p_value")),
    "duration_p_value_corrected", "duration_verdict",
    *(f"duration_p95_{side}{end}" for end in ("", "_above") for side in _SIDES),
    *(f"tail_{name}" for name in ("ratio", "ratio_low", "ratio_high", "ratio_detectable", "p_value")),
    "tail_p_value_corrected", "tail_verdict", "finished_before", "finished_after", "effective_before",
    "effective_after", "failure_rate_before", "failure_rate_after", "failure_rate_change", "failure_rate_change_low",
    "failure_rate_change_high", "failure_rate_change_detectable", "failure_p_value", "failure_p_value_corrected",
    "failure_verdict", "new_failure_groups", "new_failures",
]  # fmt: skip


@dataclass(frozen=True)
class _Options:
    """The thresholds of verdicts, and what failed calls count as in durations."""

    alpha: float
    min_calls: int
    min_ratio: float
    min_difference: float
    failed: str

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
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
    failed: str = "exclude",
) -> pd.DataFrame:
    """
    Compare durations and failure rates of each function before and after a time.

    Give two call frames, or one and the time at which to split it: `compare(calls, at="2026-10-29T12:00")`. Without a
    time, `compare(calls)` splits each function that was redeployed at its own deploy, and leaves out the others.

    Durations are of completed work, as in `summarize`: Timeout and Running calls are censored, failed ones left out.
    Their median and p95 are compared by the ratio. Its interval takes each quantile to where a band of the Kaplan-Meier
    curve, log-log transformed, crosses it (Brookmeyer and Crowley, 1982, Biometrics 38:29), the sides sharing the width
    in proportion to their variance; the p-value is that of the shares that take longer than the quantile of both sides
    together. In the ratio, less than 1 ms, the resolution of the clock, counts as 1 ms.

    A Timeout is a failure; Running calls are in no rate. The difference of the rates has Newcombe's interval of two
    Wilson intervals (Newcombe, 1998, Statist. Med. 17:873, method 10), and its p-value is that of Fisher's exact test.

    Calls are not independent: an outage fails many in a row, a slow night slows many. So variances are multiplied, and
    numbers of calls divided, by a design effect (Rao and Scott, 1992, Biometrics 48:577) estimated from the variance
    between days of either side, with Student's t for few days. A few days therefore rarely tell, and a change within
    hours of the data's end cannot be told from a bad day. Dependence over several days, such as a bad week in a month,
    and causes other than the deploy are ignored.

    Weekends and nights may differ from other hours, so only calls at the same hours of the week are compared, if one of
    the sides lasts a week; else `hours_of_week` is `"differ"`, and a verdict may be about the hours.

    Verdicts hold over all functions: the p-values are corrected together, by the method of Benjamini and Hochberg
    (1995, JRSS B 57:289).

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
    failed
        As in `summarize`.

    Returns
    -------
    comparison
        One row per function, with `function` str as the index, the strongest evidence first. `at` datetime64[ms, UTC],
        missing for two frames; `hours_of_week` category: same, matched (calls at other hours are left out of all that
        follows), differ.

        For durations: `completed_before`, `completed_after` int64; for p50 and p95 `duration_p50_before`,
        `duration_p50_after` timedelta64[ms], missing where more of the work took longer than any that was observed to
        end, and then `duration_p50_before_above`, `duration_p50_after_above` with the longest time observed. Of p50
        `duration_ratio`, of p95 `tail_ratio` float64, missing with a quantile, each with `..._low`, `..._high`, and
        `..._detectable`, the smallest ratio that would be found in 80 % of cases. `duration_p_value`, `tail_p_value`,
        and `..._corrected`, missing with too few calls. `duration_verdict` category: slower, faster, no difference that
        matters, cannot tell, too few calls; `tail_verdict`: slower tail, faster tail, and the same others.

        For failures: `finished_before`, `finished_after`, and how many independent calls these are worth,
        `effective_before`, `effective_after` int64; `failure_rate_before`, `failure_rate_after`, `failure_rate_change`,
        with `..._low`, `..._high` and `..._detectable`; `failure_p_value`, `failure_p_value_corrected` float64;
        `failure_verdict` category: more failures, fewer failures, and the same others. `new_failure_groups`, the groups
        of `failure_groups` that no call of the function had before, and `new_failures`, their calls, int64, at all
        hours.

        There is a change if the corrected p-value is at most `alpha`, the interval is without 1, or 0, and the change
        matters. No difference matters if the interval is within what does not matter. Intervals are 95 %.

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
    options = _Options(alpha, min_calls, min_ratio, min_difference, parse_failed(failed))
    frame.check(before)
    if after is not None:
        frame.check(after)
        if at is not None:
            raise ArgumentError("Both after and at are given; give two frames, or one and the time to split it.")
        return _table(*_columns(before, after, failed=failed), {}, options)
    columns, names = _columns(before, failed=failed)
    if at is None or at == "deploy":
        times = _split_at_deploys(before, columns, names)
    else:
        time_ms = timespan.parse_time(at, name="at", now_ms=observed_until_ms(before))
        columns["is_after"] = columns["start"] >= time_ms
        times = dict.fromkeys(range(len(names)), time_ms)
    return _table(columns, names, times, options)


def _columns(*frames: pd.DataFrame, failed: str) -> tuple[_Columns, list[str]]:
    """Convert what is compared of each call into arrays, and list the functions, which these hold by position."""
    categories = [calls["function"].cat.remove_unused_categories().cat.categories for calls in frames]
    names = sorted({str(name) for index in categories for name in index})
    parts = [
        _columns_of(calls, names, failed) | {"is_after": np.full(len(calls), number == 1)}
        for number, calls in enumerate(frames)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, names


def _columns_of(calls: pd.DataFrame, names: list[str], failed: str) -> _Columns:
    function = calls["function"].cat
    positions = pd.Index(names).get_indexer(pd.Index(function.categories.astype(str)))
    observed = observe(calls, RunLimit(), failed=failed)
    finished = is_finished(observed.status)
    is_failure = finished & (observed.status != COMPLETED)
    groups = np.full(len(calls), None, dtype="object")
    groups[is_failure] = failure_groups(calls[is_failure]).to_numpy(dtype="object")
    return {
        "function": np.append(positions, -1)[function.codes.to_numpy()],
        "function_id": calls["function_id"].to_numpy(),
        "start": to_milliseconds(calls["start_time"]),
        "status": observed.status,
        "time": observed.time_ms,
        "is_event": observed.is_event & (observed.time_ms != NO_TIME),
        "ended": finished & (observed.time_ms != NO_TIME),
        "finished": finished,
        "failed": is_failure,
        "group": groups,
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
    if (columns["function"] < 0).any():
        columns = _select(columns, columns["function"] >= 0)
    positions, function = np.unique(columns["function"], return_inverse=True)
    columns["code"] = 2 * function + columns["is_after"]
    functions = len(positions)
    hours, kept = _match_hours(columns, functions, options.min_calls)
    new = _new_failures(columns, functions)
    columns = columns if kept.all() else _select(columns, kept)
    table: dict[str, Any] = {
        "at": frame.time_column([times.get(int(position)) for position in positions]),
        "hours_of_week": pd.Categorical.from_codes(hours, dtype=_category(HOURS_OF_WEEK)),
    }
    blocks = Blocks.of(columns["code"], columns["start"], 2 * functions, _block_ms(columns, functions))
    failures, effect = _compare_failures(columns, blocks, functions, options)
    table |= _compare_durations(columns, blocks, functions, options, effect) | failures | new
    index = pd.Index([names[position] for position in positions], dtype=frame.TEXT, name="function")
    return _with_verdicts(pd.DataFrame(table).set_axis(index), options)


def _select(columns: _Columns, rows: np.ndarray) -> _Columns:
    return {name: column[rows] for name, column in columns.items()}


def _category(names: tuple[str, ...]) -> pd.CategoricalDtype[Any]:
    return pd.CategoricalDtype(pd.Series(names, dtype=frame.TEXT))


def _count(columns: _Columns, of: np.ndarray, functions: int) -> np.ndarray:
    """Count calls: a row per function, with those before and after."""
    return np.bincount(columns["code"], of, minlength=2 * functions).astype("int64").reshape(-1, 2)


def _bounds(columns: _Columns, functions: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the first and the last start of each side of each function; the latest and the earliest without any."""
    first, last = np.full(2 * functions, np.iinfo("int64").max), np.zeros(2 * functions, dtype="int64")
    np.minimum.at(first, columns["code"], columns["start"])
    np.maximum.at(last, columns["code"], columns["start"])
    return first.reshape(-1, 2), last.reshape(-1, 2)


def _block_ms(columns: _Columns, functions: int) -> int:
    """Choose the length of blocks: days, or an eighth of less than three days."""
    first, last = _bounds(columns, functions)
    span_ms = int(np.maximum(last - first, 0).sum(axis=1).max(initial=0))
    return DAY_MS if span_ms >= (_MIN_DAYS - 0.5) * DAY_MS else max(1, span_ms // 8)


def _match_hours(columns: _Columns, functions: int, min_calls: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Choose calls at hours of the week that both sides have equally often; returns how each function fared, and a mask.

    Of a side that lasts a week or more, the whole weeks next to the other side are taken; of both, the hours of the
    week that lie within the other.
    """
    first, last = _bounds(columns, functions)
    length = np.maximum(last - first, 0)
    weeks = (length + DAY_MS // 2) // _WEEK_MS
    side = columns["is_after"].astype("int64")
    function, start = columns["code"] // 2, columns["start"]
    distance = np.where(side == 1, start - first[function, 1], last[function, 0] - start)
    kept = (weeks[function, side] == 0) | (distance <= weeks[function, side] * _WEEK_MS)
    phase = (start - first[function, 1 - side]) % _WEEK_MS
    kept &= (weeks[function, 1 - side] > 0) | (phase <= length[function, 1 - side])
    counts, ended = (_count(columns, columns["finished"] & mask, functions) for mask in (kept, True))
    has_week, is_whole = weeks.max(axis=1) > 0, (counts == ended).all(axis=1)
    enough = has_week & (counts.min(axis=1) >= np.minimum(min_calls, ended.min(axis=1)))
    hours = np.select([enough & is_whole, enough], [0, 1], default=2)
    return hours, kept | ~enough[function]


def _new_failures(columns: _Columns, functions: int) -> dict[str, np.ndarray]:
    """Count the failure groups, and their calls, that no call of the function had before."""
    rows = np.flatnonzero(columns["failed"])
    table = pd.DataFrame({name: columns[name][rows] for name in ("code", "group", "is_after")})
    table["function"] = table["code"] // 2
    sides = table.groupby(["function", "group"])["is_after"].agg(["min", "sum"])
    new = sides[sides["min"]].groupby("function")["sum"].agg(["count", "sum"]).reindex(range(functions), fill_value=0)
    return {"new_failure_groups": new["count"].to_numpy("int64"), "new_failures": new["sum"].to_numpy("int64")}


def _compare_durations(
    columns: _Columns, blocks: Blocks, functions: int, options: _Options, failure_effect: np.ndarray
) -> dict[str, Any]:
    """Compare medians and p95."""
    code, time_ms = columns["code"], columns["time"]
    observed = ObservedDurations(columns["status"], time_ms, columns["is_event"], np.empty(0, dtype="int64"))
    curves, pooled = (
        estimate_curves(time_ms, observed.is_event, Groups(codes, pd.RangeIndex(size)))
        for codes, size in ((code, 2 * functions), (code // 2, functions))
    )
    completed, ended = (_count(columns, columns[name], functions) for name in ("is_event", "ended"))
    table: dict[str, Any] = {f"completed_{side}": completed[:, k] for k, side in enumerate(_SIDES)}
    for measure, quantile, fewest in (("duration", "p50", 1), ("tail", "p95", _MIN_TAIL_CALLS)):
        share = _SHARES[quantile]
        values = curves.quantile(share)
        for name, times in (("", values), ("_above", curves.above(values))):
            sides = times.reshape(-1, 2)
            table |= {f"duration_{quantile}_{side}{name}": to_timedelta(sides[:, k]) for k, side in enumerate(_SIDES)}
        variance = share / ((1 - share) * np.log1p(-share) ** 2 * np.maximum(ended.ravel(), 1))
        effect = curves.design_effect(share, blocks, observed, code, sides=2)
        ratio, low, high = _ratios(curves, share, variance * effect)
        statistic, p_value = _test(curves, pooled, share, ended)
        widened = curves.design_effect(share, blocks, observed, code, sides=2, statistic=np.repeat(statistic, 2))
        p_value = _p_value(p_value, variance * widened)
        enough = ended.min(axis=1) >= max(options.min_calls, fewest)
        has_both = ended.min(axis=1) > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            detectable = np.exp(np.log(high / low) / 2 * _POWER_80)
        table |= {f"{measure}_ratio": np.where(has_both, ratio, np.nan)}
        named = {"ratio_low": low, "ratio_high": high, "ratio_detectable": detectable, "p_value": p_value}
        table |= {f"{measure}_{name}": np.where(enough, column, np.nan) for name, column in named.items()}
        failure_effect = np.maximum(failure_effect, effect) if quantile == "p50" else failure_effect
    finished = _count(columns, columns["finished"], functions)
    effective = np.ceil(finished / failure_effect.reshape(-1, 2)).astype("int64")
    return table | {f"effective_{side}": effective[:, k] for k, side in enumerate(_SIDES)}


def _ratios(curves: Curves, share: float, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Divide the quantiles after by those before, with the ends of the interval.

    `variance` is that of the log-log survival of each side. A quantile that is not reached is beyond the longest time
    observed: it counts as that, or as infinite, whichever widens the interval.
    """
    sides = variance.reshape(-1, 2)
    width = Z95 * variance / np.repeat(np.sqrt(sides.sum(axis=1)), 2)
    middle = np.log(-np.log1p(-share))
    at: dict[str, np.ndarray] = {}
    with np.errstate(over="ignore"):
        for name, shift in (("low", -width), ("middle", 0 * width), ("high", width)):
            times = curves.quantile(-np.expm1(-np.exp(middle + shift)))
            at[name] = np.where(times == NO_TIME, np.inf, np.maximum(times, 1.0)).reshape(-1, 2)
    longest = np.maximum(curves.longest_ms, 1).reshape(-1, 2)
    least = np.minimum(at["low"], longest)
    with np.errstate(invalid="ignore"):
        ratio = at["middle"][:, 1] / at["middle"][:, 0]
        low, high = least[:, 1] / at["high"][:, 0], at["high"][:, 1] / least[:, 0]
    return np.where(np.isfinite(at["middle"]).all(axis=1), ratio, np.nan), low, high


def _test(curves: Curves, pooled: Curves, share: float, ended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Test whether equal shares take longer than the quantile of both sides together, or than its last event.

    Returns the difference of log-log survivals in standard errors of independent calls, and as it is.
    """
    quantile = pooled.quantile(share)
    time_ms = np.repeat(np.where(quantile == NO_TIME, pooled.last_event, quantile), 2)
    half = 0.5 / np.maximum(ended.ravel(), 1)
    survival = np.clip(curves.survival_at(time_ms), half, 1 - half)
    transformed = np.log(-np.log(survival)).reshape(-1, 2)
    difference = transformed[:, 0] - transformed[:, 1]
    variance = share / ((1 - share) * np.log1p(-share) ** 2 * np.maximum(ended, 1))
    return difference / np.sqrt(variance.sum(axis=1)), difference


def _p_value(difference: np.ndarray, variance: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr  # noqa: PLC0415 - slow to import, and not needed to fetch

    p_value: np.ndarray = 2 * ndtr(-np.abs(difference) / np.sqrt(variance.reshape(-1, 2).sum(axis=1)))
    return p_value


def _compare_failures(
    columns: _Columns, blocks: Blocks, functions: int, options: _Options
) -> tuple[dict[str, Any], np.ndarray]:
    """Compare failure rates; returns the design effects, too."""
    from scipy.special import ndtri  # noqa: PLC0415 - slow to import, and not needed to fetch

    failed, finished = columns["failed"], columns["finished"]
    failures, n = _count(columns, failed, functions), _count(columns, finished, functions)
    rate = wilson(failures, n)[0]
    change = rate[:, 1] - rate[:, 0]
    enough = n.min(axis=1) >= options.min_calls
    effect = blocks.effects(failed, finished, sides=2)
    sides = effect.reshape(-1, 2)
    _, low, high = wilson(failures / sides, n / sides)
    down, up = (
        np.hypot(rate[:, 1] - low[:, 1], high[:, 0] - rate[:, 0]),
        np.hypot(high[:, 1] - rate[:, 1], rate[:, 0] - low[:, 0]),
    )
    statistic = -ndtri(np.array([_fisher(*row) for row in zip(failures, n, strict=True)]) / 2)
    widened = blocks.effects(failed, finished, sides=2, statistic=np.repeat(statistic, 2)).reshape(-1, 2)
    p_value = np.array([_fisher(*row) for row in zip(failures / widened, n / widened, strict=True)])
    table: dict[str, Any] = {}
    for k, side in enumerate(_SIDES):
        table |= {f"finished_{side}": n[:, k], f"failure_rate_{side}": rate[:, k]}
    named = {
        "rate_change_low": change - down,
        "rate_change_high": change + up,
        "rate_change_detectable": (down + up) / 2 * _POWER_80,
        "p_value": p_value,
    }
    table["failure_rate_change"] = change
    return table | {f"failure_{name}": np.where(enough, column, np.nan) for name, column in named.items()}, effect


def _fisher(failures: np.ndarray, n: np.ndarray) -> float:
    """Test whether two rates differ, with counts rounded to integers."""
    from scipy.stats import fisher_exact  # noqa: PLC0415 - slow to import, and not needed to fetch

    n = np.maximum(np.round(n), 1).astype("int64")
    failures = np.minimum(np.round(failures).astype("int64"), n)
    return min(1.0, float(fisher_exact([failures, n - failures]).pvalue))


def _with_verdicts(table: pd.DataFrame, options: _Options) -> pd.DataFrame:
    """Correct the p-values over all tests, add the verdicts, and put the strongest evidence first."""
    names = [f"{measure}_p_value" for measure in _MEASURES]
    corrected = correct_p_values(table[names].to_numpy())
    evident = corrected <= options.alpha
    for k, (name, verdicts) in enumerate(zip(names, (DURATION_VERDICTS, TAIL_VERDICTS, FAILURE_VERDICTS), strict=True)):
        table[f"{name}_corrected"] = corrected[:, k]
        if k < 2:  # noqa: PLR2004 - ratios of durations
            column = f"{_MEASURES[k]}_ratio"
            with np.errstate(divide="ignore"):
                estimate, low, high = (np.log(table[column + end].to_numpy()) for end in ("", "_low", "_high"))
            matters = np.log(options.min_ratio)
        else:
            estimate, low, high = (table[f"failure_rate_change{end}"].to_numpy() for end in ("", "_low", "_high"))
            matters = options.min_difference
        # Where a quantile is beyond the longest time observed, the ratio is unknown: the known end stands in.
        least, most = (np.where(np.isnan(estimate), end, estimate) for end in (low, high))
        worse = evident[:, k] & (low > 0) & (least >= matters)
        better = evident[:, k] & (high < 0) & (most <= -matters)
        alike = (low >= -matters) & (high <= matters)
        codes = np.select([np.isnan(corrected[:, k]), worse, better, alike], [4, 0, 1, 2], default=3)
        table[name.replace("p_value", "verdict")] = pd.Categorical.from_codes(codes, dtype=_category(verdicts))
    order = np.argsort(np.nanmin(np.c_[corrected, np.full(len(table), 2.0)], axis=1), kind="stable")
    return table[_ORDER].iloc[order]
