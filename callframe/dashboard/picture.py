"""The picture of a plot, which can be touched: tooltips, dragged time ranges, marks that filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from callframe.dashboard.toolbar import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from callframe.reporting.rendering import PlotImage


class Picture(anywidget.AnyWidget):  # type: ignore[misc] # anywidget has no complete types
    """
    The image of a plot.

    `on_range` gets the start and end of a dragged range in epoch milliseconds, `on_filter` the filter of a mark and
    whether it is added, `on_undo` nothing; `on_resize` is called when the browser reports another `width` in pixels of
    CSS, or another `pixel_ratio`.
    """

    _esm = traitlets.Unicode(read("picture.js")).tag(sync=True)
    url = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    shape = traitlets.List([0, 0]).tag(sync=True)
    marks: Any = traitlets.List().tag(sync=True)
    time_axes: Any = traitlets.List().tag(sync=True)
    width = traitlets.Int(1100).tag(sync=True)
    pixel_ratio = traitlets.Float(1.0).tag(sync=True)
    theme = traitlets.Unicode("light").tag(sync=True)

    def __init__(
        self,
        on_range: Callable[[float, float], object],
        on_filter: Callable[..., object],
        on_resize: Callable[[], object],
        on_undo: Callable[[], object],
    ) -> None:
        super().__init__()
        self.add_class("callframe-picture")
        self._on_range, self._on_filter, self._on_undo = on_range, on_filter, on_undo
        self.on_msg(self._on_message)
        self.observe(lambda _: on_resize(), names=["width", "pixel_ratio"])

    def show(self, image: PlotImage) -> None:
        """Show a plot."""
        with self.hold_sync():
            self.alt, self.caption, self.shape = image.alt, image.caption, [image.width, image.height]
            self.marks, self.time_axes = list(image.marks), list(image.time_axes)
            self.url = image.url

    def _on_message(self, _: Any, content: dict[str, Any], __: Any) -> None:
        if "range" in content:
            self._on_range(*content["range"])
        elif "filter" in content:
            self._on_filter(content["filter"], add=bool(content["add"]))
        else:
            self._on_undo()
