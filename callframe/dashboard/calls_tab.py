"""The tab of single calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from callframe.dashboard import call_table
from callframe.dashboard.tabs import Tab, paragraph
from callframe.errors import CallframeError

if TYPE_CHECKING:
    from callframe.dashboard.call_analysis import CallAnalysis


class CallsTab(Tab):
    """
    Single calls, searched and ordered among all that are selected, then in the table among those it holds.

    Parameters
    ----------
    *given
        As for a panel.
    """

    def __init__(self, *given: Any) -> None:
        self._look: CallAnalysis | None = None
        self.order = widgets.Dropdown(options=list(call_table.ORDERS), description="Take first")
        self.search = widgets.Text(
            description="Search all",
            placeholder="part of a function, status, error or id; then Enter",
            continuous_update=False,
            layout={"width": "420px"},
        )
        for one in (self.order, self.search):
            one.observe(lambda _: self._guard(self._show), names="value")
        super().__init__(*given)

    def tell(self, look: CallAnalysis) -> None:
        """Show the calls."""
        self._look = look
        self._show()

    def _parts(self) -> list[widgets.Widget]:
        return [widgets.Box([self.order, self.search], layout={"flex_flow": "row wrap"}), self._below]

    def _show(self) -> None:
        if self._look is None:
            return
        shown, found = call_table.shown(self._look, self.order.value, self.search.value)
        if not found:
            self._below.value = paragraph("No call that is selected holds that." if self.search.value else "No calls.")
            return
        all_of = f"{found:,} call{'' if found == 1 else 's'}"
        words = f"{all_of}." if found == len(shown) else f"{len(shown):,} of {all_of}: export has them all."
        try:
            table = call_table.table_html(shown)
        except CallframeError as error:
            words, table = str(error), ""
        self._below.value = paragraph(words, class_="note") + table
