"""
One function a picture: frame in, Axes out.

A picture is drawn into `ax`, or into a new figure, which a notebook shows at the end of the cell and
`ax.figure.savefig(path)` writes. Each says at its foot what it rests on.
"""

from callframe.plot.calendar import heatmap, timeline
from callframe.plot.spreads import durations, failures, schedule_delays

__all__ = ["durations", "failures", "heatmap", "schedule_delays", "timeline"]
