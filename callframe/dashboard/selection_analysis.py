"""What a dashboard shows of a selection; each part is computed when it is first needed."""

from __future__ import annotations

import functools
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe import frame, reporting
from callframe.analysis.changes import changes
from callframe.analysis.comparison import compare
from callframe.analysis.concurrency import concurrency, concurrency_peaks, overlapping_runs
from callframe.analysis.contrast import contrast
from callframe.analysis.failures import failure_groups, failures
from callframe.analysis.findings import findings
from callframe.analysis.incidents import incidents
from callframe.analysis.rollup import summarize_rollup
from callframe.analysis.schedules import missed_runs, schedule_report
from callframe.analysis.summary import summarize
from callframe.completeness import is_complete
from callframe.dashboard.cross_filter import CrossFilter, Option
from callframe.dashboard.selection import end_ms, select, window
from callframe.limits import RunLimit
from callframe.reporting.key_figures import KeyFigure, count_calls, count_figure, key_figures, rollup_key_figures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from callframe.dashboard.selection import Selection

    Window = tuple[str | None, str | None]
    """Start times as ISO 8601 text, the end excluded; None means as far as there are calls."""

MAX_ROWS = 30
"""Functions in a plot with a row per function; more would not be legible."""

MAX_FINDINGS_CALLS = 200_000

_MAX_KEPT = 64

_INDEPENDENT_OF_VIEW = (
    "calls", "worst_calls", "failures", "failed", "schedules", "schedule_report", "missed", "late",
    "overlaps", "peaks", "population", "running", "counts", "contrast", "changes", "compared", "incidents",
)  # fmt: skip
_DAY_S = 86_400
_ROLLUP_BY = {"status": "status", "1h": "1D", "1d": "1D", "schedule": "function"}


