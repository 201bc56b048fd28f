"""Which calls of a dashboard are selected, and how they are shown: a small value that can be saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd

from callframe import timespan
from callframe.analysis.failures import failure_groups
from callframe.completeness import Coverage
from callframe.errors import ArgumentError
from callframe.timespan import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

BY = ("function", "schedule", "status", "1h", "1d")
"""What the summary can be grouped by."""

TABS = (
    "Overview", "Durations", "Delays", "Failures", "Schedules", "Concurrency", "Changes", "What differs", "Calls",
    "Data quality",
)  # fmt: skip


_LISTS = {
    "functions": str, "statuses": str, "schedules": int, "groups": str, "deployments": int, "hours": int,
    "weekdays": int,
}  # fmt: skip
"""The filters that are lists, and the type of their values."""


_TEXTS = ("min_duration", "max_duration", "search")
_OUTCOMES = ("statuses", "groups", *_TEXTS)
"""The filters that choose calls by how they ended: rates and medians are of the calls without these."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Chip(NamedTuple):
    """A filter to show and to remove."""

    field: str
    value: Any
    text: str


@dataclass(frozen=True)
class Selection:
    """
    Which calls are selected, and how they are shown.

    Parameters
    ----------
    functions
        Labels of functions; none means all.
    statuses
        Statuses; none means all.
    schedules
        Ids of schedules; none means all calls, those without a schedule too.
    groups
        Failure groups, of the column `group` of `failures`; none means all calls.
    deployments
        Ids of functions, of which each deployment has its own; none means all.
    hours, weekdays
        Hours of the day, 0 to 23, and days of the week, 0 for Monday, in the time zone `tz`; none means all.
    min_duration, max_duration
        Limits of the duration, such as `"30s"`, both included; calls without a duration are beyond every limit.
    search
        Part of a function, status or error message in any case, or of a call id.
    last
        Length of a time range that ends where the calls do, such as `"24h"`; in place of `start` and `end`.
    start, end
        Start times, the end excluded, as ISO 8601 text in UTC; None means as far as there are calls.
    by
        What the summary is grouped by: `"function"`, `"schedule"`, `"status"` or a frequency.
    tz
        Time zone in which times are shown.
    tab
        Which tab is open.
    plot
        Which plot of the tab is shown; the first by default.
    call
        The call that is open, as the ids of its function and of itself; None if there is none.
    """

    functions: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    schedules: tuple[int, ...] = ()
    groups: tuple[str, ...] = ()
    deployments: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    weekdays: tuple[int, ...] = ()
    min_duration: str | None = None
    max_duration: str | None = None
    search: str | None = None
    last: str | None = None
    start: str | None = None
    end: str | None = None
    by: str = "function"
    tz: str = "UTC"
    tab: str = TABS[0]
    plot: str = ""
    call: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check and normalize the values."""
        for name, kind in _LISTS.items():
            object.__setattr__(self, name, _unique(name, getattr(self, name), kind))
        object.__setattr__(self, "call", self.call and tuple(map(int, self.call)))
        for name in ("by", "tz", "plot"):
            if not isinstance(getattr(self, name), str):
                raise ArgumentError(f"{name}={getattr(self, name)!r}; expected text.")
        if self.tab not in TABS:
            raise ArgumentError(f"tab={self.tab!r}; expected one of {', '.join(map(repr, TABS))}.")
        self._check_times()

    def _check_times(self) -> None:
        if self.last is not None and (self.start or self.end):
            raise ArgumentError("A selection takes last, or start and end, but not both.")
        for name in ("last", "min_duration", "max_duration"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ArgumentError(f'{name}={value!r}; expected text such as "24h".')
            if value is not None:
                timespan.parse_duration(value, name=name)
        for name in ("start", "end"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, timespan.iso(timespan.parse_time(value, name=name, now_ms=0)))

    @classmethod
    def of(cls, value: Selection | Mapping[str, Any] | None) -> Self:
        """Make a selection from another one, from what `to_dict` returned, or from nothing."""
        if not isinstance(value, Selection | Mapping | None):
            raise ArgumentError(f"selection={value!r}; expected a selection, or the dict that its to_dict returned.")
        fields = {field.name for field in dataclasses.fields(cls)}
        values = {} if value is None else dict(value.to_dict() if isinstance(value, Selection) else value)
        if unknown := [repr(name) for name in values if name not in fields]:
            raise ArgumentError(f"A selection has no {', '.join(unknown)}; it has {', '.join(sorted(fields))}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Convert what differs from the default to a dict that JSON can hold and `explore` accepts."""
        values = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                values[field.name] = list(value) if isinstance(value, tuple) else value
        return values

    def replace(self, **changes: Any) -> Self:
        """Make a selection that differs in some fields."""
        return dataclasses.replace(self, **changes)

    @property
    def filters(self) -> tuple[Any, ...]:
        """The part that selects calls."""
        zone = self.tz if self.hours or self.weekdays else ""
        return (*(getattr(self, name) for name in (*_LISTS, *_TEXTS)), self.last, self.start, self.end, zone)

    @property
    def population(self) -> Self:
        """The selection without the filters that choose calls by how they ended."""
        return self.replace(**{name: () if name in _LISTS else None for name in _OUTCOMES})

    def toggle(self, chosen: Mapping[str, Any], *, add: bool = False) -> Self:
        """Choose values in place of those of their fields, or beside them; what was chosen already is removed."""
        changes = dict(chosen)
        for name in _LISTS.keys() & chosen.keys():
            new, old = tuple(chosen[name]), getattr(self, name)
            rest = tuple(value for value in old if value not in new)
            changes[name] = rest if set(new) <= set(old) else (*(old if add else ()), *new)
        if "start" in chosen or "end" in chosen:
            changes["last"] = None
        return self.replace(**changes)

    def without(self, field: str, value: Any) -> Self:
        """Remove a filter."""
        if field in _LISTS:
            return self.replace(**{field: tuple(other for other in getattr(self, field) if other != value)})
        if field in _TEXTS:
            return self.replace(**{field: None})
        return self.replace(last=None, start=None, end=None)

    def chips(self, names: Mapping[str, Mapping[Any, str]]) -> list[Chip]:
        """List the filters with the texts to show; `names` has those of the values of each field."""
        chips = [
            Chip(field, value, names.get(field, {}).get(value, str(value)))
            for field in _LISTS
            for value in getattr(self, field)
        ]
        for field, text in (("min_duration", "at least {}"), ("max_duration", "at most {}"), ("search", '"{}"')):
            if value := getattr(self, field):
                chips.append(Chip(field, value, text.format(value)))
        if self.last:
            return [*chips, Chip("last", self.last, f"last {self.last}")]
        edges = [
            f"{word} {pd.Timestamp(edge).tz_convert(self.tz):%Y-%m-%d %H:%M}"
            for word, edge in (("from", self.start), ("to", self.end))
            if edge
        ]
        return [*chips, Chip("start", None, " ".join(edges))] if edges else chips


