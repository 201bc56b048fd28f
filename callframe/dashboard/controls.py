"""The filters of a dashboard, and the selection that they make. If nothing is chosen, everything is selected."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import zoneinfo
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from callframe import frame
from callframe.dashboard.selection import BY, LAST, Selection, end_ms, window
from callframe.dashboard.selection_analysis import schedule_names
from callframe.errors import ArgumentError, printable
from callframe.formatting import truncate
from callframe.timespan import iso, parse_time, time_zone, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_BY_OPTIONS = [("Function", "function"), ("Schedule", "schedule"), ("Status", "status"), ("Hour", "1h"), ("Day", "1d")]
_LAST_OPTIONS = [("1 h", "1h"), ("24 h", "24h"), ("7 d", "7d")]
_ALL = "all"
_LABEL_LENGTH = 46
_LATEST = "9999-12-30T00:00Z"
_YEARS = dt.datetime(1969, 12, 30), dt.datetime(9999, 12, 30)  # noqa: DTZ001 - as pickers have them


@dataclass(frozen=True)
class FilterOptions:
    """What can be selected: functions and schedules as pairs of text and value; `end_ms` is where the calls end."""

    functions: list[tuple[str, str]] = field(default_factory=list)
    schedules: list[tuple[str, int]] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    end_ms: int = 0

    @classmethod
    def of_calls(cls, calls: pd.DataFrame, schedules: pd.DataFrame | None) -> FilterOptions:
        """List what a call frame holds."""
        failed = calls["status"].isin(frame.FAILURES).astype("int64")
        counts = failed.groupby(calls["function"], observed=True).agg(["sum", "size"])
        ids = calls["schedule_id"].dropna().unique()
        statuses = [str(status) for status in calls["status"].cat.categories]
        return cls(_function_options(counts), _schedule_options(ids, schedules), statuses, end_ms(calls))

    @classmethod
    def of_rollup(cls, rollup: pd.DataFrame, schedules: pd.DataFrame) -> FilterOptions:
        """List what a rollup counts, and all schedules of its archive."""
        rows = rollup[rollup["measure"] == "duration"]
        failed = rows["count"].where(rows["status"].isin(frame.FAILURES), 0)
        counts = pd.DataFrame({"sum": failed, "size": rows["count"]}).groupby(rows["function"], observed=True).sum()
        statuses = [str(status) for status in rows["status"].cat.categories]
        ids = schedules["schedule_id"]
        return cls(_function_options(counts), _schedule_options(ids, schedules), statuses, end_ms(rollup))


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


class Controls:
    """The filters; `changed` is called once after each change that a person makes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._muted = Muted()
        self._options = FilterOptions()
        self._entered = ""
        self._times: tuple[str | None, str | None] = (None, None)
        self._zone = time_zone("UTC")
        self.search = widgets.Text(
            description="Search functions", placeholder="part of a name; Enter chooses all matches"
        )
        self.functions = widgets.SelectMultiple(description="Functions", rows=7)
        self.all_functions = widgets.Button(
            description="All functions", tooltip="Choose no function, which selects all"
        )
        self.schedules = widgets.SelectMultiple(description="Schedules", rows=7)
        self.all_schedules = widgets.Button(
            description="All schedules", tooltip="Choose no schedule, which selects all"
        )
        self.statuses: dict[str, widgets.ToggleButton] = {}
        self._status_box = widgets.HBox(layout={"flex_flow": "row wrap"})
        self.last = widgets.ToggleButtons(options=[*_LAST_OPTIONS, ("All", _ALL)], value=_ALL, description="Range")
        self.start = widgets.NaiveDatetimePicker(description="From")
        self.end = widgets.NaiveDatetimePicker(description="To")
        self.by = widgets.Dropdown(options=_BY_OPTIONS, description="Group by")
        zones = ["UTC", *sorted(zoneinfo.available_timezones() - {"UTC"})]
        self.tz = widgets.Combobox(options=zones, value="UTC", description="Time zone", continuous_update=False)
        self.widget = self._arrange()
        self._observe()

    def set_options(self, options: FilterOptions) -> None:
        """Set what can be chosen; what was chosen stays chosen, even if it is no longer there."""
        with self._muted():
            self._options = options
            self._set_functions(self.functions.value)
            self._set_schedules(self.schedules.value)
            self._set_statuses([name for name, button in self.statuses.items() if button.value])

    @property
    def selection(self) -> Selection:
        """What is chosen now."""
        last = self.last.value
        start, end = (None, None) if last else self._times
        return Selection(
            functions=self.functions.value,
            statuses=tuple(name for name, button in self.statuses.items() if button.value),
            schedules=self.schedules.value,
            last=None if last == _ALL else last,
            start=start,
            end=end,
            by=self.by.value,
            tz=self.tz.value,
        )

    @selection.setter
    def selection(self, selection: Selection) -> None:
        with self._muted():
            self.search.value = ""
            self._set_functions(selection.functions)
            self._set_schedules(selection.schedules)
            self._set_statuses(selection.statuses)
            self.tz.value = selection.tz
            self._read_zone()
            other_by = [] if selection.by in BY else [(selection.by, selection.by)]
            self.by.options = [*_BY_OPTIONS, *other_by]
            self.by.value = selection.by
            other_last = [] if selection.last in (*LAST, None) else [(selection.last, selection.last)]
            self.last.options = [*_LAST_OPTIONS, *other_last, ("All", _ALL)]
            self.last.value = selection.last or (None if selection.start or selection.end else _ALL)
            self._show_times(selection.start, selection.end)

    @property
    def zone(self) -> str:
        """The time zone of the times that are shown: the last valid one."""
        return self._zone.key

    def _arrange(self) -> widgets.Box:
        for control in (self.search, self.functions, self.schedules):
            control.add_class("callframe-stacked")
        for control in (self.functions, self.schedules, self.search, self.start, self.end, self.by, self.tz):
            control.layout.width = "auto"
        self.last.style.button_width = "auto"
        for control in (self.last, self.start, self.end, self.by, self.tz):
            control.style.description_width = "72px"
        title = widgets.HTML("<span>Status</span>")
        title.add_class("callframe-label")
        status = widgets.HBox([title, self._status_box])
        rest = widgets.Box([status, self.last, self.start, self.end, self.by, self.tz])
        for control in rest.children:
            control.layout.flex = "1 1 300px"
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

    def _observe(self) -> None:
        for control in (self.functions, self.schedules, self.by):
            control.observe(self._notify, names="value")
        self.tz.observe(self._on_zone, names="value")
        self.search.observe(self._on_search, names="value")
        self.search.on_msg(self._on_enter)
        self.last.observe(self._on_last, names="value")
        for picker in (self.start, self.end):
            picker.observe(self._on_pick, names="value")
        self.all_functions.on_click(lambda _: self._choose_all(self._set_functions))
        self.all_schedules.on_click(lambda _: self._choose_all(self._set_schedules))

    def _notify(self, _: Any = None) -> None:
        if not self._muted.on:
            self._changed()

    def _on_search(self, _: Any) -> None:
        if self._muted.on:
            return
        with self._muted():
            self._set_functions(self.functions.value)
        if self._entered and self.search.value.startswith(self._entered):  # typed before Enter, received after it
            self._choose_matches()
        else:
            self._entered = ""

    def _on_enter(self, _: Any, content: dict[str, Any], __: Any) -> None:
        """Choose what matches the search when Enter is pressed: JupyterLab keeps arrow keys from lists."""
        self._entered = self.search.value
        if content.get("event") == "submit" and self._entered:
            self._choose_matches()

    def _choose_matches(self) -> None:
        sought = self.search.value.casefold()
        with self._muted():
            self.functions.value = [name for _, name in self.functions.options if sought in name.casefold()]
        self._notify()

    def _choose_all(self, choose: Callable[[tuple[()]], None]) -> None:
        """Choose nothing, which selects all."""
        with self._muted():
            self.search.value = ""
            self._set_functions(self.functions.value)
            choose(())
        self._notify()

    def _on_last(self, change: dict[str, Any]) -> None:
        if self._muted.on or change["new"] is None:
            return
        with self._muted():
            self._show_times(*window(self._options.end_ms, self.selection))
        self._notify()

    def _on_pick(self, change: dict[str, Any]) -> None:
        if self._muted.on:
            return
        with self._muted():
            start, end = self._times
            picked = self._parse_picked(change["new"])
            self._times = (picked, end) if change["owner"] is self.start else (start, picked)
            self.last.value = None if any(self._times) else _ALL
        self._notify()

    def _on_zone(self, _: Any) -> None:
        if self._muted.on:
            return
        with self._muted():
            self._read_zone()
            self._show_times(*self._times)
        self._notify()

    def _read_zone(self) -> None:
        """Read the time zone; an invalid one, which the redraw reports, changes nothing."""
        with contextlib.suppress(ArgumentError):
            self._zone = time_zone(self.tz.value)

    def _set_functions(self, chosen: Sequence[str]) -> None:
        """List the functions that match the search, and those that are chosen."""
        sought = self.search.value.casefold()
        options = _with_chosen(self._options.functions, chosen)
        self.functions.options = [(text, name) for text, name in options if sought in name.casefold() or name in chosen]
        self.functions.value = tuple(chosen)

    def _set_schedules(self, chosen: Sequence[int]) -> None:
        self.schedules.options = _with_chosen(self._options.schedules, chosen)
        self.schedules.value = tuple(chosen)

    def _set_statuses(self, chosen: Sequence[str]) -> None:
        names = list(dict.fromkeys([*self._options.statuses, *chosen]))
        before = self.statuses
        self.statuses = {name: before.get(name) or self._status_button(name) for name in names}
        for name, button in self.statuses.items():
            button.value = name in chosen
        self._status_box.children = tuple(self.statuses.values())
        close(before[name] for name in before.keys() - self.statuses.keys())

    def _status_button(self, name: str) -> widgets.ToggleButton:
        button = widgets.ToggleButton(description=shorten(name, 24), layout={"width": "auto"})
        button.observe(self._notify, names="value")
        return button

    def _show_times(self, start: str | None, end: str | None) -> None:
        self._times = (start, end)
        for picker, time in ((self.start, start), (self.end, end)):
            local = None if time is None else pd.Timestamp(min(time, _LATEST)).tz_convert(self._zone)
            picker.value = None if local is None else local.tz_localize(None).to_pydatetime()

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


def _function_options(counts: pd.DataFrame) -> list[tuple[str, str]]:
    """List the functions, those with the most failures first."""
    counts = counts.sort_values(["sum", "size"], ascending=False, kind="stable")
    return [
        (f"{shorten(name)} \N{MIDDLE DOT} {failures:,} of {size:,} failed", str(name))
        for name, failures, size in zip(counts.index, counts["sum"], counts["size"], strict=True)
    ]


def _schedule_options(ids: Iterable[int], schedules: pd.DataFrame | None) -> list[tuple[str, int]]:
    names = schedule_names(schedules)
    options = [(shorten(names.get(int(schedule_id), schedule_id)), int(schedule_id)) for schedule_id in ids]
    return sorted(options, key=lambda option: (option[0].casefold(), option[1]))


def _with_chosen(options: Sequence[tuple[str, Any]], chosen: Sequence[Any]) -> list[tuple[str, Any]]:
    """Add what is chosen but no longer there, so that a selection never grows by itself."""
    available = {value for _, value in options}
    gone = [(f"{shorten(value)} \N{MIDDLE DOT} no calls", value) for value in chosen if value not in available]
    return [*options, *gone]
