"""The controls above the dashboard; they show a selection and say what a person changes about it."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import zoneinfo
from importlib import resources
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import pandas as pd
import traitlets

from callframe.dashboard.selection import BY
from callframe.errors import ArgumentError, printable
from callframe.formatting import truncate
from callframe.reporting.rendering import render_part
from callframe.timespan import iso, parse_time, time_zone, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from callframe.dashboard.cross_filter import Option
    from callframe.dashboard.selection import Chip, Selection

    Act = Callable[..., object]
    """Gets the action of what was pressed, and `add`, whether it is to be added to what is selected."""

RANGES = (("1 h", "1h"), ("6 h", "6h"), ("24 h", "24h"), ("7 d", "7d"), ("30 d", "30d"), ("90 d", "90d"), ("All", None))
_BY_OPTIONS = [("Function", "function"), ("Schedule", "schedule"), ("Status", "status"), ("Hour", "1h"), ("Day", "1d")]
_CHOICES = {
    "functions": "Functions",
    "schedules": "Schedules",
    "groups": "Failure groups",
    "deployments": "Deployments",
    "responses": "Response routes",
    "hours": "Hours of the day",
    "weekdays": "Weekdays",
}
_TEXTS = {"search": "Any text", "min_duration": "Duration from", "max_duration": "Duration to"}
_HINTS = {"search": "in id, function, status or error", "min_duration": "such as 30s", "max_duration": "such as 10min"}
_LABEL_LENGTH = 46
_LATEST = "9999-12-30T00:00Z"
_YEARS = dt.datetime(1969, 12, 30), dt.datetime(9999, 12, 30)  # noqa: DTZ001 - as pickers have them


def read(name: str) -> str:
    """Read a script or style sheet of the dashboard."""
    return resources.files("callframe.dashboard").joinpath(name).read_text(encoding="utf-8")


class Clickable(anywidget.AnyWidget):  # type: ignore[misc] # anywidget has no complete types
    """HTML of which everything with a `data-action`, a JSON object, can be pressed by mouse and keyboard."""

    _esm = traitlets.Unicode(read("clickable.js")).tag(sync=True)
    _css = traitlets.Unicode(read("dashboard.css")).tag(sync=True)
    html = traitlets.Unicode().tag(sync=True)
    role = traitlets.Unicode().tag(sync=True)

    def __init__(self, css_class: str, act: Act | None = None, *, role: str = "") -> None:
        super().__init__(role=role)
        self.add_class(f"callframe-{css_class}")
        if act is not None:
            self.on_msg(lambda _, content, __: act(content["action"], add=bool(content.get("add"))))


class Muted(threading.local):
    """Whether a thread changes controls itself, which is not the choice of a person; each thread has its own flag."""

    on = False

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Mute the observers of controls that the thread changes within."""
        before, self.on = self.on, True
        try:
            yield
        finally:
            self.on = before


