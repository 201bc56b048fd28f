"""What there is to see of a selection that holds too many calls to look at one by one: what their rollup tells."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from callframe.analysis.rollup import summarize_rollup
from callframe.completeness import is_complete
from callframe.reporting import rollup_page

if TYPE_CHECKING:
    from callframe.dashboard.selection import Selection
    from callframe.reporting.key_figures import KeyFigure

_DAY_S = 86_400
_BY = {"status": "status", "1h": "1D", "1d": "1D", "schedule": "function"}


class RollupAnalysis:
    """
    A long selection.

    Parameters
    ----------
    rollup
        Rollup of everything.
    selection
        What is looked at.
    window
        The start times that are selected, as ISO 8601 text; None as far as there are calls.
    """

    wide = True

    def __init__(self, rollup: pd.DataFrame, selection: Selection, window: tuple[str | None, str | None]) -> None:
        self.everything = rollup
        self.selection = selection
        self.window = window

    @cached_property
    def rollup(self) -> pd.DataFrame:
        """The part that is selected, in whole days."""
        return part(self.everything, self.selection, self.window)

    @cached_property
    def figures(self) -> list[KeyFigure]:
        """The numbers at the top."""
        return rollup_page.key_figures(self.rollup, self.selection.tz)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The summary by what the selection groups by, where a rollup knows it; else by function."""
        return summarize_rollup(self.rollup, by=_BY.get(self.selection.by, self.selection.by))

    @property
    def size(self) -> int:
        """How many calls are selected."""
        return rollup_page.count(self.rollup)

    @property
    def complete(self) -> bool | None:
        """Whether all of them were read."""
        return is_complete(self.rollup)

    @property
    def words(self) -> str:
        """Say why single calls are not shown, and what to do."""
        schedules = " Schedules are not told apart here." if self.selection.schedules else ""
        days = " Days are counted whole." if any(self.window) else ""
        return (
            f"{self.size:,} calls are selected. Single calls, failures, schedules and concurrency are shown of at most"
            f" {rollup_page.CALLS_MOST:,}: choose a shorter range, or fewer functions.{days}{schedules}"
        )


def estimate(rollup: pd.DataFrame, selection: Selection, window: tuple[str | None, str | None]) -> int:
    """
    Estimate how many calls lie in a window, of any status: a day that it takes in part counts in proportion.

    Parameters
    ----------
    rollup
        By day.
    selection
        What to take.
    window
        Start times as ISO 8601 text; None as far as there are calls.

    Returns
    -------
    count
        Exact for whole days.
    """
    found = part(rollup, selection, window, any_status=True)
    found = found[found["measure"] == "duration"]
    start, end = window
    first = found["start_time"]
    last = first + pd.Timedelta(days=1)
    if start:
        first = first.where(first >= pd.Timestamp(start), pd.Timestamp(start))
    if end:
        last = last.where(last <= pd.Timestamp(end), pd.Timestamp(end))
    inside = (last - first).dt.total_seconds() / _DAY_S
    return round(float((found["count"] * inside).sum()))


def part(
    rollup: pd.DataFrame, selection: Selection, window: tuple[str | None, str | None], *, any_status: bool = False
) -> pd.DataFrame:
    """
    Take the part of a rollup that is selected.

    Parameters
    ----------
    rollup
        By day.
    selection
        What to take.
    window
        Start times as ISO 8601 text; days that it takes in part are taken whole.
    any_status
        Whether to take every status.

    Returns
    -------
    rollup
        Rows of it.
    """
    kept = pd.Series(data=True, index=rollup.index)
    if selection.functions:
        kept &= rollup["function"].isin(selection.functions)
    if selection.statuses and not any_status:
        kept &= rollup["status"].isin(selection.statuses)
    start, end = whole_days(window)
    if start:
        kept &= rollup["start_time"] >= pd.Timestamp(start)
    if end:
        kept &= rollup["start_time"] < pd.Timestamp(end)
    return rollup if kept.all() else rollup[kept]


def whole_days(window: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
    """Widen a window to the days in UTC that it touches."""
    start, end = window
    return (
        f"{pd.Timestamp(start).floor('D'):%Y-%m-%dT%H:%MZ}" if start else None,
        f"{pd.Timestamp(end).ceil('D'):%Y-%m-%dT%H:%MZ}" if end else None,
    )
