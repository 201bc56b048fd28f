"""Findings: the sentences that an operator wants first, each with its number, its interval and where to see more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.changes import changes
from callframe.analysis.comparison import compare
from callframe.analysis.concurrency import concurrency_peaks
from callframe.analysis.failures import failure_groups, failures
from callframe.analysis.incidents import incidents
from callframe.analysis.schedules import missed_runs
from callframe.analysis.statistics import wilson
from callframe.completeness import Coverage, observed_until_ms
from callframe.formatting import format_duration, format_interval, format_percent, format_time
from callframe.limits import PROJECT_QUOTA, RunLimit
from callframe.timespan import DAY_MS, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callframe.timespan import DurationLike

MAX_FINDINGS = 10

_ALPHA = 0.05
_PER_KIND = 3
_MIN_STOPPED = 3  # Timeouts that are no single accident
_NEAR_QUOTA = 0.8
_TAIL, _MIN_TAIL, _DRAWS = 0.1, 30, 200  # share of the calls and fewest calls that a tail is fitted to, and resamples
_MONTH_MS = 30 * DAY_MS
_EXPONENTIAL = 1e-6  # shape below which a tail is exponential


class _Finding(NamedTuple):
    """A sentence; `harm` is about how many calls were lost, or that many that were slowed to a standstill."""

    kind: str
    harm: float
    sentence: str
    code: str
    function: str | None = None
    start_time: pd.Timestamp | None = None
    end_time: pd.Timestamp | None = None


def findings(
    calls: pd.DataFrame, schedules: pd.DataFrame | None = None, *, run_limit: DurationLike | None = None
) -> pd.DataFrame:
    """
    Say in sentences what is wrong, the most harmful first.

    They are about incomplete data, incidents, changes, functions that are slower or fail more since a deploy (by
    `compare`), missed runs, new failure groups, functions that run into the run limit or will within a month, the quota
    of running calls, and stuck calls. What may be chance is left out: each test is at 5 %, corrected over functions.

    Whether a function will reach the run limit is extrapolated from the longest tenth of its durations, by a
    generalized Pareto distribution (Hosking and Wallis, 1987, Technometrics 29:339) with a bootstrap interval.

    Parameters
    ----------
    calls
        Call frame.
    schedules
        Table that `Project.schedules` returned, to count missed runs.
    run_limit
        How long a call may run, see `Project.limits`; if not known, that of the Timeouts, or 9 minutes.

    Returns
    -------
    findings
        At most ten rows: `kind`, `sentence` str; `code` str, which shows more; `function` str, missing if it is about
        several; `harm` float64, about the number of calls that it cost; `start_time`, `end_time` datetime64[ms, UTC],
        when it was, the end excluded, missing if it is about all the time. If nothing is wrong, one row of the kind
        `nothing` says so.

    Raises
    ------
    FrameError
        `calls` is not a call frame, or `schedules` misses a column.
    ArgumentError
        `run_limit` is not a positive duration.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=20_000) as project:
    ...     findings = cf.findings(project.calls(start="14d"), project.schedules())
    >>> print(findings.loc[findings["kind"] == "deploy", "sentence"].iloc[0].split(":")[0])
    ingest-sap-orders is slower since its deploy
    """
    frame.check(calls)
    limit = RunLimit.parse(run_limit)
    found = [*_incomplete(calls), *_incidents(calls), *_changes(calls), *_missed(calls, schedules), *_new(calls)]
    found += [*_near_limit(calls, limit, known=run_limit is not None), *_near_quota(calls), *_stuck(calls, limit)]
    kept: list[_Finding] = []
    for finding in sorted(found, key=lambda finding: -finding.harm):
        if sum(other.kind == finding.kind for other in kept) < _PER_KIND:
            kept.append(finding)
    kept = kept[:MAX_FINDINGS] or [_nothing(calls)]
    names = ["kind", "sentence", "code", "function"]
    table = pd.DataFrame({name: frame.text_column([getattr(one, name) for one in kept]) for name in names})
    table["harm"] = np.array([finding.harm for finding in kept], dtype="float64")
    for name in ("start_time", "end_time"):
        table[name] = pd.Series([getattr(one, name) for one in kept], dtype="datetime64[ms, UTC]")
    return table


def _nothing(calls: pd.DataFrame) -> _Finding:
    if calls.empty:
        return _Finding("nothing", 0, "There are no calls to judge.", "cf.coverage(calls)")
    count, functions = len(calls), calls["function"].nunique()
    sentence = f"Nothing is wrong beyond chance in {_count(count, 'call')} of {_count(functions, 'function')}."
    return _Finding("nothing", 0, sentence, "cf.summarize(calls)")


def _incomplete(calls: pd.DataFrame) -> Iterator[_Finding]:
    known = Coverage.of(calls)
    if known is None:
        return
    missing = known.missing_calls(calls)
    if missing:
        names = [known.by_id[function_id].function for function_id in missing]
        sentence = f"The data is incomplete: calls of {_names(names)} are missing, so numbers may be too low."
        yield _Finding("incomplete", len(calls) * len(missing) / len(known.functions), sentence, "cf.coverage(calls)")
    if known.set_aside:
        sentence = f"{_count(known.set_aside, 'invalid record')} were set aside and are in no number."
        yield _Finding("incomplete", known.set_aside, sentence, "cf.coverage(calls)")


def _incidents(calls: pd.DataFrame) -> Iterator[_Finding]:
    for row in incidents(calls).to_dict("records"):
        names = row["functions"].split(", ")
        state = "all have completed a call since" if row["recovered"] else "not all have completed a call since"
        sentence = (
            f"{_names(names)} failed from {format_time(row['start_time'], 'UTC')} to"
            f" {format_time(row['end_time'], 'UTC')} UTC: {row['failures']:,} of {row['finished']:,} calls were lost,"
            f" {_rate(row['failures'], row['finished'])}, usually {format_percent(row['base_rate'])}; {state}."
        )
        harm = row["failures"] * (1 if row["recovered"] else 2)
        function = names[0] if len(names) == 1 else None
        end = row["end_time"] + pd.Timedelta(1, "ms")
        yield _Finding("incident", harm, sentence, "cf.incidents(calls)", function, row["start_time"], end)


def _changes(calls: pd.DataFrame) -> Iterator[_Finding]:
    """Say what became worse since a deploy, and what did without one."""
    deployed = set[tuple[str, str]]()
    for function, row in _compare(calls).iterrows():
        for measure, text, harm in _since_deploy(row):
            deployed.add((str(function), measure))
            when = f"{format_time(row['at'], 'UTC')} UTC"
            sentence = f"{function} {text.format(when=when)}"
            yield _Finding("deploy", harm, sentence, "cf.compare(calls)", str(function))
    for change in changes(calls, alpha=_ALPHA).to_dict("records"):
        is_rate = change["measure"] == "failure_rate"
        is_worse = change["change_low"] > (0 if is_rate else 1)
        if is_worse and (change["function"], change["measure"]) not in deployed:
            yield _change(change, calls)


def _compare(calls: pd.DataFrame) -> pd.DataFrame:
    known = Coverage.of(calls)
    return pd.DataFrame() if known is None else compare(calls, alpha=_ALPHA)


def _since_deploy(row: pd.Series) -> Iterator[tuple[str, str, float]]:
    if "slower" in str(row["duration_verdict"]) and row["duration_ratio"] > 1:
        interval = (
            f"{row['duration_ratio']:.2f} times ({row['duration_ratio_low']:.2f} to {row['duration_ratio_high']:.2f})"
        )
        text = f"is slower since its deploy: {interval} as long since {{when}}, a median of"
        text += f" {format_duration(row['duration_p50_after'])} after {format_duration(row['duration_p50_before'])}."
        yield "duration", text, row["completed_after"] * (1 - 1 / row["duration_ratio"]) / 2
    if row["failure_verdict"] == "more failures":
        low, high = (format_percent(row[f"failure_rate_change_{end}"]) for end in ("low", "high"))
        text = f"fails more since its deploy: {format_percent(row['failure_rate_after'])} since {{when}}, after"
        text += f" {format_percent(row['failure_rate_before'])} ({format_interval(low, high)} more)."
        yield "failure_rate", text, row["finished_after"] * row["failure_rate_change"]


def _change(change: dict[Any, Any], calls: pd.DataFrame) -> _Finding:
    is_rate, what = change["measure"] == "failure_rate", change["measure"].replace("_", " ")
    values = [change[name] for name in ("before", "after", "change_low", "change_high")]
    if is_rate:
        before, after, low, high = (format_percent(value) for value in values)
        size = f"{format_interval(low, high)} more"
    else:
        before, after = (
            format_duration(pd.Timedelta(value, "s")) if math.isfinite(value) else "the run limit"
            for value in values[:2]
        )
        size = f"{change['change']:.2f} times, {change['change_low']:.2f} to {change['change_high']:.2f}"
    low_time, high_time = (format_time(change[name], "UTC") for name in ("time_low", "time_high"))
    verb = "drifted" if change["kind"] == "drift" else "went"
    deploy = (
        "" if pd.isna(change["deploy_time"]) else f"; it was deployed at {format_time(change['deploy_time'], 'UTC')}"
    )
    sentence = (
        f"The {what} of {change['function']} {verb} from {before} to {after} ({size}) between {low_time} and"
        f" {high_time} UTC{deploy}."
    )
    after_count = int(((calls["function"] == change["function"]) & (calls["start_time"] >= change["time"])).sum())
    share = change["change"] if is_rate else (1 - 1 / change["change"]) / (2 if change["measure"] == "duration" else 10)
    return _Finding("change", after_count * share, sentence, "cf.changes(calls)", change["function"])


def _missed(calls: pd.DataFrame, schedules: pd.DataFrame | None) -> Iterator[_Finding]:
    if schedules is None:
        return
    table = missed_runs(calls, schedules)
    counts = table.loc[table["state"] == "missed", "function"].value_counts()
    counts = counts[counts > 0]
    if len(counts):
        names = _names([str(name) for name in counts.index])
        sentence = f"{_count(int(counts.sum()), 'scheduled run')} had no call, of {names}."
        yield _Finding("missed", float(counts.sum()), sentence, "cf.missed_runs(calls, schedules)")


def _new(calls: pd.DataFrame) -> Iterator[_Finding]:
    """Say which failure groups are new: the chance that one of all groups has all its hours in the last part."""
    table = failures(calls)
    new = table[table["new"]]
    if new.empty:
        return
    first, last = calls["start_time"].min(), calls["start_time"].max()
    recent = calls[(calls["start_time"] >= new["first_seen"].min()) & calls["status"].isin(frame.FAILURES)]
    hours = recent["start_time"].dt.floor("h").groupby(failure_groups(recent)).nunique()
    for row in new.to_dict("records"):
        share = (last - row["first_seen"]) / (last - first)
        if share ** (hours[row["group"]] - 1) * len(table) <= _ALPHA:
            sentence = (
                f"A new failure: {row['label']}, {_count(row['count'], 'time')} in {hours[row['group']]} hours since"
                f" {format_time(row['first_seen'], 'UTC')} UTC, in {_names(row['functions'].split(', '))}."
            )
            yield _Finding("new failure", row["count"], sentence, "cf.failures(calls)")


def _near_limit(calls: pd.DataFrame, limit: RunLimit, *, known: bool) -> Iterator[_Finding]:
    """Say which functions run into the run limit, or will within a month by the tail of their durations."""
    seconds = to_milliseconds(calls["duration"]) / 1000
    timeout = (calls["status"] == "Timeout").to_numpy()
    has_duration = calls["duration"].notna().to_numpy()
    limit_s = limit.shortest_ms / 1000
    if not known and (timeout & has_duration).any():
        limit_s = float(np.median(seconds[timeout & has_duration]))
    completed = (calls["status"] == "Completed").to_numpy() & has_duration
    codes, names = calls["function"].cat.codes.to_numpy(), calls["function"].cat.categories
    start = to_milliseconds(calls["start_time"])
    months = max((start.max(initial=0) - start.min(initial=start.max(initial=0))) / _MONTH_MS, 1 / 30)
    text = format_duration(pd.Timedelta(limit_s, "s"))
    for code in np.unique(codes[completed | timeout]):
        own = completed & (codes == code)
        stopped, n = int((timeout & (codes == code)).sum()), int(own.sum())
        if stopped >= _MIN_STOPPED:
            sentence = (
                f"{names[code]} runs into the run limit of {text} in {stopped:,} calls, {_rate(stopped, n + stopped)}."
            )
            yield _Finding("run limit", stopped, sentence, "cf.plot.survival(calls)", str(names[code]))
        elif not stopped and n * _TAIL >= _MIN_TAIL and seconds[own].max() > limit_s / 4:
            expected, low, high = _calls_beyond(seconds[own], limit_s) / months
            if low >= 1:
                sentence = (
                    f"{names[code]} will run into the run limit of {text} about {expected:,.0f} times a month"
                    f" ({low:,.0f} to {high:,.0f}), by the tail of its durations; the longest took"
                    f" {format_duration(pd.Timedelta(float(seconds[own].max()), 's'))}."
                )
                yield _Finding("run limit", expected / 2, sentence, "cf.plot.survival(calls)", str(names[code]))


def _calls_beyond(seconds: np.ndarray, limit_s: float) -> np.ndarray:
    """Estimate how many of as many calls exceed a limit by the tail of their durations, with a 95 % interval."""
    tail = np.sort(seconds)[-int(len(seconds) * _TAIL) :]
    threshold, count = float(tail[0]), len(tail)
    if threshold >= limit_s:
        return np.zeros(3)
    drawn = np.random.default_rng(0).integers(0, count, (_DRAWS, count))
    excess = np.sort(np.concatenate([tail[None, :], tail[drawn]]) - threshold, axis=1)
    mean = np.maximum(excess.mean(axis=1), 1e-9)
    weighted = (excess * (1 - (np.arange(count) + 0.65) / count)).mean(axis=1)
    rest = np.maximum(mean - 2 * weighted, 1e-12)
    shape, scale = mean / rest - 2, 2 * mean * weighted / rest
    shape = np.where(np.abs(shape) < _EXPONENTIAL, _EXPONENTIAL, shape)
    left = np.maximum(1 - shape * (limit_s - threshold) / scale, 0)
    beyond = count * np.exp(np.log(np.maximum(left, 1e-300)) / shape) * (left > 0)
    return np.array([beyond[0], *np.quantile(beyond[1:], (0.025, 0.975))])


def _near_quota(calls: pd.DataFrame) -> Iterator[_Finding]:
    peaks = concurrency_peaks(calls, by="function")
    everything = concurrency_peaks(calls)
    for name, row in [*everything.iterrows(), *peaks.iterrows()]:
        if row["peak"] >= _NEAR_QUOTA * row["quota"]:
            owner = "The project" if row["quota"] == PROJECT_QUOTA else str(name)
            sentence = (
                f"{owner} came near its quota: {row['peak']:,} of {row['quota']} calls ran at"
                f" {format_time(row['peak_time'], 'UTC')} UTC, above {_NEAR_QUOTA:.0%} for"
                f" {format_duration(row['time_above'])}."
            )
            harm = row["time_above"].total_seconds() / 60
            yield _Finding("quota", max(harm, 1.0), sentence, 'cf.concurrency_peaks(calls, by="function")')


def _stuck(calls: pd.DataFrame, limit: RunLimit) -> Iterator[_Finding]:
    age = observed_until_ms(calls) - to_milliseconds(calls["start_time"])
    stuck = calls[(calls["status"] == "Running").to_numpy() & (age > limit.longest_ms)]
    if len(stuck):
        names = _names(
            [str(name) for name in stuck["function"].value_counts().index if (stuck["function"] == name).any()]
        )
        verb = "is" if len(stuck) == 1 else "are"
        sentence = (
            f"{_count(len(stuck), 'call')} of {names} {verb} stuck: Running for longer than"
            f" {format_duration(pd.Timedelta(limit.longest_ms, 'ms'))}."
        )
        yield _Finding("stuck", len(stuck), sentence, 'calls[calls["status"] == "Running"]')


def _rate(count: int, n: int) -> str:
    """Format a rate with its interval."""
    rate, low, high = wilson(np.array([count]), np.array([n]))
    return f"{format_percent(rate[0])} ({format_interval(format_percent(low[0]), format_percent(high[0]))})"


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more functions"  # noqa: PLR2004


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
