"""The controls of a dashboard, and the selection they stand for. Nothing chosen means all, everywhere."""

from __future__ import annotations

import contextlib
import zoneinfo
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from callframe.errors import ArgumentError
from callframe.explore.offer import Offer
from callframe.explore.selection import BY, LAST, Selection, stretch
from callframe.report.tables import cut
from callframe.window import iso, zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BY = {"function": "Function", "schedule": "Schedule", "status": "Status", "1h": "Hour", "1d": "Day"}
_LAST = {"1h": "1 h", "24h": "24 h", "7d": "7 d"}
_ALL = "all"
_ROWS = 7


class Controls:
    """
    What a selection is made with.

    Parameters
    ----------
    changed
        Called once after each change that a person makes.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._quiet = False
        self._offer = Offer()
        self._entered = ""
        self._look: dict[str, str] = {}
        self._times: tuple[str | None, str | None] = (None, None)
        self.search = widgets.Text(
            description="Search functions", placeholder="part of a name; Enter chooses all that have it"
        )
        self.functions = widgets.SelectMultiple(description="Functions", rows=_ROWS)
        self.all_functions = widgets.Button(description="All functions", tooltip="Choose no function: that means all")
        self.schedules = widgets.SelectMultiple(description="Schedules", rows=_ROWS)
        self.all_schedules = widgets.Button(description="All schedules", tooltip="Choose no schedule: that means all")
        self.statuses: dict[str, widgets.ToggleButton] = {}
        self._status_box = widgets.HBox(layout={"flex_flow": "row wrap"})
        self.last = widgets.ToggleButtons(
            options=[*((label, value) for value, label in _LAST.items()), ("All", _ALL)],
            value=_ALL,
            description="Range",
        )
        self.start = widgets.NaiveDatetimePicker(description="From")
        self.end = widgets.NaiveDatetimePicker(description="To")
        self.by = widgets.Dropdown(options=[(label, value) for value, label in _BY.items()], description="Group by")
        zones = ["UTC", *sorted(zoneinfo.available_timezones() - {"UTC"})]
        self.tz = widgets.Combobox(options=zones, value="UTC", description="Time zone", continuous_update=False)
        self.widget = self._laid_out()
        self._wire()

    def fill(self, offer: Offer) -> None:
        """
        Offer what there is to choose from; what was chosen stays so where it is still there.

        Parameters
        ----------
        offer
            What there is.
        """
        with self._quietly():
            self._offer = offer
            chosen = self.selection
            self._offer_functions(chosen.functions)
            self.schedules.options = offer.schedules
            offered = {value for _, value in offer.schedules}
            self.schedules.value = [one for one in chosen.schedules if one in offered]
            self._offer_statuses(offer.statuses, chosen.statuses)

    @property
    def selection(self) -> Selection:
        """What is chosen now."""
        last = self.last.value
        times = {"last": last} if last not in (None, _ALL) else {}
        if last is None:
            times = {"start": self._times[0], "end": self._times[1]}
        return Selection(
            functions=self.functions.value,
            statuses=tuple(name for name, button in self.statuses.items() if button.value),
            schedules=self.schedules.value,
            by=self.by.value,
            tz=self.tz.value,
            **times,
            **self._look,
        )

    @selection.setter
    def selection(self, selection: Selection) -> None:
        with self._quietly():
            self.search.value = ""
            self._offer_functions(selection.functions)
            offered = {value for _, value in self.schedules.options}
            self.schedules.value = [one for one in selection.schedules if one in offered]
            for name, button in self.statuses.items():
                button.value = name in selection.statuses
            self.tz.value = selection.tz
            self.by.options = [*_BY_OPTIONS, *([] if selection.by in BY else [(selection.by, selection.by)])]
            self.by.value = selection.by
            known = selection.last in LAST or selection.last is None
            self.last.options = [*_LAST_OPTIONS, *([] if known else [(selection.last, selection.last)]), ("All", _ALL)]
            self.last.value = selection.last or (None if selection.start or selection.end else _ALL)
            self._look = {"tab": selection.tab, "picture": selection.picture}
            self._show_times(selection.start, selection.end)

    def look_at(self, tab: str, picture: str) -> None:
        """Note which tab and picture are looked at."""
        self._look = {"tab": tab, "picture": picture}

    def _laid_out(self) -> widgets.Box:
        for one in (self.search, self.functions, self.schedules):
            one.add_class("callframe-stacked")
        for one in (self.functions, self.schedules, self.search):
            one.layout.width = "auto"
        for one in (self.start, self.end, self.by, self.tz):
            one.layout.width = "auto"
        self.last.style.button_width = "auto"
        for one in (self.last, self.start, self.end, self.by, self.tz):
            one.style.description_width = "72px"
        title = widgets.HTML("<span>Status</span>")
        title.add_class("callframe-label")
        status = widgets.HBox([title, self._status_box])
        rest = widgets.Box([status, self.last, self.start, self.end, self.by, self.tz])
        for one in rest.children:
            one.layout.flex = "1 1 300px"
        rest.layout.flex_flow = "row wrap"
        rest.layout.align_content = "flex-start"
        columns = [
            (widgets.VBox([self.search, self.functions, self.all_functions]), "2 1 300px"),
            (widgets.VBox([self.schedules, self.all_schedules]), "1 1 260px"),
            (rest, "1 1 320px"),
        ]
        for column, flex in columns:
            column.layout.flex = flex
        box = widgets.Box([column for column, _ in columns], layout={"flex_flow": "row wrap"})
        box.add_class("callframe-controls")
        return box

    def _wire(self) -> None:
        for one in (self.functions, self.schedules, self.by):
            one.observe(self._tell, names="value")
        self.tz.observe(self._zoned, names="value")
        self.search.observe(self._filter, names="value")
        self.search.on_msg(self._sent)
        self.last.observe(self._quick, names="value")
        for picker in (self.start, self.end):
            picker.observe(self._picked, names="value")
        self.all_functions.on_click(lambda _: self._clear(self.functions))
        self.all_schedules.on_click(lambda _: self._clear(self.schedules))

    def _tell(self, _: Any = None) -> None:
        if not self._quiet:
            self._changed()

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Change controls without taking that for a person's change."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _filter(self, _: Any) -> None:
        if self._quiet:
            return
        with self._quietly():
            self._offer_functions(self.functions.value)
        if self._entered and self.search.value.startswith(self._entered):  # typed before Enter, and told after it
            self._choose_found()
        else:
            self._entered = ""

    def _sent(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Choose what the search offers when a person presses Enter: JupyterLab keeps arrow keys from lists."""
        self._entered = self.search.value
        if content.get("event") == "submit" and self._entered:
            self._choose_found()

    def _choose_found(self) -> None:
        sought = self.search.value.casefold()
        with self._quietly():
            self.functions.value = [name for _, name in self.functions.options if sought in name.casefold()]
        self._tell()

    def _clear(self, choice: widgets.SelectMultiple) -> None:
        with self._quietly():
            self.search.value = ""
            self._offer_functions(() if choice is self.functions else self.functions.value)
            choice.value = ()
        self._tell()

    def _quick(self, change: dict[str, Any]) -> None:
        if self._quiet or change["new"] is None:
            return
        with self._quietly():
            self._show_times(*stretch(self._offer.end_ms, self.selection))
        self._tell()

    def _picked(self, _: Any) -> None:
        if self._quiet:
            return
        with self._quietly():
            self._times = (self._time(self.start.value), self._time(self.end.value))
            self.last.value = None if any(self._times) else _ALL
        self._tell()

    def _zoned(self, _: Any) -> None:
        if self._quiet:
            return
        with self._quietly(), contextlib.suppress(ArgumentError):  # which the redraw will say
            self._show_times(*self._times)
        self._tell()

    def _offer_functions(self, chosen: tuple[str, ...]) -> None:
        """Offer the functions that match the search, and those that are chosen."""
        sought = self.search.value.casefold()
        offered = [
            (label, name) for label, name in self._offer.functions if sought in name.casefold() or name in chosen
        ]
        self.functions.options = offered
        names = {name for _, name in offered}
        self.functions.value = [name for name in chosen if name in names]

    def _offer_statuses(self, names: list[str], chosen: tuple[str, ...]) -> None:
        self.statuses = {
            name: widgets.ToggleButton(value=name in chosen, description=cut(name, 24).text, layout={"width": "auto"})
            for name in names
        }
        for button in self.statuses.values():
            button.observe(self._tell, names="value")
        self._status_box.children = tuple(self.statuses.values())

    def _show_times(self, start: str | None, end: str | None) -> None:
        self._times = (start, end)
        for picker, time in ((self.start, start), (self.end, end)):
            stamp = None if time is None else pd.Timestamp(time).tz_convert(zone(self.tz.value))
            picker.value = None if stamp is None else stamp.tz_localize(None).to_pydatetime()

    def _time(self, value: Any) -> str | None:
        """Read a time that was picked, which is in the time zone of the display."""
        if value is None:
            return None
        stamp = pd.Timestamp(value).tz_localize(zone(self.tz.value), ambiguous=True, nonexistent="shift_forward")
        return iso(int(stamp.timestamp() * 1000))


_BY_OPTIONS = [(label, value) for value, label in _BY.items()]
_LAST_OPTIONS = [(label, value) for value, label in _LAST.items()]
