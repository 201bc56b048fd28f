"""The tabs: a picture, and under it what belongs to it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from callframe.display import printable
from callframe.explore import tables
from callframe.explore.pictures import VIEWS, WIDE, view_of
from callframe.report import history
from callframe.report import tables as report_tables
from callframe.report.html import part

if TYPE_CHECKING:
    from collections.abc import Callable

    from callframe.explore.history import History
    from callframe.explore.look import Look
    from callframe.explore.screen import Screen
    from callframe.report.pictures import Picture
    from callframe.report.tables import Table

NO_SCHEDULES = (
    "The schedules are not known, so nothing can be said of missed runs: cf.explore(project) knows them, and"
    " cf.explore(calls, schedules=project.schedules())."
)


class Panel:
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
        self, name: str, screen: Screen, changed: Callable[[], None], guard: Callable[[Callable[[], object]], object]
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

    def draw(self, look: Look) -> None:
        """Draw the picture; the rest is worked out by `tell`."""
        self.widget.children = self._parts()
        if not self._below.value:
            self._below.value = paragraph("Working ...", role="status")
        view = view_of(self.name, self.picture)
        if view is None or (view.function == "missed_runs" and look.missed is None):
            self._picture.value = ""
            return
        drawn = self._screen.draw(lambda ax: view.draw(look, ax), height=view.inches(look))
        self._picture.value = _img(drawn, view.note(look))

    def survey(self, look: History) -> None:
        """Show what a rollup tells of a selection that is too long to look at call by call."""
        self.widget.children = [self._picture, self._below]
        view = WIDE.get(self.name)
        drawn = None if view is None else self._screen.draw(lambda ax: view.draw(look, ax), height=view.height)
        self._picture.value = "" if drawn is None else _img(drawn, "")
        self._below.value = paragraph(look.words) + (
            part("table", history.table(look.summary.head(tables.SUMMARY_MOST), look.selection.tz), "wide")
            if self.name == "Overview"
            else ""
        )

    def tell(self, look: Look) -> None:
        """Show what stands under the picture."""
        self._below.value = "".join(part("table", one, "wide") for one in self._tables(look) if one.rows)

    def _chosen(self, _: Any) -> None:
        if not self._quiet:
            self._changed()

    def _parts(self) -> list[widgets.Widget]:
        several = [self.views] if len(self.views.options) > 1 else []
        return [*several, self._picture, self._below]

    def _tables(self, _: Look) -> list[Table]:
        return []


class Overview(Panel):
    """When calls ran, and the summary."""

    def _tables(self, look: Look) -> list[Table]:
        return [tables.summary(look)]


class Durations(Panel):
    """How long calls took."""

    def _tables(self, look: Look) -> list[Table]:
        return [tables.extremes(look, "duration", "The longest calls")]


class Delays(Panel):
    """How late calls started."""

    def _tables(self, look: Look) -> list[Table]:
        return [tables.extremes(look, "schedule_delay", "The latest starts")]


class Schedules(Panel):
    """What schedules missed, and which of them start late or overlap."""

    def tell(self, look: Look) -> None:
        """Show the account of the schedules."""
        super().tell(look)
        if look.report is None:
            self._below.value = paragraph(NO_SCHEDULES) + self._below.value
        elif not self._below.value:
            self._below.value = paragraph("Every schedule ran at every slot that was due, in time and alone.")

    def _tables(self, look: Look) -> list[Table]:
        found = [tables.late(look), tables.overlaps(look)]
        if look.report is not None and look.missed is not None:
            found = [
                report_tables.schedules(look.report), report_tables.missed(look.missed, look.selection.tz), *found,
            ]  # fmt: skip
        return found


class Concurrency(Panel):
    """How many calls ran at once."""

    def _tables(self, look: Look) -> list[Table]:
        return [tables.peaks(look)]


class Quality(Panel):
    """What is odd about the data, and what it rests on."""

    def tell(self, look: Look) -> None:
        """Show the oddities, and how completely each function was read."""
        oddities = report_tables.oddities(look.calls)
        nothing = "" if oddities.rows else paragraph(f"Nothing odd was found: {oddities.note}")
        self._below.value = nothing + "".join(
            part("table", one, "text") for one in (oddities, report_tables.basis(look.calls)) if one.rows
        )


def paragraph(words: str, **attributes: Any) -> str:
    """Write a sentence as HTML."""
    extra = "".join(f' {name.rstrip("_")}="{html.escape(str(value))}"' for name, value in attributes.items())
    return f"<p{extra}>{html.escape(printable(words))}</p>"


def _img(picture: Picture, note: str) -> str:
    alt = f"{picture.alt} {note}".strip()
    caption = paragraph(note, class_="note") if note else ""
    return f'<img src="{picture.url}" alt="{html.escape(printable(alt))}" width="{picture.width}">{caption}'
