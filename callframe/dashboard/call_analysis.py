"""What there is to see of a selection; each part is worked out when it is first looked at."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe import frame
from callframe.analysis.concurrency import concurrency_peaks, overlapping_runs
from callframe.analysis.failures import failure_groups, failures
from callframe.analysis.schedules import missed_runs, schedule_report
from callframe.analysis.summary import summarize
from callframe.completeness import is_complete
from callframe.dashboard.filter_options import schedule_names
from callframe.dashboard.selection import end_ms, select, stretch
from callframe.reporting.key_figures import KeyFigure, key_figures

if TYPE_CHECKING:
    from callframe.dashboard.selection import Selection

ROWS_MOST = 30
"""Functions that a picture of rows has; more could not be read."""


_OF_CALLS = (
    "calls", "worst", "failures", "failed", "schedules", "report", "missed", "late", "overlaps", "peaks",
    "_of_any_status", "_schedule_names",
)  # fmt: skip


class CallAnalysis:
    """
    A selection of calls, and what is measured of it.

    Parameters
    ----------
    everything
        Call frame to select from.
    schedules
        What `Project.schedules` gave, None where the schedules are not known.
    selection
        What is looked at.
    """

    wide = False

    def __init__(self, everything: pd.DataFrame, schedules: pd.DataFrame | None, selection: Selection) -> None:
        self.everything = everything
        self.selection = selection
        self._schedules = schedules

    def seen_as(self, selection: Selection) -> CallAnalysis:
        """Look at the same calls in another way; what does not depend on that is not worked out again."""
        other = CallAnalysis(self.everything, self._schedules, selection)
        kept = {name: value for name, value in vars(self).items() if name in _OF_CALLS}
        vars(other).update(kept)
        return other

    @cached_property
    def calls(self) -> pd.DataFrame:
        """The selected calls."""
        return select(self.everything, self.selection)

    @cached_property
    def worst(self) -> pd.DataFrame:
        """The selected calls of no more functions than a picture can have rows: those with the most failures."""
        if self.calls["function"].nunique() <= ROWS_MOST:
            return self.calls
        failed = self.calls["status"].isin(frame.FAILURES)
        counts = failed.groupby(self.calls["function"], observed=True).agg(["sum", "size"])
        worst = counts.sort_values(["sum", "size"], ascending=False, kind="stable").index[:ROWS_MOST]
        return self.calls[self.calls["function"].isin(worst)]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The summary by what the selection groups by."""
        return summarize(self.calls, by=self.selection.by)

    @cached_property
    def figures(self) -> list[KeyFigure]:
        """The numbers at the top."""
        return key_figures(self.calls, self.report, self.selection.tz)

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The kinds of failures."""
        return failures(self.calls)

    @cached_property
    def failed(self) -> pd.DataFrame:
        """The calls that failed, the latest first, with the `group` of each."""
        rows = self.calls[self.calls["status"].isin(frame.FAILURES)]
        return rows.assign(group=failure_groups(rows)).iloc[::-1]

    @cached_property
    def schedules(self) -> pd.DataFrame | None:
        """The schedules that are selected."""
        found = self._schedules
        if found is None:
            return None
        if self.selection.functions:
            found = found[found["function"].isin(self.selection.functions)]
        if self.selection.schedules:
            found = found[found["schedule_id"].isin(self.selection.schedules)]
        return found

    @cached_property
    def report(self) -> pd.DataFrame | None:
        """The account of the schedules."""
        return None if self.schedules is None else schedule_report(self._of_any_status, self.schedules)

    @cached_property
    def missed(self) -> pd.DataFrame | None:
        """The runs that schedules missed."""
        return None if self.schedules is None else missed_runs(self._of_any_status, self.schedules)

    @cached_property
    def late(self) -> pd.DataFrame:
        """The summary of scheduled calls by schedule and function, the one with the most late ones first."""
        scheduled = self.calls[self.calls["schedule_id"].notna()]
        found = summarize(scheduled, by=["schedule", "function"])
        late = (found["late_rate"] * found["scheduled"]).rename("late")
        return found.assign(late=late).sort_values("late", ascending=False, kind="stable")

    @cached_property
    def overlaps(self) -> pd.DataFrame:
        """The calls that started while an earlier one of their schedule still ran."""
        return overlapping_runs(self.calls)

    @cached_property
    def peaks(self) -> pd.DataFrame:
        """How many calls of each function ran at once."""
        return concurrency_peaks(self.calls, by="function")

    def schedule_name(self, schedule_id: Any) -> str:
        """Name a schedule, by its id where no name is known."""
        return "no schedule" if pd.isna(schedule_id) else str(self._schedule_names.get(schedule_id, schedule_id))

    @cached_property
    def _schedule_names(self) -> dict[int, str]:
        return schedule_names(self._schedules)

    @property
    def size(self) -> int:
        """How many calls are selected."""
        return len(self.calls)

    @property
    def complete(self) -> bool | None:
        """Whether all of them were read."""
        return is_complete(self.calls)

    @property
    def window(self) -> tuple[str | None, str | None]:
        """The start times that are selected, as ISO 8601 text."""
        return stretch(end_ms(self.everything), self.selection)

    @cached_property
    def _of_any_status(self) -> pd.DataFrame:
        """The calls that fill slots: a slot is not missed because its call was not selected for its status."""
        if not self.selection.statuses:
            return self.calls
        return select(self.everything, self.selection.replace(statuses=()))
