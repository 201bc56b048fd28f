"""The pictures each tab has, as what draws them and as the line of code that does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from callframe import plot
from callframe.dashboard.call_analysis import ROWS_MOST
from callframe.dashboard.rollup_analysis import RollupAnalysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from callframe.dashboard.call_analysis import CallAnalysis


@dataclass(frozen=True)
class PlotSpec:
    """
    A picture.

    Parameters
    ----------
    function
        Its name in `callframe.plot`.
    options
        What it is called with.
    rows
        Whether it has a row a function, so that its height depends on them.
    zoned
        Whether it has times, and so a time zone.
    height
        Inches, where it has no rows.
    """

    function: str
    options: dict[str, Any] = field(default_factory=dict)
    rows: bool = False
    zoned: bool = True
    height: float = 4.2

    def draw(self, look: CallAnalysis | RollupAnalysis, ax: Axes) -> Axes:
        """Draw it of a selection."""
        draw = getattr(plot, self.function)
        return draw(self._of(look), ax=ax, **self._options(look.selection.tz))  # type: ignore[no-any-return]

    def inches(self, look: CallAnalysis) -> float | None:
        """Say how high it is; None where that follows from its rows."""
        if self.function == "failures" and not self.options:
            return 1.5 + 0.44 * max(2, min(len(look.failures), plot.MAX_GROUPS))
        return None if self.rows else self.height

    def note(self, look: CallAnalysis) -> str:
        """Say what of the selection is not in it."""
        count = look.calls["function"].nunique() if self.rows and self.function != "missed_runs" else 0
        return f"The {ROWS_MOST} functions with the most failures, of {count:,}." if count > ROWS_MOST else ""

    def code(self, tz: str, what: str) -> str:
        """Write the line that draws it of what has that name."""
        options = [f"{name}={value!r}" for name, value in self._options(tz).items()]
        return f"cf.plot.{self.function}({', '.join([what, *options])})"

    def _options(self, tz: str) -> dict[str, Any]:
        return {**self.options, "tz": tz} if self.zoned else self.options

    def _of(self, look: CallAnalysis | RollupAnalysis) -> Any:
        if isinstance(look, RollupAnalysis):
            return look.rollup
        if self.function == "missed_runs":
            return look.missed
        return look.worst if self.rows else look.calls


_WEEK = "By hour of the week"
_OVER_TIME = "Over time"

VIEWS: dict[str, dict[str, PlotSpec]] = {
    "Overview": {
        "The last day": PlotSpec("timeline", rows=True),
        _WEEK: PlotSpec("heatmap", {"of": "calls"}, height=3.4),
    },
    "Durations": {
        "By function": PlotSpec("durations", rows=True, zoned=False),
        _OVER_TIME: PlotSpec("durations", {"over": "time"}),
        "Work unfinished": PlotSpec("survival", zoned=False),
    },
    "Schedule delays": {
        "Distribution": PlotSpec("schedule_delays", zoned=False),
        _OVER_TIME: PlotSpec("schedule_delays", {"over": "time"}),
        _WEEK: PlotSpec("heatmap", {"of": "delays"}, height=3.4),
    },
    "Failures": {
        _OVER_TIME: PlotSpec("failures", {"over": "time"}, height=3.4),
        "By kind": PlotSpec("failures", zoned=False),
        _WEEK: PlotSpec("heatmap", {"of": "failures"}, height=3.4),
    },
    "Schedules": {"Missed runs": PlotSpec("missed_runs", rows=True)},
    "Concurrency": {
        "All calls": PlotSpec("concurrency", height=3.6),
        "By function": PlotSpec("concurrency", {"by": "function"}, height=3.8),
    },
    "Calls": {},
    "Data quality": {},
}
"""What can be drawn, by tab and name; the first one is shown at first."""


WIDE: dict[str, PlotSpec] = {
    "Overview": PlotSpec("history", {"of": "calls"}, height=3.6),
    "Durations": PlotSpec("history", {"of": "durations"}, height=3.8),
    "Schedule delays": PlotSpec("history", {"of": "delays"}, height=3.8),
    "Failures": PlotSpec("history", {"of": "failures"}, height=3.6),
}
"""What is drawn of histories too long to look at call by call, by tab."""


def plot_spec(tab: str, name: str) -> PlotSpec | None:
    """Find a picture; the first one of the tab where it has none of that name, None where it has none at all."""
    views = VIEWS[tab]
    return views.get(name) or next(iter(views.values()), None)
