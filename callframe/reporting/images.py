"""The pictures of a report, as PNG files within the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from callframe.plot import style

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

DPI = 140
CSS_DPI = 112
"""Pixels of the page an inch of a picture takes."""


@dataclass(frozen=True)
class PlotImage:
    """
    One picture.

    Parameters
    ----------
    url
        All of it, as a `data:` URL.
    alt
        What it shows, for those who do not see it.
    caption
        How to read it.
    width, height
        Pixels of the page it takes.
    """

    url: str
    alt: str
    caption: str
    width: int
    height: int


def render_plot(draw: Callable[[Axes], Axes], caption: str, *, height: float | None = None) -> PlotImage:
    """
    Draw a picture.

    Parameters
    ----------
    draw
        Draws into the axes it is given, and says at the foot what that rests on.
    caption
        How to read it.
    height
        Inches; by default as many as its rows need.

    Returns
    -------
    picture
        Drawn as matplotlib does out of the box, whatever style the user has set, and without pyplot.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        figure = Figure(figsize=(style.WIDTH, height or 4.0), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        ax = draw(figure.add_subplot())
        if height is None:
            figure.set_size_inches(style.WIDTH, style.rows_height(len(ax.get_yticks())))
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
    inches = figure.get_size_inches()
    return PlotImage(
        data_url(file.getvalue()), alt_text(ax, caption), caption, *(round(one * CSS_DPI) for one in inches)
    )


def data_url(png: bytes) -> str:
    """Write a PNG file as a `data:` URL."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def alt_text(ax: Axes, caption: str = "") -> str:
    """Say what a picture shows, for those who do not see it: its title, how to read it, and its foot."""
    foot = " ".join(ax.texts[-1].get_text().split()).replace(r"\$", "$")
    return " ".join(part for part in (f"{ax.get_title(loc='left')}.", caption, f"{foot}.") if part)