class Toolbar:
    """
    The controls: `act` gets what is pressed, `change` the fields of the selection that a person changed.

    Errors of `change` about a field are shown beside it.
    """

    def __init__(self, act: Act, change: Callable[..., object]) -> None:
        self._change = change
        self._muted = Muted()
        self._names: tuple[str, ...] = ()
        self._functions: tuple[str, ...] = ()
        self._times: tuple[str | None, str | None] = (None, None)
        self._zone = time_zone("UTC")
        self._options: Mapping[str, Sequence[Option]] = {}
        self._shown: Selection | None = None
        self.ranges = Clickable("ranges", act)
        self.find = widgets.Combobox(description="Function", placeholder="part of a name", continuous_update=False)
        self.statuses = Clickable("statuses", self._on_more(act))
        self.freshness = Clickable("freshness", act)
        self.chips = Clickable("chips", act)
        self.choices = {name: widgets.SelectMultiple(description=text, rows=6) for name, text in _CHOICES.items()}
        self.texts = {
            name: widgets.Text(description=text, placeholder=_HINTS[name], continuous_update=False)
            for name, text in _TEXTS.items()
        }
        self.start = widgets.NaiveDatetimePicker(description="From")
        self.end = widgets.NaiveDatetimePicker(description="To")
        self.by = widgets.Dropdown(options=_BY_OPTIONS, description="Group by")
        zones = ["UTC", *sorted(zoneinfo.available_timezones() - {"UTC"})]
        self.tz = widgets.Combobox(options=zones, value="UTC", description="Time zone", continuous_update=False)
        self.problem = Clickable("problem", role="alert")
        self.more = self._arrange()
        bar = widgets.Box([self.ranges, self.find, self.statuses, self.freshness])
        bar.add_class("callframe-toolbar")
        self.widget = widgets.VBox([bar, self.more, self.chips])
        self._observe()

    def show(self, selection: Selection, options: Mapping[str, Sequence[Option]]) -> None:
        """Show a selection, and what else can be chosen."""
        self._shown, self._options, self._functions = selection, options, selection.functions
        self.ranges.html = render_part("ranges", RANGES, selection.last, bool(selection.start or selection.end))
        self._show_statuses()
        self._names = tuple(option.value for option in options.get("functions", ()))
        with self._muted():
            self.find.options = [printable(name) for name in self._names]
            self.find.value = ""
            if self._is_open:
                self._show_more(selection)

    def show_chips(self, chips: Sequence[Chip], count: str, *, can_undo: bool) -> None:
        """Show the filters, each to be removed, and what can be done with the selected calls."""
        self.chips.html = render_part("chips", chips, count, can_undo)

    @property
    def zone(self) -> str:
        """The time zone of the times that are shown: the last valid one."""
        return self._zone.key

    @property
    def _is_open(self) -> bool:
        return bool(self.more.layout.display != "none")

    def _show_statuses(self) -> None:
        chosen = self._shown.statuses if self._shown else ()
        self.statuses.html = render_part("statuses", self._options.get("statuses", ()), chosen, self._is_open)

    def _on_more(self, act: Act) -> Act:
        def on_action(action: dict[str, Any], **how: Any) -> None:
            if action.get("do") != "more":
                act(action, **how)
                return
            self.more.layout.display = "none" if self._is_open else ""
            self._show_statuses()
            if self._is_open and self._shown:
                with self._muted():
                    self._show_more(self._shown)

        return on_action

    def _show_more(self, selection: Selection) -> None:
        """Show what only the panel under More shows."""
        for name, control in self.choices.items():
            chosen = getattr(selection, name, ())
            offered = [(_option_text(option), option.value) for option in self._options.get(name, ())]
            gone = set(chosen) - {value for _, value in offered}
            control.options = [*offered, *((f"{shorten(value)} \N{MIDDLE DOT} no calls", value) for value in gone)]
            control.value = chosen
            control.layout.display = "" if control.options else "none"
        for name, text in self.texts.items():
            text.value = getattr(selection, name, None) or ""
            text.layout.display = "" if hasattr(selection, name) else "none"
        self.tz.value = selection.tz
        with contextlib.suppress(ArgumentError):
            self._zone = time_zone(selection.tz)
        other = [] if selection.by in BY else [(selection.by, selection.by)]
        self.by.options = [*_BY_OPTIONS, *other]
        self.by.value = selection.by
        self._times = (selection.start, selection.end)
        for picker, time in zip((self.start, self.end), self._times, strict=True):
            local = None if time is None else pd.Timestamp(min(time, _LATEST)).tz_convert(self._zone)
            picker.value = None if local is None else local.tz_localize(None).to_pydatetime()

    def _arrange(self) -> widgets.Box:
        self.find.add_class("callframe-find")
        fields = [self.start, self.end, self.texts["search"], self.texts["min_duration"], self.texts["max_duration"]]
        fields += [self.by, self.tz, self.problem]
        column = widgets.VBox(fields)
        column.add_class("callframe-fields")
        for control in self.choices.values():
            control.layout.width = "auto"
        panel = widgets.Box([column, *self.choices.values()], layout={"display": "none"})
        panel.add_class("callframe-more")
        return panel

    def _observe(self) -> None:
        for name, control in [*self.choices.items(), *self.texts.items(), ("by", self.by), ("tz", self.tz)]:
            control.observe(lambda change, name=name: self._set(**{name: change["new"]}), names="value")
        for picker in (self.start, self.end):
            picker.observe(self._on_pick, names="value")
        self.find.observe(self._on_find, names="value")

    def _set(self, **fields: Any) -> None:
        """Pass on what a person changed; what is wrong with it is shown beside the fields."""
        if self._muted.on:
            return
        try:
            time_zone(fields.get("tz", "UTC"))
            self._change(**{name: value or None if name in _TEXTS else value for name, value in fields.items()})
        except ArgumentError as error:
            self.problem.html = render_part("note", str(error), "bad")
        else:
            self.problem.html = ""

    def _on_find(self, change: dict[str, Any]) -> None:
        """Choose the function of that name, else all whose name contains the text."""
        sought = change["new"].strip().casefold()
        if self._muted.on or not sought:
            return
        matches = [name for name in self._names if printable(name).casefold() == sought]
        matches = matches or [name for name in self._names if sought in printable(name).casefold()]
        self._set(functions=matches or [change["new"]])

    def _on_pick(self, change: dict[str, Any]) -> None:
        if self._muted.on:
            return
        start, end = self._times
        picked = self._parse_picked(change["new"])
        self._times = start, end = (picked, end) if change["owner"] is self.start else (start, picked)
        if start and end and start >= end:
            self.problem.html = render_part("note", "The range ends before it starts: To must be after From.", "bad")
            return
        self._set(last=None, start=start, end=end)

    def _parse_picked(self, value: dt.datetime | None) -> str | None:
        """Convert a time that was picked, in the time zone of the display."""
        if value is None:
            return None
        value = min(max(value, _YEARS[0]), _YEARS[1])  # while a year is being typed it is the year 2, then 20, then 202
        time = pd.Timestamp(value).tz_localize(self._zone, ambiguous=True, nonexistent="shift_forward")
        return iso(parse_time(max(time, timestamp(0)), name="time", now_ms=0))


def close(parts: Iterable[object]) -> None:
    """Close the widgets in dicts, tuples and other widgets: children, layouts, styles; ignore anything else."""
    closing: set[widgets.Widget] = set()
    remaining = list(parts)
    while remaining:
        part = remaining.pop()
        if isinstance(part, dict | tuple):
            remaining += part.values() if isinstance(part, dict) else part
        elif isinstance(part, widgets.Widget) and part not in closing:
            closing.add(part)
            remaining += (getattr(part, name) for name in part.keys)
    for widget in closing:
        widgets.Widget.close(widget)


def shorten(name: object, length: int = _LABEL_LENGTH) -> str:
    """Shorten a name for a control, which shows plain text."""
    return printable(truncate(name, length).text)


def _option_text(option: Option) -> str:
    failed = f", {option.failed:,} failed" if option.failed else ""
    return f"{shorten(option.text)} \N{MIDDLE DOT} {option.count:,}{failed}"
