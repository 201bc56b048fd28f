"""One figure that every picture of a dashboard is drawn into, without pyplot, and read from as a PNG."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from callframe.plot import style
from callframe.reporting.images import PlotImage, alt_text, data_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

WIDTH, DPI, CSS_DPI = 9.0, 140, 128

_MARGIN = 0.08
"""Inches around everything."""


class Renderer:
    """Draws one picture after the other into the same figure; two threads take turns."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH, 4.0), dpi=DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self.figure)
        self._lock = threading.RLock()
        self.png = b""

    def draw(self, draw: Callable[[Axes], Axes], *, height: float | None = None) -> PlotImage:
        """
        Draw a picture.

        Parameters
        ----------
        draw
            Draws into the axes it is given, and says at the foot what that rests on.
        height
            Inches; by default as many as its rows need.

        Returns
        -------
        picture
            With what it shows in words; drawn as matplotlib does out of the box, whatever style the user has set.
        """
        with self._lock, mpl.rc_context():
            mpl.rcdefaults()
            self.figure.clear()
            self.figure.set_size_inches(WIDTH, height or style.rows_height(0))
            ax = draw(self.figure.add_subplot())
            if height is None:
                self.figure.set_size_inches(WIDTH, style.rows_height(len(ax.get_yticks())))
            self._fit()
            file = io.BytesIO()
            self.figure.savefig(file, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
            self.png = file.getvalue()
            size = (round(one * CSS_DPI) for one in self.figure.get_size_inches())
            return PlotImage(data_url(self.png), alt_text(ax), "", *size)

    def _fit(self) -> None:
        """Give the axes all the room that their labels leave: as a layout engine does, in a tenth of the time."""
        width, height = self.figure.get_size_inches()
        tight = self.figure.get_tightbbox(self._canvas.get_renderer())  # in inches
        boxes = [ax.get_position() for ax in self.figure.axes]
        left, bottom = min(box.x0 for box in boxes), min(box.y0 for box in boxes)
        right, top = max(box.x1 for box in boxes), max(box.y1 for box in boxes)
        low = np.array([left - tight.x0 / width + _MARGIN / width, bottom - tight.y0 / height + _MARGIN / height])
        high = np.array(
            [right - tight.x1 / width + 1 - _MARGIN / width, top - tight.y1 / height + 1 - _MARGIN / height]
        )
        room = np.maximum(high - low, 0.2)
        scale = room / np.array([right - left, top - bottom])
        for ax, box in zip(self.figure.axes, boxes, strict=True):
            corner = low + (np.array([box.x0, box.y0]) - (left, bottom)) * scale
            ax.set_position((*corner, box.width * scale[0], box.height * scale[1]))