def window(end_ms: int, selection: Selection) -> tuple[str | None, str | None]:
    """Find the selected start times as ISO 8601 text, the end excluded; None means as far as there are calls."""
    if selection.last is None:
        return selection.start, selection.end
    length_ms = timespan.parse_duration(selection.last, name="last")
    return timespan.iso(max(0, end_ms - length_ms)), None


def end_ms(calls: pd.DataFrame) -> int:
    """Find the end of the calls in epoch milliseconds: that of their window, else the latest start time."""
    known = Coverage.of(calls)
    if known is not None and known.window is not None:
        return min(known.window.end_ms, known.fetched_ms)
    return 0 if calls.empty else int(to_milliseconds(calls["start_time"]).max()) + 1


def select(calls: pd.DataFrame, selection: Selection, groups: pd.Series | None = None) -> pd.DataFrame:
    """Select calls and their coverage, renumbered; the same object if everything is selected."""
    wanted = masks(calls, selection, groups)
    if not wanted:
        return calls
    kept = np.logical_and.reduce(list(wanted.values()))
    selected = calls if kept.all() else calls.take(np.flatnonzero(kept)).reset_index(drop=True)
    selected = selected.copy(deep=False)
    selected.attrs = dict(calls.attrs)
    if known := Coverage.of(calls):
        start, end = window(end_ms(calls), selection)
        known.select(
            selected, functions=selection.functions, statuses=selection.statuses, schedule_ids=selection.schedules,
            start=start, end=end,
        ).attach(selected)  # fmt: skip
    return selected


