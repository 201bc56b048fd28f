"""
Plots: one function each, a frame in, matplotlib `Axes` out.

A plot is drawn into `ax`, or into a new figure, which a notebook shows at the end of the cell and
`ax.figure.savefig(path)` writes. A footer states what the plot covers.
"""

from callframe.plot.activity_plots import concurrency, heatmap, run_grid, timeline
from callframe.plot.duration_plots import durations, schedule_delays, survival
from callframe.plot.evidence_plots import changes, contrast, findings, incidents
from callframe.plot.failure_plots import MAX_GROUPS, failures, missed_runs
from callframe.plot.history_plots import history

__all__ = [
    "MAX_GROUPS",
    "changes",
    "concurrency",
    "contrast",
    "durations",
    "failures",
    "findings",
    "heatmap",
    "history",
    "incidents",
    "missed_runs",
    "run_grid",
    "schedule_delays",
    "survival",
    "timeline",
]
