"""The plots of each tab."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from callframe import plot
from callframe.dashboard.selection_analysis import MAX_ROWS, CallAnalysis, RollupAnalysis

if TYPE_CHECKING:
    import pandas as pd

    from callframe.dashboard.picture import Picture
    from callframe.reporting.rendering import PlotImage, Renderer


@dataclass(frozen=True)
class PlotSpec:
    """A function of `callframe.plot` with its options; the height in inches depends on the rows, if it has `rows`."""

    function: str
    options: dict[str, Any] = field(default_factory=dict)
    rows: bool = False
    has_times: bool = True
    height: float = 4.2

    def render(self, renderer: Renderer, analysis: CallAnalysis | RollupAnalysis, picture: Picture) -> PlotImage:
        """Draw the plot of a selection."""
        return renderer.draw(
            getattr(plot, self.function),
            self._data(analysis),
            caption=self._caption(analysis),
            height=self._height(analysis),
            css_width=picture.width,
            pixel_ratio=picture.pixel_ratio,
            **self.arguments(analysis.selection.tz),
            **self._grid(analysis),
        )

    def _grid(self, analysis: CallAnalysis | RollupAnalysis) -> dict[str, Any]:
        """List what a run grid shows beside the calls."""
        if self.function != "run_grid" or isinstance(analysis, RollupAnalysis):
            return {}
        start, end = analysis.window
        return {"missed": analysis.missed, "start": start, "end": end}

    def arguments(self, tz: str) -> dict[str, Any]:
        """List the keyword arguments of the function."""
        return {**self.options, "tz": tz} if self.has_times else self.options

    def _data(self, analysis: CallAnalysis | RollupAnalysis) -> pd.DataFrame:
        if isinstance(analysis, RollupAnalysis):
            return analysis.rollup
        if self.function == "missed_runs":
            return analysis.missed  # type: ignore[return-value] # tabs check that schedules are known
        if self.function == "concurrency":
            return analysis.running
        return analysis.worst_calls if self.rows else analysis.calls

    def _height(self, analysis: CallAnalysis | RollupAnalysis) -> float | None:
        if isinstance(analysis, CallAnalysis) and self.function == "failures" and not self.options:
            return 1.5 + 0.44 * max(2, min(len(analysis.failures), plot.MAX_GROUPS))
        if isinstance(analysis, CallAnalysis) and self.function == "run_grid":
            return plot.style.grid_height(min(100, analysis.calls["function"].nunique()))
        return None if self.rows else self.height

    def _caption(self, analysis: CallAnalysis | RollupAnalysis) -> str:
        if isinstance(analysis, RollupAnalysis) or not self.rows or self.function == "missed_runs":
            return ""
        count = analysis.calls["function"].nunique()
        return f"The {MAX_ROWS} functions with the most failures, of {count:,}." if count > MAX_ROWS else ""


_WEEK = "By hour of the week"
_OVER_TIME = "Over time"

PLOTS: dict[str, dict[str, PlotSpec]] = {
    "Overview": {
        "Runs": PlotSpec("run_grid"),
        "The last day": PlotSpec("timeline", rows=True),
        _WEEK: PlotSpec("heatmap", {"of": "calls"}, height=3.4),
    },
    "Durations": {
        "By function": PlotSpec("durations", rows=True, has_times=False),
        _OVER_TIME: PlotSpec("durations", {"over": "time"}),
        "Unfinished work": PlotSpec("survival", has_times=False),
    },
    "Delays": {
        "Distribution": PlotSpec("schedule_delays", has_times=False),
        _OVER_TIME: PlotSpec("schedule_delays", {"over": "time"}),
        _WEEK: PlotSpec("heatmap", {"of": "delays"}, height=3.4),
    },
    "Failures": {
        _OVER_TIME: PlotSpec("failures", {"over": "time"}, height=3.4),
        "By group": PlotSpec("failures", has_times=False),
        _WEEK: PlotSpec("heatmap", {"of": "failures"}, height=3.4),
    },
    "Schedules": {"Missed runs": PlotSpec("missed_runs", rows=True)},
    "Concurrency": {
        "All calls": PlotSpec("concurrency", height=3.6),
        "By function": PlotSpec("concurrency", {"by": "function"}, height=3.8),
    },
    "Changes": {},
    "What differs": {},
    "Calls": {},
    "Data quality": {},
}
"""The plots by tab and name; the first one is the default."""

ROLLUP_PLOTS = {
    "Overview": PlotSpec("history", {"of": "calls"}, height=3.6),
    "Durations": PlotSpec("history", {"of": "durations"}, height=3.8),
    "Delays": PlotSpec("history", {"of": "delays"}, height=3.8),
    "Failures": PlotSpec("history", {"of": "failures"}, height=3.6),
}
"""The plots of rollups, by tab."""


def plot_spec(analysis: CallAnalysis | RollupAnalysis) -> PlotSpec | None:
    """Find the plot that a selection shows, the first one of its tab by default; None if there is none."""
    selection = analysis.selection
    if isinstance(analysis, RollupAnalysis):
        return ROLLUP_PLOTS.get(selection.tab)
    plots = PLOTS[selection.tab]
    spec = plots.get(selection.plot) or next(iter(plots.values()), None)
    return None if spec and spec.function == "missed_runs" and analysis.missed is None else spec


def plot_names(analysis: CallAnalysis | RollupAnalysis) -> list[str]:
    """List the plots to choose from."""
    return [] if isinstance(analysis, RollupAnalysis) else list(PLOTS[analysis.selection.tab])
