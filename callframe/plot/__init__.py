"""
One function a picture: frame in, Axes out.

A picture is drawn into `ax`, or into a new figure, which a notebook shows at the end of the cell and
`ax.figure.savefig(path)` writes. Each says at its foot what it rests on.
"""

from callframe.plot.calendar import heatmap, timeline
from callframe.plot.spreads import durations, schedule_delays, survival
from callframe.plot.troubles import GROUPS_MOST, concurrency, failures, missed_runs
from callframe.plot.years import history

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
