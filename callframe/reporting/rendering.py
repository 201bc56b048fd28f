"""Plots as PNG images, and pages from templates."""

from __future__ import annotations

import base64
import functools
import io
import threading
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from callframe.errors import printable
from callframe.formatting import table_html
from callframe.plot import marks, style

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes

    from callframe.plot.marks import Box

DPI = 140
_MIN_WIDTH = 480
_MARGIN = 0.08
"""Inches around everything in a plot."""


@dataclass(frozen=True)
class PlotImage:
    """
    A plot as a `data:` URL, with its description for people who cannot see it, and its size in CSS pixels.

    `marks` and `time_axes` are what can be pointed at.
    """

    url: str
    alt: str
    caption: str
    width: int
    height: int
    marks: list[tuple[Box, str, dict[str, Any]]] = field(default_factory=list)
    time_axes: list[tuple[Box, float, float]] = field(default_factory=list)


class Renderer:
    """Draws plots as PNG, one after the other into the same figure, without pyplot; threads take turns."""

    def __init__(self, width: float = style.WIDTH, css_dpi: float = 112) -> None:
        self.figure = Figure(figsize=(width, 4.0), dpi=DPI, facecolor="white")
        self.png = b""
        self._canvas = FigureCanvasAgg(self.figure)
        self._width, self._css_dpi = width, css_dpi
        self._lock = threading.RLock()

    def draw(
        self,
        function: Callable[..., Axes],
        data: pd.DataFrame,
        *,
        caption: str = "",
        height: float | None = None,
        css_width: int | None = None,
        pixel_ratio: float | None = None,
        **options: Any,
    ) -> PlotImage:
        """
        Draw a plot, whatever style the user has set; without a height in inches it depends on the rows.

        Its width is in pixels of CSS, of which the screen has `pixel_ratio` to each.
        """
        width = self._width if css_width is None else max(css_width, _MIN_WIDTH) / self._css_dpi
        dpi = DPI if pixel_ratio is None else self._css_dpi * pixel_ratio
        with self._lock, mpl.rc_context():
            mpl.rcdefaults()
            self.figure.clear()
            self.figure.set_size_inches(width, height or style.rows_height(0))
            ax = function(data, ax=self.figure.add_subplot(), **options)
            if height is None:
                self.figure.set_size_inches(width, style.rows_height(len(ax.get_yticks())))
            self._fit()
            file = io.BytesIO()
            self.figure.savefig(file, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
            self.png = file.getvalue()
            url = f"data:image/png;base64,{base64.b64encode(self.png).decode()}"
            width_px, height_px = (round(inches * self._css_dpi) for inches in self.figure.get_size_inches())
            touched = marks.of_figure(self.figure), marks.time_axes(self.figure)
            return PlotImage(url, _describe(ax, caption), caption, width_px, height_px, *touched)

    def _fit(self) -> None:
        """Fit the axes into the space that their labels leave: as a layout engine does, in a tenth of the time."""
        width, height = self.figure.get_size_inches()
        tight = self.figure.get_tightbbox(self._canvas.get_renderer())  # in inches
        boxes = [ax.get_position() for ax in self.figure.axes]
        left, bottom = min(box.x0 for box in boxes), min(box.y0 for box in boxes)
        right, top = max(box.x1 for box in boxes), max(box.y1 for box in boxes)
        low = np.array([left - tight.x0 / width + _MARGIN / width, bottom - tight.y0 / height + _MARGIN / height])
        high = np.array(
            [right - tight.x1 / width + 1 - _MARGIN / width, top - tight.y1 / height + 1 - _MARGIN / height]
        )
        scale = np.maximum(high - low, 0.2) / np.array([right - left, top - bottom])
        for ax, box in zip(self.figure.axes, boxes, strict=True):
            corner = low + (np.array([box.x0, box.y0]) - (left, bottom)) * scale
            ax.set_position((*corner, box.width * scale[0], box.height * scale[1]))


@functools.cache
def environment() -> jinja2.Environment:
    """Create the environment of the templates, which escapes all text and replaces control characters."""
    templates = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(read_text),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str and not value.isprintable() else value,
    )
    templates.globals["table_html"] = table_html
    return templates


def read_text(name: str) -> str:
    """Read a template or style sheet of this package."""
    return resources.files("callframe.reporting").joinpath(name).read_text(encoding="utf-8")


def render_part(name: str, *values: Any) -> str:
    """Render a macro of `parts.html`, with all text escaped."""
    macro = getattr(environment().get_template("parts.html").module, name)
    return str(macro(*values))


def _describe(ax: Axes, caption: str) -> str:
    """Describe a plot by its title, caption and footer."""
    footer = " ".join(ax.texts[-1].get_text().split()).replace(r"\$", "$")
    return " ".join(part for part in (f"{ax.get_title(loc='left')}.", caption, f"{footer}.") if part)
