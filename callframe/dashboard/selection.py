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

LAST = ("1h", "24h", "7d")
"""Time ranges for a quick choice; they end where the calls do."""

BY = ("function", "schedule", "status", "1h", "1d")
"""What the summary can be grouped by."""

TABS = (
    "Overview", "Durations", "Delays", "Failures", "Schedules", "Concurrency", "Changes", "What differs", "Calls",
    "Data quality",
)  # fmt: skip


_LISTS = {"functions": str, "statuses": str, "schedules": int, "groups": str}
"""The filters that are lists, and the type of their values."""


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
        if self.last is not None:
            if self.start or self.end:
                raise ArgumentError("A selection takes last, or start and end, but not both.")
            if not isinstance(self.last, str):
                raise ArgumentError(f'last={self.last!r}; expected text such as "24h".')
            timespan.parse_duration(self.last, name="last")
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
        return (*(getattr(self, name) for name in _LISTS), self.last, self.start, self.end)

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
        return self.replace(last=None, start=None, end=None)

    def chips(self, schedule_names: Mapping[int, str] | None = None) -> list[Chip]:
        """List the filters with the texts to show."""
        names = {"schedules": schedule_names or {}}
        chips = [
            Chip(field, value, str(names.get(field, {}).get(value, value)))
            for field in _LISTS
            for value in getattr(self, field)
        ]
        if self.last:
            chips.append(Chip("last", self.last, f"last {self.last}"))
        elif self.start or self.end:
            edges = [
                f"{word} {pd.Timestamp(edge).tz_convert(self.tz):%Y-%m-%d %H:%M}"
                for word, edge in (("from", self.start), ("to", self.end))
                if edge
            ]
            chips.append(Chip("start", None, " ".join(edges)))
        return chips


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


def select(calls: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Select calls and their coverage, renumbered; the same object if everything is selected."""
    start, end = window(end_ms(calls), selection)
    if not any((selection.functions, selection.statuses, selection.schedules, selection.groups, start, end)):
        return calls
    kept = np.ones(len(calls), dtype=bool)
    if selection.functions:
        kept &= _is_in(calls["function"], selection.functions)
    if selection.statuses:
        kept &= _is_in(calls["status"], selection.statuses)
    if selection.schedules:
        kept &= calls["schedule_id"].isin(selection.schedules).to_numpy(dtype=bool)
    if selection.groups:
        kept &= failure_groups(calls).isin(selection.groups).to_numpy()
    if start:
        kept &= (calls["start_time"] >= pd.Timestamp(start)).to_numpy()
    if end:
        kept &= (calls["start_time"] < pd.Timestamp(end)).to_numpy()
    selected = calls if kept.all() else calls.take(np.flatnonzero(kept)).reset_index(drop=True)
    selected = selected.copy(deep=False)
    selected.attrs = dict(calls.attrs)
    if known := Coverage.of(calls):
        known.select(
            selected, functions=selection.functions, statuses=selection.statuses, schedule_ids=selection.schedules,
            start=start, end=end,
        ).attach(selected)  # fmt: skip
    return selected


def _unique(name: str, value: Any, kind: type) -> tuple[Any, ...]:
    """Check a list of names or ids, and remove duplicates."""
    is_list = not isinstance(value, str) and isinstance(value, Iterable)
    items = tuple(dict.fromkeys(value)) if is_list else ()
    if kind is int:
        items = tuple(int(item) if isinstance(item, np.integer) else item for item in items)
    if not is_list or not all(isinstance(item, kind) for item in items):
        expected = {"schedules": "ids, whole numbers", "functions": "labels"}.get(name, "names")
        raise ArgumentError(f"{name}={value!r}; expected a list of {expected}.")
    return items


def _is_in(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    """Find which values of a categorical column are among some names: each category is compared only once."""
    wanted = np.append(column.cat.categories.isin(names), False)  # the last one is for missing values
    rows: np.ndarray = wanted[column.cat.codes.to_numpy()]
    return rows
