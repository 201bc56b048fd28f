"""The picture of a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from callframe.reporting.rendering import render_part

if TYPE_CHECKING:
    from collections.abc import Callable

    from callframe.reporting.rendering import PlotImage


class Picture(widgets.HTML):  # type: ignore[misc] # ipywidgets has no types
    """The image of a plot; its parts cannot be pressed yet."""

    def __init__(self, *callbacks: Callable[..., Any]) -> None:
        super().__init__()
        self._callbacks = callbacks
        self.add_class("callframe-picture")

    def show(self, image: PlotImage) -> None:
        """Show a plot."""
        self.value = render_part("plot", image)
