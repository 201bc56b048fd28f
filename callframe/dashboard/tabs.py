"""The tabs: a picture, and under it what belongs to it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from callframe.dashboard import tab_tables
from callframe.dashboard.plot_specs import VIEWS, WIDE, plot_spec
from callframe.formatting import printable
from callframe.reporting import rollup_page
from callframe.reporting import tables as report_tables
from callframe.reporting.html import render_part

if TYPE_CHECKING:
    from collections.abc import Callable

    from callframe.dashboard.call_analysis import CallAnalysis
    from callframe.dashboard.renderer import Renderer
    from callframe.dashboard.rollup_analysis import RollupAnalysis
    from callframe.reporting.images import PlotImage
    from callframe.reporting.tables import Table

NO_SCHEDULES = (
    "The schedules are not known, so nothing can be said of missed runs: cf.explore(project) knows them, and"
    " cf.explore(calls, schedules=project.schedules())."
)


class Tab:
    """
    A tab.

    Parameters
    ----------
    name
        Its title.
    screen
        What draws its pictures.
    changed
        Called when a person chooses another picture.
    guard
        Calls a function and shows what goes wrong in it.
    """

    def __init__(
        self, name: str, screen: Renderer, changed: Callable[[], None], guard: Callable[[Callable[[], object]], object]
    ) -> None:
        self.name = name
        self._guard = guard
        self._screen = screen
        self._changed = changed
        self._quiet = False
        self._picture = widgets.HTML()
        self._picture.add_class("callframe-picture")
        self._below = widgets.HTML()
        self.views = widgets.ToggleButtons(options=list(VIEWS[name]), description="Picture")
        self.views.style.button_width = "auto"
        self.views.style.description_width = "initial"
        self.views.observe(self._chosen, names="value")
        self.widget = widgets.VBox(self._parts())
        self.widget.add_class("callframe-panel")

    def choose(self, picture: str) -> None:
        """Set which picture is shown; the first one where there is none of that name."""
        self._quiet = True
        try:
            options = self.views.options
            self.views.value = picture if picture in options else next(iter(options), None)
        finally:
            self._quiet = False

    @property
    def picture(self) -> str:
        """The name of the picture that is shown; empty for the first one."""
        first = next(iter(self.views.options), "")
        return "" if self.views.value in (None, first) else str(self.views.value)

    def draw(self, look: CallAnalysis) -> None:
        """Draw the picture; the rest is worked out by `tell`."""
        self.widget.children = self._parts()
        if not self._below.value:
            self._below.value = paragraph("Working ...", role="status")
        view = plot_spec(self.name, self.picture)
        if view is None or (view.function == "missed_runs" and look.missed is None):
            self._picture.value = ""
            return
        drawn = self._screen.draw(lambda ax: view.draw(look, ax), height=view.inches(look))
        self._picture.value = _img(drawn, view.note(look))

    def survey(self, look: RollupAnalysis) -> None:
        """Show what a rollup tells of a selection that is too long to look at call by call."""
        self.widget.children = [self._picture, self._below]
        view = WIDE.get(self.name)
        drawn = None if view is None else self._screen.draw(lambda ax: view.draw(look, ax), height=view.height)
        self._picture.value = "" if drawn is None else _img(drawn, "")
        self._below.value = paragraph(look.words) + (
            render_part(
                "table", rollup_page.table(look.summary.head(tab_tables.SUMMARY_MOST), look.selection.tz), "wide"
            )
            if self.name == "Overview"
            else ""
        )

    def tell(self, look: CallAnalysis) -> None:
        """Show what stands under the picture."""
        self._below.value = "".join(render_part("table", one, "wide") for one in self._tables(look) if one.rows)

    def _chosen(self, _: Any) -> None:
        if not self._quiet:
            self._changed()

    def _parts(self) -> list[widgets.Widget]:
        several = [self.views] if len(self.views.options) > 1 else []
        return [*several, self._picture, self._below]

    def _tables(self, _: CallAnalysis) -> list[Table]:
        return []


class Overview(Tab):
    """When calls ran, and the summary."""

    def _tables(self, look: CallAnalysis) -> list[Table]:
        return [tab_tables.summary(look)]


class Durations(Tab):
    """How long calls took."""

    def _tables(self, look: CallAnalysis) -> list[Table]:
        return [tab_tables.extremes(look, "duration", "The longest calls")]


class Delays(Tab):
    """How late calls started."""

    def _tables(self, look: CallAnalysis) -> list[Table]:
        return [tab_tables.extremes(look, "schedule_delay", "The latest starts")]


class Schedules(Tab):
    """What schedules missed, and which of them start late or overlap."""

    def tell(self, look: CallAnalysis) -> None:
        """Show the account of the schedules."""
        super().tell(look)
        if look.report is None:
            self._below.value = paragraph(NO_SCHEDULES) + self._below.value
        elif not self._below.value:
            self._below.value = paragraph("Every schedule ran at every slot that was due, in time and alone.")

    def _tables(self, look: CallAnalysis) -> list[Table]:
        found = [tab_tables.late(look), tab_tables.overlaps(look)]
        if look.report is not None and look.missed is not None:
            found = [
                report_tables.schedules(look.report), report_tables.missed(look.missed, look.selection.tz), *found,
            ]  # fmt: skip
        return found


class Concurrency(Tab):
    """How many calls ran at once."""

    def _tables(self, look: CallAnalysis) -> list[Table]:
        return [tab_tables.peaks(look)]


class Quality(Tab):
    """What is odd about the data, and what it rests on."""

    def tell(self, look: CallAnalysis) -> None:
        """Show the oddities, and how completely each function was read."""
        oddities = report_tables.quality_checks(look.calls)
        nothing = "" if oddities.rows else paragraph(f"Nothing odd was found: {oddities.note}")
        self._below.value = nothing + "".join(
            render_part("table", one, "text")
            for one in (oddities, report_tables.coverage_table(look.calls))
            if one.rows
        )


def paragraph(words: str, **attributes: Any) -> str:
    """Write a sentence as HTML."""
    extra = "".join(f' {name.rstrip("_")}="{html.escape(str(value))}"' for name, value in attributes.items())
    return f"<p{extra}>{html.escape(printable(words))}</p>"


def _img(picture: PlotImage, note: str) -> str:
    alt = f"{picture.alt} {note}".strip()
    caption = paragraph(note, class_="note") if note else ""
    return f'<img src="{picture.url}" alt="{html.escape(printable(alt))}" width="{picture.width}">{caption}'
