"""
One function a picture: frame in, Axes out.

A picture is drawn into `ax`, or into a new figure, which a notebook shows at the end of the cell and
`ax.figure.savefig(path)` writes. Each says at its foot what it rests on.
"""

from callframe.plot.activity_plots import heatmap, timeline
from callframe.plot.duration_plots import durations, schedule_delays, survival
from callframe.plot.failure_plots import GROUPS_MOST, concurrency, failures, missed_runs
from callframe.plot.history_plots import history

__all__ = [
    "GROUPS_MOST",
    "concurrency",
    "durations",
    "failures",
    "heatmap",
    "history",
    "missed_runs",
    "schedule_delays",
    "survival",
    "timeline",
]
