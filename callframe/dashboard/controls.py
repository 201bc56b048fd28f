"""The controls of a dashboard, and the selection they stand for. Nothing chosen means all, everywhere."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import zoneinfo
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from callframe.dashboard.filter_options import FilterOptions, label
from callframe.dashboard.selection import BY, LAST, Selection, stretch
from callframe.errors import ArgumentError
from callframe.timespan import iso, parse_time, time_zone, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_BY = {"function": "Function", "schedule": "Schedule", "status": "Status", "1h": "Hour", "1d": "Day"}
_LAST = {"1h": "1 h", "24h": "24 h", "7d": "7 d"}
_ALL = "all"
_ROWS = 7
_LATEST = "9999-12-30T00:00Z"
_YEARS = dt.datetime(1969, 12, 30), dt.datetime(9999, 12, 30)  # noqa: DTZ001 - as pickers have them


class _Quiet(threading.local):
    """Whether changes are the program's own, in each thread."""

    on = False


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
        self._quiet = _Quiet()
        self._offer = FilterOptions()
        self._entered = ""
        self._look: dict[str, str] = {}
        self._times: tuple[str | None, str | None] = (None, None)
        self._zone = time_zone("UTC")
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

    def fill(self, offer: FilterOptions) -> None:
        """
        Offer what there is to choose from; what was chosen stays so, whether it is still there or not.

        Parameters
        ----------
        offer
            What there is.
        """
        with self._quietly():
            self._offer = offer
            self._offer_functions(self.functions.value)
            self._offer_schedules(self.schedules.value)
            self._offer_statuses([name for name, button in self.statuses.items() if button.value])

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
            self._offer_schedules(selection.schedules)
            self._offer_statuses(selection.statuses)
            self.tz.value = selection.tz
            self._read_zone()
            self.by.options = [*_BY_OPTIONS, *([] if selection.by in BY else [(selection.by, selection.by)])]
            self.by.value = selection.by
            known = selection.last in LAST or selection.last is None
            self.last.options = [*_LAST_OPTIONS, *([] if known else [(selection.last, selection.last)]), ("All", _ALL)]
            self.last.value = selection.last or (None if selection.start or selection.end else _ALL)
            self._look = {"tab": selection.tab, "picture": selection.picture}
            self._show_times(selection.start, selection.end)

    @property
    def zone(self) -> str:
        """The time zone of the times that are shown: what is written, or the one before where that is none."""
        return self._zone.key

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
        self.all_functions.on_click(lambda _: self._choose(self._offer_functions))
        self.all_schedules.on_click(lambda _: self._choose(self._offer_schedules))

    def _tell(self, _: Any = None) -> None:
        if not self._quiet.on:
            self._changed()

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Change controls without taking that for a person's change, which may come in another thread meanwhile."""
        before, self._quiet.on = self._quiet.on, True
        try:
            yield
        finally:
            self._quiet.on = before

    def _filter(self, _: Any) -> None:
        if self._quiet.on:
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

    def _choose(self, offer: Callable[[tuple[()]], None]) -> None:
        """Choose none, which means all."""
        with self._quietly():
            self.search.value = ""
            self._offer_functions(self.functions.value)
            offer(())
        self._tell()

    def _quick(self, change: dict[str, Any]) -> None:
        if self._quiet.on or change["new"] is None:
            return
        with self._quietly():
            self._show_times(*stretch(self._offer.end_ms, self.selection))
        self._tell()

    def _picked(self, change: dict[str, Any]) -> None:
        if self._quiet.on:
            return
        with self._quietly():
            start, end = self._times
            picked = self._time(change["new"])
            self._times = (picked, end) if change["owner"] is self.start else (start, picked)
            self.last.value = None if any(self._times) else _ALL
        self._tell()

    def _zoned(self, _: Any) -> None:
        if self._quiet.on:
            return
        with self._quietly():
            self._read_zone()
            self._show_times(*self._times)
        self._tell()

    def _read_zone(self) -> None:
        """Take the time zone that is written; of what is none, which the redraw will say, the one before stays."""
        with contextlib.suppress(ArgumentError):
            self._zone = time_zone(self.tz.value)

    def _offer_functions(self, chosen: Sequence[str]) -> None:
        """Offer the functions that match the search, and those that are chosen."""
        sought = self.search.value.casefold()
        offered = _with(self._offer.functions, chosen)
        self.functions.options = [
            (words, name) for words, name in offered if sought in name.casefold() or name in chosen
        ]
        self.functions.value = tuple(chosen)

    def _offer_schedules(self, chosen: Sequence[int]) -> None:
        self.schedules.options = _with(self._offer.schedules, chosen)
        self.schedules.value = tuple(chosen)

    def _offer_statuses(self, chosen: Sequence[str]) -> None:
        names = list(dict.fromkeys([*self._offer.statuses, *chosen]))
        before = self.statuses
        self.statuses = {name: before.get(name) or self._status(name) for name in names}
        for name, button in self.statuses.items():
            button.value = name in chosen
        self._status_box.children = tuple(self.statuses.values())
        close(before[name] for name in before.keys() - self.statuses.keys())

    def _status(self, name: str) -> widgets.ToggleButton:
        button = widgets.ToggleButton(description=label(name, 24), layout={"width": "auto"})
        button.observe(self._tell, names="value")
        return button

    def _show_times(self, start: str | None, end: str | None) -> None:
        self._times = (start, end)
        for picker, time in ((self.start, start), (self.end, end)):
            stamp = None if time is None else pd.Timestamp(min(time, _LATEST)).tz_convert(self._zone)
            picker.value = None if stamp is None else stamp.tz_localize(None).to_pydatetime()

    def _time(self, value: dt.datetime | None) -> str | None:
        """Read a time that was picked, which is in the time zone of the display."""
        if value is None:
            return None
        value = min(max(value, _YEARS[0]), _YEARS[1])  # a year that is being typed is the year 2, then 20, then 202
        stamp = pd.Timestamp(value).tz_localize(self._zone, ambiguous=True, nonexistent="shift_forward")
        return iso(parse_time(max(stamp, timestamp(0)), name="time", now_ms=0))


def close(given: Iterable[object]) -> None:
    """
    Close widgets, and those that they hold: children, layouts, styles.

    Parameters
    ----------
    given
        Widgets, and dicts and tuples of them; anything else is passed over.
    """
    found: set[widgets.Widget] = set()
    todo = list(given)
    while todo:
        one = todo.pop()
        if isinstance(one, dict | tuple):
            todo += one.values() if isinstance(one, dict) else one
        elif isinstance(one, widgets.Widget) and one not in found:
            found.add(one)
            todo += (getattr(one, name) for name in one.keys)
    for one in found:
        widgets.Widget.close(one)


def _with(offered: Sequence[tuple[str, Any]], chosen: Sequence[Any]) -> list[tuple[str, Any]]:
    """Offer also what is chosen and no longer there, so that a selection never grows by itself."""
    there = {value for _, value in offered}
    return [*offered, *((f"{label(one)} \N{MIDDLE DOT} no calls", one) for one in chosen if one not in there)]


_BY_OPTIONS = [(label, value) for value, label in _BY.items()]
_LAST_OPTIONS = [(label, value) for value, label in _LAST.items()]