def masks(calls: pd.DataFrame, selection: Selection, groups: pd.Series | None = None) -> dict[str, np.ndarray]:
    """Find which calls each filter of a selection keeps, by its field; `groups` are the failure groups if known."""
    found = _masks_of_times(calls, selection) | _masks_of_durations(calls, selection)
    for field, column in (("functions", "function"), ("statuses", "status")):
        if chosen := getattr(selection, field):
            found[field] = _is_in(calls[column], chosen)
    for field, column in (("schedules", "schedule_id"), ("deployments", "function_id")):
        if chosen := getattr(selection, field):
            found[field] = calls[column].isin(chosen).to_numpy(dtype=bool)
    if selection.groups:
        found["groups"] = (failure_groups(calls) if groups is None else groups).isin(selection.groups).to_numpy()
    if selection.search:
        found["search"] = contains(calls, selection.search)
    return found


def _masks_of_times(calls: pd.DataFrame, selection: Selection) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    start, end = window(end_ms(calls), selection)
    start_time = calls["start_time"]
    if start:
        found["start"] = (start_time >= pd.Timestamp(start)).to_numpy()
    if end:
        found["end"] = (start_time < pd.Timestamp(end)).to_numpy()
    if selection.hours or selection.weekdays:
        local = start_time.dt.tz_convert(timespan.time_zone(selection.tz)).dt
        for field, values in (("hours", local.hour), ("weekdays", local.day_of_week)):
            if chosen := getattr(selection, field):
                found[field] = values.isin(chosen).to_numpy()
    return found


def _masks_of_durations(calls: pd.DataFrame, selection: Selection) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for field, compare in (("min_duration", pd.Series.ge), ("max_duration", pd.Series.le)):
        if text := getattr(selection, field):
            limit = pd.Timedelta(timespan.parse_duration(text, name=field), "ms")
            found[field] = compare(calls["duration"], limit).to_numpy(dtype=bool)
    return found


def contains(calls: pd.DataFrame, text: str) -> np.ndarray:
    """Find calls by their id, or by a part of function, status or error message, in any case."""
    sought = text.strip().casefold()
    messages = calls["error_message"].str.contains(text.strip(), case=False, regex=False, na=False)
    matching = messages.to_numpy(dtype=bool, copy=True)
    for name in ("function", "status"):
        matching |= _is_in(calls[name], [one for one in calls[name].cat.categories if sought in one.casefold()])
    if sought.isdecimal():
        matching |= calls["call_id"].astype("str").str.contains(sought, regex=False).to_numpy(dtype=bool)
    return matching


def _unique(name: str, value: Any, kind: type) -> tuple[Any, ...]:
    """Check a list of names or ids, and remove duplicates."""
    is_list = not isinstance(value, str) and isinstance(value, Iterable)
    items = tuple(dict.fromkeys(value)) if is_list else ()
    if kind is int:
        items = tuple(int(item) if isinstance(item, np.integer) else item for item in items)
    if not is_list or not all(isinstance(item, kind) for item in items):
        expected = "labels" if name == "functions" else "names" if kind is str else "ids, whole numbers"
        raise ArgumentError(f"{name}={value!r}; expected a list of {expected}.")
    return items


def _is_in(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    """Find which values of a categorical column are among some names: each category is compared only once."""
    wanted = np.append(column.cat.categories.isin(names), False)  # the last one is for missing values
    rows: np.ndarray = wanted[column.cat.codes.to_numpy()]
    return rows