class WholeHistory:
    """What is computed once on all calls of a source, and then cut to each selection."""

    def __init__(self, calls: pd.DataFrame, schedules: pd.DataFrame | None) -> None:
        self.calls = calls
        self.schedules = schedules
        self.schedule_names = schedule_names(schedules)
        self.cross_filter = CrossFilter(calls, self.schedule_names)
        self._kept: dict[tuple[Any, ...], Any] = {}

    def keep(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Make a small result once for each key."""
        if key not in self._kept:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = make()
        return self._kept[key]

    @cached_property
    def missed(self) -> pd.DataFrame | None:
        """The runs that schedules missed."""
        return None if self.schedules is None else missed_runs(self.calls, self.schedules)

    @cached_property
    def findings(self) -> list[dict[Any, Any]]:
        """What is wrong, in sentences; of so many calls that it would take seconds, how to get it."""
        if len(self.calls) > MAX_FINDINGS_CALLS:
            sentence = f"What is wrong with more than {MAX_FINDINGS_CALLS:,} calls takes seconds to compute:"
            return [{"kind": "", "sentence": f"{sentence} cf.findings(calls, schedules)"}]
        return findings(self.calls, self.schedules).to_dict("records")


class CallAnalysis:
    """A selection of calls, and the measures of it; those that need more than the selected calls are cut to it."""

    def __init__(self, whole: WholeHistory, selection: Selection) -> None:
        self.whole = whole
        self.all_calls = whole.calls
        self.selection = selection
        self._all_schedules = whole.schedules

    def with_view(self, selection: Selection) -> CallAnalysis:
        """Show the same calls in another way; what does not depend on that is not computed again."""
        other = CallAnalysis(self.whole, selection)
        vars(other).update({name: value for name, value in vars(self).items() if name in _INDEPENDENT_OF_VIEW})
        return other

    @cached_property
    def calls(self) -> pd.DataFrame:
        """The selected calls."""
        return select(self.all_calls, self.selection, self._groups)

    @cached_property
    def population(self) -> pd.DataFrame:
        """The selected calls however they ended: the base of rates, medians and streaks."""
        chosen = self.selection.population
        return self.calls if chosen == self.selection else select(self.all_calls, chosen)

    @cached_property
    def running(self) -> pd.DataFrame:
        """The calls of any end that ran in the selected range, those that started before it from its start."""
        start, end = self.window
        scope = self.selection.population.replace(last=None, start=None, end=end)
        calls = select(self.all_calls, scope)
        if start is None:
            return calls
        first = pd.Timestamp(start)
        stuck_since = first - pd.Timedelta(RunLimit.parse(None).longest_ms, "ms")
        is_running = (calls["status"] == "Running") & (calls["start_time"] >= stuck_since)
        has_run = (calls["status"] != "Running") & (calls["end_time"] > first)
        calls = calls[(calls["start_time"] >= first) | is_running | has_run]
        return calls.assign(start_time=calls["start_time"].where(calls["start_time"] >= first, first))

    @property
    def _groups(self) -> pd.Series | None:
        return self.whole.cross_filter.groups if self.selection.groups else None

    @cached_property
    def worst_calls(self) -> pd.DataFrame:
        """The selected calls of at most `MAX_ROWS` functions, those with the most failures."""
        if self.calls["function"].nunique() <= MAX_ROWS:
            return self.calls
        failed = self.calls["status"].isin(frame.FAILURES)
        counts = failed.groupby(self.calls["function"], observed=True).agg(["sum", "size"])
        worst = counts.sort_values(["sum", "size"], ascending=False, kind="stable").index[:MAX_ROWS]
        return self.calls[self.calls["function"].isin(worst)]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The summary, schedules by their names."""
        summary = summarize(self.calls, by=self.selection.by)
        if summary.index.name != "schedule":
            return summary
        return summary.set_axis(pd.Index([self.schedule_name(schedule) for schedule in summary.index], name="schedule"))

    @cached_property
    def key_figures(self) -> list[KeyFigure]:
        """The key figures at the top: how many calls are selected, and measures of them however they ended."""
        tz = self.selection.tz
        make = functools.partial(key_figures, self.population, self.schedule_report, tz)
        _, *measures = self.whole.keep(("key figures", self.selection.population.filters, tz), make)
        return [count_figure(self.calls, tz), *measures]

    @property
    def findings(self) -> list[dict[Any, Any]]:
        """What is wrong with all calls, in sentences."""
        return self.whole.findings

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The failure groups."""
        return failures(self.calls)

    @cached_property
    def failed(self) -> pd.DataFrame:
        """The calls that failed, the latest first, with the `group` of each."""
        rows = self.calls[self.calls["status"].isin(frame.FAILURES)]
        return rows.assign(group=failure_groups(rows)).iloc[::-1]

    @cached_property
    def schedules(self) -> pd.DataFrame | None:
        """The selected schedules, None if schedules are not known."""
        schedules = self._all_schedules
        if schedules is None:
            return None
        if self.selection.functions:
            schedules = schedules[schedules["function"].isin(self.selection.functions)]
        if self.selection.schedules:
            schedules = schedules[schedules["schedule_id"].isin(self.selection.schedules)]
        return schedules

    @cached_property
    def schedule_report(self) -> pd.DataFrame | None:
        """The report on the selected schedules, with the runs that were missed as of the whole history."""
        if self.schedules is None or self.missed is None:
            return None
        make = functools.partial(schedule_report, self.population, self.schedules)
        report: pd.DataFrame = self.whole.keep(("report", self.selection.population.filters), make).copy()
        for state in ("missed", "unconfirmed", "unknown"):
            counts = self.missed.loc[self.missed["state"] == state, "schedule_id"].value_counts()
            report[state] = report["schedule_id"].map(counts).fillna(0).astype("int64")
        lacking = report[["missed", "unconfirmed", "unknown"]].sum(axis=1)
        report["expected"] = (report["run"] + lacking).astype("int64")
        return report

    @cached_property
    def missed(self) -> pd.DataFrame | None:
        """The runs that the selected schedules missed in the selected range."""
        if self.schedules is None or self.whole.missed is None:
            return None
        table, (start, end) = self.whole.missed, self.window
        kept = pd.Series(data=True, index=table.index)
        if self.selection.functions:
            kept &= table["function"].isin(self.selection.functions)
        if self.selection.schedules:
            kept &= table["schedule_id"].isin(self.selection.schedules)
        if start:
            kept &= table["scheduled_time"] >= pd.Timestamp(start)
        if end:
            kept &= table["scheduled_time"] < pd.Timestamp(end)
        return table if kept.all() else table[kept]

    @cached_property
    def counts(self) -> Mapping[str, list[Option]]:
        """What can be chosen, with the number of calls of each among those of all other filters."""
        return self.whole.cross_filter.options(self.selection)

    @cached_property
    def compared(self) -> pd.DataFrame:
        """Durations and failure rates before and after deploys."""
        return compare(self.population)

    @cached_property
    def changes(self) -> pd.DataFrame:
        """When durations, delays or failure rates changed."""
        return changes(self.population)

    @cached_property
    def incidents(self) -> pd.DataFrame:
        """When many calls failed."""
        return incidents(self.population)

    @cached_property
    def contrast(self) -> pd.DataFrame | None:
        """What differs between the selected calls and the rest; None if either is nothing."""
        if not 0 < len(self.calls) < len(self.all_calls):
            return None
        return contrast(self.all_calls, self.all_calls["call_id"].isin(self.calls["call_id"]))

    @cached_property
    def hourly_peaks(self) -> pd.DataFrame:
        """The most calls that ran at the same time in each hour of the day, and when."""
        curve = concurrency(self.running).set_index("time")["running"].tz_convert(self.selection.tz)
        hours = curve.resample("1h").max().fillna(0)
        before = curve.resample("1h").last().ffill().shift(fill_value=0)
        hours = hours.where(hours >= before, before)
        when = hours.groupby(pd.DatetimeIndex(hours.index).hour).idxmax()
        return pd.DataFrame({"peak": hours[when].to_numpy(dtype="int64"), "when": when.to_numpy()}, index=when.index)

    @cached_property
    def late(self) -> pd.DataFrame:
        """The schedules with late calls, the most late ones first."""
        summary = summarize(self.calls[self.calls["schedule_id"].notna()], by=["schedule", "function"]).reset_index()
        late = summary.assign(late=summary["late_rate"] * summary["scheduled"])
        return late[late["late"] > 0].sort_values("late", ascending=False, kind="stable")

    @cached_property
    def overlaps(self) -> pd.DataFrame:
        """The calls that started while an earlier call of their schedule was still running."""
        return overlapping_runs(self.calls)

    @cached_property
    def peaks(self) -> pd.DataFrame:
        """How many calls of each function ran at the same time."""
        return concurrency_peaks(self.running, by="function")

    def schedule_name(self, schedule_id: Any) -> str:
        """Look up the name of a schedule; its id if it has no known name."""
        return "no schedule" if pd.isna(schedule_id) else str(self._schedule_names.get(schedule_id, schedule_id))

    @property
    def _schedule_names(self) -> dict[int, str]:
        return self.whole.schedule_names

    @property
    def count(self) -> int:
        """How many calls are selected."""
        return len(self.calls)

    @property
    def complete(self) -> bool | None:
        """Whether all of them were read."""
        return is_complete(self.calls)

    @property
    def window(self) -> Window:
        """The selected start times."""
        return window(end_ms(self.all_calls), self.selection)


class RollupAnalysis:
    """A selection of too many calls to read one by one, and the measures of its rollup."""

    def __init__(self, whole_rollup: pd.DataFrame, selection: Selection, window: Window) -> None:
        self.selection = selection
        self.window = window
        self._whole_rollup = whole_rollup

    def with_view(self, selection: Selection) -> RollupAnalysis:
        """Show the same calls in another way."""
        return RollupAnalysis(self._whole_rollup, selection, self.window)

    @cached_property
    def rollup(self) -> pd.DataFrame:
        """The selected part, in whole days."""
        return select_rollup(self._whole_rollup, self.selection, self.window)

    @cached_property
    def key_figures(self) -> list[KeyFigure]:
        """The key figures at the top."""
        return rollup_key_figures(self.rollup, self.selection.tz)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The summary, by function if the rollup does not distinguish what the selection groups by."""
        return summarize_rollup(self.rollup, by=_ROLLUP_BY.get(self.selection.by, self.selection.by))

    @property
    def counts(self) -> Mapping[str, list[Option]]:
        """What can be chosen, with the number of calls of each."""
        rows = self._whole_rollup[self._whole_rollup["measure"] == "duration"]
        counts = rows.groupby("function", observed=True)["count"].sum()
        return {"functions": [Option(str(name), str(name), int(count), 0) for name, count in counts.items()]}

    @property
    def count(self) -> int:
        """How many calls are selected."""
        return count_calls(self.rollup)

    @property
    def complete(self) -> bool | None:
        """Whether all of them were read."""
        return is_complete(self.rollup)

    @property
    def explanation(self) -> str:
        """Why single calls are not shown, and what to do."""
        schedules = " The rollup does not distinguish schedules." if self.selection.schedules else ""
        days = " Days are counted as a whole." if any(self.window) else ""
        return (
            f"{self.count:,} calls are selected. Single calls, failures, schedules and concurrency are shown for at"
            f" most {reporting.MAX_CALLS:,}: choose a shorter range, or fewer functions.{days}{schedules}"
        )


def estimate_count(rollup: pd.DataFrame, selection: Selection, window: Window) -> int:
    """Estimate how many calls of any status are in a window; a day that is partly in it counts in proportion."""
    rows = select_rollup(rollup, selection.replace(statuses=()), window)
    rows = rows[rows["measure"] == "duration"]
    start, end = window
    first = rows["start_time"]
    last = first + pd.Timedelta(days=1)
    if start:
        first = first.where(first >= pd.Timestamp(start), pd.Timestamp(start))
    if end:
        last = last.where(last <= pd.Timestamp(end), pd.Timestamp(end))
    return round(float((rows["count"] * (last - first).dt.total_seconds() / _DAY_S).sum()))


def select_rollup(rollup: pd.DataFrame, selection: Selection, window: Window) -> pd.DataFrame:
    """Select rows of a rollup by day; days that are partly in the window are taken as a whole."""
    kept = pd.Series(data=True, index=rollup.index)
    if selection.functions:
        kept &= rollup["function"].isin(selection.functions)
    if selection.statuses:
        kept &= rollup["status"].isin(selection.statuses)
    start, end = whole_days(window)
    if start:
        kept &= rollup["start_time"] >= pd.Timestamp(start)
    if end:
        kept &= rollup["start_time"] < pd.Timestamp(end)
    return rollup if kept.all() else rollup[kept]


def whole_days(window: Window) -> Window:
    """Widen a window to whole days in UTC."""
    start, end = window
    return (
        f"{pd.Timestamp(start).floor('D'):%Y-%m-%dT%H:%MZ}" if start else None,
        f"{pd.Timestamp(end).ceil('D'):%Y-%m-%dT%H:%MZ}" if end else None,
    )


def schedule_names(schedules: pd.DataFrame | None) -> dict[int, str]:
    """Map the ids of schedules to their names, as far as these are known."""
    if schedules is None or "name" not in schedules:
        return {}
    named = schedules[schedules["name"].notna() & schedules["schedule_id"].notna()]
    return dict(zip(named["schedule_id"].astype("int64").tolist(), named["name"], strict=True))
