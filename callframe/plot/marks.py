"""What can be pointed at in a plot: boxes in the coordinates of the data, with a text and a filter each."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import dates

from callframe.timespan import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Box = tuple[float, float, float, float]
    """Left, top, width and height as fractions of the figure, from its top left."""


class _Marks(NamedTuple):
    """Opposite corners of boxes, as rows of x and y, with their texts and filters; rows are as wide as the figure."""

    low: np.ndarray
    high: np.ndarray
    texts: Sequence[str]
    filters: Sequence[dict[str, Any]]
    are_rows: bool = False


_MARKS: weakref.WeakKeyDictionary[Axes, list[_Marks]] = weakref.WeakKeyDictionary()


def add(  # noqa: PLR0917 - as a plot passes them
    ax: Axes, x0: Any, x1: Any, y0: Any, y1: Any, texts: Sequence[str], filters: Sequence[dict[str, Any]]
) -> None:
    """Add boxes to a plot; a filter has the fields of a selection of the dashboard that a click chooses."""
    if not texts:
        return
    low, high = (np.column_stack(np.broadcast_arrays(x, y)).astype("float64") for x, y in ((x0, y0), (x1, y1)))
    _MARKS.setdefault(ax, []).append(_Marks(low, high, texts, filters))


def add_rows(ax: Axes, texts: Sequence[str], filters: Sequence[dict[str, Any]]) -> None:
    """Add the rows 0, 1, 2 ... of a plot, with their labels."""
    rows = np.arange(len(texts))
    x = np.full(len(rows), ax.get_xlim()[0])
    low, high = (np.column_stack([x, rows + edge]) for edge in (-0.5, 0.5))
    if len(rows):
        _MARKS.setdefault(ax, []).insert(0, _Marks(low, high, texts, filters, are_rows=True))


def of_figure(figure: Figure) -> list[tuple[Box, str, dict[str, Any]]]:
    """List the marks of a figure."""
    found: list[tuple[Box, str, dict[str, Any]]] = []
    size = np.array([figure.bbox.width, figure.bbox.height])
    for ax in figure.axes:
        for marks in _MARKS.get(ax, ()):
            corners = [ax.transData.transform(corner) / size for corner in (marks.low, marks.high)]
            low, high = (np.clip(edge(corners[0], corners[1]), 0, 1) for edge in (np.minimum, np.maximum))
            if marks.are_rows:
                low[:, 0], high[:, 0] = 0, 1
            boxes = np.column_stack([low[:, 0], 1 - high[:, 1], high - low]).round(4).tolist()
            found += zip(map(tuple, boxes), marks.texts, marks.filters, strict=True)
    return found


def time_axes(figure: Figure) -> list[tuple[Box, float, float]]:
    """List the axes whose x is time, each with its range in epoch milliseconds."""
    found: list[tuple[Box, float, float]] = []
    for ax in figure.axes:
        if isinstance(ax.xaxis.get_major_locator(), dates.AutoDateLocator):
            box = ax.get_position()
            start, end = (float(edge) * DAY_MS for edge in ax.get_xlim())
            found.append(((float(box.x0), float(1 - box.y1), float(box.width), float(box.height)), start, end))
    return found
